/* Conversations: history against a fresh prefill, the prefix cache, forgetting, interrupting, several at
 * once. */
#include "omni.h"

#include "unit/fresh.h"
#include "unit/toy.h"

static int count(const om_script *script, int from, int32_t id)
{
    int n = 0;

    for (int i = from; i < script->n; i++)
        n += script->ids[i] == id;
    return n;
}

static void history_equals_one_long_prompt(void **state)
{
    omni_engine *engine = new_engine(model, 1, 0);
    omni_session *session = new_session(engine, 6);
    const om_prompt *p = &model->prompt;
    answer a, alone;
    omni_stats stats;

    (void)state;
    engine->most_busy = 2.0;    /* the answer's last token is read between turns, however slow the machine is */
    say(session, 2, &alone);
    assert_int_equal(omni_session_reset(session), OMNI_OK);
    for (int turn = 0; turn < 3; turn++) {
        int before = session->script.n;

        if (turn == 1) {
            assert_int_equal(omni_session_push_text(session, " tell <|eot_id|> me "), OMNI_OK);
            finish(session, &a);
        } else {
            say(session, turn, &a);
        }
        assert_int_equal(a.end, OMNI_EVENT_END);
        check_against_fresh(model, session);
        assert_int_equal(omni_session_get_stats(session, &stats), OMNI_OK);
        assert_int_equal(stats.n_prompt_cached, turn ? before : p->begin.n + p->user.n);
        /* The answer before was closed once, and what people type opens nothing. */
        if (turn) {
            assert_int_equal(p->turn_end.n, 1);
            assert_int_equal(session->script.ids[before], p->turn_end.ids[0]);
            assert_int_equal(count(&session->script, before + 1, p->turn_end.ids[0]), 1); /* in the suffix */
        }
        if (turn == 2)      /* the history made a difference */
            assert_true(a.n_text != alone.n_text || memcmp(a.text, alone.text, a.n_text) != 0);
        forget_answer(&a);
    }
    assert_int_equal(session->script.n_turns, 3);
    forget_answer(&alone);
    omni_session_free(session);
    omni_engine_free(engine);
}

static void prefix_cache_changes_nothing(void **state)
{
    omni_engine_params params = omni_engine_default_params();
    answer on[2], off[2];

    (void)state;
    for (int cached = 0; cached < 2; cached++) {
        omni_engine *engine;
        omni_session *session;
        omni_stats stats;

        params.n_threads = 1;
        params.prefix_cache = cached;
        assert_int_equal(omni_engine_new(model, &params, &engine), OMNI_OK);
        session = new_session(engine, 8);
        for (int turn = 0; turn < 2; turn++) {
            say(session, turn, cached ? &on[turn] : &off[turn]);
            if (turn == 0) {
                assert_int_equal(omni_session_get_stats(session, &stats), OMNI_OK);
                assert_int_equal(stats.n_prompt_cached > 0, cached);
            }
        }
        omni_session_free(session);
        omni_engine_free(engine);
    }
    for (int turn = 0; turn < 2; turn++) {
        assert_same_answer(&on[turn], &off[turn]);
        forget_answer(&on[turn]);
        forget_answer(&off[turn]);
    }
}

static void sharing_of_layer_0_changes_nothing(void **state)
{
    omni_engine_params params = omni_engine_default_params();
    answer shared, plain;

    (void)state;
    for (int on = 0; on < 2; on++) {
        omni_engine *engine;
        omni_session *session;

        params.n_threads = 1;
        params.layer0_sharing = on;
        assert_int_equal(omni_engine_new(model, &params, &engine), OMNI_OK);
        session = new_session(engine, 8);
        say(session, 1, on ? &shared : &plain);
        omni_session_free(session);
        omni_engine_free(engine);
    }
    assert_same_answer(&shared, &plain);
    forget_answer(&shared);
    forget_answer(&plain);
}

