/*
 * zip-read: end record, central directory, local headers, in this order; each confirms the one before.
 *
 *   entries ... | central directory | zip64 end record, its locator | end record, comment
 */
#include "zip-read.h"

#include "base/memory.h"
#include "base/status.h"
#include "file-read.h"
#include "printable.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    END = 22, END64 = 56, LOCATOR = 20, CENTRAL = 46, LOCAL = 30,   /* bytes of the records' fixed parts */
    LONGEST_COMMENT = 0xFFFF,
    LONGEST_NAME = 1024,
    MOST_ENTRIES = 1 << 18,
    LARGEST_DIRECTORY = 1 << 25,
    PIECE = 1 << 20,
    ENCRYPTED = 1 << 0, SIZES_FOLLOW = 1 << 3                       /* general purpose flags */
};

struct om_zip {
    int fd;                     /* while opening */
    uint64_t size;
    const char *path;           /* while opening */
    uint64_t directory;         /* where the entries end */
    om_zip_entry *entries;      /* [count], by name */
    size_t count;
};

/* ---- little pieces ----------------------------------------------------------------- */

static uint32_t u16(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static uint32_t u32(const unsigned char *p)
{
    return u16(p) | u16(p + 2) << 16;
}

static uint64_t u64(const unsigned char *p)
{
    return u32(p) | (uint64_t)u32(p + 4) << 32;
}

static bool is_record(const unsigned char *p, char kind, char version)
{
    return p[0] == 'P' && p[1] == 'K' && p[2] == (unsigned char)kind && p[3] == (unsigned char)version;
}

static int damaged(const om_zip *z, const char *what, uint64_t at)
{
    return om_fail(OMNI_ERR_FORMAT, "%s: ZIP container: %s (byte %" PRIu64 "); the file is damaged or cut short",
                   z->path, what, at);
}

/* ---- the end record ------------------------------------------------------------------ */

typedef struct {
    uint64_t entries, size, offset;     /* of the central directory */
    uint64_t at;                        /* where the end records begin: the directory ends here */
} directory_place;

/* A field of the old record is the zip64 record's, or says that it does not fit. */
static bool agree(uint64_t old, uint64_t limit, uint64_t full)
{
    return old == limit || old == full;
}

static int read_end64(const om_zip *z, const unsigned char *locator, const unsigned char *end,
                      uint64_t end_at, directory_place *place)
{
    unsigned char r[END64];
    const uint64_t at = u64(locator + 8);
    int rc;

    if (u32(locator + 4) != 0 || u32(locator + 16) > 1)
        return damaged(z, "it claims to be spread over several disks", end_at);
    if (end_at < LOCATOR + END64 || at > end_at - LOCATOR - END64)
        return damaged(z, "its zip64 record lies outside of the file", end_at);
    rc = om_file_read(z->fd, z->path, at, r, sizeof r);
    if (rc)
        return rc;
    if (!is_record(r, 6, 6) || u64(r + 4) != end_at - LOCATOR - at - 12)
        return damaged(z, "its zip64 record is not where it should be", at);
    if (u32(r + 16) != 0 || u32(r + 20) != 0)
        return damaged(z, "it claims to be spread over several disks", at);
    *place = (directory_place){u64(r + 32), u64(r + 40), u64(r + 48), at};
    if (u64(r + 24) != place->entries || !agree(u16(end + 10), 0xFFFF, place->entries) ||
        !agree(u32(end + 12), 0xFFFFFFFF, place->size) || !agree(u32(end + 16), 0xFFFFFFFF, place->offset))
        return damaged(z, "its two end records contradict each other", at);
    return OMNI_OK;
}

/* The end record is the last one whose comment ends with the file. */
static int find_end(const om_zip *z, directory_place *place)
{
    const size_t room = LOCATOR + END + LONGEST_COMMENT;
    const size_t n = z->size < room ? (size_t)z->size : room;
    const uint64_t start = z->size - n;
    unsigned char *tail = om_calloc(n, 1);
    size_t at;
    int rc;

    if (!tail)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", z->path);
    rc = om_file_read(z->fd, z->path, start, tail, n);
    if (rc)
        goto done;
    for (at = n >= END ? n - END + 1 : 0; at > 0; at--)
        if (is_record(tail + at - 1, 5, 6) && u16(tail + at - 1 + 20) == n - (at - 1) - END)
            break;
    if (at == 0) {
        rc = damaged(z, "no end record", z->size);
        goto done;
    }
    at--;
    if (u16(tail + at + 4) != 0 || u16(tail + at + 6) != 0 || u16(tail + at + 8) != u16(tail + at + 10)) {
        rc = damaged(z, "it claims to be spread over several disks", start + at);
        goto done;
    }
    *place = (directory_place){u16(tail + at + 10), u32(tail + at + 12), u32(tail + at + 16), start + at};
    if (at >= LOCATOR && is_record(tail + at - LOCATOR, 6, 7))
        rc = read_end64(z, tail + at - LOCATOR, tail + at, start + at, place);
done:
    om_free(tail);
    return rc;
}

/* ---- the central directory -------------------------------------------------------------- */

/* A name that stays below the place where somebody would unpack it. */
static bool is_plain_name(const char *name, size_t n)
{
    size_t part = 0;        /* where the present part of the path begins */

    if (n == 0 || n > LONGEST_NAME)
        return false;
    for (size_t i = 0; i <= n; i++) {
        if (i < n && ((unsigned char)name[i] < 0x20 || name[i] == 0x7F || name[i] == '\\'))
            return false;
        if (i < n && name[i] != '/')
            continue;
        if (i == part || (i - part == 1 && name[part] == '.') ||
            (i - part == 2 && name[part] == '.' && name[part + 1] == '.'))
            return false;
        part = i + 1;
    }
    return true;
}

/* Replaces the fields that hold 0xFFFFFFFF by those of the zip64 extra field, which holds just these, in order. */
static bool zip64_fields(const unsigned char *extra, size_t n, uint64_t *fields[], int n_fields)
{
    const unsigned char *found = NULL;
    size_t left = 0, used = 0;

    for (size_t at = 0; at + 4 <= n && !found;) {
        const size_t length = u16(extra + at + 2);

        if (length > n - at - 4)
            return false;
        if (u16(extra + at) == 1) {
            found = extra + at + 4;
            left = length;
        }
        at += 4 + length;
    }
    for (int i = 0; i < n_fields; i++) {
        if (*fields[i] != 0xFFFFFFFF)
            continue;
        if (left - used < 8)
            return false;
        *fields[i] = u64(found + used);
        used += 8;
    }
    return true;
}

/* One record of the directory at p, of which n bytes are there; *used says how many it took. */
static int read_central(const om_zip *z, const unsigned char *p, size_t n, uint64_t at, om_zip_entry *e,
                        size_t *used)
{
    uint64_t packed, *fields[] = {&e->size, &packed, &e->header};
    size_t n_name, n_extra;
    char *name;

    if (n < CENTRAL || !is_record(p, 1, 2))
        return damaged(z, "its directory ends too early", at);
    n_name = u16(p + 28);
    n_extra = u16(p + 30);
    *used = CENTRAL + n_name + n_extra + u16(p + 32);
    if (*used > n)
        return damaged(z, "its directory ends too early", at);
    if (!is_plain_name((const char *)p + CENTRAL, n_name))
        return om_fail(OMNI_ERR_FORMAT, "%s: ZIP container: entry name \"%s\" (byte %" PRIu64 "): found a path that is"
                       " empty, too long or leads elsewhere, wanted plain names as torch.save writes them",
                       z->path, om_printable_of(p + CENTRAL, n_name).text, at + CENTRAL);
    name = om_calloc(n_name + 1, 1);
    if (!name)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", z->path);
    memcpy(name, p + CENTRAL, n_name);
    e->name = name;
    if (u16(p + 8) & ENCRYPTED)
        return om_fail(OMNI_ERR_FORMAT, "%s: entry %s is encrypted; decrypt the file first", z->path, name);
    if (u16(p + 10) != 0)
        return om_fail(OMNI_ERR_FORMAT, "%s: entry %s is compressed (method %u), wanted stored bytes;"
                       " save the state_dict() with torch.save, not torch.jit.save or zip", z->path, name, u16(p + 10));
    packed = u32(p + 20);
    e->crc = u32(p + 16);
    e->size = u32(p + 24);
    e->header = u32(p + 42);
    if (u16(p + 34) != 0)
        return damaged(z, "it claims to be spread over several disks", at);
    if (!zip64_fields(p + CENTRAL + n_name, n_extra, fields, 3))
        return damaged(z, "an entry's zip64 sizes are missing", at);
    if (packed != e->size)
        return om_fail(OMNI_ERR_FORMAT, "%s: entry %s: %" PRIu64 " bytes in the file pretend to be %" PRIu64
                       "; the file is damaged", z->path, name, packed, e->size);
    return OMNI_OK;
}

static int read_directory(om_zip *z)
{
    directory_place place = {0};
    unsigned char *bytes = NULL;
    size_t at = 0, used = 0;
    int rc = find_end(z, &place);

    if (rc)
        return rc;
    if (place.offset > place.at || place.size != place.at - place.offset)
        return damaged(z, "its directory does not end where its end record begins", place.at);
    if (place.size > LARGEST_DIRECTORY || place.entries > MOST_ENTRIES || place.entries > place.size / CENTRAL)
        return om_fail(OMNI_ERR_FORMAT, "%s: ZIP container: found %" PRIu64 " entries in a directory of %" PRIu64
                       " bytes, wanted at most %d in %d bytes; the file is damaged", z->path, place.entries,
                       place.size, MOST_ENTRIES, LARGEST_DIRECTORY);
    z->directory = place.offset;
    bytes = om_calloc((size_t)place.size, 1);
    z->entries = om_calloc((size_t)place.entries, sizeof *z->entries);
    if (!bytes || !z->entries)
        rc = om_fail(OMNI_ERR_MEMORY, "%s: out of memory for %" PRIu64 " entries", z->path, place.entries);
    if (!rc)
        rc = om_file_read(z->fd, z->path, place.offset, bytes, (size_t)place.size);
    while (!rc && z->count < place.entries) {
        rc = read_central(z, bytes + at, (size_t)place.size - at, place.offset + at, &z->entries[z->count], &used);
        z->count++;     /* also the failed one, whose name is to be freed */
        at += used;
    }
    if (!rc && at != place.size)
        rc = damaged(z, "its directory holds more than its entries", place.offset + at);
    om_free(bytes);
    return rc;
}

/* ---- the entries --------------------------------------------------------------------------- */

/* Sizes in a local header are the directory's, or they follow the data and may be 0 here. */
static bool same_sizes(const om_zip_entry *e, const unsigned char *p, const unsigned char *extra, size_t n_extra)
{
    uint64_t packed = u32(p + 18), size = u32(p + 22), *fields[] = {&size, &packed};

    if (u16(p + 6) & SIZES_FOLLOW && packed == 0 && size == 0)
        return true;
    return zip64_fields(extra, n_extra, fields, 2) && size == e->size && packed == e->size;
}

static int check_local(const om_zip *z, om_zip_entry *e)
{
    unsigned char p[LOCAL], *rest;
    size_t n_name, n_extra;
    int rc;

    if (e->header > z->directory || z->directory - e->header < LOCAL)
        return om_fail(OMNI_ERR_FORMAT, "%s: entry %s begins at byte %" PRIu64 ", outside of the entries; the file is"
                       " damaged", z->path, e->name, e->header);
    rc = om_file_read(z->fd, z->path, e->header, p, sizeof p);
    if (rc)
        return rc;
    n_name = u16(p + 26);
    n_extra = u16(p + 28);
    e->offset = e->header + LOCAL + n_name + n_extra;
    if (!is_record(p, 3, 4) || n_name != strlen(e->name) || u16(p + 6) & ENCRYPTED || u16(p + 8) != 0)
        return om_fail(OMNI_ERR_FORMAT, "%s: entry %s: its header at byte %" PRIu64 " is not what the directory says;"
                       " the file is damaged", z->path, e->name, e->header);
    if (e->offset > z->directory || e->size > z->directory - e->offset)
        return om_fail(OMNI_ERR_FORMAT, "%s: entry %s: %" PRIu64 " bytes at %" PRIu64 " reach behind the entries' end"
                       " at %" PRIu64 "; the file is damaged", z->path, e->name, e->size, e->offset, z->directory);
    rest = om_calloc(n_name + n_extra, 1);
    if (!rest)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", z->path);
    rc = om_file_read(z->fd, z->path, e->header + LOCAL, rest, n_name + n_extra);
    if (!rc && (memcmp(rest, e->name, n_name) != 0 || !same_sizes(e, p, rest + n_name, n_extra)))
        rc = om_fail(OMNI_ERR_FORMAT, "%s: entry %s: its header at byte %" PRIu64 " has another name or size than the"
                     " directory; the file is damaged", z->path, e->name, e->header);
    om_free(rest);
    return rc;
}

static int by_place(const void *a, const void *b)
{
    const om_zip_entry *x = a, *y = b;

    return x->header < y->header ? -1 : x->header > y->header;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const om_zip_entry *)a)->name, ((const om_zip_entry *)b)->name);
}

