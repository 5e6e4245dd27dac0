/* Objects are built with jansson, so that escaping and UTF-8 are its concern. */
#include "json-line.h"

#include "options.h"
#include "report.h"

#include <jansson.h>

#include <stddef.h>

static int put_line(FILE *file, json_t *object)
{
    if (!object) return cli_error("out of memory or text that is not UTF-8 while writing JSON");
    const int rc = json_dumpf(object, file, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(object);
    fputc('\n', file);
    (void)rc;       /* a full disk is told by the flush */
    return CLI_OK;
}

/* ---- structs by table ------------------------------------------------------------- */

typedef enum kind { TEXT, INT, INT64, UINT64, REAL } kind;

typedef struct field {
    const char *name;
    size_t offset;
    kind is;
} field;

static json_t *value_of(const void *from, const field *f)
{
    const void *at = (const char *)from + f->offset;
    switch (f->is) {
    case TEXT:
        return json_string(*(const char *const *)at ? *(const char *const *)at : "");
    case INT:
        return json_integer(*(const int *)at);
    case INT64:
        return json_integer(*(const int64_t *)at);
    case UINT64:
        return json_integer((json_int_t)*(const uint64_t *)at);
    case REAL:
        return json_real(*(const double *)at);
    }
    return NULL;
}

/* Adds the fields to object; those whose text is not UTF-8 become null. */
static void add_fields(json_t *object, const void *from, const field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        json_t *value = value_of(from, &fields[i]);
        json_object_set_new(object, fields[i].name, value ? value : json_null());
    }
}
#define ADD_FIELDS(object, from, fields) add_fields(object, from, fields, sizeof(fields) / sizeof *(fields))

#define F(type, field, kind) {#field, offsetof(type, field), kind}
#define STATS(field, kind) F(omni_stats, field, kind)
#define INFO(field, kind) F(omni_model_info, field, kind)
#define ROW(field) {#field, offsetof(cli_bench_row, field), REAL}

static const field stats_fields[] = {
    STATS(t_mel, INT64),         STATS(t_encoder, INT64),     STATS(t_adaptor, INT64),
    STATS(t_prefill, INT64),     STATS(t_llm, INT64),         STATS(t_decoder, INT64),
    STATS(t_vocoder, INT64),     STATS(t_first_text, INT64),  STATS(t_first_audio, INT64),
    STATS(t_total, INT64),       STATS(n_prompt, INT),        STATS(n_prompt_cached, INT),
    STATS(n_tokens, INT),        STATS(n_units, INT),         STATS(n_frames, INT),
    STATS(n_samples_in, UINT64), STATS(n_samples_out, UINT64), STATS(n_history, INT),
};

static const field info_fields[] = {
    INFO(name, TEXT),               INFO(llm_path, TEXT),          INFO(speech_path, TEXT),
    INFO(llm_description, TEXT),    INFO(llm_bytes, UINT64),       INFO(speech_bytes, UINT64),
    INFO(llm_parameters, UINT64),   INFO(speech_parameters, UINT64), INFO(sample_rate_in, INT),
    INFO(sample_rate_out, INT),     INFO(window_samples, INT),     INFO(n_mels, INT),
    INFO(encoder_positions, INT),   INFO(encoder_width, INT),      INFO(encoder_layers, INT),
    INFO(adaptor_stack, INT),       INFO(speech_rows, INT),        INFO(llm_width, INT),
    INFO(llm_layers, INT),          INFO(llm_vocab, INT),          INFO(llm_context_trained, INT),
    INFO(upsample, INT),            INFO(decoder_width, INT),      INFO(decoder_layers, INT),
    INFO(units, INT),               INFO(samples_per_frame, INT),  INFO(vocoder_lookahead, INT),
};

static const field row_fields[] = {
    {"runs", offsetof(cli_bench_row, runs), INT},
    ROW(mel), ROW(encoder), ROW(adaptor), ROW(prefill), ROW(llm), ROW(decoder), ROW(vocoder), ROW(first_text),
    ROW(first_audio), ROW(total), ROW(tokens), ROW(units), ROW(speech), ROW(prompt), ROW(prompt_cached),
    ROW(tokens_per_second), ROW(rtf), ROW(speaking_rtf),
};

