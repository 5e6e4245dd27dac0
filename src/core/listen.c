/* listen: see listen.h. */
#include "core/listen.h"

#include "core/ahead.h"
#include "core/objects.h"
#include "core/turn.h"

enum { PART = 160, ROOM = 8 };  /* events that a part of samples can bring, with the turn's own */

/* ---- is an answer being heard? ------------------------------------------------- */

static bool is_running(const omni_session *s)
{
    return s->state > OM_LISTEN && !s->ahead;
}

/* It runs, or by the input clock its sound has not ended yet. */
static bool is_answering(const omni_session *s)
{
    const om_voice *voice = s->holds ? &s->other_voice : &s->voice;
    double ratio = (double)s->engine->model->hp.audio.sample_rate / (double)s->engine->model->hp.voc.sample_rate;

    if (is_running(s))
        return true;
    return s->sounds && (double)(s->ear.clock - s->sounds_from) < (double)voice->n_posted * ratio;
}

/* ---- turns -------------------------------------------------------------------------- */

/* What the question holds beyond the window is counted only. */
int om_listen_read_question(omni_session *s)
{
    int64_t start = om_now_us();
    uint64_t n_in_all;
    size_t n, taken = 0;
    const float *x = om_ear_question(&s->ear, &n, &n_in_all);
    int rc;

    om_mel_reset(s->mel);
    rc = om_mel_push(s->mel, x, n, &taken);
    s->n_question = n_in_all;
    s->n_heard = taken;
    s->stats.t_mel += om_now_us() - start;
    return rc;
}

static void post_speech(omni_session *s, omni_event_type type, uint64_t sample, uint64_t speech)
{
    omni_event event = { .type = type, .sample_offset = sample, .speech_offset = speech };

    om_turn_post(s, &event);    /* there is room: see om_listen_hear */
}

/* The turn of the question that was collected; what was prepared ahead is used. asked: by end_input. */
static int begin_turn(omni_session *s, bool asked)
{
    int rc = OMNI_OK;

    if (!om_queue_has_room(s->events, 2, 0))
        return OMNI_AGAIN;
    if (asked)
        om_ahead_forget(s);    /* it ends elsewhere */
    else
        atomic_fetch_add(&s->n_asked, 1);
    s->started_at = asked ? s->asked_at : om_now_us();
    if (s->ahead)
        s->stats.t_ahead = om_now_us() - s->ahead_at;
    else
        rc = om_listen_read_question(s);
    om_ear_taken(&s->ear);
    om_turn_begin_heard(s, asked);
    return rc;
}

static bool is_ripe(const omni_session *s)
{
    return s->ear.params.answer && s->ear.n_segments > 0 && !om_vad_speaking(s->ear.vad);
}

int om_listen_begin(omni_session *s)
{
    if (atomic_load_explicit(&s->question, memory_order_acquire) == OM_ASK_AUDIO) {
        if (s->n_pulled < s->end_mark || !om_queue_has_room(s->events, 3, 0))
            return OMNI_AGAIN;
        if (s->ear.n_segments == 0 || om_vad_speaking(s->ear.vad)) {
            om_ahead_forget(s);
            if (om_ear_close(&s->ear))
                post_speech(s, OMNI_EVENT_SPEECH_STOPPED, s->ear.end, s->ear.speech_end);
        }
        return begin_turn(s, true);
    }
    return is_ripe(s) ? begin_turn(s, false) : OMNI_AGAIN;
}

/* ---- hearing ------------------------------------------------------------------------ */

/* Speech is told at once, during an answer only when it is more than a backchannel: one that lay within the answer
 * stays untold when that ends right after it. */
static void confirm(omni_session *s)
{
    om_ear *ear = &s->ear;
    uint64_t least = (uint64_t)ear->params.interrupt_ms * (OM_VAD_RATE / 1000);
    uint64_t last = om_vad_last_speech(ear->vad) + ear->base;

    if (is_answering(s))
        ear->answered = ear->clock;
    if (!om_vad_speaking(ear->vad) || ear->told || !ear->heard_onset)
        return;
    if (last <= ear->answered && last < ear->onset + least)
        return;
    ear->told = true;
    post_speech(s, OMNI_EVENT_SPEECH_STARTED, ear->from, ear->onset);
    if (!ear->params.interrupt)
        return;
    s->sounds = false;
    if (is_running(s) && s->state < OM_DONE) {
        om_turn_end(s, OMNI_EVENT_CANCELLED, OMNI_END_INTERRUPTED);
        om_turn_done(s);
    }
}

static void handle(omni_session *s, const om_vad_event *event)
{
    om_ear *ear = &s->ear;

    switch (event->kind) {
    case OM_VAD_START:
        om_ear_start(ear, event->at);
        break;
    case OM_VAD_PAUSE:
        om_ear_pause(ear, event->at);
        s->wants_ahead = ear->told;
        break;
    case OM_VAD_RESUME:
        om_ahead_forget(s);
        break;
    case OM_VAD_STOP:
        om_ear_pause(ear, event->at);
        if (ear->told)
            post_speech(s, OMNI_EVENT_SPEECH_STOPPED, ear->end, ear->speech_end);
        om_ear_stop(ear);
        /* At once, so that nothing comes between: the turn was prepared for just this question. */
        s->wants_ahead = false;
        if (s->ahead && is_ripe(s))
            begin_turn(s, false);
        break;
    }
}

/* One part of samples; events of the detection lie at the ends of what it takes. */
static void hear_part(omni_session *s, const float *x, size_t n)
{
    om_vad_event event;

    for (size_t at = 0; at < n;) {
        at += om_ear_hear(&s->ear, x + at, n - at);
        confirm(s);
        if (om_ear_event(&s->ear, &event)) {
            handle(s, &event);
            confirm(s);
        }
    }
}

int om_listen_hear(omni_session *s)
{
    size_t budget = (size_t)s->engine->model->hp.audio.window_samples / 8 + 1, n, moved = 0;
    uint64_t end;
    float x[PART];
    int question;

    if (!s->ear.vad)
        return OMNI_AGAIN;
    end = om_turn_input_end(s, &question);
    if (question != OM_ASK_NONE)
        om_ahead_forget(s);    /* asked by hand, the question is another */
    while (moved < budget && s->n_pulled < end && om_queue_has_room(s->events, ROOM, 0)) {
        n = om_ring_pull(s->input, x, end - s->n_pulled < PART ? (size_t)(end - s->n_pulled) : PART);
        if (n == 0)
            break;
        s->n_pulled += n;
        moved += n;
        hear_part(s, x, n);
    }
    return om_ahead_prepare(s) == OMNI_OK || moved ? OMNI_OK : OMNI_AGAIN;
}
