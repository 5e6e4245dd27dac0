#include "parts.h"

#include "paths.h"

#include "base/memory.h"
#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NOTE_EVERY = 4 << 20 };      /* bytes that a killed run may have to fetch again, per part */

typedef struct notes {
    char     magic[8];
    uint64_t size;
    uint64_t n;
    char     etag[80];
    uint64_t done[OM_PARTS_MAX];
} notes;

static const char magic[8] = "OMNPRT1";

uint64_t om_part_begin(const om_parts *p, int part)
{
    const uint64_t step = p->size / (uint64_t)p->n + 1;
    const uint64_t at = step * (uint64_t)part;
    return at < p->size ? at : p->size;
}

uint64_t om_part_end(const om_parts *p, int part)
{
    return om_part_begin(p, part + 1);
}

bool om_part_is_done(const om_parts *p, int part)
{
    return om_part_begin(p, part) + p->done[part] == om_part_end(p, part);
}

static int pwrite_all(int fd, const char *bytes, size_t n, uint64_t at)
{
    while (n > 0) {
        const ssize_t done = pwrite(fd, bytes, n, (off_t)at);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return -1;
        bytes += done;
        at += (uint64_t)done;
        n -= (size_t)done;
    }
    return 0;
}

static int io_error(const char *path)
{
    return om_fail(OMNI_ERR_IO, "%s: can not be written: %s; what was fetched is kept, run the same again%s", path,
                   strerror(errno), errno == ENOSPC || errno == EFBIG || errno == EDQUOT ? " when there is room" : "");
}

int om_parts_restart(om_parts *p, const char *etag, int n)
{
    notes all = {.size = p->size, .n = (uint64_t)n};
    memcpy(all.magic, magic, sizeof magic);
    memcpy(all.etag, etag, strnlen(etag, sizeof all.etag - 1));
    p->n = n;
    p->found = 0;
    memset(p->done, 0, sizeof p->done);
    memset(p->noted, 0, sizeof p->noted);
    if (ftruncate(p->note, 0) != 0 || ftruncate(p->data, 0) != 0) return io_error(p->data_path);
    if (pwrite_all(p->note, (const char *)&all, sizeof all, 0) != 0) return io_error(p->note_path);
    return OMNI_OK;
}

/* Are there notes that fit, and the bytes they speak of? */
static bool resume(om_parts *p, const char *etag)
{
    notes all;
    struct stat st;
    if (pread(p->note, &all, sizeof all, 0) != (ssize_t)sizeof all || fstat(p->data, &st) != 0) return false;
    if (memcmp(all.magic, magic, sizeof magic) != 0 || all.size != p->size || all.n < 1 || all.n > OM_PARTS_MAX ||
        strnlen(all.etag, sizeof all.etag) != strlen(etag) || strncmp(all.etag, etag, sizeof all.etag) != 0)
        return false;
    p->n = (int)all.n;
    p->found = 0;
    for (int i = 0; i < p->n; i++) {
        const uint64_t begin = om_part_begin(p, i);
        if (all.done[i] > om_part_end(p, i) - begin) return false;
        if (all.done[i] > 0 && begin + all.done[i] > (uint64_t)st.st_size) return false;
        p->done[i] = p->noted[i] = all.done[i];
        p->found += all.done[i];
    }
    return true;
}

int om_parts_open(om_parts *p, const char *final, const char *etag, uint64_t size, int n)
{
    *p = (om_parts){.data = -1, .note = -1, .size = size, .n = n};
    p->data_path = om_path("%s.omni-incomplete", final);
    p->note_path = om_path("%s.omni-parts", final);
    int rc = p->data_path && p->note_path ? om_make_parents(final) : OMNI_ERR_MEMORY;
    if (rc == OMNI_OK) {
        const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW;
        p->data = open(p->data_path, flags, 0666);
        p->note = open(p->note_path, flags, 0666);
        if (p->data < 0 || p->note < 0) rc = io_error(p->data_path);
        else if (!resume(p, etag)) rc = om_parts_restart(p, etag, n);
    }
    if (rc != OMNI_OK) om_parts_close(p);
    return rc;
}

void om_parts_close(om_parts *p)
{
    for (int i = 0; i < p->n && p->note >= 0; i++) om_part_note(p, i);
    if (p->data >= 0) close(p->data);
    if (p->note >= 0) close(p->note);
    om_free(p->data_path);
    om_free(p->note_path);
    *p = (om_parts){.data = -1, .note = -1};
}

void om_parts_discard(om_parts *p)
{
    if (p->data_path) unlink(p->data_path);
    if (p->note_path) unlink(p->note_path);
}

void om_part_note(om_parts *p, int part)
{
    const uint64_t at = offsetof(notes, done) + (uint64_t)part * sizeof(uint64_t);
    if (p->noted[part] == p->done[part]) return;
    if (fdatasync(p->data) != 0) return;        /* a note must not reach the disk before what it is about */
    if (pwrite_all(p->note, (const char *)&p->done[part], sizeof p->done[part], at) == 0)
        p->noted[part] = p->done[part];
}

int om_part_write(om_parts *p, int part, const void *bytes, size_t n)
{
    const uint64_t at = om_part_begin(p, part) + p->done[part];
    if (n > om_part_end(p, part) - at)
        return om_fail(OMNI_ERR_FORMAT, "%s: the server sends more bytes than were asked for", p->data_path);
    if (pwrite_all(p->data, bytes, n, at) != 0) return io_error(p->data_path);
    p->done[part] += n;
    if (p->done[part] - p->noted[part] >= NOTE_EVERY) om_part_note(p, part);
    return OMNI_OK;
}

int om_parts_commit(om_parts *p, const char *final)
{
    if (fsync(p->data) != 0 || rename(p->data_path, final) != 0) return io_error(final);
    unlink(p->note_path);
    return OMNI_OK;
}
