/*
 * A whole `omni serve` on loopback, with the bundled model. The first byte says how the rest reaches it:
 *
 *   h  as it is: HTTP requests, and whatever they turn into
 *   w  behind a WebSocket upgrade: raw frames
 *   g, b, t  each line as one text message of a realtime conversation: GA dialect, beta, transcription
 *   G, B  the same, and answers are waited for
 *
 * Nothing crashes, and what the server says in a conversation is JSON events with a type and an id of their own. It is a
 * sequence that is tried, so the state that one message leaves behind meets the next.
 */
#include "fuzz/memory_file.h"

#include "../apps/server/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { ROOM = 1 << 20, QUIET_MS = 10, ANSWER_MS = 4000, START_SECONDS = 60 };

static atomic_bool over;
static struct sockaddr_in address = { .sin_family = AF_INET };
static pthread_t server_thread;

/* ---- the server ------------------------------------------------------------------------ */

static bool is_over(void)
{
    return atomic_load(&over);
}

static bool never(void)
{
    return false;
}

static void *serve(void *model)
{
    srv_options options = { .host = "127.0.0.1", .port = ntohs(address.sin_port), .session_seconds = 3600,
                            .max_tokens = 3, .engine = omni_engine_default_params(), .stop = is_over, .drain = never };

    options.engine.n_slots = 8;
    if (srv_run(&options, model) != 0)
        abort();
    return NULL;
}

static void stop(void)
{
    atomic_store(&over, true);
    pthread_join(server_thread, NULL);
}

/* A port that was free a moment ago. */
static void choose_port(void)
{
    socklen_t n = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) || getsockname(fd, (struct sockaddr *)&address, &n))
        abort();
    close(fd);
}

static int reach(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        abort();
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static void start(void)
{
    static omni_model *model;
    const char *path = getenv("OMNI_TEST_MODEL");
    int fd = -1;

    if (omni_model_load(path ? path : OMNI_SOURCE_DIR "/models/tiny", NULL, &model)) {
        fprintf(stderr, "%s\n", omni_last_error());
        abort();
    }
    choose_port();
    if (pthread_create(&server_thread, NULL, serve, model))
        abort();
    for (int i = 0; i < START_SECONDS * 100 && fd < 0; i++) {
        nanosleep(&(struct timespec){ 0, 10000000 }, NULL);
        fd = reach();
    }
    if (fd < 0)
        abort();
    close(fd);
    atexit(stop);
}

/* ---- a client ----------------------------------------------------------------------------- */

typedef struct client {
    int fd;
    bool gone;                          /* the server closed */
    unsigned char in[ROOM];             /* what came and was not looked at yet */
    size_t n;
    int n_asked, n_done;                /* response.create sent, response.done seen */
} client;

static client c;

static void take(int ms)
{
    struct pollfd p = { .fd = c.fd, .events = POLLIN };

    while (!c.gone && c.n < ROOM && poll(&p, 1, ms) > 0) {
        ssize_t got = recv(c.fd, c.in + c.n, ROOM - c.n, MSG_DONTWAIT);

        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0)
            c.gone = true;
        else
            c.n += (size_t)got;
        ms = 0;
    }
}

static void say(const void *bytes, size_t n)
{
    const char *at = bytes;

    while (n && !c.gone) {
        ssize_t sent = send(c.fd, at, n, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent < 0 && errno == EAGAIN)
            take(1);                    /* it may wait for us to read */
        else if (sent < 0)
            return;
        else
            at += sent, n -= (size_t)sent;
        if (c.n == ROOM)
            return;
    }
}

/* A frame by a client: masked, with a mask of zeros. */
static void say_frame(int opcode, const void *bytes, size_t n)
{
    unsigned char head[14] = { (unsigned char)(0x80 | opcode) };
    size_t at = 2;

    head[1] = (unsigned char)(0x80 | (n < 126 ? n : n < 65536 ? 126 : 127));
    for (int shift = n < 126 ? -8 : n < 65536 ? 8 : 56; shift >= 0; shift -= 8)
        head[at++] = (unsigned char)(n >> shift);
    say(head, at + 4);
    say(bytes, n);
}

