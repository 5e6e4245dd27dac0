#include "http.h"

#include "base/memory.h"
#include "base/status.h"

#include <omni.h>

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_REDIRECTS = 10, MOST_DISCARDED = 1 << 20, LONGEST_PAUSE = 30, LONGEST_RETRY_AFTER = 600 };

/* One request while it runs. */
typedef struct call {
    const om_http *http;
    const om_http_request *request;
    om_http_answer *answer;
    CURL *curl;
    const char *url;            /* of this hop */
    bool   at_hub;              /* this hop is the hub's */
    bool   begun;               /* the sink was told */
    size_t discarded;           /* bytes of an error's body */
    int    verdict;             /* what the sink or the stop said; 0: nothing */
} call;

int om_http_setup(void)
{
    static bool done;
    if (done) return OMNI_OK;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) return om_fail(OMNI_ERR_BACKEND, "libcurl can not be used");
    done = true;
    return OMNI_OK;
}

/* ---- addresses ---------------------------------------------------------------------- */

bool om_http_same_origin(const char *a, const char *b)
{
    static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};
    CURLU *x = curl_url(), *y = curl_url();
    bool same = x && y && curl_url_set(x, CURLUPART_URL, a, 0) == CURLUE_OK &&
                curl_url_set(y, CURLUPART_URL, b, 0) == CURLUE_OK;
    for (size_t i = 0; same && i < sizeof parts / sizeof *parts; i++) {
        char *p = NULL, *q = NULL;
        same = curl_url_get(x, parts[i], &p, CURLU_DEFAULT_PORT) == CURLUE_OK &&
               curl_url_get(y, parts[i], &q, CURLU_DEFAULT_PORT) == CURLUE_OK && curl_strequal(p, q);
        curl_free(p);
        curl_free(q);
    }
    curl_url_cleanup(x);
    curl_url_cleanup(y);
    return same;
}

static bool has_scheme(const char *url, const char *scheme)
{
    return curl_strnequal(url, scheme, strlen(scheme)) && strncmp(url + strlen(scheme), "://", 3) == 0;
}

char *om_http_escape(const char *path, bool all)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~";
    char *text = om_calloc(strlen(path) + 1, 3), *to = text;
    if (!text) {
        om_fail(OMNI_ERR_MEMORY, "%s: out of memory", path);
        return NULL;
    }
    for (const char *c = path; *c; c++) {
        if (strchr(plain, *c) || (*c == '/' && !all)) *to++ = *c;
        else to += snprintf(to, 4, "%%%02X", (unsigned)(unsigned char)*c);
    }
    return text;
}

/* ---- answers ------------------------------------------------------------------------ */

/* The value when line is the header called name, else NULL. Leading blanks are skipped; *n excludes trailing ones. */
static const char *header(const char *line, size_t size, const char *name, size_t *n)
{
    const size_t m = strlen(name);
    if (size <= m || line[m] != ':' || !curl_strnequal(line, name, m)) return NULL;
    const char *value = line + m + 1, *end = line + size;
    while (value < end && (*value == ' ' || *value == '\t')) value++;
    while (end > value && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' ')) end--;
    *n = (size_t)(end - value);
    return value;
}

static void keep_text(const char *line, size_t size, const char *name, char *to, size_t cap)
{
    size_t n;
    const char *value = header(line, size, name, &n);
    if (!value) return;
    if (n >= 2 && value[0] == '"' && value[n - 1] == '"') value++, n -= 2;
    snprintf(to, cap, "%.*s", (int)(n < cap ? n : cap - 1), value);
}

/* A whole number of at most 18 digits. */
static bool read_number(const char **at, const char *end, int64_t *out)
{
    int64_t value = 0;
    int digits = 0;
    for (; *at < end && **at >= '0' && **at <= '9' && digits < 18; (*at)++, digits++) value = value * 10 + (**at - '0');
    if (digits) *out = value;
    return digits > 0;
}