/* Five at once, two turns each: one after another, in one pass per stage, and that with one KV cache for all. */
static void batching_changes_nothing(void **state)
{
    enum { N = 5, WAYS = 3 };
    omni_engine_params params = omni_engine_default_params();
    answer answers[WAYS][2][N];
    int steps[WAYS] = {0};

    (void)state;
    memset(answers, 0, sizeof answers);
    params.n_slots = N;
    params.n_threads = 1;
    params.prefill_chunk = 12;
    for (int way = 0; way < WAYS; way++) {
        omni_session *sessions[N];
        omni_engine *engine;

        params.batching = way > 0;
        params.kv_unified = way > 1;
        assert_int_equal(omni_engine_new(model, &params, &engine), OMNI_OK);
        for (int i = 0; i < N; i++)
            sessions[i] = new_session(engine, 6 + i);
        for (int turn = 0; turn < 2; turn++) {
            bool begun[N] = { false };
            int running = N;

            for (int i = 0; i < N; i++) {
                if (i == 3)     /* ids among rows */
                    assert_int_equal(omni_session_push_text(sessions[i], "how are you"), OMNI_OK);
                else
                    ask_sound(sessions[i], i + turn);
            }
            for (; running; steps[way]++) {
                running = 0;
                assert_int_equal(omni_engine_step(engine), OMNI_OK);
                for (int i = 0; i < N; i++)
                    running += !listen_to(sessions[i], &answers[way][turn][i], &begun[i]);
            }
        }
        for (int i = 0; i < N; i++)
            omni_session_free(sessions[i]);
        omni_engine_free(engine);
    }
    assert_true(steps[1] < steps[0]);       /* prefills went together */
    for (int turn = 0; turn < 2; turn++)
        for (int i = 0; i < N; i++) {
            assert_int_equal(answers[0][turn][i].end, OMNI_EVENT_END);
            for (int way = 1; way < WAYS; way++) {
                assert_same_answer(&answers[0][turn][i], &answers[way][turn][i]);
                forget_answer(&answers[way][turn][i]);
            }
            forget_answer(&answers[0][turn][i]);
        }
}

static void sessions_do_not_disturb_each_other(void **state)
{
    enum { N = 3 };
    omni_engine *engine = new_engine(model, N, 0);
    omni_session *sessions[N];
    answer alone[N][2], together[N] = { { .n_text = 0 } };
    bool begun[N] = { false };
    int running;

    (void)state;
    for (int i = 0; i < N; i++) {
        sessions[i] = new_session(engine, 6 + 2 * i);
        say(sessions[i], i, &alone[i][0]);
        say(sessions[i], i + 1, &alone[i][1]);
        assert_int_equal(omni_session_reset(sessions[i]), OMNI_OK);
    }
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < N; i++) {
            begun[i] = false;
            ask_sound(sessions[i], i + turn);
            if (i == 0)     /* they start at different times */
                for (int k = 0; k < 4; k++)
                    omni_engine_step(engine);
        }
        do {
            running = 0;
            omni_engine_step(engine);
            for (int i = 0; i < N; i++)
                running += !listen_to(sessions[i], &together[i], &begun[i]);
        } while (running);
        for (int i = 0; i < N; i++) {
            assert_same_answer(&together[i], &alone[i][turn]);
            forget_answer(&together[i]);
            forget_answer(&alone[i][turn]);
        }
    }
    for (int i = 0; i < N; i++)
        omni_session_free(sessions[i]);
    omni_engine_free(engine);
}

