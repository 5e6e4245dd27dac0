/* conversation: see conversation.h. */
#include "conversation.h"

#include "base64.h"
#include "limits.h"
#include "state.h"
#include "tools.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PART_BYTES = 256 };     /* what a part of an item counts besides its JSON */

/* ---- the list ------------------------------------------------------------------------------ */

const char *srv_item_id(const srv_item *item)
{
    return json_string_value(json_object_get(item->json, "id"));
}

void srv_item_free(srv_item *item)
{
    if (!item) return;
    json_decref(item->json);
    free(item->audio);
    json_decref(item->tool);
    free(item);
}

void srv_conversation_free(srv_conversation *c)
{
    for (size_t i = 0; i < c->n; i++) srv_item_free(c->items[i]);
    free(c->items);
    *c = (srv_conversation){.n = 0};
}

long srv_item_find(const srv_conversation *c, const char *id)
{
    for (size_t i = c->n; i > 0; i--)
        if (strcmp(srv_item_id(c->items[i - 1]), id) == 0) return (long)i - 1;
    return -1;
}

/* Audio above the limit goes, the oldest first: what was asked, then questions that nobody asked; newest stays. */
static void forget_audio(srv_conversation *c, const srv_item *newest)
{
    for (int unasked = 0; unasked < 2; unasked++) {
        for (size_t i = 0; i < c->n && c->n_bytes > SRV_KEPT_AUDIO_BYTES; i++) {
            srv_item *old = c->items[i];
            if (old == newest || !old->audio || (!unasked && old->question && !old->asked)) continue;
            c->n_bytes -= old->n_audio;
            free(old->audio);
            old->audio = NULL;
            old->n_audio = 0;
        }
    }
}

static bool has_room(const srv_conversation *c, const srv_item *item)
{
    return c->n < SRV_ITEMS && c->n_json + item->n_json <= SRV_ITEMS_BYTES;
}

bool srv_item_insert(srv_conversation *c, srv_item *item, size_t at)
{
    if (item && has_room(c, item) && c->n == c->cap) {
        const size_t cap = c->cap ? 2 * c->cap : 16;
        srv_item **bigger = realloc(c->items, cap * sizeof *bigger);
        if (bigger) c->items = bigger, c->cap = cap;
    }
    if (!item || !has_room(c, item) || c->n == c->cap) {
        srv_item_free(item);
        return false;
    }
    memmove(c->items + at + 1, c->items + at, (c->n - at) * sizeof *c->items);
    c->items[at] = item;
    c->n++;
    c->n_bytes += item->n_audio;
    c->n_json += item->n_json;
    forget_audio(c, item);
    return true;
}

srv_item *srv_item_remove(srv_conversation *c, size_t at)
{
    srv_item *item = c->items[at];
    c->n_bytes -= item->n_audio;
    c->n_json -= item->n_json;
    c->n--;
    memmove(c->items + at, c->items + at + 1, (c->n - at) * sizeof *c->items);
    return item;
}

void srv_item_keep_audio(srv_conversation *c, srv_item *item, uint8_t *audio, size_t n, srv_format format)
{
    c->n_bytes += n;
    item->audio = audio;
    item->n_audio = n;
    item->format = format;
    item->spoken = true;
    forget_audio(c, item);
}

void srv_item_cut_audio(srv_conversation *c, srv_item *item, size_t n)
{
    if (n >= item->n_audio) return;
    c->n_bytes -= item->n_audio - n;
    item->n_audio = n;
}

/* ---- reading a client's ---------------------------------------------------------------------- */

srv_item *srv_item_message(const char *id, const char *role, const char *status, json_t *content)
{
    srv_item *item = calloc(1, sizeof *item);
    json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "id", id, "object", "realtime.item", "type", "message",
                             "status", status, "role", role, "content", content);
    if (!item || !json) {
        free(item);
        json_decref(json);
        return NULL;
    }
    item->json = json;
    item->turn = -1;
    item->question = strcmp(role, "user") == 0;
    item->answer = strcmp(role, "assistant") == 0;
    return item;
}

/* json is stolen. */
static srv_item *new_item(json_t *json)
{
    srv_item *item = json ? calloc(1, sizeof *item) : NULL;
    if (item) item->json = json, item->turn = -1;
    else json_decref(json);
    return item;
}

srv_item *srv_item_call(const char *id, const char *call_id, const char *name, const char *arguments, const char *status)
{
    srv_item *item = new_item(json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "id", id, "object", "realtime.item", "type", "function_call",
                                        "status", status, "call_id", call_id, "name", name, "arguments", arguments));
    if (item) item->answer = true;
    return item;
}

static const char *string_of(const srv_item *item, const char *name)
{
    const char *text = json_string_value(json_object_get(item->json, name));
    return text ? text : "";
}

bool srv_item_is_call(const srv_item *item)
{
    return strcmp(string_of(item, "type"), "function_call") == 0;
}

static bool is_output(const srv_item *item)
{
    return strcmp(string_of(item, "type"), "function_call_output") == 0;
}

