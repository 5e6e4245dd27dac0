/*
 * name: what a user calls a published model: one of the names of known.def, or hf:USER/REPO[@REVISION].
 */
#ifndef OM_NAME_H
#define OM_NAME_H

#include <stdbool.h>

enum { OM_NAME_REPO = 200, OM_NAME_REVISION = 128 };

/* A file of the set that is not at the hub. */
typedef struct om_known_file {
    const char *model, *role;       /* of which model; "whisper", "vocoder" or "vocoder-config" */
    const char *folder, *file;      /* where it is kept below sources/ */
    const char *url;
    const char *sha256;             /* "" where the publisher gives none */
} om_known_file;

typedef struct om_known_model {
    const char *name, *repo, *revision;
    const char *licence;            /* what acceptance is remembered under */
    const char *terms;              /* lines for people */
} om_known_model;

extern const om_known_file  om_known_files[];
extern const int            om_n_known_files;
extern const om_known_model om_known_models[];
extern const int            om_n_known_models;

typedef struct om_name {
    char repo[OM_NAME_REPO];            /* "USER/REPO" */
    char revision[OM_NAME_REVISION];    /* branch, tag or commit; "main" when not given */
    char id[OM_NAME_REPO];              /* a folder's name for it: "USER--REPO" */
    const om_known_model *set;          /* given by its name: with the files beside the repository; else NULL */
    const om_known_model *terms;        /* whose terms hold: also when a known repository came as hf:; else NULL */
} om_name;

/* Does the text look like such a name (rather than a path)? */
bool om_name_is(const char *text);
/* OK, or ERR_ARG with what is wrong. */
int om_name_parse(const char *text, om_name *out);

/* The rules by themselves: 40 lower-case hexadecimal digits; a path of the hub that stays inside its folder. */
bool om_is_commit(const char *text);
bool om_is_hex(const char *text, int digits);
bool om_is_safe_path(const char *path);

#endif
