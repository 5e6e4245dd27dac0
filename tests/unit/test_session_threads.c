/* One thread asks, one listens, one cancels, the owner steps. The thread sanitizer has the last word. */
#include "omni.h"

#include "unit/conversation.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

enum { TURNS = 12 };

typedef struct table {
    omni_session *session;
    atomic_int ended;           /* turns whose last event was heard */
    atomic_int failures;
    atomic_bool over;
    answer answers[TURNS];
} table;

static void nap(long microseconds)
{
    struct timespec t = { 0, microseconds * 1000 };

    nanosleep(&t, NULL);
}

static void *asker(void *user)
{
    table *t = user;
    float x[12000];

    for (int turn = 0; turn < TURNS; turn++) {
        make_sound(x, 12000, turn % 2);
        for (int at = 0; at < 12000; at += 400) {
            while (omni_session_push_audio(t->session, x + at, 400) == OMNI_ERR_LIMIT)
                nap(100);
        }
        /* The next question may be asked while the last answer still runs. */
        while (omni_session_end_input(t->session) == OMNI_ERR_STATE)
            nap(100);
    }
    return NULL;
}

static void *listener(void *user)
{
    table *t = user;
    omni_event event;
    int turn = 0;

    while (turn < TURNS) {
        answer *a = &t->answers[turn];
        bool first = true;

        while (a->end == 0) {
            if (omni_session_next_event(t->session, &event) != OMNI_OK) {
                nap(50);
                continue;
            }
            if (event.turn != (uint32_t)turn || first != (event.type == OMNI_EVENT_BEGIN))
                atomic_fetch_add(&t->failures, 1);
            if (event.type != OMNI_EVENT_BEGIN || first)
                take_event(a, &event, first);
            first = false;
        }
        atomic_store(&t->ended, ++turn);
    }
    return NULL;
}

static void *interrupter(void *user)
{
    table *t = user;

    while (!atomic_load(&t->over)) {
        nap(3000);
        if (atomic_load(&t->ended) % 3 == 1)
            omni_session_cancel(t->session);
    }
    return NULL;
}

static void four_threads(void **state)
{
    static table t;
    omni_model *model = load_toy("", true);
    omni_engine *engine = new_engine(model, 1, 0);
    omni_session_params params = omni_session_default_params();
    pthread_t threads[3];
    answer plain[2];

    (void)state;
    params.max_tokens = 8;
    params.keep_history = false;
    assert_int_equal(omni_session_new(engine, &params, &t.session), OMNI_OK);
    say(t.session, 0, &plain[0]);
    say(t.session, 1, &plain[1]);
    assert_int_equal(omni_session_reset(t.session), OMNI_OK);       /* turns count from 0 again */
    assert_int_equal(pthread_create(&threads[0], NULL, asker, &t), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, listener, &t), 0);
    assert_int_equal(pthread_create(&threads[2], NULL, interrupter, &t), 0);
    while (atomic_load(&t.ended) < TURNS)
        if (omni_engine_step(engine) == OMNI_AGAIN)
            nap(50);
    atomic_store(&t.over, true);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&t.failures), 0);
    for (int turn = 0; turn < TURNS; turn++) {
        answer *a = &t.answers[turn], *p = &plain[turn % 2];

        assert_true(a->end == OMNI_EVENT_END || a->end == OMNI_EVENT_CANCELLED);
        if (a->end == OMNI_EVENT_END)
            assert_same_answer(a, p);
        else        /* what was given out was right */
            assert_memory_equal(a->text, p->text, a->n_text);
        forget_answer(a);
    }
    forget_answer(&plain[0]);
    forget_answer(&plain[1]);
    omni_session_free(t.session);
    omni_engine_free(engine);
    omni_model_free(model);
}

enum { QUESTIONS = 4000, PIECE = 8, PIECES = 20 };

static void *hasty_asker(void *user)
{
    omni_session *session = user;
    float x[PIECE] = { 0.1f };

    for (int turn = 0; turn < QUESTIONS; turn++) {
        for (int i = 0; i < PIECES; i++)
            while (omni_session_push_audio(session, x, PIECE) == OMNI_ERR_LIMIT)
                nap(10);
        while (omni_session_end_input(session) == OMNI_ERR_STATE)
            sched_yield();
    }
    return NULL;
}

/* The next question is pushed while the owner sees that this one is complete: it takes nothing of it. By hand, and
 * with turn taking on. */
static void a_question_ends_where_it_was_ended(void **state)
{
    omni_model *model = load_toy("", true);
    omni_engine *engine = new_engine(model, 1, 0);

    (void)state;
    for (int listens = 0; listens < 2; listens++) {
        omni_session *session = new_session(engine, 1);
        omni_turn_params turns = omni_turn_default_params();
        int ended = 0, idle = 0;
        omni_stats stats;
        omni_event event;
        pthread_t thread;

        turns.answer = false;
        if (listens)
            assert_int_equal(omni_session_set_turns(session, &turns), OMNI_OK);
        assert_int_equal(pthread_create(&thread, NULL, hasty_asker, session), 0);
        while (ended < QUESTIONS && idle < 200000) {
            idle = omni_engine_step(engine) == OMNI_AGAIN ? idle + 1 : 0;
            if (idle > 1000)
                nap(100);       /* the other thread may not have its turn for long */
            while (omni_session_next_event(session, &event) == OMNI_OK) {
                if (event.type == OMNI_EVENT_BEGIN)
                    omni_session_cancel(session);   /* before anything is computed */
                if (event.type < OMNI_EVENT_END)
                    continue;
                ended++;
                assert_int_equal(omni_session_get_stats(session, &stats), OMNI_OK);
                assert_int_equal(stats.n_samples_in, PIECES * PIECE);
            }
        }
        assert_int_equal(ended, QUESTIONS);     /* else it waits for ever */
        pthread_join(thread, NULL);
        omni_session_free(session);
    }
    omni_engine_free(engine);
    omni_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(four_threads),
        cmocka_unit_test(a_question_ends_where_it_was_ended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
