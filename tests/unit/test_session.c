/* One session: events, cutting of input and output, cancelling, limits, errors. */
#include "omni.h"

#include "unit/conversation.h"

enum { TOKENS = 10 };

static omni_model *model;

static int load(void **state)
{
    (void)state;
    model = load_toy("", false);
    return 0;
}

static int unload(void **state)
{
    (void)state;
    omni_model_free(model);
    return 0;
}

static void defaults(void **state)
{
    omni_engine_params e = omni_engine_default_params();
    omni_session_params s = omni_session_default_params();
    omni_model_params m = omni_model_default_params();

    (void)state;
    assert_true(m.use_mmap && !m.force_f32);
    assert_int_equal(e.n_slots, 1);
    assert_true(e.n_threads == 0 && e.n_ctx == 0 && e.prefill_chunk == 0 && e.prefix_cache &&
                e.layer0_sharing);
    assert_int_equal(s.max_tokens, 256);
    assert_true(s.temperature == 0.0f && s.top_k == 50 && s.top_p == 1.0f && s.seed == 0xFFFFFFFFu);
    assert_true(s.packet_samples == 0 && s.speech && !s.early_audio && s.keep_history);
    assert_string_equal(omni_version(), "0.1.0");
    assert_string_equal(omni_status_string(OMNI_OK), "ok");
}

static void answers_with_text_and_sound(void **state)
{
    omni_engine *engine = new_engine(model, 1, 0);
    omni_session *session = new_session(engine, TOKENS);
    omni_stats stats;
    answer a;

    (void)state;
    assert_int_equal(omni_session_get_stats(session, &stats), OMNI_ERR_STATE);
    say(session, 1, &a);
    assert_int_equal(a.end, OMNI_EVENT_END);
    assert_int_equal(a.reason, OMNI_END_LENGTH);
    assert_true(a.n_text > 0 && a.n_audio > 0 && a.cut_at == 0);
    assert_int_equal(omni_session_get_stats(session, &stats), OMNI_OK);
    assert_int_equal(stats.n_tokens, TOKENS);
    assert_int_equal(stats.n_samples_in, 12000);
    assert_int_equal(stats.n_samples_out, a.n_audio);
    assert_int_equal(stats.n_frames * 320, a.n_audio);
    assert_int_equal(stats.n_prompt, om_prompt_positions(&model->prompt, 10));
    assert_int_equal(stats.n_prompt_cached, model->prompt.begin.n + model->prompt.user.n);
    /* The last picked token was not fed. */
    assert_int_equal(stats.n_history, stats.n_prompt + TOKENS - 1);
    assert_true(stats.t_first_text > 0 && stats.t_first_audio >= stats.t_first_text);
    assert_true(stats.t_total >= stats.t_first_audio && stats.n_units > 0);
    forget_answer(&a);
    omni_session_free(session);
    omni_engine_free(engine);
}

/* Two turns have ended before anybody listens: each end brings its own numbers. */
static void stats_are_of_the_turn_whose_end_was_taken(void **state)
{
    omni_engine *engine = new_engine(model, 1, 0);
    omni_session *session = new_session(engine, 2);
    static const size_t samples[] = { 8000, 12000 };
    float x[12000];
    omni_stats stats;
    omni_event e;

    (void)state;
    make_sound(x, 12000, 1);
    for (int turn = 0; turn < 2; turn++) {
        assert_int_equal(omni_session_push_audio(session, x, samples[turn]), OMNI_OK);
        assert_int_equal(omni_session_end_input(session), OMNI_OK);
        while (omni_engine_step(engine) == OMNI_OK)
            continue;
    }
    assert_int_equal(session->turn, 2);
    assert_int_equal(omni_session_get_stats(session, &stats), OMNI_ERR_STATE);
    for (int turn = 0; turn < 2; turn++) {
        do
            assert_int_equal(omni_session_next_event(session, &e), OMNI_OK);
        while (e.type != OMNI_EVENT_END);
        assert_int_equal(omni_session_get_stats(session, &stats), OMNI_OK);
        assert_int_equal(stats.n_samples_in, samples[turn]);
    }
    omni_session_free(session);
    omni_engine_free(engine);
}

