/* Turns put into a history and taken out of it: the model reads what is left as if it had never been otherwise. */
#include "omni.h"

#include "unit/fresh.h"

static omni_model *toy, *tiny;

static int load(void **state)
{
    omni_model_params params = omni_model_default_params();

    (void)state;
    toy = load_toy("", true);
    params.n_gpu_layers = 0;
    if (omni_model_load(getenv("OMNI_TEST_MODEL"), &params, &tiny) != OMNI_OK)
        fail_msg("%s", omni_last_error());
    return 0;
}

static int unload(void **state)
{
    (void)state;
    omni_model_free(toy);
    omni_model_free(tiny);
    return 0;
}

static void ask(omni_session *session, const char *question, answer *a)
{
    assert_int_equal(omni_session_push_text(session, question), OMNI_OK);
    finish(session, a);
    assert_int_equal(a->end, OMNI_EVENT_END);
}

static void assert_same_script(const om_script *a, const om_script *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->ids, b->ids, (size_t)a->n * sizeof *a->ids);
    assert_int_equal(a->n_rows, b->n_rows);
    if (a->n_rows)
        assert_memory_equal(a->rows, b->rows, (size_t)a->n_rows * (size_t)a->width * sizeof *a->rows);
    assert_int_equal(a->n_turns, b->n_turns);
    for (int i = 0; i < a->n_turns; i++)
        assert_int_equal(a->turns[i].at, b->turns[i].at);
}

/* The bundled model's own answers, put into another session's history, are the tokens that it said. */
static void what_is_put_in_is_as_if_it_had_been_said(void **state)
{
    static const char *const questions[] = { "What is the capital of France?", "And of Spain?", "How are you?" };
    omni_engine *engine = new_engine(tiny, 2, 0);
    omni_session *lived = new_session(engine, 64), *told = new_session(engine, 64);
    answer a, b;
    uint32_t turn;

    (void)state;
    for (int i = 0; i < 3; i++) {
        ask(lived, questions[i], &a);
        if (i == 2)
            break;
        a.text[a.n_text] = '\0';
        assert_int_equal(omni_session_add_turn(told, questions[i], a.text, &turn), OMNI_OK);
        assert_int_equal(turn, i);
        assert_same_script(&told->script, &lived->script);
        assert_int_equal(omni_session_trim(told, 0, NULL), OMNI_ERR_STATE);
        forget_answer(&a);
    }
    ask(told, questions[2], &b);
    assert_same_script(&told->script, &lived->script);
    assert_same_answer(&a, &b);
    forget_answer(&a);
    forget_answer(&b);
    omni_session_free(lived);
    omni_session_free(told);
    omni_engine_free(engine);
}

/* Four turns: spoken, told, typed, spoken. */
static void lead_up_to(omni_session *session)
{
    for (int i = 0; i < 4; i++) {
        answer a;

        if (i == 1) {
            assert_int_equal(omni_session_add_turn(session, "who", "nobody", NULL), OMNI_OK);
            continue;
        }
        if (i == 2)
            assert_int_equal(omni_session_push_text(session, "tell"), OMNI_OK);
        else
            ask_sound(session, i);
        finish(session, &a);
        assert_int_equal(a.end, OMNI_EVENT_END);
        forget_answer(&a);
    }
}

static void what_is_taken_out_is_forgotten(void **state)
{
    enum { TURNS = 4 };
    omni_engine *engine = new_engine(toy, 1, 0);
    omni_session *session = new_session(engine, 6);

    (void)state;
    for (uint32_t gone = 0; gone < TURNS; gone++) {
        om_mark mark[TURNS + 1];
        int32_t ids[1000];
        answer a;
        int n, closing = toy->prompt.turn_end.n, kept;

        assert_int_equal(omni_session_reset(session), OMNI_OK);
        lead_up_to(session);
        memcpy(mark, session->script.turns, TURNS * sizeof *mark);
        mark[TURNS].at = n = session->script.n;
        assert_true(n <= 1000);
        memcpy(ids, session->script.ids, (size_t)n * sizeof *ids);
        assert_int_equal(omni_session_forget_turn(session, TURNS), OMNI_ERR_ARG);
        assert_int_equal(omni_session_forget_turn(session, gone), OMNI_OK);
        assert_int_equal(omni_session_forget_turn(session, gone), OMNI_OK);     /* once more: nothing */
        /* What is left: the opening and the other turns, the last one not closed. */
        kept = gone == TURNS - 1 ? mark[gone].at - closing : n - (mark[gone + 1].at - mark[gone].at);
        assert_int_equal(session->script.n, kept);
        assert_memory_equal(session->script.ids, ids, (size_t)(mark[gone].at - closing) * sizeof *ids);
        if (gone < TURNS - 1)
            assert_memory_equal(session->script.ids + mark[gone].at, ids + mark[gone + 1].at,
                                (size_t)(n - mark[gone + 1].at) * sizeof *ids);
        assert_int_equal(session->script.n_rows, 10 * (gone == 0 || gone == 3 ? 1 : 2));
        assert_true(om_lm_used(engine->lm, 0) <= (gone < TURNS - 1 ? mark[gone].at : kept));
        assert_int_equal(omni_session_trim(session, 0, NULL), gone < TURNS - 1 ? OMNI_OK : OMNI_ERR_STATE);
        say(session, 1, &a);
        assert_int_equal(session->script.turns[TURNS - 1].number, TURNS);
        check_against_fresh(toy, session);
        forget_answer(&a);
    }
    omni_session_free(session);
    omni_engine_free(engine);
}

