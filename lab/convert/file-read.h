/* file-read: bytes of a file that somebody else may be changing. */
#ifndef OM_FILE_READ_H
#define OM_FILE_READ_H

#include <stddef.h>
#include <stdint.h>

/* Opens a regular file; anything else (a folder, a pipe) is ERR_IO. The descriptor is the caller's. */
int om_file_open(const char *path, int *fd, uint64_t *size);

/* All n bytes from offset on, or ERR_IO: a file that became shorter is an error, not fewer bytes. */
int om_file_read(int fd, const char *path, uint64_t offset, void *out, size_t n);

#endif