static int check_entries(om_zip *z)
{
    int rc = OMNI_OK;

    if (z->count == 0)
        return om_fail(OMNI_ERR_FORMAT, "%s: an empty ZIP container", z->path);
    for (size_t i = 0; i < z->count && !rc; i++)
        rc = check_local(z, &z->entries[i]);
    if (rc)
        return rc;
    qsort(z->entries, z->count, sizeof *z->entries, by_place);
    for (size_t i = 1; i < z->count; i++) {
        const om_zip_entry *a = &z->entries[i - 1], *b = &z->entries[i];

        if (a->offset + a->size > b->header)
            return om_fail(OMNI_ERR_FORMAT, "%s: entries %s and %s overlap at byte %" PRIu64 "; the file is damaged",
                           z->path, a->name, b->name, b->header);
    }
    qsort(z->entries, z->count, sizeof *z->entries, by_name);
    for (size_t i = 1; i < z->count; i++)
        if (strcmp(z->entries[i - 1].name, z->entries[i].name) == 0)
            return om_fail(OMNI_ERR_FORMAT, "%s: entry %s is there twice; the file is damaged", z->path,
                           z->entries[i].name);
    return OMNI_OK;
}

/* ---- the interface ---------------------------------------------------------------------------- */

int om_zip_open(int fd, uint64_t size, const char *path, om_zip **out)
{
    om_zip *z = om_calloc(1, sizeof *z);
    int rc;

    if (!z)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", path);
    z->fd = fd;
    z->size = size;
    z->path = path;
    rc = read_directory(z);
    if (!rc)
        rc = check_entries(z);
    if (rc) {
        om_zip_free(z);
        return rc;
    }
    *out = z;
    return OMNI_OK;
}

