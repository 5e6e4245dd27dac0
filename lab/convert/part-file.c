/* part-file: see the header. */
#include "part-file.h"

#include "base/memory.h"
#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int  (*told_add)(const char *part);
static void (*told_remove)(int slot);

void om_part_file_tell(int (*add)(const char *part), void (*remove)(int slot))
{
    told_add = add;
    told_remove = remove;
}

static int failed(const om_part_file *f, const char *what, int why)
{
    return om_fail(OMNI_ERR_IO, "%s: %s: %s", f->part, what, strerror(why));
}

/* Is what was opened still the file of that name? Its writer may have renamed it before it could be locked. */
static bool still_there(const om_part_file *f)
{
    struct stat opened, named;

    return fstat(f->fd, &opened) == 0 && stat(f->part, &named) == 0 && opened.st_dev == named.st_dev &&
           opened.st_ino == named.st_ino;
}

static int lock(om_part_file *f)
{
    if (flock(f->fd, LOCK_EX | LOCK_NB) == 0) {
        if (still_there(f))
            return OMNI_OK;
        errno = EWOULDBLOCK;
    }
    const int why = errno, rc = why == EWOULDBLOCK
        ? om_fail(OMNI_ERR_STATE, "%s: another process is writing it; wait for it, or choose another folder", f->part)
        : failed(f, "can not be locked", why);

    close(f->fd);
    f->fd = -1;     /* so that discard leaves the other's file alone */
    return rc;
}

int om_part_file_open(om_part_file *f, const char *path)
{
    const size_t room = strlen(path) + sizeof ".part";
    int rc;

    *f = (om_part_file){.path = om_strdup(path), .part = om_calloc(room, 1), .fd = -1};
    if (!f->path || !f->part) {
        om_part_file_discard(f);
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", path);
    }
    snprintf(f->part, room, "%s.part", path);
    f->fd = open(f->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    rc = f->fd < 0 ? failed(f, "can not be written", errno) : lock(f);
    if (!rc && told_add)
        f->slot = told_add(f->part);
    if (!rc && ftruncate(f->fd, 0) != 0)
        rc = failed(f, "can not be written", errno);
    if (rc)
        om_part_file_discard(f);
    return rc;
}

/* at < 0: where the last write ended. */
static int write_all(om_part_file *f, const char *bytes, size_t n, off_t at)
{
    while (n > 0) {
        const ssize_t done = om_torture_hit() ? (errno = ENOSPC, -1) : at < 0 ? write(f->fd, bytes, n) : pwrite(f->fd, bytes, n, at);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return failed(f, "writing failed", done < 0 ? errno : ENOSPC);
        bytes += done;
        n -= (size_t)done;
        at += at < 0 ? 0 : done;
    }
    return OMNI_OK;
}

int om_part_file_write(om_part_file *f, const void *bytes, size_t n)
{
    return write_all(f, bytes, n, -1);
}

int om_part_file_write_at(om_part_file *f, const void *bytes, size_t n, uint64_t at)
{
    return write_all(f, bytes, n, (off_t)at);
}

/* The folder's entry must reach the disk too; a file system that can not sync folders is no error. */
static void sync_folder(const char *path)
{
    char *folder = om_strdup(path), *slash = folder ? strrchr(folder, '/') : NULL;
    int fd;

    if (slash)
        slash[slash == folder] = '\0';
    fd = folder ? open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    om_free(folder);
}

/* Before the lock is given up: then the name may be another process's. */
static void let_go(om_part_file *f)
{
    if (told_remove)
        told_remove(f->slot);
    close(f->fd);
    f->fd = -1;
}

int om_part_file_commit(om_part_file *f)
{
    int rc = OMNI_OK;

    if (fsync(f->fd) != 0)
        rc = failed(f, "can not be brought to the disk", errno);
    else if (rename(f->part, f->path) != 0)
        rc = om_fail(OMNI_ERR_IO, "%s: can not be renamed to %s: %s", f->part, f->path, strerror(errno));
    if (!rc) {
        sync_folder(f->path);
        let_go(f);
    }
    om_part_file_discard(f);
    return rc;
}

void om_part_file_discard(om_part_file *f)
{
    if (f->fd >= 0) {
        unlink(f->part);
        let_go(f);
    }
    om_free(f->path);
    om_free(f->part);
    *f = (om_part_file){.fd = -1};
}