static void oldest_turns_are_forgotten(void **state)
{
    int prompt = om_prompt_positions(&model->prompt, 10), most = 0;
    omni_engine *engine = new_engine(model, 1, 3 * prompt);
    omni_session *session = new_session(engine, 8);
    bool dropped = false;

    (void)state;
    for (int turn = 0; turn < 8; turn++) {
        int turns = session->script.n_turns;
        answer a;

        say(session, turn % 4, &a);
        assert_int_equal(a.end, OMNI_EVENT_END);
        assert_int_equal(a.reason, OMNI_END_LENGTH);
        assert_true(session->script.n <= 3 * prompt);
        dropped |= session->script.n_turns <= turns;
        /* What is left reads like a conversation that began there. */
        assert_memory_equal(session->script.ids, model->prompt.begin.ids,
                            (size_t)model->prompt.begin.n * sizeof(int32_t));
        assert_int_equal(session->script.turns[0].at, model->prompt.begin.n);
        assert_int_equal(session->script.n_rows, 10 * session->script.n_turns);
        check_against_fresh(model, session);
        most = session->script.n_turns > most ? session->script.n_turns : most;
        forget_answer(&a);
    }
    assert_true(dropped && most >= 2);
    omni_session_free(session);
    omni_engine_free(engine);
}

static void full_context_ends_the_answer(void **state)
{
    int prompt = om_prompt_positions(&model->prompt, 10);
    omni_engine *engine = new_engine(model, 1, prompt + 5);
    omni_session *session = new_session(engine, 100);
    char text[2000];
    answer a;

    (void)state;
    for (int turn = 0; turn < 2; turn++) {
        say(session, turn, &a);
        assert_int_equal(a.end, OMNI_EVENT_END);
        assert_int_equal(a.reason, OMNI_END_CONTEXT);
        assert_int_equal(session->n_tokens, 6);     /* five were fed, the sixth picked */
        forget_answer(&a);
    }
    /* A question that can not fit fails, and leaves the session in order. */
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(omni_session_push_text(session, text), OMNI_OK);
    finish(session, &a);
    assert_int_equal(a.end, OMNI_EVENT_FAILED);
    assert_int_equal(a.status, OMNI_ERR_LIMIT);
    assert_true(strlen(a.why) > 0);
    assert_true(om_lm_used(engine->lm, 0) <= session->script.n);
    forget_answer(&a);
    say(session, 2, &a);
    assert_int_equal(a.end, OMNI_EVENT_END);
    check_against_fresh(model, session);
    forget_answer(&a);
    omni_session_free(session);
    omni_engine_free(engine);
}

/* It would not fit into an empty context either: the turns before it stay. */
static void a_question_that_is_too_long_takes_nothing_along(void **state)
{
    omni_engine *engine = new_engine(model, 1, 4 * om_prompt_positions(&model->prompt, 10));
    omni_session *session = new_session(engine, 4);
    int32_t ids[1000];
    char text[2000];
    answer a;
    int n;

    (void)state;
    for (int turn = 0; turn < 2; turn++) {
        say(session, turn, &a);
        forget_answer(&a);
    }
    n = session->script.n;
    assert_true(n <= 1000);
    memcpy(ids, session->script.ids, (size_t)n * sizeof *ids);
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(omni_session_push_text(session, text), OMNI_OK);
    finish(session, &a);
    assert_int_equal(a.status, OMNI_ERR_LIMIT);
    assert_int_equal(session->script.n, n);
    assert_int_equal(session->script.n_turns, 2);
    assert_memory_equal(session->script.ids, ids, (size_t)n * sizeof *ids);
    assert_true(om_lm_used(engine->lm, 0) > n / 2);     /* nor is it read again */
    forget_answer(&a);
    say(session, 2, &a);
    assert_int_equal(a.end, OMNI_EVENT_END);
    check_against_fresh(model, session);
    forget_answer(&a);
    omni_session_free(session);
    omni_engine_free(engine);
}

