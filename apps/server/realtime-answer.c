/* realtime-answer: the engine's events of a turn as the events of a response. */
#include "base64.h"
#include "realtime-state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DELTA_BYTES = 9600 };    /* 200 ms of pcm16; a multiple of 6, so that base64 can be joined */

static json_t *offered(const srv *server, const json_t *settings)
{
    return server->info->tools_prompt ? srv_settings_tools(settings) : NULL;
}

omni_session_params srv_params_read(const srv *server, const json_t *settings)
{
    omni_session_params p = srv_session_params(server);
    p.max_tokens = srv_settings_tokens(settings, server->options->max_tokens);
    p.speech = srv_settings_speech(settings);
    srv_tools_tell(json_object_get(settings, "tools"), json_object_get(settings, "tool_choice"), server->info->tools_prompt, &p);
    return p;
}

void srv_params_apply(srv_realtime *rt, const json_t *settings)
{
    omni_session_params p = srv_params_read(rt->server, settings), before = rt->params;
    const bool same = p.max_tokens == before.max_tokens && p.speech == before.speech && srv_tools_same(&p, &before);
    const bool taken = !same && srv_seat_params(rt->seat, &p);
    if (taken) rt->params = p;
    srv_tools_forget(taken ? &before : &p);
}

/* ---- the response object ------------------------------------------------------------------ */

static json_t *show_usage(const srv_realtime *rt, const srv_response *r, const omni_stats *s)
{
    const int rows = r->spoken ? rt->server->info->speech_rows : 0, in = s->n_prompt;
    const int audio_in = rows < in ? rows : in, cached = s->n_prompt_cached < in ? s->n_prompt_cached : in;
    const int audio_out = r->speech ? s->n_units : 0, out = s->n_tokens + audio_out;
    return json_pack("{s:i, s:i, s:i, s:{s:i, s:i, s:i, s:i, s:{s:i, s:i, s:i}}, s:{s:i, s:i}}", "total_tokens", in + out,
                     "input_tokens", in, "output_tokens", out, "input_token_details", "text_tokens", in - audio_in,
                     "audio_tokens", audio_in, "image_tokens", 0, "cached_tokens", cached, "cached_tokens_details",
                     "text_tokens", cached, "audio_tokens", 0, "image_tokens", 0, "output_token_details", "text_tokens",
                     s->n_tokens, "audio_tokens", audio_out);
}

/* output, details and usage are stolen. */
static json_t *show_response(const srv_realtime *rt, const srv_response *r, const char *status, json_t *details,
                             json_t *output, json_t *usage)
{
    const json_t *s = r->settings, *format = json_object_get(s, "audio.output.format");
    json_t *j = json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:O, s:O}", "object", "realtime.response", "id", r->id, "status",
                          status, "status_details", details, "output", output, "usage", usage, "metadata", r->metadata,
                          "max_output_tokens", json_object_get(s, "max_output_tokens"));
    json_object_set_new(j, "conversation_id", r->side ? json_null() : json_string(rt->conversation_id));
    json_t *modalities = r->speech ? rt->beta ? json_pack("[ss]", "audio", "text") : json_pack("[s]", "audio") : json_pack("[s]", "text");
    json_object_set_new(j, rt->beta ? "modalities" : "output_modalities", modalities);
    if (rt->beta) {
        json_object_set(j, "voice", json_object_get(s, "audio.output.voice"));
        json_object_set_new(j, "output_audio_format", srv_format_show(format, true));
        json_object_set(j, "temperature", json_object_get(s, "temperature"));
    } else {
        json_object_set_new(j, "audio", json_pack("{s:{s:O, s:O}}", "output", "format", format, "voice", json_object_get(s, "audio.output.voice")));
    }
    return json_pack("{s:o}", "response", j);
}

