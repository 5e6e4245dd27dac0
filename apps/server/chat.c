/* chat: see chat.h. A job waits for a slot, then for its answer; the connection sleeps meanwhile. */
#include "chat.h"

#include "audio-memory.h"
#include "base64.h"
#include "chat-question.h"
#include "realtime-state.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { DELTA_BYTES = 9600, HZ = 24000 };

static const double round_seconds = 0.02;   /* for encoding sound, before others have their turn */

struct srv_chat {
    srv_chat *next;
    srv *server;
    srv_request *request;           /* NULL: its client has gone */
    srv_chat_question question;
    srv_seat *seat;
    char id[40], audio_id[40];
    long long created;
    bool begun, asleep, done, sounded;
    double asked;
    srv_rate *rate;
    srv_bytes held;                 /* what may be calls of functions: only the end shows it */
    json_t *calls;                  /* what it was then, as message.tool_calls; NULL: something else */
    srv_bytes text, audio;          /* the answer; audio: pcm16, or at the end the container */
    srv_audio_writer *file;         /* the container, until then; NULL: none wanted, or no sound came yet */
    size_t n_sent;                  /* bytes of audio */
    srv_bytes out;                  /* events of a stream */
    size_t out_at;
    const char *finish;             /* stop, length, tool_calls; NULL: it failed */
    bool too_long;                  /* because the question is larger than the context: the client's fault */
    char why[256];
    omni_stats stats;
};

/* ---- stream events ------------------------------------------------------------------------- */

static void put_event(srv_chat *c, json_t *event)
{
    char *text = event ? json_dumps(event, JSON_COMPACT) : NULL;
    json_decref(event);
    if (!text) return;
    srv_bytes_add(&c->out, "data: ", 6);
    srv_bytes_add(&c->out, text, strlen(text));
    srv_bytes_add(&c->out, "\n\n", 2);
    free(text);
}

static json_t *chunk(const srv_chat *c, json_t *choices)
{
    return json_pack("{s:s, s:s, s:I, s:s, s:o}", "id", c->id, "object", "chat.completion.chunk", "created",
                     (json_int_t)c->created, "model", c->server->model_name, "choices", choices);
}

static void put_delta(srv_chat *c, json_t *delta, const char *finish)
{
    put_event(c, chunk(c, json_pack("[{s:i, s:o, s:s?, s:n}]", "index", 0, "delta", delta, "finish_reason", finish, "logprobs")));
}

static void put_sound(srv_chat *c, bool all)
{
    char text[DELTA_BYTES / 3 * 4 + 1];
    for (;;) {
        size_t n = c->audio.n - c->n_sent;
        if (n > DELTA_BYTES) n = DELTA_BYTES;
        else if (!all) n -= n % 6;
        if (n == 0) return;
        srv_base64_encode(c->audio.at + c->n_sent, n, text);
        c->n_sent += n;
        put_delta(c, json_pack("{s:{s:s, s:s}}", "audio", "id", c->audio_id, "data", text), NULL);
    }
}

/* ---- the answer --------------------------------------------------------------------------------- */

static json_t *show_usage(const srv_chat *c)
{
    const omni_stats *s = &c->stats;
    const int rows = c->question.samples ? c->server->info->speech_rows : 0, in = s->n_prompt;
    const int audio_in = rows < in ? rows : in, audio_out = c->question.speech ? s->n_units : 0;
    return json_pack("{s:i, s:i, s:i, s:{s:i, s:i, s:i, s:i}, s:{s:i, s:i, s:i, s:i, s:i}}", "prompt_tokens", in,
                     "completion_tokens", s->n_tokens + audio_out, "total_tokens", in + s->n_tokens + audio_out,
                     "prompt_tokens_details", "audio_tokens", audio_in, "text_tokens", in - audio_in, "cached_tokens",
                     s->n_prompt_cached, "image_tokens", 0, "completion_tokens_details", "audio_tokens", audio_out,
                     "text_tokens", s->n_tokens, "reasoning_tokens", 0, "accepted_prediction_tokens", 0,
                     "rejected_prediction_tokens", 0);
}

static long long expiry(const srv_chat *c)
{
    return c->created + 3600;
}

