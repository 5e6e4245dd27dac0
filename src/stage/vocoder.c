/*
 * vocoder: units to samples, streaming.
 *
 * takes    units [n] i32 in [0, K), in pieces of any size
 * gives    samples [hop * frames] f32 in (-1, 1), 16 kHz for the public vocoder (hop 320)
 * rate     a unit lasts as many frames as the duration predictor says, 1.7 on average
 * latency  durations wait for dur_kernel - 1 units (2), samples for the generator's look-ahead
 *          (6418 samples, 401 ms) and for their block of frames to be full
 * state    the last (kernel - 1) * dilation columns at the input of every convolution
 *
 *   units --embedding--+--> durations --+
 *                      |                |
 *                      +--- repeated ---+--> conv --> 5 x [ up, mean of residual blocks ] --> conv, tanh
 *                        1 per unit      1 per frame       rates 5, 4, 4, 2, 2: 320 per frame
 *
 * Exact: blocks of frames are aligned to the stream, never to what was pushed, and
 * the state carries over. So the samples are bit-identical however units were cut
 * into pushes, and an offline run is a streaming run drained.
 *
 * easy to get wrong
 *   - padding is zeros at the input of each layer, at the true start and end only: not zero
 *     embeddings, and nothing at the edge of a block
 *   - slope 0.1 inside, 0.01 before the last convolution
 *   - an exact sample needs 6418 samples of future, but the last block has none: finish flushes
 *   - (r0 + r1 + r2) / 3: the three residual blocks have different look-ahead, and meet again delayed
 */
#include "stage/vocoder-parts.h"

#include "base/memory.h"
#include "base/status.h"

#include <limits.h>
#include <string.h>

enum {
    /* Frames. The public vocoder's first exact sample needs 21: blocks of 8 and of 4 both wait for 24,
     * and blocks of 4 compute 10 % longer; larger ones gain 3 % and make the sound come in larger lumps. */
    BLOCK = 8,
    MAX_BLOCK = 1024,
    MAX_UNITS = 1 << 18,            /* of one stream: 2.5 hours */
    MAX_WAITING = 1 << 24           /* samples not pulled: 17 minutes; run then waits for pull */
};

typedef struct {
    om_voc_duration_state duration;
    int32_t *units, *durations;     /* [capacity]: all of the stream */
    float *samples;                 /* [samples_capacity]: a queue, [first, last) are waiting */
    int32_t *block_units;           /* [B] */
    size_t capacity, samples_capacity;
    /* ---- reset starts here ---- */
    size_t n_units, n_final;        /* units; those with a duration */
    size_t at_unit;                 /* of the next frame to compute */
    int32_t at_frame;               /* frames of it already computed */
    int64_t frames;                 /* final so far */
    int64_t block;                  /* next */
    size_t first, last;
    bool finished;
    int status;                     /* of its last block: it takes none after an error */
} slot_state;

struct om_vocoder {
    const om_vocoder_weights *vw;
    om_voc_executor executor;
    slot_state *slots;              /* [n_slots + 1]: the last is the scratch slot of om_vocoder_early */
    float *wave;                    /* [B * hop] */
    int n_slots, block, lookahead;
};

/* ---- slots ---------------------------------------------------------------- */

static void slot_reset(om_vocoder *voc, int slot)
{
    slot_state *s = &voc->slots[slot];

    om_voc_duration_state_reset(&voc->vw->duration, &s->duration);
    s->n_units = s->n_final = s->at_unit = 0;
    s->at_frame = 0;
    s->frames = s->block = 0;
    s->first = s->last = 0;
    s->finished = false;
    s->status = OMNI_OK;
    voc->executor.reset(voc->executor.self, slot);
}

static void slot_free(slot_state *s)
{
    om_voc_duration_state_free(&s->duration);
    om_free(s->units);
    om_free(s->durations);
    om_free(s->samples);
    om_free(s->block_units);
}

/* Room for n more units. */
static int grow_units(slot_state *s, size_t n)
{
    size_t wanted = s->n_units + n, capacity = s->capacity ? s->capacity : 256;
    int32_t *grown;

    if (n > MAX_UNITS || wanted > MAX_UNITS)
        return om_fail(OMNI_ERR_LIMIT, "the vocoder takes %d units of one stream, and %zu were to follow %zu",
                       MAX_UNITS, n, s->n_units);
    if (wanted <= s->capacity)
        return OMNI_OK;
    while (capacity < wanted)
        capacity *= 2;
    grown = om_realloc(s->units, capacity, sizeof *grown);
    if (grown) {
        s->units = grown;
        grown = om_realloc(s->durations, capacity, sizeof *grown);
    }
    if (!grown)
        return om_fail(OMNI_ERR_MEMORY, "no memory for %zu units", wanted);
    s->durations = grown;
    s->capacity = capacity;
    return OMNI_OK;
}

