/*
 * checksums: SHA-256 of files by a thread of its own, while another reads the same files for their numbers.
 *
 * Both go through the files from front to back, so what one reads the other finds in memory: a checkpoint is
 * read from the disk once.
 */
#ifndef OM_CHECKSUMS_H
#define OM_CHECKSUMS_H

#include "digest.h"
#include "source.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct om_checksum {
    const char *path;           /* of the source */
    int      fd;
    uint64_t bytes;
    char     hex[OM_DIGEST_HEX];
} om_checksum;

typedef struct om_checksums {
    om_checksum *files;
    int          n;
    pthread_t    thread;
    bool         running;
    atomic_bool  stop;
    int          status;        /* of the thread, with its text */
    char         error[512];
} om_checksums;

int  om_checksums_add(om_checksums *c, const om_source *s);    /* the source's files; before start. ERR_MEMORY */
int  om_checksums_start(om_checksums *c);                      /* ERR_BACKEND */
/* Waits for all sums. poll (may be NULL) is asked some times a second; non-zero: AGAIN. What the thread met. */
int  om_checksums_wait(om_checksums *c, int (*poll)(void *user), void *user);
/* Stops the thread and frees. {0} is fine. */
void om_checksums_free(om_checksums *c);

#endif
