/*
 * turn: the states of one question and its answer; see turn.h. The answering states, which are
 * batched over sessions, are in answer.c.
 *
 * Easy to get wrong: the KV cache always holds a prefix of the script, so after any mishap cutting
 * both to the same length is enough.
 */
#include "core/turn.h"

#include "base/finite.h"
#include "base/memory.h"
#include "base/status.h"
#include "core/ahead.h"
#include "core/history.h"
#include "core/listen.h"
#include "core/objects.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

int64_t om_now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---- events ----------------------------------------------------------------- */

/* 0 would mean that none came: what was held back can come with BEGIN. */
static int64_t since_start(const omni_session *s, const omni_event *event)
{
    return event->time_us > s->started_at ? event->time_us - s->started_at : 1;
}

int om_turn_post(omni_session *s, omni_event *event)
{
    int rc;

    /* Speech during a turn belongs to the next. */
    event->turn = s->turn + ((event->type == OMNI_EVENT_SPEECH_STARTED || event->type == OMNI_EVENT_SPEECH_STOPPED) &&
                             s->state > OM_LISTEN && !s->ahead);
    event->time_us = om_now_us();
    rc = om_queue_push(s->events, event, event->type >= OMNI_EVENT_END ? &s->stats : NULL);
    if (rc)
        return rc;
    s->engine->n_events++;
    if (event->type == OMNI_EVENT_TEXT && !s->stats.t_first_text)
        s->stats.t_first_text = since_start(s, event);
    if (event->type == OMNI_EVENT_AUDIO && !s->stats.t_first_audio)
        s->stats.t_first_audio = since_start(s, event);
    if (event->type == OMNI_EVENT_AUDIO && event->sample_offset == 0) {
        s->sounds = true;
        s->sounds_from = s->ear.vad ? s->ear.clock : s->n_pulled;      /* turn taking may be switched on meanwhile */
    }
    if (event->type == OMNI_EVENT_AUDIO)
        s->stats.n_samples_out += event->n_audio;
    return OMNI_OK;
}

int om_turn_post_text(omni_session *s)
{
    size_t n = om_text_ready(&s->text);
    omni_event event = { .type = OMNI_EVENT_TEXT, .text = s->text.bytes, .n_text = n };
    int rc;

    if (n == 0 || s->ahead)
        return OMNI_OK;
    rc = om_turn_post(s, &event);
    if (!rc)
        om_text_take(&s->text, n);
    return rc;
}

/* ---- cancelling ------------------------------------------------------------- */

bool om_turn_is_cancelled(const omni_session *s)
{
    return atomic_load(&s->cancel) == atomic_load(&s->n_answered) + 1;
}

void om_turn_serve(omni_engine *e, omni_session *const *sessions, int n)
{
    for (int i = 0; i < n; i++)
        e->served[i] = sessions[i];
    e->n_served = n;
}

bool om_turn_abandoned(void *engine)
{
    const omni_engine *e = engine;

    for (int i = 0; i < e->n_served; i++)
        if (!om_turn_is_cancelled(e->served[i]))
            return false;
    return e->n_served > 0;
}

/* ---- IDLE, LISTEN ------------------------------------------------------------- */

/* Takes samples up to stream position `end` out of the input, a bounded part at a time. */
static int hear(omni_session *s, uint64_t end)
{
    const om_hparams *hp = &s->engine->model->hp;
    size_t budget = (size_t)hp->audio.window_samples / 8 + 1, moved = 0, n, taken;
    int64_t start = om_now_us();
    float chunk[1024];
    int rc = OMNI_OK;

    while (!rc && moved < budget && s->n_pulled < end) {
        size_t want = end - s->n_pulled < 1024 ? (size_t)(end - s->n_pulled) : 1024;

        n = om_ring_pull(s->input, chunk, want);
        if (n == 0)
            break;
        taken = 0;
        rc = om_mel_push(s->mel, chunk, n, &taken);
        s->n_pulled += n;
        s->n_question += n;
        s->n_heard += taken;
        moved += n;
    }
    if (!moved)
        return OMNI_AGAIN;
    s->stats.t_mel += om_now_us() - start;
    return rc;
}

