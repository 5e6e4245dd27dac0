/* Turn taking: segments and their events, turns prepared ahead, interruption, and what calls do meanwhile. */
#include "omni.h"

#include "unit/toy.h"
#include "unit/speech_sound.h"

#include "base/memory.h"

enum { MS = 16, SECOND = 16000, TOKENS = 8, MOST = 64 };

/* ---- a conversation on tape ----------------------------------------------------- */

/* Noise all along, and speech where it is put. */
typedef struct tape {
    float *x;
    size_t n;
} tape;

static tape new_tape(size_t ms)
{
    tape t = { calloc(ms * MS, sizeof(float)), ms * MS };
    uint32_t seed = 4;

    assert_non_null(t.x);
    add_noise(t.x, t.n, 0.002f, &seed);
    return t;
}

static void speak(tape *t, size_t from_ms, size_t to_ms, int kind)
{
    add_speech(t->x + from_ms * MS, (to_ms - from_ms) * MS, 0.3f, kind);
}

/* What came of it. */
typedef struct log_of_events {
    omni_event events[MOST];    /* without AUDIO and TEXT */
    uint64_t pushed[MOST];      /* samples pushed when it came */
    int n;
    answer answers[8];          /* by turn */
    uint64_t n_pushed;
} log_of_events;

static void forget_log(log_of_events *l)
{
    for (int i = 0; i < 8; i++)
        forget_answer(&l->answers[i]);
    memset(l, 0, sizeof *l);
}

static void take_all(omni_session *s, log_of_events *l)
{
    omni_event e;

    while (omni_session_next_event(s, &e) == OMNI_OK) {
        bool speech = e.type == OMNI_EVENT_SPEECH_STARTED || e.type == OMNI_EVENT_SPEECH_STOPPED;

        assert_true(e.turn < 8);
        if (!speech)
            take_event(&l->answers[e.turn], &e, e.type == OMNI_EVENT_BEGIN);
        if (e.type == OMNI_EVENT_TEXT || e.type == OMNI_EVENT_AUDIO)
            continue;
        assert_true(l->n < MOST);
        l->pushed[l->n] = l->n_pushed;
        l->events[l->n++] = e;
    }
}

/* 10 ms at a time, `steps` of the engine for each; 0: until it has nothing to do. */
static void play(omni_session *s, const tape *t, size_t from_ms, size_t to_ms, int steps, log_of_events *l)
{
    for (size_t at = from_ms * MS; at < to_ms * MS; at += 160) {
        assert_int_equal(omni_session_push_audio(s, t->x + at, 160), OMNI_OK);
        l->n_pushed += 160;
        for (int i = 0; steps == 0 || i < steps; i++) {
            int rc = omni_engine_step(s->engine);

            take_all(s, l);
            if (rc == OMNI_AGAIN)
                break;
        }
    }
}

static void settle_down(omni_session *s, log_of_events *l)
{
    for (int idle = 0; idle < 2;) {
        idle = omni_engine_step(s->engine) == OMNI_AGAIN ? idle + 1 : 0;
        take_all(s, l);
    }
}

static void check_kinds(const log_of_events *l, const char *wanted)
{
    static const char letters[] = { [OMNI_EVENT_BEGIN] = 'B', [OMNI_EVENT_CUT] = 'C', [OMNI_EVENT_SPEECH_STARTED] = '(',
                                    [OMNI_EVENT_SPEECH_STOPPED] = ')', [OMNI_EVENT_END] = 'E',
                                    [OMNI_EVENT_CANCELLED] = 'X', [OMNI_EVENT_FAILED] = 'F' };
    char got[MOST + 1] = "";

    for (int i = 0; i < l->n; i++)
        got[i] = letters[l->events[i].type];
    assert_string_equal(got, wanted);
}

static omni_session *listening(omni_engine *engine, const omni_turn_params *turns)
{
    omni_session *s = new_session(engine, TOKENS);

    assert_int_equal(omni_session_set_turns(s, turns), OMNI_OK);
    engine->most_busy = 2.0;    /* tapes are played faster than people speak */
    return s;
}

static omni_turn_params params_of(int silence_ms, bool speculate)
{
    omni_turn_params p = omni_turn_default_params();

    p.prefix_ms = 200;          /* the toy's window is a second */
    p.silence_ms = silence_ms;
    p.speculate = speculate;
    return p;
}