static void without_history_every_turn_is_the_first(void **state)
{
    omni_engine *engine = new_engine(model, 1, 0);
    omni_session_params params = omni_session_default_params();
    omni_session *session;
    answer first, again;

    (void)state;
    params.max_tokens = 6;
    params.keep_history = false;
    assert_int_equal(omni_session_new(engine, &params, &session), OMNI_OK);
    for (int turn = 0; turn < 3; turn++) {
        say(session, 1, turn ? &again : &first);
        assert_int_equal(session->script.n_turns, 1);
        if (turn) {
            assert_same_answer(&again, &first);
            forget_answer(&again);
        }
    }
    forget_answer(&first);
    omni_session_free(session);
    omni_engine_free(engine);
}

/* Trims at many places of an answer; what is kept grows with what was heard, and the talk goes on from there.
 */
static void only_what_was_heard_is_kept(void **state)
{
    enum { TOKENS = 12, CUTS = 9 };
    omni_engine *engine = new_engine(model, 1, 0);
    omni_session *session = new_session(engine, TOKENS);
    int kept, before = 0;

    (void)state;
    for (int i = 0; i < CUTS; i++) {
        answer a, next;
        uint64_t heard;
        size_t units = 0;
        int answer_at;

        assert_int_equal(omni_session_reset(session), OMNI_OK);
        say(session, 1, &a);
        answer_at = session->answer_at;
        heard = a.n_audio * (uint64_t)i / (CUTS - 1);
        for (uint64_t at = 0; units < session->voice.n_durations && at < heard; units++)
            at += (uint64_t)session->voice.durations[units] * 320;
        assert_int_equal(omni_session_trim(session, heard, &kept), OMNI_OK);
        assert_true(kept >= before && kept <= TOKENS);
        before = kept;
        if (i == 0)
            assert_int_equal(kept, 0);
        else if (i < CUTS - 1)
            assert_int_equal(kept, session->voice.unit_token[units - 1] + 1);
        else
            assert_int_equal(kept, TOKENS);
        assert_int_equal(session->script.n, answer_at + kept);
        assert_true(om_lm_used(engine->lm, 0) <= session->script.n);
        say(session, 2, &next);
        assert_int_equal(next.end, OMNI_EVENT_END);
        assert_int_equal(session->script.ids[answer_at + kept], model->prompt.turn_end.ids[0]);
        check_against_fresh(model, session);
        forget_answer(&a);
        forget_answer(&next);
    }
    omni_session_free(session);
    omni_engine_free(engine);
}

/* What counts is how the last answer was given, not how the next will be. */
static void trim_asks_how_the_last_answer_was_given(void **state)
{
    omni_engine *engine = new_engine(model, 1, 0);
    omni_session *session = new_session(engine, 8);
    omni_session_params params = omni_session_default_params();
    int kept, all;
    answer a;

    (void)state;
    say(session, 1, &a);
    forget_answer(&a);
    all = session->script.n;
    params.max_tokens = 8;
    params.speech = false;
    assert_int_equal(omni_session_set_params(session, &params), OMNI_OK);
    assert_int_equal(omni_session_trim(session, 1, &kept), OMNI_OK);
    assert_true(kept < 8 && session->script.n < all);
    say(session, 2, &a);
    forget_answer(&a);
    params.speech = true;
    assert_int_equal(omni_session_set_params(session, &params), OMNI_OK);
    assert_int_equal(omni_session_trim(session, 1, NULL), OMNI_ERR_STATE);
    omni_session_free(session);
    omni_engine_free(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(history_equals_one_long_prompt),
        cmocka_unit_test(prefix_cache_changes_nothing),
        cmocka_unit_test(sharing_of_layer_0_changes_nothing),
        cmocka_unit_test(batching_changes_nothing),
        cmocka_unit_test(sessions_do_not_disturb_each_other),
        cmocka_unit_test(oldest_turns_are_forgotten),
        cmocka_unit_test(full_context_ends_the_answer),
        cmocka_unit_test(a_question_that_is_too_long_takes_nothing_along),
        cmocka_unit_test(without_history_every_turn_is_the_first),
        cmocka_unit_test(only_what_was_heard_is_kept),
        cmocka_unit_test(trim_asks_how_the_last_answer_was_given),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
