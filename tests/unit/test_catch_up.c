/* What the LLM reads of a conversation between turns: when, how much, and that no answer depends on it. */
#include "unit/toy.h"

#include "core/history.h"
#include "core/prefill.h"
#include "core/turn.h"

enum { TURNS = 12, TOKENS = 8 };

/* A context of four questions. */
static omni_engine *small_engine(int n_slots, bool catch_up)
{
    omni_engine_params params = omni_engine_default_params();
    omni_engine *engine = NULL;

    params.n_slots = n_slots;
    params.n_threads = 1;
    params.n_ctx = 4 * om_prompt_positions(&model->prompt, 10);
    params.prefill_chunk = 7;
    params.catch_up = catch_up;
    assert_int_equal(omni_engine_new(model, &params, &engine), OMNI_OK);
    engine->most_busy = 2.0;    /* nobody plays what comes: it is all work */
    return engine;
}

static void until_idle(omni_engine *engine)
{
    for (int idle = 0, steps = 0; idle < 2; steps++) {
        idle = omni_engine_step(engine) == OMNI_AGAIN ? idle + 1 : 0;
        assert_true(steps < 1000);
    }
}

/* The question comes in before it ends, as from a microphone. */
static void ask_slowly(omni_session *s, int kind)
{
    float x[12000];

    make_sound(x, 12000, kind);
    assert_int_equal(omni_session_push_audio(s, x, 12000), OMNI_OK);
    until_idle(s->engine);
    assert_int_equal(omni_session_end_input(s), OMNI_OK);
}

/* Spoken and typed, until turns were forgotten several times. Each question finds all that is remembered in the cache. */
static void reading_between_turns_changes_nothing(void **state)
{
    answer answers[2][TURNS];
    int scripts[2][TURNS], forgot[2] = {0};

    (void)state;
    for (int on = 0; on < 2; on++) {
        omni_engine *engine = small_engine(1, on);
        omni_session *s = new_session(engine, TOKENS);

        for (int turn = 0; turn < TURNS; turn++) {
            int turns = s->script.n_turns;
            omni_stats stats;

            if (turn % 5 == 3)
                assert_int_equal(omni_session_push_text(s, "and then"), OMNI_OK);
            else
                ask_slowly(s, turn % 4);
            finish(s, &answers[on][turn]);
            assert_int_equal(answers[on][turn].end, OMNI_EVENT_END);
            assert_int_equal(omni_session_get_stats(s, &stats), OMNI_OK);
            if (s->script.n_turns <= turns)
                forgot[on]++;
            else if (on)
                assert_true(stats.n_prompt_cached >= s->script_before);
            if (on && turn % 5 != 3)
                assert_true(stats.n_prompt_cached >= s->script_before);
            else if (s->script.n_turns <= turns)
                assert_true(stats.n_prompt_cached < s->script_before);
            scripts[on][turn] = s->script.n;
            until_idle(engine);
            if (on)
                assert_int_equal(om_lm_used(engine->lm, 0), s->script.n);
        }
        omni_session_free(s);
        omni_engine_free(engine);
    }
    assert_true(forgot[0] > 2 && forgot[1] == forgot[0]);
    for (int turn = 0; turn < TURNS; turn++) {
        assert_int_equal(scripts[0][turn], scripts[1][turn]);
        assert_same_answer(&answers[0][turn], &answers[1][turn]);
        forget_answer(&answers[0][turn]);
        forget_answer(&answers[1][turn]);
    }
}

/* Somebody who listens will be asked aloud: room is made while nobody asks anything. So the answer can be prepared ahead. */
static void room_is_made_after_an_answer(void **state)
{
    omni_turn_params turning = omni_turn_default_params();

    (void)state;
    for (int on = 0; on < 2; on++) {
        omni_engine *engine = small_engine(1, on);
        omni_session *s = new_session(engine, TOKENS);
        int forgot = 0, tight = 0;

        assert_int_equal(omni_session_set_turns(s, &turning), OMNI_OK);
        for (int turn = 0; turn < TURNS; turn++) {
            int turns = s->script.n_turns;
            answer a;

            say(s, turn % 4, &a);
            forget_answer(&a);
            until_idle(engine);
            if (on) {
                assert_int_equal(om_lm_used(engine->lm, 0), s->script.n);
                assert_true(om_history_fits(s, om_history_next_question(s)));
            }
            forgot += s->script.n_turns <= turns;
            tight += !om_history_fits(s, om_history_next_question(s));
        }
        assert_true(forgot > 2 && (on || tight > 2));
        omni_session_free(s);
        omni_engine_free(engine);
    }
}

static void turns_put_in_are_read(void **state)
{
    answer a[2];

    (void)state;
    for (int on = 0; on < 2; on++) {
        omni_engine *engine = small_engine(1, on);
        omni_session *s = new_session(engine, TOKENS);

        assert_int_equal(omni_session_add_turn(s, "how are you", "fine", NULL), OMNI_OK);
        until_idle(engine);
        assert_int_equal(om_lm_used(engine->lm, 0), on ? s->script.n : 0);
        say(s, 1, &a[on]);
        omni_session_free(s);
        omni_engine_free(engine);
    }
    assert_same_answer(&a[0], &a[1]);
    forget_answer(&a[0]);
    forget_answer(&a[1]);
}

