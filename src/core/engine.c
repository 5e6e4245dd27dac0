/* engine: slots over one LLM context, and the step that advances all their sessions by one slice. */
#include "base/memory.h"
#include "base/status.h"
#include "core/ahead.h"
#include "core/listen.h"
#include "core/objects.h"
#include "core/order.h"
#include "core/prefill.h"
#include "core/turn.h"

#include <limits.h>

enum { CHUNK_CPU = 64, CHUNK_GPU = 512, TURNS_THAT_FIT = 4, USUAL_ANSWER = 256, SMALL_LLM = 50000000 };
enum { CHUNKS = 4, MOST_PREFILLED = 1024 };

omni_engine_params omni_engine_default_params(void)
{
    return (omni_engine_params){ .n_slots = 1, .prefix_cache = true, .layer0_sharing = true,
                                  .batching = true, .kv_unified = -1, .catch_up = true };
}

/* ---- new -------------------------------------------------------------------- */

static int check_params(const omni_model *model, omni_engine_params *p)
{
    int prompt = om_prompt_positions(&model->prompt, model->hp.adaptor.rows);
    int trained = om_lm_get_info(model->lm)->context_trained;

    if (p->n_slots < 1 || p->n_slots > OM_LM_MAX_SLOTS)
        return om_fail(OMNI_ERR_ARG, "%d slots, wanted 1..%d", p->n_slots, OM_LM_MAX_SLOTS);
    if (p->n_threads < 0 || p->n_ctx < 0 || p->prefill_chunk < 0 || p->prefill_chunk > 1 << 16)
        return om_fail(OMNI_ERR_ARG,
                       "%d threads, context %d, prefill chunk %d: wanted 0 (default) or more, the chunk "
                       "at most 65536",
                       p->n_threads, p->n_ctx, p->prefill_chunk);
    if (p->n_ctx > trained)
        return om_fail(OMNI_ERR_ARG, "a context of %d positions, the model was made for at most %d", p->n_ctx,
                       trained);
    if (p->n_ctx == 0) {
        p->n_ctx = TURNS_THAT_FIT * (prompt + USUAL_ANSWER);
        if (p->n_ctx > trained)
            p->n_ctx = trained;
    }
    if (p->n_ctx <= prompt)
        return om_fail(OMNI_ERR_LIMIT,
                       "a context of %d positions is too small: a spoken question needs %d, the answer "
                       "more; ask for at least %d",
                       p->n_ctx, prompt, prompt + USUAL_ANSWER);
    if (p->prefill_chunk == 0)
        p->prefill_chunk = model->use_gpu ? CHUNK_GPU : CHUNK_CPU;
    return OMNI_OK;
}

static int new_arrays(omni_engine *e)
{
    const om_hparams *hp = &e->model->hp;
    size_t slots = (size_t)e->params.n_slots, lambda = (size_t)hp->dec.upsample;

    e->sessions = om_calloc(slots, sizeof(omni_session *));
    e->batch = om_calloc(slots, sizeof(omni_session *));
    e->served = om_calloc(slots, sizeof(omni_session *));
    e->slots = om_calloc(slots, sizeof *e->slots);
    e->fed = om_calloc(slots, sizeof *e->fed);
    e->picked = om_calloc(slots, sizeof *e->picked);
    e->hidden = om_calloc(slots * (size_t)hp->llm.width, sizeof *e->hidden);
    e->mel = om_calloc((size_t)hp->audio.frames * (size_t)hp->audio.n_mels, sizeof *e->mel);
    e->rows = om_calloc((size_t)hp->enc.context * (size_t)hp->enc.width, sizeof *e->rows);
    e->speech_rows = om_calloc((size_t)hp->adaptor.rows * (size_t)hp->llm.width, sizeof *e->speech_rows);
    if (e->params.batching)     /* bounds a slice */
        e->n_prefill = e->params.prefill_chunk < MOST_PREFILLED / CHUNKS ? CHUNKS * e->params.prefill_chunk
                                                                         : MOST_PREFILLED;
    e->prefill_ids = om_calloc((size_t)e->n_prefill + 1, sizeof *e->prefill_ids);
    e->prefill_rows = om_calloc((size_t)e->n_prefill + 1, (size_t)hp->llm.width * sizeof *e->prefill_rows);
    e->runs = om_calloc(slots, sizeof *e->runs);
    e->symbols = om_calloc(lambda, sizeof *e->symbols);
    e->logits = om_calloc(lambda * ((size_t)hp->dec.units + 1), sizeof *e->logits);
    if (!e->sessions || !e->batch || !e->served || !e->slots || !e->fed || !e->picked || !e->hidden ||
        !e->prefill_ids || !e->prefill_rows || !e->runs || !e->mel || !e->rows ||
        !e->speech_rows || !e->symbols || !e->logits)
        return om_fail(OMNI_ERR_MEMORY, "no memory for an engine of %d slots", e->params.n_slots);
    return OMNI_OK;
}

