/*
 * voice: see voice.h.
 *
 * Early audio: an exact sample waits for the vocoder's look-ahead (0.4 s of later units). When
 * wanted, the first samples are made as if the input ended with the units at hand, cut where the
 * durations are settled; so the exact samples that come later stand at the same places and are
 * faded in over the last OM_SEAM_FRAMES of them. From there on the audio is the exact one.
 */
#include "core/voice.h"

#include "base/memory.h"
#include "base/status.h"
#include "core/objects.h"
#include "core/turn.h"

#include <string.h>

enum {
    PULL = 4096,            /* samples asked of the vocoder at a time */
    /* Units before early audio is tried. Bundled model, 12 answers, what is given early against the exact
     * sound: 5 units 4 dB, 6 units 19 dB (110 ms of sound), 8 units 23 dB; exact sound needs 15 units. */
    EARLY_UNITS = 6,
    EARLY_FRAMES = 64,      /* most frames of early audio */
    SEAM_FRAMES = 1
};

void om_voice_free(om_voice *v)
{
    om_free(v->unit_token);
    om_free(v->durations);
    om_free(v->held);
    om_free(v->seam);
    *v = (om_voice){0};
}

void om_voice_reset(om_voice *v)
{
    v->n_units = v->n_durations = v->n_held = v->n_seam = 0;
    v->seam_at = v->n_exact = v->n_posted = 0;
    v->previous = -1;
    v->finished = v->early_done = false;
}

/* ---- units ------------------------------------------------------------------ */

static int grow_units(om_voice *v, size_t more)
{
    size_t cap = (v->n_units + more) * 2;
    int32_t *tokens, *durations;

    if (more <= v->cap_units - v->n_units)
        return OMNI_OK;
    tokens = om_realloc(v->unit_token, cap, sizeof *tokens);
    if (tokens)
        v->unit_token = tokens;
    durations = om_realloc(v->durations, cap, sizeof *durations);
    if (durations)
        v->durations = durations;
    if (!tokens || !durations)
        return om_fail(OMNI_ERR_MEMORY, "no memory for %zu units", cap);
    v->cap_units = cap;
    return OMNI_OK;
}

int om_voice_symbols(omni_session *s, const int32_t *symbols, int token)
{
    const om_hparams *hp = &s->engine->model->hp;
    int32_t units[64];
    om_voice *v = &s->voice;
    int rc = om_record_add(s->record, OM_STAGE_SYMBOLS, symbols, (size_t)hp->dec.upsample);

    for (int at = 0, n; at < hp->dec.upsample && !rc; at += n) {
        int n_units;

        n = hp->dec.upsample - at < 64 ? hp->dec.upsample - at : 64;
        n_units = om_collapse(&v->previous, hp->dec.units, symbols + at, n, units);
        rc = grow_units(v, (size_t)n_units);
        if (!rc)
            rc = om_record_add(s->record, OM_STAGE_UNITS, units, (size_t)n_units);
        if (!rc && n_units)
            rc = om_vocoder_push(s->engine->vocoder, s->slot, units, (size_t)n_units);
        for (int i = 0; i < n_units && !rc; i++)
            v->unit_token[v->n_units++] = token;
    }
    return rc;
}

int om_voice_finish(omni_session *s)
{
    s->voice.finished = true;
    return om_vocoder_finish(s->engine->vocoder, s->slot);
}

void om_voice_keep_durations(omni_session *s)
{
    om_voice *v = &s->voice;
    size_t n;
    const int32_t *durations = om_vocoder_durations(s->engine->vocoder, s->slot, &n);

    if (n > v->n_units)
        n = v->n_units;
    if (n)
        memcpy(v->durations, durations, n * sizeof *durations);
    v->n_durations = n;
}

int om_voice_tokens_heard(const omni_session *s, uint64_t n_samples)
{
    uint64_t at = 0;
    int heard = 0;

    for (size_t u = 0; u < s->voice.n_durations && at < n_samples; u++) {
        heard = s->voice.unit_token[u] + 1;
        at += (uint64_t)s->voice.durations[u] * (uint64_t)s->engine->model->hp.voc.hop;
    }
    return heard;
}

/* ---- samples ---------------------------------------------------------------- */

