/* checksums: see the header. */
#include "checksums.h"

#include "base/memory.h"
#include "base/status.h"
#include "file-read.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int om_checksums_add(om_checksums *c, const om_source *s)
{
    om_checksum *files = om_realloc(c->files, (size_t)(c->n + s->n_files), sizeof *files);

    if (!files && s->n_files)
        return om_fail(OMNI_ERR_MEMORY, "out of memory for the list of files");
    c->files = files;
    for (int i = 0; i < s->n_files; i++)
        c->files[c->n++] = (om_checksum){.path = s->files[i].path, .fd = s->files[i].fd, .bytes = s->files[i].size};
    return OMNI_OK;
}

int om_checksums_add_file(om_checksums *c, const char *path)
{
    om_checksum *files = om_realloc(c->files, (size_t)c->n + 1, sizeof *files), f = {.owned = true};
    int rc;

    if (!files)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory for the list of files", path);
    c->files = files;
    rc = om_file_open(path, &f.fd, &f.bytes);
    if (rc)
        return rc;
    f.path = om_strdup(path);
    if (f.path) {
        c->files[c->n++] = f;
        return OMNI_OK;
    }
    close(f.fd);
    return om_fail(OMNI_ERR_MEMORY, "%s: out of memory for the list of files", path);
}

static int stopped(void *user, unsigned long long bytes)
{
    (void)bytes;
    return atomic_load(&((om_checksums *)user)->stop);
}

static void *work(void *user)
{
    om_checksums *c = user;

    for (int i = 0; !c->status && i < c->n; i++) {
        c->status = om_digest_file(c->files[i].fd, c->files[i].path, stopped, c, c->files[i].hex);
        if (c->status)
            snprintf(c->error, sizeof c->error, "%s", om_last_error());
    }
    return NULL;
}

int om_checksums_start(om_checksums *c)
{
    const int why = pthread_create(&c->thread, NULL, work, c);

    if (why)
        return om_fail(OMNI_ERR_BACKEND, "no thread for checksums: %s", strerror(why));
    c->running = true;
    return OMNI_OK;
}

int om_checksums_wait(om_checksums *c, int (*poll)(void *user), void *user)
{
    while (c->running) {
        struct timespec until;

        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 100000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        if (pthread_timedjoin_np(c->thread, NULL, &until) == 0)
            c->running = false;
        else if (poll && poll(user))
            return OMNI_AGAIN;
    }
    return c->status ? om_fail(c->status, "%s", c->error) : OMNI_OK;
}

void om_checksums_free(om_checksums *c)
{
    atomic_store(&c->stop, true);
    if (c->running)
        pthread_join(c->thread, NULL);
    for (int i = 0; i < c->n; i++) {
        if (!c->files[i].owned)
            continue;
        close(c->files[i].fd);
        om_free(c->files[i].path);
    }
    om_free(c->files);
    c->files = NULL;
    c->n = 0;
    c->running = false;
}