/* The answer of a manual session, in the same state, to x[begin, end). */
static void ask_by_hand(omni_session *s, const tape *t, uint64_t begin, uint64_t end, answer *a)
{
    assert_int_equal(omni_session_push_audio(s, t->x + begin, (size_t)(end - begin)), OMNI_OK);
    assert_int_equal(omni_session_end_input(s), OMNI_OK);
    finish(s, a);
}

static void check_time(uint64_t is, size_t wanted_ms, int tolerance_ms)
{
    double ms = (double)is / MS;

    if (fabs(ms - (double)wanted_ms) > tolerance_ms)
        fail_msg("at %g ms, wanted %zu", ms, wanted_ms);
}

/* ---- tests ------------------------------------------------------------------------ */

static void defaults_and_refusals(void **state)
{
    omni_turn_params p = omni_turn_default_params();
    omni_engine *engine = new_engine(model, 1, 0);
    omni_session *s = new_session(engine, 2);

    (void)state;
    assert_true(p.enabled && p.threshold == 0.5f && p.prefix_ms == 300 && p.silence_ms == 500 && p.answer &&
                p.speculate && p.interrupt && p.interrupt_ms == 100);
    p.threshold = NAN;
    assert_int_equal(omni_session_set_turns(s, &p), OMNI_ERR_ARG);
    p = omni_turn_default_params();
    p.silence_ms = 99;
    assert_int_equal(omni_session_set_turns(s, &p), OMNI_ERR_ARG);
    p = omni_turn_default_params();
    p.prefix_ms = -1;
    assert_int_equal(omni_session_set_turns(s, &p), OMNI_ERR_ARG);
    p = omni_turn_default_params();
    p.interrupt_ms = 5001;
    assert_int_equal(omni_session_set_turns(s, &p), OMNI_ERR_ARG);
    assert_null(s->ear.vad);
    assert_int_equal(omni_session_set_turns(NULL, NULL), OMNI_ERR_ARG);
    assert_int_equal(omni_session_clear_input(NULL), OMNI_ERR_ARG);
    assert_int_equal(omni_session_set_params(s, NULL), OMNI_ERR_ARG);
    ask_sound(s, 1);
    p = omni_turn_default_params();
    assert_int_equal(omni_session_set_turns(s, &p), OMNI_ERR_STATE);
    assert_int_equal(omni_session_clear_input(s), OMNI_ERR_STATE);
    omni_session_free(s);
    omni_engine_free(engine);
}

/* Two questions; the answers are those to the samples that the events tell of, asked by hand. */
static void segments_become_turns(void **state)
{
    for (int speculate = 0; speculate < 2; speculate++) {
        omni_turn_params p = params_of(400, speculate);
        omni_engine *engine = new_engine(model, 2, 0);
        omni_session *s = listening(engine, &p), *hand = new_session(engine, TOKENS);
        tape t = new_tape(5500);
        log_of_events l = { .n = 0 };
        omni_stats stats;
        answer a;

        (void)state;
        speak(&t, 1000, 1500, 1);
        speak(&t, 3800, 4400, 2);
        play(s, &t, 0, 5500, 0, &l);
        settle_down(s, &l);
        check_kinds(&l, "()BE()BE");
        for (int turn = 0; turn < 2; turn++) {
            const omni_event *started = &l.events[4 * turn], *stopped = started + 1;
            size_t from = turn ? 3800 : 1000, to = turn ? 4400 : 1500;

            assert_true(started->turn == (uint32_t)turn && stopped->turn == (uint32_t)turn);
            check_time(started->speech_offset, from, 40);
            assert_true(started->sample_offset + 200 * MS == started->speech_offset);
            check_time(stopped->speech_offset, to, 120);
            assert_true(stopped->sample_offset == stopped->speech_offset + 100 * MS);
            assert_true(l.pushed[4 * turn] <= started->speech_offset + 80 * MS);
            check_time(l.pushed[4 * turn + 1] - stopped->speech_offset, 400, 20);
            ask_by_hand(hand, &t, started->sample_offset, stopped->sample_offset, &a);
            assert_same_answer(&l.answers[turn], &a);
            forget_answer(&a);
        }
        assert_int_equal(omni_session_get_stats(s, &stats), OMNI_OK);
        assert_int_equal(stats.t_ahead > 0, speculate);
        assert_int_equal(stats.n_samples_in, l.events[5].sample_offset - l.events[4].sample_offset);
        forget_log(&l);
        free(t.x);
        omni_session_free(s);
        omni_session_free(hand);
        omni_engine_free(engine);
    }
}

