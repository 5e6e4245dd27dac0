/*
 * The thread rule of omni.h, meant for `make tsan`: one thread steps, one asks, one listens, one
 * cancels; and two engines of one model step at the same time.
 */
#include "unit/cmocka_all.h"

#include "omni.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { TURNS = 12, PIECE = 160 };

static omni_model *model;

typedef struct {
    omni_session *session;
    atomic_int asked, ended;    /* turns */
    atomic_bool stop;
    int ends, cancels, failures;
} talk;

static void nap(long microseconds)
{
    struct timespec t = { 0, microseconds * 1000 };

    nanosleep(&t, NULL);
}

/* Pushes small pieces of a tone, as an audio callback would, and waits for the turn to end. */
static void *ask(void *user)
{
    talk *t = user;
    float piece[PIECE];

    for (int turn = 0; turn < TURNS; turn++) {
        for (int i = 0; i < 8; i++) {
            for (int j = 0; j < PIECE; j++)
                piece[j] = 0.1f * (float)((i * PIECE + j) % 50 - 25) / 25.0f;
            while (omni_session_push_audio(t->session, piece, PIECE) == OMNI_ERR_LIMIT)
                nap(200);
        }
        while (omni_session_end_input(t->session) != OMNI_OK)
            nap(200);
        atomic_store(&t->asked, turn + 1);
        while (atomic_load(&t->ended) <= turn)
            nap(200);
    }
    return NULL;
}

static void *listen(void *user)
{
    talk *t = user;
    omni_event ev;
    float sum = 0;

    while (atomic_load(&t->ended) < TURNS) {
        if (omni_session_next_event(t->session, &ev) != OMNI_OK) {
            nap(100);
            continue;
        }
        for (size_t i = 0; i < ev.n_audio; i++)
            sum += ev.audio[i];
        if (ev.type < OMNI_EVENT_END)
            continue;
        t->ends += ev.type == OMNI_EVENT_END;
        t->cancels += ev.type == OMNI_EVENT_CANCELLED;
        t->failures += ev.type == OMNI_EVENT_FAILED;
        atomic_fetch_add(&t->ended, 1);
    }
    return sum > 1e30f ? user : NULL;
}

/* Cancels every third turn, at some time after it was asked. */
static void *interrupt(void *user)
{
    talk *t = user;

    for (int turn = 2; turn < TURNS && !atomic_load(&t->stop); turn += 3) {
        while (atomic_load(&t->asked) <= turn && !atomic_load(&t->stop))
            nap(50);
        nap(37 * turn);
        omni_session_cancel(t->session);
    }
    return NULL;
}

static omni_engine *start(void)
{
    omni_engine_params params = omni_engine_default_params();
    omni_engine *engine;

    params.n_threads = 2;       /* the backend's thread too */
    assert_int_equal(omni_engine_new(model, &params, &engine), OMNI_OK);
    return engine;
}

static void one_steps_one_asks_one_listens_one_cancels(void **state)
{
    omni_session_params params = omni_session_default_params();
    omni_engine *engine = start();
    pthread_t threads[3];
    talk t = { 0 };

    (void)state;
    params.max_tokens = 6;
    params.keep_history = false;
    assert_int_equal(omni_session_new(engine, &params, &t.session), OMNI_OK);
    assert_int_equal(pthread_create(&threads[0], NULL, ask, &t), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, listen, &t), 0);
    assert_int_equal(pthread_create(&threads[2], NULL, interrupt, &t), 0);
    while (atomic_load(&t.ended) < TURNS) {
        int rc = omni_engine_step(engine);

        assert_true(rc >= 0);
        if (rc == OMNI_AGAIN)
            nap(100);
    }
    atomic_store(&t.stop, true);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    print_message("%d turns ended, %d were cancelled\n", t.ends, t.cancels);
    assert_int_equal(t.ends + t.cancels, TURNS);
    assert_int_equal(t.failures, 0);
    assert_true(t.ends >= TURNS / 2);
    omni_session_free(t.session);
    omni_engine_free(engine);
}

static void *answer_alone(void *user)
{
    omni_session_params params = omni_session_default_params();
    omni_engine *engine = start();
    omni_session *session;
    omni_event ev;
    double sum = 0;

    params.max_tokens = 6;
    assert_int_equal(omni_session_new(engine, &params, &session), OMNI_OK);
    assert_int_equal(omni_session_push_text(session, " hello"), OMNI_OK);
    for (;;) {
        int rc = omni_session_next_event(session, &ev);

        if (rc == OMNI_AGAIN) {
            assert_true(omni_engine_step(engine) >= 0);
            continue;
        }
        for (size_t i = 0; i < ev.n_audio; i++)
            sum += (double)ev.audio[i] * (double)ev.audio[i];
        if (ev.type >= OMNI_EVENT_END)
            break;
    }
    *(double *)user = ev.type == OMNI_EVENT_END ? sum : -1;
    omni_session_free(session);
    omni_engine_free(engine);
    return NULL;
}

static void two_engines_share_a_model(void **state)
{
    pthread_t other;
    double here = 0, there = 1;

    (void)state;
    assert_int_equal(pthread_create(&other, NULL, answer_alone, &there), 0);
    answer_alone(&here);
    pthread_join(other, NULL);
    assert_true(here > 0);
    assert_true(here == there);     /* the same samples, bit for bit */
}

static int load(void **state)
{
    const char *dir = getenv("OMNI_ORACLE_DIR");
    char path[1024];

    (void)state;
    snprintf(path, sizeof path, "%s/reference/2", dir ? dir : ".");
    return omni_model_load(path, NULL, &model);
}

static int unload(void **state)
{
    (void)state;
    omni_model_free(model);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_steps_one_asks_one_listens_one_cancels),
        cmocka_unit_test(two_engines_share_a_model),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
