/*
 * part-file: a large file that appears under its name only when it is complete and on the disk.
 *
 * Bytes go to PATH.part; the next run replaces what a killed one left there. Two runs that write the same file
 * at once: the second is refused.
 *
 * Whoever ends the process by a signal may want to remove part files: om_part_file_tell.
 */
#ifndef OM_PART_FILE_H
#define OM_PART_FILE_H

#include <stddef.h>
#include <stdint.h>

typedef struct om_part_file {
    char *path, *part;
    int   fd, slot;         /* slot: what the told one calls it */
} om_part_file;

/* From now on add is told of every part file's path, which stays as it is until remove is called with what add
 * returned. Before other threads begin. */
void om_part_file_tell(int (*add)(const char *part), void (*remove)(int slot));

/* ERR_IO, ERR_MEMORY, ERR_STATE (another process writes it). Initialise with {.fd = -1}. */
int  om_part_file_open(om_part_file *f, const char *path);
int  om_part_file_write(om_part_file *f, const void *bytes, size_t n);                  /* ERR_IO */
int  om_part_file_write_at(om_part_file *f, const void *bytes, size_t n, uint64_t at);  /* ERR_IO */
/* To the disk, then under the final name. Closes f. ERR_IO. */
int  om_part_file_commit(om_part_file *f);
/* Removes what was written, unless committed. */
void om_part_file_discard(om_part_file *f);

#endif