/* However far the preparation came when the person went on: nothing of it is left. */
static void leaves_no_trace(const omni_session_params *sp)
{
    tape t = new_tape(5000);
    answer plain[2];
    int deepest = 0, held = 0;

    speak(&t, 400, 700, 1);
    speak(&t, 2000, 2250, 2);
    speak(&t, 2500, 2650, 3);       /* goes on after 250 ms */
    for (int run = 0; run < 12; run++) {
        /* First without, then from one slice per 10 ms on. */
        omni_turn_params p = params_of(500, run > 0);
        omni_engine *engine = new_engine(model, 1, 0);
        omni_session *s = listening(engine, &p);
        log_of_events l = { .n = 0 };
        om_before before;
        uint64_t heard;
        int kept;

        assert_int_equal(omni_session_set_params(s, sp), OMNI_OK);
        p.prefix_ms = 100;
        p.interrupt_ms = 0;     /* the answer still sounds when the person speaks */
        assert_int_equal(omni_session_set_turns(s, &p), OMNI_OK);
        play(s, &t, 0, 2150, 0, &l);
        check_kinds(&l, "()BE(");
        assert_int_equal(omni_session_trim(s, 2000, &kept), OMNI_OK);     /* while the person speaks */
        before = (om_before){ s->script.n, om_lm_used(engine->lm, 0), s->answer_at, s->script_before };
        heard = s->voice.n_posted;
        for (size_t ms = 2150; ms < 2500; ms += 10) {
            play(s, &t, ms, ms + 10, run ? run : 1, &l);
            if (s->ahead && (int)s->state > deepest)
                deepest = (int)s->state;
            held += s->holds && s->voice.n_held > 0;
        }
        play(s, &t, 2500, 2650, 1, &l);
        assert_false(s->ahead);
        assert_int_equal(s->stats.n_thrown_away, run > 0);
        assert_true(s->script.n == before.script && om_lm_used(engine->lm, 0) == before.used &&
                    s->answer_at == before.answer_at && s->script_before == before.script_before);
        assert_int_equal(s->voice.n_posted, heard);
        assert_int_equal(omni_session_trim(s, 1000, &kept), OMNI_OK);     /* still the answer before */
        play(s, &t, 2650, 5000, run ? run : 1, &l);
        settle_down(s, &l);
        check_kinds(&l, "()BE()BE");
        for (int turn = 0; turn < 2; turn++) {
            if (run == 0) {
                plain[turn] = l.answers[turn];
                l.answers[turn] = (answer){ .n_text = 0 };
            } else {
                assert_same_answer(&l.answers[turn], &plain[turn]);
            }
        }
        forget_log(&l);
        omni_session_free(s);
        omni_engine_free(engine);
    }
    assert_true(deepest >= OM_ANSWER && held > 0);
    forget_answer(&plain[0]);
    forget_answer(&plain[1]);
    free(t.x);
}

static void preparation_leaves_no_trace(void **state)
{
    omni_session_params sp = omni_session_default_params();

    (void)state;
    sp.max_tokens = TOKENS;
    leaves_no_trace(&sp);
    sp.temperature = 1.0f;      /* random numbers that were drawn are drawn again */
    sp.seed = 7;
    leaves_no_trace(&sp);
}

/* The window ends when the first sound is ready: it comes with SPEECH_STOPPED, out of the same step. */
static void the_first_sound_comes_at_once(void **state)
{
    omni_turn_params p = params_of(500, true);
    omni_engine *engine = new_engine(model, 1, 0);
    omni_session *s = listening(engine, &p);
    tape t = new_tape(2000);
    log_of_events l = { .n = 0 };
    omni_stats stats;
    omni_event e;
    uint64_t end = 0;
    size_t ms = 1100;

    (void)state;
    speak(&t, 500, 800, 1);
    play(s, &t, 0, ms, 0, &l);
    check_kinds(&l, "(");
    assert_true(s->holds && s->voice.n_held > 0 && s->text.n > 0);
    while (s->ahead) {
        assert_int_equal(omni_session_push_audio(s, t.x + ms * MS, 160), OMNI_OK);
        assert_int_equal(omni_engine_step(engine), OMNI_OK);
        assert_true((ms += 10) < 1500);
    }
    for (int i = 0; i < 4; i++) {
        static const omni_event_type wanted[] = { OMNI_EVENT_SPEECH_STOPPED, OMNI_EVENT_BEGIN, OMNI_EVENT_TEXT,
                                                  OMNI_EVENT_AUDIO };

        assert_int_equal(omni_session_next_event(s, &e), OMNI_OK);
        assert_int_equal(e.type, wanted[i]);
        if (i == 0)
            end = e.sample_offset;
        if (i == 1)
            assert_true(e.sample_offset == end && end > 0);
        if (i > 0)
            take_event(&l.answers[0], &e, i == 1);
    }
    settle_down(s, &l);
    check_kinds(&l, "(E");
    assert_int_equal(omni_session_get_stats(s, &stats), OMNI_OK);
    assert_true(stats.t_first_audio > 0 && stats.t_first_text > 0 && stats.t_ahead > 0);
    forget_log(&l);
    free(t.x);
    omni_session_free(s);
    omni_engine_free(engine);
}

