/*
 * http: one request at a time, with the rules that keep secrets and files safe. http.c is the only includer of
 * curl.h.
 *
 * - http and https only, also after redirects; never from https to http, unless the first address was http.
 * - the token goes to the hub's own scheme, host and port, nowhere else.
 * - a transfer that stands still is given up; the proxy settings of libcurl's environment hold.
 */
#ifndef OM_HTTP_H
#define OM_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Settings of all requests; may be shared by threads, which only read it. */
typedef struct om_http {
    const char *endpoint;       /* the hub's address, e.g. "https://huggingface.co"; the token's only destination */
    const char *token;          /* NULL: none */
    int  stall_seconds;         /* give up a transfer below 1 KB/s for so long */
    double first_pause;         /* seconds before the first retry; doubled each time, up to 30 */
    int  retries;               /* failures in a row before giving up */
    void *user;
    int  (*stop)(void *user);   /* non-zero ends everything; called from any thread; NULL: never */
    void (*note)(void *user, const char *line);     /* called from any thread; NULL: none */
} om_http;

/* What an answer said. Of redirected requests the hub's own headers (x-...) are kept, the rest is the last one's. */
typedef struct om_http_answer {
    long     status;            /* 0: there was none */
    int64_t  length;            /* of the body; -1: not said */
    int64_t  first, last, total;    /* Content-Range; first -1: none; total -1: unknown */
    int64_t  linked_size;       /* X-Linked-Size; -1: none */
    char     linked_etag[80];   /* X-Linked-Etag without quotes */
    char     commit[80];        /* X-Repo-Commit */
    char     error[48];         /* X-Error-Code: GatedRepo, RepoNotFound, RevisionNotFound, EntryNotFound */
    char     next[1024];        /* Link: <...>; rel="next" */
    bool     next_too_long;     /* there is one that does not fit */
    long     retry_after;       /* seconds; 0: not said */
} om_http_answer;

/* Where the body of a successful answer goes. Each returns OMNI_OK to go on; anything else ends the request and is
 * what it returns. */
typedef struct om_http_sink {
    void *user;
    int (*begin)(void *user, const om_http_answer *answer);             /* NULL: not wanted */
    int (*write)(void *user, const void *bytes, size_t n);
} om_http_sink;

typedef struct om_http_request {
    const char *url;
    bool    head;                   /* no body wanted */
    int64_t first, last;            /* bytes wanted; first -1: all */
    const om_http_sink *sink;       /* NULL with head */
} om_http_request;

enum { OM_HTTP_RETRY = 2 };         /* failed in a way that may pass: dropped, stalled, 429, 5xx */

/* Once, redirects included. OK (status 200 or 206); AGAIN (stopped); OM_HTTP_RETRY; ERR_IO and ERR_FORMAT with the
 * reason, after which trying again is useless; what the sink returned. Any thread. */
int om_http_try(const om_http *h, const om_http_request *r, om_http_answer *answer);

/* After OM_HTTP_RETRY for the failures-th time in a row (1 ...): waits. OM_HTTP_RETRY: try again; AGAIN (stopped);
 * ERR_IO: that was enough, with the last reason. */
int om_http_pause(const om_http *h, int failures, const om_http_answer *answer);

/* Both together, for short answers: the text is NUL-terminated, at most max bytes (ERR_FORMAT), om_free. */
int om_http_text(const om_http *h, const char *url, size_t max, om_http_answer *answer, char **text, size_t *n);

/* path as it stands in an address, slashes kept or (all) not; NULL: no memory. om_free. */
char *om_http_escape(const char *path, bool all);

/* Do both have the same scheme, host and port? */
bool om_http_same_origin(const char *a, const char *b);

/* May a request for first, which is at `at` now, be sent on to `to`? OK; ERR_FORMAT with the reason. */
int om_http_may_follow(const char *first, const char *at, const char *to);

/* What a Link header of n bytes says about the next page, into a->next or a->next_too_long. */
void om_http_keep_next(const char *value, size_t n, om_http_answer *a);

/* Once per process, before other threads begin. OK or ERR_BACKEND. */
int om_http_setup(void);

#endif
