/* omni bench: the same question again and again; medians. */
#include "bench.h"

#include "conversation.h"
#include "interrupt.h"
#include "json-line.h"
#include "options.h"
#include "report.h"
#include "times-table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* LLM tokens per second of sound in the public model's training corpus: what keeping up asks for. */
#define PACE 3.6

static const char *const mode_names[CLI_BENCH_MODES] = {"exact audio", "early audio", "text only"};

typedef struct bench {
    const cli_args *args;
    cli_conversation talk;
    cli_audio question;
    int runs, warmup, max_tokens;
    bool measure[CLI_BENCH_MODES];
    omni_stats *stats[CLI_BENCH_MODES];   /* [runs] */
    cli_bench_report report;
} bench;

/* ---- the question ---------------------------------------------------------------- */

/* Something between 80 and 4000 Hz that comes and goes like syllables; always the same. */
static int synthetic_question(cli_audio *audio, double seconds)
{
    enum { RATE = 16000 };
    const size_t n = (size_t)(seconds * RATE);
    const double turn = 2 * 3.14159265358979323846;
    unsigned noise = 1;
    audio->samples = malloc((n ? n : 1) * sizeof *audio->samples);
    if (!audio->samples) return cli_error("out of memory");
    for (size_t i = 0; i < n; i++) {
        const double t = (double)i / RATE, loud = 0.5 - 0.5 * cos(turn * 4 * t);
        const double pitch = 120 + 20 * sin(turn * 0.7 * t);
        double x = 0;
        for (int h = 1; h <= 30; h++) x += sin(turn * pitch * h * t) / h;
        noise = noise * 1664525u + 1013904223u;
        audio->samples[i] = (float)(0.1 * loud * x + 0.01 * ((double)(noise >> 8) / (1 << 24) - 0.5));
    }
    audio->n = n;
    audio->name = "synthetic question";
    audio->rate = RATE;
    audio->seconds = seconds;
    return CLI_OK;
}

/* A copy, because pushing resamples in place. */
static int copy_audio(const cli_audio *from, cli_audio *to)
{
    *to = *from;
    to->samples = malloc(from->n * sizeof *to->samples);
    if (!to->samples) return cli_error("out of memory");
    memcpy(to->samples, from->samples, from->n * sizeof *to->samples);
    return CLI_OK;
}

/* ---- runs ------------------------------------------------------------------------ */

static int ignore_event(void *user, const omni_event *event)
{
    (void)user;
    (void)event;
    return CLI_OK;
}

static int run_once(bench *b, cli_bench_mode mode, omni_stats *stats)
{
    omni_session_params p = omni_session_default_params();
    p.max_tokens = b->max_tokens;
    p.speech = mode != CLI_BENCH_TEXT;
    p.early_audio = mode == CLI_BENCH_EARLY;
    int rc = cli_session_begin(&b->talk, &p);
    if (rc != CLI_OK) return rc;
    cli_audio question;
    rc = copy_audio(&b->question, &question);
    if (rc != CLI_OK) return rc;
    rc = cli_push_recording(&b->talk, &question);
    cli_audio_free(&question);
    if (rc == CLI_OK) rc = cli_turn(&b->talk, ignore_event, NULL);
    if (rc == CLI_OK && omni_session_get_stats(b->talk.session, stats) != OMNI_OK) rc = cli_library_error();
    return rc;
}

/* All modes in turn, run after run, so that the machine's drift meets them alike. */
static int run_all(bench *b)
{
    const int all = b->warmup + b->runs;
    for (int run = 0; run < all; run++) {
        for (int mode = 0; mode < CLI_BENCH_MODES; mode++) {
            omni_stats unmeasured;
            if (!b->measure[mode]) continue;
            cli_progress("bench", ((double)run + (double)mode / CLI_BENCH_MODES) / all);
            const int rc = run_once(b, (cli_bench_mode)mode,
                                    run < b->warmup ? &unmeasured : &b->stats[mode][run - b->warmup]);
            if (rc != CLI_OK) return rc;
            if (cli_interrupted()) return CLI_INTERRUPTED;
        }
    }
    cli_progress_end();
    return CLI_OK;
}