/* The audio before a typed question is not the turn's: it can be dropped while that runs. */
static void input_is_cleared_during_a_typed_turn(void **state)
{
    omni_engine *engine = new_engine(model, 1, 0);
    omni_session *session = new_session(engine, 2), *other;
    float x[5000];
    answer a, b;

    (void)state;
    make_sound(x, 5000, 3);
    for (int steps = 0; steps < 4; steps++) {
        assert_int_equal(omni_session_push_audio(session, x, 5000), OMNI_OK);
        for (int i = 0; i < 4; i++)
            omni_engine_step(engine);       /* heard */
        assert_int_equal(omni_session_push_text(session, "hello"), OMNI_OK);
        for (int i = 0; i < steps; i++)
            omni_engine_step(engine);
        assert_int_equal(omni_session_clear_input(session), OMNI_OK);
        finish(session, &a);
        forget_answer(&a);
        assert_int_equal(omni_session_end_input(session), OMNI_ERR_AUDIO);
        say(session, 1, &a);
        assert_int_equal(omni_session_reset(session), OMNI_OK);
        if (steps > 0) {
            assert_same_answer(&a, &b);
            forget_answer(&b);
        }
        b = a;
    }
    omni_session_free(session);
    other = new_session(engine, 2);
    assert_int_equal(omni_session_push_text(other, "hello"), OMNI_OK);
    finish(other, &a);
    forget_answer(&a);
    say(other, 1, &a);
    assert_same_answer(&a, &b);
    forget_answer(&a);
    forget_answer(&b);
    omni_session_free(other);
    omni_engine_free(engine);
}

static void ends_at_an_end_token(void **state)
{
    omni_model *brief = load_toy("brief", false);
    omni_engine *engine = new_engine(brief, 1, 0);
    omni_session *session = new_session(engine, 60);
    omni_stats stats;
    int stopped = 0;

    (void)state;
    for (int kind = 0; kind < 6; kind++) {
        answer a;
        om_script *script = &session->script;

        say(session, kind, &a);
        assert_int_equal(omni_session_get_stats(session, &stats), OMNI_OK);
        if (a.reason == OMNI_END_STOP) {
            stopped++;
            /* The end token is counted and spoken, but not kept: the next prompt closes the answer. */
            assert_int_equal(script->n, session->answer_at + stats.n_tokens - 1);
        }
        assert_int_equal(session->voice.n_units == 0, a.n_audio == 0);
        forget_answer(&a);
        assert_int_equal(omni_session_reset(session), OMNI_OK);
    }
    assert_true(stopped > 0);
    omni_session_free(session);
    omni_engine_free(engine);
    omni_model_free(brief);
}

/* The answer to 12000 samples in pushes of `step`, with packets of `packet`. */
static void ask_in_pieces(omni_engine *engine, size_t step, int packet, answer *a)
{
    omni_session_params params = omni_session_default_params();
    omni_session *session;
    float x[12000];

    make_sound(x, 12000, 1);
    params.max_tokens = TOKENS;
    params.packet_samples = packet;
    assert_int_equal(omni_session_new(engine, &params, &session), OMNI_OK);
    for (size_t at = 0; at < 12000; at += step) {
        size_t n = 12000 - at < step ? 12000 - at : step;

        assert_int_equal(omni_session_push_audio(session, x + at, n), OMNI_OK);
        if (at % 3 == 0)
            omni_engine_step(engine);       /* sometimes it listens in between */
    }
    assert_int_equal(omni_session_end_input(session), OMNI_OK);
    finish(session, a);
    omni_session_free(session);
}

static void input_may_be_cut_anywhere(void **state)
{
    static const size_t steps[] = { 1, 7, 159, 160, 320, 1600, 4801, 12000 };
    omni_engine *engine = new_engine(model, 1, 0);
    answer whole;

    (void)state;
    ask_in_pieces(engine, 48000, 0, &whole);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        answer a;

        ask_in_pieces(engine, steps[i], 0, &a);
        assert_same_answer(&a, &whole);
        forget_answer(&a);
    }
    forget_answer(&whole);
    omni_engine_free(engine);
}

