/* load-socket: see load-socket.h. */
#include "load-socket.h"

#include "../server/base64.h"

#include <wslay/wslay.h>

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_BYTES = 16384, REQUEST_BYTES = 4096, MESSAGE_BYTES = 16 << 20, MOST_WAITING = 4 << 20 };

struct load_socket {
    const load_server *server;
    load_hear *hear;
    void *user;
    load_phase phase;
    load_ending ending;
    const struct addrinfo *address;     /* tried now */
    int fd;
    load_tls *tls;
    char request[REQUEST_BYTES];
    size_t n_request, n_asked;
    char accept[32];                    /* what the server must answer */
    char head[HEAD_BYTES + 1];          /* its answer, and what came behind it */
    size_t n_head, at_head;
    wslay_event_context_ptr ws;
};

static void over(load_socket *s, load_end how, int code, const char *format, ...) __attribute__((format(printf, 4, 5)));

static void over(load_socket *s, load_end how, int code, const char *format, ...)
{
    va_list args;
    if (s->phase == LOAD_OVER) return;
    s->phase = LOAD_OVER;
    s->ending.how = how;
    s->ending.code = code;
    va_start(args, format);
    vsnprintf(s->ending.text, sizeof s->ending.text, format, args);
    va_end(args);
    load_tls_close(s->tls);
    s->tls = NULL;
    if (s->fd >= 0) close(s->fd);
    s->fd = -1;
}

static ssize_t receive(load_socket *s, void *out, size_t n)
{
    return s->tls ? load_tls_recv(s->tls, out, n) : recv(s->fd, out, n, 0);
}

static ssize_t deliver(load_socket *s, const void *bytes, size_t n)
{
    return s->tls ? load_tls_send(s->tls, bytes, n) : send(s->fd, bytes, n, MSG_NOSIGNAL);
}