#define BENCH(field, kind) F(cli_bench_report, field, kind)
static const field bench_fields[] = {
    BENCH(processor, TEXT), BENCH(question, TEXT), BENCH(threads, INT), BENCH(gpu_layers, INT),
    BENCH(max_tokens, INT), BENCH(question_seconds, REAL), BENCH(load_seconds, REAL), BENCH(peak_bytes, REAL),
    BENCH(llm_per_token, REAL), BENCH(decoder_per_token, REAL), BENCH(vocoder_per_second, REAL),
    BENCH(paced_rtf, REAL),
};

#define LOAD(field, kind) F(load_report, field, kind)
static const field load_fields[] = {
    LOAD(url, TEXT), LOAD(sessions, INT), LOAD(seconds, REAL), LOAD(silence_ms, INT), LOAD(think_seconds, REAL), LOAD(buffer_seconds, REAL),
    LOAD(barge_in, REAL), LOAD(n_questions, INT), LOAD(cpu_seconds, REAL),
};

#define TALLY(field, kind) F(load_tally, field, kind)
static const field tally_fields[] = {
    TALLY(opened, INT), TALLY(questions, INT), TALLY(unanswered, INT), TALLY(cut, INT), TALLY(mute, INT), TALLY(finished, INT),
    TALLY(interruptions, INT), TALLY(unheard, INT), TALLY(strays, INT), TALLY(underruns, INT), TALLY(underrun_seconds, REAL),
    TALLY(heard_seconds, REAL),
};

static json_t *stats_object(const omni_stats *s, int rate_out)
{
    json_t *o = json_object();
    const double speech = (double)s->n_samples_out / rate_out;
    ADD_FIELDS(o, s, stats_fields);
    json_object_set_new(o, "speech_seconds", json_real(speech));
    json_object_set_new(o, "rtf", json_real(speech > 0 ? (double)s->t_total * 1e-6 / speech : 0));
    return o;
}

/* ---- lines ------------------------------------------------------------------------ */

static const char *const event_names[] = {
    [OMNI_EVENT_BEGIN] = "begin", [OMNI_EVENT_CUT] = "cut",             [OMNI_EVENT_TEXT] = "text",
    [OMNI_EVENT_AUDIO] = "audio", [OMNI_EVENT_END] = "end",             [OMNI_EVENT_CANCELLED] = "cancelled",
    [OMNI_EVENT_FAILED] = "failed",
    [OMNI_EVENT_SPEECH_STARTED] = "speech_started", [OMNI_EVENT_SPEECH_STOPPED] = "speech_stopped",
};
static const char *const reason_names[] = {
    [OMNI_END_STOP] = "stop", [OMNI_END_LENGTH] = "length", [OMNI_END_CONTEXT] = "context",
    [OMNI_END_CANCEL] = "cancel", [OMNI_END_INTERRUPTED] = "interrupted",
};

int cli_json_event(FILE *file, const omni_event *e, const char *input, const omni_stats *stats, int rate_out)
{
    json_t *o = json_pack("{s:s,s:I,s:I}", "event", event_names[e->type], "turn", (json_int_t)e->turn,
                          "time_us", (json_int_t)e->time_us);
    if (!o) return put_line(file, NULL);
    switch (e->type) {
    case OMNI_EVENT_BEGIN:
        json_object_set_new(o, "input", json_string(input));   /* left out when the name is not UTF-8 */
        break;
    case OMNI_EVENT_CUT:
        json_object_set_new(o, "sample_offset", json_integer((json_int_t)e->sample_offset));
        break;
    case OMNI_EVENT_TEXT:
        json_object_set_new(o, "text", json_stringn(e->text, e->n_text));
        break;
    case OMNI_EVENT_AUDIO:
        json_object_set_new(o, "sample_offset", json_integer((json_int_t)e->sample_offset));
        json_object_set_new(o, "samples", json_integer((json_int_t)e->n_audio));
        json_object_set_new(o, "rate", json_integer(rate_out));
        break;
    case OMNI_EVENT_SPEECH_STARTED:
    case OMNI_EVENT_SPEECH_STOPPED:
        json_object_set_new(o, "sample_offset", json_integer((json_int_t)e->sample_offset));
        json_object_set_new(o, "speech_offset", json_integer((json_int_t)e->speech_offset));
        break;
    case OMNI_EVENT_END:
        json_object_set_new(o, "reason", json_string(reason_names[e->reason]));
        if (stats) json_object_set_new(o, "stats", stats_object(stats, rate_out));
        break;
    case OMNI_EVENT_CANCELLED:
        break;
    case OMNI_EVENT_FAILED:
        json_object_set_new(o, "status", json_integer(e->status));
        json_object_set_new(o, "text", json_stringn(e->text, e->n_text));
        break;
    }
    return put_line(file, o);
}

