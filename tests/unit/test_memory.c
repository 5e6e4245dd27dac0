/* memory: overflow, alignment, and the allocation that fails on purpose. */
#include "unit/cmocka_all.h"

#include "base/memory.h"

#include <stdint.h>
#include <string.h>

static void products_that_do_not_fit_are_refused(void **state)
{
    size_t out = 42;

    (void)state;
    assert_false(om_mul_ok(SIZE_MAX, 2, &out));
    assert_int_equal(out, 42);
    assert_true(om_mul_ok(SIZE_MAX, 1, &out));
    assert_true(out == SIZE_MAX);
    assert_true(om_mul_ok(SIZE_MAX, 0, &out));
    assert_true(om_mul_ok(0, SIZE_MAX, &out));
    assert_int_equal(out, 0);
    assert_null(om_calloc(SIZE_MAX / 2, 3));
    assert_null(om_aligned(SIZE_MAX / 2, 3));
    assert_null(om_aligned(SIZE_MAX, 1));
    assert_null(om_realloc(NULL, SIZE_MAX / 2, 3));
}

static void blocks_are_zeroed_and_aligned(void **state)
{
    (void)state;
    for (size_t n = 0; n < 300; n += 7) {
        unsigned char *plain = om_calloc(n, 1), *aligned = om_aligned(n, 1);

        assert_non_null(plain);
        assert_non_null(aligned);
        assert_int_equal((uintptr_t)aligned % 64, 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(plain[i] | aligned[i], 0);
        om_free(plain);
        om_free(aligned);
    }
}

static void a_failed_realloc_keeps_the_block(void **state)
{
    char *block = om_strdup("kept");

    (void)state;
    assert_non_null(block);
    om_torture_arm(1);
    assert_null(om_realloc(block, 100, 1));
    om_torture_arm(0);
    assert_string_equal(block, "kept");
    block = om_realloc(block, 100, 1);
    assert_non_null(block);
    assert_string_equal(block, "kept");
    om_free(block);
}

static void torture_fails_the_nth_and_only_that(void **state)
{
    (void)state;
    for (int n = 1; n <= 4; n++) {
        void *blocks[4];

        om_torture_arm(n);
        blocks[0] = om_calloc(1, 8);
        blocks[1] = om_aligned(1, 8);
        blocks[2] = om_strdup("x");
        blocks[3] = om_realloc(NULL, 1, 8);
        assert_int_equal(om_torture_count(), 4);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(blocks[i] == NULL, i + 1 == n);
            om_free(blocks[i]);
        }
    }
    om_torture_arm(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_that_do_not_fit_are_refused),
        cmocka_unit_test(blocks_are_zeroed_and_aligned),
        cmocka_unit_test(a_failed_realloc_keeps_the_block),
        cmocka_unit_test(torture_fails_the_nth_and_only_that),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