/* A busy engine prepares nothing; when there is room again inside the window, it does. */
static void preparation_waits_for_room(void **state)
{
    omni_turn_params p = params_of(1000, true);
    omni_engine *engine = new_engine(model, 1, 0);
    omni_session *s = listening(engine, &p);
    tape t = new_tape(3000);
    log_of_events l = { .n = 0 };

    (void)state;
    speak(&t, 500, 800, 1);
    engine->most_busy = 0.0;
    play(s, &t, 0, 1100, 0, &l);
    assert_true(s->wants_ahead && !s->ahead);
    engine->most_busy = 2.0;
    play(s, &t, 1100, 1110, 1, &l);
    assert_true(s->ahead && s->state == OM_ENCODE);
    engine->most_busy = 0.0;            /* it stops where it is */
    play(s, &t, 1110, 1300, 0, &l);
    assert_true(s->ahead && s->state == OM_ENCODE);
    play(s, &t, 1300, 3000, 0, &l);
    settle_down(s, &l);
    check_kinds(&l, "()BE");
    forget_log(&l);
    free(t.x);
    omni_session_free(s);
    omni_engine_free(engine);
}

/* A cancelled or typed question meanwhile does not meet what was prepared. */
static void calls_forget_the_preparation(void **state)
{
    tape t = new_tape(3000);

    (void)state;
    speak(&t, 500, 1000, 1);
    for (int call = 0; call < 5; call++) {
        omni_turn_params p = params_of(1000, true);
        omni_engine *engine = new_engine(model, 1, 0);
        omni_session *s = listening(engine, &p);
        omni_session_params sp = omni_session_default_params();
        log_of_events l = { .n = 0 };

        play(s, &t, 0, 1300, 0, &l);
        check_kinds(&l, "(");
        assert_true(s->ahead && s->state >= OM_ANSWER);
        omni_session_cancel(s);         /* there is no turn: it does nothing */
        switch (call) {
        case 0:                         /* typed */
            assert_int_equal(omni_session_push_text(s, "hello"), OMNI_OK);
            settle_down(s, &l);
            check_kinds(&l, "(BE");
            play(s, &t, 1300, 3000, 0, &l);
            settle_down(s, &l);
            check_kinds(&l, "(BE)BE");
            break;
        case 1:                         /* asked at once */
            assert_int_equal(omni_session_end_input(s), OMNI_OK);
            settle_down(s, &l);
            check_kinds(&l, "()BE");
            play(s, &t, 1300, 3000, 0, &l);
            check_kinds(&l, "()BE");
            break;
        case 2:
            assert_int_equal(omni_session_clear_input(s), OMNI_OK);
            play(s, &t, 1300, 3000, 0, &l);
            check_kinds(&l, "(");
            break;
        case 3:
            sp.max_tokens = 2;
            assert_int_equal(omni_session_set_params(s, &sp), OMNI_OK);
            play(s, &t, 1300, 3000, 0, &l);
            settle_down(s, &l);
            check_kinds(&l, "()BE");
            assert_int_equal(l.events[3].reason, OMNI_END_LENGTH);
            assert_int_equal(s->n_tokens, 2);
            break;
        default:                        /* manual from here on */
            assert_int_equal(omni_session_set_turns(s, NULL), OMNI_OK);
            assert_int_equal(omni_session_end_input(s), OMNI_ERR_AUDIO);
            say(s, 1, &l.answers[0]);
            assert_int_equal(l.answers[0].end, OMNI_EVENT_END);
        }
        forget_log(&l);
        omni_session_free(s);
        omni_engine_free(engine);
    }
    free(t.x);
}

/* A prepared turn that is cancelled before any answer, however far it is, takes nothing of the history with it: held
 * up in the encoder, in the middle of it, or further. */
