/*
 * A server whose answers can not be encoded: the functions of audio-memory.h are those here, not its own. A chat completion
 * that wants a file says so with status 500, wherever it fails, and the next one is answered.
 */
#include "unit/cmocka_all.h"

#include "../apps/server/audio-memory.h"
#include "../apps/server/server.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* ---- the encoder ----------------------------------------------------------------------- */

static atomic_int fails;        /* at: 1 the beginning, 2 sound, 3 the end; 0: never */
static atomic_int n_open;
struct srv_audio_writer { int unused; };
static srv_audio_writer writer;

srv_audio_writer *srv_audio_begin(int format, int hz)
{
    (void)format, (void)hz;
    if (fails == 1) return NULL;
    n_open++;
    return &writer;
}

bool srv_audio_put(srv_audio_writer *w, const float *samples, size_t n)
{
    (void)w, (void)samples, (void)n;
    return fails != 2;
}

char *srv_audio_end(srv_audio_writer *w, size_t *n_bytes)
{
    srv_audio_drop(w);
    *n_bytes = 5;
    return fails == 3 ? NULL : strdup("a file");
}

void srv_audio_drop(srv_audio_writer *w)
{
    if (w) n_open--;
}

bool srv_audio_read(void *bytes, size_t n, int format, double most, float **samples, size_t *n_samples, int *hz)
{
    (void)bytes, (void)n, (void)format, (void)most, (void)samples, (void)n_samples, (void)hz;
    return false;
}

/* ---- the server ------------------------------------------------------------------------ */

static atomic_bool over;
static struct sockaddr_in address = {.sin_family = AF_INET};

static bool is_over(void)
{
    return over;
}

static bool never(void)
{
    return false;
}

static void *serve(void *model)
{
    srv_options options = {.host = "127.0.0.1", .port = ntohs(address.sin_port), .session_seconds = 60, .max_tokens = 8,
                           .engine = omni_engine_default_params(), .stop = is_over, .drain = never};
    return srv_run(&options, model) == 0 ? model : NULL;
}

/* A port that was free a moment ago. */
static void choose_port(void)
{
    socklen_t n = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && getsockname(fd, (struct sockaddr *)&address, &n) == 0);
    close(fd);
}

static int reach(void)
{
    for (int i = 0; i < 6000; i++) {
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
        close(fd);
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    fail_msg("the server did not start");
    return -1;
}

/* The whole answer to a question whose answer is wanted as an mp3. */
static void ask(char *answer, size_t size)
{
    static const char body[] = "{\"model\":\"m\",\"modalities\":[\"text\",\"audio\"],\"audio\":{\"voice\":\"x\",\"format\":\"mp3\"},"
                               "\"messages\":[{\"role\":\"user\",\"content\":\"what is the capital of france\"}]}";
    char request[1000];
    const int fd = reach();
    const int n = snprintf(request, sizeof request, "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
                           "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
    assert_int_equal(send(fd, request, (size_t)n, MSG_NOSIGNAL), n);
    size_t have = 0;
    for (ssize_t got; have < size - 1 && (got = recv(fd, answer + have, size - 1 - have, 0)) > 0;) have += (size_t)got;
    answer[have] = 0;
    close(fd);
}

static void what_can_not_be_encoded_is_an_error(void **state)
{
    (void)state;
    static char answer[1 << 16];
    const char *path = getenv("OMNI_TEST_MODEL");
    omni_model *model;
    pthread_t thread;
    void *ended;
    assert_non_null(path);
    assert_int_equal(omni_model_load(path, NULL, &model), OMNI_OK);
    choose_port();
    assert_int_equal(pthread_create(&thread, NULL, serve, model), 0);
    for (int at = 1; at <= 4; at++) {
        fails = at % 4;
        ask(answer, sizeof answer);
        if (fails && (strncmp(answer, "HTTP/1.1 500 ", 13) != 0 || !strstr(answer, "\"type\":\"server_error\"") || strstr(answer, "\"data\"")))
            fail_msg("failing at %d: %s", at, answer);
        if (!fails && (strncmp(answer, "HTTP/1.1 200 ", 13) != 0 || !strstr(answer, "\"data\":\"YSBmaWw=\""))) fail_msg("%s", answer);
        assert_int_equal(n_open, 0);
    }
    over = true;
    assert_int_equal(pthread_join(thread, &ended), 0);
    assert_non_null(ended);
    omni_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_can_not_be_encoded_is_an_error)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
