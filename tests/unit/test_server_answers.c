/* What chat completions said, by the id of their audio: for a while, and the newest only. */
#include "unit/cmocka_all.h"

#include "../apps/server/answers.h"
#include "../apps/server/limits.h"

#include <stdio.h>

static void are_found_until_they_expire(void **state)
{
    srv_answers *a = srv_answers_new();

    (void)state;
    srv_answers_keep(a, "audio_1", "paris and more", 5, 100);
    srv_answers_keep(a, "audio_2", "", 0, 100);
    assert_string_equal(srv_answers_find(a, "audio_1", 99), "paris");
    assert_null(srv_answers_find(a, "audio_1", 100));
    assert_null(srv_answers_find(a, "audio_2", 99));
    assert_null(srv_answers_find(a, "audio", 99));
    assert_null(srv_answers_find(NULL, "audio_1", 99));
    srv_answers_free(a);
    srv_answers_free(NULL);
}

static void the_oldest_makes_room(void **state)
{
    srv_answers *a = srv_answers_new();
    char id[40], text[40];

    (void)state;
    for (int i = 0; i < SRV_ANSWERS + 3; i++) {
        const int n = snprintf(text, sizeof text, "said %d", i);
        snprintf(id, sizeof id, "audio_%d", i);
        srv_answers_keep(a, id, text, (size_t)n, 100);
    }
    assert_null(srv_answers_find(a, "audio_2", 0));
    assert_string_equal(srv_answers_find(a, "audio_3", 0), "said 3");
    srv_answers_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(are_found_until_they_expire),
        cmocka_unit_test(the_oldest_makes_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