/* Room for n more samples. */
static int grow_samples(slot_state *s, size_t n)
{
    size_t waiting = s->last - s->first, capacity = s->samples_capacity ? s->samples_capacity : n;
    float *grown;

    if (s->last + n <= s->samples_capacity)
        return OMNI_OK;
    if (s->first > 0) {
        memmove(s->samples, s->samples + s->first, waiting * sizeof *s->samples);
        s->first = 0;
        s->last = waiting;
    }
    if (waiting + n <= s->samples_capacity)
        return OMNI_OK;
    while (capacity < waiting + n)
        capacity *= 2;
    grown = om_realloc(s->samples, capacity, sizeof *grown);
    if (!grown)
        return om_fail(OMNI_ERR_MEMORY, "no memory for %zu samples", capacity);
    s->samples = grown;
    s->samples_capacity = capacity;
    return OMNI_OK;
}

static int check_slot(const om_vocoder *voc, int slot)
{
    if (slot < 0 || slot >= voc->n_slots)
        return om_fail(OMNI_ERR_ARG, "vocoder slot %d, there are %d", slot, voc->n_slots);
    return OMNI_OK;
}

/* ---- birth and death ------------------------------------------------------ */

int om_vocoder_lookahead(const om_hparams *hp)
{
    int64_t delay = 3;      /* half of conv_pre's 7 */

    for (int i = 0; i < hp->voc.n_stages; i++) {
        int64_t longest = 0;

        for (int j = 0; j < hp->voc.n_res; j++) {
            int64_t reach = 0;

            for (int d = 0; d < hp->voc.n_dil; d++)
                reach += (int64_t)(hp->voc.res_kernels[j] - 1) / 2 * (hp->voc.dilations[d] + 1);
            if (reach > longest)
                longest = reach;
        }
        delay = delay * hp->voc.rates[i] + (hp->voc.kernels[i] - hp->voc.rates[i]) / 2 + longest;
    }
    delay += 3;             /* half of conv_post's 7 */
    return delay < INT_MAX ? (int)delay : INT_MAX;
}

int om_vocoder_new_with(const om_vocoder_weights *vw, om_device *dev, int n_slots, int block,
                        om_vocoder **out)
{
    om_vocoder *voc;
    int rc = OMNI_OK;

    if (n_slots < 1 || n_slots > 1 << 16 || block < 1 || block > MAX_BLOCK)
        return om_fail(OMNI_ERR_ARG, "a vocoder of %d slots and blocks of %d frames; wanted 1 to 65536 and"
                       " 1 to %d", n_slots, block, MAX_BLOCK);
    voc = om_calloc(1, sizeof *voc);
    if (!voc)
        return om_fail(OMNI_ERR_MEMORY, "no memory for a vocoder");
    voc->vw = vw;
    voc->n_slots = n_slots;
    voc->block = block;
    voc->lookahead = vw->plan->signals[vw->plan->wave].delay;
    voc->slots = om_calloc((size_t)n_slots + 1, sizeof *voc->slots);
    voc->wave = om_aligned((size_t)block * (size_t)vw->plan->hop, sizeof *voc->wave);
    if (!voc->slots || !voc->wave)
        rc = om_fail(OMNI_ERR_MEMORY, "no memory for %d vocoder slots", n_slots);
    for (int i = 0; i <= n_slots && !rc; i++) {
        rc = om_voc_duration_state_new(&vw->duration, &voc->slots[i].duration);
        voc->slots[i].block_units = om_calloc((size_t)block, sizeof(int32_t));
        if (!rc && !voc->slots[i].block_units)
            rc = om_fail(OMNI_ERR_MEMORY, "no memory for %d vocoder slots", n_slots);
    }
    if (!rc)
        rc = vw->plain ? om_voc_graph_new(vw, dev, n_slots + 1, block, &voc->executor)
                       : om_voc_cpu_new(vw, dev, n_slots + 1, block, &voc->executor);
    if (rc) {
        om_vocoder_free(voc);
        return rc;
    }
    for (int i = 0; i <= n_slots; i++)
        slot_reset(voc, i);
    *out = voc;
    return OMNI_OK;
}