/* Who waits for a first sound comes first; what is over is not read. */
static void nobody_waits_for_it(void **state)
{
    omni_engine *engine = small_engine(2, true);
    omni_session *s = new_session(engine, TOKENS), *other = new_session(engine, TOKENS);
    omni_session_params alone = omni_session_default_params();
    answer a;

    (void)state;
    ask_sound(other, 2);
    while (other->state <= OM_LISTEN)
        assert_int_equal(omni_engine_step(engine), OMNI_OK);
    assert_int_equal(omni_session_add_turn(s, "how are you", "fine", NULL), OMNI_OK);
    while (other->stats.t_first_audio == 0) {
        assert_int_equal(omni_engine_step(engine), OMNI_OK);
        assert_int_equal(om_lm_used(engine->lm, s->slot), 0);
    }
    engine->most_busy = -1.0;   /* nor while the engine is too busy for it */
    finish(other, &a);
    assert_int_equal(a.end, OMNI_EVENT_END);
    forget_answer(&a);
    until_idle(engine);
    assert_int_equal(om_lm_used(engine->lm, s->slot), 0);
    engine->most_busy = 2.0;
    engine->room = other->wants_ahead = true;       /* nor while an answer is prepared ahead */
    assert_int_equal(om_prefill_between(engine), OMNI_AGAIN);
    other->wants_ahead = false;
    assert_int_equal(om_prefill_between(engine), OMNI_OK);
    until_idle(engine);
    assert_int_equal(om_lm_used(engine->lm, s->slot), s->script.n);
    alone.keep_history = false;
    assert_int_equal(omni_session_set_params(s, &alone), OMNI_OK);
    om_lm_cut(engine->lm, s->slot, 0);
    assert_int_equal(omni_engine_step(engine), OMNI_AGAIN);
    assert_int_equal(om_lm_used(engine->lm, s->slot), 0);
    omni_session_free(s);
    omni_session_free(other);
    omni_engine_free(engine);
}

/* So many positions in a step as the machine computes in a moment. */
static void a_slice_is_short(void **state)
{
    omni_engine *engine = small_engine(1, true);
    omni_session *s = new_session(engine, TOKENS);
    int used = 0;

    (void)state;
    assert_int_equal(engine->n_between, engine->params.prefill_chunk);     /* a toy is quick */
    engine->n_between = 2;
    assert_int_equal(omni_session_add_turn(s, "how are you today", "fine", NULL), OMNI_OK);
    while (omni_engine_step(engine) == OMNI_OK) {
        int now = om_lm_used(engine->lm, 0);

        assert_true(now > used && (used == 0 || now <= used + 2));         /* the prefix was there */
        used = now;
    }
    assert_int_equal(used, s->script.n);
    omni_session_free(s);
    omni_engine_free(engine);
}

/* The last answer is another place in the script then. */
static void trim_cuts_after_room_was_made(void **state)
{
    omni_turn_params turning = omni_turn_default_params();
    omni_engine *engine = small_engine(1, true);
    omni_session *s = new_session(engine, TOKENS);
    int32_t said[TOKENS];
    int n, kept, turns;
    answer a;

    (void)state;
    assert_int_equal(omni_session_set_turns(s, &turning), OMNI_OK);
    do {
        turns = s->script.n_turns;
        say(s, 1, &a);
        forget_answer(&a);
        until_idle(engine);
    } while (s->script.n_turns > turns);
    assert_int_equal(s->answer_at - s->script.turns[s->script.n_turns - 1].at,
                     om_prompt_positions(&model->prompt, 10) - model->prompt.begin.n);
    n = s->script.n - s->answer_at;
    assert_true(n > 1 && n <= TOKENS);
    memcpy(said, s->script.ids + s->answer_at, (size_t)n * sizeof *said);
    assert_int_equal(omni_session_trim(s, 1, &kept), OMNI_OK);
    assert_true(kept >= 0 && kept < n);
    assert_int_equal(s->script.n, s->answer_at + kept);
    assert_memory_equal(s->script.ids + s->answer_at, said, (size_t)kept * sizeof *said);
    omni_session_free(s);
    omni_engine_free(engine);
}

/* Also when its turn goes to make room for the very question that is asked. */
static void the_preamble_is_never_missing(void **state)
{
    omni_session_params params = omni_session_default_params();
    int told_again = 0;

    (void)state;
    for (int on = 0; on < 2; on++) {
        omni_engine *engine = small_engine(1, on);
        omni_session *s;

        params.max_tokens = TOKENS;
        params.preamble = "tell me";
        assert_int_equal(omni_session_new(engine, &params, &s), OMNI_OK);
        for (int turn = 0; turn < TURNS; turn++) {
            answer a;

            say(s, turn % 4, &a);
            assert_int_equal(a.end, OMNI_EVENT_END);
            forget_answer(&a);
            assert_null(om_turn_untold(s));
            told_again += turn > 0 && s->told_in == s->turn - 1;
        }
        omni_session_free(s);
        omni_engine_free(engine);
    }
    assert_true(told_again > 2);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading_between_turns_changes_nothing), cmocka_unit_test(room_is_made_after_an_answer),
        cmocka_unit_test(turns_put_in_are_read),                 cmocka_unit_test(nobody_waits_for_it),
        cmocka_unit_test(a_slice_is_short),
        cmocka_unit_test(trim_cuts_after_room_was_made),         cmocka_unit_test(the_preamble_is_never_missing),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
