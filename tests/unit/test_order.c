/* The order of work among sessions: who runs dry comes first, who has sound left last. */
#include "unit/toy.h"

#include "core/order.h"
#include "core/turn.h"

enum { TOKENS = 8 };

static const int64_t far = 1000000000;      /* µs */

static void drop_events(omni_session *s)
{
    omni_event e;

    while (omni_session_next_event(s, &e) == OMNI_OK)
        assert_true(e.type < OMNI_EVENT_END);
}

/* A session whose answer has begun to sound. */
static omni_session *sounding(omni_engine *engine)
{
    omni_session *s = new_session(engine, 200);

    ask_sound(s, 1);
    while (s->stats.t_first_audio == 0)
        assert_int_equal(omni_engine_step(engine), OMNI_OK);
    return s;
}

/* While another waits for its first sound, and not longer. */
static void an_answer_ahead_of_its_listener_rests(void **state)
{
    omni_engine *engine = new_engine(model, 2, 0);
    omni_session *s = sounding(engine), *other = new_session(engine, TOKENS);
    answer a;
    int n_tokens;

    (void)state;
    s->started_at += far;       /* nothing of it was played */
    ask_sound(other, 2);
    while (other->state <= OM_LISTEN)
        assert_int_equal(omni_engine_step(engine), OMNI_OK);
    n_tokens = s->n_tokens;
    while (other->stats.t_first_audio == 0) {
        assert_int_equal(omni_engine_step(engine), OMNI_OK);
        assert_int_equal(s->n_tokens, n_tokens);
        drop_events(s);
    }
    assert_int_equal(omni_engine_step(engine), OMNI_OK);
    assert_int_equal(s->n_tokens, n_tokens + 1);
    omni_session_cancel(s);
    finish(other, &a);
    assert_int_equal(a.end, OMNI_EVENT_END);
    forget_answer(&a);
    omni_session_free(s);
    omni_session_free(other);
    omni_engine_free(engine);
}

/* Nor does it rest when all that came was played, nor for somebody whose receiver makes no room. */
static void it_does_not_rest_otherwise(void **state)
{
    omni_engine *engine = new_engine(model, 2, 0);
    omni_session *s = sounding(engine), *other = new_session(engine, TOKENS);
    omni_event text = { .type = OMNI_EVENT_TEXT, .text = "x", .n_text = 1 };

    (void)state;
    engine->one_waits = true;
    engine->looked_at = om_now_us();
    s->started_at += far;
    assert_true(om_order_rests(s));
    s->started_at -= 2 * far;
    assert_false(om_order_rests(s));
    ask_sound(other, 2);
    while (other->state <= OM_LISTEN)
        assert_int_equal(omni_engine_step(engine), OMNI_OK);
    om_order_look(engine, om_now_us());
    assert_true(engine->one_waits);
    while (om_queue_has_room(other->events, 2, 0))
        assert_int_equal(om_queue_push(other->events, &text, NULL), OMNI_OK);
    om_order_look(engine, om_now_us());
    assert_false(engine->one_waits);
    omni_session_free(s);
    omni_session_free(other);
    omni_engine_free(engine);
}

/* An answer that is about to run dry has every other step for itself, and the other question is heard nonetheless. */
static void answers_do_not_run_dry(void **state)
{
    omni_engine *engine = new_engine(model, 2, 0);
    omni_session *s = sounding(engine), *other = new_session(engine, TOKENS);
    int hurried = 0, plain = 0;
    answer a;

    (void)state;
    om_encoder_set_slice(engine->encoder, 1.0);     /* half a layer */
    s->started_at -= far;       /* so long ago that all of it was played */
    ask_sound(other, 2);
    while (other->state <= OM_ENCODE) {
        int64_t spent = other->stats.t_encoder;
        int n_tokens = s->n_tokens;

        assert_int_equal(omni_engine_step(engine), OMNI_OK);
        assert_int_equal(s->n_tokens, n_tokens + 1);
        if (engine->hurries)
            assert_int_equal(other->stats.t_encoder, spent);
        hurried += engine->hurries;
        plain += !engine->hurries;
        drop_events(s);
    }
    assert_true(hurried > 1 && plain > 1 && abs(hurried - plain) <= 1);
    omni_session_cancel(s);
    finish(other, &a);
    assert_int_equal(a.end, OMNI_EVENT_END);
    forget_answer(&a);
    omni_session_free(s);
    omni_session_free(other);
    omni_engine_free(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_ahead_of_its_listener_rests),
        cmocka_unit_test(it_does_not_rest_otherwise),
        cmocka_unit_test(answers_do_not_run_dry),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
