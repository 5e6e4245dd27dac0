/* JSON from clients: what is above the bounds is seen before it is read, whatever stands in its strings. */
#include "unit/cmocka_all.h"

#include "../apps/server/json-bounds.h"
#include "../apps/server/limits.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* n times piece between two ends; malloc'ed. */
static char *repeated(const char *before, const char *piece, size_t n, const char *after)
{
    const size_t m = strlen(piece), from = strlen(before);
    char *text = malloc(from + n * m + strlen(after) + 1);
    assert_non_null(text);
    memcpy(text, before, from);
    for (size_t i = 0; i < n; i++) memcpy(text + from + i * m, piece, m);
    strcpy(text + from + n * m, after);
    return text;
}

static bool reads(char *text, const char *wanted)
{
    char why[JSON_ERROR_TEXT_LENGTH] = "";
    json_t *json = srv_json_load(text, strlen(text), 0, why);
    const bool read = json != NULL;
    assert_int_equal(read, why[0] == 0);
    if (!read && !strstr(why, wanted)) fail_msg("%s", why);
    json_decref(json);
    free(text);
    return read;
}

static void values_are_bounded(void **state)
{
    (void)state;
    enum { MOST = SRV_JSON_VALUES };
    assert_true(reads(repeated("[0", ",0", MOST - 1, "]"), ""));
    assert_false(reads(repeated("[0", ",0", MOST, "]"), "too many values"));
    assert_true(reads(repeated("[{}", ",{}", (MOST - 2) / 2, "]"), ""));
    assert_false(reads(repeated("[{}", ",{}", MOST / 2, "]"), "too many values"));
    assert_false(reads(repeated("[[]", ",[]", MOST / 2, "]"), "too many values"));
    assert_false(reads(repeated("{\"a\":0", ",\"a\":0", MOST, "}"), "too many values"));
    assert_false(reads(repeated("[{},", "{},", 3 << 20, "{}]"), "too many values"));
}

static void depth_is_bounded(void **state)
{
    (void)state;
    char *closing = repeated("", "]", SRV_JSON_DEPTH, "");
    assert_true(reads(repeated("", "[", SRV_JSON_DEPTH, closing), ""));
    assert_false(reads(repeated("[", "[", SRV_JSON_DEPTH, closing), "nested too deeply"));
    free(closing);
}

static void strings_count_once(void **state)
{
    (void)state;
    assert_true(reads(repeated("[\"", ",{[", 4 << 20, "\"]"), ""));
    assert_true(reads(repeated("[\"", "\\\",[", 1 << 20, "\"]"), ""));
    assert_true(reads(repeated("[\"\\\\\",\"", "[", 1 << 20, "\"]"), ""));
    assert_false(reads(repeated("[\"\\\\\",\"\",", "[", 1 << 20, "\"]"), "nested too deeply"));
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    static const char *const bad[][2] = {{"", "empty"}, {"[", "expected"}, {"[\"", "premature"}, {"[\"\\", "invalid escape"}, {"x", "expected"}, {"5", "expected"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(reads(strdup(bad[i][0]), bad[i][1]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_bounded), cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(strings_count_once), cmocka_unit_test(what_is_wrong_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
