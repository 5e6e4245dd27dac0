#include "fetch.h"

#include "hub-cache.h"
#include "parts.h"

#include "convert/digest.h"

#include "base/memory.h"
#include "base/status.h"

#include <omni.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LEAST_PART = 4 << 20, LEAST_PROGRESS = 64 << 10, PIECE = 1 << 20, DETAIL = 512, MOST_RESTARTS = 5 };

/* The server does not do ranges, or its file is not what was begun: once more from the beginning, in one part. */
enum { START_OVER = 3 };

typedef struct fetch fetch;

typedef struct worker {
    fetch    *job;
    int       part;
    pthread_t thread;
    bool      started;
    uint64_t  left;             /* bytes that the present answer still has */
} worker;

struct fetch {
    const om_http *http;        /* the caller's */
    om_http own;                /* the same, with a stop that knows of failures of other parts */
    const om_fetch_file *file;
    om_parts parts;
    atomic_ullong done;         /* bytes there */
    atomic_int running, stop;
    pthread_mutex_t lock;
    int  verdict;               /* the first that is not OK */
    char detail[DETAIL];        /* its reason */
};

/* ---- one part, in a thread of its own ------------------------------------------------ */

static int stopped(void *user)
{
    fetch *f = user;
    return atomic_load(&f->stop) || (f->http->stop && f->http->stop(f->http->user));
}

static void pass_note(void *user, const char *line)
{
    const om_http *http = ((fetch *)user)->http;
    if (http->note) http->note(http->user, line);
}

/* What the hub says about the file must be what its list said. */
static int check_headers(const om_fetch_file *file, const om_http_answer *a)
{
    const char *etag = file->sha256 ? file->sha256 : file->git;
    if (!file->commit) return OMNI_OK;
    if (a->commit[0] && strcmp(a->commit, file->commit) != 0)
        return om_fail(OMNI_ERR_FORMAT, "%s: found commit %.40s, wanted %s; the hub contradicts itself", file->label,
                       a->commit, file->commit);
    if (a->linked_etag[0] && etag && strcmp(a->linked_etag, etag) != 0)
        return om_fail(OMNI_ERR_FORMAT, "%s: found content %.64s, wanted %s; the hub contradicts itself", file->label,
                       a->linked_etag, etag);
    if (a->linked_size >= 0 && (uint64_t)a->linked_size != file->size)
        return om_fail(OMNI_ERR_FORMAT, "%s: found %lld bytes, wanted %llu; the hub contradicts itself", file->label,
                       (long long)a->linked_size, (unsigned long long)file->size);
    return OMNI_OK;
}

static int begin_part(void *user, const om_http_answer *a)
{
    worker *w = user;
    om_parts *p = &w->job->parts;
    const uint64_t at = om_part_begin(p, w->part) + p->done[w->part], end = om_part_end(p, w->part);
    const int rc = check_headers(w->job->file, a);
    if (rc != OMNI_OK) return rc;
    if (a->status == 200) {     /* the whole file, whatever was asked */
        if (a->length >= 0 && (uint64_t)a->length != p->size)
            return om_fail(OMNI_ERR_FORMAT, "%s: found %lld bytes, wanted %llu", w->job->file->label,
                           (long long)a->length, (unsigned long long)p->size);
        if (p->n > 1 || at > 0) return START_OVER;
        w->left = p->size;
        return OMNI_OK;
    }
    if (a->first != (int64_t)at || a->last < a->first || (uint64_t)a->last >= end ||
        (a->total >= 0 && (uint64_t)a->total != p->size))
        return om_fail(OMNI_ERR_FORMAT, "%s: asked for bytes %llu to %llu of %llu, the server sent %lld to %lld of %lld",
                       w->job->file->label, (unsigned long long)at, (unsigned long long)end - 1,
                       (unsigned long long)p->size, (long long)a->first, (long long)a->last, (long long)a->total);
    w->left = (uint64_t)(a->last - a->first) + 1;
    return OMNI_OK;
}

static int write_part(void *user, const void *bytes, size_t n)
{
    worker *w = user;
    if (n > w->left)
        return om_fail(OMNI_ERR_FORMAT, "%s: the server sends more bytes than it said", w->job->file->label);
    w->left -= n;
    const int rc = om_part_write(&w->job->parts, w->part, bytes, n);
    if (rc == OMNI_OK) atomic_fetch_add(&w->job->done, n);
    return rc;
}