void srv_item_find_call(srv_item *item, srv_item *const *items, size_t n)
{
    if (!is_output(item)) return;
    for (; n > 0 && !item->tool; n--) {
        json_t *name = json_object_get(items[n - 1]->json, "name");
        if (srv_item_is_call(items[n - 1]) && strcmp(string_of(items[n - 1], "call_id"), string_of(item, "call_id")) == 0 &&
            json_string_length(name) <= SRV_TOOL_NAME_BYTES)
            item->tool = json_incref(name);
    }
}

void srv_item_hush(srv_item *item)
{
    if (is_output(item) || srv_item_is_call(item)) item->question = item->answer = false;
}

/* The part's type in GA, by the role; NULL: not allowed. */
static const char *part_type(const char *role, const char *type)
{
    const bool assistant = strcmp(role, "assistant") == 0, user = strcmp(role, "user") == 0;
    if (!type) return NULL;
    if (assistant && (strcmp(type, "text") == 0 || strcmp(type, "output_text") == 0)) return "output_text";
    if (assistant && (strcmp(type, "audio") == 0 || strcmp(type, "output_audio") == 0)) return "output_audio";
    if (!assistant && strcmp(type, "input_text") == 0) return type;
    return user && strcmp(type, "input_audio") == 0 ? type : NULL;
}

static bool add_audio(srv_item *item, const json_t *part, const char *path, srv_format format, srv_trouble *t)
{
    const json_t *data = srv_member(part, path, "audio", JSON_STRING, t);
    if (!data) return false;
    const size_t n = json_string_length(data);
    uint8_t *bytes = realloc(item->audio, item->n_audio + srv_base64_room(n));
    size_t got = 0;
    if (!bytes) return srv_trouble_set(t, NULL, NULL, "out of memory");
    item->audio = bytes;
    if (!srv_base64_decode(json_string_value(data), n, bytes + item->n_audio, &got))
        return srv_trouble_set(t, "invalid_value", path, "Invalid '%s.audio': expected base64 of mono audio in the session's format.", path);
    item->n_audio += got - got % srv_format_bytes(format);
    item->format = format;
    item->spoken = true;
    return true;
}

static bool read_part(srv_item *item, const char *role, const json_t *part, const char *path, srv_format format,
                      json_t *content, srv_trouble *t)
{
    char inner[200];
    const json_t *type = json_is_object(part) ? srv_member(part, path, "type", JSON_STRING, t) : NULL;
    if (!json_is_object(part))
        return srv_trouble_set(t, "invalid_type", path, "Invalid type for '%s': expected an object.", path);
    if (!type) return false;
    const char *kind = part_type(role, json_string_value(type));
    snprintf(inner, sizeof inner, "%.150s.type", path);
    if (!kind)
        return srv_trouble_set(t, "invalid_value", inner, "Invalid value: '%.40s'. A message of role '%s' has no such part.",
                               json_string_value(type), role);
    if (strcmp(kind, "input_text") == 0 || strcmp(kind, "output_text") == 0) {
        const json_t *text = srv_member(part, path, "text", JSON_STRING, t);
        if (!text) return false;
        if (json_string_length(text) > SRV_TEXT_BYTES)
            return srv_trouble_set(t, "string_above_max_length", path, "Invalid '%s.text': at most %d bytes.", path, SRV_TEXT_BYTES);
        return json_array_append_new(content, json_pack("{s:s, s:O}", "type", kind, "text", text)) == 0;
    }
    const json_t *transcript = json_object_get(part, "transcript");
    json_t *kept = json_pack("{s:s, s:o}", "type", kind, "transcript",
                             json_is_string(transcript) ? json_copy((json_t *)(uintptr_t)transcript)
                             : item->question           ? json_null()
                                                        : json_string(""));
    json_array_append_new(content, kept);
    return strcmp(kind, "output_audio") == 0 || add_audio(item, part, path, format, t);
}

static srv_item *read_message(const json_t *given, const char *id, const char *path, srv_format format, srv_trouble *t)
{
    char inner[200];
    const json_t *role = srv_member(given, path, "role", JSON_STRING, t);
    const json_t *parts = role ? srv_member(given, path, "content", JSON_ARRAY, t) : NULL, *part;
    if (!parts) return NULL;
    const char *who = json_string_value(role);
    if (strcmp(who, "user") != 0 && strcmp(who, "assistant") != 0 && strcmp(who, "system") != 0) {
        snprintf(inner, sizeof inner, "%.150s.role", path);
        srv_trouble_set(t, "invalid_value", inner, "Invalid value: '%.40s'. Supported values are: 'user', 'assistant', and 'system'.", who);
        return NULL;
    }
    json_t *content = json_array();
    srv_item *item = srv_item_message(id, who, "completed", json_incref(content));
    size_t i;
    bool ok = item != NULL;
    json_array_foreach(parts, i, part) {
        snprintf(inner, sizeof inner, "%.150s.content[%zu]", path, i);
        ok = ok && read_part(item, who, part, inner, format, content, t);
    }
    json_decref(content);
    if (ok) return item;
    srv_item_free(item);
    return NULL;
}