static void packets_only_group_samples(void **state)
{
    static const int packets[] = { 1, 320, 333, 1600, 16000, 48000, 1 << 26 };
    omni_engine *engine = new_engine(model, 1, 0);
    answer plain;

    (void)state;
    ask_in_pieces(engine, 12000, 0, &plain);
    assert_true(plain.n_packets > 2);
    for (size_t i = 0; i < sizeof packets / sizeof *packets; i++) {
        answer a;

        ask_in_pieces(engine, 12000, packets[i], &a);
        assert_same_answer(&a, &plain);
        if (a.n_packets > 1)        /* the last may be smaller */
            assert_true(a.n_audio >= (a.n_packets - 1) * (size_t)packets[i]);
        if ((size_t)packets[i] > a.n_audio)
            assert_int_equal(a.n_packets, 1);
        forget_answer(&a);
    }
    forget_answer(&plain);
    omni_engine_free(engine);
}

static void long_question_is_cut_aloud(void **state)
{
    omni_engine *engine = new_engine(model, 1, 0);
    omni_session *session = new_session(engine, 4);
    static float x[40000];
    answer a, b;

    (void)state;
    make_sound(x, 40000, 2);
    /* More than the buffer takes at once: nothing is taken. */
    assert_int_equal(omni_session_push_audio(session, x, 40000), OMNI_ERR_LIMIT);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(omni_session_push_audio(session, x + 10000 * i, 10000), OMNI_OK);
        for (int k = 0; k < 8; k++)
            omni_engine_step(engine);
    }
    assert_int_equal(omni_session_end_input(session), OMNI_OK);
    finish(session, &a);
    assert_int_equal(a.cut_at, 16000);
    assert_int_equal(a.end, OMNI_EVENT_END);
    /* Only the window was heard. */
    assert_int_equal(omni_session_reset(session), OMNI_OK);
    assert_int_equal(omni_session_push_audio(session, x, 16000), OMNI_OK);
    assert_int_equal(omni_session_end_input(session), OMNI_OK);
    finish(session, &b);
    assert_int_equal(b.cut_at, 0);
    assert_same_answer(&a, &b);
    forget_answer(&a);
    forget_answer(&b);
    omni_session_free(session);
    omni_engine_free(engine);
}

static void reset_is_as_new(void **state)
{
    omni_engine *engine = new_engine(model, 1, 0);
    omni_session *session = new_session(engine, TOKENS);
    float x[5000];
    answer first, other, again;

    (void)state;
    make_sound(x, 5000, 3);
    say(session, 1, &first);
    say(session, 2, &other);
    assert_int_equal(omni_session_push_audio(session, x, 5000), OMNI_OK);
    omni_engine_step(engine);
    assert_int_equal(omni_session_reset(session), OMNI_OK);
    assert_int_equal(omni_session_end_input(session), OMNI_ERR_AUDIO);     /* the pending input is gone */
    say(session, 1, &again);
    assert_same_answer(&again, &first);
    forget_answer(&first);
    forget_answer(&other);
    forget_answer(&again);
    omni_session_free(session);
    omni_engine_free(engine);
}

/* However far the turn is when it is cancelled: it ends at once, and the session works on. */
static void cancelled_at_every_slice(void **state)
{
    omni_engine *engine = new_engine(model, 1, 0);
    omni_session *session = new_session(engine, 5);
    bool ended = false;
    answer plain;
    int slices;

    (void)state;
    say(session, 1, &plain);
    for (slices = 0; !ended; slices++) {
        answer a = { .n_text = 0 }, next;
        bool begun = false;
        int used;

        assert_int_equal(omni_session_reset(session), OMNI_OK);
        ask_sound(session, 1);
        for (int i = 0; i < slices; i++)
            omni_engine_step(engine);
        omni_session_cancel(session);
        if (!listen_to(session, &a, &begun))
            omni_engine_step(engine);       /* a single one */
        listen_to(session, &a, &begun);
        ended = a.end == OMNI_EVENT_END;
        assert_true(ended || a.end == OMNI_EVENT_CANCELLED);
        assert_memory_equal(a.text, plain.text, a.n_text);
        assert_true(a.n_audio <= plain.n_audio);
        if (a.n_audio)
            assert_memory_equal(a.audio, plain.audio, a.n_audio * sizeof *a.audio);
        used = om_lm_used(engine->lm, session->slot);
        assert_true(used <= session->script.n);
        if (a.n_text == 0 && session->n_tokens == 0)
            assert_int_equal(session->script.n, 0);      /* nothing was said: nothing is remembered */
        else
            assert_int_equal(session->script.n, session->answer_at + session->n_tokens);
        omni_session_cancel(session);       /* does nothing between turns */
        say(session, 2, &next);
        assert_int_equal(next.end, OMNI_EVENT_END);
        assert_int_equal(next.reason, OMNI_END_LENGTH);
        forget_answer(&a);
        forget_answer(&next);
        assert_true(slices < 1000);
    }
    assert_true(slices > 15);
    forget_answer(&plain);
    omni_session_free(session);
    omni_engine_free(engine);
}