static bool would_block(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* ---- wslay's callbacks ------------------------------------------------------------ */

static ssize_t on_recv(wslay_event_context_ptr ws, uint8_t *out, size_t n, int flags, void *user)
{
    (void)flags;
    load_socket *s = user;
    if (s->at_head < s->n_head) {
        if (n > s->n_head - s->at_head) n = s->n_head - s->at_head;
        memcpy(out, s->head + s->at_head, n);
        s->at_head += n;
        return (ssize_t)n;
    }
    const ssize_t got = receive(s, out, n);
    if (got > 0) return got;
    wslay_event_set_error(ws, got < 0 && would_block() ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

static ssize_t on_send(wslay_event_context_ptr ws, const uint8_t *bytes, size_t n, int flags, void *user)
{
    (void)flags;
    const ssize_t sent = deliver(user, bytes, n);
    if (sent >= 0) return sent;
    wslay_event_set_error(ws, would_block() ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

static int on_mask(wslay_event_context_ptr ws, uint8_t *out, size_t n, void *user)
{
    (void)ws;
    (void)user;
    load_random(out, n);
    return 0;
}

static void on_message(wslay_event_context_ptr ws, const struct wslay_event_on_msg_recv_arg *arg, void *user)
{
    (void)ws;
    load_socket *s = user;
    if (arg->opcode == WSLAY_TEXT_FRAME) s->hear(s->user, (const char *)arg->msg, arg->msg_length);
    if (arg->opcode != WSLAY_CONNECTION_CLOSE) return;
    /* The reason stands behind the two bytes of the code. */
    const size_t n = arg->msg_length > 2 ? arg->msg_length - 2 : 0;
    snprintf(s->ending.text, sizeof s->ending.text, "%.*s", (int)n, n ? (const char *)arg->msg + 2 : "");
}

/* ---- connecting ---------------------------------------------------------------------- */

static bool begin_connect(load_socket *s, const struct addrinfo *a)
{
    const int on = 1;
    s->fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->fd < 0) return false;
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(s->fd, a->ai_addr, a->ai_addrlen) == 0 || errno == EINPROGRESS) return true;
    const int why = errno;
    close(s->fd);
    s->fd = -1;
    errno = why;
    return false;
}

/* Tries the addresses from a on; error is why the one before failed. */
static void try_addresses(load_socket *s, const struct addrinfo *a, int error)
{
    for (; a; a = a->ai_next) {
        s->address = a;
        if (begin_connect(s, a)) return;
        error = errno;
    }
    over(s, LOAD_UNREACHABLE, error, "%s", strerror(error));
}

static void connected(load_socket *s)
{
    int error = 0;
    socklen_t n = sizeof error;
    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0) error = errno;
    if (error) {
        close(s->fd);
        s->fd = -1;
        try_addresses(s, s->address->ai_next, error);
        return;
    }
    s->phase = s->server->tls ? LOAD_SHAKING : LOAD_ASKING;
    if (!s->server->tls) return;
    s->tls = load_tls_open(s->server->trust, s->fd, s->server->host);
    if (!s->tls) over(s, LOAD_UNREACHABLE, ENOMEM, "out of memory for TLS");
}

static void shake(load_socket *s)
{
    char why[512];
    const int rc = load_tls_shake(s->tls, why, sizeof why);
    if (rc > 0) s->phase = LOAD_ASKING;
    if (rc < 0) over(s, LOAD_UNREACHABLE, EPROTO, "%s", why);
}

/* ---- the upgrade ------------------------------------------------------------------------ */

static bool write_request(load_socket *s)
{
    const load_server *to = s->server;
    unsigned char nonce[16], digest[20];
    char word[32], text[80];
    load_random(nonce, sizeof nonce);
    srv_base64_encode(nonce, sizeof nonce, word);
    snprintf(text, sizeof text, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", word);
    load_sha1(text, digest);
    srv_base64_encode(digest, sizeof digest, s->accept);
    const bool v6 = strchr(to->host, ':') != NULL;
    const int n = snprintf(s->request, sizeof s->request,
                           "GET %s HTTP/1.1\r\nHost: %s%s%s:%s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                           "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\nUser-Agent: omni-bench\r\n%s%s%s\r\n",
                           to->target, v6 ? "[" : "", to->host, v6 ? "]" : "", to->port, word,
                           to->key ? "Authorization: Bearer " : "", to->key ? to->key : "", to->key ? "\r\n" : "");
    s->n_request = (size_t)n;
    return n > 0 && n < (int)sizeof s->request;
}

/* The value of a header in the answer's head, NULL: it is not there. name: "\r\nname:". */
static const char *header(const load_socket *s, const char *name)
{
    const char *at = strcasestr(s->head, name);
    if (!at) return NULL;
    at += strlen(name);
    return at + strspn(at, " \t");
}

/* "HTTP/1.1 503 ..." gives 503; 0: that is no HTTP. */
static int status_of(const char *head)
{
    if (strncmp(head, "HTTP/1.", 7) != 0 || !strchr(head, ' ')) return 0;
    const long status = strtol(strchr(head, ' '), NULL, 10);
    return status >= 100 && status <= 999 ? (int)status : 0;
}

static void upgraded(load_socket *s, size_t n)
{
    static const struct wslay_event_callbacks callbacks = {.recv_callback = on_recv, .send_callback = on_send,
                                                           .genmask_callback = on_mask, .on_msg_recv_callback = on_message};
    const char *word = header(s, "\r\nsec-websocket-accept:");
    if (!word || strncmp(word, s->accept, strlen(s->accept)) != 0) {
        over(s, LOAD_UNREACHABLE, EPROTO, "Sec-WebSocket-Accept is not what was wanted");
        return;
    }
    if (wslay_event_context_client_init(&s->ws, &callbacks, s) != 0) {
        over(s, LOAD_UNREACHABLE, ENOMEM, "out of memory for a WebSocket");
        return;
    }
    wslay_event_config_set_max_recv_msg_length(s->ws, MESSAGE_BYTES);
    s->at_head = n;
    s->phase = LOAD_OPEN;
}

/* Looks at what has come of the answer; ended: no more will come. */
static void read_head(load_socket *s, bool ended)
{
    s->head[s->n_head] = 0;
    char *end = strstr(s->head, "\r\n\r\n");
    if (!end && !ended && s->n_head < HEAD_BYTES) return;
    const int status = status_of(s->head);
    if (!end || !status) {
        over(s, LOAD_UNREACHABLE, EPROTO, s->n_head ? "answers, but not in HTTP" : "the connection was closed without an answer");
        return;
    }
    const size_t n = (size_t)(end - s->head) + 4;
    end[2] = 0;
    if (status == 101) {
        upgraded(s, n);
        return;
    }
    const char *length = header(s, "\r\ncontent-length:"), *wait = header(s, "\r\nretry-after:");
    const size_t wanted = length ? strtoul(length, NULL, 10) : 0, body = s->n_head - n;
    if (body < wanted && !ended && s->n_head < HEAD_BYTES) {
        end[2] = '\r';
        return;
    }
    const long seconds = wait ? strtol(wait, NULL, 10) : 0;
    s->ending.retry_after = seconds > 0 && seconds < 3600 ? (int)seconds : 0;
    over(s, LOAD_REFUSED, status, "%s", s->head + n);
}

static void ask(load_socket *s)
{
    while (s->n_asked < s->n_request) {
        const ssize_t sent = deliver(s, s->request + s->n_asked, s->n_request - s->n_asked);
        if (sent < 0 && would_block()) break;
        if (sent <= 0) {
            over(s, LOAD_UNREACHABLE, errno, "%s", strerror(errno));
            return;
        }
        s->n_asked += (size_t)sent;
    }
    while (s->phase == LOAD_ASKING && s->n_head < HEAD_BYTES) {
        const ssize_t got = receive(s, s->head + s->n_head, HEAD_BYTES - s->n_head);
        if (got < 0 && would_block()) return;
        if (got > 0) s->n_head += (size_t)got;
        read_head(s, got <= 0);
    }
}

/* ---- open -------------------------------------------------------------------------------- */

static void flush(load_socket *s)
{
    if (s->phase != LOAD_OPEN) return;
    if (wslay_event_want_write(s->ws) && wslay_event_send(s->ws) != 0) over(s, LOAD_LOST, 0, "the connection broke");
    else if (wslay_event_get_queued_msg_length(s->ws) > MOST_WAITING) over(s, LOAD_LOST, 0, "the server takes nothing any more");
}

static void converse(load_socket *s)
{
    const int rc = wslay_event_want_read(s->ws) ? wslay_event_recv(s->ws) : 0;
    flush(s);
    if (wslay_event_get_close_received(s->ws)) {
        char text[sizeof s->ending.text];
        snprintf(text, sizeof text, "%s", s->ending.text);
        over(s, LOAD_CLOSED, wslay_event_get_status_code_received(s->ws), "%s", text);
    } else if (rc != 0) {
        over(s, LOAD_LOST, 0, "the connection broke");
    }
}

load_socket *load_socket_open(const load_server *server, load_hear *hear, void *user)
{
    load_socket *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->server = server;
    s->hear = hear;
    s->user = user;
    s->fd = -1;
    if (write_request(s)) try_addresses(s, server->addresses, EADDRNOTAVAIL);
    else over(s, LOAD_UNREACHABLE, EMSGSIZE, "the API key is too long");
    return s;
}

void load_socket_close(load_socket *s)
{
    if (!s) return;
    load_tls_close(s->tls);
    if (s->fd >= 0) close(s->fd);
    if (s->ws) wslay_event_context_free(s->ws);
    free(s);
}

int load_socket_fd(const load_socket *s)
{
    return s->fd;
}

short load_socket_events(const load_socket *s)
{
    switch (s->phase) {
    case LOAD_CONNECTING: return POLLOUT;
    case LOAD_SHAKING: return load_tls_writes(s->tls) ? POLLOUT : POLLIN;
    case LOAD_ASKING: return s->n_asked < s->n_request ? POLLIN | POLLOUT : POLLIN;
    case LOAD_OPEN: return wslay_event_want_write(s->ws) ? POLLIN | POLLOUT : POLLIN;
    default: return 0;
    }
}

void load_socket_ready(load_socket *s, short revents)
{
    if (!revents) return;
    if (s->phase == LOAD_CONNECTING) connected(s);
    if (s->phase == LOAD_SHAKING) shake(s);
    if (s->phase == LOAD_ASKING) ask(s);
    if (s->phase == LOAD_OPEN) converse(s);
}

load_phase load_socket_phase(const load_socket *s)
{
    return s->phase;
}

const load_ending *load_socket_ending(const load_socket *s)
{
    return &s->ending;
}

void load_socket_send(load_socket *s, const char *text, size_t n)
{
    const struct wslay_event_msg message = {WSLAY_TEXT_FRAME, (const uint8_t *)text, n};
    if (s->phase != LOAD_OPEN) return;
    if (wslay_event_queue_msg(s->ws, &message) != 0) over(s, LOAD_LOST, 0, "the connection is closing");
    flush(s);
}

void load_socket_goodbye(load_socket *s)
{
    if (s->phase != LOAD_OPEN) return;
    wslay_event_queue_close(s->ws, 1000, NULL, 0);
    flush(s);
}

void load_socket_abandon(load_socket *s, const char *why)
{
    over(s, LOAD_LOST, 0, "%s", why);
}
