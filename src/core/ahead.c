/*
 * ahead: see ahead.h.
 *
 * Easy to get wrong: everything that a preparation touches has to be put back, so that the answer is the same
 * bits whether there was one or not: script, KV cache, mel, encoder, random numbers, and what trim needs to know of
 * the answer before. It is not begun where undoing is impossible: when old turns would have to be forgotten to
 * make room.
 *
 * And it has to give way: turns that were begun come first. Nothing is prepared while one of them waits for its first
 * sound, nor when they took MOST_BUSY of the last second. Only their work counts, not what is prepared: else a long
 * preparation would stop itself.
 */
#include "core/ahead.h"

#include "base/status.h"
#include "core/history.h"
#include "core/listen.h"
#include "core/objects.h"
#include "core/order.h"
#include "core/turn.h"

enum { MOST_HELD = 32 };    /* tokens whose text and sound may be held back */

/* ---- room ----------------------------------------------------------------------- */

void om_ahead_look(omni_engine *e, int64_t now)
{
    e->room = om_busyness_share(&e->busyness, now) < e->most_busy && !e->one_waits;
}

void om_ahead_count(omni_engine *e, int64_t since, bool moved)
{
    bool begun = e->ends_begun;

    e->ends_begun = false;
    for (int i = 0; i < e->params.n_slots; i++)
        e->ends_begun = e->ends_begun || om_order_is_begun(e->sessions[i]);
    if (moved && (begun || e->ends_begun))
        om_busyness_add(&e->busyness, since, om_now_us());
}

/* ---- to READY --------------------------------------------------------------------- */

static bool may_prepare(const omni_session *s)
{
    return s->engine->room && s->state <= OM_LISTEN && !s->ahead && s->ear.params.answer && s->ear.params.speculate &&
           atomic_load(&s->question) == OM_ASK_NONE && (s->params.keep_history || s->script.n == 0) &&
           om_history_fits(s, om_history_next_question(s));
}

int om_ahead_prepare(omni_session *s)
{
    if (!s->wants_ahead || !may_prepare(s))
        return OMNI_AGAIN;
    s->wants_ahead = false;
    s->before_ahead = (om_before){ .script = s->script.n, .used = om_lm_used(s->engine->lm, s->slot),
                                   .answer_at = s->answer_at, .script_before = s->script_before };
    s->script_before = s->script.n;     /* it may become a turn, and be cancelled, before the prompt is made */
    s->ahead = true;
    s->ahead_at = om_now_us();
    s->state = OM_ENCODE;
    if (om_listen_read_question(s) < 0)
        om_ahead_forget(s);
    return OMNI_OK;
}

/* ---- the answer, held back ----------------------------------------------------------- */

/* The voice of the answer before is kept: trim asks it what was heard. */
static void swap_voices(omni_session *s)
{
    om_voice other = s->other_voice;

    s->other_voice = s->voice;
    s->voice = other;
}

int om_ahead_answer(omni_session *s)
{
    int rc;

    if (!s->engine->room)
        return OMNI_AGAIN;
    rc = om_lm_keep_sampling(s->engine->lm, s->slot);
    if (rc)
        return rc;
    swap_voices(s);
    s->holds = true;
    om_turn_clear_answer(s);
    s->state = OM_ANSWER;
    return OMNI_OK;
}

/* Until the first event can follow BEGIN at once. */
bool om_ahead_goes_on(const omni_session *s)
{
    return s->engine->room && s->n_tokens < MOST_HELD &&
           (om_turn_speaks_up(s) ? s->voice.n_held < om_voice_packet(s) : s->text.n == 0);
}

void om_ahead_becomes_turn(omni_session *s)
{
    bool held = s->holds;
    int rc;

    s->ahead = s->holds = s->wants_ahead = false;
    if (s->state > OM_ENCODE || s->engine->encoding == s)
        s->n_heard = s->n_question = 0;
    if (s->state == OM_READY)
        s->state = OM_ANSWER;
    if (!held)
        return;
    rc = om_turn_post_text(s);
    if (!rc && s->params.speech)
        rc = om_voice_collect(s);
    om_turn_trouble(s, rc);
}

/* ---- without a trace -------------------------------------------------------------------- */

static void forget_answer(omni_session *s)
{
    om_turn_clear_answer(s);
    swap_voices(s);
    s->holds = false;
    om_lm_restore_sampling(s->engine->lm, s->slot);
}

void om_ahead_forget(omni_session *s)
{
    omni_engine *e = s->engine;
    int thrown_away = s->stats.n_thrown_away;

    s->wants_ahead = false;
    if (!s->ahead)
        return;
    if (e->encoding == s) {
        om_encoder_reset(e->encoder);
        e->encoding = NULL;
    }
    if (s->holds)
        forget_answer(s);
    om_mel_reset(s->mel);
    s->n_heard = s->n_question = 0;
    om_script_cut(&s->script, s->before_ahead.script);
    om_lm_cut(e->lm, s->slot, s->before_ahead.used);
    s->answer_at = s->before_ahead.answer_at;
    s->script_before = s->before_ahead.script_before;
    s->told = s->told && s->told_in != s->turn;     /* a turn that is put in will have this number, and no preamble */
    s->ahead = false;
    s->state = OM_LISTEN;
    s->stats = (omni_stats){ .n_thrown_away = thrown_away + 1 };
}

void om_ahead_give_way(omni_session *s)
{
    om_ahead_forget(s);
    s->wants_ahead = true;
}