srv_response *srv_response_new(srv_realtime *rt, const json_t *settings, const json_t *metadata, bool side)
{
    srv_response *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    srv_new_id("resp", r->id);
    srv_new_id("item", r->item_id);
    r->tag = ++rt->next_tag;
    r->settings = json_incref((json_t *)(uintptr_t)settings);
    r->metadata = metadata ? json_incref((json_t *)(uintptr_t)metadata) : json_null();
    r->tools = offered(rt->server, settings);
    r->speech = srv_settings_speech(settings);
    r->format = srv_settings_format(settings, "audio.output.format");
    r->asked = srv_now();
    r->side = side;
    if (side) rt->side = r;
    else rt->response = r, r->seat = rt->seat;
    srv_emit(rt, SRV_EV_RESPONSE_CREATED, show_response(rt, r, "in_progress", json_null(), json_array(), json_null()));
    return r;
}

void srv_response_cancel(srv_response *r)
{
    r->cancelled = true;
    if (r->begun) srv_seat_cancel(r->seat);     /* else when it begins: the turn that runs may be another's */
}

void srv_response_free(srv_response *r)
{
    if (!r) return;
    json_decref(r->settings);
    json_decref(r->metadata);
    json_decref(r->tools);
    srv_rate_free(r->rate);
    free(r->held.at);
    free(r->text.at);
    free(r->audio.at);
    free(r);
}

/* ---- parts ------------------------------------------------------------------------------------- */

static json_t *text_json(const srv_response *r)
{
    return json_stringn(r->text.n ? (const char *)r->text.at : "", r->text.n);
}

/* {response_id, item_id, output_index, content_index} and one more, stolen. */
static json_t *with_index(const srv_response *r, const char *name, json_t *value)
{
    json_t *j = json_pack("{s:s, s:s, s:i, s:i}", "response_id", r->id, "item_id", r->item_id, "output_index", 0, "content_index", 0);
    if (name) json_object_set_new(j, name, value);
    return j;
}

static json_t *part_json(const srv_response *r)
{
    return r->speech ? json_pack("{s:s, s:o}", "type", "audio", "transcript", text_json(r))
                     : json_pack("{s:s, s:o}", "type", "text", "text", text_json(r));
}

static json_t *content_json(const srv_response *r)
{
    return r->speech ? json_pack("[{s:s, s:o}]", "type", "output_audio", "transcript", text_json(r))
                     : json_pack("[{s:s, s:o}]", "type", "output_text", "text", text_json(r));
}

void srv_emit_output(srv_realtime *rt, const srv_response *r, srv_event_id id, int index, const srv_item *item)
{
    srv_emit(rt, id, json_pack("{s:s, s:i, s:o}", "response_id", r->id, "output_index", index, "item", srv_item_show(item, rt->beta, false)));
}

/* The item and its part begin with the first word or sound. */
static void open_item(srv_realtime *rt, srv_response *r)
{
    if (r->opened) return;
    r->opened = true;
    srv_item *item = srv_item_message(r->item_id, "assistant", "in_progress", json_array());
    if (!item) return;
    srv_emit_output(rt, r, SRV_EV_OUTPUT_ITEM_ADDED, 0, item);
    if (r->side) srv_item_free(item);
    else if (srv_item_insert(&rt->talk, item, rt->talk.n)) srv_emit_item(rt, rt->talk.n - 1, false);
    srv_emit(rt, SRV_EV_PART_ADDED, with_index(r, "part", part_json(r)));
}

static void send_text(srv_realtime *rt, srv_response *r, const char *text, size_t n)
{
    open_item(rt, r);
    srv_bytes_add(&r->text, text, n);
    srv_emit(rt, r->speech ? SRV_EV_TRANSCRIPT_DELTA : SRV_EV_TEXT_DELTA, with_index(r, "delta", json_stringn(text, n)));
}

static void take_text(srv_realtime *rt, srv_response *r, const char *text, size_t n)
{
    if (r->text.n == 0 && r->held.n == 0) srv_observe(rt->server->metrics, SRV_H_TTFT, srv_now() - r->asked);
    const bool call = r->tools && !r->opened && (r->held.n || srv_calls_begin(text, n));
    if (call) srv_bytes_add(&r->held, text, n);
    else send_text(rt, r, text, n);
}

