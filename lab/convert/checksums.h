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
#include <stdbool.h>

typedef struct om_checksum {
    char    *path;              /* the source's, or its own */
    int      fd;                /* so is this */
    bool     owned;
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

/* Before start. A source's files, which must live longer; a file by its path. ERR_MEMORY, ERR_IO. */
int  om_checksums_add(om_checksums *c, const om_source *s);
int  om_checksums_add_file(om_checksums *c, const char *path);
int  om_checksums_start(om_checksums *c);                      /* ERR_BACKEND */
/* Waits for all sums. poll (may be NULL) is asked some times a second; non-zero: AGAIN. What the thread met. */
int  om_checksums_wait(om_checksums *c, int (*poll)(void *user), void *user);
/* Stops the thread and frees. {0} is fine. */
void om_checksums_free(om_checksums *c);

#endif
