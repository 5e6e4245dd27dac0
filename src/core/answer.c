/*
 * answer: the two batched states. A step picks one token per answering session, shows its text, makes
 * its lambda CTC symbols and hands the units on; then the vocoder makes what sound it can. Text is given
 * out before its speech is computed.
 */
#include "core/turn.h"

#include "base/finite.h"
#include "base/status.h"
#include "core/ahead.h"
#include "core/objects.h"
#include "core/order.h"

#include <string.h>

/* ---- one token ---------------------------------------------------------------- */

/* The receiver sets the pace: no new token before the last one's text and sound found room. */
static bool can_answer(omni_session *s)
{
    int rc;

    if (s->state != OM_ANSWER || om_turn_is_cancelled(s))
        return false;
    rc = om_turn_post_text(s);
    if (!rc && s->params.speech)
        rc = om_voice_collect(s);
    om_turn_trouble(s, rc);
    if (om_order_rests(s))
        return false;
    return rc == OMNI_OK && (s->ahead ? om_ahead_goes_on(s) : om_queue_has_room(s->events, 2, 0));
}

/* What was made of white space before a call. */
static void unspeak(omni_session *s)
{
    om_voice_reset(&s->voice);
    om_speech_decoder_reset(s->engine->decoder, s->slot);
    om_vocoder_reset(s->engine->vocoder, s->slot);
}

/* The first letter tells a call from speech, before anything of it is spoken. */
static void look_at_opening(omni_session *s, const char *bytes, int n)
{
    for (int i = 0; i < n && !s->opened; i++) {
        s->opened = !strchr(" \t\n\v\f\r", bytes[i]);
        s->silent = s->opened && s->params.calls && (bytes[i] == '{' || bytes[i] == '[');
        if (s->silent && s->params.speech && s->voice.n_posted == 0)
            unspeak(s);
    }
}

static int show_text(omni_session *s, int32_t token)
{
    char bytes[256];
    int n = om_lm_piece(s->engine->model->lm, token, bytes, sizeof bytes), rc;

    if (n > (int)sizeof bytes)
        return om_fail(OMNI_ERR_MODEL, "token %d is a text of %d bytes, wanted at most %zu", (int)token, n,
                       sizeof bytes);
    look_at_opening(s, bytes, n);
    rc = om_text_push(&s->text, bytes, (size_t)n);
    return rc ? rc : om_turn_post_text(s);
}

/* Is that the last token, and why? */
static bool is_last(omni_session *s, int32_t token, omni_end_reason *reason)
{
    if (token == OM_LM_NONE || om_prompt_is_stop(&s->engine->model->prompt, token))
        *reason = OMNI_END_STOP;
    else if (s->n_tokens >= s->params.max_tokens)
        *reason = OMNI_END_LENGTH;
    else if (om_lm_used(s->engine->lm, s->slot) >= s->engine->params.n_ctx)
        *reason = OMNI_END_CONTEXT;
    else
        return false;
    return true;
}

static int take_token(omni_session *s, int32_t token, const float *hidden)
{
    size_t width = (size_t)s->engine->model->hp.llm.width;
    bool stop = token == OM_LM_NONE || om_prompt_is_stop(&s->engine->model->prompt, token);
    int rc = om_check_finite(hidden, width, "the language model");

    if (!rc)
        rc = om_record_add(s->record, OM_STAGE_TOKENS, &token, 1);
    s->feed = token;
    s->n_tokens++;
    if (!rc)
        rc = om_record_add(s->record, OM_STAGE_HIDDEN, hidden, width);
    if (!rc && !stop)
        rc = om_script_add_ids(&s->script, &token, 1);
    if (!rc && !stop)
        rc = show_text(s, token);
    if (rc >= 0 && om_turn_speaks_up(s))
        rc = om_speech_decoder_push(s->engine->decoder, s->slot, hidden);
    return rc < 0 ? rc : OMNI_OK;
}

/* ---- speech of the tokens of one step ------------------------------------------ */

static int pull_symbols(omni_session *s)
{
    omni_engine *e = s->engine;
    const om_hparams *hp = &e->model->hp;
    bool ctc = om_record_wants(s->record, OM_STAGE_CTC);
    int rc = om_speech_decoder_pull(e->decoder, s->slot, e->symbols, ctc ? e->logits : NULL);

    if (!rc && ctc)
        rc = om_record_add(s->record, OM_STAGE_CTC, e->logits,
                           (size_t)hp->dec.upsample * ((size_t)hp->dec.units + 1));
    return rc ? rc : om_voice_symbols(s, e->symbols, s->n_tokens - 1);
}

