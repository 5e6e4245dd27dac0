/*
 * fetch: one file of known size and checksum, in several ranges at once, resumed where an earlier run ended. The
 * final name appears only after the checksum was right.
 */
#ifndef OM_FETCH_H
#define OM_FETCH_H

#include "http.h"

#include <stdint.h>

typedef struct om_fetch_file {
    const char *label;      /* what people see: "model-00001-of-00004.safetensors" */
    const char *url;
    const char *final;      /* path it gets */
    const char *lock;       /* path of its lock */
    uint64_t    size;
    const char *sha256;     /* NULL: not known */
    const char *git;        /* SHA-1 as a git blob; used when sha256 is NULL; NULL: not known either */
    const char *begins;     /* bytes of which one must come first (blanks skipped), where no sum is known; NULL: any */
    const char *commit;     /* what the hub must say it is of; NULL: no hub's file */
} om_fetch_file;

typedef struct om_fetch_watch {
    void *user;
    /* Called from om_fetch's thread about ten times a second: bytes of this file that are there; checking: the
     * checksum's turn. Non-zero stops. NULL: none. */
    int  (*progress)(void *user, const om_fetch_file *file, uint64_t done, int checking);
    void (*waiting)(void *user, const om_fetch_file *file);     /* another process fetches it; NULL: none */
} om_fetch_watch;

/* Does nothing when a file of that size has the final name. connections: 1 to OM_PARTS_MAX ranges at once. OK;
 * AGAIN (stopped); ERR_IO, ERR_FORMAT (also a wrong checksum), ERR_MEMORY, ERR_BACKEND. */
int om_fetch(const om_http *http, const om_fetch_file *file, int connections, const om_fetch_watch *watch);

#endif
