/* probe: the numbers between stages, by running one question through the ordinary path and recording. */
#include "base/memory.h"
#include "base/status.h"
#include "core/objects.h"
#include "core/turn.h"

#include <string.h>

/* Columns of a stage's array; 0: it has one dimension. */
static int64_t columns(const om_hparams *hp, om_stage stage)
{
    switch (stage) {
    case OM_STAGE_MEL:     return hp->audio.n_mels;
    case OM_STAGE_ENCODER: return hp->enc.width;
    case OM_STAGE_ADAPTOR:
    case OM_STAGE_HIDDEN:  return hp->llm.width;
    case OM_STAGE_CTC:     return (int64_t)hp->dec.units + 1;
    default:               return 0;
    }
}

static bool needs_speech(om_stage stage)
{
    return stage >= OM_STAGE_CTC;
}

static int find_stage(const char *name, om_stage *out)
{
    for (int i = 0; i < OM_STAGES; i++)
        if (strcmp(name, om_stage_name((om_stage)i)) == 0) {
            *out = (om_stage)i;
            return OMNI_OK;
        }
    return om_fail(OMNI_ERR_ARG, "unknown stage \"%s\", wanted mel, encoder, adaptor, prompt, tokens, "
                   "hidden, ctc, symbols, units, durations or wave", name);
}

/* Stages up to the prompt are complete before the first token. */
static bool is_complete(const omni_session *s)
{
    return s->record->stage <= OM_STAGE_PROMPT && s->record->n > 0 && s->state >= OM_PREFILL &&
           s->state < OM_DONE && (s->record->stage != OM_STAGE_PROMPT || s->state >= OM_ANSWER);
}

static int run(omni_session *s)
{
    omni_event event;
    int rc;

    for (;;) {
        rc = omni_session_next_event(s, &event);
        if (rc == OMNI_OK && event.type == OMNI_EVENT_FAILED)
            return om_fail(event.status, "%s", event.text);
        if (rc == OMNI_OK && event.type == OMNI_EVENT_END)
            return OMNI_OK;
        if (rc == OMNI_OK)
            continue;
        rc = omni_engine_step(s->engine);
        if (rc < 0)
            return rc;
        if (is_complete(s))
            return OMNI_OK;
    }
}

static int push(omni_session *s, const float *samples, size_t n)
{
    size_t most = 2 * (size_t)s->engine->model->hp.audio.window_samples;
    int rc = omni_session_push_audio(s, samples, n < most ? n : most);     /* the rest is not heard anyway */

    return rc ? rc : omni_session_end_input(s);
}

static void hand_over(om_record *r, int64_t n_columns, omni_array *out)
{
    out->is_int = om_stage_is_int(r->stage);
    out->n_dims = n_columns ? 2 : 1;
    out->shape[0] = n_columns ? (int64_t)r->n / n_columns : (int64_t)r->n;
    out->shape[1] = n_columns ? n_columns : 1;
    out->data = r->data;
    r->data = NULL;
}

int omni_probe(omni_engine *engine, const char *stage, const float *samples, size_t n, int max_tokens,
               omni_array *out)
{
    omni_session_params params = omni_session_default_params();
    om_record record = {0};
    omni_session *s = NULL;
    int rc;

    if (!engine || !stage || !samples || !out)
        return om_fail(OMNI_ERR_ARG, "omni_probe: engine, stage, samples and out may not be NULL");
    rc = find_stage(stage, &record.stage);
    if (rc)
        return rc;
    params.max_tokens = max_tokens;
    params.speech = needs_speech(record.stage);
    rc = omni_session_new(engine, &params, &s);
    if (rc)
        return rc;
    s->record = &record;
    rc = push(s, samples, n);
    if (!rc)
        rc = run(s);
    if (!rc && record.stage == OM_STAGE_DURATIONS)
        rc = om_record_add(&record, OM_STAGE_DURATIONS, s->voice.durations, s->voice.n_durations);
    if (!rc && !record.data)
        record.data = om_calloc(1, sizeof(float));      /* an empty array still has an address */
    if (!rc && !record.data)
        rc = om_fail(OMNI_ERR_MEMORY, "omni_probe: out of memory");
    if (!rc)
        hand_over(&record, columns(&engine->model->hp, record.stage), out);
    omni_session_free(s);
    om_free(record.data);
    return rc;
}

/* All samples of a vocoder slot that was told the end. What breaks other slots meanwhile is for their turns to tell. */
static int drain(om_vocoder *voc, int slot, om_record *wave)
{
    float chunk[4096];
    size_t n;
    int rc = OMNI_OK;

    while (rc >= 0 && !om_vocoder_drained(voc, slot)) {
        om_vocoder_run(voc);
        rc = om_vocoder_status(voc, slot);
        while (rc >= 0 &&
               (rc = om_vocoder_pull(voc, slot, chunk, sizeof chunk / sizeof *chunk, &n)) == OMNI_OK)
            rc = om_record_add(wave, OM_STAGE_WAVE, chunk, n);
    }
    return rc < 0 ? rc : OMNI_OK;
}

int omni_probe_vocoder(omni_engine *engine, const int32_t *units, size_t n, omni_array *out)
{
    om_record wave = { .stage = OM_STAGE_WAVE };
    omni_session *s = NULL;
    size_t part;
    int rc;

    if (!engine || (!units && n) || !out)
        return om_fail(OMNI_ERR_ARG, "omni_probe_vocoder: engine, units and out may not be NULL");
    rc = omni_session_new(engine, NULL, &s);        /* for its slot */
    if (rc)
        return rc;
    om_vocoder_reset(engine->vocoder, s->slot);
    for (size_t at = 0; at < n && !rc; at += part) {
        part = n - at < 256 ? n - at : 256;
        rc = om_vocoder_push(engine->vocoder, s->slot, units + at, part);
    }
    if (!rc)
        rc = om_vocoder_finish(engine->vocoder, s->slot);
    if (!rc)
        rc = drain(engine->vocoder, s->slot, &wave);
    if (!rc && !wave.data && !(wave.data = om_calloc(1, sizeof(float))))
        rc = om_fail(OMNI_ERR_MEMORY, "omni_probe_vocoder: out of memory");
    if (!rc)
        hand_over(&wave, 0, out);
    omni_session_free(s);
    om_free(wave.data);
    return rc;
}

void omni_array_free(omni_array *array)
{
    if (!array)
        return;
    om_free(array->data);
    *array = (omni_array){0};
}
