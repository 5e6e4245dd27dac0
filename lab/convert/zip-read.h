/*
 * zip-read: the ZIP containers that torch.save writes, and no more of the format than they use.
 *
 * Entries are stored, never compressed, so that an entry is a range of the file. What is checked before any of it
 * is used: the central directory ends where its end record begins; every entry's local header repeats what the
 * directory says; entries do not overlap, lie before the directory, have distinct names without folders upwards.
 */
#ifndef OM_ZIP_READ_H
#define OM_ZIP_READ_H

#include <stddef.h>
#include <stdint.h>

typedef struct om_zip om_zip;

typedef struct om_zip_entry {
    const char *name;           /* "archive/data/0", owned by the om_zip */
    uint64_t    header;         /* bytes from the file's beginning to the local header */
    uint64_t    offset;         /* and to the data                                     */
    uint64_t    size;           /* bytes of data                                       */
    uint32_t    crc;            /* of the data, as the directory has it; 0: not said   */
} om_zip_entry;

/* fd stays the caller's and is used only here; path is for messages. ERR_IO, ERR_MEMORY, and ERR_FORMAT for anything
 * that torch.save does not write: compression, encryption, several disks, links to places outside. */
int om_zip_open(int fd, uint64_t size, const char *path, om_zip **out);
/* Reads an entry's data and compares its CRC-32, where there is one. path is for messages. ERR_IO, ERR_MEMORY,
 * ERR_FORMAT. */
int om_zip_check(int fd, const char *path, const om_zip_entry *e);
/* NULL is fine. */
void om_zip_free(om_zip *zip);

size_t om_zip_count(const om_zip *zip);
/* In the order of their names. */
const om_zip_entry *om_zip_entry_at(const om_zip *zip, size_t i);
/* NULL when there is none of that name. */
const om_zip_entry *om_zip_find(const om_zip *zip, const char *name);

#endif
