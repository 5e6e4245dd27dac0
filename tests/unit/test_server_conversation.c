/* What a client can make the server keep: items, their audio, told exchanges. */
#include "unit/cmocka_all.h"

#include "../apps/server/conversation.h"
#include "../apps/server/limits.h"
#include "../apps/server/past.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static srv_item *question(int i)
{
    char id[20];

    snprintf(id, sizeof id, "item_%d", i);
    return srv_item_message(id, "user", "completed", json_array());
}

static void items_end_at_their_limit(void **state)
{
    srv_conversation c = { .n = 0 };

    (void)state;
    for (int i = 0; i < SRV_ITEMS; i++)
        assert_true(srv_item_insert(&c, question(i), c.n));
    assert_false(srv_item_insert(&c, question(SRV_ITEMS), 0));
    srv_item_free(srv_item_remove(&c, 0));
    assert_true(srv_item_insert(&c, question(SRV_ITEMS), c.n));
    srv_conversation_free(&c);
}

static void old_audio_is_forgotten_asked_or_not(void **state)
{
    enum { N = 10, BYTES = SRV_KEPT_AUDIO_BYTES / 4 };
    srv_conversation c = { .n = 0 };

    (void)state;
    for (int i = 0; i < N; i++) {
        srv_item *item = question(i);

        item->audio = malloc(BYTES);
        item->n_audio = BYTES;
        assert_true(srv_item_insert(&c, item, c.n));
        assert_true(c.n_bytes <= SRV_KEPT_AUDIO_BYTES);
        assert_non_null(item->audio);
    }
    assert_null(c.items[0]->audio);
    assert_int_equal(c.items[0]->n_audio, 0);

    c.items[N - 3]->asked = true;           /* goes before older ones that wait */
    srv_item *spoken = question(N);
    assert_true(srv_item_insert(&c, spoken, c.n));
    srv_item_keep_audio(&c, spoken, malloc(BYTES), BYTES, SRV_PCM16);
    assert_non_null(c.items[N - 4]->audio);
    assert_null(c.items[N - 3]->audio);
    assert_non_null(spoken->audio);
    assert_int_equal(c.n_bytes, 4 * (size_t)BYTES);
    srv_conversation_free(&c);
}

static srv_item *given(json_t *json, const char *code)
{
    srv_trouble t = { .code = NULL };
    srv_item *item = srv_item_read(json, "item", SRV_PCM16, &t);

    json_decref(json);
    if (!code)
        assert_non_null(item);
    else
        assert_string_equal(t.code, code);
    return item;
}

static json_t *output(size_t n)
{
    char *text = malloc(n + 1);

    memset(text, 'x', n);
    text[n] = 0;
    json_t *json = json_pack("{s:s, s:s, s:s}", "type", "function_call_output", "call_id", "c", "output", text);
    free(text);
    return json;
}

static json_t *parts(int n)
{
    json_t *content = json_array();

    for (int i = 0; i < n; i++)
        json_array_append_new(content, json_pack("{s:s, s:s}", "type", "input_text", "text", ""));
    return json_pack("{s:s, s:s, s:o}", "type", "message", "role", "user", "content", content);
}

static void items_have_a_size(void **state)
{
    srv_conversation c = { .n = 0 };
    size_t n = 0;

    (void)state;
    srv_item_free(given(output(SRV_TEXT_BYTES), NULL));
    assert_null(given(output(SRV_ITEM_BYTES), "string_above_max_length"));
    srv_item_free(given(parts(500), NULL));
    assert_null(given(parts(2000), "string_above_max_length"));

    while (srv_item_insert(&c, given(output(SRV_TEXT_BYTES), NULL), c.n))
        n++;
    assert_in_range(n, SRV_ITEMS_BYTES / SRV_TEXT_BYTES / 2, SRV_ITEMS_BYTES / SRV_TEXT_BYTES);
    srv_item_free(srv_item_remove(&c, 0));
    assert_true(srv_item_insert(&c, given(output(SRV_TEXT_BYTES), NULL), c.n));
    srv_conversation_free(&c);
}

static void audio_of_many_parts_is_shown_once(void **state)
{
    json_t *json = json_pack("{s:s, s:s, s:[{s:s, s:s}, {s:s, s:s}]}", "type", "message", "role", "user", "content",
                             "type", "input_audio", "audio", "AAAA", "type", "input_audio", "audio", "AAAA");
    srv_item *item = given(json, NULL);
    json_t *shown = srv_item_show(item, false, true), *content = json_object_get(shown, "content");

    (void)state;
    assert_string_equal(json_string_value(json_object_get(json_array_get(content, 0), "audio")), "AAAAAA==");
    assert_null(json_object_get(json_array_get(content, 1), "audio"));
    json_decref(shown);
    srv_item_free(item);
}

static void of_the_past_the_newest_is_kept(void **state)
{
    srv_past p = { .n = 0 };
    char text[1001], last[20];

    (void)state;
    memset(text, 'x', 1000);
    text[1000] = 0;
    for (int i = 0; i < 5000; i++) {
        assert_true(srv_past_ask(&p, text));
        snprintf(last, sizeof last, "answer %d", i);
        assert_true(srv_past_answer(&p, last));
        assert_true(p.n_bytes <= SRV_TEXT_BYTES);
    }
    assert_string_equal(p.turns[p.n - 1].answer, last);
    assert_in_range(p.n - p.first, 150, 256);
    assert_true(p.cap <= 1024);
    srv_past_free(&p);

    assert_true(srv_past_answer(&p, "kept"));
    char *huge = calloc(1, SRV_TEXT_BYTES + 1);
    memset(huge, 'x', SRV_TEXT_BYTES);
    assert_int_equal(p.n - p.first, 1);
    assert_true(srv_past_ask(&p, huge));
    assert_true(srv_past_answer(&p, "too much"));
    assert_int_equal(p.n - p.first, 0);
    free(huge);
    srv_past_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_end_at_their_limit),
        cmocka_unit_test(old_audio_is_forgotten_asked_or_not),
        cmocka_unit_test(items_have_a_size),
        cmocka_unit_test(audio_of_many_parts_is_shown_once),
        cmocka_unit_test(of_the_past_the_newest_is_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
