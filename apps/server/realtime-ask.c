/* realtime-ask: response.create and response.cancel: which question is put to the engine. */
#include "past.h"
#include "realtime-state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What response.create means: borrowed items and what was made for it. */
typedef struct question {
    const srv_item *audio;          /* NULL: text */
    srv_past past;                  /* what was before; its question is the typed one */
    srv_item **made;                /* items of response.input */
    size_t n_made;
    size_t n_bytes;                 /* of all items of response.input */
    bool called;                    /* the last item was a call of a tool */
} question;

static void free_question(question *q)
{
    for (size_t i = 0; i < q->n_made; i++) srv_item_free(q->made[i]);
    free(q->made);
    srv_past_free(&q->past);
}

static bool has_words(const question *q)
{
    return q->past.question && q->past.question[strspn(q->past.question, " \t\r\n")];
}

/* The model hears one thing at a time: of several questions in a row the last spoken one, else all typed ones together. */
static void add_item(question *q, const srv_item *item)
{
    if (!item->question && !item->answer) return;
    const bool call = srv_item_is_call(item);
    char *words = srv_item_text(item);
    if (item->answer) q->audio = NULL;
    else if (item->spoken && item->n_audio) q->audio = item;
    if (words && !item->answer) srv_past_ask(&q->past, words);
    else if (words && *words && call && q->called) srv_past_answer_more(&q->past, words);
    else if (words && *words) srv_past_answer(&q->past, words);
    q->called = call;
    free(words);
}

/* A short reference may stand for a long item, many times. */
static bool add_input(question *q, const srv_item *item, srv_trouble *t)
{
    q->n_bytes += item->n_json;
    if (q->n_bytes > SRV_ITEMS_BYTES)
        return srv_trouble_set(t, "string_above_max_length", "response.input", "Invalid 'response.input': at most %d bytes in all its items.", SRV_ITEMS_BYTES);
    add_item(q, item);
    return true;
}

static bool read_input(srv_realtime *rt, const json_t *input, question *q, srv_trouble *t)
{
    size_t i;
    const json_t *given;
    char path[60];
    if (!json_is_array(input)) return srv_trouble_set(t, "invalid_type", "response.input", "Invalid type for 'response.input': expected an array.");
    if (json_array_size(input) > SRV_ITEMS)
        return srv_trouble_set(t, "array_above_max_length", "response.input", "Invalid 'response.input': at most %d items.", SRV_ITEMS);
    q->made = calloc(json_array_size(input) + 1, sizeof *q->made);
    json_array_foreach(input, i, given) {
        snprintf(path, sizeof path, "response.input[%zu]", i);
        const char *type = json_string_value(json_object_get(given, "type")), *id = json_string_value(json_object_get(given, "id"));
        if (type && strcmp(type, "item_reference") == 0) {
            const long at = id ? srv_item_find(&rt->talk, id) : -1;
            if (at < 0) return srv_trouble_set(t, "item_not_found", path, "response.create: there is no item with id '%.100s'.", id ? id : "");
            if (!add_input(q, rt->talk.items[at], t)) return false;
            continue;
        }
        srv_item *item = q->made ? srv_item_read(given, path, srv_settings_format(rt->settings, "audio.input.format"), t) : NULL;
        if (!item) return false;
        srv_item_find_call(item, q->made, q->n_made);
        srv_item_find_call(item, rt->talk.items, rt->talk.n);
        if (!rt->server->info->tools_prompt) srv_item_hush(item);
        q->made[q->n_made++] = item;
        if (!add_input(q, item, t)) return false;
    }
    return true;
}

/* What was said since the last answer; else the last question once more. side: with what was before, which another slot
 * does not know. */
static void read_conversation(srv_realtime *rt, question *q, bool side)
{
    size_t first = rt->talk.n, last = rt->talk.n;
    for (size_t i = rt->talk.n; i > 0; i--) {
        const srv_item *item = rt->talk.items[i - 1];
        if (!item->question) continue;
        if (last == rt->talk.n) last = i - 1;
        if (!item->asked) first = i - 1;
    }
    const bool again = first == rt->talk.n;
    if (again) first = last;
    for (size_t i = side ? 0 : first; i < rt->talk.n; i++) {
        const srv_item *item = rt->talk.items[i];
        if (i >= first && !item->question) continue;
        if (i < first || !item->asked || (again && i == last)) add_item(q, item);
    }
}

enum { NAME_BYTES = 4 * 64, VALUE_BYTES = 4 * 512 };    /* 64 and 512 characters */

static bool check_metadata(const json_t *metadata, srv_trouble *t)
{
    const char *name;
    json_t *value;
    if (!metadata || json_is_null(metadata)) return true;
    if (!json_is_object(metadata)) return srv_trouble_set(t, "invalid_type", "response.metadata", "response.create: 'response.metadata' is an object.");
    if (json_object_size(metadata) > 16)
        return srv_trouble_set(t, "object_above_max_properties", "response.metadata", "response.create: 'response.metadata' has at most 16 members.");
    json_object_foreach((json_t *)(uintptr_t)metadata, name, value)
        if (!json_is_string(value)) return srv_trouble_set(t, "invalid_type", "response.metadata", "response.create: the members of 'response.metadata' are strings.");
        else if (strlen(name) > NAME_BYTES || json_string_length(value) > VALUE_BYTES)
            return srv_trouble_set(t, "string_above_max_length", "response.metadata", "response.create: names in 'response.metadata' have at most %d bytes, values %d.", NAME_BYTES, VALUE_BYTES);
    return true;
}