static void say_text(srv_chat *c, const char *text, size_t n)
{
    srv_bytes_add(&c->text, text, n);
    if (!c->question.stream) return;
    if (c->question.speech) put_delta(c, json_pack("{s:{s:s, s:s%}}", "audio", "id", c->audio_id, "transcript", text, n), NULL);
    else put_delta(c, json_pack("{s:s%}", "content", text, n), NULL);
}

static void take_text(srv_chat *c, const char *text, size_t n)
{
    if (c->text.n == 0 && c->held.n == 0) srv_observe(c->server->metrics, SRV_H_TTFT, srv_now() - c->asked);
    const bool call = c->question.tools && c->text.n == 0 && (c->held.n || srv_calls_begin(text, n));
    if (call) srv_bytes_add(&c->held, text, n);
    else say_text(c, text, n);
}

/* One call, its arguments after it: as the service streams them. */
static void put_call(srv_chat *c, int index, const json_t *call)
{
    const json_t *function = json_object_get(call, "function");
    put_delta(c, json_pack("{s:[{s:i, s:O, s:s, s:{s:O, s:s}}]}", "tool_calls", "index", index, "id", json_object_get(call, "id"), "type", "function",
                           "function", "name", json_object_get(function, "name"), "arguments", ""), NULL);
    put_delta(c, json_pack("{s:[{s:i, s:{s:O}}]}", "tool_calls", "index", index, "function", "arguments", json_object_get(function, "arguments")), NULL);
}

/* What was held is calls, or text without sound. whole: the model has ended it. */
static void settle_held(srv_chat *c, bool whole)
{
    const char *text = (const char *)c->held.at;
    const json_t *tools = c->question.tools, *call;
    char id[40];
    size_t i;
    if (c->held.n == 0) return;
    json_t *calls = whole ? srv_calls_read(tools, text, c->held.n) : srv_calls_read_cut(tools, text, c->held.n);
    const size_t most = c->question.one_call ? 1 : json_array_size(calls);
    if (calls) c->calls = json_array();
    else say_text(c, text, c->held.n);
    json_array_foreach(calls, i, call) {
        if (i == most) break;
        srv_new_id("call", id);
        json_array_append_new(c->calls, json_pack("{s:s, s:s, s:O}", "id", id, "type", "function", "function", call));
        if (c->question.stream) put_call(c, (int)i, json_array_get(c->calls, i));
    }
    json_decref(calls);
}

static bool encode_raw(srv_chat *c, const float *samples, size_t n)
{
    uint8_t *bytes = malloc(n * 2 + 1);
    if (bytes) srv_sound_encode(SRV_PCM16, samples, n, bytes);
    const bool ok = bytes && srv_bytes_add(&c->audio, bytes, n * 2);
    free(bytes);
    return ok;
}

/* A container without any sound is one, too. */
static bool encode(srv_chat *c, const float *samples, size_t n, bool finish)
{
    if (c->question.container == SRV_RAW) return encode_raw(c, samples, n);
    if (!c->file) c->file = srv_audio_begin((int)c->question.container, HZ);
    if (!c->file || (n && !srv_audio_put(c->file, samples, n))) return false;
    if (!finish) return true;
    c->audio.at = (uint8_t *)srv_audio_end(c->file, &c->audio.n);
    c->file = NULL;
    return c->audio.at != NULL;
}

/* false: the answer can not be given in what was asked for. */
static bool take_sound(srv_chat *c, const float *samples, size_t n, bool finish)
{
    const float *out = NULL;
    size_t n_out = 0;
    if (!c->question.speech) return true;
    if (!c->rate && n) c->rate = srv_rate_new(c->server->info->sample_rate_out, HZ);
    if (c->rate ? !srv_rate_run(c->rate, samples, n, finish, &out, &n_out) : n > 0) return false;
    if (!c->sounded && n_out) srv_note_ttfa(c->server->metrics, srv_now(), srv_now() - c->asked);
    c->sounded |= n_out > 0;
    srv_count(c->server->metrics, SRV_AUDIO_OUT, "", (double)n_out * 1000.0 / HZ);
    if (!encode(c, out, n_out, finish)) return false;
    if (c->question.stream) put_sound(c, finish);
    return true;
}

static const char *failure_kind(const srv_chat *c)
{
    return c->too_long ? "invalid_request_error" : "server_error";
}

