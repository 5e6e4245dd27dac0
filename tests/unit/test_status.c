/* status: one line, per thread, for every code. */
#include "unit/cmocka_all.h"

#include "base/status.h"

#include <pthread.h>
#include <string.h>

static void returns_its_code_and_keeps_the_text(void **state)
{
    (void)state;
    assert_int_equal(om_fail(OMNI_ERR_IO, "%s: %d", "file", 7), OMNI_ERR_IO);
    assert_string_equal(om_last_error(), "file: 7");
}

static void text_may_quote_the_previous_text(void **state)
{
    (void)state;
    om_fail(OMNI_ERR_IO, "inner");
    om_fail(OMNI_ERR_MODEL, "outer: %s", om_last_error());
    assert_string_equal(om_last_error(), "outer: inner");
}

static void text_stays_on_one_line_and_in_bounds(void **state)
{
    char wide[2000];

    (void)state;
    memset(wide, 'x', sizeof wide);
    wide[sizeof wide - 1] = '\0';
    om_fail(OMNI_ERR_ARG, "a\nb\r%s", wide);
    assert_null(strpbrk(om_last_error(), "\r\n"));
    assert_in_range(strlen(om_last_error()), 100, 1000);
}

static void no_terminal_obeys_it(void **state)
{
    (void)state;
    om_fail(OMNI_ERR_ARG, "a\x1b[31m\x07\x7f\t\xc3\xa4");
    assert_string_equal(om_last_error(), "a?[31m?? \xc3\xa4");
}

static void *other_thread(void *arg)
{
    *(int *)arg = strcmp(om_last_error(), "") == 0;
    om_fail(OMNI_ERR_ARG, "theirs");
    return NULL;
}

static void each_thread_has_its_own(void **state)
{
    pthread_t thread;
    int was_empty = 0;

    (void)state;
    om_fail(OMNI_ERR_ARG, "mine");
    assert_int_equal(pthread_create(&thread, NULL, other_thread, &was_empty), 0);
    pthread_join(thread, NULL);
    assert_true(was_empty);
    assert_string_equal(om_last_error(), "mine");
}

static void every_code_has_a_name(void **state)
{
    (void)state;
    for (int code = OMNI_ERR_AUDIO; code <= OMNI_AGAIN; code++)
        assert_string_not_equal(om_status_string(code), om_status_string(1000));
    assert_string_equal(om_status_string(1000), "unknown status");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(returns_its_code_and_keeps_the_text),
        cmocka_unit_test(text_may_quote_the_previous_text),
        cmocka_unit_test(text_stays_on_one_line_and_in_bounds),
        cmocka_unit_test(no_terminal_obeys_it),
        cmocka_unit_test(each_thread_has_its_own),
        cmocka_unit_test(every_code_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