/* The remainders of all bytes, for the polynomial with its bits reversed. */
static void crc_table(uint32_t table[256])
{
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++)
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xEDB88320 : 0);
    }
}

int om_zip_check(int fd, const char *path, const om_zip_entry *e)
{
    uint32_t table[256], crc = 0xFFFFFFFF;
    unsigned char *bytes;
    int rc = OMNI_OK;

    if (e->crc == 0)
        return OMNI_OK;
    bytes = om_calloc(PIECE, 1);
    if (!bytes)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", path);
    crc_table(table);
    for (uint64_t at = 0; !rc && at < e->size; at += PIECE) {
        const size_t n = e->size - at < PIECE ? (size_t)(e->size - at) : PIECE;

        rc = om_file_read(fd, path, e->offset + at, bytes, n);
        for (size_t i = 0; !rc && i < n; i++)
            crc = crc >> 8 ^ table[(crc ^ bytes[i]) & 0xFF];
    }
    om_free(bytes);
    if (!rc && (crc ^ 0xFFFFFFFF) != e->crc)
        rc = om_fail(OMNI_ERR_FORMAT, "%s: entry %s: found the CRC-32 %08" PRIx32 ", wanted %08" PRIx32 "; the file is damaged: fetch"
                     " it again", path, e->name, crc ^ 0xFFFFFFFF, e->crc);
    return rc;
}

void om_zip_free(om_zip *zip)
{
    if (!zip)
        return;
    for (size_t i = 0; i < zip->count; i++)
        om_free((char *)zip->entries[i].name);
    om_free(zip->entries);
    om_free(zip);
}

size_t om_zip_count(const om_zip *zip)
{
    return zip->count;
}

const om_zip_entry *om_zip_entry_at(const om_zip *zip, size_t i)
{
    return i < zip->count ? &zip->entries[i] : NULL;
}

const om_zip_entry *om_zip_find(const om_zip *zip, const char *name)
{
    const om_zip_entry key = {.name = name};

    return bsearch(&key, zip->entries, zip->count, sizeof key, by_name);
}