bool om_turn_speaks_up(const omni_session *s)
{
    return s->params.speech && !s->silent;
}

void om_turn_clear_answer(omni_session *s)
{
    s->n_tokens = 0;
    s->opened = s->silent = false;
    om_text_reset(&s->text);
    om_voice_reset(&s->voice);
    if (s->params.speech) {
        om_speech_decoder_reset(s->engine->decoder, s->slot);
        om_vocoder_reset(s->engine->vocoder, s->slot);
    }
}

/* What the answer before left behind goes. */
static void start_turn(omni_session *s)
{
    s->has_answer = s->sounds = false;
    if (!s->holds)
        om_turn_clear_answer(s);
}

/* The question was read: whoever asks may ask the next. */
static void take_question(omni_session *s)
{
    s->started_at = s->asked_at;
    start_turn(s);
    atomic_store_explicit(&s->question, OM_ASK_NONE, memory_order_release);
}

void om_turn_begin_heard(omni_session *s, bool asked)
{
    omni_event begin = { .type = OMNI_EVENT_BEGIN, .sample_offset = asked ? 0 : s->ear.end };
    omni_event cut = { .type = OMNI_EVENT_CUT, .sample_offset = s->n_heard };

    om_turn_post(s, &begin);
    if (s->n_question > s->n_heard)
        om_turn_post(s, &cut);
    s->stats.n_samples_in = s->n_question;
    if (asked)
        take_question(s);
    else
        start_turn(s);
    if (s->ahead) {
        om_ahead_becomes_turn(s);
        return;
    }
    s->script_before = s->script.n;
    s->state = OM_ENCODE;
}

static int begin_speech(omni_session *s)
{
    if (!om_queue_has_room(s->events, 2, 0))
        return OMNI_AGAIN;
    om_turn_begin_heard(s, true);
    return OMNI_OK;
}

/* ---- the prompt --------------------------------------------------------------- */

const om_piece *om_turn_untold(const omni_session *s)
{
    bool there = s->told && om_script_find(&s->script, s->told_in) >= 0;

    return s->texts.preamble && !there ? &s->texts.ids : NULL;
}

/* The question into the script, behind what is remembered: rows [R][D], or the typed text. */
static int append_question(omni_session *s, const float *rows)
{
    const om_prompt *prompt = &s->engine->model->prompt;
    const om_piece *preamble = om_turn_untold(s);
    int rc = rows ? OMNI_OK : om_history_check_text(s, strlen(s->typed));

    if (rc)
        return rc;
    rc = rows ? om_prompt_ask_rows(prompt, &s->script, s->turn, preamble, rows, s->engine->model->hp.adaptor.rows)
              : om_prompt_ask_text(prompt, &s->script, s->turn, preamble, s->typed, strlen(s->typed));

    if (preamble) {
        s->told = true;
        s->told_in = s->turn;
    }
    return rc ? rc : om_history_fit(s);
}

static int ask(omni_session *s, const float *rows)
{
    int rc;

    if (!s->params.keep_history) {
        om_script_cut(&s->script, 0);
        om_lm_cut(s->engine->lm, s->slot, 0);
    }
    s->script_before = s->script.n;
    rc = append_question(s, rows);
    if (!rc && om_turn_untold(s)) {     /* the turn that told was forgotten for this one */
        om_script_cut(&s->script, s->script_before);
        rc = append_question(s, rows);
    }
    s->answer_at = s->script.n;
    s->stats.n_prompt = s->script.n;
    s->state = OM_PREFILL;
    return rc;
}

static int begin_text(omni_session *s)
{
    omni_event begin = { .type = OMNI_EVENT_BEGIN };
    int rc;

    if (!om_queue_has_room(s->events, 1, 0))
        return OMNI_AGAIN;
    om_turn_post(s, &begin);
    s->state = OM_PREFILL;
    s->script_before = s->script.n;
    rc = om_turn_is_cancelled(s) ? OMNI_OK : ask(s, NULL);
    om_free(s->typed);
    s->typed = NULL;
    take_question(s);
    return rc;
}