static void a_prepared_turn_is_cancelled_alone(void **state)
{
    tape t = new_tape(4000);
    int forgotten = 0;

    (void)state;
    speak(&t, 500, 800, 1);
    speak(&t, 2200, 2500, 2);
    for (int slices = 0; slices < 40; slices++) {
        omni_turn_params p = params_of(500, true);
        omni_engine *engine = new_engine(model, 1, 0);
        omni_session *s = listening(engine, &p);
        log_of_events l = { .n = 0 };
        size_t ms = 2000;
        int before;

        p.interrupt_ms = 0;
        assert_int_equal(omni_session_set_turns(s, &p), OMNI_OK);
        om_encoder_set_slice(engine->encoder, 1.0);     /* half a layer */
        play(s, &t, 0, ms, 0, &l);
        check_kinds(&l, "()BE");
        before = s->script.n;
        while (!s->ahead) {
            play(s, &t, ms, ms + 10, 1, &l);
            assert_true((ms += 10) < 3000);
        }
        for (int i = 0; i < slices / 2; i++)
            omni_engine_step(engine);
        engine->most_busy = 0.0;        /* it stops where it is, until it is a turn */
        while (s->ahead) {
            play(s, &t, ms, ms + 10, 1, &l);
            assert_true((ms += 10) < 3500);
        }
        if (slices % 2 && s->state < OM_ANSWER)
            omni_engine_step(engine);
        omni_session_cancel(s);
        settle_down(s, &l);
        check_kinds(&l, "()BE()BX");
        if (l.answers[1].n_text == 0 && s->n_tokens == 0) {
            assert_int_equal(s->script.n, before);
            assert_int_equal(s->script.n_turns, 1);
            forgotten++;
        } else {
            assert_int_equal(s->script.n_turns, 2);
        }
        assert_true(om_lm_used(engine->lm, 0) <= s->script.n);
        forget_log(&l);
        omni_session_free(s);
        omni_engine_free(engine);
    }
    assert_true(forgotten > 4);
    free(t.x);
}

/* Speech stops a running answer within the slice in which it is told; what was said stays. */
static void speech_interrupts(void **state)
{
    omni_turn_params p = params_of(300, true);
    omni_engine *engine = new_engine(model, 1, 0);
    omni_session *s = new_session(engine, 200);
    tape t = new_tape(4500);
    log_of_events l = { .n = 0 };
    int at, kept;

    (void)state;
    assert_int_equal(omni_session_set_turns(s, &p), OMNI_OK);
    speak(&t, 500, 900, 1);
    speak(&t, 2000, 2600, 2);
    play(s, &t, 0, 4500, 1, &l);        /* a token per 10 ms: it lasts */
    settle_down(s, &l);
    check_kinds(&l, "()B(X)BE");
    at = 3;
    assert_true(l.events[at].turn == 1 && l.events[at + 1].turn == 0);
    assert_int_equal(l.events[at + 1].reason, OMNI_END_INTERRUPTED);
    assert_int_equal(l.pushed[at + 1], l.pushed[at]);
    check_time(l.pushed[at + 1], 2100, 40);      /* interrupt_ms after the onset */
    assert_true(l.answers[0].n_text > 0 && l.answers[0].n_audio > 0);
    assert_true(s->script.n_turns == 2);
    /* The next answer can be trimmed as ever. */
    assert_int_equal(omni_session_trim(s, 1, &kept), OMNI_OK);
    assert_int_equal(kept, 1);
    forget_log(&l);
    free(t.x);
    omni_session_free(s);
    omni_engine_free(engine);
}

static void backchannels_pass(void **state)
{
    tape t = new_tape(6000);

    (void)state;
    speak(&t, 500, 900, 1);
    speak(&t, 2000, 2300, 2);           /* uh-huh */
    for (int least = 0; least <= 600; least += 600) {
        omni_turn_params p = params_of(300, true);
        omni_engine *engine = new_engine(model, 1, 0);
        omni_session *s = new_session(engine, 400);
        log_of_events l = { .n = 0 };

        p.interrupt_ms = least;
        assert_int_equal(omni_session_set_turns(s, &p), OMNI_OK);
        play(s, &t, 0, 4000, 1, &l);
        omni_session_cancel(s);
        settle_down(s, &l);
        check_kinds(&l, least ? "()BX" : "()B(X)BX");
        assert_int_equal(l.events[l.n - 1].reason, OMNI_END_CANCEL);
        forget_log(&l);
        omni_session_free(s);
        omni_engine_free(engine);
    }
    free(t.x);
}

