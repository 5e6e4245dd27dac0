/* omni ask: questions in, text and speech out. */
#include "conversation.h"
#include "interrupt.h"
#include "json-line.h"
#include "options.h"
#include "report.h"
#include "times-table.h"

#include <omni.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

typedef struct ask {
    const cli_args *args;
    cli_conversation talk;
    cli_audio  *recordings;     /* [n_inputs]; those of typed questions stay empty */
    cli_output  output;
    cli_wav    *wav;            /* NULL: raw samples, or no speech wanted */
    FILE       *text;           /* where text and JSON go */
    bool json, quiet, speech, raw;
    size_t input;               /* the one being answered */
    bool line_started;          /* text of this answer was printed */
    omni_end_reason reason;
} ask;

/* The suffix of another sound format; NULL: it has none of those. */
static const char *foreign_suffix(const char *path)
{
    static const char *const others[] = {".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac"};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof others / sizeof *others; i++)
        if (strcasecmp(dot, others[i]) == 0) return dot;
    return NULL;
}

static int check_usage(const cli_args *args)
{
    const char *output = cli_text(args, CLI_OUTPUT, NULL);
    if (args->n_inputs == 0)
        return cli_usage("ask: no question: wanted a recording, - or --text \"...\" (omni ask --help)");
    if (output && cli_given(args, CLI_NO_SPEECH))
        return cli_usage("ask: -o and --no-speech contradict each other");
    if (output && strcmp(output, "-") == 0 && isatty(STDOUT_FILENO))
        return cli_usage("ask: -o -: will not write samples to a terminal; pipe them, or give a file name");
    const char *suffix = output ? foreign_suffix(output) : NULL;
    if (suffix)
        return cli_usage("ask: -o %s: found %s, but what is written is a WAV file; wanted a name like %.*s.wav", output, suffix,
                         (int)(suffix - output), output);
    if (!output && (cli_given(args, CLI_PACKET) || cli_given(args, CLI_EARLY)))
        return cli_usage("ask: --%s is for the spoken answer: wanted -o with it", cli_given(args, CLI_PACKET) ? "packet" : "early-audio");
    bool piped = false;
    for (size_t i = 0; i < args->n_inputs; i++) {
        const bool is_stdin = !args->inputs[i].typed && strcmp(args->inputs[i].text, "-") == 0;
        if (is_stdin && piped) return cli_usage("ask: standard input (-) can be read only once");
        piped |= is_stdin;
    }
    return CLI_OK;
}

/* Words that were meant as a typed question: no file, and no name of one. */
static bool looks_typed(const char *path)
{
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');
    if (dot && dot[1] && !strchr(dot, ' ')) return false;
    return strcmp(path, "-") != 0 && access(path, F_OK) != 0 && (errno == ENOENT || errno == ENAMETOOLONG);
}

/* All recordings are read before the model is loaded: a bad name costs nothing. */
static int read_recordings(ask *a)
{
    const cli_args *args = a->args;
    a->recordings = calloc(args->n_inputs, sizeof *a->recordings);
    if (!a->recordings) return cli_error("out of memory");
    for (size_t i = 0; i < args->n_inputs; i++) {
        if (args->inputs[i].typed) continue;
        if (looks_typed(args->inputs[i].text))
            return cli_error("%s: %s; wanted a recording, or a typed question behind --text: omni ask --text \"...\"",
                             args->inputs[i].text, strerror(errno));
        const int rc = cli_audio_read(args->inputs[i].text, &a->recordings[i]);
        if (rc != CLI_OK) return rc;
        if (!a->quiet) cli_audio_tell(&a->recordings[i]);
    }
    return CLI_OK;
}

static void tell_cut(const ask *a, const omni_event *event)
{
    const cli_audio *r = &a->recordings[a->input];
    cli_note("%s: %.1f s long; the model hears the first %.1f s, the rest was not heard",
             a->args->inputs[a->input].text, r->seconds,
             (double)event->sample_offset / a->talk.info->sample_rate_in);
}

static void print_text(ask *a, const omni_event *event)
{
    const char *text = event->text;
    size_t n = event->n_text;
    while (!a->line_started && n > 0 && (*text == ' ' || *text == '\n')) text++, n--;
    if (n == 0) return;
    a->line_started = true;
    fwrite(text, 1, n, a->text);
}

static int flush_text(const ask *a)
{
    if (a->text == stdout) return cli_stdout_flush();
    fflush(a->text);
    return CLI_OK;
}

