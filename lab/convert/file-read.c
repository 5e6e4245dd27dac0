/* file-read: opening and reading at an offset, whole or not at all. */
#include "file-read.h"

#include "base/memory.h"
#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int om_file_open(const char *path, int *fd, uint64_t *size)
{
    struct stat st;
    /* Non-blocking, so that a FIFO is refused instead of waited for. */
    const int opened = om_torture_hit() ? (errno = EIO, -1) : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (opened < 0)
        return om_fail(OMNI_ERR_IO, "%s: can not be opened: %s", path, strerror(errno));
    if (fstat(opened, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(opened);
        return om_fail(OMNI_ERR_IO, "%s: not a regular file", path);
    }
    *fd = opened;
    *size = (uint64_t)st.st_size;
    return OMNI_OK;
}

int om_file_read(int fd, const char *path, uint64_t offset, void *out, size_t n)
{
    unsigned char *to = out;

    while (n > 0) {
        /* Linux moves at most 2 GB per call. */
        const size_t want = n < ((size_t)1 << 30) ? n : (size_t)1 << 30;
        const ssize_t got = om_torture_hit() ? (errno = EIO, -1) : pread(fd, to, want, (off_t)offset);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return om_fail(OMNI_ERR_IO, "%s: can not be read at byte %" PRIu64 ": %s", path, offset,
                           got < 0 ? strerror(errno) : "it became shorter");
        to += got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return OMNI_OK;
}
