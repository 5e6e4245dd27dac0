/* realtime: see realtime.h. Greeting, parsing, the handlers' table, sending. */
#include "json-bounds.h"
#include "realtime-state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct { const char *type; bool (*run)(srv_realtime *, const json_t *, srv_trouble *); } clients[] = {
#define CLIENT(type, handler) {type, srv_on_##handler},
#define SERVER(id, ga, beta)
#include "events.def"
#undef CLIENT
#undef SERVER
};
enum { CLIENTS = sizeof clients / sizeof *clients };

static const struct { const char *ga, *beta; } servers[SRV_EVENTS] = {
#define CLIENT(type, handler)
#define SERVER(id, ga, beta) {ga, beta},
#include "events.def"
#undef CLIENT
#undef SERVER
};

/* ---- sending ------------------------------------------------------------------------------- */

bool srv_bytes_add(srv_bytes *b, const void *bytes, size_t n)
{
    if (n > b->cap - b->n) {
        const size_t cap = (b->n + n) * 2;
        uint8_t *bigger = realloc(b->at, cap);
        if (!bigger) return false;
        b->at = bigger;
        b->cap = cap;
    }
    if (n) memcpy(b->at + b->n, bytes, n);
    b->n += n;
    return true;
}

void srv_emit(srv_realtime *rt, srv_event_id id, json_t *event)
{
    const char *type = rt->beta ? servers[id].beta : servers[id].ga;
    char event_id[40];
    if (event && *type) {
        srv_new_id("event", event_id);
        json_object_set_new(event, "type", json_string(type));
        json_object_set_new(event, "event_id", json_string(event_id));
        char *text = json_dumps(event, JSON_COMPACT);
        if (text) srv_socket_send(rt->socket, text, strlen(text));
        free(text);
        srv_count(rt->server->metrics, SRV_SENT, type, 1);
    }
    json_decref(event);
}

void srv_emit_trouble(srv_realtime *rt, const srv_trouble *t)
{
    const char *id = json_string_value(rt->event_id);
    const char *kind = t->code && strcmp(t->code, "server_error") == 0 ? "server_error" : "invalid_request_error";
    srv_count(rt->server->metrics, SRV_ERRORS, t->code ? t->code : "none", 1);
    srv_emit(rt, SRV_EV_ERROR,
             json_pack("{s:{s:s, s:s?, s:s, s:s?, s:s?}}", "error", "type", kind, "code",
                       t->code, "message", t->message, "param", t->param[0] ? t->param : NULL, "event_id", id));
}

json_t *srv_previous_id(const srv_realtime *rt, size_t at)
{
    return at > 0 ? json_string(srv_item_id(rt->talk.items[at - 1])) : json_null();
}

void srv_emit_item(srv_realtime *rt, size_t at, bool done)
{
    const srv_item *item = rt->talk.items[at];
    srv_emit(rt, SRV_EV_ITEM_ADDED, json_pack("{s:o, s:o}", "previous_item_id", srv_previous_id(rt, at), "item",
                                              srv_item_show(item, rt->beta, false)));
    if (done)
        srv_emit(rt, SRV_EV_ITEM_DONE, json_pack("{s:o, s:o}", "previous_item_id", srv_previous_id(rt, at), "item",
                                                 srv_item_show(item, rt->beta, false)));
}

/* ---- the session ---------------------------------------------------------------------------- */

json_t *srv_session_show(const srv *server, const json_t *settings, bool beta, bool transcription, const char *id, long long expires)
{
    json_t *s = srv_settings_show(settings, beta);
    json_object_set_new(s, "object", json_string("realtime.session"));
    json_object_set_new(s, "id", json_string(id));
    json_object_set_new(s, "model", json_string(server->model_name));
    json_object_set_new(s, "expires_at", json_integer(expires));
    if (beta) json_object_set_new(s, "client_secret", json_null());
    else json_object_set_new(s, "type", json_string(transcription ? "transcription" : "realtime"));
    return s;
}

static json_t *show_session(const srv_realtime *rt)
{
    return json_pack("{s:o}", "session", srv_session_show(rt->server, rt->settings, rt->beta, rt->transcription, rt->id, rt->expires));
}

/* The members of session that say what it is: they may be repeated, not changed. */
static bool check_identity(const srv_realtime *rt, const json_t *session, srv_trouble *t)
{
    const json_t *type = json_object_get(session, "type"), *model = json_object_get(session, "model");
    if (!rt->beta) {
        if (!type) return srv_member(session, "session", "type", JSON_STRING, t) != NULL;
        const char *word = json_is_string(type) ? json_string_value(type) : "";
        const char *own = rt->transcription ? "transcription" : "realtime";
        if (strcmp(word, own) != 0)
            return srv_trouble_set(t, "invalid_value", "session.type", "Invalid value: this session's type is '%s' and can not change.", own);
    }
    if (model && !json_is_null(model) &&
        (!json_is_string(model) || !srv_model_ok(rt->server, json_string_value(model))))
        return srv_trouble_set(t, "invalid_value", "session.model", "The model of a session can not change.");
    return true;
}

