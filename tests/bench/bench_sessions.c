/* bench_sessions MODEL QUESTION.wav|text:WORDS [SESSIONS [THREADS [ROUNDS [LIVE_SECONDS [TOKENS [CONTEXT]]]]]]: the same sessions
 * one at a time and all at once, with batching and without, interleaved; medians. With LIVE_SECONDS, then: conversations in real
 * time, each asking for so long at its own moments, and the time from the end of a question to the first audio.
 * QUESTION: 16 bit, mono, 16 kHz, 44 bytes of header; or text:WORDS, which is typed and spares the encoder and most of the
 * prefill. ROUNDS -1: one, not warmed up, and not without batching, for models that take minutes. TOKENS: most of an answer; random
 * weights never stop by themselves. CONTEXT: positions per session, for models whose memory is scarce. */
#include "omni.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST = 255, RATE = 16000 };

static float question[RATE * 30];
static size_t n_question;
static const char *typed;       /* instead, not NULL */
static int max_tokens, context;

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
    if (typed ? omni_session_push_text(s, typed)
              : omni_session_push_audio(s, question, n_question) || omni_session_end_input(s))
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

static omni_engine *new_engine(const omni_model *model, int n, int threads, bool batching, bool history,
                               omni_session **sessions)
{
    omni_engine_params p = omni_engine_default_params();
    omni_session_params sp = omni_session_default_params();
    omni_engine *engine;

    if (max_tokens)
        sp.max_tokens = max_tokens;
    p.n_slots = n;
    p.n_threads = threads;
    p.n_ctx = context;
    p.batching = batching;
    sp.keep_history = history;     /* without, nothing can be prepared ahead after the first turn */
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
    printf("  %s, ms: all of mel %.0f, encoder %.0f, adaptor %.0f, prefill %.0f; the longest of "
           "llm %.0f, decoder %.0f, vocoder %.0f\n", name, (double)sum.t_mel / 1e3, (double)sum.t_encoder / 1e3, (double)sum.t_adaptor / 1e3,
           (double)sum.t_prefill / 1e3, (double)sum.t_llm / 1e3, (double)sum.t_decoder / 1e3,
           (double)sum.t_vocoder / 1e3);
}

static void compare(const omni_model *model, int n, int threads, int rounds)
{
    static const char *const names[] = { "one at a time", "at once, batching off", "at once" };
    double times[3][64], work[3][64], single = 0.0;
    omni_session *sessions[2][MOST];
    omni_engine *engines[2] = { NULL, NULL };
    size_t n_audio[3];
    bool slow = rounds < 0;

    rounds = slow ? 1 : rounds;
    for (int b = slow; b < 2; b++)
        engines[b] = new_engine(model, n, threads, b > 0, false, sessions[b]);
    for (int r = slow ? 0 : -1; r < rounds; r++)       /* the first warms up */
        for (int mode = 0; mode < 3; mode += 1 + slow) {
            double before = cpu(), t = run(engines[mode != 1], sessions[mode != 1], n, mode > 0, &n_audio[mode]);

            if (r >= 0)
                times[mode][r] = t, work[mode][r] = cpu() - before;
            if (r == rounds - 1)
                sum_stats(sessions[mode != 1], n, names[mode]);
        }
    for (int mode = 0; mode < 3; mode += 1 + slow) {
        qsort(times[mode], (size_t)rounds, sizeof(double), by_size);
        qsort(work[mode], (size_t)rounds, sizeof(double), by_size);
        if (mode == 0)
            single = times[0][rounds / 2];
        printf("%-22s %7.3f s, %6.1f s of sound per second, %.2f x; %.3f s of processor\n", names[mode],
               times[mode][rounds / 2], (double)n_audio[mode] / RATE / times[mode][rounds / 2],
               single / times[mode][rounds / 2], work[mode][rounds / 2]);
    }
    for (int b = slow; b < 2; b++) {
        for (int i = 0; i < n; i++)
            omni_session_free(sessions[b][i]);
        omni_engine_free(engines[b]);
    }
}

typedef enum manner { BY_HAND, LISTENING, PREPARING } manner;    /* end_input; turn taking; with speculation */

typedef struct person {
    double begin;               /* of the question */
    double first;               /* sound of the answer */
    size_t n_pushed, n_audio;
    bool asked;
} person;

static double uniform(double from, double to)
{
    return from + (to - from) * rand() / RAND_MAX;
}

/* 20 ms at a time, as it is spoken, and silence behind it when the session listens. */
static bool speak(omni_session *s, person *p, manner how)
{
    static const float silence[320];
    double t = now() - p->begin;

    for (int k = 0; k < 64; k++) {
        bool over = p->n_pushed >= n_question;
        size_t n = over || n_question - p->n_pushed > 320 ? 320 : n_question - p->n_pushed;

        if ((over && how == BY_HAND) || (double)(p->n_pushed + n) / RATE > t)
            return k > 0;
        if (omni_session_push_audio(s, over ? silence : question + p->n_pushed, n))
            die();
        p->n_pushed += n;
        if (how == BY_HAND && p->n_pushed == n_question && omni_session_end_input(s))
            die();
    }
    return true;
}

typedef struct tally {
    double *waits;
    int n, most, n_underruns, n_prepared, n_thrown_away;
    double reserve;             /* the least sound that was left to play when more came */
} tally;

