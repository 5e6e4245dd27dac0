/* omni bench --serve: conversations with a Realtime server, all from one thread. */
#include "audio-file.h"
#include "conversation.h"
#include "interrupt.h"
#include "json-line.h"
#include "load-person.h"
#include "load-report.h"
#include "options.h"
#include "report.h"
#include "resample.h"
#include "small-file.h"

#include <limits.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { MOST_QUESTIONS = 256, BUNDLED_QUESTIONS = 4, REST_SECONDS = 35, GOODBYE_MS = 300 };

typedef struct load {
    const cli_args *args;
    load_server server;
    load_question questions[MOST_QUESTIONS];
    load_plan plan;
    load_tally tally;
    load_person **persons;      /* [n] */
    struct pollfd *polled;      /* [n] */
    int n;
    double seconds;
    bool stopped;               /* by a signal */
    char *key_file;
    cli_output svg;
} load;

/* ---- the questions ------------------------------------------------------------------ */

/* Loud is what lies within 40 dB of the loudest sample: a final consonant is 30 to 38 dB below the vowels. */
static void find_loud(load_question *q)
{
    int peak = 1;
    for (size_t i = 0; i < q->n; i++) peak = abs(q->samples[i]) > peak ? abs(q->samples[i]) : peak;
    q->loud_to = q->n;
    while (q->loud_to > 1 && abs(q->samples[q->loud_to - 1]) < peak / 100) q->loud_to--;
    while (q->loud_from + 1 < q->loud_to && abs(q->samples[q->loud_from]) < peak / 100) q->loud_from++;
}

static int read_question(const char *path, load_question *q)
{
    cli_audio audio = {.n = 0};
    int rc = cli_audio_read(path, &audio);
    if (rc == CLI_OK) cli_audio_tell(&audio);
    if (rc == CLI_OK) rc = cli_resample(&audio, LOAD_RATE);
    if (rc == CLI_OK) {
        q->samples = malloc(audio.n * sizeof *q->samples);
        q->n = audio.n;
        if (!q->samples) rc = cli_error("out of memory for %s", path);
    }
    for (size_t i = 0; rc == CLI_OK && i < q->n; i++)
        q->samples[i] = (int16_t)lrintf(fminf(fmaxf(audio.samples[i], -1), 1) * 32767);
    if (rc == CLI_OK) find_loud(q);
    cli_audio_free(&audio);
    return rc;
}

static int read_questions(load *l)
{
    const cli_args *args = l->args;
    char model[PATH_MAX], path[PATH_MAX + 32];
    int rc = CLI_OK;
    if (args->n_inputs > MOST_QUESTIONS) return cli_usage("bench: found %zu recordings, wanted at most %d", args->n_inputs, MOST_QUESTIONS);
    if (!args->n_inputs && !cli_bundled_model(model, sizeof model))
        return cli_error("no questions: none is given, and no models/tiny is found near the program or in " OMNI_DATA_DIR "; name recordings");
    l->plan.n_questions = args->n_inputs ? (int)args->n_inputs : BUNDLED_QUESTIONS;
    for (int i = 0; rc == CLI_OK && i < l->plan.n_questions; i++) {
        if (!args->n_inputs) snprintf(path, sizeof path, "%s/questions/%d.wav", model, i + 1);
        rc = read_question(args->n_inputs ? args->inputs[i].text : path, &l->questions[i]);
    }
    return rc;
}

/* ---- the conversations ----------------------------------------------------------------- */

/* One round: what is due, then whatever comes until the next thing is. */
static void round_of(load *l, double until)
{
    double next = until;
    for (int i = 0; i < l->n; i++) {
        const double due = load_person_tick(l->persons[i], load_now());     /* a round of many takes a while */
        next = due < next ? due : next;
        l->polled[i] = (struct pollfd){.fd = load_person_fd(l->persons[i]), .events = load_person_events(l->persons[i])};
    }
    const double now = load_now();
    const int ms = next <= now ? 0 : (int)ceil((next - now) * 1e3);
    if (poll(l->polled, (nfds_t)l->n, ms < 1000 ? ms : 1000) <= 0) return;
    for (int i = 0; i < l->n; i++)
        if (l->polled[i].revents) load_person_ready(l->persons[i], l->polled[i].revents);
}

