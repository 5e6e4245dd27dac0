/* Calls of tools: the preamble that tells of them, answers that are calls, grammars. tools_oracle.py says what its model
 * answers to what. */
#include "unit/conversation.h"

#include "core/ahead.h"
#include "core/history.h"

#define CALL "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Paris\"}}"

static omni_model *model;

static int load(void **state)
{
    omni_model_params params = omni_model_default_params();
    const char *dir = getenv("OMNI_ORACLE_DIR");
    char path[1024];

    (void)state;
    assert_non_null(dir);
    snprintf(path, sizeof path, "%s/tools", dir);
    params.n_gpu_layers = 0;
    params.force_f32 = true;
    if (omni_model_load(path, &params, &model) != OMNI_OK)
        fail_msg("%s", omni_last_error());
    return 0;
}

static int unload(void **state)
{
    (void)state;
    omni_model_free(model);
    return 0;
}

/* The texts are gone when it returns. */
static void set(omni_session *s, const char *preamble, bool calls, const char *grammar)
{
    omni_session_params p = omni_session_default_params();
    char *a = preamble ? strdup(preamble) : NULL, *b = grammar ? strdup(grammar) : NULL;

    p.max_tokens = 100;
    p.preamble = a;
    p.calls = calls;
    p.grammar = b;
    if (omni_session_set_params(s, &p) != OMNI_OK)
        fail_msg("%s", omni_last_error());
    free(a);
    free(b);
}

static void check(const answer *a, const char *text, bool speech)
{
    assert_int_equal(a->end, OMNI_EVENT_END);
    assert_int_equal(a->reason, OMNI_END_STOP);
    assert_int_equal(a->n_text, strlen(text));
    assert_memory_equal(a->text, text, a->n_text);
    assert_true((a->n_audio > 0) == speech);
}

/* question NULL: spoken. How many positions its prompt had. */
static int expect(omni_session *s, const char *question, const char *text, bool speech)
{
    omni_stats stats;
    answer a;

    if (question)
        assert_int_equal(omni_session_push_text(s, question), OMNI_OK);
    else
        ask_sound(s, 1);
    finish(s, &a);
    check(&a, text, speech);
    forget_answer(&a);
    assert_int_equal(omni_session_get_stats(s, &stats), OMNI_OK);
    return stats.n_prompt;
}

static void the_model_says_how_it_is_told(void **state)
{
    omni_model *other = NULL;

    (void)state;
    assert_string_equal(omni_model_get_info(model)->tools_prompt, "<tools>{tools}</tools>");
    assert_int_equal(omni_model_load(getenv("OMNI_TEST_MODEL"), NULL, &other), OMNI_OK);
    assert_null(omni_model_get_info(other)->tools_prompt);
    omni_model_free(other);
}

static void a_call_is_text_without_speech(void **state)
{
    omni_engine *engine = new_engine(model, 1, 2000);
    omni_session *s = new_session(engine, 32);

    (void)state;
    expect(s, "how is the weather", "hello there", true);
    set(s, "<tools>get_weather</tools>", true, NULL);
    expect(s, "how is the weather", CALL, false);
    assert_int_equal(omni_session_trim(s, 0, NULL), OMNI_ERR_STATE);       /* nothing of it sounded */
    expect(s, NULL, CALL, false);
    expect(s, "in both", CALL "; {\"name\": \"get_weather\", \"parameters\": {\"city\": \"Rome\"}}", false);
    expect(s, "get_weather returned: 20 degrees", "it is mild", true);
    expect(s, NULL, "it is mild", true);
    /* Without calls it is an answer as any other, and spoken. */
    assert_int_equal(omni_session_reset(s), OMNI_OK);
    set(s, "<tools>get_weather</tools>", false, NULL);
    expect(s, NULL, CALL, true);
    omni_session_free(s);
    omni_engine_free(engine);
}