static int fetch_part(worker *w)
{
    om_parts *p = &w->job->parts;
    const om_http_sink sink = {.user = w, .begin = begin_part, .write = write_part};
    for (int failures = 0; !om_part_is_done(p, w->part);) {
        om_http_answer answer;
        const uint64_t before = p->done[w->part];
        const om_http_request r = {.url = w->job->file->url, .sink = &sink,
                                   .first = (int64_t)(om_part_begin(p, w->part) + before),
                                   .last = (int64_t)om_part_end(p, w->part) - 1};
        int rc = om_http_try(&w->job->own, &r, &answer);
        om_part_note(p, w->part);
        if (rc == OMNI_OK && p->done[w->part] == before) {
            om_fail(OMNI_ERR_IO, "%s: the server sent nothing", w->job->file->label);
            rc = OM_HTTP_RETRY;
        }
        if (answer.status == 416) return START_OVER;
        if (rc != OMNI_OK && rc != OM_HTTP_RETRY) return rc;
        failures = p->done[w->part] - before >= LEAST_PROGRESS ? 0 : failures + 1;
        if (rc == OMNI_OK) continue;
        rc = om_http_pause(&w->job->own, failures ? failures : 1, &answer);
        if (rc != OM_HTTP_RETRY) return rc;
    }
    return OMNI_OK;
}

static void *run_worker(void *user)
{
    worker *w = user;
    fetch *f = w->job;
    const int rc = fetch_part(w);
    if (rc != OMNI_OK) {
        pthread_mutex_lock(&f->lock);
        if (f->verdict == OMNI_OK) {
            f->verdict = rc;
            snprintf(f->detail, sizeof f->detail, "%s", omni_last_error());
        }
        pthread_mutex_unlock(&f->lock);
        atomic_store(&f->stop, 1);
    }
    atomic_fetch_sub(&f->running, 1);
    return NULL;
}

/* ---- all parts ------------------------------------------------------------------------ */

static void watch_workers(fetch *f, const om_fetch_watch *watch)
{
    const struct timespec slice = {.tv_nsec = 20000000};
    for (int i = 0; atomic_load(&f->running) > 0; i++) {
        nanosleep(&slice, NULL);
        if (i % 5 || !watch->progress) continue;
        if (watch->progress(watch->user, f->file, atomic_load(&f->done), 0)) atomic_store(&f->stop, 1);
    }
}

static int fetch_parts(fetch *f, const om_fetch_watch *watch)
{
    worker workers[OM_PARTS_MAX];
    const int n = f->parts.n;
    f->verdict = OMNI_OK;
    atomic_store(&f->stop, 0);
    uint64_t done = 0;
    for (int i = 0; i < n; i++) done += f->parts.done[i];
    atomic_store(&f->done, done);
    for (int i = 0; i < n; i++) {
        workers[i] = (worker){.job = f, .part = i};
        atomic_fetch_add(&f->running, 1);
        workers[i].started = pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]) == 0;
        if (workers[i].started) continue;
        atomic_fetch_sub(&f->running, 1);
        if (i > 0) continue;        /* the others go on; this part is fetched next time round */
        return om_fail(OMNI_ERR_MEMORY, "%s: no thread could be started", f->file->label);
    }
    watch_workers(f, watch);
    for (int i = 0; i < n; i++)
        if (workers[i].started) pthread_join(workers[i].thread, NULL);
    if (f->verdict == OMNI_OK) return atomic_load(&f->stop) ? OMNI_AGAIN : OMNI_OK;
    return f->verdict < 0 ? om_fail(f->verdict, "%s", f->detail) : f->verdict;
}

static bool all_done(const om_parts *p)
{
    for (int i = 0; i < p->n; i++)
        if (!om_part_is_done(p, i)) return false;
    return true;
}

/* ---- the checksum --------------------------------------------------------------------- */

