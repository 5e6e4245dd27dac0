/*
 * parts: a file that is being fetched in several ranges at once, and can go on after any end.
 *
 *   FINAL.omni-incomplete   the bytes, each at its place
 *   FINAL.omni-parts        how far each part is; written after the bytes it speaks of
 *
 * The names differ from other tools' FINAL.incomplete on purpose: those hold a beginning without holes.
 * Threads may add to different parts at the same time.
 */
#ifndef OM_PARTS_H
#define OM_PARTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

enum { OM_PARTS_MAX = 16 };

typedef struct om_parts {
    char    *data_path, *note_path;
    int      data, note;                /* descriptors */
    uint64_t size;
    int      n;                         /* parts */
    uint64_t done[OM_PARTS_MAX];        /* bytes of each, from its beginning */
    uint64_t noted[OM_PARTS_MAX];       /* the same, as the file says */
    uint64_t found;                     /* bytes that were there when it was opened */
} om_parts;

/* Opens what an earlier run left for the same size and etag, else begins with n parts. The caller holds the blob's
 * lock. ERR_IO, ERR_MEMORY. */
int  om_parts_open(om_parts *p, const char *final, const char *etag, uint64_t size, int n);
/* Keeps the files for next time. */
void om_parts_close(om_parts *p);
/* Forgets everything and begins again with n parts. ERR_IO. */
int  om_parts_restart(om_parts *p, const char *etag, int n);
/* Removes both files. */
void om_parts_discard(om_parts *p);

uint64_t om_part_begin(const om_parts *p, int part);
uint64_t om_part_end(const om_parts *p, int part);
bool     om_part_is_done(const om_parts *p, int part);
/* Appends to a part; more than is missing is ERR_FORMAT. ERR_IO (disk full). */
int om_part_write(om_parts *p, int part, const void *bytes, size_t n);
/* Writes down how far the part is; done now and then by om_part_write. */
void om_part_note(om_parts *p, int part);

/* The final name appears, the notes go. ERR_IO. */
int om_parts_commit(om_parts *p, const char *final);

#endif
