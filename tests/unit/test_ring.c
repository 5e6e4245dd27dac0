/* ring: order, exact capacity, all or nothing, and two threads at once. */
#include "unit/cmocka_all.h"

#include "base/ring.h"
#include "base/status.h"

#include <pthread.h>
#include <sched.h>

static void capacity_is_exact(void **state)
{
    float x[8] = { 1, 2, 3, 4, 5, 6, 7, 8 }, y[8];
    om_ring *ring;

    (void)state;
    assert_int_equal(om_ring_new(5, &ring), OMNI_OK);      /* not a power of two */
    assert_int_equal(om_ring_room(ring), 5);
    assert_int_equal(om_ring_push(ring, x, 6), OMNI_ERR_LIMIT);
    assert_int_equal(om_ring_size(ring), 0);
    assert_int_equal(om_ring_push(ring, x, 5), OMNI_OK);
    assert_int_equal(om_ring_room(ring), 0);
    assert_int_equal(om_ring_push(ring, x, 1), OMNI_ERR_LIMIT);
    assert_int_equal(om_ring_push(ring, x, 0), OMNI_OK);
    assert_int_equal(om_ring_drop(ring, 2), 2);
    assert_int_equal(om_ring_room(ring), 2);
    assert_int_equal(om_ring_pull(ring, y, 8), 3);
    assert_true(y[0] == 3 && y[1] == 4 && y[2] == 5);
    assert_int_equal(om_ring_pull(ring, y, 8), 0);
    assert_int_equal(om_ring_drop(ring, 1), 0);
    om_ring_free(ring);
    om_ring_free(NULL);
}

static void order_survives_every_wrap(void **state)
{
    om_ring *ring;
    float next_in = 0, next_out = 0;

    (void)state;
    assert_int_equal(om_ring_new(13, &ring), OMNI_OK);
    for (int round = 0; round < 1000; round++) {
        float x[13];
        size_t n = (size_t)(round * 7 % 14), m = (size_t)(round * 5 % 14);

        if (n <= om_ring_room(ring)) {
            for (size_t i = 0; i < n; i++)
                x[i] = next_in++;
            assert_int_equal(om_ring_push(ring, x, n), OMNI_OK);
        }
        m = om_ring_pull(ring, x, m);
        for (size_t i = 0; i < m; i++)
            assert_true(x[i] == next_out++);
    }
    assert_true(next_out > 1000);
    om_ring_free(ring);
}

static void impossible_capacities_are_refused(void **state)
{
    om_ring *ring = NULL;

    (void)state;
    assert_int_equal(om_ring_new(0, &ring), OMNI_ERR_ARG);
    assert_int_equal(om_ring_new(SIZE_MAX, &ring), OMNI_ERR_ARG);
    assert_null(ring);
}

enum { TOTAL = 200000 };

static void *produce(void *user)
{
    om_ring *ring = user;

    for (int i = 0; i < TOTAL;) {
        float x[17];
        size_t n = (size_t)(i % 17 + 1);

        for (size_t j = 0; j < n; j++)
            x[j] = (float)((i + (int)j) % 4096);
        if (om_ring_push(ring, x, n) == OMNI_OK)
            i += (int)n;
        else
            sched_yield();
    }
    return NULL;
}

/* Meaningful under the thread sanitizer above all. */
static void two_threads_see_the_same_order(void **state)
{
    pthread_t thread;
    om_ring *ring;
    int wrong = 0;

    (void)state;
    assert_int_equal(om_ring_new(64, &ring), OMNI_OK);
    assert_int_equal(pthread_create(&thread, NULL, produce, ring), 0);
    for (int i = 0; i < TOTAL;) {
        float x[23];
        size_t n = om_ring_pull(ring, x, 23);

        for (size_t j = 0; j < n; j++)
            wrong += x[j] != (float)((i + (int)j) % 4096);
        i += (int)n;
        if (n == 0)
            sched_yield();
    }
    pthread_join(thread, NULL);
    assert_int_equal(wrong, 0);
    om_ring_free(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(capacity_is_exact),
        cmocka_unit_test(order_survives_every_wrap),
        cmocka_unit_test(impossible_capacities_are_refused),
        cmocka_unit_test(two_threads_see_the_same_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
