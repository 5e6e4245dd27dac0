/* talk: the ring between threads, streams resampled, echo gone while a voice stays. */
#include "unit/cmocka_all.h"

#include "../../apps/cli/options.h"
#include "../../apps/cli/resample.h"
#include "../../apps/cli/talk-echo.h"
#include "../../apps/cli/talk-ring.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

static void ring_takes_what_fits(void **state)
{
    float x[8] = { 1, 2, 3, 4, 5, 6, 7, 8 }, y[8];
    talk_ring ring = { 0 };

    (void)state;
    assert_int_equal(talk_ring_open(&ring, 5), CLI_OK);
    assert_int_equal(ring.size, 8);
    assert_int_equal(talk_ring_write(&ring, x, 6), 6);
    assert_int_equal(talk_ring_read(&ring, y, 4), 4);
    assert_int_equal(talk_ring_write(&ring, x, 8), 6);      /* across the end */
    assert_int_equal(talk_ring_filled(&ring), 8);
    assert_int_equal(talk_ring_read(&ring, y, 8), 8);
    assert_true(y[0] == 5 && y[1] == 6 && y[2] == 1 && y[7] == 6);
    assert_int_equal(talk_ring_read(&ring, y, 8), 0);
    talk_ring_write(&ring, x, 3);
    assert_int_equal(talk_ring_drop(&ring), 3);
    assert_int_equal(talk_ring_filled(&ring), 0);
    talk_ring_close(&ring);
    talk_ring_close(&ring);
}

enum { MANY = 200000 };

static void *count_up(void *user)
{
    float next = 0;

    while (next < MANY) {
        float x[37];
        size_t n = 0;
        while (n < 37 && next + (float)n < MANY) x[n] = next + (float)n, n++;
        const size_t taken = talk_ring_write(user, x, n);
        if (taken == 0) sched_yield();
        next += (float)taken;
    }
    return NULL;
}

static void ring_keeps_order_between_threads(void **state)
{
    talk_ring ring = { 0 };
    pthread_t writer;
    float next = 0;

    (void)state;
    assert_int_equal(talk_ring_open(&ring, 256), CLI_OK);
    assert_int_equal(pthread_create(&writer, NULL, count_up, &ring), 0);
    while (next < MANY) {
        float y[50];
        const size_t n = talk_ring_read(&ring, y, 50);
        if (n == 0) sched_yield();
        for (size_t i = 0; i < n; i++) assert_true(y[i] == next++);
    }
    pthread_join(writer, NULL);
    talk_ring_close(&ring);
}

/* A tone in chunks of every size comes out as the same tone, late by at most 30 ms. */
static void stream_is_resampled(void **state)
{
    const int rates[][2] = { { 48000, 16000 }, { 16000, 44100 }, { 44100, 16000 }, { 16000, 16000 } };

    (void)state;
    for (size_t k = 0; k < sizeof rates / sizeof *rates; k++) {
        const int from = rates[k][0], to = rates[k][1];
        cli_rate *rate;
        float *out = calloc((size_t)to * 2 + 20000, sizeof *out);
        size_t n = 0, fed = 0;
        assert_int_equal(cli_rate_open(from, to, &rate), CLI_OK);
        while (fed < (size_t)from) {
            float in[700];
            size_t chunk = 1 + fed % 699;
            for (size_t i = 0; i < chunk; i++) in[i] = 0.5f * sinf(6.2831853f * 440 * (float)(fed + i) / (float)from);
            const size_t made = cli_rate_run(rate, in, chunk, out + n);
            assert_true(made <= cli_rate_room(rate, chunk));
            n += made;
            fed += chunk;
        }
        const double missing = (double)fed / from - (double)n / to;
        assert_true(missing > -0.001 && missing < 0.03);
        for (size_t i = (size_t)to / 10; i < n - (size_t)to / 10; i++)
            assert_true(fabsf(out[i] - 0.5f * sinf(6.2831853f * 440 * (float)i / (float)to)) < 0.005f);
        cli_rate_close(rate);
        free(out);
    }
    cli_rate_close(NULL);
}