/* Handed every event of a turn. */
static int see_event(void *user, const omni_event *event)
{
    ask *a = user;
    if (event->type == OMNI_EVENT_CUT && !a->quiet && !(a->json && a->raw)) tell_cut(a, event);
    if (event->type == OMNI_EVENT_AUDIO && a->speech) {
        const int rc = a->raw ? cli_raw_write(&a->output, event->audio, event->n_audio)
                              : cli_wav_write(a->wav, event->audio, event->n_audio);
        if (rc != CLI_OK) return rc;   /* told by commit */
    }
    if (event->type == OMNI_EVENT_END) a->reason = event->reason;
    if (a->json) {
        omni_stats stats;
        const bool done =
            event->type == OMNI_EVENT_END && omni_session_get_stats(a->talk.session, &stats) == OMNI_OK;
        const int rc = cli_json_event(a->text, event, a->args->inputs[a->input].text, done ? &stats : NULL,
                                      a->talk.info->sample_rate_out);
        return rc != CLI_OK ? rc : flush_text(a);
    }
    if (event->type == OMNI_EVENT_TEXT) print_text(a, event);
    if (event->type == OMNI_EVENT_END) fputc('\n', a->text);
    return event->type == OMNI_EVENT_TEXT || event->type == OMNI_EVENT_END ? flush_text(a) : CLI_OK;
}

static int answer(ask *a, size_t input)
{
    const cli_input *in = &a->args->inputs[input];
    a->input = input;
    a->line_started = false;
    int rc = CLI_OK;
    if (cli_interrupted()) return CLI_INTERRUPTED;
    if (!in->typed) rc = cli_push_recording(&a->talk, &a->recordings[input]);
    else if (omni_session_push_text(a->talk.session, in->text) != OMNI_OK) rc = cli_library_error();
    if (rc == CLI_OK) rc = cli_turn(&a->talk, see_event, a);
    if (rc != CLI_OK && a->line_started) fputc('\n', a->text);
    if (rc != CLI_OK || a->quiet || a->json) return rc;      /* JSON has the times in the last event */
    omni_stats stats;
    if (omni_session_get_stats(a->talk.session, &stats) == OMNI_OK)
        cli_times_table(stderr, &stats, a->talk.info, a->reason);
    return CLI_OK;
}

static int open_talk(ask *a)
{
    const cli_args *args = a->args;
    int rc = cli_conversation_open(&a->talk, args);
    if (rc != CLI_OK) return rc;
    if (a->speech && !a->raw) rc = cli_wav_open(&a->output, a->talk.info->sample_rate_out, &a->wav);
    if (rc != CLI_OK) return rc;
    omni_session_params p = omni_session_default_params();
    p.max_tokens = (int)cli_integer(args, CLI_PREDICT, p.max_tokens);
    p.temperature = (float)cli_real(args, CLI_TEMP, (double)p.temperature);
    p.top_k = (int)cli_integer(args, CLI_TOP_K, p.top_k);
    p.top_p = (float)cli_real(args, CLI_TOP_P, (double)p.top_p);
    p.seed = (uint32_t)cli_integer(args, CLI_SEED, -1);
    p.packet_samples = (int)cli_integer(args, CLI_PACKET, p.packet_samples);
    p.speech = a->speech;
    p.early_audio = cli_given(args, CLI_EARLY);
    return cli_session_begin(&a->talk, &p);
}

int cli_ask(const cli_args *args)
{
    const char *path = cli_text(args, CLI_OUTPUT, NULL);
    int rc = check_usage(args);
    if (rc != CLI_OK) return rc;
    ask a = {.args = args, .output = {.fd = -1}, .speech = path != NULL};
    a.raw = a.speech && strcmp(path, "-") == 0;
    a.text = a.raw ? stderr : stdout;
    a.json = cli_given(args, CLI_JSON);
    a.quiet = cli_given(args, CLI_QUIET);
    rc = read_recordings(&a);
    if (rc == CLI_OK && a.speech) rc = cli_output_open(&a.output, path);
    if (rc == CLI_OK) rc = open_talk(&a);
    for (size_t i = 0; rc == CLI_OK && i < args->n_inputs; i++) rc = answer(&a, i);
    cli_wav_close(a.wav);
    /* A write that failed stopped the turn silently: commit says why. */
    if (a.speech && (rc == CLI_OK || a.output.error)) rc = cli_output_commit(&a.output);
    cli_output_discard(&a.output);
    cli_conversation_close(&a.talk);
    for (size_t i = 0; a.recordings && i < args->n_inputs; i++) cli_audio_free(&a.recordings[i]);
    free(a.recordings);
    return rc;
}