/* Its weights are read from the processor's caches, not from memory. */
static bool is_small(const omni_model *m)
{
    return !m->use_gpu && om_lm_get_info(m->lm)->parameters <= SMALL_LLM;
}

/* Threads meet at every operation. A small model gains a few ms from a second one while the machine is quiet, and
 * loses seconds when another program takes that core away. */
static int compute_threads(const omni_engine *e)
{
    return e->params.n_threads || !is_small(e->model) ? e->params.n_threads : 1;
}

/* A small model gains nothing from one pass for all, and loses with every conversation that it has to look past. */
static bool own_caches(const omni_engine *e)
{
    return e->params.kv_unified < 0 ? is_small(e->model) : !e->params.kv_unified;
}

static int new_stages(omni_engine *e)
{
    const omni_model *m = e->model;
    const om_prompt *prompt = &m->prompt;
    om_speech_decoder_params decoder = { .n_slots = e->params.n_slots,
                                         .max_tokens = e->params.n_ctx,
                                         .layer0_sharing = e->params.layer0_sharing,
                                         .f32_cache = m->force_f32 };
    int chunk = e->params.prefill_chunk;
    om_lm_params lm = { .n_slots = e->params.n_slots, .n_ctx_slot = e->params.n_ctx,
                        .n_prefix = prompt->begin.n + prompt->user.n,
                        .n_batch = e->n_prefill > chunk ? e->n_prefill : chunk,
                        .own_caches = own_caches(e), .f32 = m->force_f32 };
    int rc = om_device_new(compute_threads(e), m->use_gpu, &e->dev);

    if (!rc)
        rc = om_encoder_new(m->encoder, e->dev, &e->encoder);
    if (!rc)
        rc = om_adaptor_new(m->adaptor, e->dev, &e->adaptor);
    if (!rc)
        rc = om_speech_decoder_new(m->decoder, e->dev, &decoder, &e->decoder);
    if (!rc)
        rc = om_vocoder_new(m->vocoder, e->dev, e->params.n_slots, &e->vocoder);
    if (rc)
        return rc;
    lm.n_threads = om_device_threads(e->dev);
    lm.threadpool = om_device_threadpool(e->dev);
    return om_lm_new(m->lm, &lm, &e->lm);
}

/* As many positions as take about as long as a slice of the encoder. */
static int positions_between(const omni_engine *e)
{
    double flops = om_device_slice(e->dev), each = 2.0 * (double)om_lm_get_info(e->model->lm)->parameters;
    double most = e->params.prefill_chunk;

    if (e->model->use_gpu || flops >= most * each)
        return e->params.prefill_chunk;
    return flops > each ? (int)(flops / each) : 1;
}

static int fill_prefix(omni_engine *e)
{
    const om_piece *pieces[] = { &e->model->prompt.begin, &e->model->prompt.user };
    int n = 0, rc;
    om_script script = { .width = e->model->hp.llm.width };
    const int32_t *ids;
    const float *rows;

    for (int i = 0; i < 2; i++) {
        rc = om_script_add_ids(&script, pieces[i]->ids, pieces[i]->n);
        if (rc)
            goto done;
    }
    rc = OMNI_OK;
    while (!rc && n < script.n) {
        int k = om_script_run(&script, n, e->params.prefill_chunk, &ids, &rows);

        rc = om_lm_prefill(e->lm, e->params.n_slots, ids, rows, k);
        n += k;
    }
    e->n_prefix = n;
done:
    om_script_free(&script);
    return rc;
}

int omni_engine_new(const omni_model *model, const omni_engine_params *params, omni_engine **out)
{
    omni_engine *e;
    int rc;

    if (!model || !out)
        return om_fail(OMNI_ERR_ARG, "omni_engine_new: model and out may not be NULL");
    e = om_calloc(1, sizeof *e);
    if (!e)
        return om_fail(OMNI_ERR_MEMORY, "engine: out of memory");
    e->model = model;
    e->most_busy = 0.6;
    e->params = params ? *params : omni_engine_default_params();
    rc = check_params(model, &e->params);
    if (!rc)
        rc = new_arrays(e);
    if (!rc)
        rc = new_stages(e);
    if (!rc)
        e->n_between = positions_between(e);
    if (!rc && e->params.prefix_cache)
        rc = fill_prefix(e);
    if (rc) {
        omni_engine_free(e);
        return rc;
    }
    om_device_set_abort(e->dev, om_turn_abandoned, e);
    om_lm_set_abort(e->lm, om_turn_abandoned, e);
    *out = e;
    return OMNI_OK;
}

