/*
 * prefill: see prefill.h.
 *
 * A cache lacks a part of its script after old turns were forgotten (all that is left stands at other positions then),
 * after turns were put in or taken out, and where it can not be cut in the middle (recurrent LLMs). That is up to half a
 * context, more than a question itself, so it is read while the person listens, thinks or speaks.
 *
 * Easy to get wrong: the last position of a prompt is not prefilled but fed to the first step, because only steps give
 * outputs. A run ends where the prefix ends and where the question begins, so that the runs, and with them the
 * roundings, are the same whenever they are read; but a large LLM's are shorter between turns, where a person who begins
 * to speak should not wait for one.
 */
#include "core/prefill.h"

#include "core/ahead.h"
#include "core/history.h"
#include "core/objects.h"
#include "core/order.h"
#include "core/turn.h"

#include <string.h>

/* The longest run from where the cache ends: `most` positions, to `last`, and to the next of the script's seams. Its length;
 * 0: nothing is left. */
static int next_run(omni_session *s, int last, int most, const int32_t **ids, const float **rows)
{
    omni_engine *e = s->engine;
    int seams[] = { e->model->prompt.begin.n + e->model->prompt.user.n, s->state == OM_PREFILL ? s->script_before : last };
    int used, n;

    if (om_lm_used(e->lm, s->slot) == 0 && e->n_prefix && last > 0)
        om_lm_copy_prefix(e->lm, s->slot, e->n_prefix);
    used = om_lm_used(e->lm, s->slot);
    if (used >= last)
        return 0;
    n = last - used < most ? last - used : most;
    for (int i = 0; i < 2; i++)
        if (used < seams[i] && n > seams[i] - used)
            n = seams[i] - used;
    return om_script_run(&s->script, used, n, ids, rows);
}

/* ---- of turns ------------------------------------------------------------------- */

typedef struct om_gathered {
    int n, n_positions;
    const int32_t *ids;     /* one of the two */
    const float *rows;
} om_gathered;

static int record_prompt(omni_session *s)
{
    const om_script *script = &s->script;
    int rc = OMNI_OK;

    /* As the reference has it: one placeholder for all rows. */
    for (int i = 0; i < script->n && !rc; i++)
        if (i == 0 || script->ids[i] != OM_ROW || script->ids[i - 1] != OM_ROW)
            rc = om_record_add(s->record, OM_STAGE_PROMPT, &script->ids[i], 1);
    return rc;
}

static void begin_answer(omni_session *s)
{
    s->feed = s->script.ids[s->answer_at - 1];
    om_lm_begin_answer(s->engine->lm, s->slot);
    s->state = s->ahead ? OM_READY : OM_ANSWER;
    om_turn_trouble(s, record_prompt(s));
}

/* One session's run behind those gathered, when it is of their kind and there is room. */
static bool gather_run(omni_engine *e, omni_session *s, om_gathered *g)
{
    size_t width = (size_t)e->model->hp.llm.width;
    const int32_t *ids;
    const float *rows;
    int n = next_run(s, s->answer_at - 1, e->params.prefill_chunk, &ids, &rows);

    if (!s->stats.t_prefill)
        s->stats.n_prompt_cached = om_lm_used(e->lm, s->slot);
    if (n == 0) {
        begin_answer(s);
        return true;
    }
    if (g->n == 0) {
        g->ids = ids;       /* alone it needs no copy */
        g->rows = rows;
    } else if (n > e->n_prefill - g->n_positions || (g->rows != NULL) != (rows != NULL)) {
        return false;
    }
    if (n <= e->n_prefill - g->n_positions) {
        if (rows)
            memcpy(e->prefill_rows + (size_t)g->n_positions * width, rows, (size_t)n * width * sizeof *rows);
        else
            memcpy(e->prefill_ids + g->n_positions, ids, (size_t)n * sizeof *ids);
    }
    if (g->n == 1) {
        g->ids = g->ids ? e->prefill_ids : NULL;
        g->rows = g->rows ? e->prefill_rows : NULL;
    }
    e->batch[g->n] = s;
    e->slots[g->n] = s->slot;
    e->runs[g->n++] = n;
    g->n_positions += n;
    return true;
}

