/*
 * What can fail fails, once each, over loading a model and a turn; and a turn is cancelled at every slice.
 * After each of them the next turn must be as if nothing had been. Leaks show under `make asan`.
 */
#include "unit/cmocka_all.h"

#include "omni.h"

#include "base/memory.h"
#include "base/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODEL = 3, MOST_STEPS = 100000 };

static float *question;
static size_t n_question;

/* What a turn gave. */
typedef struct {
    omni_event_type end;
    int status;
    size_t n_text, n_audio;
    uint64_t audio_hash, text_hash;
    long steps;
} outcome;

static uint64_t hash(uint64_t h, const void *data, size_t n)
{
    const unsigned char *p = data;

    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 1099511628211u;
    return h;
}

static omni_model *load(void)
{
    const char *dir = getenv("OMNI_ORACLE_DIR");
    omni_model_params params = omni_model_default_params();
    omni_model *model = NULL;
    char path[1024];

    if (!dir)
        return NULL;
    snprintf(path, sizeof path, "%s/reference/%d", dir, MODEL);
    params.n_gpu_layers = 0;
    return omni_model_load(path, &params, &model) == OMNI_OK ? model : NULL;
}

static omni_engine *start(const omni_model *model)
{
    omni_engine_params params = omni_engine_default_params();
    omni_engine *engine = NULL;

    params.n_threads = 1;
    return omni_engine_new(model, &params, &engine) == OMNI_OK ? engine : NULL;
}

static omni_session *open_session(omni_engine *engine)
{
    omni_session_params params = omni_session_default_params();
    omni_session *session = NULL;

    params.max_tokens = 12;
    params.keep_history = false;
    return omni_session_new(engine, &params, &session) == OMNI_OK ? session : NULL;
}

static void take(omni_session *session, outcome *out)
{
    omni_event ev;

    while (out->end == 0 && omni_session_next_event(session, &ev) == OMNI_OK) {
        if (ev.type == OMNI_EVENT_TEXT) {
            out->n_text += ev.n_text;
            out->text_hash = hash(out->text_hash, ev.text, ev.n_text);
        } else if (ev.type == OMNI_EVENT_AUDIO) {
            assert_int_equal(ev.sample_offset, out->n_audio);       /* contiguous */
            out->n_audio += ev.n_audio;
            out->audio_hash = hash(out->audio_hash, ev.audio, ev.n_audio * sizeof *ev.audio);
        } else if (ev.type >= OMNI_EVENT_END) {
            out->end = ev.type;
            out->status = ev.status;
        }
    }
}

/* One turn; cancelled before step number cancel_at when that is not negative. */
static outcome turn(omni_engine *engine, omni_session *session, long cancel_at)
{
    outcome out = { 0 };
    int rc = omni_session_push_audio(session, question, n_question);

    if (rc == OMNI_OK)
        rc = omni_session_end_input(session);
    while (rc >= 0 && out.end == 0 && out.steps < MOST_STEPS) {
        if (out.steps == cancel_at)
            omni_session_cancel(session);
        rc = omni_engine_step(engine);
        out.steps++;
        take(session, &out);
    }
    if (rc < 0) {
        out.end = OMNI_EVENT_FAILED;
        out.status = rc;
    }
    return out;
}

static bool same(const outcome *a, const outcome *b)
{
    return a->end == b->end && a->n_text == b->n_text && a->n_audio == b->n_audio &&
           a->text_hash == b->text_hash && a->audio_hash == b->audio_hash;
}

/* ---- cancelling ----------------------------------------------------------- */

static void cancelled_at_every_slice(void **state)
{
    omni_model *model = load();
    omni_engine *engine = model ? start(model) : NULL;
    omni_session *session = engine ? open_session(engine) : NULL;
    outcome whole;

    (void)state;
    assert_non_null(session);
    whole = turn(engine, session, -1);
    assert_int_equal(whole.end, OMNI_EVENT_END);
    assert_true(whole.n_text > 0 && whole.n_audio > 0 && whole.steps > 5);
    for (long at = 0; at < whole.steps; at++) {
        outcome cut = turn(engine, session, at), again;

        if (cut.end != OMNI_EVENT_CANCELLED)
            fail_msg("cancelled at slice %ld of %ld: ended with event %d, %s", at, whole.steps, (int)cut.end,
                     omni_last_error());
        if (cut.steps > at + 1)
            fail_msg("cancelled at slice %ld: took %ld slices more", at, cut.steps - at);
        again = turn(engine, session, -1);
        if (!same(&again, &whole))
            fail_msg("after a turn cancelled at slice %ld the next differs", at);
    }
    print_message("%ld slices\n", whole.steps);
    omni_session_free(session);
    omni_engine_free(engine);
    omni_model_free(model);
}

