/* The event queue: order, payloads, both bounds, two threads. */
#include "unit/cmocka_all.h"

#include "core/queue.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

static omni_event text_event(const char *text)
{
    return (omni_event){ .type = OMNI_EVENT_TEXT, .text = text, .n_text = strlen(text) };
}

static void keeps_order_and_payload(void **state)
{
    static float x[5000];
    char small[16] = "hello";
    omni_event event, audio = { .type = OMNI_EVENT_AUDIO, .audio = x, .n_audio = 5000, .sample_offset = 7 };
    om_queue *q;

    (void)state;
    for (int i = 0; i < 5000; i++)
        x[i] = (float)i;
    assert_int_equal(om_queue_new(4, 1 << 20, &q), OMNI_OK);
    assert_int_equal(om_queue_pull(q, &event), OMNI_AGAIN);
    event = text_event(small);
    assert_int_equal(om_queue_push(q, &event, NULL), OMNI_OK);
    assert_int_equal(om_queue_push(q, &audio, NULL), OMNI_OK);
    memset(small, 'z', sizeof small);
    x[10] = -1;                                         /* both were copied */
    assert_int_equal(om_queue_pull(q, &event), OMNI_OK);
    assert_string_equal(event.text, "hello");
    assert_int_equal(om_queue_pull(q, &event), OMNI_OK);
    assert_int_equal(event.type, OMNI_EVENT_AUDIO);
    assert_int_equal(event.n_audio, 5000);
    assert_true(event.audio[10] == 10.0f && event.audio[4999] == 4999.0f && event.sample_offset == 7);
    assert_int_equal(om_queue_pull(q, &event), OMNI_AGAIN);
    om_queue_free(q);
}

static void is_bounded_in_events(void **state)
{
    omni_event event = text_event("x");
    om_queue *q;

    (void)state;
    assert_int_equal(om_queue_new(3, 1000, &q), OMNI_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(om_queue_push(q, &event, NULL), OMNI_OK);
    assert_false(om_queue_has_room(q, 1, 0));
    assert_int_equal(om_queue_push(q, &event, NULL), OMNI_AGAIN);
    assert_int_equal(om_queue_pull(q, &event), OMNI_OK);        /* lent, not yet free */
    assert_int_equal(om_queue_push(q, &event, NULL), OMNI_AGAIN);
    assert_int_equal(om_queue_pull(q, &event), OMNI_OK);
    assert_true(om_queue_has_room(q, 1, 10) && !om_queue_has_room(q, 2, 0));
    event = text_event("y");
    assert_int_equal(om_queue_push(q, &event, NULL), OMNI_OK);
    om_queue_free(q);
}

static void is_bounded_in_bytes(void **state)
{
    static float x[600];
    omni_event event, audio = { .type = OMNI_EVENT_AUDIO, .audio = x, .n_audio = 100 };
    om_queue *q;

    (void)state;
    assert_int_equal(om_queue_new(100, 1000, &q), OMNI_OK);
    assert_int_equal(om_queue_push(q, &audio, NULL), OMNI_OK);
    assert_int_equal(om_queue_push(q, &audio, NULL), OMNI_OK);
    assert_int_equal(om_queue_push(q, &audio, NULL), OMNI_AGAIN);
    assert_int_equal(om_queue_pull(q, &event), OMNI_OK);
    assert_int_equal(om_queue_pull(q, &event), OMNI_OK);
    assert_int_equal(om_queue_push(q, &audio, NULL), OMNI_OK);
    assert_int_equal(om_queue_pull(q, &event), OMNI_OK);
    assert_int_equal(om_queue_pull(q, &event), OMNI_AGAIN);
    audio.n_audio = 600;                                        /* more than the bound, alone */
    assert_int_equal(om_queue_push(q, &audio, NULL), OMNI_OK);
    audio.n_audio = 1;
    assert_int_equal(om_queue_push(q, &audio, NULL), OMNI_AGAIN);
    om_queue_free(q);                                           /* with an event inside */
}

static void a_failure_always_fits(void **state)
{
    char why[2000];
    omni_event event = {
        .type = OMNI_EVENT_FAILED, .status = OMNI_ERR_MEMORY, .text = why, .n_text = sizeof why - 1
    };
    om_queue *q;

    (void)state;
    memset(why, 'w', sizeof why);
    assert_int_equal(om_queue_new(2, 1000, &q), OMNI_OK);
    assert_int_equal(om_queue_push(q, &event, NULL), OMNI_OK);
    assert_int_equal(om_queue_pull(q, &event), OMNI_OK);
    assert_int_equal(event.status, OMNI_ERR_MEMORY);
    assert_true(event.n_text > 100 && strlen(event.text) == event.n_text);
    om_queue_free(q);
}

enum { MANY = 20000 };

static void *produce(void *user)
{
    om_queue *q = user;
    char text[400];

    for (int i = 0; i < MANY; i++) {
        omni_event event;

        snprintf(text, sizeof text, "%d %*s", i, i % 300, "");
        event = text_event(text);
        while (om_queue_push(q, &event, NULL) == OMNI_AGAIN)
            sched_yield();
    }
    return NULL;
}

static void serves_two_threads(void **state)
{
    omni_event event;
    pthread_t thread;
    om_queue *q;

    (void)state;
    assert_int_equal(om_queue_new(16, 2000, &q), OMNI_OK);
    assert_int_equal(pthread_create(&thread, NULL, produce, q), 0);
    for (int i = 0; i < MANY; i++) {
        int n = -1;

        while (om_queue_pull(q, &event) != OMNI_OK)
            sched_yield();
        assert_int_equal(sscanf(event.text, "%d", &n), 1);
        assert_int_equal(n, i);
        assert_int_equal(strlen(event.text), event.n_text);
    }
    pthread_join(thread, NULL);
    om_queue_free(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_order_and_payload),
        cmocka_unit_test(is_bounded_in_events),
        cmocka_unit_test(is_bounded_in_bytes),
        cmocka_unit_test(a_failure_always_fits),
        cmocka_unit_test(serves_two_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
