/* The conversation as positions: appending, cutting, forgetting the oldest turn, runs. */
#include "unit/cmocka_all.h"

#include "core/script.h"
#include "omni.h"

enum { WIDTH = 3 };

/* begin 1 2 | user 3, rows, suffix 4, answer 5 | end 6, user 3, text 7, suffix 4, answer 8 | end 6, user 3, rows, 4 */
static void build(om_script *s)
{
    static const float rows[] = { 0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32 };
    static const int32_t ids[] = { 1, 2, 3, 4, 5, 6, 3, 7, 4, 8, 6, 3, 4 };

    *s = (om_script){ .width = WIDTH };
    assert_int_equal(om_script_add_ids(s, ids, 2), OMNI_OK);
    assert_int_equal(om_script_begin_turn(s, 10), OMNI_OK);
    assert_int_equal(om_script_add_ids(s, ids + 2, 1), OMNI_OK);
    assert_int_equal(om_script_add_rows(s, rows, 2), OMNI_OK);
    assert_int_equal(om_script_add_ids(s, ids + 3, 3), OMNI_OK);
    assert_int_equal(om_script_begin_turn(s, 20), OMNI_OK);
    assert_int_equal(om_script_add_ids(s, ids + 6, 5), OMNI_OK);
    assert_int_equal(om_script_begin_turn(s, 30), OMNI_OK);
    assert_int_equal(om_script_add_ids(s, ids + 11, 1), OMNI_OK);
    assert_int_equal(om_script_add_rows(s, rows + 6, 2), OMNI_OK);
    assert_int_equal(om_script_add_ids(s, ids + 12, 1), OMNI_OK);
}

static void check_ids(const om_script *s, const int32_t *ids, int n)
{
    assert_int_equal(s->n, n);
    assert_memory_equal(s->ids, ids, (size_t)n * sizeof *ids);
}

static void appends(void **state)
{
    static const int32_t all[] = { 1, 2, 3, OM_ROW, OM_ROW, 4, 5, 6, 3, 7, 4, 8, 6, 3, OM_ROW, OM_ROW, 4 };
    om_script s;

    (void)state;
    build(&s);
    check_ids(&s, all, 17);
    assert_int_equal(s.n_rows, 4);
    assert_int_equal(s.n_turns, 3);
    om_script_free(&s);
    assert_true(s.n == 0 && s.ids == NULL && s.width == WIDTH);
}

static void cuts(void **state)
{
    om_script s;

    (void)state;
    build(&s);
    om_script_cut(&s, 15);
    assert_true(s.n == 15 && s.n_rows == 3 && s.n_turns == 3);
    om_script_cut(&s, 13);
    assert_true(s.n == 13 && s.n_rows == 2 && s.n_turns == 2);
    om_script_cut(&s, 20);
    assert_int_equal(s.n, 13);
    om_script_cut(&s, 0);
    assert_true(s.n == 0 && s.n_rows == 0 && s.n_turns == 0);
    om_script_free(&s);
}

static void forgets_the_oldest(void **state)
{
    static const int32_t two[] = { 1, 2, 3, 7, 4, 8, 6, 3, OM_ROW, OM_ROW, 4 }, one[] = { 1, 2, 3, OM_ROW, OM_ROW, 4 };
    static const float left[] = { 20, 21, 22, 30, 31, 32 };
    om_script s;

    (void)state;
    build(&s);
    om_script_drop(&s, 0);
    check_ids(&s, two, 11);
    assert_true(s.n_turns == 2 && s.turns[0].at == 2 && s.turns[1].at == 7 && s.n_rows == 2);
    assert_memory_equal(s.rows, left, sizeof left);
    om_script_drop(&s, 0);
    check_ids(&s, one, 6);
    assert_true(s.n_turns == 1 && s.turns[0].at == 2);
    assert_memory_equal(s.rows, left, sizeof left);
    om_script_free(&s);
}

static void forgets_one_in_the_middle(void **state)
{
    static const int32_t left[] = { 1, 2, 3, OM_ROW, OM_ROW, 4, 5, 6, 3, OM_ROW, OM_ROW, 4 };
    static const float rows[] = { 0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32 };
    om_script s;

    (void)state;
    build(&s);
    assert_int_equal(om_script_find(&s, 20), 1);
    om_script_drop(&s, 1);
    check_ids(&s, left, 12);
    assert_memory_equal(s.rows, rows, sizeof rows);
    assert_true(s.n_turns == 2 && s.turns[0].at == 2 && s.turns[1].at == 8);
    assert_int_equal(om_script_find(&s, 20), -1);
    assert_int_equal(om_script_find(&s, 10), 0);
    assert_int_equal(om_script_find(&s, 30), 1);
    om_script_drop(&s, 0);      /* and the rows of the first go with it */
    assert_int_equal(om_script_find(&s, 30), 0);
    assert_int_equal(s.n_rows, 2);
    assert_memory_equal(s.rows, rows + 6, 6 * sizeof *rows);
    om_script_free(&s);
}

static void runs_are_of_one_kind(void **state)
{
    const int32_t *ids;
    const float *rows;
    om_script s;
    int at = 0, n_runs = 0;

    (void)state;
    build(&s);
    assert_int_equal(om_script_run(&s, 0, 2, &ids, &rows), 2);
    assert_true(ids == s.ids && rows == NULL);
    assert_int_equal(om_script_run(&s, 4, 9, &ids, &rows), 1);
    assert_true(ids == NULL && rows == s.rows + WIDTH);
    while (at < s.n) {
        at += om_script_run(&s, at, 100, &ids, &rows);
        assert_true((ids == NULL) == (rows != NULL));
        n_runs++;
    }
    assert_int_equal(n_runs, 5);
    assert_int_equal(at, s.n);
    om_script_free(&s);
}

static void grows_far(void **state)
{
    om_script s = { .width = WIDTH };
    int32_t id;

    (void)state;
    for (id = 0; id < 5000; id++)
        assert_int_equal(om_script_add_ids(&s, &id, 1), OMNI_OK);
    for (int i = 0; i < 5000; i++)
        assert_int_equal(s.ids[i], i);
    om_script_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends),
        cmocka_unit_test(cuts),
        cmocka_unit_test(forgets_the_oldest),
        cmocka_unit_test(forgets_one_in_the_middle),
        cmocka_unit_test(runs_are_of_one_kind),
        cmocka_unit_test(grows_far),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