void omni_engine_free(omni_engine *e)
{
    if (!e)
        return;
    om_lm_free(e->lm);
    om_vocoder_free(e->vocoder);
    om_speech_decoder_free(e->decoder);
    om_adaptor_free(e->adaptor);
    om_encoder_free(e->encoder);
    om_device_free(e->dev);
    om_free(e->sessions);
    om_free(e->batch);
    om_free(e->served);
    om_free(e->slots);
    om_free(e->fed);
    om_free(e->picked);
    om_free(e->hidden);
    om_free(e->mel);
    om_free(e->rows);
    om_free(e->speech_rows);
    om_free(e->prefill_ids);
    om_free(e->prefill_rows);
    om_free(e->runs);
    om_free(e->symbols);
    om_free(e->logits);
    om_free(e);
}

/* ---- step ------------------------------------------------------------------- */

/* The states that are not batched; prefilling and answering are served below. */
static int advance(omni_session *s)
{
    switch (s->state) {
    case OM_IDLE:
    case OM_LISTEN: return om_turn_listen(s);
    case OM_ENCODE: return s->engine->hurries ? OMNI_AGAIN : om_turn_encode(s);
    case OM_FLUSH:  return om_turn_flush(s);
    case OM_DONE:   return om_turn_done(s);
    case OM_READY:  return om_ahead_answer(s);
    case OM_PREFILL:
    case OM_ANSWER: break;
    }
    return OMNI_AGAIN;
}

static bool must_stop(const omni_session *s)
{
    return s->state > OM_LISTEN && s->state < OM_DONE && !s->ahead && om_turn_is_cancelled(s);
}

/* Before and after its slice, so that a turn is gone with the step in which its cancellation is seen. */
static int advance_or_stop(omni_session *s)
{
    int heard = om_listen_hear(s);
    int rc = must_stop(s) ? OMNI_AGAIN : advance(s);

    om_turn_trouble(s, rc);
    if (!must_stop(s))
        return rc == OMNI_AGAIN ? heard : rc;
    om_turn_end(s, OMNI_EVENT_CANCELLED, OMNI_END_CANCEL);
    om_turn_done(s);
    return OMNI_OK;
}

/* One turn may fail by what is in it, and takes those along that share its computation: they count as one. n_before: at
 * the beginning of the step. */
static bool is_broken(omni_engine *e, int n_before)
{
    enum { STEPS_THAT_TELL = 3 };

    if (e->n_broken <= n_before)
        return false;
    e->n_broken = n_before + 1;
    return e->n_broken >= STEPS_THAT_TELL;
}

int omni_engine_step(omni_engine *e)
{
    int moved = OMNI_AGAIN, n_broken;
    uint64_t n_events;
    int64_t start = om_now_us();

    if (!e)
        return om_fail(OMNI_ERR_ARG, "omni_engine_step: engine may not be NULL");
    n_events = e->n_events;
    n_broken = e->n_broken;
    om_order_look(e, start);
    om_ahead_look(e, start);
    if (e->hurries)
        moved = OMNI_OK;    /* others may have been left out */
    for (int i = 0; i < e->params.n_slots; i++) {
        if (!e->sessions[i])
            continue;
        if (advance_or_stop(e->sessions[i]) != OMNI_AGAIN)
            moved = OMNI_OK;
    }
    if (!e->hurries && om_prefill_turns(e) == OMNI_OK)
        moved = OMNI_OK;
    if (om_turn_answer(e) == OMNI_OK)
        moved = OMNI_OK;
    if (om_turn_speak(e) == OMNI_OK || e->n_events != n_events)
        moved = OMNI_OK;
    om_ahead_count(e, start, moved == OMNI_OK);
    if (om_prefill_between(e) == OMNI_OK)
        moved = OMNI_OK;
    if (is_broken(e, n_broken))
        return om_fail(OMNI_ERR_BACKEND, "turns failed in the backend %d times in a row: %s", e->n_broken, e->why_broken);
    return moved;
}