/* Sends what is there in whole groups of three bytes and two samples; all of it at the end. */
static void send_audio(srv_realtime *rt, srv_response *r, bool all)
{
    char text[DELTA_BYTES / 3 * 4 + 1];
    for (;;) {
        size_t n = r->audio.n - r->n_sent;
        if (n > DELTA_BYTES) n = DELTA_BYTES;
        else if (!all) n -= n % 6;
        if (n == 0) return;
        if (!r->sounded) srv_note_ttfa(rt->server->metrics, srv_now(), srv_now() - r->asked);
        r->sounded = rt->voiced = true;
        srv_base64_encode(r->audio.at + r->n_sent, n, text);
        r->n_sent += n;
        srv_count(rt->server->metrics, SRV_AUDIO_OUT, "", srv_format_ms(r->format, n));
        srv_emit(rt, SRV_EV_AUDIO_DELTA, with_index(r, "delta", json_string(text)));
    }
}

static void take_audio(srv_realtime *rt, srv_response *r, const float *samples, size_t n, bool finish)
{
    const float *out;
    size_t n_out;
    if (!r->speech) return;
    if (!r->rate) r->rate = n ? srv_rate_new(rt->server->info->sample_rate_out, srv_format_rate(r->format)) : NULL;
    if (!r->rate || !srv_rate_run(r->rate, samples, n, finish, &out, &n_out)) return;
    open_item(rt, r);
    const size_t width = srv_format_bytes(r->format);
    uint8_t *bytes = malloc(n_out * width + 1);
    if (!bytes) return;
    srv_sound_encode(r->format, out, n_out, bytes);
    srv_bytes_add(&r->audio, bytes, n_out * width);
    free(bytes);
    send_audio(rt, r, finish);
}

/* ---- closing -------------------------------------------------------------------------------------- */

static void close_part(srv_realtime *rt, srv_response *r)
{
    if (r->speech) {
        srv_emit(rt, SRV_EV_AUDIO_DONE, with_index(r, NULL, NULL));
        srv_emit(rt, SRV_EV_TRANSCRIPT_DONE, with_index(r, "transcript", text_json(r)));
    } else {
        srv_emit(rt, SRV_EV_TEXT_DONE, with_index(r, "text", text_json(r)));
    }
    srv_emit(rt, SRV_EV_PART_DONE, with_index(r, "part", part_json(r)));
}

/* The item as it ends; returns what response.output shows. */
static json_t *close_item(srv_realtime *rt, srv_response *r, const char *status)
{
    srv_item *made = NULL, *item = NULL;
    const long at = r->side ? -1 : srv_item_find(&rt->talk, r->item_id);
    if (at >= 0) item = rt->talk.items[at];
    else item = made = srv_item_message(r->item_id, "assistant", status, json_array());
    if (!item) return json_array();
    json_object_set_new(item->json, "status", json_string(status));
    json_object_set_new(item->json, "content", content_json(r));
    if (at >= 0) {
        item->asked = true;
        item->turn = r->begun ? (long long)r->turn : -1;
        if (r->speech) {
            srv_item_keep_audio(&rt->talk, item, r->audio.at, r->n_sent, r->format);
            r->audio = (srv_bytes){NULL, 0, 0};
        }
        srv_emit(rt, SRV_EV_ITEM_DONE, json_pack("{s:o, s:o}", "previous_item_id", srv_previous_id(rt, (size_t)at), "item",
                                                 srv_item_show(item, rt->beta, false)));
    }
    srv_emit_output(rt, r, SRV_EV_OUTPUT_ITEM_DONE, 0, item);
    json_t *output = json_pack("[o]", srv_item_show(item, rt->beta, false));
    srv_item_free(made);
    return output;
}

/* code NULL: it did not fail. */
static json_t *show_details(const char *status, const char *code, const char *reason)
{
    if (strcmp(status, "completed") == 0) return json_null();
    if (!code) return json_pack("{s:s, s:s}", "type", status, "reason", reason);
    static const char *const theirs[] = {"empty_input", "context_length_exceeded", "invalid_value"};
    const char *type = "server_error";
    for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++)
        if (strcmp(code, theirs[i]) == 0) type = "invalid_request_error";
    return json_pack("{s:s, s:{s:s, s:s, s:s}}", "type", "failed", "error", "type", type, "code", code, "message", reason);
}

