#include "paths.h"

#include "base/memory.h"
#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

char *om_path(const char *format, ...)
{
    char text[PATH_MAX];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof text) {
        om_fail(OMNI_ERR_ARG, "%.60s...: the path is longer than %d bytes", text, PATH_MAX - 1);
        return NULL;
    }
    char *copy = om_strdup(text);
    if (!copy) om_fail(OMNI_ERR_MEMORY, "%s: out of memory", text);
    return copy;
}

const char *om_env(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

char *om_env_path(const char *name)
{
    const char *value = om_env(name), *home = om_env("HOME");
    if (!value) return NULL;
    return value[0] == '~' && value[1] == '/' && home ? om_path("%s%s", home, value + 1) : om_path("%s", value);
}

static char *home_of(const char *variable, const char *otherwise)
{
    char *path = om_env_path(variable);
    if (path) return path;
    const char *home = om_env("HOME");
    if (home) return om_path("%s/%s", home, otherwise);
    om_fail(OMNI_ERR_IO, "neither %s nor HOME is set; set one, so that there is a place for files", variable);
    return NULL;
}

char *om_cache_home(void)
{
    return home_of("XDG_CACHE_HOME", ".cache");
}

char *om_config_home(void)
{
    return home_of("XDG_CONFIG_HOME", ".config");
}

static int make_folder(const char *path)
{
    struct stat st;
    if (mkdir(path, 0777) == 0) return OMNI_OK;
    const int why = errno;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) return OMNI_OK;
    return om_fail(OMNI_ERR_IO, "%s: the folder can not be made: %s", path, strerror(why));
}

static int make_folders(const char *path, bool last)
{
    char *text = om_strdup(path);
    if (!text) return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", path);
    int rc = OMNI_OK;
    for (char *slash = text; rc == OMNI_OK && (slash = strchr(slash + 1, '/')) != NULL;) {
        *slash = '\0';
        rc = make_folder(text);
        *slash = '/';
    }
    if (rc == OMNI_OK && last) rc = make_folder(text);
    om_free(text);
    return rc;
}

int om_make_folders(const char *path)
{
    return make_folders(path, true);
}

int om_make_parents(const char *path)
{
    return make_folders(path, false);
}

static int write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        const ssize_t done = write(fd, bytes, n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return -1;
        bytes += done;
        n -= (size_t)done;
    }
    return 0;
}

int om_write_whole(const char *path, const void *bytes, size_t n)
{
    char *temp = om_path("%s.%ld.part", path, (long)getpid());
    if (!temp) return OMNI_ERR_MEMORY;
    int rc = om_make_parents(path);
    int fd = -1;
    if (rc == OMNI_OK) {
        unlink(temp);
        fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 || write_all(fd, bytes, n) != 0 || fsync(fd) != 0 || rename(temp, path) != 0)
            rc = om_fail(OMNI_ERR_IO, "%s: can not be written: %s", path, strerror(errno));
    }
    if (fd >= 0) close(fd);
    if (rc != OMNI_OK) unlink(temp);
    om_free(temp);
    return rc;
}

int om_read_whole(const char *path, char *text, size_t cap)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) return OMNI_AGAIN;
    if (fd < 0) return om_fail(OMNI_ERR_IO, "%s: can not be opened: %s", path, strerror(errno));
    size_t n = 0;
    ssize_t got = 0;
    while (n < cap && ((got = read(fd, text + n, cap - n)) > 0 || (got < 0 && errno == EINTR)))
        n += got > 0 ? (size_t)got : 0;
    const int why = errno;
    close(fd);
    if (got < 0) return om_fail(OMNI_ERR_IO, "%s: can not be read: %s", path, strerror(why));
    if (n == cap) return om_fail(OMNI_ERR_LIMIT, "%s: longer than %zu bytes", path, cap - 1);
    text[n] = '\0';
    return OMNI_OK;
}

int om_link_whole(const char *target, const char *path)
{
    char now[PATH_MAX];
    const ssize_t n = readlink(path, now, sizeof now - 1);
    if (n > 0 && (size_t)n == strlen(target) && memcmp(now, target, (size_t)n) == 0) return OMNI_OK;
    char *temp = om_path("%s.%ld.part", path, (long)getpid());
    if (!temp) return OMNI_ERR_MEMORY;
    int rc = om_make_parents(path);
    if (rc == OMNI_OK) {
        unlink(temp);
        if (symlink(target, temp) != 0 || rename(temp, path) != 0)
            rc = om_fail(OMNI_ERR_IO, "%s: the link can not be made: %s", path, strerror(errno));
    }
    if (rc != OMNI_OK) unlink(temp);
    om_free(temp);
    return rc;
}

/* The device of the nearest folder of path that is there. */
static bool device_of(const char *path, dev_t *device)
{
    struct stat st;
    char *at = om_path("%s", path);
    bool found = false;
    while (at && !(found = stat(at, &st) == 0)) {
        char *slash = strrchr(at, '/');
        if (!slash || (slash == at && !at[1])) break;
        slash[slash == at] = '\0';
    }
    om_free(at);
    if (found) *device = st.st_dev;
    return found;
}

bool om_same_file_system(const char *a, const char *b)
{
    dev_t x, y;
    return device_of(a, &x) && device_of(b, &y) && x == y;
}

int om_space_check(const char *path, uint64_t bytes, const char *what)
{
    struct statvfs fs;
    char *at = om_path("%s", path);
    if (!at) return OMNI_ERR_MEMORY;
    while (statvfs(at, &fs) != 0) {
        char *slash = strrchr(at, '/');
        if (!slash || (slash == at && !at[1])) {
            om_free(at);
            return OMNI_OK;     /* nobody knows: writing will tell */
        }
        slash[slash == at] = '\0';
    }
    om_free(at);
    const uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (room >= bytes) return OMNI_OK;
    return om_fail(OMNI_ERR_IO, "%s: %s needs %.2f GB, but only %.2f GB are free; make room, or name another folder "
                   "with HF_HUB_CACHE or XDG_CACHE_HOME", path, what, (double)bytes * 1e-9, (double)room * 1e-9);
}
