/* bench_sessions MODEL QUESTION.wav [SESSIONS [THREADS [ROUNDS [LIVE_SECONDS]]]]: the same sessions one at a time and all at
 * once, with batching and without, interleaved; medians. With LIVE_SECONDS, then: conversations in real time, each
 * asking for so long at its own moments, and the time from the end of a question to the first audio.
 * QUESTION: 16 bit, mono, 16 kHz, 44 bytes of header. */
#include "omni.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST = 255, RATE = 16000 };

static float question[RATE * 30];
static size_t n_question;

static double cpu(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(void)
{
    fprintf(stderr, "bench_sessions: %s\n", omni_last_error());
    exit(1);
}

static void read_question(const char *path)
{
    static short pcm[RATE * 30];
    FILE *file = fopen(path, "rb");

    if (!file || fseek(file, 44, SEEK_SET)) {
        fprintf(stderr, "bench_sessions: %s: can not be read\n", path);
        exit(1);
    }
    n_question = fread(pcm, sizeof *pcm, RATE * 30, file);
    fclose(file);
    for (size_t i = 0; i < n_question; i++)
        question[i] = (float)pcm[i] / 32768.0f;
}

static void ask(omni_session *s)
{
    if (omni_session_push_audio(s, question, n_question) || omni_session_end_input(s))
        die();
}

/* Events that wait; true when the turn ended. *first: time of the first audio, if it came. */
static int take(omni_session *s, size_t *n_audio, double *first)
{
    omni_event e;

    while (omni_session_next_event(s, &e) == OMNI_OK) {
        if (e.type == OMNI_EVENT_AUDIO && *first == 0.0)
            *first = now();
        *n_audio += e.n_audio;
        if (e.type == OMNI_EVENT_FAILED)
            fprintf(stderr, "failed: %s\n", e.text);
        if (e.type >= OMNI_EVENT_END)
            return 1;
    }
    return 0;
}

/* Seconds for all; together: at once, else one after another. */
static double run(omni_engine *engine, omni_session **sessions, int n, int together, size_t *n_audio)
{
    double start = now(), first = 1.0;
    int at_once = together ? n : 1;

    *n_audio = 0;
    for (int at = 0; at < n; at += at_once) {
        int left = at_once, done[MOST] = {0};

        for (int i = 0; i < at_once; i++)
            ask(sessions[at + i]);
        while (left) {
            if (omni_engine_step(engine) < 0)
                die();
            for (int i = 0; i < at_once; i++)
                if (!done[i] && take(sessions[at + i], n_audio, &first)) {
                    done[i] = 1;
                    left--;
                }
        }
    }
    return now() - start;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static omni_engine *new_engine(const omni_model *model, int n, int threads, int batching, omni_session **sessions)
{
    omni_engine_params p = omni_engine_default_params();
    omni_session_params sp = omni_session_default_params();
    omni_engine *engine;

    p.n_slots = n;
    p.n_threads = threads;
    p.batching = batching;
    sp.keep_history = false;
    if (omni_engine_new(model, &p, &engine))
        die();
    for (int i = 0; i < n; i++)
        if (omni_session_new(engine, &sp, &sessions[i]))
            die();
    return engine;
}

static void sum_stats(omni_session **sessions, int n, const char *name)
{
    omni_stats sum = {0}, one;

    for (int i = 0; i < n; i++) {
        if (omni_session_get_stats(sessions[i], &one))
            die();
        sum.t_mel += one.t_mel;
        sum.t_encoder += one.t_encoder;
        sum.t_adaptor += one.t_adaptor;
        sum.t_prefill += one.t_prefill;
        sum.t_llm = one.t_llm > sum.t_llm ? one.t_llm : sum.t_llm;
        sum.t_decoder = one.t_decoder > sum.t_decoder ? one.t_decoder : sum.t_decoder;
        sum.t_vocoder = one.t_vocoder > sum.t_vocoder ? one.t_vocoder : sum.t_vocoder;
    }
    printf("  %s, ms: all of mel %.0f, encoder %.0f, adaptor %.0f, prefill %.0f; the longest of llm %.0f, decoder %.0f, "
           "vocoder %.0f\n", name, (double)sum.t_mel / 1e3, (double)sum.t_encoder / 1e3, (double)sum.t_adaptor / 1e3,
           (double)sum.t_prefill / 1e3, (double)sum.t_llm / 1e3, (double)sum.t_decoder / 1e3, (double)sum.t_vocoder / 1e3);
}

static void compare(const omni_model *model, int n, int threads, int rounds)
{
    static const char *const names[] = { "one at a time", "at once, batching off", "at once" };
    double times[3][64], work[3][64], single = 0.0;
    omni_session *sessions[2][MOST];
    omni_engine *engines[2];
    size_t n_audio[3];

    for (int b = 0; b < 2; b++)
        engines[b] = new_engine(model, n, threads, b, sessions[b]);
    for (int r = -1; r < rounds; r++)       /* the first warms up */
        for (int mode = 0; mode < 3; mode++) {
            double before = cpu(), t = run(engines[mode != 1], sessions[mode != 1], n, mode > 0, &n_audio[mode]);

            if (r >= 0)
                times[mode][r] = t, work[mode][r] = cpu() - before;
            if (r == rounds - 1)
                sum_stats(sessions[mode != 1], n, names[mode]);
        }
    for (int mode = 0; mode < 3; mode++) {
        qsort(times[mode], (size_t)rounds, sizeof(double), by_size);
        qsort(work[mode], (size_t)rounds, sizeof(double), by_size);
        if (mode == 0)
            single = times[0][rounds / 2];
        printf("%-22s %7.3f s, %6.1f s of sound per second, %.2f x; %.3f s of processor\n", names[mode], times[mode][rounds / 2],
               (double)n_audio[mode] / RATE / times[mode][rounds / 2], single / times[mode][rounds / 2], work[mode][rounds / 2]);
    }
    for (int b = 0; b < 2; b++) {
        for (int i = 0; i < n; i++)
            omni_session_free(sessions[b][i]);
        omni_engine_free(engines[b]);
    }
}

/* Person i speaks the question in real time, listens to the answer in real time, thinks half a second to two. */
static void live(const omni_model *model, int n, int threads, double seconds, int batching)
{
    omni_session *sessions[MOST];
    omni_engine *engine = new_engine(model, n, threads, batching, sessions);
    double *waits = calloc((size_t)n * 1000, sizeof *waits), start = now();
    struct { double begin, asked, first; size_t n_pushed, n_audio; int waits; } p[MOST];
    int n_waits = 0, n_under = 0;

    srand(1);
    for (int i = 0; i < n; i++) {
        memset(&p[i], 0, sizeof p[i]);
        p[i].begin = start + 4.0 * rand() / RAND_MAX;
    }
    while (waits && now() - start < seconds) {
        int rc = omni_engine_step(engine);

        for (int i = 0; i < n; i++) {
            double t = now() - p[i].begin;
            size_t due = t < 0.0 ? 0 : (size_t)(t * RATE);

            due = due > n_question ? n_question : due;
            if (!p[i].waits && due >= p[i].n_pushed + 320 - (due == n_question ? 319 : 0)) {
                if (omni_session_push_audio(sessions[i], question + p[i].n_pushed, due - p[i].n_pushed))
                    die();
                p[i].n_pushed = due;
                rc = OMNI_OK;
            }
            if (!p[i].waits && p[i].n_pushed == n_question) {
                if (omni_session_end_input(sessions[i]))
                    die();
                p[i].asked = now();
                p[i].waits = 1;
            }
            if (p[i].waits) {
                size_t before = p[i].n_audio;
                double first = p[i].first;
                int ended = take(sessions[i], &p[i].n_audio, &p[i].first);

                /* Sound that comes after what was there has been played. */
                if (first > 0.0 && p[i].n_audio > before && now() - first > (double)before / RATE)
                    n_under++;
                if (ended) {
                    if (p[i].first > 0.0 && n_waits < n * 1000)
                        waits[n_waits++] = p[i].first - p[i].asked;
                    t = p[i].first + (double)p[i].n_audio / RATE;
                    memset(&p[i], 0, sizeof p[i]);
                    p[i].begin = (t > now() ? t : now()) + 0.5 + 1.5 * rand() / RAND_MAX;
                }
            }
        }
        if (rc == OMNI_AGAIN)
            nanosleep(&(struct timespec){ 0, 2000000 }, NULL);
    }
    if (n_waits) {
        qsort(waits, (size_t)n_waits, sizeof *waits, by_size);
        printf("live, batching %s: %d conversations, %d answers in %.0f s; first audio p50 %.0f, p95 %.0f, p99 %.0f ms; %d "
               "underruns\n", batching ? "on" : "off", n, n_waits, seconds, 1e3 * waits[n_waits / 2],
               1e3 * waits[n_waits * 95 / 100], 1e3 * waits[n_waits * 99 / 100], n_under);
    }
    for (int i = 0; i < n; i++)
        omni_session_free(sessions[i]);
    omni_engine_free(engine);
    free(waits);
}

int main(int argc, char **argv)
{
    int n = argc > 3 ? atoi(argv[3]) : 32, threads = argc > 4 ? atoi(argv[4]) : 1, rounds = argc > 5 ? atoi(argv[5]) : 3;
    double seconds = argc > 6 ? strtod(argv[6], NULL) : 0.0;
    omni_model *model;

    if (argc < 3 || n < 1 || n > MOST || rounds < 0 || rounds > 64) {
        fprintf(stderr, "usage: bench_sessions MODEL QUESTION.wav [SESSIONS [THREADS [ROUNDS [LIVE_SECONDS]]]]\n");
        return 2;
    }
    read_question(argv[2]);
    if (omni_model_load(argv[1], NULL, &model))
        die();
    printf("%d sessions, %d threads, question of %.1f s\n", n, threads, (double)n_question / RATE);
    if (rounds)
        compare(model, n, threads, rounds);
    if (seconds > 0.0) {
        live(model, n, threads, seconds, 0);
        live(model, n, threads, seconds, 1);
    }
    omni_model_free(model);
    return 0;
}