/* ---- medians --------------------------------------------------------------------- */

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, compare_doubles);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static void reduce(const omni_stats *stats, int runs, int rate_out, double *values, cli_bench_row *row)
{
#define MEDIAN(field, expression) \
    do { \
        for (int i = 0; i < runs; i++) { \
            const omni_stats *s = &stats[i]; \
            values[i] = (double)(expression); \
        } \
        row->field = median(values, runs); \
    } while (0)
#define SPEECH(s) ((double)(s)->n_samples_out / rate_out)
#define RATIO(a, b) ((double)(b) > 0 ? (double)(a) / (double)(b) : 0.0)
    row->runs = runs;
    MEDIAN(mel, (double)s->t_mel * 1e-6);
    MEDIAN(encoder, (double)s->t_encoder * 1e-6);
    MEDIAN(adaptor, (double)s->t_adaptor * 1e-6);
    MEDIAN(prefill, (double)s->t_prefill * 1e-6);
    MEDIAN(llm, (double)s->t_llm * 1e-6);
    MEDIAN(decoder, (double)s->t_decoder * 1e-6);
    MEDIAN(vocoder, (double)s->t_vocoder * 1e-6);
    MEDIAN(first_text, (double)s->t_first_text * 1e-6);
    MEDIAN(first_audio, (double)s->t_first_audio * 1e-6);
    MEDIAN(total, (double)s->t_total * 1e-6);
    MEDIAN(tokens, s->n_tokens);
    MEDIAN(units, s->n_units);
    MEDIAN(speech, SPEECH(s));
    MEDIAN(prompt, s->n_prompt);
    MEDIAN(prompt_cached, s->n_prompt_cached);
    MEDIAN(tokens_per_second, RATIO(s->n_tokens, (double)s->t_llm * 1e-6));
    MEDIAN(rtf, RATIO((double)s->t_total * 1e-6, SPEECH(s)));
    MEDIAN(speaking_rtf, RATIO((double)(s->t_llm + s->t_decoder + s->t_vocoder) * 1e-6, SPEECH(s)));
#undef MEDIAN
#undef SPEECH
#undef RATIO
}

static int reduce_all(bench *b)
{
    cli_bench_report *r = &b->report;
    double *values = malloc((size_t)b->runs * sizeof *values);
    if (!values) return cli_error("out of memory");
    for (int mode = 0; mode < CLI_BENCH_MODES; mode++)
        if (b->measure[mode])
            reduce(b->stats[mode], b->runs, b->talk.info->sample_rate_out, values, &r->row[mode]);
    free(values);
    const cli_bench_row *exact = &r->row[CLI_BENCH_EXACT];
    if (exact->tokens > 0) {
        r->llm_per_token = exact->llm / exact->tokens;
        r->decoder_per_token = exact->decoder / exact->tokens;
    }
    if (exact->speech > 0) r->vocoder_per_second = exact->vocoder / exact->speech;
    r->paced_rtf = PACE * (r->llm_per_token + r->decoder_per_token) + r->vocoder_per_second;
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0) r->peak_bytes = (double)usage.ru_maxrss * 1024;
    return CLI_OK;
}

/* ---- the table ------------------------------------------------------------------- */