int cli_json_info(FILE *file, const omni_model_info *info)
{
    json_t *o = json_object();
    ADD_FIELDS(o, info, info_fields);
    return put_line(file, o);
}

int cli_json_tensor(FILE *file, const omni_tensor_info *t, const char *sha256)
{
    json_t *shape = json_array();
    for (int i = 0; i < t->n_dims; i++) json_array_append_new(shape, json_integer((json_int_t)t->shape[i]));
    return put_line(file, json_pack("{s:s,s:s,s:o,s:I,s:s}", "tensor", t->name, "type", t->type, "shape", shape,
                                    "bytes", (json_int_t)t->bytes, "sha256", sha256));
}

int cli_json_metadata(FILE *file, const char *which, const char *key, const char *value)
{
    json_t *o = json_pack("{s:s,s:s,s:s}", "file", which, "key", key, "value", value);
    if (!o) o = json_pack("{s:s,s:s,s:n}", "file", which, "key", key, "value"); /* bytes that are not UTF-8 */
    return put_line(file, o);
}

int cli_json_bench(FILE *file, const cli_bench_report *report)
{
    static const char *const names[CLI_BENCH_MODES] = {"exact", "early", "text_only"};
    json_t *o = json_object(), *model = json_object();
    ADD_FIELDS(model, report->info, info_fields);
    json_object_set_new(o, "version", json_string(omni_version()));
    json_object_set_new(o, "model", model);
    ADD_FIELDS(o, report, bench_fields);
    for (int m = 0; m < CLI_BENCH_MODES; m++) {
        if (!report->row[m].runs) continue;
        json_t *row = json_object();
        ADD_FIELDS(row, &report->row[m], row_fields);
        json_object_set_new(o, names[m], row);
    }
    return put_line(file, o);
}

static json_t *quantiles_object(const load_quantiles *q)
{
    return json_pack("{s:i,s:f,s:f,s:f,s:f,s:f}", "n", q->n, "p50", q->p50, "p95", q->p95, "p99", q->p99, "max", q->most, "mean",
                     q->mean);
}

static json_t *words_object(const load_words *w)
{
    json_t *o = json_object();
    for (int i = 0; i < w->n; i++) json_object_set_new(o, w->list[i].word, json_integer(w->list[i].n));
    return o;
}

int cli_json_load(FILE *file, const load_report *r)
{
    const load_tally *t = r->tally;
    json_t *o = json_object();
    json_object_set_new(o, "version", json_string(omni_version()));
    ADD_FIELDS(o, r, load_fields);
    json_object_set_new(o, "first_audio_ms", quantiles_object(&r->first));
    json_object_set_new(o, "after_speech_stopped_ms", quantiles_object(&r->own));
    json_object_set_new(o, "interruption_noticed_ms", quantiles_object(&r->reaction));
    ADD_FIELDS(o, t, tally_fields);
    json_object_set_new(o, "answers", json_integer(r->first.n));
    json_object_set_new(o, "refused", words_object(&t->refused));
    json_object_set_new(o, "errors", words_object(&t->errors));
    json_object_set_new(o, "chunks", json_pack("{s:I,s:I,s:f}", "sent", (json_int_t)t->chunks, "late", (json_int_t)t->late,
                                               "latest_ms", 1e3 * t->latest));
    return put_line(file, o);
}