/* ---- failing -------------------------------------------------------------- */

/* Everything from nothing: the status of the first failure, or OMNI_OK with the outcome in *out. */
static int from_nothing(outcome *out)
{
    omni_model *model = load();
    omni_engine *engine = model ? start(model) : NULL;
    omni_session *session = engine ? open_session(engine) : NULL;

    memset(out, 0, sizeof *out);
    if (session)
        *out = turn(engine, session, -1);
    omni_session_free(session);
    omni_engine_free(engine);
    omni_model_free(model);
    if (!session)
        return OMNI_ERR_MEMORY;
    return out->end == OMNI_EVENT_END ? OMNI_OK : out->status ? out->status : OMNI_AGAIN;
}

static void every_failure_while_loading_and_answering(void **state)
{
    outcome whole, out;
    long total;

    (void)state;
    om_torture_arm(0);
    assert_int_equal(from_nothing(&whole), OMNI_OK);
    total = om_torture_count();
    print_message("%ld allocations and reads\n", total);
    assert_true(total > 100);
    for (long n = 1; n <= total; n++) {
        int rc;

        om_torture_arm(n);
        rc = from_nothing(&out);
        om_torture_arm(0);
        if (rc == OMNI_AGAIN)
            fail_msg("failure %ld of %ld: the turn never ended", n, total);
        /* Success is allowed where something else can be done; then it is the right answer. */
        if (rc == OMNI_OK && !same(&out, &whole))
            fail_msg("failure %ld of %ld: another answer", n, total);
        if (rc < 0 && !omni_last_error()[0])
            fail_msg("failure %ld of %ld: no reason given", n, total);
    }
}

static void a_failed_turn_leaves_the_session_usable(void **state)
{
    omni_model *model = load();
    omni_engine *engine = model ? start(model) : NULL;
    omni_session *session = engine ? open_session(engine) : NULL;
    outcome whole;
    long total;

    (void)state;
    assert_non_null(session);
    turn(engine, session, -1);      /* buffers have grown to their size */
    om_torture_arm(0);
    whole = turn(engine, session, -1);
    total = om_torture_count();
    assert_int_equal(whole.end, OMNI_EVENT_END);
    print_message("%ld allocations in a turn\n", total);
    for (long n = 1; n <= total; n++) {
        outcome out;

        om_torture_arm(n);
        out = turn(engine, session, -1);
        om_torture_arm(0);
        if (out.end != OMNI_EVENT_FAILED && !same(&out, &whole))
            fail_msg("failure %ld of %ld: event %d after %ld slices", n, total, (int)out.end, out.steps);
        if (out.end == OMNI_EVENT_FAILED)
            assert_true(out.status < 0);
        out = turn(engine, session, -1);
        if (!same(&out, &whole))
            fail_msg("after failure %ld of %ld the next turn differs", n, total);
    }
    omni_session_free(session);
    omni_engine_free(engine);
    omni_model_free(model);
}

static int read_question(void **state)
{
    const char *dir = getenv("OMNI_ORACLE_DIR");
    const om_tensor_desc *t;
    om_weights *w;
    char path[1024];

    (void)state;
    snprintf(path, sizeof path, "%s/reference/%d.gguf", dir ? dir : ".", MODEL);
    if (om_weights_open(path, &w) != OMNI_OK)
        return -1;
    t = om_weights_find(w, "samples");
    n_question = t ? (size_t)t->ne[0] : 0;
    question = malloc((n_question + 1) * sizeof *question);
    if (!t || !question || om_weights_read_f32(w, t, question) != OMNI_OK)
        return -1;
    om_weights_free(w);
    return 0;
}

static int forget_question(void **state)
{
    (void)state;
    free(question);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cancelled_at_every_slice),
        cmocka_unit_test(a_failed_turn_leaves_the_session_usable),
        cmocka_unit_test(every_failure_while_loading_and_answering),
    };

    return cmocka_run_group_tests(tests, read_question, forget_question);
}