int om_vocoder_new(const om_vocoder_weights *vw, om_device *dev, int n_slots, om_vocoder **out)
{
    return om_vocoder_new_with(vw, dev, n_slots, BLOCK, out);
}

void om_vocoder_free(om_vocoder *voc)
{
    if (!voc)
        return;
    if (voc->executor.free)
        voc->executor.free(voc->executor.self);
    for (int i = 0; voc->slots && i <= voc->n_slots; i++)
        slot_free(&voc->slots[i]);
    om_free(voc->slots);
    om_free(voc->wave);
    om_free(voc);
}

void om_vocoder_reset(om_vocoder *voc, int slot)
{
    if (slot >= 0 && slot < voc->n_slots)
        slot_reset(voc, slot);
}

/* ---- units in ------------------------------------------------------------- */

/* The next unit's embedding, or the zeros after the end; counts the frames of what became final. */
static void advance_durations(const om_vocoder *voc, slot_state *s, const float *embedding)
{
    int frames = om_voc_duration_step(&voc->vw->duration, &s->duration, embedding);

    if (frames > 0) {
        s->durations[s->n_final++] = frames;
        s->frames += frames;
    }
}

int om_vocoder_push(om_vocoder *voc, int slot, const int32_t *units, size_t n)
{
    const om_vocoder_weights *vw = voc->vw;
    slot_state *s;
    int rc = check_slot(voc, slot);

    if (rc)
        return rc;
    s = &voc->slots[slot];
    if (s->finished)
        return om_fail(OMNI_ERR_STATE, "vocoder slot %d: units after finish; reset it for the next stream",
                       slot);
    for (size_t i = 0; i < n; i++)
        if (units[i] < 0 || units[i] >= vw->hp.dec.units)
            return om_fail(OMNI_ERR_ARG, "unit %d, wanted 0 to %d", (int)units[i], vw->hp.dec.units - 1);
    rc = grow_units(s, n);
    if (rc)
        return rc;
    for (size_t i = 0; i < n; i++) {
        s->units[s->n_units++] = units[i];
        advance_durations(voc, s, vw->embd + (size_t)units[i] * (size_t)vw->hp.voc.embd);
    }
    return OMNI_OK;
}

static void finish_slot(const om_vocoder *voc, slot_state *s)
{
    if (s->finished)
        return;
    s->finished = true;
    s->duration.end = (int64_t)s->n_units;
    for (int i = 1; i < voc->vw->duration.kernel; i++)
        advance_durations(voc, s, NULL);
}

int om_vocoder_finish(om_vocoder *voc, int slot)
{
    int rc = check_slot(voc, slot);

    if (!rc)
        finish_slot(voc, &voc->slots[slot]);
    return rc;
}

const int32_t *om_vocoder_durations(const om_vocoder *voc, int slot, size_t *n)
{
    *n = slot >= 0 && slot < voc->n_slots ? voc->slots[slot].n_final : 0;
    return *n ? voc->slots[slot].durations : NULL;
}

/* ---- blocks --------------------------------------------------------------- */

void om_voc_inside(const om_voc_block *block, int n, int rate, int delay, int *begin, int *end)
{
    int64_t first = block->index * n - delay, last = first + n;

    /* end * rate could overflow while the end is unknown */
    if (block->end <= last / rate + 1 && block->end * rate < last)
        last = block->end * rate;
    *begin = first >= 0 ? 0 : -first < n ? (int)-first : n;
    *end = last - first > *begin ? (int)(last - first) : *begin;
}

static bool ready(const om_vocoder *voc, const slot_state *s)
{
    int64_t hop = voc->vw->plan->hop;

    if (s->status || s->last - s->first > MAX_WAITING)
        return false;
    if (s->finished)
        return s->block * voc->block * hop - voc->lookahead < s->frames * hop;
    return s->frames >= (s->block + 1) * voc->block;
}

/* Units of the next block's frames, -1 past the end; the cursor after them. */
static void take_frames(const om_vocoder *voc, const slot_state *s, size_t *unit, int32_t *frame)
{
    *unit = s->at_unit;
    *frame = s->at_frame;
    for (int i = 0; i < voc->block; i++) {
        if (*unit == s->n_final) {
            s->block_units[i] = -1;
            continue;
        }
        s->block_units[i] = s->units[*unit];
        if (++*frame == s->durations[*unit]) {
            ++*unit;
            *frame = 0;
        }
    }
}