/* The answer is complete, but it still sounds by the input clock. */
static void a_sounding_answer_counts(void **state)
{
    omni_turn_params p = params_of(300, true);
    omni_engine *engine = new_engine(model, 1, 0);
    omni_session *s = new_session(engine, 18);
    tape t = new_tape(9000);
    log_of_events l = { .n = 0 };
    size_t until;

    (void)state;
    p.interrupt_ms = 600;
    assert_int_equal(omni_session_set_turns(s, &p), OMNI_OK);
    speak(&t, 500, 900, 1);
    play(s, &t, 0, 1500, 0, &l);
    check_kinds(&l, "()BE");
    until = 1300 + l.answers[0].n_audio / MS;
    if (until < 2800 || until > 7000)
        fail_msg("the answer sounds until %zu ms", until);
    speak(&t, 2000, 2300, 2);                   /* while it sounds */
    speak(&t, until + 300, until + 600, 3);     /* afterwards */
    play(s, &t, 1500, 9000, 0, &l);
    settle_down(s, &l);
    check_kinds(&l, "()BE()BE");
    check_time(l.events[4].speech_offset, until + 300, 40);
    forget_log(&l);
    free(t.x);
    omni_session_free(s);
    omni_engine_free(engine);
}

/* It is over before the answer is, by a little: wherever in its pause the answer ends, it is no question. */
static void a_late_backchannel_is_none(void **state)
{
    (void)state;
    for (size_t early = 350; early <= 700; early += 50) {
        omni_turn_params p = params_of(500, true);
        omni_engine *engine = new_engine(model, 1, 0);
        omni_session *s = new_session(engine, 18);
        tape t = new_tape(9000);
        log_of_events l = { .n = 0 };
        size_t until;

        p.interrupt_ms = 600;
        assert_int_equal(omni_session_set_turns(s, &p), OMNI_OK);
        speak(&t, 500, 900, 1);
        play(s, &t, 0, 1600, 0, &l);
        check_kinds(&l, "()BE");
        until = (size_t)(s->sounds_from + l.answers[0].n_audio) / MS;
        assert_true(until > 2800 && until < 7000);
        speak(&t, until - early, until - early + 250, 2);
        play(s, &t, 1600, 9000, 0, &l);
        settle_down(s, &l);
        check_kinds(&l, "()BE");
        forget_log(&l);
        free(t.x);
        omni_session_free(s);
        omni_engine_free(engine);
    }
}

static void without_interruption_it_answers_afterwards(void **state)
{
    omni_turn_params p = params_of(300, true);
    omni_engine *engine = new_engine(model, 1, 0);
    omni_session *s = new_session(engine, 200);
    tape t = new_tape(5000);
    log_of_events l = { .n = 0 };
    omni_stats stats;

    (void)state;
    p.interrupt = false;
    p.interrupt_ms = 0;
    assert_int_equal(omni_session_set_turns(s, &p), OMNI_OK);
    speak(&t, 500, 900, 1);
    speak(&t, 1900, 2000, 2);
    speak(&t, 2400, 2480, 1);
    play(s, &t, 0, 4000, 1, &l);
    play(s, &t, 4000, 5000, 0, &l);
    settle_down(s, &l);
    check_kinds(&l, "()B()()EBE");
    assert_int_equal(l.answers[0].reason, OMNI_END_LENGTH);
    /* Both segments are one question. */
    assert_true(l.events[3].turn == 1 && l.events[5].turn == 1);
    assert_int_equal(omni_session_get_stats(s, &stats), OMNI_OK);
    assert_int_equal(stats.n_samples_in, l.events[6].sample_offset - l.events[3].sample_offset);
    forget_log(&l);
    free(t.x);
    omni_session_free(s);
    omni_engine_free(engine);
}

