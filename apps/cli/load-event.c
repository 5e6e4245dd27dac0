/* load-event: see load-event.h. */
#include "load-event.h"

#include "../server/base64.h"

#include <jansson.h>

#include <stdio.h>
#include <string.h>

static const struct { const char *name; load_event_type type; } types[] = {
    {"session.created", LOAD_EV_CREATED},
    {"session.updated", LOAD_EV_UPDATED},
    {"input_audio_buffer.speech_started", LOAD_EV_SPEECH_STARTED},
    {"input_audio_buffer.speech_stopped", LOAD_EV_SPEECH_STOPPED},
    {"response.created", LOAD_EV_RESPONSE},
    {"response.output_audio.delta", LOAD_EV_AUDIO},
    {"response.done", LOAD_EV_DONE},
    {"error", LOAD_EV_ERROR},
};
enum { TYPES = sizeof types / sizeof *types };

static void copy(char *out, size_t size, const json_t *value)
{
    const char *text = json_string_value(value);
    snprintf(out, size, "%s", text ? text : "");
}
#define COPY(field, value) copy(field, sizeof(field), value)

static size_t decoded_bytes(const json_t *delta)
{
    const char *text = json_string_value(delta);
    size_t n = text ? json_string_length(delta) : 0;
    while (n && text[n - 1] == '=') n--;
    return n * 3 / 4;
}

void load_event_read(const char *text, size_t n, load_event *e)
{
    json_t *j = json_loadb(text, n, 0, NULL);
    const char *type = json_string_value(json_object_get(j, "type"));
    *e = (load_event){.type = type ? LOAD_EV_OTHER : LOAD_EV_BROKEN};
    for (size_t i = 0; type && i < TYPES; i++)
        if (strcmp(types[i].name, type) == 0) e->type = types[i].type;
    const json_t *response = json_object_get(j, "response"), *error = json_object_get(j, "error");
    if (e->type == LOAD_EV_RESPONSE || e->type == LOAD_EV_DONE) {
        COPY(e->response, json_object_get(response, "id"));
        COPY(e->status, json_object_get(response, "status"));
        error = json_object_get(json_object_get(response, "status_details"), "error");
    } else if (e->type == LOAD_EV_AUDIO) {
        COPY(e->response, json_object_get(j, "response_id"));
        COPY(e->item, json_object_get(j, "item_id"));
        e->n_bytes = decoded_bytes(json_object_get(j, "delta"));
    }
    COPY(e->code, json_object_get(error, "code"));
    COPY(e->message, json_object_get(error, "message"));
    json_decref(j);
}

void load_error_text(const char *body, char *out, size_t size)
{
    json_t *j = json_loads(body, 0, NULL);
    const json_t *message = json_object_get(json_object_get(j, "error"), "message");
    if (json_is_string(message)) copy(out, size, message);
    else snprintf(out, size, "%.*s", (int)strcspn(body, "\r\n"), body);
    json_decref(j);
}

static size_t length(int n, size_t size)
{
    return n > 0 && (size_t)n < size ? (size_t)n : 0;
}

size_t load_say_session(char *out, size_t size, int silence_ms)
{
    return length(snprintf(out, size,
                           "{\"type\":\"session.update\",\"session\":{\"type\":\"realtime\",\"output_modalities\":[\"audio\"],"
                           "\"audio\":{\"input\":{\"format\":{\"type\":\"audio/pcm\",\"rate\":24000},\"turn_detection\":{"
                           "\"type\":\"server_vad\",\"silence_duration_ms\":%d,\"create_response\":true,"
                           "\"interrupt_response\":true}},\"output\":{\"format\":{\"type\":\"audio/pcm\",\"rate\":24000}}}}}",
                           silence_ms), size);
}

size_t load_say_audio(char *out, size_t size, const int16_t *samples, size_t n)
{
    static const char before[] = "{\"type\":\"input_audio_buffer.append\",\"audio\":\"";
    const size_t letters = srv_base64_letters(2 * n);
    if (sizeof before + letters + 3 > size) return 0;
    memcpy(out, before, sizeof before - 1);
    srv_base64_encode((const uint8_t *)samples, 2 * n, out + sizeof before - 1);
    memcpy(out + sizeof before - 1 + letters, "\"}", 3);
    return sizeof before - 1 + letters + 2;
}

size_t load_say_truncate(char *out, size_t size, const char *item, int heard_ms)
{
    json_t *j = json_pack("{s:s, s:s, s:i, s:i}", "type", "conversation.item.truncate", "item_id", item, "content_index", 0,
                          "audio_end_ms", heard_ms);
    const size_t n = j ? json_dumpb(j, out, size, JSON_COMPACT) : 0;
    json_decref(j);
    return n <= size ? n : 0;
}