static int run_slot(om_vocoder *voc, int slot)
{
    slot_state *s = &voc->slots[slot];
    int hop = voc->vw->plan->hop, n = voc->block * hop, begin, end;
    om_voc_block block = {
        .index = s->block, .end = s->finished ? s->frames : INT64_MAX,
        .units = s->block_units, .wave = voc->wave,
    };
    size_t unit;
    int32_t frame;

    s->status = grow_samples(s, (size_t)n);
    if (s->status)
        return s->status;
    take_frames(voc, s, &unit, &frame);
    s->status = voc->executor.run(voc->executor.self, slot, &block);
    if (s->status)
        return s->status;   /* some layers have advanced, others not */
    om_voc_inside(&block, n, hop, voc->lookahead, &begin, &end);
    memcpy(s->samples + s->last, voc->wave + begin, (size_t)(end - begin) * sizeof *voc->wave);
    s->last += (size_t)(end - begin);
    s->at_unit = unit;
    s->at_frame = frame;
    s->block++;
    return OMNI_OK;
}

/* Slot after slot: a block keeps all threads busy, and two slots in one graph gain nothing
 * that a longer block would not. */
int om_vocoder_run(om_vocoder *voc)
{
    int failed = OMNI_OK, moved = OMNI_AGAIN;

    for (int i = 0; i < voc->n_slots; i++)
        if (ready(voc, &voc->slots[i])) {
            int rc = run_slot(voc, i);

            if (rc)
                failed = rc;
            else
                moved = OMNI_OK;
        }
    return failed ? failed : moved;
}

int om_vocoder_status(const om_vocoder *voc, int slot)
{
    return slot >= 0 && slot < voc->n_slots ? voc->slots[slot].status : OMNI_ERR_ARG;
}

/* ---- samples out ---------------------------------------------------------- */

static size_t take_samples(slot_state *s, float *out, size_t cap)
{
    size_t n = s->last - s->first < cap ? s->last - s->first : cap;

    if (n)
        memcpy(out, s->samples + s->first, n * sizeof *out);
    s->first += n;
    if (s->first == s->last)
        s->first = s->last = 0;
    return n;
}

int om_vocoder_pull(om_vocoder *voc, int slot, float *out, size_t cap, size_t *n)
{
    int rc = check_slot(voc, slot);

    *n = 0;
    if (rc)
        return rc;
    *n = take_samples(&voc->slots[slot], out, cap);
    return *n ? OMNI_OK : OMNI_AGAIN;
}

bool om_vocoder_drained(const om_vocoder *voc, int slot)
{
    const slot_state *s;

    if (slot < 0 || slot >= voc->n_slots)
        return true;
    s = &voc->slots[slot];
    return s->finished && s->first == s->last && !ready(voc, s);
}

/* ---- early ---------------------------------------------------------------- */

static int copy_slot(om_vocoder *voc, int to, int from)
{
    slot_state *t = &voc->slots[to];
    const slot_state *f = &voc->slots[from];
    size_t waiting = f->last - f->first;
    int rc;

    slot_reset(voc, to);
    rc = grow_units(t, f->n_units);
    if (!rc)
        rc = grow_samples(t, waiting);
    if (rc)
        return rc;
    if (f->n_units) {
        memcpy(t->units, f->units, f->n_units * sizeof *f->units);
        memcpy(t->durations, f->durations, f->n_final * sizeof *f->durations);
    }
    if (waiting)
        memcpy(t->samples, f->samples + f->first, waiting * sizeof *f->samples);
    om_voc_duration_state_copy(&voc->vw->duration, &t->duration, &f->duration);
    t->n_units = f->n_units;
    t->n_final = f->n_final;
    t->at_unit = f->at_unit;
    t->at_frame = f->at_frame;
    t->frames = f->frames;
    t->block = f->block;
    t->last = waiting;
    t->finished = f->finished;
    t->status = f->status;
    voc->executor.copy(voc->executor.self, to, from);
    return OMNI_OK;
}

int om_vocoder_early(om_vocoder *voc, int slot, float *out, size_t cap, size_t *n)
{
    int scratch = voc->n_slots, rc = check_slot(voc, slot);
    slot_state *s = &voc->slots[scratch];

    *n = 0;
    if (!rc)
        rc = copy_slot(voc, scratch, slot);
    if (rc)
        return rc;
    finish_slot(voc, s);
    while (!rc && s->last - s->first < cap && ready(voc, s))
        rc = run_slot(voc, scratch);
    if (!rc)
        *n = take_samples(s, out, cap);
    return rc;
}