static unsigned noise_state = 1;

static float noise(void)
{
    noise_state = noise_state * 1664525u + 1013904223u;
    return (float)(noise_state >> 8) / 8388608.0f - 1;
}

static double power(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum / (double)n;
}

/* Syllables of noise through a room: 40 ms of delay and two reflections. */
static void echo_goes_and_voice_stays(void **state)
{
    enum { RATE = 16000, N = RATE * 6, FRAME = RATE / 100 };
    float *speaker = calloc(N, sizeof(float)), *microphone = calloc(N, sizeof(float)), *clean = calloc(N, sizeof(float));
    const size_t delays[] = { 640, 900, 1500 };
    const float gains[] = { 0.5f, -0.2f, 0.1f };
    const size_t voice_from = RATE * 5;
    talk_echo *echo;

    (void)state;
    for (size_t i = 0; i < N; i++) speaker[i] = 0.3f * noise() * fmaxf(0, sinf((float)i * 6.2831853f * 4 / RATE));
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < 3; k++)
            if (i >= delays[k]) microphone[i] += gains[k] * speaker[i - delays[k]];
    for (size_t i = voice_from; i < N; i++) microphone[i] += 0.2f * sinf(6.2831853f * 300 * (float)i / RATE);
    assert_int_equal(talk_echo_frame(RATE), FRAME);
    assert_int_equal(talk_echo_open(RATE, &echo), CLI_OK);
    for (size_t i = 0; i < N; i += FRAME) talk_echo_cancel(echo, microphone + i, speaker + i, clean + i);
    const double before = power(microphone + RATE * 3, RATE * 2), after = power(clean + RATE * 3, RATE * 2);
    print_message("echo: %.1f dB less\n", 10 * log10(before / after));
    assert_true(after < before * 1e-2);
    const double voice = power(clean + voice_from + RATE / 2, RATE / 2);
    print_message("voice over the echo: %.1f dB\n", 10 * log10(voice / 0.02));
    assert_true(voice > 0.02 * 0.25 && voice < 0.02 * 4);
    talk_echo_close(echo);

    /* Without echo the microphone comes through as it is, but for the canceller's delay and its high-pass. */
    assert_int_equal(talk_echo_open(RATE, &echo), CLI_OK);
    memset(speaker, 0, N * sizeof(float));
    for (size_t i = 0; i < N; i++) microphone[i] = 0.2f * sinf(6.2831853f * 300 * (float)i / RATE);
    for (size_t i = 0; i < N; i += FRAME) talk_echo_cancel(echo, microphone + i, speaker + i, clean + i);
    const double kept = power(clean + RATE, RATE * 4);
    assert_true(kept > 0.02 * 0.8 && kept < 0.02 * 1.25);
    talk_echo_close(echo);

    /* Headphones: the loudspeaker never reaches the microphone, nor what comes out, also after both spoke at once. */
    assert_int_equal(talk_echo_open(RATE, &echo), CLI_OK);
    for (size_t i = 0; i < N; i++) speaker[i] = 0.3f * noise() * fmaxf(0, sinf((float)i * 6.2831853f * 4 / RATE));
    for (size_t i = RATE * 3; i < N; i++) microphone[i] = 0;
    for (size_t i = 0; i < N; i += FRAME) talk_echo_cancel(echo, microphone + i, speaker + i, clean + i);
    assert_true(power(clean + RATE * 3 + FRAME * 2, RATE * 3 - FRAME * 2) < 1e-8);
    talk_echo_close(echo);
    talk_echo_close(NULL);
    free(speaker);
    free(microphone);
    free(clean);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ring_takes_what_fits),
        cmocka_unit_test(ring_keeps_order_between_threads),
        cmocka_unit_test(stream_is_resampled),
        cmocka_unit_test(echo_goes_and_voice_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