static void segments_wait_for_end_input(void **state)
{
    omni_turn_params p = params_of(300, true);
    omni_engine *engine = new_engine(model, 2, 0);
    omni_session *s, *hand = new_session(engine, TOKENS);
    tape t = new_tape(4000);
    log_of_events l = { .n = 0 };
    answer a;

    (void)state;
    p.answer = false;
    p.prefix_ms = 100;
    s = listening(engine, &p);
    speak(&t, 500, 650, 1);
    speak(&t, 1050, 1150, 2);
    play(s, &t, 0, 2000, 0, &l);
    check_kinds(&l, "()()");
    assert_true(l.events[2].sample_offset >= l.events[1].sample_offset);
    assert_int_equal(omni_session_end_input(s), OMNI_OK);
    settle_down(s, &l);
    check_kinds(&l, "()()BE");
    assert_int_equal(l.events[4].sample_offset, 0);     /* not by ear */
    ask_by_hand(hand, &t, l.events[0].sample_offset, l.events[3].sample_offset, &a);
    assert_same_answer(&l.answers[0], &a);
    forget_answer(&a);
    /* Nothing waits: all since then is the question, at most a window. */
    play(s, &t, 2000, 3500, 0, &l);
    assert_int_equal(omni_session_end_input(s), OMNI_OK);
    settle_down(s, &l);
    check_kinds(&l, "()()BEBE");
    ask_by_hand(hand, &t, 2500 * MS, 3500 * MS, &a);
    assert_same_answer(&l.answers[1], &a);
    forget_answer(&a);
    forget_log(&l);
    free(t.x);
    omni_session_free(s);
    omni_session_free(hand);
    omni_engine_free(engine);
}

static void a_long_question_is_cut(void **state)
{
    omni_turn_params p = params_of(300, true);
    omni_engine *engine = new_engine(model, 2, 0);
    omni_session *s = listening(engine, &p), *hand = new_session(engine, TOKENS);
    tape t = new_tape(10000);
    log_of_events l = { .n = 0 };
    answer a;

    (void)state;
    for (int i = 0; i < 8; i++)
        speak(&t, 500 + (size_t)i * 1000, 1350 + (size_t)i * 1000, i % 3);     /* gaps of 150 ms */
    play(s, &t, 0, 10000, 0, &l);
    settle_down(s, &l);
    check_kinds(&l, "()BCE");
    check_time(l.events[1].speech_offset, 8350, 120);
    assert_int_equal(l.answers[0].cut_at, SECOND);
    ask_by_hand(hand, &t, l.events[0].sample_offset, l.events[0].sample_offset + SECOND, &a);
    assert_int_equal(a.n_text, l.answers[0].n_text);
    assert_memory_equal(a.text, l.answers[0].text, a.n_text);
    forget_answer(&a);
    forget_log(&l);
    free(t.x);
    omni_session_free(s);
    omni_session_free(hand);
    omni_engine_free(engine);
}

/* Nobody reads events: hearing waits, nothing is lost, nothing runs over. */
static void an_idle_receiver_stops_the_ear(void **state)
{
    omni_turn_params p = params_of(100, true);
    omni_session_params sp = omni_session_default_params();
    omni_engine *engine = new_engine(model, 1, 0);
    omni_session *s;
    tape t = new_tape(4000);
    log_of_events l = { .n = 0 };
    size_t at = 0;

    (void)state;
    sp.max_tokens = 150;
    sp.packet_samples = 16;             /* fills the queue */
    assert_int_equal(omni_session_new(engine, &sp, &s), OMNI_OK);
    assert_int_equal(omni_session_set_turns(s, &p), OMNI_OK);
    speak(&t, 300, 600, 1);
    speak(&t, 3000, 3300, 1);
    while (at < t.n && omni_session_push_audio(s, t.x + at, 160) == OMNI_OK) {
        at += 160;
        for (int i = 0; i < 20; i++)
            omni_engine_step(engine);
    }
    assert_true(s->state == OM_ANSWER && s->n_tokens < 150);
    take_all(s, &l);
    for (; at < t.n; at += 160) {
        omni_engine_step(engine);
        take_all(s, &l);
        assert_int_equal(omni_session_push_audio(s, t.x + at, 160), OMNI_OK);
    }
    settle_down(s, &l);
    assert_true(l.n >= 6);
    check_time(l.events[3].speech_offset, 3000, 40);
    forget_log(&l);
    free(t.x);
    omni_session_free(s);
    omni_engine_free(engine);
}