static void upgrade(char how)
{
    char request[512];
    int n = snprintf(request, sizeof request,
                     "GET /v1/realtime?model=tiny%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
                     how == 't' ? "&intent=transcription" : "", ntohs(address.sin_port),
                     how == 'b' || how == 'B' ? "OpenAI-Beta: realtime=v1\r\n" : "");

    say(request, (size_t)n);
    for (int i = 0; i < 200 && !c.gone; i++) {
        unsigned char *end;

        take(50);
        end = memmem(c.in, c.n, "\r\n\r\n", 4);
        if (!end)
            continue;
        if (memcmp(c.in, "HTTP/1.1 101", 12) != 0)
            c.gone = true;              /* the last conversations' slots are not free yet */
        c.n -= (size_t)(end + 4 - c.in);
        memmove(c.in, end + 4, c.n);
        return;
    }
}

/* ---- what the server says --------------------------------------------------------------------- */

static void check_event(const unsigned char *text, size_t n)
{
    json_t *event = json_loadb((const char *)text, n, 0, NULL);
    const char *type = json_string_value(json_object_get(event, "type"));

    if (!type || !json_string_length(json_object_get(event, "event_id")))
        abort();
    c.n_done += strcmp(type, "response.done") == 0;
    json_decref(event);
}

/* Whole frames are looked at and dropped; they are small, unmasked, unfragmented. */
static void check_frames(void)
{
    size_t at = 0;

    while (c.n - at >= 2) {
        const unsigned char *head = c.in + at;
        size_t size = head[1], used = 2;

        if (!(head[0] & 0x80) || head[0] & 0x70 || head[1] & 0x80)
            abort();
        for (size_t more = size == 126 ? 2 : size == 127 ? 8 : 0; more && used < 2 + more; used++) {
            if (c.n - at <= used)
                goto done;
            size = used == 2 ? head[used] : size << 8 | head[used];
        }
        if (c.n - at - used < size)
            break;
        if ((head[0] & 15) == 1)
            check_event(head + used, size);
        at += used + size;
    }
done:
    c.n -= at;
    memmove(c.in, c.in + at, c.n);
}

static void converse(const uint8_t *data, size_t size, bool patient)
{
    for (size_t at = 0; at < size && !c.gone;) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t n = end ? (size_t)(end - data) - at : size - at;

        c.n_asked += memmem(data + at, n, "response.create", 15) != NULL;
        say_frame(1, data + at, n);
        at += n + 1;
        take(0);
        check_frames();
    }
    for (int ms = 0; patient && ms < ANSWER_MS && c.n_done < c.n_asked && !c.gone; ms += QUIET_MS) {
        take(QUIET_MS);
        check_frames();
    }
    say_frame(8, "\x03\xe8", 2);
    for (int i = 0; i < 100 && !c.gone; i++) {
        take(QUIET_MS);
        check_frames();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool started;

    if (!started)
        start();
    started = true;
    if (size < 2)
        return 0;
    c.fd = reach();
    if (c.fd < 0)
        abort();                        /* nobody listens any more */
    c.gone = false;
    c.n = 0;
    c.n_asked = c.n_done = 0;
    if (data[0] == 'h') {
        say(data + 1, size - 1);
    } else {
        upgrade((char)data[0]);
        if (data[0] == 'w')
            say(data + 1, size - 1);
        else
            converse(data + 1, size - 1, data[0] == 'G' || data[0] == 'B');
    }
    shutdown(c.fd, SHUT_WR);
    if (data[0] == 'h' || data[0] == 'w')
        for (int i = 0; i < 5 && !c.gone && c.n < ROOM; i++)
            take(QUIET_MS);
    close(c.fd);
    return 0;
}