static void a_single_turn_leaves_an_empty_history(void **state)
{
    omni_engine *engine = new_engine(toy, 1, 0);
    omni_session *session = new_session(engine, 6);
    answer first, again;

    (void)state;
    say(session, 1, &first);
    assert_int_equal(omni_session_forget_turn(session, 0), OMNI_OK);
    assert_int_equal(session->script.n, 0);
    say(session, 1, &again);
    assert_same_answer(&first, &again);
    forget_answer(&first);
    forget_answer(&again);
    omni_session_free(session);
    omni_engine_free(engine);
}

/* The oldest go when there is no room; what can never fit is refused, and nothing has changed. */
static void a_full_context_forgets_the_oldest(void **state)
{
    omni_engine *engine = new_engine(toy, 1, 3 * om_prompt_positions(&toy->prompt, 10));
    omni_session *session = new_session(engine, 4);
    char text[2000];
    uint32_t turn;
    answer a;

    (void)state;
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(omni_session_add_turn(session, i % 3 ? "who" : " ", "nobody", &turn), OMNI_OK);
        assert_int_equal(turn, i);
        assert_true(session->script.n <= engine->params.n_ctx);
    }
    assert_true(session->script.n_turns > 1 && session->script.n_turns < 20);
    assert_int_equal(session->script.turns[session->script.n_turns - 1].number, 19);
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    turn = (uint32_t)session->script.n;
    assert_int_equal(omni_session_add_turn(session, "who", text, NULL), OMNI_ERR_LIMIT);
    assert_int_equal(session->script.n, turn);
    say(session, 1, &a);
    assert_int_equal(a.end, OMNI_EVENT_END);
    check_against_fresh(toy, session);
    forget_answer(&a);
    omni_session_free(session);
    omni_engine_free(engine);
}

static void bad_arguments_and_times(void **state)
{
    omni_engine *engine = new_engine(toy, 1, 0);
    omni_session *session = new_session(engine, 4);
    answer a;

    (void)state;
    assert_int_equal(omni_session_add_turn(NULL, "a", "b", NULL), OMNI_ERR_ARG);
    assert_int_equal(omni_session_add_turn(session, NULL, "b", NULL), OMNI_ERR_ARG);
    assert_int_equal(omni_session_add_turn(session, "a", NULL, NULL), OMNI_ERR_ARG);
    assert_int_equal(omni_session_add_turn(session, "a", " \n", NULL), OMNI_ERR_ARG);
    assert_int_equal(omni_session_add_turn(session, "a", "\xff", NULL), OMNI_ERR_ARG);
    assert_int_equal(omni_session_add_turn(session, "\xff", "b", NULL), OMNI_ERR_ARG);
    assert_int_equal(omni_session_forget_turn(NULL, 0), OMNI_ERR_ARG);
    assert_int_equal(omni_session_forget_turn(session, 0), OMNI_ERR_ARG);
    assert_int_equal(session->script.n, 0);
    ask_sound(session, 1);
    assert_int_equal(omni_session_add_turn(session, "a", "b", NULL), OMNI_ERR_STATE);
    omni_engine_step(engine);
    omni_engine_step(engine);
    assert_int_equal(omni_session_forget_turn(session, 0), OMNI_ERR_STATE);
    finish(session, &a);
    forget_answer(&a);
    omni_session_free(session);
    omni_engine_free(engine);
}

/* More bytes than any tokens of the context could have: told before they are tokenised. */
static void texts_that_can_not_fit(void **state)
{
    enum { CONTEXT = 128, BYTES = 64 * (CONTEXT + 1) };
    omni_engine *engine = new_engine(toy, 1, CONTEXT);
    omni_session *session = new_session(engine, 5);
    omni_session_params params = omni_session_default_params();
    static char text[BYTES + 1];
    answer a;

    (void)state;
    memset(text, 'a', BYTES);
    assert_int_equal(omni_session_add_turn(session, "a", text, NULL), OMNI_ERR_LIMIT);
    assert_non_null(strstr(omni_last_error(), "can not fit"));
    params.preamble = text;
    assert_int_equal(omni_session_set_params(session, &params), OMNI_ERR_LIMIT);
    assert_int_equal(omni_session_push_text(session, text), OMNI_OK);
    finish(session, &a);
    assert_int_equal(a.end, OMNI_EVENT_FAILED);
    assert_int_equal(a.status, OMNI_ERR_LIMIT);
    assert_non_null(strstr(a.why, "can not fit"));
    assert_int_equal(session->script.n, 0);
    forget_answer(&a);
    omni_session_free(session);
    omni_engine_free(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_in_is_as_if_it_had_been_said),
        cmocka_unit_test(what_is_taken_out_is_forgotten),
        cmocka_unit_test(a_single_turn_leaves_an_empty_history),
        cmocka_unit_test(a_full_context_forgets_the_oldest),
        cmocka_unit_test(bad_arguments_and_times),
        cmocka_unit_test(texts_that_can_not_fit),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