/* "bytes 0-99/200" and "bytes 0-99/ *" */
static void keep_range(const char *value, size_t n, om_http_answer *a)
{
    const char *at = value + 6, *end = value + n;
    int64_t first, last, total = -1;
    if (n < 6 || !curl_strnequal(value, "bytes ", 6)) return;
    if (!read_number(&at, end, &first) || at == end || *at++ != '-') return;
    if (!read_number(&at, end, &last) || at == end || *at++ != '/') return;
    if (at < end && *at != '*' && !read_number(&at, end, &total)) return;
    if (last < first || (total >= 0 && last >= total)) return;
    a->first = first;
    a->last = last;
    a->total = total;
}

/* Do the parameters of a link have rel="next"? Several relations may stand in one, as words. */
static bool is_next(const char *at, const char *end)
{
    for (; end - at >= 4; at++) {
        if (!curl_strnequal(at, "rel=", 4)) continue;
        for (at += 4; end - at >= 4 && *at != ';'; at++)
            if (curl_strnequal(at, "next", 4) && (at[-1] == '=' || at[-1] == '"' || at[-1] == ' ') &&
                (at + 4 == end || strchr("\"; \t", at[4]))) return true;
    }
    return false;
}

/* Where the parameters of a link end: at the comma outside of quotes before the next one. */
static const char *link_end(const char *at, const char *end)
{
    for (bool quoted = false; at < end && (quoted || *at != ','); at++)
        if (*at == '"') quoted = !quoted;
    return at;
}

/* <address>; parameters, <address>; parameters ... */
void om_http_keep_next(const char *value, size_t n, om_http_answer *a)
{
    const char *end = value + n;
    for (const char *at = value; at < end && (at = memchr(at, '<', (size_t)(end - at))) != NULL;) {
        const char *close = memchr(at, '>', (size_t)(end - at));
        if (!close) return;
        const char *over = link_end(close + 1, end);
        const size_t length = (size_t)(close - at - 1);
        if (is_next(close + 1, over)) {
            a->next_too_long = length >= sizeof a->next;
            if (!a->next_too_long) snprintf(a->next, sizeof a->next, "%.*s", (int)length, at + 1);
            return;
        }
        at = over;
    }
}

static size_t on_header(char *line, size_t one, size_t size, void *user)
{
    call *c = user;
    om_http_answer *a = c->answer;
    size_t n;
    (void)one;
    if (size >= 5 && strncmp(line, "HTTP/", 5) == 0) {      /* a new answer; a proxy's may come before it */
        a->first = a->last = a->total = a->length = -1;
        a->next[0] = '\0';
        a->next_too_long = false;
        return size;
    }
    const char *value = header(line, size, "Content-Range", &n);
    if (value) keep_range(value, n, a);
    if ((value = header(line, size, "Link", &n)) != NULL) om_http_keep_next(value, n, a);
    if (!c->at_hub) return size;
    keep_text(line, size, "X-Linked-Etag", a->linked_etag, sizeof a->linked_etag);
    keep_text(line, size, "X-Repo-Commit", a->commit, sizeof a->commit);
    keep_text(line, size, "X-Error-Code", a->error, sizeof a->error);
    if ((value = header(line, size, "X-Linked-Size", &n)) != NULL) read_number(&value, value + n, &a->linked_size);
    return size;
}

static void read_facts(call *c)
{
    curl_off_t length = -1, wait = 0;
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &c->answer->status);
    curl_easy_getinfo(c->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    curl_easy_getinfo(c->curl, CURLINFO_RETRY_AFTER, &wait);
    c->answer->length = length;
    c->answer->retry_after = (long)wait;
}