static void hear(omni_session *s, person *p, tally *all)
{
    size_t before = p->n_audio;
    double first = p->first, played, left;
    int ended = take(s, &p->n_audio, &p->first);
    omni_stats stats;

    if (first > 0.0 && p->n_audio > before) {
        left = first + (double)before / RATE - now();
        all->n_underruns += left < 0.0;     /* it comes after what was there has been played */
        all->reserve = left < all->reserve ? left : all->reserve;
    }
    if (!ended)
        return;
    if (omni_session_get_stats(s, &stats))
        die();
    all->n_prepared += stats.t_ahead > 0;
    all->n_thrown_away += stats.n_thrown_away;
    if (p->first > 0.0 && all->n < all->most)
        all->waits[all->n++] = p->first - p->begin - (double)n_question / RATE;
    played = p->first + (double)p->n_audio / RATE;
    *p = (person){ .begin = (played > now() ? played : now()) + uniform(0.5, 2.0) };
}

/* Each speaks the question in real time, listens to the answer, thinks half a second to two. */
static void live(const omni_model *model, int n, int threads, double seconds, manner how, bool batching)
{
    static const char *const names[] = { "end_input", "300 ms of silence", "300 ms of silence, speculation" };
    omni_turn_params turns = omni_turn_default_params();
    omni_session *sessions[MOST];
    omni_engine *engine = new_engine(model, n, threads, batching, true, sessions);
    person people[MOST];
    tally t = { .most = n * 1000, .reserve = 1e9 };
    double start = now(), busy = cpu();

    t.waits = calloc((size_t)t.most, sizeof *t.waits);
    turns.silence_ms = 300;
    turns.speculate = how == PREPARING;
    srand(1);
    for (int i = 0; i < n; i++) {
        people[i] = (person){ .begin = start + uniform(0.0, 4.0) };
        if (how != BY_HAND && omni_session_set_turns(sessions[i], &turns))
            die();
    }
    while (t.waits && now() - start < seconds) {
        bool idle = true;

        for (int i = 0; i < n; i++)
            idle = !speak(sessions[i], &people[i], how) && idle;
        if (omni_engine_step(engine) != OMNI_AGAIN)
            idle = false;
        for (int i = 0; i < n; i++)
            hear(sessions[i], &people[i], &t);
        if (idle)
            nanosleep(&(struct timespec){ 0, 2000000 }, NULL);
    }
    if (t.n) {
        qsort(t.waits, (size_t)t.n, sizeof *t.waits, by_size);
        printf("live, %s, batching %s: %d conversations, %d answers in %.0f s, %.0f %% of a processor; "
               "end of speech to first audio p50 %.0f, p95 %.0f, p99 %.0f ms; %d underruns, least reserve %.0f ms; "
               "%d prepared ahead, %d thrown away\n", names[how], batching ? "on" : "off", n, t.n, seconds,
               100.0 * (cpu() - busy) / seconds, 1e3 * t.waits[t.n / 2], 1e3 * t.waits[t.n * 95 / 100],
               1e3 * t.waits[t.n * 99 / 100], t.n_underruns, 1e3 * t.reserve, t.n_prepared, t.n_thrown_away);
        fflush(stdout);
    }
    for (int i = 0; i < n; i++)
        omni_session_free(sessions[i]);
    omni_engine_free(engine);
    free(t.waits);
}

/* The recording without the silence at its end. */
static void cut_end(void)
{
    float peak = 0.0f;

    for (size_t i = 0; i < n_question; i++)
        peak = fabsf(question[i]) > peak ? fabsf(question[i]) : peak;
    while (n_question > RATE / 2 && fabsf(question[n_question - 1]) < 0.05f * peak)
        n_question--;
}

int main(int argc, char **argv)
{
    int n = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 32;
    int threads = argc > 4 ? (int)strtol(argv[4], NULL, 10) : 1;
    int rounds = argc > 5 ? (int)strtol(argv[5], NULL, 10) : 3;
    double seconds = argc > 6 ? strtod(argv[6], NULL) : 0.0;
    omni_model *model;

    max_tokens = argc > 7 ? (int)strtol(argv[7], NULL, 10) : 0;
    context = argc > 8 ? (int)strtol(argv[8], NULL, 10) : 0;
    typed = argc > 2 && strncmp(argv[2], "text:", 5) == 0 ? argv[2] + 5 : NULL;
    if (argc < 3 || (typed && seconds > 0.0) || n < 1 || n > MOST || rounds < -1 || rounds > 64) {
        fprintf(stderr, "usage: bench_sessions MODEL QUESTION.wav|text:WORDS [SESSIONS [THREADS [ROUNDS [LIVE_SECONDS [TOKENS [CONTEXT]]]]]]\n");
        return 2;
    }
    if (!typed)
        read_question(argv[2]);
    if (omni_model_load(argv[1], NULL, &model))
        die();
    printf("%d sessions, %d threads, question of %.1f s%s\n", n, threads, (double)n_question / RATE, typed ? " (typed)" : "");
    if (rounds)
        compare(model, n, threads, rounds);
    if (seconds > 0.0) {
        cut_end();
        live(model, n, threads, seconds, BY_HAND, false);
        live(model, n, threads, seconds, BY_HAND, true);
        for (int i = 0; i < 2; i++) {
            live(model, n, threads, seconds, LISTENING, true);
            live(model, n, threads, seconds, PREPARING, true);
        }
    }
    omni_model_free(model);
    return 0;
}