bool srv_on_session_update(srv_realtime *rt, const json_t *event, srv_trouble *t)
{
    const json_t *given = srv_member(event, "", "session", JSON_OBJECT, t);
    if (!given || !check_identity(rt, given, t)) return false;
    json_t *changed = srv_settings_change(rt->settings, given, rt->beta, "session", t);
    if (!changed) return false;
    if (rt->voiced && strcmp(srv_settings_voice(changed), srv_settings_voice(rt->settings)) != 0) {
        json_decref(changed);
        return srv_trouble_set(t, "cannot_update_voice", rt->beta ? "session.voice" : "session.audio.output.voice",
                               "Cannot update a conversation's voice if assistant audio is present.");
    }
    const bool format = srv_settings_format(changed, "audio.input.format") != srv_settings_format(rt->settings, "audio.input.format");
    const bool turns = !json_equal(json_object_get(changed, "audio.input.turn_detection"),
                                   json_object_get(rt->settings, "audio.input.turn_detection"));
    if (format) srv_input_reset(rt);
    json_decref(rt->settings);
    rt->settings = changed;
    if (turns) srv_turns_apply(rt);
    srv_params_apply(rt, rt->settings);
    srv_emit(rt, rt->beta && rt->transcription ? SRV_EV_TRANSCRIPTION_UPDATED : SRV_EV_SESSION_UPDATED, show_session(rt));
    return true;
}

bool srv_on_transcription_update(srv_realtime *rt, const json_t *event, srv_trouble *t)
{
    if (rt->transcription) return srv_on_session_update(rt, event, t);
    return srv_trouble_set(t, "invalid_value", "type", "transcription_session.update is for transcription sessions; this is not one.");
}

/* ---- opening ------------------------------------------------------------------------------------ */

/* The service accepts everybody and then says why not: browsers show no other reason. */
static bool refuse(srv_realtime *rt, const srv_hello *hello)
{
    srv_trouble t;
    const char *reason;
    int code = 3000;
    if (hello->key == SRV_KEY_NONE) {
        srv_trouble_set(&t, NULL, NULL, "No API key was given.");
        reason = "invalid_request_error";
    } else if (hello->key == SRV_KEY_WRONG) {
        srv_trouble_set(&t, "invalid_api_key", NULL, "The API key is not the one this server was started with.");
        reason = "invalid_request_error.invalid_api_key";
    } else if (hello->model == SRV_MODEL_NONE) {
        srv_trouble_set(&t, "missing_model", "model", "No model was named: add ?model=NAME.");
        reason = "invalid_request_error.missing_model";
        code = 4000;
    } else if (hello->model == SRV_MODEL_UNKNOWN) {
        srv_trouble_set(&t, "invalid_model", "model", "There is no model of this name here.");
        reason = "invalid_request_error.invalid_model";
        code = 4000;
    } else {
        return false;
    }
    srv_emit_trouble(rt, &t);
    srv_socket_close(rt->socket, code, reason);
    return true;
}

srv_realtime *srv_realtime_open(srv_socket *socket, const srv_hello *hello)
{
    srv_realtime *rt = calloc(1, sizeof *rt);
    if (!rt) return NULL;
    rt->server = srv_socket_server(socket);
    rt->socket = socket;
    rt->beta = hello->beta;
    rt->transcription = hello->transcription;
    rt->opened = srv_now();
    rt->trim_ms = rt->idle_from = -1;
    rt->expires = (long long)time(NULL) + rt->server->options->session_seconds;
    rt->settings = hello->preset ? json_copy(hello->preset) : srv_settings_new();
    rt->waiting = json_array();
    if (refuse(rt, hello)) return rt;
    rt->params = srv_params_read(rt->server, rt->settings);
    rt->seat = srv_seat_take(rt->server->worker, &rt->params);
    if (!rt->seat) {    /* lost a race for the last one */
        srv_socket_close(socket, 1013, "all conversations the server has room for are taken");
        return rt;
    }
    srv_new_id("sess", rt->id);
    srv_new_id("conv", rt->conversation_id);
    rt->server->n_active++;
    rt->server->n_beta += rt->beta;
    srv_count(rt->server->metrics, SRV_SESSIONS, rt->beta ? "beta" : "ga", 1);
    srv_turns_apply(rt);
    srv_emit(rt, rt->transcription ? SRV_EV_TRANSCRIPTION_CREATED : SRV_EV_SESSION_CREATED, show_session(rt));
    return rt;
}