/* Turns that were begun come before those prepared ahead; in turns among themselves, so that nobody waits for ever. */
static void gather_prefill(omni_engine *e, bool ahead, om_gathered *g)
{
    int first = e->prefill_turn;

    for (int i = 0; i < e->params.n_slots; i++) {
        int slot = (first + i) % e->params.n_slots;
        omni_session *s = e->sessions[slot];

        if (!s || s->state != OM_PREFILL || s->ahead != ahead || (g->n > 0 && !e->params.batching))
            continue;
        if (gather_run(e, s, g))
            e->prefill_turn = (slot + 1) % e->params.n_slots;
    }
}

int om_prefill_turns(omni_engine *e)
{
    om_gathered g = {0};
    int64_t start = om_now_us(), spent;
    int moved = OMNI_AGAIN, rc;

    for (int i = 0; i < e->params.n_slots; i++)
        if (e->sessions[i] && e->sessions[i]->state == OM_PREFILL && (e->room || !e->sessions[i]->ahead))
            moved = OMNI_OK;
    if (moved == OMNI_AGAIN)
        return moved;
    gather_prefill(e, false, &g);
    if (e->room)
        gather_prefill(e, true, &g);
    if (!g.n)
        return moved;
    om_turn_serve(e, e->batch, g.n);
    rc = om_lm_prefill_many(e->lm, g.n, e->slots, e->runs, g.ids, g.rows);
    om_turn_serve(e, NULL, 0);
    spent = om_now_us() - start;
    for (int i = 0; i < g.n; i++) {
        e->batch[i]->stats.t_prefill += spent;
        om_turn_trouble(e->batch[i], rc);
    }
    return moved;
}

/* ---- between turns ---------------------------------------------------------------- */

static bool is_at_rest(const omni_session *s)
{
    return s && s->state <= OM_LISTEN && !s->ahead && s->params.keep_history && atomic_load(&s->question) == OM_ASK_NONE;
}

/* Its next question will be a spoken one, so what it needs is known. */
static bool will_be_spoken_to(const omni_session *s)
{
    return s->ear.vad || s->state == OM_LISTEN;
}

/* A failure is left for the turn that needs the positions. */
static int read_history(omni_session *s)
{
    const int32_t *ids;
    const float *rows;
    int n = next_run(s, s->script.n, s->engine->n_between, &ids, &rows);

    return n && om_lm_prefill(s->engine->lm, s->slot, ids, rows, n) == OMNI_OK ? OMNI_OK : OMNI_AGAIN;
}

/* What is prepared ahead has the silence window for it; what is read here has time. */
static bool is_preparing(const omni_session *s)
{
    return s && (s->wants_ahead || (s->ahead && (s->state < OM_ANSWER || (s->state == OM_ANSWER && om_ahead_goes_on(s)))));
}

int om_prefill_between(omni_engine *e)
{
    if (!e->params.catch_up || e->hurries || !e->room)
        return OMNI_AGAIN;
    for (int i = 0; i < e->params.n_slots; i++)
        if (is_preparing(e->sessions[i]))
            return OMNI_AGAIN;
    for (int i = 0; i < e->params.n_slots; i++) {
        int slot = (e->prefill_turn + i) % e->params.n_slots;
        omni_session *s = e->sessions[slot];

        if (!is_at_rest(s))
            continue;
        if (will_be_spoken_to(s))
            om_history_make_room(s);
        if (read_history(s) == OMNI_OK) {
            e->prefill_turn = (slot + 1) % e->params.n_slots;
            return OMNI_OK;
        }
    }
    return OMNI_AGAIN;
}
