/* Token bytes to text: however characters are split, and whatever is not UTF-8. */
#include "unit/cmocka_all.h"

#include "core/text.h"
#include "omni.h"

#include <string.h>

/* All bytes in pushes of `step`; what comes out, in order. */
static void stream(const char *bytes, size_t n, size_t step, char *out, size_t *n_out)
{
    om_text t = {0};

    *n_out = 0;
    for (size_t at = 0; at < n + step; at += step) {
        size_t ready;

        if (at < n)
            assert_int_equal(om_text_push(&t, bytes + at, n - at < step ? n - at : step), OMNI_OK);
        else
            assert_int_equal(om_text_finish(&t), OMNI_OK);
        ready = om_text_ready(&t);
        if (!ready)
            continue;
        assert_true(om_utf8_valid(t.bytes, ready));
        memcpy(out + *n_out, t.bytes, ready);
        *n_out += ready;
        om_text_take(&t, ready);
    }
    out[*n_out] = '\0';
    om_text_free(&t);
}

static void check(const char *bytes, const char *expected)
{
    char out[256];
    size_t n;

    for (size_t step = 1; step <= strlen(bytes) + 1; step++) {
        stream(bytes, strlen(bytes), step, out, &n);
        assert_string_equal(out, expected);
    }
}

static void characters_stay_whole(void **state)
{
    (void)state;
    check("one", "one");
    check("na\xC3\xAFve \xE2\x82\xAC \xF0\x9F\x99\x82!", "na\xC3\xAFve \xE2\x82\xAC \xF0\x9F\x99\x82!");
    check("\xF4\x8F\xBF\xBF", "\xF4\x8F\xBF\xBF");
}

static void white_space_at_the_ends_is_dropped(void **state)
{
    (void)state;
    check("  \n two  words\t \r\n", "two  words");
    check(" \n ", "");
    check("", "");
    check("a  b", "a  b");
}

static void wrong_bytes_become_a_mark(void **state)
{
    (void)state;
    check("a\xFF" "b", "a\xEF\xBF\xBD" "b");
    check("\xC3", "\xEF\xBF\xBD");                                  /* cut by the end */
    check("\xE2\x82z", "\xEF\xBF\xBDz");
    check("\xC0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD");                  /* overlong */
    check("\xED\xA0\x80.", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD.");/* a surrogate */
    check("\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
    check("\xE2\xE2\x82\xAC", "\xEF\xBF\xBD\xE2\x82\xAC");
}

static void validity(void **state)
{
    (void)state;
    assert_true(om_utf8_valid("", 0));
    assert_true(om_utf8_valid("\xEE\x80\x80", 3));
    assert_false(om_utf8_valid("\xE2\x82", 2));
    assert_false(om_utf8_valid("\xF8\x88\x80\x80\x80", 5));
    assert_false(om_utf8_valid("\x80", 1));
    assert_false(om_utf8_valid("\xED\xBF\xBF", 3));
}

static void every_pair_of_bytes(void **state)
{
    char out[64], bytes[3] = { 0 };
    size_t n, n2;
    char again[64];

    (void)state;
    for (int a = 1; a < 256; a++)
        for (int b = 1; b < 256; b++) {
            bytes[0] = (char)a;
            bytes[1] = (char)b;
            stream(bytes, 2, 1, out, &n);
            stream(bytes, 2, 2, again, &n2);
            assert_true(om_utf8_valid(out, n));
            assert_string_equal(out, again);
        }
}

static void stripping(void **state)
{
    const char *text = " \t a b \n";
    size_t n = strlen(text);

    (void)state;
    assert_memory_equal(om_text_strip(text, &n), "a b", 3);
    assert_int_equal(n, 3);
    n = 2;
    om_text_strip(" \n", &n);
    assert_int_equal(n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_stay_whole),
        cmocka_unit_test(white_space_at_the_ends_is_dropped),
        cmocka_unit_test(wrong_bytes_become_a_mark),
        cmocka_unit_test(validity),
        cmocka_unit_test(every_pair_of_bytes),
        cmocka_unit_test(stripping),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