void srv_realtime_free(srv_realtime *rt)
{
    if (!rt) return;
    if (rt->seat) {
        rt->server->n_active--;
        rt->server->n_beta -= rt->beta;
        srv_seat_leave(rt->seat);
    }
    if (rt->side) srv_seat_leave(rt->side->seat);
    srv_count(rt->server->metrics, SRV_RESPONSES, "cancelled", (rt->response != NULL) + (rt->aside != NULL) + (rt->side != NULL));
    srv_response_free(rt->response);
    srv_response_free(rt->aside);
    srv_response_free(rt->side);
    srv_conversation_free(&rt->talk);
    for (size_t i = 0; i < rt->n_gone; i++) srv_item_free(rt->gone[i]);
    free(rt->gone);
    json_decref(rt->settings);
    json_decref(rt->waiting);
    srv_tools_forget(&rt->params);
    srv_rate_free(rt->input_rate);
    free(rt->input.at);
    free(rt);
}

/* ---- messages --------------------------------------------------------------------------------------- */

static bool dispatch(srv_realtime *rt, const json_t *event, srv_trouble *t)
{
    const json_t *type = json_object_get(event, "type"), *id = json_object_get(event, "event_id");
    if (json_string_length(id) > SRV_EVENT_ID_BYTES)
        return srv_trouble_set(t, "invalid_value", "event_id", "Invalid 'event_id': found %zu bytes, at most %d are taken.", json_string_length(id), SRV_EVENT_ID_BYTES);
    if (json_is_string(id)) rt->event_id = id;
    if (!type) return srv_trouble_set(t, "invalid_event", NULL, "The event has no 'type'.");
    if (!json_is_string(type))
        return srv_trouble_set(t, "invalid_type", "type", "Invalid type for 'type': expected a string, but got %s instead.", srv_json_kind(type));
    for (size_t i = 0; i < CLIENTS; i++) {
        if (strcmp(clients[i].type, json_string_value(type)) != 0) continue;
        srv_count(rt->server->metrics, SRV_RECEIVED, clients[i].type, 1);
        return clients[i].run(rt, event, t);
    }
    srv_count(rt->server->metrics, SRV_RECEIVED, "other", 1);
    srv_trouble_set(t, "invalid_value", "type", "Invalid value: '%.60s'. Supported values are:", json_string_value(type));
    for (size_t i = 0; i < CLIENTS; i++) {
        const size_t n = strlen(t->message);
        snprintf(t->message + n, sizeof t->message - n, "%s '%s'", i ? "," : "", clients[i].type);
    }
    return false;
}

void srv_realtime_message(srv_realtime *rt, const char *text, size_t n, bool binary)
{
    srv_trouble t = {.code = NULL};
    char why[JSON_ERROR_TEXT_LENGTH];
    if (!rt->seat) return;
    rt->event_id = NULL;
    srv_realtime_drain(rt);     /* what the engine did before comes before */
    json_t *event = binary ? NULL : srv_json_load(text, n, JSON_DECODE_ANY, why);
    bool ok;
    if (binary) ok = srv_trouble_set(&t, "invalid_event", NULL, "Binary frames carry no events here; send JSON as text.");
    else if (!event) ok = srv_trouble_set(&t, "invalid_json", NULL, "The event could not be read as JSON: %s.", why);
    else if (!json_is_object(event)) ok = srv_trouble_set(&t, "invalid_event", NULL, "An event is a JSON object, not %s.", srv_json_kind(event));
    else ok = dispatch(rt, event, &t);
    if (!ok) srv_emit_trouble(rt, &t);
    rt->event_id = NULL;
    json_decref(event);
    srv_realtime_drain(rt);
}

/* ---- the engine's events -------------------------------------------------------------------------------- */

static void create_waiting(srv_realtime *rt)
{
    while (!rt->response && json_array_size(rt->waiting)) {
        srv_trouble t = {.code = NULL};
        json_t *event = json_incref(json_array_get(rt->waiting, 0));
        json_array_remove(rt->waiting, 0);
        const bool cancelled = json_array_size(rt->waiting) > 0 || rt->waiting_cancelled;
        if (json_array_size(rt->waiting) == 0) rt->waiting_cancelled = false;
        rt->event_id = json_object_get(event, "event_id");
        if (!json_is_string(rt->event_id)) rt->event_id = NULL;
        if (!srv_on_response_create(rt, event, &t)) srv_emit_trouble(rt, &t);
        else if (cancelled && rt->response) srv_response_cancel(rt->response);
        rt->event_id = NULL;
        json_decref(event);
    }
}

/* Is it of a turn that nobody waits for? A commit by hand can cross the end of the speech that the engine hears: then it has
 * answered the question when the command comes, and would answer the silence behind it too. */