static int sum_bytes(fetch *f, om_digest *d, char *piece, const om_fetch_watch *watch)
{
    char head[48];
    int rc = OMNI_OK;
    if (!f->file->sha256)       /* a git blob's name covers a header too */
        rc = om_digest_update(d, head, (size_t)snprintf(head, sizeof head, "blob %llu",
                                                        (unsigned long long)f->parts.size) + 1);
    for (uint64_t at = 0; rc == OMNI_OK && at < f->parts.size;) {
        const ssize_t n = pread(f->parts.data, piece, PIECE, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return om_fail(OMNI_ERR_IO, "%s: can not be read again: %s", f->parts.data_path,
                                   n < 0 ? strerror(errno) : "it has become shorter");
        rc = om_digest_update(d, piece, (size_t)n);
        at += (uint64_t)n;
        if ((watch->progress && watch->progress(watch->user, f->file, at, 1)) || stopped(f)) return OMNI_AGAIN;
    }
    return rc;
}

/* Without a sum: at least not the page of a hotel's network, which would be kept for ever. As check_sum. */
static int check_begin(fetch *f)
{
    char head[64];
    if (!f->file->begins) return OMNI_OK;
    const ssize_t n = pread(f->parts.data, head, sizeof head, 0);
    for (ssize_t i = 0; i < n; i++) {
        if (strchr(" \t\r\n", head[i]) && head[i]) continue;
        if (head[i] && strchr(f->file->begins, head[i])) return OMNI_OK;
        break;
    }
    om_fail(OMNI_ERR_FORMAT, "%s: what %.300s sent is no such file; does the network want a login first? Nothing was kept of it",
            f->file->label, f->file->url);
    return START_OVER;
}

/* OK; START_OVER with a reason when the sum is another; AGAIN, errors. */
static int check_sum(fetch *f, const om_fetch_watch *watch)
{
    char hex[OM_DIGEST_HEX];
    const char *wanted = f->file->sha256 ? f->file->sha256 : f->file->git;
    if (!wanted) return check_begin(f);
    om_digest *d = om_digest_new(f->file->sha256 ? OM_DIGEST_SHA256 : OM_DIGEST_SHA1);
    if (!d) return OMNI_ERR_MEMORY;
    char *piece = om_calloc(PIECE, 1);
    int rc = piece ? sum_bytes(f, d, piece, watch) : om_fail(OMNI_ERR_MEMORY, "%s: out of memory", f->file->label);
    if (rc == OMNI_OK) rc = om_digest_hex(d, hex);
    if (rc == OMNI_OK && strcmp(hex, wanted) != 0) {
        om_fail(OMNI_ERR_FORMAT, "%s: wrong checksum: found %s, wanted %s; nothing was kept of it", f->file->label, hex,
                wanted);
        rc = START_OVER;
    }
    om_free(piece);
    om_digest_free(d);
    return rc;
}

/* ---- */

static int fetch_locked(fetch *f, int connections, const om_fetch_watch *watch)
{
    const om_fetch_file *file = f->file;
    const char *etag = file->sha256 ? file->sha256 : file->git ? file->git : file->label;
    const uint64_t most = file->size / LEAST_PART;
    int n = connections < OM_PARTS_MAX ? connections : OM_PARTS_MAX;
    if ((uint64_t)n > most) n = most > 0 ? (int)most : 1;
    int rc = om_parts_open(&f->parts, file->final, etag, file->size, n);
    if (rc != OMNI_OK) return rc;
    bool fresh = f->parts.found == 0;       /* nothing of an earlier run can be to blame */
    int restarts = 0;
    for (;;) {
        while ((rc = fetch_parts(f, watch)) == OMNI_OK && !all_done(&f->parts)) {}
        if (rc == START_OVER && ++restarts > MOST_RESTARTS)
            rc = om_fail(OMNI_ERR_FORMAT, "%s: begun %d times from the beginning: either the server can not go on where "
                         "a transfer broke off, or its file is not what its list says", file->label, restarts);
        if (rc == OMNI_OK && (rc = check_sum(f, watch)) == START_OVER && fresh) {
            om_parts_discard(&f->parts);
            rc = OMNI_ERR_FORMAT;
        }
        if (rc != START_OVER) break;
        fresh = true;
        if ((rc = om_parts_restart(&f->parts, etag, 1)) != OMNI_OK) break;
    }
    if (rc == OMNI_OK) rc = om_parts_commit(&f->parts, file->final);
    om_parts_close(&f->parts);
    return rc;
}

typedef struct lock_user {
    const om_http *http;
    const om_fetch_file *file;
    const om_fetch_watch *watch;
} lock_user;

static int lock_stop(void *user)
{
    const lock_user *u = user;
    return u->http->stop && u->http->stop(u->http->user);
}

static void lock_waiting(void *user)
{
    const lock_user *u = user;
    if (u->watch->waiting) u->watch->waiting(u->watch->user, u->file);
}

int om_fetch(const om_http *http, const om_fetch_file *file, int connections, const om_fetch_watch *watch)
{
    fetch f = {.http = http, .file = file};
    lock_user u = {http, file, watch};
    int fd;
    if (om_file_has_size(file->final, file->size)) return OMNI_OK;
    int rc = om_lock_file(file->lock, lock_stop, lock_waiting, &u, &fd);
    if (rc != OMNI_OK) return rc;
    if (!om_file_has_size(file->final, file->size)) {   /* it may have come while we waited */
        f.own = *http;
        f.own.user = &f;
        f.own.stop = stopped;
        f.own.note = pass_note;
        pthread_mutex_init(&f.lock, NULL);
        rc = fetch_locked(&f, connections, watch);
        pthread_mutex_destroy(&f.lock);
    }
    close(fd);
    return rc;
}