static void processor_name(char *name, size_t size)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "r");
    snprintf(name, size, "unknown processor");
    while (file && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        snprintf(name, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (file) fclose(file);
}

static void row_line(const cli_bench_report *r, const char *name, size_t field, const char *remark)
{
    char text[32];
    printf("%-16s", name);
    for (int mode = 0; mode < CLI_BENCH_MODES; mode++) {
        const cli_bench_row *row = &r->row[mode];
        double seconds;
        if (!row->runs) continue;
        memcpy(&seconds, (const char *)row + field, sizeof seconds);
        printf(" %14s", seconds > 0 ? cli_duration(seconds, text, sizeof text) : "-");
    }
    printf("   %s\n", remark);
}

static void number_line(const cli_bench_report *r, const char *name, size_t field, const char *remark)
{
    printf("%-16s", name);
    for (int mode = 0; mode < CLI_BENCH_MODES; mode++) {
        const cli_bench_row *row = &r->row[mode];
        double x;
        if (!row->runs) continue;
        memcpy(&x, (const char *)row + field, sizeof x);
        if (x > 0) printf(" %14.2f", x);
        else printf(" %14s", "-");
    }
    printf("   %s\n", remark);
}

static void print_head(const bench *b)
{
    const cli_bench_report *r = &b->report;
    const omni_model_info *m = r->info;
    char load[32];
    printf("omni %s on %s\n", omni_version(), r->processor);
    cli_print("model     %s (%s), files of %.2f + %.2f GB, loaded in %s\n", m->name, m->llm_description,
              (double)m->llm_bytes * 1e-9, (double)m->speech_bytes * 1e-9,
              cli_duration(r->load_seconds, load, sizeof load));
    printf("question  %s, %.2f s; window %.2f s\n", r->question, r->question_seconds,
           (double)m->window_samples / m->sample_rate_in);
    if (r->threads) printf("threads   %d\n", r->threads);
    printf("medians of %d runs, at most %d tokens\n\n%-16s", b->runs, b->max_tokens, "");
    for (int mode = 0; mode < CLI_BENCH_MODES; mode++)
        if (b->measure[mode]) printf(" %14s", mode_names[mode]);
    putchar('\n');
}

static void print_table(const bench *b)
{
    const cli_bench_report *r = &b->report;
    const cli_bench_row *exact = &r->row[CLI_BENCH_EXACT], *text = &r->row[CLI_BENCH_TEXT];
    char remark[96], a[32], c[32];
#define AT(field) offsetof(cli_bench_row, field)
    print_head(b);
    row_line(r, "mel", AT(mel), "");
    row_line(r, "encoder", AT(encoder), "");
    row_line(r, "adaptor", AT(adaptor), "");
    snprintf(remark, sizeof remark, "%.0f positions, %.0f cached", exact->prompt, exact->prompt_cached);
    row_line(r, "prefill", AT(prefill), remark);
    snprintf(remark, sizeof remark, "%.0f tokens", exact->tokens);
    row_line(r, "llm", AT(llm), remark);
    snprintf(remark, sizeof remark, "%.0f units", exact->units);
    row_line(r, "speech decoder", AT(decoder), remark);
    snprintf(remark, sizeof remark, "%.2f s of speech", exact->speech);
    row_line(r, "vocoder", AT(vocoder), remark);
    row_line(r, "first text", AT(first_text), "after the end of the question");
    row_line(r, "first audio", AT(first_audio), "after the end of the question");
    row_line(r, "total", AT(total), "");
    number_line(r, "tokens/s", AT(tokens_per_second), "of the LLM while it answers");
    number_line(r, "real-time factor", AT(rtf), "total / speech");
    number_line(r, "speaking factor", AT(speaking_rtf), "(llm + speech decoder + vocoder) / speech");
#undef AT
    printf("\nper token: llm %s, speech decoder %s; vocoder %.3f s per second of speech\n",
           cli_duration(r->llm_per_token, a, sizeof a), cli_duration(r->decoder_per_token, c, sizeof c),
           r->vocoder_per_second);
    printf("at %.1f tokens per second of speech: speaking factor %.2f\n", PACE, r->paced_rtf);
    if (text->runs && text->tokens > 0 && r->llm_per_token > 0)
        printf("llm with speech / text only: %.3f of the speed\n",
               text->llm / text->tokens / r->llm_per_token);
    printf("peak memory %.2f GB; model files %.2f GB\n", r->peak_bytes * 1e-9,
           (double)(r->info->llm_bytes + r->info->speech_bytes) * 1e-9);
}

/* ---- the command ----------------------------------------------------------------- */

static int prepare(bench *b)
{
    const cli_args *args = b->args;
    b->runs = (int)cli_integer(args, CLI_RUNS, 5);
    b->warmup = (int)cli_integer(args, CLI_WARMUP, 1);
    b->max_tokens = (int)cli_integer(args, CLI_BENCH_PREDICT, 64);
    b->measure[CLI_BENCH_EXACT] = b->measure[CLI_BENCH_EARLY] = true;
    b->measure[CLI_BENCH_TEXT] = cli_given(args, CLI_TEXT_ONLY);
    for (int mode = 0; mode < CLI_BENCH_MODES; mode++) {
        b->stats[mode] = calloc((size_t)b->runs, sizeof *b->stats[mode]);
        if (!b->stats[mode]) return cli_error("out of memory");
    }
    if (!args->n_inputs) return synthetic_question(&b->question, cli_real(args, CLI_SECONDS, 4));
    const int rc = cli_audio_read(args->inputs[0].text, &b->question);
    if (rc == CLI_OK) cli_audio_tell(&b->question);
    return rc;
}

/* Options of a measurement of a server. */
static int check_options(const cli_args *args)
{
    static const cli_option_id others[] = {CLI_LOAD_SESSIONS, CLI_LOAD_MINUTES, CLI_LOAD_SILENCE, CLI_LOAD_THINK, CLI_LOAD_BARGE_IN, CLI_LOAD_BUFFER,
                                           CLI_LOAD_SEED, CLI_LOAD_SVG, CLI_LOAD_KEY, CLI_LOAD_KEY_FILE, CLI_LOAD_TRUST};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (cli_given(args, others[i])) return cli_usage("bench: --%s wants --serve URL with it", cli_options[others[i]].long_name);
    return CLI_OK;
}

int cli_bench(const cli_args *args)
{
    if (cli_given(args, CLI_LOAD)) return cli_bench_serve(args);
    if (check_options(args) != CLI_OK) return CLI_USAGE;
    if (args->n_inputs && cli_given(args, CLI_SECONDS))
        return cli_usage("bench: --seconds is for the synthetic question; '%s' has its own length", args->inputs[0].text);
    if (args->n_inputs > 1)
        return cli_usage("bench: found %zu recordings, wanted at most one", args->n_inputs);
    bench b = {.args = args};
    char processor[128];
    int rc = prepare(&b);
    if (rc == CLI_OK) rc = cli_conversation_open(&b.talk, args);
    if (rc == CLI_OK) {
        processor_name(processor, sizeof processor);
        b.report.info = b.talk.info;
        b.report.processor = processor;
        b.report.question = args->n_inputs ? args->inputs[0].text : "synthetic";
        b.report.question_seconds = b.question.seconds;
        b.report.threads = (int)cli_integer(args, CLI_THREADS, 0);
        b.report.gpu_layers = cli_gpu_layers(args);
        b.report.max_tokens = b.max_tokens;
        b.report.load_seconds = b.talk.load_seconds;
        rc = run_all(&b);
    }
    if (rc == CLI_OK) rc = reduce_all(&b);
    if (rc == CLI_OK && cli_given(args, CLI_JSON)) rc = cli_json_bench(stdout, &b.report);
    else if (rc == CLI_OK) print_table(&b);
    if (rc == CLI_OK) rc = cli_stdout_flush();
    for (int mode = 0; mode < CLI_BENCH_MODES; mode++) free(b.stats[mode]);
    cli_conversation_close(&b.talk);
    cli_audio_free(&b.question);
    return rc;
}