uint64_t om_turn_input_end(const omni_session *s, int *question)
{
    /* First what is there, then the question: whoever finds none has counted nothing that was pushed after one. */
    uint64_t here = s->n_pulled + om_ring_size(s->input);

    *question = atomic_load_explicit(&s->question, memory_order_acquire);
    return *question == OM_ASK_AUDIO ? s->end_mark : here;
}

int om_turn_listen(omni_session *s)
{
    int question, rc;
    uint64_t end = om_turn_input_end(s, &question);

    if (question == OM_ASK_TEXT)
        return begin_text(s);
    if (s->ear.vad)
        return om_listen_begin(s);
    if (question == OM_ASK_AUDIO && om_turn_is_cancelled(s)) {
        size_t gone = om_ring_drop(s->input, (size_t)(s->end_mark - s->n_pulled));

        s->n_pulled += gone;
        s->n_question += gone;
        s->n_heard += gone;
    }
    rc = hear(s, end);
    if (rc < 0)
        return rc;
    if (question == OM_ASK_AUDIO && s->n_pulled == end)
        return begin_speech(s);
    if (rc == OMNI_OK)
        s->state = OM_LISTEN;
    return rc;
}

/* ---- ENCODE ------------------------------------------------------------------- */

static int start_encoder(omni_session *s)
{
    omni_engine *e = s->engine;
    const om_hparams *hp = &e->model->hp;
    int64_t start = om_now_us();
    int rc = om_mel_finish(s->mel);

    if (!rc)
        rc = om_mel_pull(s->mel, e->mel);
    if (!rc)
        rc = om_record_add(s->record, OM_STAGE_MEL, e->mel,
                           (size_t)hp->audio.frames * (size_t)hp->audio.n_mels);
    om_mel_reset(s->mel);
    if (!s->ahead)
        s->n_heard = s->n_question = 0;     /* else they are still to be told */
    s->stats.t_mel += om_now_us() - start;
    if (!rc)
        rc = om_encoder_push(e->encoder, e->mel);
    if (!rc)
        e->encoding = s;
    return rc;
}

static int finish_encoder(omni_session *s)
{
    omni_engine *e = s->engine;
    const om_hparams *hp = &e->model->hp;
    int64_t start = om_now_us();
    int rc = om_encoder_pull(e->encoder, e->rows);

    e->encoding = NULL;
    if (!rc)
        rc = om_record_add(s->record, OM_STAGE_ENCODER, e->rows,
                           (size_t)hp->enc.context * (size_t)hp->enc.width);
    if (!rc)
        rc = om_adaptor_run(e->adaptor, e->rows, e->speech_rows);
    if (!rc)
        rc = om_check_finite(e->speech_rows, (size_t)hp->adaptor.rows * (size_t)hp->llm.width, "the speech adaptor");
    if (!rc)
        rc = om_record_add(s->record, OM_STAGE_ADAPTOR, e->speech_rows,
                           (size_t)hp->adaptor.rows * (size_t)hp->llm.width);
    s->stats.t_adaptor += om_now_us() - start;
    return rc ? rc : ask(s, e->speech_rows);
}

/* One question at a time, in turns; those begun before those prepared ahead, which give way in the middle. */
int om_turn_encode(omni_session *s)
{
    omni_engine *e = s->engine;
    int64_t start;
    int rc;

    if (e->encoding && e->encoding != s && e->encoding->ahead && !s->ahead)
        om_ahead_give_way(e->encoding);
    if ((e->encoding && e->encoding != s) || (s->ahead && !e->room))
        return OMNI_AGAIN;
    if (!e->encoding)
        return start_encoder(s);
    start = om_now_us();
    om_turn_serve(e, &s, 1);
    rc = om_encoder_run(e->encoder);
    om_turn_serve(e, NULL, 0);
    s->stats.t_encoder += om_now_us() - start;
    if (rc == OMNI_AGAIN)
        return OMNI_OK;
    if (rc) {
        om_encoder_reset(e->encoder);
        e->encoding = NULL;
        return rc;
    }
    return finish_encoder(s);
}