static void speak_tokens(omni_engine *e, int n)
{
    int64_t start = om_now_us(), spent;
    int n_speaking = 0, rc;

    for (int i = 0; i < n; i++)
        if (om_turn_speaks_up(e->batch[i]) && e->batch[i]->state == OM_ANSWER)
            e->batch[n_speaking++] = e->batch[i];
    if (!n_speaking)
        return;
    om_turn_serve(e, e->batch, n_speaking);
    do
        rc = om_speech_decoder_run(e->decoder);
    while (rc == OMNI_OK);
    om_turn_serve(e, NULL, 0);
    spent = om_now_us() - start;
    for (int i = 0; i < n_speaking; i++) {
        e->batch[i]->stats.t_decoder += spent;
        om_turn_trouble(e->batch[i], rc < 0 ? rc : pull_symbols(e->batch[i]));
    }
}

/* The last token is out: the rest of the text, the true end of the sound. */
static int finish_answer(omni_session *s, omni_end_reason reason)
{
    int rc = om_text_finish(&s->text);

    s->end.reason = reason;
    if (!rc && s->params.speech)
        rc = om_voice_finish(s);
    if (!rc)
        s->state = OM_FLUSH;
    return rc;
}

/* ---- the states ----------------------------------------------------------------- */

/* Of slots [first, last). */
static int gather(omni_engine *e, int first, int last)
{
    int n = 0;

    for (int i = first; i < last; i++) {
        omni_session *s = e->sessions[i];

        if (!s || !can_answer(s))
            continue;
        e->batch[n] = s;
        e->slots[n] = s->slot;
        e->fed[n++] = s->feed;
    }
    return n;
}

/* A token for each of the n sessions gathered. */
static void answer_batch(omni_engine *e, int n)
{
    size_t width = (size_t)e->model->hp.llm.width;
    int64_t start = om_now_us(), spent;
    int rc;

    om_turn_serve(e, e->batch, n);
    rc = om_lm_step(e->lm, n, e->slots, e->fed, e->picked, e->hidden);
    om_turn_serve(e, NULL, 0);
    spent = om_now_us() - start;
    for (int i = 0; i < n; i++) {
        e->batch[i]->stats.t_llm += spent;
        om_turn_trouble(e->batch[i],
                        rc ? rc : take_token(e->batch[i], e->picked[i], e->hidden + (size_t)i * width));
    }
    if (rc)
        return;     /* it was told to those concerned */
    for (int i = 0; i < n; i++)
        e->slots[i] = e->batch[i]->slot;
    speak_tokens(e, n);
    for (int i = 0; i < n; i++) {
        omni_session *s = e->sessions[e->slots[i]];
        omni_end_reason reason;

        if (s->state == OM_ANSWER && is_last(s, s->feed, &reason))
            om_turn_trouble(s, finish_answer(s, reason));
    }
}

int om_turn_answer(omni_engine *e)
{
    int n_slots = e->params.n_slots, at_once = e->params.batching ? n_slots : 1, moved = OMNI_AGAIN;

    for (int at = 0; at < n_slots; at += at_once) {
        int n = gather(e, at, at + at_once);

        if (n) {
            answer_batch(e, n);
            moved = OMNI_OK;
        }
    }
    return moved;
}

static bool speaks(const omni_session *s)
{
    return s && s->params.speech && (s->state == OM_ANSWER || s->state == OM_FLUSH) &&
           !om_turn_is_cancelled(s);
}

int om_turn_speak(omni_engine *e)
{
    int n = 0, rc, moved = OMNI_AGAIN;
    int64_t start;

    for (int i = 0; i < e->params.n_slots; i++)
        if (speaks(e->sessions[i]))
            e->batch[n++] = e->sessions[i];
    if (!n)
        return OMNI_AGAIN;
    do {
        /* Giving out comes first: early audio should not wait for an exact block. */
        start = om_now_us();
        for (int i = 0; i < n; i++)
            if (speaks(e->batch[i]))
                om_turn_trouble(e->batch[i], om_voice_collect(e->batch[i]));
        om_turn_serve(e, e->batch, n);
        rc = om_vocoder_run(e->vocoder);
        om_turn_serve(e, NULL, 0);
        for (int i = 0; i < n; i++) {
            e->batch[i]->stats.t_vocoder += om_now_us() - start;
            if (speaks(e->batch[i]))
                om_turn_trouble(e->batch[i], om_vocoder_status(e->vocoder, e->batch[i]->slot));
        }
        if (rc != OMNI_AGAIN)
            moved = OMNI_OK;
    } while (rc == OMNI_OK);
    return moved;
}
