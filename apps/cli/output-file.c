/* Atomic output: temporary file beside the target, then rename. */
#include "output-file.h"

#include "interrupt.h"
#include "options.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* "folder/.name.XXXXXX" for mkstemp; NULL: out of memory. */
static char *temp_name(const char *target)
{
    const char *slash = strrchr(target, '/'), *base = slash ? slash + 1 : target;
    const size_t size = strlen(target) + sizeof "/..XXXXXX";
    char *name = malloc(size);
    if (name) snprintf(name, size, "%.*s.%s.XXXXXX", (int)(base - target), target, base);
    return name;
}

static int open_failed(cli_output *out, int why)
{
    cli_error("%s: can not be written: %s; choose another place with -o", out->path, strerror(why));
    cli_output_discard(out);
    return CLI_FAILED;
}

/* A regular file, there or not: through a temporary file. */
static int open_temp(cli_output *out)
{
    struct stat old;
    char *real = realpath(out->path, NULL);   /* a link's target is replaced, not the link */
    out->target = real ? real : strdup(out->path);
    if (!out->target) return open_failed(out, ENOMEM);
    if (real && access(real, W_OK) != 0) return open_failed(out, errno);
    out->temp = temp_name(out->target);
    if (!out->temp) return open_failed(out, ENOMEM);
    out->fd = mkstemp(out->temp);
    if (out->fd < 0) {
        const int why = errno;
        free(out->temp);
        out->temp = NULL;
        return open_failed(out, why);
    }
    out->slot = cli_interrupt_add_file(out->temp);
    /* mkstemp gives 0600: what the old file had, or what open() would have given */
    mode_t mode = umask(0);
    umask(mode);
    mode = stat(out->target, &old) == 0 ? old.st_mode & 0777 : 0666 & ~mode;
    if (fchmod(out->fd, mode) != 0) return open_failed(out, errno);
    return CLI_OK;
}

int cli_output_open(cli_output *out, const char *path)
{
    *out = (cli_output){.fd = -1, .slot = -1};
    out->path = strdup(path);
    if (!out->path) return cli_error("%s: out of memory", path);
    struct stat st;
    if (strcmp(path, "-") == 0) {
        out->fd = dup(STDOUT_FILENO);
        return out->fd < 0 ? open_failed(out, errno) : CLI_OK;
    }
    if (stat(path, &st) != 0) return errno == ENOENT ? open_temp(out) : open_failed(out, errno);
    if (S_ISDIR(st.st_mode)) return open_failed(out, EISDIR);
    if (S_ISREG(st.st_mode)) return open_temp(out);
    out->fd = open(path, O_WRONLY);
    return out->fd < 0 ? open_failed(out, errno) : CLI_OK;
}

int cli_output_write(cli_output *out, const void *bytes, size_t n)
{
    const char *at = bytes;
    while (n > 0 && !out->error) {
        const ssize_t done = write(out->fd, at, n);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) {
            out->error = done < 0 ? errno : ENOSPC;
            break;
        }
        at += done;
        n -= (size_t)done;
    }
    return out->error ? CLI_FAILED : CLI_OK;
}

int64_t cli_output_seek(cli_output *out, int64_t offset, int whence)
{
    return lseek(out->fd, offset, whence);
}

int cli_output_commit(cli_output *out)
{
    int why = out->error;
    if (close(out->fd) != 0 && !why) why = errno;
    out->fd = -1;
    if (!why && out->temp && rename(out->temp, out->target) != 0) why = errno;
    if (!why) {
        cli_interrupt_remove_file(out->slot);
        out->slot = -1;
        free(out->temp);
        out->temp = NULL;
    } else if (why != EPIPE) {
        cli_error("%s: writing failed: %s; nothing was left there; make room or choose another place with -o",
                  strcmp(out->path, "-") == 0 ? "standard output" : out->path, strerror(why));
    }
    cli_output_discard(out);
    return !why ? CLI_OK : why == EPIPE ? CLI_PIPE : CLI_FAILED;
}

void cli_output_discard(cli_output *out)
{
    if (!out->path) return;
    if (out->fd >= 0) close(out->fd);
    if (out->temp) unlink(out->temp);
    cli_interrupt_remove_file(out->slot);
    free(out->temp);
    free(out->target);
    free(out->path);
    *out = (cli_output){.fd = -1, .slot = -1};
}
