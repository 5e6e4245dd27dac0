/* ws: see ws.h. */
#include "ws.h"

#include "realtime.h"

#include <microhttpd.h>
#include <wslay/wslay.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { CLOSE_SECONDS = 5 };     /* for the other side to answer a close */

struct srv_socket {
    srv_socket *next;
    srv *server;
    srv_realtime *session;
    int fd;
    struct MHD_UpgradeResponseHandle *urh;
    wslay_event_context_ptr ws;
    char *extra;                /* bytes that came with the request */
    size_t n_extra, at_extra, budget;
    double heard, pinged, moved, closed;
    int close_code;             /* 0: none; wslay would send it before what waits */
    char close_reason[124];
    unsigned frames;            /* of the message that comes */
    bool writable_wanted, paused, counted, dead;    /* counted: its close */
};

static const char *code_name(int code)
{
    static const struct { int code; const char *name; } known[] = {
        {1000, "1000"}, {1001, "1001"}, {1002, "1002"}, {1003, "1003"}, {1005, "1005"}, {1006, "1006"},
        {1007, "1007"}, {1008, "1008"}, {1009, "1009"}, {1011, "1011"}, {1013, "1013"}, {3000, "3000"}, {4000, "4000"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].code == code) return known[i].name;
    return "other";
}

/* ---- wslay's callbacks ------------------------------------------------------------ */

static ssize_t on_recv(wslay_event_context_ptr ws, uint8_t *out, size_t n, int flags, void *user)
{
    (void)flags;
    srv_socket *s = user;
    if (s->at_extra < s->n_extra) {
        if (n > s->n_extra - s->at_extra) n = s->n_extra - s->at_extra;
        memcpy(out, s->extra + s->at_extra, n);
        s->at_extra += n;
        return (ssize_t)n;
    }
    if (n > s->budget) n = s->budget;
    const ssize_t got = n ? recv(s->fd, out, n, 0) : -1;
    if (got > 0) {
        s->budget -= (size_t)got;
        s->heard = srv_now();
        return got;
    }
    const bool later = n == 0 || (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR));
    wslay_event_set_error(ws, later ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

static ssize_t on_send(wslay_event_context_ptr ws, const uint8_t *bytes, size_t n, int flags, void *user)
{
    srv_socket *s = user;
    const ssize_t sent = send(s->fd, bytes, n, MSG_NOSIGNAL | (flags & WSLAY_MSG_MORE ? MSG_MORE : 0));
    if (sent >= 0) {
        s->moved = srv_now();
        return sent;
    }
    const bool later = errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
    wslay_event_set_error(ws, later ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

/* Each frame costs wslay a hundred bytes, whatever is in it. */
static void on_frame(wslay_event_context_ptr ws, const struct wslay_event_on_frame_recv_start_arg *arg, void *user)
{
    (void)ws;
    srv_socket *s = user;
    if (arg->opcode == WSLAY_TEXT_FRAME || arg->opcode == WSLAY_BINARY_FRAME) s->frames = 0;
    if (!wslay_is_ctrl_frame(arg->opcode) && ++s->frames > SRV_MESSAGE_FRAMES) s->dead = true;
}

static void on_message(wslay_event_context_ptr ws, const struct wslay_event_on_msg_recv_arg *arg, void *user)
{
    (void)ws;
    srv_socket *s = user;
    if (srv_socket_closing(s)) return;
    if (arg->opcode == WSLAY_TEXT_FRAME || arg->opcode == WSLAY_BINARY_FRAME)
        srv_realtime_message(s->session, (const char *)arg->msg, arg->msg_length, arg->opcode == WSLAY_BINARY_FRAME);
}

/* ---- life --------------------------------------------------------------------------- */

static void watch(srv_socket *s, int op)
{
    struct epoll_event e = {.events = (s->paused ? 0u : EPOLLIN) | (s->writable_wanted ? EPOLLOUT : 0u), .data.ptr = s};
    epoll_ctl(s->server->epoll_fd, op, s->fd, &e);
}

/* Whoever writes faster than the engine reads has to wait. */
static void pause_reading(srv_socket *s)
{
    const bool pause = !s->dead && srv_realtime_full(s->session);
    if (pause) s->heard = srv_now();
    if (pause == s->paused) return;
    s->paused = pause;
    watch(s, EPOLL_CTL_MOD);
}

/* The code of who closed first: the other side, or wslay, which finds what is against the protocol. */
static void count_close(srv_socket *s)
{
    const bool received = wslay_event_get_close_received(s->ws);
    if (s->counted || s->closed == 0 || (!received && !wslay_event_get_close_sent(s->ws))) return;
    s->counted = true;
    const int code = received ? wslay_event_get_status_code_received(s->ws) : wslay_event_get_status_code_sent(s->ws);
    srv_count(s->server->metrics, SRV_CLOSES, code_name(code), 1);
}

static void flush(srv_socket *s)
{
    if (s->dead) return;
    if (wslay_event_want_write(s->ws) && wslay_event_send(s->ws) != 0) s->dead = true;
    if (!s->dead && s->close_code && !wslay_event_want_write(s->ws)) {
        wslay_event_queue_close(s->ws, (uint16_t)s->close_code, (const uint8_t *)s->close_reason, strlen(s->close_reason));
        s->close_code = 0;
        if (wslay_event_send(s->ws) != 0) s->dead = true;
    }
    /* Answers wait before there is so much; pongs do not. */
    if (wslay_event_get_queued_msg_count(s->ws) > SRV_SEND_MESSAGES || srv_socket_waiting(s) > SRV_SEND_BYTES) s->dead = true;
    count_close(s);
    const bool wanted = !s->dead && wslay_event_want_write(s->ws);
    if (wanted && !s->writable_wanted) s->moved = srv_now();
    if (wanted != s->writable_wanted) {
        s->writable_wanted = wanted;
        watch(s, EPOLL_CTL_MOD);
    }
    if (wslay_event_get_close_sent(s->ws) && (wslay_event_get_close_received(s->ws) || !wslay_event_want_read(s->ws)))
        s->dead = true;
}

void srv_socket_adopt(srv *server, int fd, void *urh, const void *extra, size_t n, const srv_hello *hello)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = on_recv, .send_callback = on_send, .on_frame_recv_start_callback = on_frame, .on_msg_recv_callback = on_message};
    srv_socket *s = calloc(1, sizeof *s);
    if (s) s->extra = malloc(n + 1);
    if (!s || !s->extra || wslay_event_context_server_init(&s->ws, &callbacks, s) != 0) {
        if (s) free(s->extra);
        free(s);
        MHD_upgrade_action(urh, MHD_UPGRADE_ACTION_CLOSE);
        return;
    }
    if (n) memcpy(s->extra, extra, n);
    s->n_extra = n;
    s->server = server;
    s->fd = fd;
    s->urh = urh;
    s->heard = s->pinged = s->moved = srv_now();
    wslay_event_config_set_max_recv_msg_length(s->ws, SRV_MESSAGE_BYTES);
    s->next = server->sockets;
    server->sockets = s;
    server->n_sockets++;
    watch(s, EPOLL_CTL_ADD);
    s->session = srv_realtime_open(s, hello);
    if (!s->session) s->dead = true;
    flush(s);
    if (n) srv_socket_ready(s, EPOLLIN);
}

srv *srv_socket_server(const srv_socket *s)
{
    return s->server;
}

size_t srv_socket_waiting(const srv_socket *s)
{
    return wslay_event_get_queued_msg_length(s->ws);
}

bool srv_socket_closing(const srv_socket *s)
{
    return s->dead || s->closed > 0 || wslay_event_get_close_received(s->ws);
}

void srv_socket_send(srv_socket *s, const char *text, size_t n)
{
    if (srv_socket_closing(s)) return;
    const struct wslay_event_msg message = {WSLAY_TEXT_FRAME, (const uint8_t *)text, n};
    if (srv_socket_waiting(s) + n > SRV_SEND_BYTES || wslay_event_queue_msg(s->ws, &message) != 0) s->dead = true;
}

void srv_socket_close(srv_socket *s, int code, const char *reason)
{
    if (srv_socket_closing(s)) return;
    s->close_code = code;
    snprintf(s->close_reason, sizeof s->close_reason, "%s", reason);
    s->closed = srv_now();
    s->counted = true;
    wslay_event_config_set_no_buffering(s->ws, 1);      /* until its close comes, what it sends is read and nobody's */
    srv_count(s->server->metrics, SRV_CLOSES, code_name(code), 1);
}

void srv_socket_ready(srv_socket *s, uint32_t events)
{
    if (s->dead) return;
    s->budget = SRV_READ_SLICE_BYTES;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && wslay_event_want_read(s->ws) && wslay_event_recv(s->ws) != 0)
        s->dead = true;
    if (!s->dead && (wslay_event_get_close_received(s->ws) || !wslay_event_get_read_enabled(s->ws)) && s->closed == 0)
        s->closed = srv_now();
    flush(s);
    pause_reading(s);
}

