/* The load generator's parts without a network: URLs, counts, percentiles, the protocol's events. */
#include "unit/cmocka_all.h"

#include "../apps/cli/load-event.h"
#include "../apps/cli/load-server.h"
#include "../apps/cli/load-tally.h"
#include "../apps/cli/options.h"

#include <stdio.h>
#include <string.h>

static void urls_are_taken_apart(void **state)
{
    (void)state;
    static const struct { const char *url, *host, *port, *target; } good[] = {
        {"ws://127.0.0.1:8080", "127.0.0.1", "8080", "/v1/realtime"},
        {"http://127.0.0.1", "127.0.0.1", "80", "/v1/realtime"},
        {"ws://127.0.0.1:9/?model=m", "127.0.0.1", "9", "/v1/realtime?model=m"},
        {"ws://127.0.0.1:9?model=m", "127.0.0.1", "9", "/v1/realtime?model=m"},
        {"ws://[::1]:65535/x/y?z=/", "::1", "65535", "/x/y?z=/"},
        {"http://[::1]/", "::1", "80", "/v1/realtime"},
    };
    static const char *const bad[] = {"", "127.0.0.1:8080", "ftp://x", "ws://", "ws://:80", "ws://a:", "ws://a:0", "ws://a:65536",
                                      "ws://a:8x", "ws://[::1", "ws://[::1]8", "ws://a b", "ws://a/#x", "ws://a\n"};
    load_server s;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(load_server_open(&s, good[i].url, NULL, NULL), CLI_OK);
        assert_string_equal(s.host, good[i].host);
        assert_string_equal(s.port, good[i].port);
        assert_string_equal(s.target, good[i].target);
        assert_false(s.tls);
        assert_non_null(s.addresses);
        load_server_close(&s);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(load_server_open(&s, bad[i], NULL, NULL), CLI_USAGE);
    assert_int_equal(load_server_open(&s, "ws://127.0.0.1", "two\nlines", NULL), CLI_USAGE);
    assert_int_equal(load_server_open(&s, "ws://127.0.0.1", NULL, "cert.pem"), CLI_USAGE);
}

static void percentiles_are_of_the_nearest_rank(void **state)
{
    (void)state;
    load_tally t = {.began = 0};
    load_quantiles q = load_series_quantiles(&t.first);
    assert_int_equal(q.n, 0);
    for (int i = 0; i < 1000; i++) assert_int_equal(load_series_add(&t.first, i, (i * 7) % 1000 + 1), CLI_OK);
    q = load_series_quantiles(&t.first);
    assert_int_equal(q.n, 1000);
    assert_true(q.p50 == 500 && q.p95 == 950 && q.p99 == 990 && q.most == 1000);
    assert_true(q.mean > 500.4 && q.mean < 500.6);
    load_series_add(&t.own, 1, 42);
    q = load_series_quantiles(&t.own);
    assert_true(q.p50 == 42 && q.p99 == 42 && q.most == 42);
    load_tally_free(&t);
    assert_null(t.first.ms);
}

static void words_are_counted_in_bounded_room(void **state)
{
    (void)state;
    load_words w = {.n = 0};
    char word[200];
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 60; i++) {
            snprintf(word, sizeof word, "%d-%0150d", i, 0);
            load_words_add(&w, word);
        }
    load_words_add(&w, "");
    assert_int_equal(w.n, LOAD_WORDS);
    assert_int_equal(load_words_sum(&w), 121);
    assert_int_equal(w.list[0].n, 2);
    assert_string_equal(w.list[LOAD_WORDS - 1].word, "others");
    assert_int_equal(w.list[LOAD_WORDS - 1].n, 121 - 2 * (LOAD_WORDS - 1));
}

static load_event read_event(const char *text)
{
    load_event e;
    load_event_read(text, strlen(text), &e);
    return e;
}

static void events_are_read(void **state)
{
    (void)state;
    load_event e = read_event("{\"type\":\"response.output_audio.delta\",\"response_id\":\"r\",\"item_id\":\"i\",\"delta\":\"AAAAAA==\"}");
    assert_int_equal(e.type, LOAD_EV_AUDIO);
    assert_int_equal(e.n_bytes, 4);
    assert_string_equal(e.response, "r");
    assert_string_equal(e.item, "i");
    e = read_event("{\"type\":\"response.done\",\"response\":{\"id\":\"r\",\"status\":\"failed\",\"status_details\":{\"error\":{\"code\":\"c\"}}}}");
    assert_int_equal(e.type, LOAD_EV_DONE);
    assert_string_equal(e.status, "failed");
    assert_string_equal(e.code, "c");
    e = read_event("{\"type\":\"error\",\"error\":{\"code\":null,\"message\":\"m\"}}");
    assert_int_equal(e.type, LOAD_EV_ERROR);
    assert_string_equal(e.code, "");
    assert_string_equal(e.message, "m");
    static const char *const broken[] = {"", "[]", "5", "{}", "{\"type\":5}", "{\"type\":\"error\"", "\xff"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) assert_int_equal(read_event(broken[i]).type, LOAD_EV_BROKEN);
    assert_int_equal(read_event("{\"type\":\"new.event\"}").type, LOAD_EV_OTHER);
    assert_int_equal(read_event("{\"type\":\"response.output_audio.delta\",\"delta\":7}").n_bytes, 0);
}

static void what_is_said_fits(void **state)
{
    (void)state;
    char text[400], small[16];
    const int16_t samples[3] = {0, 1, -1};
    size_t n = load_say_audio(text, sizeof text, samples, 3);
    assert_int_equal(n, strlen(text));
    assert_string_equal(text, "{\"type\":\"input_audio_buffer.append\",\"audio\":\"AAABAP//\"}");
    assert_int_equal(load_say_audio(small, sizeof small, samples, 3), 0);
    n = load_say_truncate(text, sizeof text, "a\"b", 1234);
    assert_true(n > 0);
    text[n] = 0;
    assert_non_null(strstr(text, "\"item_id\":\"a\\\"b\""));
    assert_non_null(strstr(text, "\"audio_end_ms\":1234"));
    assert_int_equal(load_say_truncate(small, sizeof small, "a", 1), 0);
    assert_int_equal(load_say_session(small, sizeof small, 300), 0);
}

static void errors_of_http_become_a_line(void **state)
{
    (void)state;
    char out[64];
    load_error_text("{\"error\":{\"message\":\"no room\"}}", out, sizeof out);
    assert_string_equal(out, "no room");
    load_error_text("Bad Gateway\r\n<html>", out, sizeof out);
    assert_string_equal(out, "Bad Gateway");
    load_error_text("", out, sizeof out);
    assert_string_equal(out, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_taken_apart), cmocka_unit_test(percentiles_are_of_the_nearest_rank),
        cmocka_unit_test(words_are_counted_in_bounded_room), cmocka_unit_test(events_are_read),
        cmocka_unit_test(what_is_said_fits), cmocka_unit_test(errors_of_http_become_a_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
