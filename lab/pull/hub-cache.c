#include "hub-cache.h"

#include "name.h"
#include "paths.h"

#include "base/memory.h"
#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- where ---------------------------------------------------------------------------- */

/* $HF_HOME, or huggingface below the cache folder. */
static char *hub_home(void)
{
    char *home = om_env_path("HF_HOME");
    if (home) return home;
    char *cache = om_cache_home();
    if (!cache) return NULL;
    home = om_path("%s/huggingface", cache);
    om_free(cache);
    return home;
}

static char *cache_root(void)
{
    char *root = om_env_path("HF_HUB_CACHE");
    if (!root) root = om_env_path("HUGGINGFACE_HUB_CACHE");
    if (root) return root;
    char *home = hub_home();
    if (!home) return NULL;
    root = om_path("%s/hub", home);
    om_free(home);
    return root;
}

int om_hub_cache_open(const char *id, om_hub_cache *cache)
{
    *cache = (om_hub_cache){.root = cache_root()};
    if (!cache->root) return OMNI_ERR_IO;
    cache->repo = om_path("%s/models--%s", cache->root, id);
    cache->locks = om_path("%s/.locks/models--%s", cache->root, id);
    if (cache->repo && cache->locks) return OMNI_OK;
    om_hub_cache_close(cache);
    return OMNI_ERR_MEMORY;
}

void om_hub_cache_close(om_hub_cache *cache)
{
    om_free(cache->root);
    om_free(cache->repo);
    om_free(cache->locks);
    *cache = (om_hub_cache){.root = NULL};
}

/* ---- token ---------------------------------------------------------------------------- */

/* Without blanks around; it goes into a header, so nothing but printable ASCII is let through. */
static int keep_token(const char *text, const char *where, char **token)
{
    size_t n = strcspn(text, "\r\n");
    while (n > 0 && (text[0] == ' ' || text[0] == '\t')) text++, n--;
    while (n > 0 && (text[n - 1] == ' ' || text[n - 1] == '\t')) n--;
    if (n == 0) return OMNI_OK;
    for (size_t i = 0; i < n; i++)
        if (text[i] <= 0x20 || text[i] > 0x7e || n > 4000)
            return om_fail(OMNI_ERR_ARG, "%s: what is there can not be a token; wanted something like hf_...", where);
    *token = om_calloc(n + 1, 1);
    if (!*token) return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", where);
    memcpy(*token, text, n);
    return OMNI_OK;
}

int om_hub_token(char **token)
{
    char text[8192];
    const char *value = om_env("HF_TOKEN");
    *token = NULL;
    if (!value) value = om_env("HUGGING_FACE_HUB_TOKEN");
    if (value) return keep_token(value, "HF_TOKEN", token);
    char *path = om_env_path("HF_TOKEN_PATH");
    if (!path) {
        char *home = hub_home();
        if (!home) return OMNI_ERR_IO;
        path = om_path("%s/token", home);
        om_free(home);
        if (!path) return OMNI_ERR_MEMORY;
    }
    int rc = om_read_whole(path, text, sizeof text);
    if (rc == OMNI_OK) rc = keep_token(text, path, token);
    om_free(path);
    return rc == OMNI_AGAIN ? OMNI_OK : rc;
}

/* ---- refs ----------------------------------------------------------------------------- */

int om_hub_cache_ref(const om_hub_cache *cache, const char *revision, char commit[41])
{
    char text[128];
    if (om_is_commit(revision)) {
        memcpy(commit, revision, 41);
        return OMNI_OK;
    }
    char *path = om_path("%s/refs/%s", cache->repo, revision);
    if (!path) return OMNI_ERR_MEMORY;
    int rc = om_read_whole(path, text, sizeof text);
    if (rc == OMNI_OK) {
        text[strcspn(text, " \r\n")] = '\0';
        if (om_is_commit(text)) memcpy(commit, text, 41);
        else rc = om_fail(OMNI_ERR_FORMAT, "%s: holds no commit; delete it and pull again", path);
    }
    om_free(path);
    return rc;
}

int om_hub_cache_set_ref(const om_hub_cache *cache, const char *revision, const char *commit)
{
    if (om_is_commit(revision)) return OMNI_OK;
    char *path = om_path("%s/refs/%s", cache->repo, revision);
    if (!path) return OMNI_ERR_MEMORY;
    const int rc = om_write_whole(path, commit, strlen(commit));
    om_free(path);
    return rc;
}

/* ---- blobs and snapshots -------------------------------------------------------------- */

char *om_hub_cache_blob(const om_hub_cache *cache, const char *etag)
{
    return om_path("%s/blobs/%s", cache->repo, etag);
}

char *om_hub_cache_snapshot(const om_hub_cache *cache, const char *commit)
{
    return om_path("%s/snapshots/%s", cache->repo, commit);
}

bool om_file_has_size(const char *path, uint64_t size)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == size;
}

int om_hub_cache_link(const om_hub_cache *cache, const char *commit, const char *path, const char *etag)
{
    char up[256] = "../../";
    for (const char *c = path; *c; c++) {
        const size_t n = strlen(up);
        if (*c != '/') continue;
        if (n + 4 > sizeof up) return om_fail(OMNI_ERR_FORMAT, "%s: too many folders deep", path);
        memcpy(up + n, "../", 4);
    }
    char *target = om_path("%sblobs/%s", up, etag), *link = om_path("%s/snapshots/%s/%s", cache->repo, commit, path);
    const int rc = target && link ? om_link_whole(target, link) : OMNI_ERR_MEMORY;
    om_free(target);
    om_free(link);
    return rc;
}

/* ---- locks ---------------------------------------------------------------------------- */

int om_lock_file(const char *path, int (*stop)(void *user), void (*waiting)(void *user), void *user, int *fd)
{
    const int rc = om_make_parents(path);
    if (rc != OMNI_OK) return rc;
    const int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (file < 0) return om_fail(OMNI_ERR_IO, "%s: can not be opened: %s", path, strerror(errno));
    for (bool told = false; flock(file, LOCK_EX | LOCK_NB) != 0; told = true) {
        const struct timespec slice = {.tv_nsec = 100000000};
        if (errno != EWOULDBLOCK && errno != EINTR) {
            om_fail(OMNI_ERR_IO, "%s: can not be locked: %s", path, strerror(errno));
            close(file);
            return OMNI_ERR_IO;
        }
        if (stop && stop(user)) {
            close(file);
            return OMNI_AGAIN;
        }
        if (!told && waiting) waiting(user);
        nanosleep(&slice, NULL);
    }
    *fd = file;
    return OMNI_OK;
}