static bool is_skipped(srv_realtime *rt, const omni_event *event)
{
    if (event->type == OMNI_EVENT_BEGIN && event->sample_offset > 0) {      /* by ear */
        rt->answered_twice |= rt->response && rt->response->by_hand && !rt->response->begun;
    } else if (event->type == OMNI_EVENT_BEGIN) {
        rt->skipping = rt->answered_twice;
        rt->answered_twice = false;
    }
    const bool skipped = rt->skipping;
    if (skipped && event->type >= OMNI_EVENT_END) {
        rt->skipping = false;
        srv_seat_forget(rt->seat, event->turn);
    }
    return skipped;
}

/* The response whose turn the engine begins, if nobody has created one: a question that it heard by itself. That may cross
 * another's creation, which then waits for the end of this. NULL: out of memory. */
static srv_response *begin(srv_realtime *rt, const omni_event *event)
{
    srv_response *before = rt->response;
    const bool by_ear = event->sample_offset > 0;
    if (before && (!by_ear || before->begun || before->by_hand)) return before;
    srv_response *r = srv_response_new(rt, rt->settings, NULL, false);
    if (!r) return before;
    r->spoken = r->by_ear = true;
    rt->aside = before;
    return r;
}

/* One of the engine's failures to ask; none: false. */
static bool take_failure(srv_realtime *rt, srv_seat *seat)
{
    srv_response *const all[] = {rt->response, rt->aside, rt->side};
    srv_failure failure;
    if (!srv_seat_failure(seat, &failure)) return false;
    if (failure.tag == 0 && seat != rt->seat) {     /* its own slot could not be set up */
        srv_response_fail(rt, rt->side, srv_failure_code(failure.status), failure.text);
        return true;
    }
    if (failure.tag == 0) {
        srv_trouble t;
        srv_trouble_set(&t, "invalid_value", "session", "The settings could not be taken: %s", failure.text);
        srv_emit_trouble(rt, &t);
    }
    for (size_t i = 0; i < 3; i++) {
        if (!all[i] || all[i]->seat != seat || all[i]->tag != failure.tag) continue;
        srv_response_fail(rt, all[i], srv_failure_code(failure.status), failure.text);
        break;
    }
    return true;
}

static bool drain_seat(srv_realtime *rt, srv_seat *seat, bool side)
{
    omni_event event;
    bool any = false;
    while (srv_socket_waiting(rt->socket) < SRV_SEND_PAUSE_BYTES && srv_seat_event(seat, &event)) {
        any = true;
        if (event.type == OMNI_EVENT_SPEECH_STARTED) {
            srv_speech_started(rt, &event);
        } else if (event.type == OMNI_EVENT_SPEECH_STOPPED) {
            srv_speech_stopped(rt, &event);
        } else if (side || !is_skipped(rt, &event)) {
            srv_response *r = side ? rt->side : event.type == OMNI_EVENT_BEGIN ? begin(rt, &event) : rt->response;
            if (r) srv_response_event(rt, r, &event);
            if (side && !rt->side) break;       /* it has ended, its seat is gone */
            if (!side) create_waiting(rt);
        }
    }
    while ((!side || rt->side) && take_failure(rt, seat)) any = true;
    return any;
}

void srv_realtime_drain(srv_realtime *rt)
{
    if (!rt || !rt->seat || srv_socket_closing(rt->socket)) return;
    bool any = drain_seat(rt, rt->seat, false);
    if (rt->side) any |= drain_seat(rt, rt->side->seat, true);
    create_waiting(rt);
    if (any) srv_worker_kick(rt->server->worker);
}

bool srv_realtime_full(const srv_realtime *rt)
{
    size_t samples, bytes = 0;
    if (rt && rt->seat) srv_seat_waiting(rt->seat, &samples, &bytes);
    return bytes > SRV_ENGINE_BYTES;
}

static void close_all(srv_realtime *rt, const char *why)
{
    if (rt->response) srv_response_fail(rt, rt->response, "server_error", why);
    if (rt->response) srv_response_fail(rt, rt->response, "server_error", why);      /* the one that waited for it */
    if (rt->side) srv_response_fail(rt, rt->side, "server_error", why);
}

void srv_realtime_tick(srv_realtime *rt, double now)
{
    if (!rt->seat || srv_socket_closing(rt->socket)) return;
    srv_realtime_drain(rt);     /* a slow receiver may have taken something */
    if (now - rt->opened < rt->server->options->session_seconds) return;
    srv_trouble t;
    srv_trouble_set(&t, "session_expired", NULL, "Your session hit the maximum duration of %d seconds.", rt->server->options->session_seconds);
    close_all(rt, "the session has expired");
    srv_emit_trouble(rt, &t);
    srv_socket_close(rt->socket, 1001, "the session hit its maximum duration");
}

void srv_realtime_goodbye(srv_realtime *rt)
{
    if (rt) close_all(rt, "the server is shutting down");
}
