/*
 * pull: what a name stands for, brought into the caches of this machine.
 *
 * A repository's files go into the hub's cache folder (hub-cache.h); files of a set that are not at the hub into
 * CACHE/llama-omni/sources/; converted models into CACHE/llama-omni/models/USER--REPO/COMMIT/TYPES/, where CACHE is
 * $XDG_CACHE_HOME or ~/.cache. The link "latest" beside TYPES leads to what was converted last.
 */
#ifndef OM_PULL_H
#define OM_PULL_H

#include "name.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct om_pull_options {
    om_name name;
    bool    offline;        /* only what is there (also when HF_HUB_OFFLINE is 1) */
    int     connections;    /* per file; 0: 4 */
    int     retries;        /* failures in a row; -1: 6 */
    bool    own_whisper, own_vocoder;   /* the caller has them: the set's are not fetched */
    const char *llm_type;   /* for the estimate of the room that the converted files need; NULL: as published */
} om_pull_options;

/* What is going on; names are the callee's for the time of the call. */
typedef struct om_pull_state {
    const char *file;
    bool     checking;              /* its checksum, not its bytes */
    uint64_t done, size;            /* of this file */
    uint64_t all_done, all_size;    /* of everything that has to be fetched */
} om_pull_state;

typedef struct om_pull_watch {
    void *user;
    int  (*stop)(void *user);                                       /* asked often, from any thread */
    void (*progress)(void *user, const om_pull_state *state);       /* ten times a second, from the caller's thread */
    void (*note)(void *user, const char *line);                     /* from any thread */
} om_pull_watch;

typedef struct om_pull_result {
    char  commit[41];
    char *folder;                   /* the snapshot */
    bool  ready;                    /* it holds GGUF files: nothing to convert */
    char *whisper, *vocoder, *vocoder_config;   /* NULL: not part of the set, or not fetched */
    uint64_t fetched;               /* bytes that had to be fetched */
} om_pull_result;

/* All of it. OK; AGAIN (stopped; what was fetched is kept); ERR_ARG, ERR_IO, ERR_FORMAT, ERR_LIMIT, ERR_MEMORY,
 * ERR_BACKEND with the reason. The result is set on OK alone. */
int  om_pull(const om_pull_options *options, const om_pull_watch *watch, om_pull_result *result);
void om_pull_result_free(om_pull_result *result);

/* Where the converted files of a commit go: .../models/USER--REPO/COMMIT, or its folder TYPES. om_free; NULL: no
 * memory or no home. */
char *om_pulled_folder(const om_name *name, const char *commit, const char *types);
/* Makes "latest" lead to TYPES. */
int om_pulled_set_latest(const om_name *name, const char *commit, const char *types);
/* The folder (om_free) of a model pulled before. ERR_IO when it is not there, naming the command that gets it;
 * ERR_ARG (no such name), ERR_MEMORY. */
int om_pulled_find(const char *text, char **folder);

/* Which files of a repository are wanted, by name: bits. */
enum { OM_WANTED_CHECKPOINT = 1, OM_WANTED_GGUF = 2, OM_WANTED_TORCH = 4, OM_WANTED_SMALL = 8 };
int om_pull_wanted(const char *path);

#endif
