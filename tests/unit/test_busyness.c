/* busyness: the share of the last second that was work. */
#include "unit/cmocka_all.h"

#include "core/busyness.h"

static void check(om_busyness *b, int64_t now, double least, double most)
{
    double share = om_busyness_share(b, now);

    if (share < least || share > most)
        fail_msg("%g at %lld, wanted %g to %g", share, (long long)now, least, most);
}

static void idle_and_busy(void **state)
{
    om_busyness b = { .from = 0 };
    int64_t t = 12345678901;

    (void)state;
    check(&b, t, 0.0, 0.0);
    for (int i = 0; i < 300; i++, t += 10000)       /* 4 of every 10 ms */
        om_busyness_add(&b, t, t + 4000);
    check(&b, t, 0.39, 0.41);
    for (int i = 0; i < 300; i++, t += 10000)
        om_busyness_add(&b, t, t + 10000);
    check(&b, t, 0.99, 1.0);
    check(&b, t + 400000, 0.3, 0.75);
    check(&b, t + 1000000, 0.0, 0.34);
    check(&b, t + 1500000, 0.0, 0.0);
}

/* A piece of work longer than all that is counted fills it, and no more. */
static void long_steps(void **state)
{
    om_busyness b = { .from = 0 };
    int64_t t = 5000000;

    (void)state;
    om_busyness_add(&b, t, t + 3400000);
    check(&b, t + 3400000, 0.99, 1.0);
    om_busyness_add(&b, t + 3400000, t + 3400000);
    check(&b, t + 3400000, 0.99, 1.0);
    check(&b, t + 5000000, 0.0, 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_and_busy),
        cmocka_unit_test(long_steps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