/* ---- FLUSH, DONE -------------------------------------------------------------- */

int om_turn_flush(omni_session *s)
{
    int rc;

    if (s->ahead)
        return OMNI_AGAIN;
    rc = om_turn_post_text(s);
    if (!rc && s->params.speech)
        rc = om_voice_collect(s);
    if (rc)
        return rc;
    if (s->params.speech && !om_voice_done(s))
        return OMNI_AGAIN;      /* om_turn_speak is at work */
    om_turn_end(s, OMNI_EVENT_END, (int)s->end.reason);
    om_turn_done(s);    /* at once, if there is room */
    return OMNI_OK;
}

/* What the turn leaves behind in the stages, the script and the cache. */
static void settle(omni_session *s, bool forget)
{
    omni_engine *e = s->engine;

    if (e->encoding == s) {
        om_encoder_reset(e->encoder);
        e->encoding = NULL;
    }
    if (s->state == OM_ENCODE) {
        om_mel_reset(s->mel);
        s->n_heard = s->n_question = 0;
    }
    if (s->params.speech) {
        om_voice_keep_durations(s);
        om_speech_decoder_reset(e->decoder, s->slot);
        om_vocoder_reset(e->vocoder, s->slot);
    }
    if (forget)
        om_script_cut(&s->script, s->script_before);
    om_lm_cut(e->lm, s->slot, s->script.n);
}

/* What stands in the cache may be the reason: the next question reads all of the conversation anew. */
static void tell_broken(omni_session *s)
{
    s->engine->n_broken++;
    snprintf(s->engine->why_broken, sizeof s->engine->why_broken, "%s", s->why);
    om_lm_cut(s->engine->lm, s->slot, 0);
}

void om_turn_end(omni_session *s, omni_event_type type, int reason_or_status)
{
    bool answered = (s->state == OM_ANSWER || s->state == OM_FLUSH) && s->n_tokens > 0;

    if (type == OMNI_EVENT_END)
        s->engine->n_broken = 0;
    s->has_answer = answered && type != OMNI_EVENT_FAILED;
    s->spoke = om_turn_speaks_up(s);
    s->sounds = s->sounds && type == OMNI_EVENT_END;
    s->stats.n_tokens = s->n_tokens;
    s->stats.n_units = (int)s->voice.n_units;
    snprintf(s->why, sizeof s->why, "%s", type == OMNI_EVENT_FAILED ? om_last_error() : "");
    settle(s, !s->has_answer);
    if (type == OMNI_EVENT_FAILED && reason_or_status == OMNI_ERR_BACKEND)
        tell_broken(s);
    for (size_t i = 0; i < s->voice.n_durations; i++)
        s->stats.n_frames += s->voice.durations[i];
    s->end = (omni_event){ .type = type, .text = s->why, .n_text = strlen(s->why) };
    if (type == OMNI_EVENT_END || type == OMNI_EVENT_CANCELLED)
        s->end.reason = (omni_end_reason)reason_or_status;
    if (type == OMNI_EVENT_FAILED)
        s->end.status = reason_or_status;
    s->state = OM_DONE;
}

void om_turn_trouble(omni_session *s, int rc)
{
    if (rc < 0 && s->ahead)
        om_ahead_forget(s);        /* it will be tried again when it counts */
    else if (rc < 0 && !om_turn_is_cancelled(s))
        om_turn_end(s, OMNI_EVENT_FAILED, rc);
}

int om_turn_done(omni_session *s)
{
    int rc;

    if (!om_queue_has_room(s->events, 1, s->end.n_text))
        return OMNI_AGAIN;
    s->stats.t_total = om_now_us() - s->started_at;
    s->stats.n_history = om_lm_used(s->engine->lm, s->slot);
    s->state = OM_IDLE;
    rc = om_turn_post(s, &s->end);
    s->stats = (omni_stats){0};
    s->turn++;
    atomic_fetch_add(&s->n_answered, 1);
    return rc;
}
