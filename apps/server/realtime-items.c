/* realtime-items: create, retrieve, truncate, delete. */
#include "realtime-state.h"

#include <stdio.h>
#include <string.h>

bool srv_on_item_create(srv_realtime *rt, const json_t *event, srv_trouble *t)
{
    const json_t *given = srv_member(event, "", "item", JSON_OBJECT, t), *after = json_object_get(event, "previous_item_id");
    if (!given) return false;
    size_t at = rt->talk.n;
    const char *previous = json_string_value(after);
    if (after && !previous && !json_is_null(after))
        return srv_trouble_set(t, "invalid_type", "previous_item_id", "Invalid type for 'previous_item_id': expected a string.");
    if (previous && strcmp(previous, "root") == 0) at = 0;
    else if (previous) {
        const long found = srv_item_find(&rt->talk, previous);
        if (found < 0) return srv_trouble_set(t, "item_not_found", "previous_item_id", "There is no item with id '%.100s'.", previous);
        at = (size_t)found + 1;
    }
    srv_item *item = srv_item_read(given, "item", srv_settings_format(rt->settings, "audio.input.format"), t);
    if (!item) return false;
    if (srv_item_find(&rt->talk, srv_item_id(item)) >= 0) {
        srv_trouble_set(t, "invalid_value", "item.id", "There is an item with id '%.100s' already.", srv_item_id(item));
        srv_item_free(item);
        return false;
    }
    srv_item_find_call(item, rt->talk.items, rt->talk.n);
    if (!rt->server->info->tools_prompt) srv_item_hush(item);
    if (!srv_item_insert(&rt->talk, item, at))
        return srv_trouble_set(t, "invalid_value", "item", "The conversation has no room for more than %d items, or %d bytes of them.", SRV_ITEMS, SRV_ITEMS_BYTES);
    srv_emit_item(rt, at, true);
    rt->untold |= !item->question;
    srv_history_tell(rt);
    return true;
}

/* The item of event.item_id; -1 after filling *t with code. */
static long find(srv_realtime *rt, const json_t *event, const char *code, srv_trouble *t)
{
    const json_t *id = srv_member(event, "", "item_id", JSON_STRING, t);
    const long at = id ? srv_item_find(&rt->talk, json_string_value(id)) : -1;
    if (id && at < 0) srv_trouble_set(t, code, "item_id", "There is no item with id '%.100s'.", json_string_value(id));
    return at;
}

bool srv_on_item_retrieve(srv_realtime *rt, const json_t *event, srv_trouble *t)
{
    const long at = find(rt, event, "item_retrieve_invalid_item_id", t);
    if (at < 0) return false;
    srv_emit(rt, SRV_EV_ITEM_RETRIEVED, json_pack("{s:o}", "item", srv_item_show(rt->talk.items[at], rt->beta, true)));
    return true;
}

bool srv_on_item_delete(srv_realtime *rt, const json_t *event, srv_trouble *t)
{
    const long at = find(rt, event, "item_delete_invalid_item_id", t);
    if (at < 0) return false;
    const srv_response *r = rt->response;
    const char *id = srv_item_id(rt->talk.items[at]);
    if (r && r->opened && strcmp(r->item_id, id) == 0)
        return srv_trouble_set(t, "invalid_value", "item_id", "The item is being answered into; cancel the response first.");
    srv_emit(rt, SRV_EV_ITEM_DELETED, json_pack("{s:s}", "item_id", id));
    srv_history_forget(rt, srv_item_remove(&rt->talk, (size_t)at));
    return true;
}

/* Is it the last answer, the one that the engine can cut? */
static bool is_last_answer(const srv_realtime *rt, long at)
{
    for (size_t i = (size_t)at + 1; i < rt->talk.n; i++)
        if (!rt->talk.items[i]->question && rt->talk.items[i]->spoken) return false;
    return true;
}

bool srv_on_item_truncate(srv_realtime *rt, const json_t *event, srv_trouble *t)
{
    const long at = find(rt, event, "item_truncate_invalid_item_id", t);
    const json_t *index = at < 0 ? NULL : srv_member(event, "", "content_index", JSON_INTEGER, t);
    const json_t *end = index ? json_object_get(event, "audio_end_ms") : NULL;
    if (!index) return false;
    if (!end) return srv_member(event, "", "audio_end_ms", JSON_INTEGER, t) != NULL;
    if (!srv_number_ok(end, "audio_end_ms", true, 0, 1e9, t)) return false;
    srv_item *item = rt->talk.items[at];
    const srv_response *r = rt->response;
    const bool running = r && r->opened && strcmp(r->item_id, srv_item_id(item)) == 0;  /* its content is not there yet */
    if (item->question || !(running ? r->speech : item->spoken))
        return srv_trouble_set(t, "unsupported_content_type", "item_id", "Only model output audio messages can be truncated.");
    json_t *part = json_array_get(json_object_get(item->json, "content"), (size_t)json_integer_value(index));
    if (json_integer_value(index) < 0 || (running ? json_integer_value(index) > 0 : !part))
        return srv_trouble_set(t, "invalid_value", "content_index", "The item has no content at index %lld.", (long long)json_integer_value(index));
    const double ms = (double)json_integer_value(end), all = srv_format_ms(running ? r->format : item->format, running ? r->n_sent : item->n_audio);
    if (ms > all + SRV_OVERSHOOT_MS)
        return srv_trouble_set(t, "invalid_value", "audio_end_ms", "Audio content of %.0fms is already shorter than %.0fms.", all, ms);
    if (running) {      /* nothing of what comes now was heard */
        rt->trim_ms = ms;
    } else {
        srv_item_cut_audio(&rt->talk, item, srv_format_at(item->format, ms));
        if (ms < all && is_last_answer(rt, at))
            srv_seat_trim(rt->seat, (uint64_t)(ms * rt->server->info->sample_rate_out / 1000.0));
        json_object_set_new(part, "transcript", json_string(""));
    }
    srv_emit(rt, SRV_EV_ITEM_TRUNCATED, json_pack("{s:s, s:O, s:O}", "item_id", srv_item_id(item), "content_index", index, "audio_end_ms", end));
    return true;
}