static size_t on_body(char *bytes, size_t one, size_t n, void *user)
{
    call *c = user;
    (void)one;
    if (!c->begun) read_facts(c);
    if (c->answer->status != 200 && c->answer->status != 206) {
        c->discarded += n;
        return c->discarded > MOST_DISCARDED ? 0 : n;
    }
    if (!c->begun && c->request->sink->begin) c->verdict = c->request->sink->begin(c->request->sink->user, c->answer);
    c->begun = true;
    if (c->verdict == OMNI_OK) c->verdict = c->request->sink->write(c->request->sink->user, bytes, n);
    return c->verdict == OMNI_OK ? n : 0;
}

static int on_tick(void *user, curl_off_t a, curl_off_t b, curl_off_t d, curl_off_t e)
{
    call *c = user;
    (void)a, (void)b, (void)d, (void)e;
    if (c->verdict == OMNI_OK && c->http->stop && c->http->stop(c->http->user)) c->verdict = OMNI_AGAIN;
    return c->verdict != OMNI_OK;
}

/* ---- one hop ------------------------------------------------------------------------ */

static struct curl_slist *headers_of(const call *c, char *line, size_t size)
{
    if (!c->at_hub || !c->http->token) return NULL;
    snprintf(line, size, "Authorization: Bearer %s", c->http->token);
    return curl_slist_append(NULL, line);
}

static void set_options(call *c, struct curl_slist *headers, char *range, size_t range_size)
{
    CURL *curl = c->curl;
    curl_easy_setopt(curl, CURLOPT_URL, c->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);     /* by hand: see follow */
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "llama-omni");
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)c->http->stall_seconds);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1024L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)c->http->stall_seconds);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, c);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_tick);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, c);
    curl_easy_setopt(curl, CURLOPT_NOBODY, c->request->head ? 1L : 0L);
    if (!c->request->head) curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
    if (c->request->first >= 0) {
        snprintf(range, range_size, "%lld-%lld", (long long)c->request->first, (long long)c->request->last);
        curl_easy_setopt(curl, CURLOPT_RANGE, range);
    }
}

/* What a failure of the connection means. */
static int judge_curl(const call *c, CURLcode code, const char *detail)
{
    const char *text = *detail ? detail : curl_easy_strerror(code);
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST: case CURLE_COULDNT_RESOLVE_PROXY: case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT: case CURLE_PARTIAL_FILE: case CURLE_GOT_NOTHING: case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR: case CURLE_HTTP2: case CURLE_HTTP2_STREAM: case CURLE_SSL_CONNECT_ERROR:
        om_fail(OMNI_ERR_IO, "%.300s: %.150s; check the network (HTTPS_PROXY names a proxy)", c->url, text);
        return OM_HTTP_RETRY;
    case CURLE_OUT_OF_MEMORY:
        return om_fail(OMNI_ERR_MEMORY, "%.300s: out of memory", c->url);
    default:
        return om_fail(OMNI_ERR_IO, "%.300s: %.150s", c->url, text);
    }
}

/* What a refusal means, in words that help. */
static int judge_refusal(const call *c)
{
    const om_http_answer *a = c->answer;
    const char *at = c->url, *hub = c->http->endpoint;
    if (strcmp(a->error, "GatedRepo") == 0)
        return om_fail(OMNI_ERR_IO, "%.300s: access must be asked for (%ld, gated): open the repository's page at %s, "
                       "accept its conditions, then set HF_TOKEN to a token of that account", at, a->status, hub);
    if (strcmp(a->error, "RepoNotFound") == 0)
        return om_fail(OMNI_ERR_IO, "%.300s: no such repository, or a private one (%ld); check the name, or set "
                       "HF_TOKEN to a token that may read it", at, a->status);
    if (strcmp(a->error, "RevisionNotFound") == 0)
        return om_fail(OMNI_ERR_IO, "%.300s: no such revision (%ld); check what stands after @", at, a->status);
    if (a->status == 401)
        return om_fail(OMNI_ERR_IO, "%.300s: %s (401); %s/settings/tokens gives tokens, HF_TOKEN takes one", at,
                       c->http->token ? "the token was not accepted" : "a token is wanted", hub);
    if (a->status == 403)
        return om_fail(OMNI_ERR_IO, "%.300s: access refused (403); gated repositories want their conditions accepted on "
                       "their page, and HF_TOKEN with a token of that account", at);
    if (a->status == 404) return om_fail(OMNI_ERR_IO, "%.300s: not there (404); check the name and the revision", at);
    if (a->status == 416) return om_fail(OMNI_ERR_IO, "%.300s: the server has no such bytes (416)", at);
    if (a->status == 407) return om_fail(OMNI_ERR_IO, "%.300s: the proxy wants a user and a password (407)", at);
    om_fail(OMNI_ERR_IO, "%.300s: the server answered %ld%s", at, a->status,
            a->status == 429 ? " (too many requests)" : "");
    const bool passing = a->status == 408 || a->status == 429 || (a->status >= 500 && a->status != 501);
    return passing ? OM_HTTP_RETRY : OMNI_ERR_IO;
}

