/* serve: the loop of the network thread, beginning and end. */
#include "chat.h"
#include "ephemeral.h"
#include "http.h"
#include "visitors.h"
#include "ws.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include <errno.h>
#include <malloc.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 64, TICK_MS = 250, TRIM_SECONDS = 10, GOODBYE_SECONDS = 5 };

/* ---- what all files use ------------------------------------------------------------------------ */

double srv_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void srv_new_id(const char *prefix, char *out)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t random[24];
    char word[25] = "";
    gnutls_rnd(GNUTLS_RND_NONCE, random, sizeof random);
    for (int i = 0; i < 24; i++) word[i] = letters[random[i] % 62];
    snprintf(out, 40, "%s_%s", prefix, word);
}

bool srv_key_ok(const srv *server, const char *given)
{
    /* Digests of the same length are compared, so that neither length nor place of a difference shows. */
    uint8_t a[32], b[32];
    const char *key = server->options->api_key;
    if (!key) return true;
    if (!given) given = "";
    return gnutls_hash_fast(GNUTLS_DIG_SHA256, key, strlen(key), a) == 0 &&
           gnutls_hash_fast(GNUTLS_DIG_SHA256, given, strlen(given), b) == 0 && gnutls_memcmp(a, b, sizeof a) == 0;
}

bool srv_model_ok(const srv *server, const char *name)
{
    return !server->options->strict_model || strcmp(name, server->model_name) == 0;
}

bool srv_overloaded(const srv *server)
{
    const int most = server->options->max_ttfa_ms;
    return most > 0 && srv_worker_free_seats(server->worker) < server->options->engine.n_slots &&
           srv_recent_ttfa_ms(server->metrics, srv_now()) > most;
}

omni_session_params srv_session_params(const srv *server)
{
    omni_session_params p = omni_session_default_params();
    p.max_tokens = server->options->max_tokens;
    p.early_audio = server->options->early_audio;
    return p;
}

/* ---- the loop -------------------------------------------------------------------------------------- */

static void watch(const srv *server, int fd, void *tag)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = tag};
    epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &e);
}

static void drain(srv *server)
{
    srv_sockets_drain(server);
    srv_chats_drain(server);
}

/* One round: waits, then serves whoever has something. */
static void serve_round(srv *server, int most_ms)
{
    struct epoll_event events[EVENTS];
    const int n = epoll_wait(server->epoll_fd, events, EVENTS, srv_http_timeout(server, most_ms));
    bool woken = false;
    for (int i = 0; i < n; i++) {
        void *tag = events[i].data.ptr;
        if (tag == &server->wake_fd) woken = true;
        else if (tag != &server->daemon) srv_socket_ready(tag, events[i].events);
    }
    if (woken) {
        uint64_t count;
        if (read(server->wake_fd, &count, sizeof count) < 0) count = 0;
    }
    drain(server);
    srv_http_run(server);
    srv_sockets_sweep(server);
}

/* Those who are heard or answered are told; then a few seconds for the words to arrive. */
static void say_goodbye(srv *server)
{
    server->draining = true;
    srv_http_quiet(server);
    srv_sockets_goodbye(server);
    srv_chats_goodbye(server);
    const double until = srv_now() + GOODBYE_SECONDS;
    while ((server->sockets || server->chats) && srv_now() < until) {
        srv_sockets_tick(server, srv_now());
        serve_round(server, 50);
    }
}

/* A session's rings and windows are megabytes. By default glibc learns from the first one freed to keep such blocks in
 * its heaps, where those of later sessions find no gap that fits, and the process grows for hours. */
static void give_back_large_blocks(void)
{
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
#endif
}

/* Small ones of many sizes come and go between those that stay; what is free between them is a page here and there. Takes
 * half a millisecond. */
static void give_back_free_pages(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

static void loop(srv *server)
{
    double ticked = srv_now(), trimmed = ticked;
    while (!server->options->stop()) {
        if (server->options->drain()) server->draining = true;
        if (server->draining && !server->sockets && !server->chats) break;
        serve_round(server, TICK_MS);
        if (srv_now() - ticked < TICK_MS * 1e-3) continue;
        ticked = srv_now();
        srv_sockets_tick(server, ticked);
        srv_ephemerals_tick(server->ephemerals, ticked);
        srv_chats_tick(server);
        srv_chats_drain(server);
        srv_sockets_sweep(server);
        if (ticked - trimmed < TRIM_SECONDS) continue;
        trimmed = ticked;
        give_back_free_pages();
    }
    say_goodbye(server);
}

/* ---- beginning and end ------------------------------------------------------------------------------- */

static void announce(const srv *server)
{
    struct sockaddr_storage address;
    socklen_t n = sizeof address;
    char service[16] = "?";
    if (getsockname(server->listen_fd, (struct sockaddr *)&address, &n) == 0)
        getnameinfo((struct sockaddr *)&address, n, NULL, 0, service, sizeof service, NI_NUMERICSERV);
    const char *host = server->options->host;
    const bool bare6 = strchr(host, ':') != NULL;
    printf("listening on http%s://%s%s%s:%s\n", server->options->key ? "s" : "", bare6 ? "[" : "", host, bare6 ? "]" : "", service);
    fflush(stdout);
}

static void name_model(srv *server)
{
    const char *name = server->options->alias ? server->options->alias : server->info->name;
    server->model_name = name && *name ? name : "llama-omni";
}

int srv_run(const srv_options *options, const omni_model *model)
{
    srv server = {.options = options, .model = model, .info = omni_model_get_info(model), .listen_fd = -1};
    int rc = 1;
    give_back_large_blocks();
    name_model(&server);
    server.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    server.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    server.metrics = srv_metrics_new();
    server.answers = srv_answers_new();
    server.ephemerals = srv_ephemerals_new();
    if (options->proxies) server.visitors = srv_visitors_new(options->proxies);
    if (server.epoll_fd < 0 || server.wake_fd < 0 || !server.metrics || !server.answers || !server.ephemerals ||
        (options->proxies && !server.visitors)) {
        fprintf(stderr, "omni: serve: %s\n", strerror(errno));
        goto end;
    }
    if (srv_http_open(&server) != 0) goto end;
    server.worker = srv_worker_start(model, &options->engine, server.wake_fd);
    if (!server.worker) {
        fprintf(stderr, "omni: %s\n", omni_last_error());
        goto end;
    }
    watch(&server, server.wake_fd, &server.wake_fd);
    watch(&server, srv_http_epoll_fd(&server), &server.daemon);
    announce(&server);
    loop(&server);
    rc = srv_worker_alive(server.worker) ? 0 : 1;
end:
    srv_sockets_drop(&server);
    srv_sockets_sweep(&server);
    srv_http_close(&server);
    srv_worker_stop(server.worker);
    srv_visitors_free(server.visitors);
    srv_metrics_free(server.metrics);
    srv_answers_free(server.answers);
    srv_ephemerals_free(server.ephemerals);
    if (server.epoll_fd >= 0) close(server.epoll_fd);
    if (server.wake_fd >= 0) close(server.wake_fd);
    return rc;
}