/* A truncate that came while the answer ran. */
static void trim_late(srv_realtime *rt, const srv_response *r)
{
    const long at = rt->trim_ms < 0 || r->side ? -1 : srv_item_find(&rt->talk, r->item_id);
    if (at >= 0) {
        srv_item *item = rt->talk.items[at];
        srv_item_cut_audio(&rt->talk, item, srv_format_at(item->format, rt->trim_ms));
        srv_seat_trim(rt->seat, (uint64_t)(rt->trim_ms * rt->server->info->sample_rate_out / 1000.0));
        json_object_set_new(json_array_get(json_object_get(item->json, "content"), 0), "transcript", json_string(""));
    }
    if (!r->side) rt->trim_ms = -1;
}

/* The next of the conversation is the one that had to wait for it. */
static void leave_conversation(srv_realtime *rt, const srv_response *r)
{
    if (r != rt->aside) rt->response = rt->aside;
    rt->aside = NULL;
}

static void end(srv_realtime *rt, srv_response *r, const char *status, const char *code, const char *reason)
{
    omni_stats stats = {.n_prompt = 0};
    if (r->begun) srv_seat_stats(r->seat, &stats);
    if (stats.n_prompt) srv_observe_turn(rt->server->metrics, &stats, rt->server->info->sample_rate_out);
    const bool done = strcmp(status, "completed") == 0;
    json_t *output = r->held.n ? srv_calls_send(rt, r, done) : NULL;
    /* What looked like a call and is none is shown when the model has ended it, or would have gone on. */
    if (r->held.n && !output && (done || strcmp(status, "incomplete") == 0)) send_text(rt, r, (const char *)r->held.at, r->held.n);
    if (r->opened) {
        send_audio(rt, r, true);
        close_part(rt, r);
        output = close_item(rt, r, done ? "completed" : "incomplete");
    }
    if (!output) output = json_array();
    srv_count(rt->server->metrics, SRV_RESPONSES, status, 1);
    srv_emit(rt, SRV_EV_RESPONSE_DONE, show_response(rt, r, status, show_details(status, code, reason), output, show_usage(rt, r, &stats)));
    trim_late(rt, r);
    if (r->side) {
        rt->side = NULL;
        srv_seat_leave(r->seat);
    } else {
        leave_conversation(rt, r);
        srv_idle_begin(rt, srv_format_ms(r->format, r->n_sent));
        srv_history_settle(rt, r);
    }
    srv_response_free(r);
}

void srv_response_close(srv_realtime *rt, srv_response *r, const char *status, const char *reason)
{
    end(rt, r, status, NULL, reason);
}

void srv_response_fail(srv_realtime *rt, srv_response *r, const char *code, const char *message)
{
    end(rt, r, "failed", code, message);
}

const char *srv_failure_code(int status)
{
    switch (status) {
    case OMNI_ERR_LIMIT: return "context_length_exceeded";
    case OMNI_ERR_ARG:
    case OMNI_ERR_AUDIO: return "invalid_value";
    default: return "engine_error";
    }
}

void srv_response_event(srv_realtime *rt, srv_response *r, const omni_event *event)
{
    switch (event->type) {
    case OMNI_EVENT_BEGIN:
        r->begun = true;
        r->turn = event->turn;
        if (!r->side) srv_history_begun(rt, r);
        if (r->cancelled) srv_seat_cancel(r->seat);
        break;
    case OMNI_EVENT_TEXT:
        if (!r->cancelled) take_text(rt, r, event->text, event->n_text);
        break;
    case OMNI_EVENT_AUDIO:
        if (!r->cancelled) take_audio(rt, r, event->audio, event->n_audio, false);
        break;
    case OMNI_EVENT_END:
        if (!r->cancelled) take_audio(rt, r, NULL, 0, true);
        if (r->cancelled) srv_response_close(rt, r, "cancelled", "client_cancelled");
        else if (event->reason == OMNI_END_STOP) srv_response_close(rt, r, "completed", NULL);
        else srv_response_close(rt, r, "incomplete", "max_output_tokens");
        break;
    case OMNI_EVENT_CANCELLED:
        srv_response_close(rt, r, "cancelled", event->reason == OMNI_END_INTERRUPTED ? "turn_detected" : "client_cancelled");
        break;
    case OMNI_EVENT_FAILED:
        srv_response_fail(rt, r, srv_failure_code(event->status), event->text);
        break;
    default:
        break;
    }
}