static const char *failure_code(const srv_chat *c)
{
    return c->too_long ? "context_length_exceeded" : "engine_error";
}

static void finish_stream(srv_chat *c)
{
    if (!c->finish) {
        put_event(c, json_pack("{s:{s:s, s:s, s:s, s:s?}}", "error", "message", c->why, "type", failure_kind(c), "code", failure_code(c),
                               "param", c->too_long ? "messages" : NULL));
        return;
    }
    if (c->question.speech && !c->calls) put_delta(c, json_pack("{s:{s:s, s:I}}", "audio", "id", c->audio_id, "expires_at", (json_int_t)expiry(c)), NULL);
    put_delta(c, json_object(), c->finish);
    if (c->question.include_usage) {
        json_t *last = chunk(c, json_array());
        json_object_set_new(last, "usage", show_usage(c));
        put_event(c, last);
    }
    srv_bytes_add(&c->out, "data: [DONE]\n\n", 14);
}

/* The turn is over: finish, or NULL and why. */
static void end(srv_chat *c, const char *finish, const char *why)
{
    if (c->done) return;
    c->done = true;
    c->finish = finish;
    snprintf(c->why, sizeof c->why, "%s", why ? why : "");
    if (finish && c->question.speech && !c->calls)
        srv_answers_keep(c->server->answers, c->audio_id, (const char *)c->text.at, c->text.n, expiry(c));
    if (finish && srv_seat_stats(c->seat, &c->stats)) srv_observe_turn(c->server->metrics, &c->stats, c->server->info->sample_rate_out);
    srv_count(c->server->metrics, SRV_RESPONSES, !finish ? "failed" : strcmp(finish, "length") == 0 ? "incomplete" : "completed", 1);
    if (!finish) srv_count(c->server->metrics, SRV_ERRORS, failure_code(c), 1);
    srv_seat_leave(c->seat);
    c->seat = NULL;
    if (c->question.stream) finish_stream(c);
}

static const char no_sound[] = "the speech could not be encoded as audio.format wants it";

static void take_event(srv_chat *c, const omni_event *event)
{
    if (event->type == OMNI_EVENT_TEXT) take_text(c, event->text, event->n_text);
    if (event->type == OMNI_EVENT_AUDIO && !take_sound(c, event->audio, event->n_audio, false)) end(c, NULL, no_sound);
    if (event->type == OMNI_EVENT_END) {
        const bool whole = event->reason == OMNI_END_STOP;
        settle_held(c, whole);
        const bool ok = c->calls || take_sound(c, NULL, 0, true);
        end(c, !ok ? NULL : !whole ? "length" : c->calls ? "tool_calls" : "stop", no_sound);
    }
    if (event->type == OMNI_EVENT_FAILED) {
        c->too_long = event->status == OMNI_ERR_LIMIT;
        end(c, NULL, event->text);
    }
    if (event->type == OMNI_EVENT_CANCELLED) end(c, NULL, "the answer was cancelled");
}

static void wake(srv_chat *c)
{
    if (!c->asleep || !c->request) return;
    c->asleep = false;
    MHD_resume_connection(c->request->connection);
}

/* Takes a slot and asks; false: there is none. */
static bool begin(srv_chat *c)
{
    srv_chat_question *q = &c->question;
    c->seat = srv_seat_take(c->server->worker, &q->params);
    if (!c->seat) return false;
    c->begun = true;
    const bool ok = srv_past_tell(&q->past, c->seat) &&
                    (q->samples ? srv_seat_audio(c->seat, q->samples, q->n_samples) && srv_seat_ask(c->seat, 1)
                                : srv_seat_text(c->seat, q->past.question, 1));
    if (!ok) end(c, NULL, "out of memory");
    return true;
}

/* There may be more to take when all others have had their turn. */
static void wake_again(const srv *server)
{
    const uint64_t one = 1;
    if (write(server->wake_fd, &one, sizeof one) < 0) return;    /* full: it is awake */
}