static void receiver_sets_the_pace(void **state)
{
    omni_engine *engine = new_engine(model, 2, 0);
    omni_session_params params = omni_session_default_params();
    omni_session *slow, *quick;
    omni_event event;
    answer a, b = { .n_text = 0 };
    bool begun = false;
    int steps = 0;

    (void)state;
    params.max_tokens = 150;
    params.packet_samples = 16;         /* many events: the queue fills soon */
    assert_int_equal(omni_session_new(engine, &params, &slow), OMNI_OK);
    quick = new_session(engine, 150);
    ask_sound(slow, 1);
    ask_sound(quick, 1);
    finish(quick, &a);                  /* nobody listens to slow meanwhile */
    while (omni_engine_step(engine) == OMNI_OK)
        assert_true(++steps < 1000);
    assert_true(slow->state == OM_ANSWER && slow->n_tokens < 150);      /* it waits */
    while (omni_session_next_event(slow, &event) == OMNI_OK) {
        take_event(&b, &event, !begun);
        begun = true;
    }
    while (!listen_to(slow, &b, &begun))
        assert_int_equal(omni_engine_step(engine), OMNI_OK);
    assert_same_answer(&a, &b);
    forget_answer(&a);
    forget_answer(&b);
    omni_session_free(slow);
    omni_session_free(quick);
    omni_engine_free(engine);
}

static void text_alone(void **state)
{
    omni_engine *engine = new_engine(model, 1, 0);
    omni_session_params params = omni_session_default_params();
    omni_session *session, *speaking;
    answer a, b;

    (void)state;
    params.speech = false;
    params.max_tokens = TOKENS;
    assert_int_equal(omni_session_new(engine, &params, &session), OMNI_OK);
    say(session, 1, &a);
    omni_session_free(session);
    speaking = new_session(engine, TOKENS);
    say(speaking, 1, &b);
    assert_int_equal(a.n_audio, 0);
    assert_int_equal(a.n_text, b.n_text);
    assert_memory_equal(a.text, b.text, a.n_text);
    forget_answer(&a);
    forget_answer(&b);
    omni_session_free(speaking);
    omni_engine_free(engine);
}

static void sampling_follows_the_seed(void **state)
{
    omni_engine *engine = new_engine(model, 1, 0);
    omni_session_params params = omni_session_default_params();
    answer greedy, a, b;
    int different = 0;

    (void)state;
    for (int i = 0; i < 3; i++) {
        omni_session *session = new_session(engine, TOKENS);

        say(session, 1, &greedy);
        omni_session_free(session);
        params.max_tokens = TOKENS;
        params.temperature = 1.5f;
        params.seed = (uint32_t)i;
        assert_int_equal(omni_session_new(engine, &params, &session), OMNI_OK);
        say(session, 1, &a);
        assert_int_equal(omni_session_reset(session), OMNI_OK);
        say(session, 1, &b);
        assert_same_answer(&a, &b);
        different += a.n_text != greedy.n_text || memcmp(a.text, greedy.text, a.n_text) != 0;
        omni_session_free(session);
        forget_answer(&b);
        /* The best of one is greedy, however hot. */
        params.top_k = 1;
        assert_int_equal(omni_session_new(engine, &params, &session), OMNI_OK);
        say(session, 1, &b);
        assert_same_answer(&b, &greedy);
        omni_session_free(session);
        params.top_k = 50;
        forget_answer(&a);
        forget_answer(&b);
        forget_answer(&greedy);
    }
    assert_true(different > 0);
    omni_engine_free(engine);
}