void srv_sockets_drain(srv *server)
{
    for (srv_socket *s = server->sockets; s; s = s->next) {
        if (s->dead) continue;
        srv_realtime_drain(s->session);
        flush(s);
        pause_reading(s);
    }
}

void srv_sockets_tick(srv *server, double now)
{
    for (srv_socket *s = server->sockets; s; s = s->next) {
        if (s->dead) continue;
        pause_reading(s);
        if (s->closed > 0 && now - s->closed > CLOSE_SECONDS) s->dead = true;
        if (now - s->heard > SRV_SILENT_SECONDS) s->dead = true;
        if (s->writable_wanted && now - s->moved > SRV_STALL_SECONDS) s->dead = true;
        if (s->dead) continue;
        if (now - s->pinged > SRV_PING_SECONDS && s->closed == 0) {
            const struct wslay_event_msg ping = {WSLAY_PING, NULL, 0};
            wslay_event_queue_msg(s->ws, &ping);
            s->pinged = now;
        }
        srv_realtime_tick(s->session, now);
        flush(s);
    }
}

void srv_sockets_sweep(srv *server)
{
    for (srv_socket **at = &server->sockets; *at;) {
        srv_socket *s = *at;
        if (!s->dead) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        if (!s->counted) srv_count(server->metrics, SRV_CLOSES, "1006", 1);
        epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
        srv_realtime_free(s->session);
        wslay_event_context_free(s->ws);
        MHD_upgrade_action(s->urh, MHD_UPGRADE_ACTION_CLOSE);
        free(s->extra);
        free(s);
        server->n_sockets--;
    }
}

void srv_sockets_drop(srv *server)
{
    for (srv_socket *s = server->sockets; s; s = s->next) s->dead = true;
}

void srv_sockets_goodbye(srv *server)
{
    for (srv_socket *s = server->sockets; s; s = s->next) {
        if (s->dead) continue;
        srv_realtime_goodbye(s->session);
        srv_socket_close(s, 1001, "the server is shutting down");
        flush(s);
    }
}
