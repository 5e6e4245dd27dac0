/*
 * order: see order.h.
 *
 * Easy to get wrong: nobody may be left out for ever. An answer rests only while its listener still has sound; a step
 * for answers alone is never followed by another, or a machine too slow to speak in real time would hear nobody. And a
 * turn whose receiver does not make room is not waited for.
 *
 * Tried and left: encoding a later question only when an earlier one has sounded. The first sounds of the bundled model
 * came no sooner, and the prompts of several questions no longer went into the LLM together.
 */
#include "core/order.h"

#include "core/objects.h"
#include "core/turn.h"

enum {
    LOW_US = 100000,    /* of sound left to play: the answer is about to run dry */
    /* Several times what a step takes with dozens of conversations of the bundled model, so that an answer that
     * rested long is not dry the moment it goes on. */
    AMPLE_US = 400000
};

bool om_order_is_begun(const omni_session *s)
{
    return s && !s->ahead && s->state > OM_LISTEN && s->state < OM_DONE;
}

/* Not for its receiver, but for us. */
static bool waits_for_first(const omni_session *s)
{
    if (!om_order_is_begun(s) || !om_queue_has_room(s->events, 2, 0))
        return false;
    return (om_turn_speaks_up(s) ? s->stats.t_first_audio : s->stats.t_first_text) == 0;
}

/* By the clock, as if it had been played since it came. */
static double left_to_play_us(const omni_session *s, int64_t now)
{
    double us = 1e6 / (double)s->engine->model->hp.voc.sample_rate;

    return (double)s->voice.n_posted * us - (double)(now - s->started_at - s->stats.t_first_audio);
}

static bool has_sounded(const omni_session *s)
{
    return s && s->state == OM_ANSWER && !s->ahead && s->stats.t_first_audio > 0;
}

/* The first packet of an answer is short, encoder and prompts of others may take longer: then a step goes to answers
 * alone, a token's sound lasts long. */
static bool runs_low(const omni_session *s, int64_t now)
{
    return has_sounded(s) && om_queue_has_room(s->events, 2, 0) && left_to_play_us(s, now) < LOW_US;
}

void om_order_look(omni_engine *e, int64_t now)
{
    bool hurried = e->hurries;

    e->looked_at = now;
    e->hurries = false;
    e->one_waits = false;
    for (int i = 0; i < e->params.n_slots; i++) {
        const omni_session *s = e->sessions[i];

        e->one_waits = e->one_waits || waits_for_first(s);
        e->hurries = e->hurries || (!hurried && runs_low(s, now));
    }
}

bool om_order_rests(const omni_session *s)
{
    return s->engine->one_waits && has_sounded(s) && left_to_play_us(s, s->engine->looked_at) > AMPLE_US;
}