static bool all(const load *l, bool (*is)(const load_person *person))
{
    for (int i = 0; i < l->n; i++)
        if (!is(l->persons[i])) return false;
    return true;
}

static void progress(const load *l, double now)
{
    char label[96];
    snprintf(label, sizeof label, "%d answers, %d underruns", (int)l->tally.first.n, l->tally.underruns);
    cli_progress(label, fmin((now - l->tally.began) / l->seconds, 0.99));
}

static void converse(load *l)
{
    const double end = l->tally.began + l->seconds;
    double now = load_now();
    for (; now < end && !l->stopped && !all(l, load_person_gave_up); now = load_now()) {
        round_of(l, end);
        l->stopped = cli_interrupted();
        progress(l, now);
    }
    /* Answers on their way are waited for: the slow ones would be missing from the numbers otherwise. */
    l->seconds = fmin(now, end) - l->tally.began;
    l->plan.ending = true;
    const double latest = now + REST_SECONDS;
    while (now < latest && !l->stopped && !all(l, load_person_at_rest)) {
        round_of(l, latest);
        l->stopped = cli_interrupted();
        now = load_now();
    }
    for (int i = 0; i < l->n; i++) load_person_leave(l->persons[i]);
    poll(NULL, 0, GOODBYE_MS);
    cli_progress_end();
}

static int hold_conversations(load *l)
{
    l->persons = calloc((size_t)l->n, sizeof(load_person *));
    l->polled = calloc((size_t)l->n, sizeof *l->polled);
    if (!l->persons || !l->polled) return cli_error("out of memory for %d conversations", l->n);
    l->tally.began = load_now();
    /* They come in over two seconds at most: a crowd at the door is not what is measured. */
    const double apart = fmin(0.05, 2.0 / l->n);
    const unsigned seed = (unsigned)cli_integer(l->args, CLI_LOAD_SEED, 1);
    for (int i = 0; i < l->n; i++) {
        l->persons[i] = load_person_new(&l->plan, &l->tally, l->tally.began + i * apart, seed * 7919u + (unsigned)i);
        if (!l->persons[i]) return cli_error("out of memory for %d conversations", l->n);
    }
    cli_interrupt_watch(true);
    converse(l);
    cli_interrupt_watch(false);
    return CLI_OK;
}

/* ---- the report -------------------------------------------------------------------------- */

