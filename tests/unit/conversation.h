/* What the session tests share: the toy model of session_oracle.py, and one turn driven to its end. */
#ifndef CONVERSATION_H
#define CONVERSATION_H

#include "unit/cmocka_all.h"

#include "core/objects.h"
#include "omni.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Everything that one answer gave. */
typedef struct answer {
    char text[1 << 14];
    size_t n_text;
    float *audio;
    size_t n_audio, cap_audio, n_packets, least_packet;
    uint64_t cut_at;            /* 0 = no CUT event */
    omni_event_type end;        /* 0 = still running */
    omni_end_reason reason;
    int status;
    char why[256];
} answer;

static inline omni_model *load_toy(const char *kind, bool f32)
{
    omni_model_params params = omni_model_default_params();
    const char *dir = getenv("OMNI_ORACLE_DIR");
    char path[1024];
    omni_model *model = NULL;

    assert_non_null(dir);
    snprintf(path, sizeof path, "%s/session/%s", dir, kind);
    params.n_gpu_layers = 0;
    params.force_f32 = f32;
    if (omni_model_load(path, &params, &model) != OMNI_OK)
        fail_msg("%s", omni_last_error());
    return model;
}

static inline omni_engine *new_engine(const omni_model *model, int n_slots, int n_ctx)
{
    omni_engine_params params = omni_engine_default_params();
    omni_engine *engine = NULL;

    params.n_slots = n_slots;
    params.n_threads = 1;
    params.n_ctx = n_ctx;
    params.prefill_chunk = 7;       /* several slices even for a toy's prompt */
    if (omni_engine_new(model, &params, &engine) != OMNI_OK)
        fail_msg("%s", omni_last_error());
    return engine;
}

static inline omni_session *new_session(omni_engine *engine, int max_tokens)
{
    omni_session_params params = omni_session_default_params();
    omni_session *session = NULL;

    params.max_tokens = max_tokens;
    if (omni_session_new(engine, &params, &session) != OMNI_OK)
        fail_msg("%s", omni_last_error());
    return session;
}

static inline void forget_answer(answer *a)
{
    free(a->audio);
    memset(a, 0, sizeof *a);
}

/* One event into the answer; checks what omni.h promises of every event. */
static inline void take_event(answer *a, const omni_event *e, bool first)
{
    assert_true(first == (e->type == OMNI_EVENT_BEGIN));
    assert_int_equal(a->end, 0);
    switch (e->type) {
    case OMNI_EVENT_BEGIN:
        break;
    case OMNI_EVENT_CUT:
        a->cut_at = e->sample_offset;
        break;
    case OMNI_EVENT_TEXT:
        assert_true(e->n_text > 0 && om_utf8_valid(e->text, e->n_text));
        assert_true(a->n_text + e->n_text < sizeof a->text);
        memcpy(a->text + a->n_text, e->text, e->n_text);
        a->n_text += e->n_text;
        break;
    case OMNI_EVENT_AUDIO:
        assert_true(e->n_audio > 0 && e->sample_offset == a->n_audio);
        if (a->n_audio + e->n_audio > a->cap_audio) {
            a->cap_audio = (a->n_audio + e->n_audio) * 2;
            a->audio = realloc(a->audio, a->cap_audio * sizeof *a->audio);
            assert_non_null(a->audio);
        }
        memcpy(a->audio + a->n_audio, e->audio, e->n_audio * sizeof *e->audio);
        a->n_audio += e->n_audio;
        if (a->n_packets++ == 0 || e->n_audio < a->least_packet)
            a->least_packet = e->n_audio;
        break;
    case OMNI_EVENT_SPEECH_STARTED:
    case OMNI_EVENT_SPEECH_STOPPED:
        fail_msg("turn taking is off");
        break;
    case OMNI_EVENT_END:
    case OMNI_EVENT_CANCELLED:
    case OMNI_EVENT_FAILED:
        a->end = e->type;
        a->reason = e->reason;
        a->status = e->status;
        snprintf(a->why, sizeof a->why, "%s", e->text);
        break;
    }
}

/* Takes every event that waits; true when the answer is complete. */
static inline bool listen_to(omni_session *session, answer *a, bool *begun)
{
    omni_event event;

    while (a->end == 0 && omni_session_next_event(session, &event) == OMNI_OK) {
        take_event(a, &event, !*begun);
        *begun = true;
    }
    return a->end != 0;
}

/* Steps the engine until the session's answer is complete. */
static inline void finish(omni_session *session, answer *a)
{
    bool begun = false;
    int idle = 0;

    memset(a, 0, sizeof *a);
    while (!listen_to(session, a, &begun)) {
        idle = omni_engine_step(session->engine) == OMNI_AGAIN ? idle + 1 : 0;
        assert_true(idle < 2);      /* neither event nor work: it would wait for ever */
    }
}

/* A question of n samples that differs with `kind`. */
static inline void make_sound(float *x, size_t n, int kind)
{
    for (size_t i = 0; i < n; i++) {
        double t = (double)i / 16000.0;

        x[i] = (float)(0.3 * sin(6.2832 * (200.0 + 90.0 * kind) * t * (1.0 + 0.4 * t)) *
                       sin(6.2832 * (2.0 + kind) * t));
    }
}

static inline void ask_sound(omni_session *session, int kind)
{
    float x[12000];

    make_sound(x, 12000, kind);
    assert_int_equal(omni_session_push_audio(session, x, 12000), OMNI_OK);
    assert_int_equal(omni_session_end_input(session), OMNI_OK);
}

static inline void say(omni_session *session, int kind, answer *a)
{
    ask_sound(session, kind);
    finish(session, a);
}

static inline void assert_same_answer(const answer *a, const answer *b)
{
    assert_int_equal(a->end, b->end);
    assert_int_equal(a->n_text, b->n_text);
    assert_memory_equal(a->text, b->text, a->n_text);
    assert_int_equal(a->n_audio, b->n_audio);
    if (a->n_audio)
        assert_memory_equal(a->audio, b->audio, a->n_audio * sizeof *a->audio);
}

#endif