static bool check_create(srv_realtime *rt, const json_t *given, bool *side, srv_trouble *t)
{
    const json_t *where = json_object_get(given, "conversation");
    const char *word = json_is_string(where) ? json_string_value(where) : where && !json_is_null(where) ? "?" : "auto";
    *side = strcmp(word, "none") == 0;
    if (!*side && strcmp(word, "auto") != 0)
        return srv_trouble_set(t, "invalid_value", "response.conversation", "response.create: Supported values of 'response.conversation' are: 'auto' and 'none'.");
    if (rt->transcription) return srv_trouble_set(t, "invalid_value", "type", "response.create: a transcription session gives no responses.");
    const srv_response *busy = *side ? rt->side : rt->response;
    if (busy)
        return srv_trouble_set(t, "conversation_already_has_active_response", NULL,
                               "response.create: Conversation already has an active response in progress: %s. Wait until the response is finished before creating a new one.", busy->id);
    return check_metadata(json_object_get(given, "metadata"), t);
}

/* Gives the question to the engine; the response was created. */
static void ask(srv_realtime *rt, srv_response *r, const question *q)
{
    if (r->side) {
        omni_session_params p = srv_params_read(rt->server, r->settings);
        r->seat = srv_seat_take(rt->server->worker, &p);
        srv_tools_forget(&p);
        if (!r->seat) {
            srv_response_fail(rt, r, "no_slot_free", "All slots of the server are taken; a response outside the conversation needs one of its own. Try again later.");
            return;
        }
    } else {
        srv_params_apply(rt, r->settings);
    }
    const char *words = has_words(q) ? q->past.question : json_string_value(json_object_get(r->settings, "instructions"));
    const bool any = q->audio || (words && *words);
    bool ok = any && (!r->side || srv_past_tell(&q->past, r->seat));
    r->spoken = q->audio != NULL;
    if (q->audio) ok = ok && srv_ask_audio(rt, r->seat, q->audio, r->tag);
    else ok = ok && srv_seat_text(r->seat, words, r->tag);
    if (!r->side) srv_params_apply(rt, rt->settings);      /* behind it: what comes next is not of this response */
    if (!any) srv_response_fail(rt, r, "empty_input", "There is nothing to answer: no question in the conversation, no instructions.");
    else if (!ok) srv_response_fail(rt, r, "server_error", "The question could not be given to the engine: no memory, or too much is on its way.");
}

/* Of all that was not asked yet; a response with its own input asks nothing of the conversation. */
static void mark_asked(srv_realtime *rt, const srv_response *r)
{
    for (size_t i = 0; i < rt->talk.n; i++) {
        srv_item *item = rt->talk.items[i];
        if (!item->asked) item->asked_by = r->tag;
        item->asked = true;
    }
}

/* While one is being cancelled the next waits for its end, instead of being refused; that one may be cancelled in turn. */
static bool may_wait(const srv_realtime *rt, const json_t *given)
{
    enum { MOST = 16 };
    const char *where = json_string_value(json_object_get(given, "conversation"));
    const size_t n = json_array_size(rt->waiting);
    if (!rt->response || !rt->response->cancelled || (where && strcmp(where, "none") == 0)) return false;
    return n == 0 || (rt->waiting_cancelled && n < MOST);
}

bool srv_on_response_create(srv_realtime *rt, const json_t *event, srv_trouble *t)
{
    json_t *empty = json_object();
    const json_t *given = json_object_get(event, "response");
    bool side = false, ok = false;
    question q = {.audio = NULL};
    if (may_wait(rt, given)) {
        rt->waiting_cancelled = false;
        json_array_append(rt->waiting, (json_t *)(uintptr_t)event);
        json_decref(empty);
        return true;
    }
    if (!given || json_is_null(given)) given = empty;
    json_t *settings = NULL;
    if (!json_is_object(given)) srv_trouble_set(t, "invalid_type", "response", "response.create: Invalid type for 'response': expected an object, but got %s instead.", srv_json_kind(given));
    else if (check_create(rt, given, &side, t))
        settings = srv_settings_change(rt->settings, given, rt->beta, "response", t);
    const json_t *input = settings ? json_object_get(given, "input") : NULL;
    if (json_is_null(input)) input = NULL;      /* as if it were not there */
    ok = settings && (!input || read_input(rt, input, &q, t));
    if (!ok && !strstr(t->message, "response.create")) {
        const srv_trouble was = *t;
        srv_trouble_set(t, was.code, was.param, "response.create: %s", was.message);
    }
    if (ok) {
        if (!input) read_conversation(rt, &q, side);
        srv_response *r = srv_response_new(rt, settings, json_object_get(given, "metadata"), side);
        if (r && !side && !input) mark_asked(rt, r);
        if (r) ask(rt, r, &q);
    }
    free_question(&q);
    json_decref(settings);
    json_decref(empty);
    return ok;
}

bool srv_on_response_cancel(srv_realtime *rt, const json_t *event, srv_trouble *t)
{
    const char *id = json_string_value(json_object_get(event, "response_id"));
    srv_response *r = rt->response;
    if (id && rt->side && strcmp(id, rt->side->id) == 0) r = rt->side;
    if (id && rt->aside && strcmp(id, rt->aside->id) == 0) r = rt->aside;
    /* The one that waits to begin has no id yet. */
    const bool waits = !id && r && r->cancelled && json_array_size(rt->waiting) && !rt->waiting_cancelled;
    if (!r || (id && strcmp(id, r->id) != 0) || (r->cancelled && !waits))
        return srv_trouble_set(t, "response_cancel_not_active", NULL, "Cancellation failed: no active response found");
    if (waits) rt->waiting_cancelled = true;
    else srv_response_cancel(r);
    return true;
}