/* Each of them takes an event at least, so that nobody is kept waiting by one whose sound takes long to encode. */
void srv_chats_drain(srv *server)
{
    srv_failure failure;
    omni_event event;
    const double until = srv_now() + round_seconds;
    bool any = false, late = false;
    for (srv_chat *c = server->chats; c; c = c->next) {
        if (!c->begun && begin(c)) server->n_waiting--;
        if (!c->begun) break;       /* first come, first served */
        for (bool next = true; next && !c->done && c->out.n - c->out_at < SRV_SEND_PAUSE_BYTES && srv_seat_event(c->seat, &event);) {
            any = true;
            take_event(c, &event);
            next = srv_now() < until;
            late |= !next;
        }
        if (!c->done && srv_seat_failure(c->seat, &failure)) {
            c->too_long = failure.status == OMNI_ERR_LIMIT;
            end(c, NULL, failure.text);
        }
        if (c->done || (c->question.stream && c->out.n > c->out_at)) wake(c);
    }
    if (any) srv_worker_kick(server->worker);
    if (late) wake_again(server);
}

/* Nobody wants the answer any more: its slot, or its place in the line, is the next one's. */
static void abandon(srv_chat *c)
{
    if (c->done) return;
    c->done = true;
    if (c->begun) srv_count(c->server->metrics, SRV_RESPONSES, "cancelled", 1);
    else c->server->n_waiting--;
    c->begun = true;
    srv_seat_leave(c->seat);
    c->seat = NULL;
    snprintf(c->why, sizeof c->why, "the connection was closed before the answer was complete");
    wake(c);
}

/* Has its client closed the connection? A close and the mere end of what the client sends look alike until something is
 * written to it. The latter is legal and almost unknown; waiting for certainty would make whole answers for nobody. So, as
 * nginx and most servers do, both are taken for a close. */
static bool has_left(const srv_chat *c)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c->request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct pollfd p = {.fd = info ? info->connect_fd : -1, .events = POLLRDHUP};
    return poll(&p, 1, 0) > 0;
}

void srv_chats_tick(srv *server)
{
    for (srv_chat *c = server->chats; c; c = c->next)
        if (c->asleep && has_left(c)) abandon(c);       /* microhttpd does not look at a sleeping connection */
}

/* ---- the request's side --------------------------------------------------------------------------- */

static ssize_t on_read(void *cls, uint64_t at, char *buffer, size_t n)
{
    (void)at;
    srv_chat *c = cls;
    const size_t have = c->out.n - c->out_at;
    if (have == 0 && c->done) return MHD_CONTENT_READER_END_OF_STREAM;
    if (have == 0) {
        c->asleep = true;
        MHD_suspend_connection(c->request->connection);
        return 0;
    }
    if (n > have) n = have;
    memcpy(buffer, c->out.at + c->out_at, n);
    c->out_at += n;
    if (c->out_at == c->out.n) c->out.n = c->out_at = 0;
    return (ssize_t)n;
}

static void put_first(srv_chat *c)
{
    json_t *first = json_pack("{s:s, s:n, s:n}", "role", "assistant", "content", "refusal");
    if (c->question.speech && !c->question.tools) json_object_set_new(first, "audio", json_pack("{s:s, s:s}", "id", c->audio_id, "transcript", ""));
    put_delta(c, first, NULL);
}

static enum MHD_Result begin_stream(srv_request *r, srv_chat *c)
{
    struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, on_read, c, NULL);
    if (!response) return MHD_NO;
    MHD_add_response_header(response, "Content-Type", "text/event-stream");
    MHD_add_response_header(response, "Cache-Control", "no-cache");
    MHD_add_response_header(response, "X-Accel-Buffering", "no");
    srv_add_headers(r, response);
    srv_count(r->server->metrics, SRV_REQUESTS, "200", 1);
    const enum MHD_Result rc = MHD_queue_response(r->connection, 200, response);
    MHD_destroy_response(response);
    return rc;
}