int om_http_may_follow(const char *first, const char *at, const char *to)
{
    if (!has_scheme(to, "https") && !has_scheme(to, "http"))
        return om_fail(OMNI_ERR_FORMAT, "%.200s: refused to be sent to %.200s: only http and https are followed", at, to);
    if (has_scheme(to, "http") && !has_scheme(first, "http"))
        return om_fail(OMNI_ERR_FORMAT, "%.200s: refused to be sent from https to http: %.200s", at, to);
    return OMNI_OK;
}

/* Where a redirect leads: *next, or why it is not followed. */
static int follow(const call *c, char **next)
{
    char *to = NULL;
    curl_easy_getinfo(c->curl, CURLINFO_REDIRECT_URL, &to);
    if (!to) return om_fail(OMNI_ERR_FORMAT, "%.300s: a redirect (%ld) to nowhere", c->url, c->answer->status);
    const int rc = om_http_may_follow(c->request->url, c->url, to);
    if (rc != OMNI_OK) return rc;
    *next = om_strdup(to);
    return *next ? OMNI_OK : om_fail(OMNI_ERR_MEMORY, "%.200s: out of memory", c->url);
}

/* OK: answered with 200 or 206, or *next holds where to go on. */
static int hop(call *c, char **next)
{
    char line[4200], range[48], detail[CURL_ERROR_SIZE] = "";
    c->at_hub = om_http_same_origin(c->url, c->http->endpoint);
    c->discarded = 0;
    struct curl_slist *headers = headers_of(c, line, sizeof line);
    if (!headers && c->at_hub && c->http->token) return om_fail(OMNI_ERR_MEMORY, "%.300s: out of memory", c->url);
    set_options(c, headers, range, sizeof range);
    curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, detail);
    const CURLcode code = curl_easy_perform(c->curl);
    curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, NULL);
    read_facts(c);
    const long status = c->answer->status;
    int rc;
    if (c->verdict != OMNI_OK) rc = c->verdict;
    else if (code != CURLE_OK && !(code == CURLE_WRITE_ERROR && status >= 300)) rc = judge_curl(c, code, detail);
    else if (status == 200 || status == 206) rc = OMNI_OK;
    else if (status == 301 || status == 302 || status == 303 || status == 307 || status == 308) rc = follow(c, next);
    else rc = judge_refusal(c);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    return rc;
}

int om_http_try(const om_http *h, const om_http_request *r, om_http_answer *answer)
{
    call c = {.http = h, .request = r, .answer = answer, .curl = curl_easy_init(), .url = r->url};
    char *next = NULL, *here = NULL;
    int rc = OMNI_OK;
    *answer = (om_http_answer){.length = -1, .first = -1, .last = -1, .total = -1, .linked_size = -1};
    if (!c.curl) return om_fail(OMNI_ERR_MEMORY, "%.300s: out of memory", r->url);
    for (int i = 0; rc == OMNI_OK; i++) {
        rc = hop(&c, &next);
        om_free(here);
        here = next;
        next = NULL;
        if (rc != OMNI_OK || !here) break;
        if (i == MOST_REDIRECTS)
            rc = om_fail(OMNI_ERR_FORMAT, "%.300s: more than %d redirects", r->url, MOST_REDIRECTS);
        c.url = here;
    }
    /* An empty body is a body too. */
    if (rc == OMNI_OK && !r->head && !c.begun && r->sink->begin) rc = r->sink->begin(r->sink->user, answer);
    om_free(here);
    curl_easy_cleanup(c.curl);
    return rc;
}