/* What was told is forgotten with the rest; a turn that is put in tells nothing. */
static void a_turn_that_was_put_in_tells_nothing(void **state)
{
    const char *text = "<tools>get_weather</tools>";
    omni_engine *engine = new_engine(model, 1, 1000);
    omni_session *s = new_session(engine, 32);

    (void)state;
    set(s, text, true, NULL);
    expect(s, NULL, CALL, false);
    assert_int_equal(omni_session_reset(s), OMNI_OK);
    assert_int_equal(omni_session_add_turn(s, "good day", "good day", NULL), OMNI_OK);
    expect(s, NULL, CALL, false);
    /* What was prepared ahead and thrown away told it in a turn that never was. */
    assert_int_equal(omni_session_reset(s), OMNI_OK);
    s->ahead = s->told = true;
    s->told_in = s->turn;
    om_ahead_forget(s);
    assert_int_equal(omni_session_add_turn(s, "good day", "good day", NULL), OMNI_OK);
    expect(s, NULL, CALL, false);
    omni_session_free(s);
    omni_engine_free(engine);
}

/* Once, until the turn that has it goes; and anew when it is another. */
static void the_preamble_is_told_once(void **state)
{
    enum { EXTRA = 8 };
    const char *text = "<tools>get_weather</tools>";
    omni_engine *engine = new_engine(model, 2, 1000);
    omni_session *s = new_session(engine, 32), *plain = new_session(engine, 32);
    int first, second, plain_first, plain_second;
    uint32_t turn;

    (void)state;
    set(s, text, true, NULL);
    set(plain, "", true, NULL);
    first = expect(s, NULL, CALL, false);
    plain_first = expect(plain, NULL, "hello there", true);
    assert_true(first > plain_first + EXTRA);
    second = expect(s, NULL, CALL, false) - first;
    plain_second = expect(plain, NULL, "hello there", true) - plain_first;
    assert_true(second < plain_second + EXTRA);     /* the answers' lengths differ by a token */
    /* The same again is no other. */
    set(s, text, true, NULL);
    assert_true(expect(s, NULL, CALL, false) - first < 2 * plain_second + 2 * EXTRA);
    /* It goes with its turn, and comes back. */
    assert_int_equal(omni_session_forget_turn(s, 0), OMNI_OK);
    assert_int_equal(om_script_find(&s->script, 0), -1);
    turn = s->turn;
    expect(s, NULL, CALL, false);
    assert_true(s->told && s->told_in == turn);
    /* None: forgotten with the history only. */
    set(s, NULL, true, NULL);
    assert_int_equal(omni_session_reset(s), OMNI_OK);
    expect(s, NULL, "hello there", true);
    omni_session_free(s);
    omni_session_free(plain);
    omni_engine_free(engine);
}

/* What a turn that was cancelled before it said anything had told is not known. */
static void a_cancelled_turn_told_nothing(void **state)
{
    omni_engine *engine = new_engine(model, 1, 1000);
    omni_session *s = new_session(engine, 32);
    answer a;

    (void)state;
    set(s, "<tools>get_weather</tools>", true, NULL);
    ask_sound(s, 1);
    while (s->state != OM_PREFILL)
        assert_int_equal(omni_engine_step(engine), OMNI_OK);
    omni_session_cancel(s);
    finish(s, &a);
    assert_int_equal(a.end, OMNI_EVENT_CANCELLED);
    forget_answer(&a);
    expect(s, NULL, CALL, false);
    omni_session_free(s);
    omni_engine_free(engine);
}

/* Greedy and drawn, answer after answer: each begins at the rules' beginning. */
static void a_grammar_is_followed(void **state)
{
    const char *rules = "root ::= \"{\\\"name\\\": \\\"get_weather\\\", \\\"parameters\\\": {\\\"city\\\": \\\"Paris\\\"}}\"";
    omni_engine *engine = new_engine(model, 1, 2000);
    omni_session *s = new_session(engine, 32);
    omni_session_params p;

    (void)state;
    set(s, NULL, true, rules);      /* it would have said hello; now it spells a call out in letters */
    for (int i = 0; i < 3; i++)
        expect(s, i == 1 ? NULL : "how is the weather", CALL, false);
    p = s->params;
    p.temperature = 1.0f;
    p.seed = 1;
    assert_int_equal(omni_session_set_params(s, &p), OMNI_OK);
    for (int i = 0; i < 3; i++)
        expect(s, "how is it", CALL, false);
    set(s, NULL, true, NULL);
    expect(s, "how is the weather", "hello there", true);
    omni_session_free(s);
    omni_engine_free(engine);
}