enum MHD_Result srv_chat_begin(srv_request *r)
{
    srv *server = r->server;
    srv_trouble t = {.code = NULL};
    unsigned status;
    srv_chat *c = calloc(1, sizeof *c), **last = &server->chats;
    if (!c) return MHD_NO;
    const bool read = srv_chat_read(server, r->body, r->n, &c->question, &t, &status);
    free(r->body);      /* it may be megabytes, and the answer may be long in coming */
    r->body = NULL;
    r->n = r->cap = 0;
    if (!read) {
        free(c);
        return srv_refuse(r, status, "invalid_request_error", t.code, t.param[0] ? t.param : NULL, t.message);
    }
    const bool full = srv_worker_free_seats(server->worker) == 0 && server->n_waiting >= SRV_WAITING;
    const bool gone = server->draining || !srv_worker_alive(server->worker);
    if (gone || full || srv_overloaded(server)) {
        srv_count(server->metrics, SRV_REFUSED, server->draining ? "draining" : gone ? "engine" : full ? "queue" : "latency", 1);
        srv_chat_question_free(&c->question);
        free(c);
        if (gone) return srv_refuse(r, 503, "server_error", "server_busy", NULL, "the server takes no more questions");
        return srv_refuse(r, 429, "rate_limit_error", "rate_limit_exceeded", NULL,
                          full ? "too many requests wait already" : "answers take too long already; try again");
    }
    while (*last) last = &(*last)->next;
    *last = c;
    c->server = server;
    c->request = r;
    c->created = (long long)time(NULL);
    c->asked = srv_now();       /* standing in line counts */
    srv_new_id("chatcmpl", c->id);
    srv_new_id("audio", c->audio_id);
    r->chat = c;
    server->n_waiting++;
    if (c->question.stream) put_first(c);       /* before the answer, which may be complete when drain returns */
    srv_chats_drain(server);
    if (c->question.stream) return begin_stream(r, c);
    c->asleep = true;
    MHD_suspend_connection(r->connection);
    return MHD_YES;
}

/* The speech as base64; NULL: out of memory. */
static json_t *speech_json(const srv_chat *c)
{
    const size_t n = srv_base64_letters(c->audio.n);
    char *text = malloc(n + 1);
    if (text) srv_base64_encode(c->audio.at, c->audio.n, text);
    json_t *data = text ? json_stringn_nocheck(text, n) : NULL;
    free(text);
    return data;
}

enum MHD_Result srv_chat_answer(srv_request *r)
{
    srv_chat *c = r->chat;
    if (!c->finish) return srv_refuse(r, c->too_long ? 400 : 500, failure_kind(c), failure_code(c), c->too_long ? "messages" : NULL, c->why);
    json_t *data = c->question.speech && !c->calls ? speech_json(c) : json_null();
    if (!data) return srv_refuse(r, 500, "server_error", "engine_error", NULL, "out of memory");
    json_t *words = json_stringn(c->text.n ? (const char *)c->text.at : "", c->text.n);
    json_t *message = json_pack("{s:s, s:n, s:[]}", "role", "assistant", "refusal", "annotations");
    if (c->calls) {
        json_decref(words);
        json_object_set_new(message, "content", json_null());
        json_object_set(message, "tool_calls", c->calls);
    } else if (c->question.speech) {
        json_object_set_new(message, "content", json_null());
        json_object_set_new(message, "audio", json_pack("{s:s, s:o, s:I, s:o}", "id", c->audio_id, "data", data,
                                                        "expires_at", (json_int_t)expiry(c), "transcript", words));
    } else {
        json_object_set_new(message, "content", words);
    }
    json_t *j = json_pack("{s:s, s:s, s:I, s:s, s:[{s:i, s:o, s:s, s:n}], s:o}", "id", c->id, "object", "chat.completion",
                          "created", (json_int_t)c->created, "model", c->server->model_name, "choices", "index", 0,
                          "message", message, "finish_reason", c->finish, "logprobs", "usage", show_usage(c));
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    return srv_respond(r, 200, "application/json", text, NULL);
}

void srv_chat_gone(srv_chat *c)
{
    srv *server = c->server;
    for (srv_chat **at = &server->chats; *at; at = &(*at)->next) {
        if (*at != c) continue;
        *at = c->next;
        break;
    }
    c->asleep = false;
    abandon(c);
    srv_rate_free(c->rate);
    srv_audio_drop(c->file);
    srv_chat_question_free(&c->question);
    json_decref(c->calls);
    free(c->held.at);
    free(c->text.at);
    free(c->audio.at);
    free(c->out.at);
    free(c);
}

void srv_chats_goodbye(srv *server)
{
    for (srv_chat *c = server->chats; c; c = c->next) {
        if (!c->begun) server->n_waiting--;
        c->begun = true;
        end(c, NULL, "the server is shutting down");
        wake(c);
    }
}