/* One turn is being prepared when another is asked: that one has the encoder at once, and both are answered. */
static void a_preparation_gives_way(void **state)
{
    omni_turn_params p = params_of(300, true);
    omni_engine *engine = new_engine(model, 3, 0);
    omni_session *s = listening(engine, &p), *other = new_session(engine, TOKENS), *hand = new_session(engine, TOKENS);
    tape t = new_tape(2500);
    log_of_events l = { .n = 0 };
    float x[12000];
    size_t ms = 0;
    answer a, b;

    (void)state;
    make_sound(x, 12000, 2);
    assert_int_equal(omni_session_push_audio(other, x, 12000), OMNI_OK);    /* heard while the other speaks */
    om_encoder_set_slice(engine->encoder, 1.0);     /* half a layer */
    speak(&t, 500, 800, 1);
    while (engine->encoding != s) {
        play(s, &t, ms, ms + 10, 1, &l);
        assert_true((ms += 10) < 1100);
    }
    assert_true(s->ahead);
    assert_int_equal(omni_session_end_input(other), OMNI_OK);
    for (int i = 0; engine->encoding != other; i++) {
        assert_true(i < 3);
        omni_engine_step(engine);
    }
    assert_false(s->ahead);
    finish(other, &a);
    say(hand, 2, &b);
    assert_same_answer(&a, &b);
    forget_answer(&a);
    forget_answer(&b);
    play(s, &t, ms, 2500, 0, &l);
    settle_down(s, &l);
    check_kinds(&l, "()BE");
    assert_int_equal(omni_session_reset(hand), OMNI_OK);
    ask_by_hand(hand, &t, l.events[0].sample_offset, l.events[1].sample_offset, &b);
    assert_same_answer(&l.answers[0], &b);
    forget_answer(&b);
    forget_log(&l);
    free(t.x);
    omni_session_free(s);
    omni_session_free(other);
    omni_session_free(hand);
    omni_engine_free(engine);
}

/* What can fail fails, once each: set_turns refuses and changes nothing; a preparation that fails is not noticed; a
 * turn that fails ends FAILED, and the next is as ever. */
static void failures_leave_it_whole(void **state)
{
    omni_turn_params p = params_of(300, true);
    omni_engine *engine = new_engine(model, 1, 0);
    tape t = new_tape(3300);
    log_of_events l = { .n = 0 };
    int refused = 0, unnoticed = 0, failed = 0;
    bool more = true;
    answer plain = { .n_text = 0 };

    (void)state;
    speak(&t, 500, 800, 1);
    speak(&t, 2000, 2200, 2);
    for (long n = 0; more; n++) {
        omni_session *s = new_session(engine, 3);
        int rc;

        p.interrupt_ms = 0;
        om_torture_arm(n);
        rc = omni_session_set_turns(s, &p);
        if (rc) {
            om_torture_arm(0);
            assert_int_equal(rc, OMNI_ERR_MEMORY);
            assert_null(s->ear.vad);
            refused++;
            assert_int_equal(omni_session_set_turns(s, &p), OMNI_OK);
        }
        play(s, &t, 0, 1500, 0, &l);
        settle_down(s, &l);
        more = n == 0 || om_torture_count() >= n || rc;
        om_torture_arm(0);
        if (l.answers[0].end == OMNI_EVENT_END) {
            check_kinds(&l, "()BE");
            if (n == 0) {
                plain = l.answers[0];
                l.answers[0] = (answer){ .n_text = 0 };
            } else {
                assert_same_answer(&l.answers[0], &plain);
                unnoticed++;
            }
        } else {
            check_kinds(&l, "()BF");
            failed++;
        }
        forget_log(&l);
        play(s, &t, 1500, 3300, 0, &l);
        settle_down(s, &l);
        check_kinds(&l, "()BE");
        forget_log(&l);
        omni_session_free(s);
    }
    assert_true(refused >= 3 && unnoticed > 1 && failed > 0);
    forget_answer(&plain);
    free(t.x);
    omni_engine_free(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_and_refusals),
        cmocka_unit_test(segments_become_turns),
        cmocka_unit_test(preparation_leaves_no_trace),
        cmocka_unit_test(the_first_sound_comes_at_once),
        cmocka_unit_test(preparation_waits_for_room),
        cmocka_unit_test(calls_forget_the_preparation),
        cmocka_unit_test(a_prepared_turn_is_cancelled_alone),
        cmocka_unit_test(speech_interrupts),
        cmocka_unit_test(backchannels_pass),
        cmocka_unit_test(a_sounding_answer_counts),
        cmocka_unit_test(a_late_backchannel_is_none),
        cmocka_unit_test(without_interruption_it_answers_afterwards),
        cmocka_unit_test(segments_wait_for_end_input),
        cmocka_unit_test(a_long_question_is_cut),
        cmocka_unit_test(an_idle_receiver_stops_the_ear),
        cmocka_unit_test(a_preparation_gives_way),
        cmocka_unit_test(failures_leave_it_whole),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
