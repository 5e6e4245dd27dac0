/* realtime-calls: a call of a tool as the events of a response. They come all at once: only its end shows that it is one. */
#include "realtime-state.h"

#include <string.h>

/* {response_id, item_id, output_index, call_id} and one more. */
static json_t *with_call(const srv_response *r, int index, const srv_item *item, const char *name, const char *text)
{
    return json_pack("{s:s, s:s, s:i, s:O, s:s}", "response_id", r->id, "item_id", srv_item_id(item), "output_index", index, "call_id",
                     json_object_get(item->json, "call_id"), name, text);
}

static void emit_arguments(srv_realtime *rt, const srv_response *r, int index, const srv_item *item, const char *name, const char *text)
{
    if (*text) srv_emit(rt, SRV_EV_ARGUMENTS_DELTA, with_call(r, index, item, "delta", text));
    json_t *done = with_call(r, index, item, "arguments", text);
    if (!rt->beta) json_object_set_new(done, "name", json_string(name));
    srv_emit(rt, SRV_EV_ARGUMENTS_DONE, done);
}

/* One call; returns what response.output shows, NULL: no memory. */
static json_t *send_call(srv_realtime *rt, const srv_response *r, int index, const json_t *call, const char *status)
{
    char id[40], call_id[40];
    const char *name = json_string_value(json_object_get(call, "name")), *arguments = json_string_value(json_object_get(call, "arguments"));
    srv_new_id("item", id);
    srv_new_id("call", call_id);
    srv_item *item = srv_item_call(id, call_id, name, "", "in_progress"), *made = item;
    if (!item) return NULL;
    item->asked = true;
    item->turn = r->begun ? (long long)r->turn : -1;
    srv_emit_output(rt, r, SRV_EV_OUTPUT_ITEM_ADDED, index, item);
    const bool kept = !r->side && srv_item_insert(&rt->talk, item, rt->talk.n);
    if (kept) srv_emit_item(rt, rt->talk.n - 1, false), made = NULL;
    else if (!r->side) item = made = srv_item_call(id, call_id, name, "", "in_progress");      /* no room: that freed it */
    if (!item) return NULL;
    emit_arguments(rt, r, index, item, name, arguments);
    json_object_set_new(item->json, "arguments", json_string(arguments));
    json_object_set_new(item->json, "status", json_string(status));
    if (kept)
        srv_emit(rt, SRV_EV_ITEM_DONE, json_pack("{s:o, s:o}", "previous_item_id", srv_previous_id(rt, rt->talk.n - 1), "item",
                                                 srv_item_show(item, rt->beta, false)));
    srv_emit_output(rt, r, SRV_EV_OUTPUT_ITEM_DONE, index, item);
    json_t *shown = srv_item_show(item, rt->beta, false);
    srv_item_free(made);
    return shown;
}

json_t *srv_calls_send(srv_realtime *rt, const srv_response *r, bool done)
{
    const char *text = (const char *)r->held.at;
    json_t *calls = done ? srv_calls_read(r->tools, text, r->held.n) : srv_calls_read_cut(r->tools, text, r->held.n);
    json_t *output = calls ? json_array() : NULL, *call;
    const size_t most = srv_settings_one_call(r->settings) ? 1 : json_array_size(calls);
    size_t i;
    json_array_foreach(calls, i, call)
        if (i < most) json_array_append_new(output, send_call(rt, r, (int)i, call, done ? "completed" : "incomplete"));
    json_decref(calls);
    return output;
}