/* ---- trying again ------------------------------------------------------------------- */

static double pause_length(const om_http *h, int failures, const om_http_answer *answer)
{
    double seconds = h->first_pause;
    for (int i = 1; i < failures && seconds < LONGEST_PAUSE; i++) seconds *= 2;
    if (seconds > LONGEST_PAUSE) seconds = LONGEST_PAUSE;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    seconds *= 0.75 + 0.5 * (double)(now.tv_nsec / 1000 % 1000) / 1000;     /* many clients should not come at once */
    return seconds > (double)answer->retry_after ? seconds : (double)answer->retry_after;
}

int om_http_pause(const om_http *h, int failures, const om_http_answer *answer)
{
    char why[400], line[512];
    snprintf(why, sizeof why, "%s", omni_last_error());
    if (failures > h->retries) return om_fail(OMNI_ERR_IO, "%s; gave up after %d tries", why, failures);
    if (answer->retry_after > LONGEST_RETRY_AFTER)
        return om_fail(OMNI_ERR_IO, "%s; it asks to wait %ld s; try again then", why, answer->retry_after);
    double left = pause_length(h, failures, answer);
    snprintf(line, sizeof line, "%s; trying again in %.0f s (%d of %d)", why, left, failures, h->retries);
    if (h->note && left >= 0.5) h->note(h->user, line);
    for (; left > 0; left -= 0.1) {
        if (h->stop && h->stop(h->user)) return OMNI_AGAIN;
        const struct timespec slice = {.tv_nsec = left < 0.1 ? (long)(left * 1e9) : 100000000};
        nanosleep(&slice, NULL);
    }
    return OM_HTTP_RETRY;
}

/* ---- short answers ------------------------------------------------------------------ */

typedef struct text_sink {
    const char *url;
    char  *text;
    size_t n, cap, max;
} text_sink;

static int begin_text(void *user, const om_http_answer *answer)
{
    (void)answer;
    ((text_sink *)user)->n = 0;
    return OMNI_OK;
}

static int write_text(void *user, const void *bytes, size_t n)
{
    text_sink *s = user;
    if (n > s->max - s->n)
        return om_fail(OMNI_ERR_FORMAT, "%.300s: the answer is longer than %zu bytes", s->url, s->max);
    if (s->n + n + 1 > s->cap) {
        const size_t cap = 2 * (s->n + n + 1);
        char *more = om_realloc(s->text, cap, 1);
        if (!more) return om_fail(OMNI_ERR_MEMORY, "%.300s: out of memory", s->url);
        s->text = more;
        s->cap = cap;
    }
    memcpy(s->text + s->n, bytes, n);
    s->n += n;
    return OMNI_OK;
}

int om_http_text(const om_http *h, const char *url, size_t max, om_http_answer *answer, char **text, size_t *n)
{
    text_sink s = {.url = url, .max = max};
    const om_http_sink sink = {.user = &s, .begin = begin_text, .write = write_text};
    const om_http_request r = {.url = url, .first = -1, .sink = &sink};
    int rc;
    for (int failures = 1; (rc = om_http_try(h, &r, answer)) == OM_HTTP_RETRY; failures++)
        if ((rc = om_http_pause(h, failures, answer)) != OM_HTTP_RETRY) break;
    if (rc == OMNI_OK && (rc = write_text(&s, "", 1)) == OMNI_OK) {
        *text = s.text;
        *n = s.n - 1;
        return OMNI_OK;
    }
    om_free(s.text);
    return rc;
}
