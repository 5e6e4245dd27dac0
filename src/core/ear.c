/* ear: see ear.h. */
#include "core/ear.h"

#include "base/memory.h"
#include "base/status.h"

#include <math.h>
#include <string.h>

enum { MS = OM_VAD_RATE / 1000, MAX_PREFIX_MS = 5000, MAX_SILENCE_MS = 10000 };

omni_turn_params omni_turn_default_params(void)
{
    return (omni_turn_params){ .enabled = true, .threshold = 0.5f, .prefix_ms = 300, .silence_ms = 500,
                               .answer = true, .speculate = true, .interrupt = true, .interrupt_ms = 100 };
}

/* ---- on and off ------------------------------------------------------------- */

static int check(const omni_turn_params *p)
{
    if (!isfinite(p->threshold) || p->threshold < 0.0f || p->threshold > 1.0f)
        return om_fail(OMNI_ERR_ARG, "threshold is %g, wanted 0..1", (double)p->threshold);
    if (p->prefix_ms < 0 || p->prefix_ms > MAX_PREFIX_MS)
        return om_fail(OMNI_ERR_ARG, "prefix_ms is %d, wanted 0..%d", p->prefix_ms, MAX_PREFIX_MS);
    if (p->silence_ms < OM_VAD_TAIL_MS || p->silence_ms > MAX_SILENCE_MS)
        return om_fail(OMNI_ERR_ARG, "silence_ms is %d, wanted %d..%d", p->silence_ms, OM_VAD_TAIL_MS,
                       MAX_SILENCE_MS);
    if (p->interrupt_ms < 0 || p->interrupt_ms > MAX_PREFIX_MS)
        return om_fail(OMNI_ERR_ARG, "interrupt_ms is %d, wanted 0..%d", p->interrupt_ms, MAX_PREFIX_MS);
    return OMNI_OK;
}

void om_ear_free(om_ear *ear)
{
    om_vad_free(ear->vad);
    om_free(ear->history);
    om_free(ear->question);
    *ear = (om_ear){0};
}

int om_ear_set(om_ear *ear, const omni_turn_params *params, size_t window, uint64_t clock)
{
    om_vad_params vad = { params->threshold, params->silence_ms };
    om_ear fresh = { .params = *params, .clock = clock, .base = clock, .asked = clock };
    int rc = params->enabled ? check(params) : OMNI_OK;

    if (rc)
        return rc;
    if (!params->enabled) {
        om_ear_free(ear);
        return OMNI_OK;
    }
    if (ear->vad) {
        rc = om_vad_set(ear->vad, &vad);
        if (!rc)
            ear->params = *params;
        return rc;
    }
    fresh.n_window = window;
    fresh.n_history = window + (MAX_PREFIX_MS + 1000) * MS;     /* an onset is told late, but not so late */
    fresh.history = om_calloc(fresh.n_history, sizeof(float));
    fresh.question = om_calloc(fresh.n_window, sizeof(float));
    rc = fresh.history && fresh.question
             ? om_vad_new(&vad, &fresh.vad)
             : om_fail(OMNI_ERR_MEMORY, "no memory for %zu samples of input", fresh.n_history + window);
    if (rc) {
        om_ear_free(&fresh);
        return rc;
    }
    *ear = fresh;
    return OMNI_OK;
}

void om_ear_clear(om_ear *ear, uint64_t clock)
{
    if (!ear->vad)
        return;
    om_vad_stop(ear->vad);
    ear->base += clock - ear->clock;    /* the detection did not hear what was dropped */
    ear->asked = ear->clock = clock;
    ear->collecting = ear->told = ear->heard_onset = false;
    ear->n_segments = 0;
}

/* ---- samples ------------------------------------------------------------------ */

static size_t smaller(uint64_t a, uint64_t b)
{
    return (size_t)(a < b ? a : b);
}

static void keep(om_ear *ear, const float *x, size_t n)
{
    for (size_t done = 0, part; done < n; done += part) {
        size_t at = (size_t)((ear->clock + done) % ear->n_history);

        part = smaller(n - done, ear->n_history - at);
        memcpy(ear->history + at, x + done, part * sizeof *x);
    }
    ear->clock += n;
    if (ear->collecting) {
        n = smaller(n, ear->n_window - ear->n_collected);
        memcpy(ear->question + ear->n_collected, x, n * sizeof *x);
        ear->n_collected += n;
    }
}

size_t om_ear_hear(om_ear *ear, const float *x, size_t n)
{
    size_t taken = 0;

    om_vad_push(ear->vad, x, n, &taken);
    keep(ear, x, taken);
    return taken;
}

bool om_ear_event(om_ear *ear, om_vad_event *event)
{
    if (om_vad_pull(ear->vad, event) != OMNI_OK)
        return false;
    event->at += ear->base;
    return true;
}

/* The question begins at `begin`, or as near to it as samples are at hand. */
static void collect_from(om_ear *ear, uint64_t begin)
{
    uint64_t oldest = ear->clock > ear->n_history ? ear->clock - ear->n_history : 0;

    if (begin < ear->asked)
        begin = ear->asked;
    if (begin < oldest)
        begin = oldest;
    ear->collecting = true;
    ear->begin = begin;
    ear->n_collected = smaller(ear->clock - begin, ear->n_window);
    for (size_t i = 0; i < ear->n_collected; i++)
        ear->question[i] = ear->history[(begin + i) % ear->n_history];
}

/* ---- segments ----------------------------------------------------------------- */

void om_ear_start(om_ear *ear, uint64_t onset)
{
    uint64_t prefix = (uint64_t)ear->params.prefix_ms * MS;

    ear->told = false;
    ear->heard_onset = true;
    ear->onset = onset > ear->asked ? onset : ear->asked;
    ear->from = ear->onset > prefix ? ear->onset - prefix : 0;
    if (ear->n_segments == 0) {
        collect_from(ear, ear->from);
        ear->from = ear->begin;
    } else if (ear->from < ear->end) {
        ear->from = ear->end;
    }
}

void om_ear_pause(om_ear *ear, uint64_t speech_end)
{
    ear->speech_end = speech_end;
    if (ear->told)
        ear->end = speech_end + OM_VAD_TAIL_MS * MS;
}

void om_ear_stop(om_ear *ear)
{
    if (ear->told)
        ear->n_segments++;
    else if (ear->n_segments == 0)
        ear->collecting = false;
    ear->told = ear->heard_onset = false;
}

bool om_ear_close(om_ear *ear)
{
    bool speaks = ear->told;
    uint64_t last = om_vad_last_speech(ear->vad) + ear->base;

    if (speaks) {
        om_ear_pause(ear, last < ear->clock ? last : ear->clock);
        if (ear->end > ear->clock)
            ear->end = ear->clock;
    } else if (ear->n_segments == 0) {
        collect_from(ear, ear->clock > ear->n_window ? ear->clock - ear->n_window : 0);
        ear->end = ear->clock;
    }
    om_vad_stop(ear->vad);
    ear->told = ear->heard_onset = false;
    if (speaks || ear->n_segments == 0)
        ear->n_segments++;
    return speaks;
}

const float *om_ear_question(const om_ear *ear, size_t *n, uint64_t *n_in_all)
{
    *n_in_all = ear->end - ear->begin;
    *n = smaller(*n_in_all, ear->n_collected);
    return ear->question;
}

void om_ear_taken(om_ear *ear)
{
    ear->asked = ear->end;
    ear->collecting = ear->told = ear->heard_onset = false;
    ear->n_segments = 0;
}