/* The white space comes to the speech decoder before anybody can know. */
static void white_space_before_a_call_makes_no_sound(void **state)
{
    omni_engine *engine = new_engine(model, 1, 2000);
    omni_session *s = new_session(engine, 32);

    (void)state;
    set(s, NULL, false, "root ::= \" \\n \" \"{}\"");
    expect(s, "how is the weather", "{}", true);
    set(s, NULL, true, "root ::= \" \\n \" \"{}\"");
    expect(s, "how is the weather", "{}", false);
    omni_session_free(s);
    omni_engine_free(engine);
}

/* A preamble has to leave room for a question, and a question that fails for it forgets nothing. */
static void a_preamble_that_leaves_no_room(void **state)
{
    enum { CONTEXT = 128 };
    omni_engine *engine = new_engine(model, 1, CONTEXT);
    omni_session *s = new_session(engine, 8);
    omni_session_params p = s->params;
    char text[CONTEXT + 1];
    answer a;
    int before;

    (void)state;
    memset(text, 'q', CONTEXT);
    text[CONTEXT] = '\0';
    p.preamble = text;
    assert_int_equal(omni_session_set_params(s, &p), OMNI_ERR_LIMIT);
    assert_non_null(strstr(omni_last_error(), "no room"));
    text[50] = '\0';        /* it and a short question fit, not with a long one */
    assert_int_equal(omni_session_set_params(s, &p), OMNI_OK);
    assert_int_equal(omni_session_push_text(s, "a"), OMNI_OK);
    finish(s, &a);
    assert_int_equal(a.end, OMNI_EVENT_END);
    forget_answer(&a);
    before = s->script.n;
    memset(text, 'q', 90);
    text[90] = '\0';
    assert_int_equal(omni_session_push_text(s, text), OMNI_OK);
    finish(s, &a);
    assert_int_equal(a.end, OMNI_EVENT_FAILED);
    assert_int_equal(a.status, OMNI_ERR_LIMIT);
    assert_int_equal(s->script.n, before);
    assert_int_equal(s->script.n_turns, 1);
    forget_answer(&a);
    omni_session_free(s);
    omni_engine_free(engine);
}

/* Refused, and all is as it was. */
static void bad_texts_are_refused(void **state)
{
    omni_engine *engine = new_engine(model, 1, 1000);
    omni_session *s = new_session(engine, 32);
    omni_session_params p = s->params;

    (void)state;
    set(s, "<tools>get_weather</tools>", true, NULL);
    p = s->params;
    p.grammar = "root ::= \"unclosed";
    assert_int_equal(omni_session_set_params(s, &p), OMNI_ERR_ARG);
    assert_non_null(strstr(omni_last_error(), "grammar"));
    p.grammar = "other ::= \"x\"";
    assert_int_equal(omni_session_set_params(s, &p), OMNI_ERR_ARG);
    p.grammar = NULL;
    p.preamble = "\xff";
    assert_int_equal(omni_session_set_params(s, &p), OMNI_ERR_ARG);
    assert_non_null(strstr(omni_last_error(), "UTF-8"));
    assert_string_equal(s->params.preamble, "<tools>get_weather</tools>");
    assert_null(s->params.grammar);
    expect(s, NULL, CALL, false);
    omni_session_free(s);
    omni_engine_free(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_model_says_how_it_is_told),
        cmocka_unit_test(a_call_is_text_without_speech),
        cmocka_unit_test(a_turn_that_was_put_in_tells_nothing),
        cmocka_unit_test(the_preamble_is_told_once),
        cmocka_unit_test(a_cancelled_turn_told_nothing),
        cmocka_unit_test(a_grammar_is_followed),
        cmocka_unit_test(white_space_before_a_call_makes_no_sound),
        cmocka_unit_test(a_preamble_that_leaves_no_room),
        cmocka_unit_test(bad_texts_are_refused),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
