/*
 * What clients of omni serve send: base64 as it is; JSON as settings, items and chat completions. Nothing crashes;
 * what was refused changed nothing and says why; what was accepted can be shown.
 */
#include "fuzz/memory_file.h"

#include "../apps/server/base64.h"
#include "../apps/server/chat-question.h"
#include "../apps/server/conversation.h"
#include "../apps/server/settings.h"

#include <stdlib.h>
#include <string.h>

static void try_base64(const uint8_t *data, size_t size)
{
    uint8_t *bytes = malloc(srv_base64_room(size));
    size_t n;
    if (bytes && srv_base64_decode((const char *)data, size, bytes, &n)) {
        char *text = malloc(srv_base64_letters(n) + 1);
        if (n > srv_base64_room(size)) abort();
        if (text) srv_base64_encode(bytes, n, text);
        free(text);
    }
    free(bytes);
}

static void try_settings(const json_t *given, bool beta)
{
    srv_trouble t = {.code = NULL};
    json_t *before = srv_settings_new(), *copy = json_deep_copy(before);
    json_t *after = srv_settings_change(before, given, beta, "session", &t);
    if (!json_equal(before, copy)) abort();
    if (!after && !t.message[0]) abort();
    if (after) {
        json_t *shown = srv_settings_show(after, beta);
        char *text = shown ? json_dumps(shown, 0) : NULL;
        if (!text || !srv_settings_voice(after)) abort();
        (void)srv_settings_tokens(after, 256);
        (void)srv_settings_format(after, "audio.output.format");
        free(text);
        json_decref(shown);
    }
    json_decref(after);
    json_decref(before);
    json_decref(copy);
}

static void try_item(const json_t *given)
{
    srv_trouble t = {.code = NULL};
    srv_item *item = srv_item_read(given, "item", SRV_PCM16, &t);
    if (!item && !t.message[0]) abort();
    if (item) {
        json_t *shown = srv_item_show(item, true, true);
        char *words = srv_item_text(item);
        if (!shown || !srv_item_id(item)) abort();
        json_decref(shown);
        free(words);
    }
    srv_item_free(item);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const omni_model_info info = {.sample_rate_in = 16000, .sample_rate_out = 16000};
    static const srv_options options = {.max_tokens = 256};
    static const srv server = {.options = &options, .info = &info, .model_name = "m"};
    try_base64(data, size);
    json_t *j = json_loadb((const char *)data, size, 0, NULL);
    if (json_is_object(j)) {
        try_settings(j, false);
        try_settings(j, true);
        try_item(j);
    }
    json_decref(j);
    srv_chat_question q;
    srv_trouble t = {.code = NULL};
    unsigned status;
    if (srv_chat_read(&server, (const char *)data, size, &q, &t, &status)) srv_chat_question_free(&q);
    else if (!t.message[0] || status < 400) abort();
    return 0;
}