static load_report reduce(const load *l)
{
    load_report r = {.url = l->server.url, .sessions = l->n, .seconds = l->seconds, .silence_ms = l->plan.silence_ms,
                     .n_questions = l->plan.n_questions, .interrupted_early = l->stopped,
                     .think_seconds = l->plan.think_seconds, .buffer_seconds = l->plan.buffer_seconds, .barge_in = l->plan.interrupting, .tally = &l->tally};
    struct rusage usage;
    r.first = load_series_quantiles(&l->tally.first);
    r.own = load_series_quantiles(&l->tally.own);
    r.reaction = load_series_quantiles(&l->tally.reaction);
    for (int i = 0; i < l->plan.n_questions; i++) {
        const double seconds = (double)l->questions[i].n / LOAD_RATE;
        if (i == 0 || seconds < r.shortest) r.shortest = seconds;
        if (seconds > r.longest) r.longest = seconds;
    }
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        r.cpu_seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                        (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
    return r;
}

/* Without one answer there is nothing to report but why. */
static int nothing_measured(const load *l)
{
    const load_tally *t = &l->tally;
    if (l->stopped) return CLI_INTERRUPTED;
    if (!t->opened) return cli_error("%s: no conversation began: %s", l->server.url, *t->words ? t->words : "no answer from there");
    return cli_error("%s: no answer was heard to %d questions in %.0f s%s%s", l->server.url, t->questions, l->seconds,
                     *t->words ? "; the last error: " : "; measure longer with --minutes", t->words);
}

static int report(load *l)
{
    const load_report r = reduce(l);
    int rc = CLI_OK;
    if (r.first.n == 0) return nothing_measured(l);
    if (cli_given(l->args, CLI_JSON)) rc = cli_json_load(stdout, &r);
    else load_print_table(&r);
    if (rc == CLI_OK && l->svg.path) rc = load_write_svg(&r, &l->svg);
    if (rc == CLI_OK) rc = cli_stdout_flush();
    return rc == CLI_OK && l->stopped ? CLI_INTERRUPTED : rc;
}

/* ---- the command --------------------------------------------------------------------------- */

/* Options of a measurement of the stages. */
static int check_options(const cli_args *args)
{
    static const cli_option_id others[] = {CLI_MODEL, CLI_BENCH_PREDICT, CLI_THREADS, CLI_CTX, CLI_GPU_LAYERS, CLI_RPC, CLI_TYPE,
                                           CLI_NO_MMAP, CLI_RUNS, CLI_WARMUP, CLI_SECONDS, CLI_TEXT_ONLY};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (cli_given(args, others[i]))
            return cli_usage("bench: --%s is not for --serve: the server has its own", cli_options[others[i]].long_name);
    return CLI_OK;
}

static void close_all(load *l)
{
    for (int i = 0; l->persons && i < l->n; i++) load_person_free(l->persons[i]);
    free(l->persons);
    free(l->polled);
    for (int i = 0; i < l->plan.n_questions; i++) free(l->questions[i].samples);
    load_tally_free(&l->tally);
    load_server_close(&l->server);
    cli_output_discard(&l->svg);
    free(l->key_file);
    free(l);
}

int cli_bench_serve(const cli_args *args)
{
    load *l = calloc(1, sizeof *l);
    const char *key = NULL;
    if (!l) return cli_error("out of memory");
    l->args = args;
    l->n = (int)cli_integer(args, CLI_LOAD_SESSIONS, 4);
    l->seconds = 60 * cli_real(args, CLI_LOAD_MINUTES, 1);
    l->plan = (load_plan){.server = &l->server, .questions = l->questions,
                          .silence_ms = (int)cli_integer(args, CLI_LOAD_SILENCE, 300),
                          .buffer_seconds = (double)cli_integer(args, CLI_LOAD_BUFFER, 60) * 1e-3,
                          .think_seconds = cli_real(args, CLI_LOAD_THINK, 1.25),
                          .interrupting = cli_real(args, CLI_LOAD_BARGE_IN, 0.2)};
    /* Over a turn's length: those who ask together at first stay in step for minutes, and a crowd is what is measured. */
    l->plan.spread_seconds = fmin(6, 0.2 * l->n);
    int rc = check_options(args);
    if (rc == CLI_OK) rc = cli_api_key(args, "bench", CLI_LOAD_KEY, CLI_LOAD_KEY_FILE, &l->key_file, &key);
    if (rc == CLI_OK) rc = load_server_open(&l->server, cli_text(args, CLI_LOAD, ""), key, cli_text(args, CLI_LOAD_TRUST, NULL));
    if (rc == CLI_OK) rc = read_questions(l);
    /* Before the hours of measuring. */
    if (rc == CLI_OK && cli_given(args, CLI_LOAD_SVG)) rc = cli_output_open(&l->svg, cli_text(args, CLI_LOAD_SVG, ""));
    if (rc == CLI_OK) rc = hold_conversations(l);
    if (rc == CLI_OK) rc = report(l);
    close_all(l);
    return rc;
}