static int grow_held(om_voice *v, size_t more)
{
    size_t cap = (v->n_held + more) * 2;
    float *bigger;

    if (more <= v->cap_held - v->n_held)
        return OMNI_OK;
    bigger = om_realloc(v->held, cap, sizeof *bigger);
    if (!bigger)
        return om_fail(OMNI_ERR_MEMORY, "no memory for %zu samples", cap);
    v->held = bigger;
    v->cap_held = cap;
    return OMNI_OK;
}

/* n exact samples: those that early audio stands for are dropped, the seam is faded. How many stay. */
static size_t join(om_voice *v, float *x, size_t n)
{
    uint64_t at = v->n_exact;
    size_t kept = 0;

    v->n_exact += n;
    if (at >= v->seam_at + v->n_seam)
        return n;
    for (size_t i = 0; i < n; i++, at++) {
        size_t k = (size_t)(at - v->seam_at);

        if (at < v->seam_at)
            continue;
        if (k < v->n_seam) {
            float w = (float)(k + 1) / (float)(v->n_seam + 1);

            x[kept++] = (1.0f - w) * v->seam[k] + w * x[i];
        } else {
            x[kept++] = x[i];
        }
    }
    return kept;
}

static int give_early(omni_session *s)
{
    om_voice *v = &s->voice;
    size_t hop = (size_t)s->engine->model->hp.voc.hop, n_durations, n = 0, settled = 0;
    const int32_t *durations;
    int rc = grow_held(v, EARLY_FRAMES * hop);

    if (!rc && !v->seam) {
        v->seam = om_calloc(SEAM_FRAMES * hop, sizeof *v->seam);
        if (!v->seam)
            rc = om_fail(OMNI_ERR_MEMORY, "no memory for early audio");
    }
    if (!rc)
        rc = om_vocoder_early(s->engine->vocoder, s->slot, v->held, EARLY_FRAMES * hop, &n);
    if (rc)
        return rc;
    durations = om_vocoder_durations(s->engine->vocoder, s->slot, &n_durations);
    for (size_t i = 0; i < n_durations; i++)
        settled += (size_t)durations[i] * hop;
    if (n > settled)
        n = settled;
    if (n <= SEAM_FRAMES * hop)
        return OMNI_OK;     /* too little yet */
    v->n_seam = SEAM_FRAMES * hop;
    v->seam_at = n - v->n_seam;
    v->n_held = n - v->n_seam;
    memcpy(v->seam, v->held + v->n_held, v->n_seam * sizeof *v->seam);
    v->early_done = true;
    return OMNI_OK;
}

size_t om_voice_packet(const omni_session *s)
{
    return s->params.packet_samples > 0 ? (size_t)s->params.packet_samples : 1;
}

/* Gives out what is held when it fills a packet, or when nothing follows. */
static int give_packet(omni_session *s)
{
    om_voice *v = &s->voice;
    bool last = v->finished && om_vocoder_drained(s->engine->vocoder, s->slot);
    omni_event event = { .type = OMNI_EVENT_AUDIO, .audio = v->held, .n_audio = v->n_held,
                         .sample_offset = v->n_posted };
    int rc;

    if (v->n_held == 0 || (v->n_held < om_voice_packet(s) && !last) || s->ahead)
        return OMNI_OK;
    rc = om_turn_post(s, &event);
    if (rc)
        return rc;
    rc = om_record_add(s->record, OM_STAGE_WAVE, v->held, v->n_held);
    v->n_posted += v->n_held;
    v->n_held = 0;
    return rc;
}

int om_voice_collect(omni_session *s)
{
    om_voice *v = &s->voice;
    int rc;

    if (s->params.early_audio && !v->early_done && v->n_exact == 0 && !v->finished &&
        v->n_units >= EARLY_UNITS) {
        rc = give_early(s);
        if (rc)
            return rc;
    }
    for (;;) {
        size_t n = 0;

        rc = give_packet(s);
        if (!rc)
            rc = grow_held(v, PULL);
        if (rc)
            return rc;
        rc = om_vocoder_pull(s->engine->vocoder, s->slot, v->held + v->n_held, PULL, &n);
        if (rc == OMNI_AGAIN)
            return give_packet(s);      /* drained may have come true with the last pull */
        if (rc)
            return rc;
        v->n_held += join(v, v->held + v->n_held, n);
    }
}

bool om_voice_done(const omni_session *s)
{
    return s->voice.finished && s->voice.n_held == 0 && om_vocoder_drained(s->engine->vocoder, s->slot);
}