static srv_item *read_call(const json_t *given, const char *kind, const char *id, const char *path, srv_trouble *t)
{
    static const char *const members[2][3] = {{"call_id", "output", NULL}, {"call_id", "name", "arguments"}};
    const bool call = strcmp(kind, "function_call") == 0;
    json_t *json = json_pack("{s:s, s:s, s:s, s:s}", "id", id, "object", "realtime.item", "type", kind, "status", "completed");
    for (int i = 0; json && i < 3 && members[call][i]; i++) {
        json_t *v = srv_member(given, path, members[call][i], JSON_STRING, t);
        if (v) json_object_set(json, members[call][i], v);
        else json_decref(json), json = NULL;
    }
    srv_item *item = new_item(json);
    if (item && call) item->answer = true;
    else if (item) item->question = true;
    return item;
}

/* Items are shown whole, in events below 1 MiB; a part takes more memory than its JSON has bytes. */
static srv_item *measured(srv_item *item, const char *path, srv_trouble *t)
{
    if (!item) return NULL;
    item->n_json = json_dumpb(item->json, NULL, 0, JSON_COMPACT) + PART_BYTES * json_array_size(json_object_get(item->json, "content"));
    if (item->n_json <= SRV_ITEM_BYTES) return item;
    srv_item_free(item);
    srv_trouble_set(t, "string_above_max_length", path, "Invalid '%s': at most %d bytes of JSON, audio not counted, each part %d more.", path, SRV_ITEM_BYTES, PART_BYTES);
    return NULL;
}

srv_item *srv_item_read(const json_t *given, const char *path, srv_format format, srv_trouble *t)
{
    char made[40], inner[200];
    const json_t *type = srv_member(given, path, "type", JSON_STRING, t), *id = json_object_get(given, "id");
    if (!type) return NULL;
    const char *kind = json_string_value(type);
    snprintf(inner, sizeof inner, "%.150s.id", path);
    if (id && !json_is_null(id) && (!json_is_string(id) || json_string_length(id) == 0 || json_string_length(id) > SRV_EVENT_ID_BYTES)) {
        srv_trouble_set(t, "invalid_value", inner, "Invalid '%s': expected a string of 1 to %d bytes.", inner, SRV_EVENT_ID_BYTES);
        return NULL;
    }
    srv_new_id("item", made);
    const char *name = json_is_string(id) ? json_string_value(id) : made;
    if (strcmp(kind, "message") == 0) return measured(read_message(given, name, path, format, t), path, t);
    if (strcmp(kind, "function_call") != 0 && strcmp(kind, "function_call_output") != 0) {
        snprintf(inner, sizeof inner, "%.150s.type", path);
        srv_trouble_set(t, "invalid_value", inner,
                        "Invalid value: '%.40s'. Supported values are: 'message', 'function_call', and 'function_call_output'.", kind);
        return NULL;
    }
    return measured(read_call(given, kind, name, path, t), path, t);
}

/* ---- showing ------------------------------------------------------------------------------------ */

static void show_audio(const srv_item *item, json_t *part)
{
    if (!item->audio || item->n_audio > SRV_RETRIEVE_BYTES) return;
    char *text = malloc(srv_base64_letters(item->n_audio) + 1);
    if (!text) return;
    srv_base64_encode(item->audio, item->n_audio, text);
    json_object_set_new(part, "audio", json_string(text));
    free(text);
}

json_t *srv_item_show(const srv_item *item, bool beta, bool audio)
{
    json_t *shown = json_deep_copy(item->json), *part;
    size_t i;
    json_array_foreach(json_object_get(shown, "content"), i, part) {
        const char *type = json_string_value(json_object_get(part, "type"));
        const bool sound = strstr(type, "audio") != NULL;
        if (beta && strncmp(type, "output_", 7) == 0) json_object_set_new(part, "type", json_string(sound ? "audio" : "text"));
        if (!audio || !sound) continue;
        show_audio(item, part);     /* that of all parts together: once, or many small parts make an endless event */
        audio = false;
    }
    return shown;
}

char *srv_item_text(const srv_item *item)
{
    char *text = NULL;
    size_t size = 0, i;
    FILE *f = open_memstream(&text, &size);
    const json_t *part;
    if (!f) return NULL;
    if (srv_item_is_call(item)) srv_call_write(f, string_of(item, "name"), string_of(item, "arguments"));
    if (is_output(item)) srv_output_write(f, json_string_value(item->tool), string_of(item, "output"));
    json_array_foreach(json_object_get(item->json, "content"), i, part) {
        const char *words = json_string_value(json_object_get(part, "text"));
        if (!words) words = json_string_value(json_object_get(part, "transcript"));
        if (words && *words) fprintf(f, "%s%s", ftell(f) > 0 ? " " : "", words);
    }
    fclose(f);
    return text;
}