static void refuses_what_it_must(void **state)
{
    static const float bad[] = { 0.0f, NAN }, worse[] = { INFINITY };
    omni_engine_params ep = omni_engine_default_params();
    omni_session_params sp = omni_session_default_params();
    omni_engine *engine = NULL, *none = NULL;
    omni_session *session, *second = NULL;

    (void)state;
    ep.n_ctx = om_prompt_positions(&model->prompt, 10);
    assert_int_equal(omni_engine_new(model, &ep, &none), OMNI_ERR_LIMIT);
    ep.n_ctx = 513;         /* the toy was made for 512 */
    assert_int_equal(omni_engine_new(model, &ep, &none), OMNI_ERR_ARG);
    ep.n_ctx = 0;
    ep.n_slots = 256;
    assert_int_equal(omni_engine_new(model, &ep, &none), OMNI_ERR_ARG);
    assert_null(none);
    engine = new_engine(model, 1, 0);
    sp.max_tokens = 0;
    assert_int_equal(omni_session_new(engine, &sp, &second), OMNI_ERR_ARG);
    sp.max_tokens = 1;
    sp.temperature = NAN;
    assert_int_equal(omni_session_new(engine, &sp, &second), OMNI_ERR_ARG);
    session = new_session(engine, 2);
    assert_int_equal(omni_session_new(engine, NULL, &second), OMNI_ERR_LIMIT);
    assert_null(second);
    assert_int_equal(omni_session_push_audio(session, bad, 2), OMNI_ERR_AUDIO);
    assert_int_equal(omni_session_push_audio(session, worse, 1), OMNI_ERR_AUDIO);
    assert_int_equal(omni_session_end_input(session), OMNI_ERR_AUDIO);
    assert_int_equal(omni_session_push_text(session, "  \n"), OMNI_ERR_ARG);
    assert_int_equal(omni_session_push_text(session, "\xC0\x80"), OMNI_ERR_ARG);
    assert_int_equal(omni_session_trim(session, 0, NULL), OMNI_ERR_STATE);
    assert_int_equal(omni_engine_step(engine), OMNI_AGAIN);
    assert_int_equal(omni_session_push_text(session, "hello"), OMNI_OK);
    assert_int_equal(omni_session_push_text(session, "hello"), OMNI_ERR_STATE);
    assert_int_equal(omni_session_reset(session), OMNI_ERR_STATE);
    omni_session_free(session);     /* with a question waiting */
    omni_engine_free(engine);
}

static void early_audio_joins_the_exact(void **state)
{
    omni_engine *engine = new_engine(model, 1, 0);
    omni_session_params params = omni_session_default_params();
    omni_session *session;
    omni_stats exact_stats, early_stats;
    answer exact, early;
    size_t same = 0;

    (void)state;
    params.max_tokens = 20;
    assert_int_equal(omni_session_new(engine, &params, &session), OMNI_OK);
    say(session, 1, &exact);
    assert_int_equal(omni_session_get_stats(session, &exact_stats), OMNI_OK);
    omni_session_free(session);
    params.early_audio = true;
    assert_int_equal(omni_session_new(engine, &params, &session), OMNI_OK);
    say(session, 1, &early);
    assert_int_equal(omni_session_get_stats(session, &early_stats), OMNI_OK);
    assert_true(session->voice.seam_at > 0);
    assert_int_equal(early.n_audio, exact.n_audio);
    assert_int_equal(early.n_text, exact.n_text);
    /* Everything behind the seam is exact; something before it is not. */
    same = session->voice.seam_at + session->voice.n_seam;
    assert_true(same < exact.n_audio);
    assert_memory_equal(early.audio + same, exact.audio + same, (exact.n_audio - same) * sizeof *exact.audio);
    assert_memory_not_equal(early.audio, exact.audio, same * sizeof *exact.audio);
    for (size_t i = 0; i < same; i++)
        assert_true(fabsf(early.audio[i]) <= 1.0f);
    forget_answer(&exact);
    forget_answer(&early);
    omni_session_free(session);
    omni_engine_free(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(answers_with_text_and_sound),
        cmocka_unit_test(stats_are_of_the_turn_whose_end_was_taken),
        cmocka_unit_test(input_is_cleared_during_a_typed_turn),
        cmocka_unit_test(ends_at_an_end_token),
        cmocka_unit_test(input_may_be_cut_anywhere),
        cmocka_unit_test(packets_only_group_samples),
        cmocka_unit_test(long_question_is_cut_aloud),
        cmocka_unit_test(reset_is_as_new),
        cmocka_unit_test(cancelled_at_every_slice),
        cmocka_unit_test(receiver_sets_the_pace),
        cmocka_unit_test(text_alone),
        cmocka_unit_test(sampling_follows_the_seed),
        cmocka_unit_test(refuses_what_it_must),
        cmocka_unit_test(early_audio_joins_the_exact),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
