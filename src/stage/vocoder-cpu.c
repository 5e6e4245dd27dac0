/*
 * vocoder-cpu: one block through the generator with our own kernels.
 *
 * ggml lends its threads: every step of the plan is one custom operator of a graph
 * that is built once, and the order of the graph is the barrier between steps.
 *
 * The arrays of a block live in one arena, shared by all slots, each only from the
 * step that makes it to the last that reads it. A slot keeps the history rows alone:
 * they are laid before the new rows when an array is made, and taken from its end
 * when it is last read.
 *
 * Rows outside the stream are not computed but zeroed, so that a whole stream costs
 * what one pass over its frames costs, wherever its blocks begin and end.
 */
#include "stage/vocoder-parts.h"

#include "base/memory.h"
#include "base/status.h"

#include <math.h>
#include <string.h>

typedef struct {
    size_t arena, state;    /* byte offsets of the array, and of its history in a slot */
    size_t row, history;    /* bytes */
    int n;                  /* new rows of a block */
    int lanes;
} array;

typedef struct cpu cpu;

typedef struct {
    cpu *x;
    const om_voc_op *ops;
    int n_ops, index;
} step;

struct cpu {
    const om_vocoder_weights *vw;
    const om_voc_plan *plan;
    om_device *dev;
    om_graph graph;
    int block;
    array *arrays;          /* [n_signals] */
    step *steps;            /* [n_steps] */
    char *arena, *state;    /* state: [n_slots][state_size] */
    size_t arena_size, state_size;
    /* of the block under way */
    const om_voc_block *now;
    char *slot;
};

/* ---- arrays --------------------------------------------------------------- */

static size_t aligned(size_t n)
{
    return (n + 63) / 64 * 64;
}

static size_t array_bytes(const array *a)
{
    return aligned(a->history + (size_t)a->n * a->row);
}

static bool alive_together(const om_voc_signal *a, const om_voc_signal *b)
{
    return a->born <= b->dies && b->born <= a->dies;
}

/* First place in the arena that no array alive at the same time has. */
static void place(cpu *x, int s)
{
    const om_voc_signal *signals = x->plan->signals;
    array *a = &x->arrays[s];
    size_t bytes = array_bytes(a);

    a->arena = 0;
    for (int i = 0; i < s; i++) {
        const array *b = &x->arrays[i];

        if (alive_together(&signals[s], &signals[i]) && a->arena < b->arena + array_bytes(b) &&
            b->arena < a->arena + bytes) {
            a->arena = b->arena + array_bytes(b);
            i = -1;     /* it may now overlap an earlier one */
        }
    }
    if (a->arena + bytes > x->arena_size)
        x->arena_size = a->arena + bytes;
}

static void lay_out(cpu *x)
{
    for (int s = 0; s < x->plan->n_signals; s++) {
        const om_voc_signal *signal = &x->plan->signals[s];
        array *a = &x->arrays[s];

        a->lanes = om_voc_padded(signal->channels);
        a->row = (size_t)a->lanes * (signal->raw || !x->vw->bf16 ? sizeof(float) : sizeof(uint16_t));
        a->history = a->row * (size_t)signal->history;
        a->n = signal->rate * x->block;
        a->state = x->state_size;
        x->state_size += aligned(a->history);
        place(x, s);
    }
}

/* What op's row 0 reads of signal s. */
static void *rows_for(const cpu *x, const om_voc_op *op, int s)
{
    const array *a = &x->arrays[s];

    return x->arena + a->arena + om_voc_first_row(x->plan, op, s) * (ptrdiff_t)a->row;
}

/* The rows after the history. */
static void *new_rows(const cpu *x, int s)
{
    return x->arena + x->arrays[s].arena + x->arrays[s].history;
}

static void restore(cpu *x, int s)
{
    const array *a = &x->arrays[s];

    memcpy(x->arena + a->arena, x->slot + a->state, a->history);
}

static void save(cpu *x, int s)
{
    const array *a = &x->arrays[s];

    memcpy(x->slot + a->state, x->arena + a->arena + (size_t)a->n * a->row, a->history);
}

/* ---- operators ------------------------------------------------------------ */

/* Share of thread ith of rows [*begin, *end). */
static void share(int *begin, int *end, int ith, int nth)
{
    int64_t n = *end - *begin;
    int first = *begin;

    *begin = first + (int)(n * ith / nth);
    *end = first + (int)(n * (ith + 1) / nth);
}

static void zero_rows(cpu *x, int s, int begin, int end)
{
    size_t row;

    if (s < 0 || end <= begin)
        return;
    row = x->arrays[s].row;
    memset((char *)new_rows(x, s) + (size_t)begin * row, 0, (size_t)(end - begin) * row);
}

/* A row of a transposed convolution gives `stride` columns, the first and last of which may lie
 * outside the stream. Each thread zeroes those of the lanes it computed: all lanes of its columns
 * when it has whole rows, so rows are what threads share here at the ends of a stream. */
static void convolve(cpu *x, const om_voc_op *op, int begin, int end, int ith, int nth)
{
    const om_voc_packed *c = &x->vw->packed[op->conv];
    int stride = x->plan->convs[op->conv].stride, in = op->in[0];
    om_voc_rows rows = {
        .in = rows_for(x, op, in),
        .begin = begin / stride, .end = (end + stride - 1) / stride,
        .residual = op->residual < 0 ? NULL : rows_for(x, op, op->residual),
        .raw = op->raw < 0 ? NULL : new_rows(x, op->raw),
        .act = op->act < 0 ? NULL : new_rows(x, op->act),
        .slope = op->slope,
    };
    int first, last;

    if (begin >= end)
        return;
    if (begin % stride == 0 && end % stride == 0) {
        om_voc_conv_run(c, &rows, ith, nth);
        return;
    }
    share(&rows.begin, &rows.end, ith, nth);
    om_voc_conv_run(c, &rows, 0, 1);
    first = rows.begin * stride;
    last = rows.end * stride;
    if (first < last && first < begin) {
        zero_rows(x, op->raw, first, begin);
        zero_rows(x, op->act, first, begin);
    }
    if (first < last && last > end) {
        zero_rows(x, op->raw, end, last);
        zero_rows(x, op->act, end, last);
    }
}

/* Rows are contiguous in all arrays, so the mean runs over them as one. */
static void average(cpu *x, const om_voc_op *op, int begin, int end)
{
    enum { CHUNK = 256 };
    size_t lanes = (size_t)x->arrays[op->act].lanes, last = (size_t)end * lanes, n;
    void *out = new_rows(x, op->act);
    float y[CHUNK];

    for (size_t at = (size_t)begin * lanes; at < last; at += n) {
        n = last - at < CHUNK ? last - at : CHUNK;
        memset(y, 0, sizeof y);
        for (int j = 0; j < op->n_in; j++) {
            const float *r = rows_for(x, op, op->in[j]);

            for (size_t i = 0; i < n; i++)
                y[i] += r[at + i];
        }
        for (size_t i = 0; i < n; i++) {
            float mean = y[i] / (float)op->n_in;

            y[i] = mean > 0.0f ? mean : mean * op->slope;
        }
        om_voc_to_act(y, out, at, n, x->vw->bf16);
    }
}

static void tanh_wave(cpu *x, const om_voc_op *op, int begin, int end)
{
    const array *a = &x->arrays[op->in[0]];
    const float *y = rows_for(x, op, op->in[0]);

    for (int n = begin; n < end; n++)
        x->now->wave[n] = tanhf(y[(size_t)n * (size_t)a->lanes]);
}

static void compute(cpu *x, const om_voc_op *op, int ith, int nth)
{
    int n = op->rate * x->block, begin, end;

    om_voc_inside(x->now, n, op->rate, op->delay, &begin, &end);
    if (ith == 0 && op->kind != OM_VOC_TANH) {
        /* convolve zeroes what a row computes outside */
        int stride = op->conv < 0 ? 1 : x->plan->convs[op->conv].stride;
        int first = begin / stride * stride, last = (end + stride - 1) / stride * stride;

        last = begin < end ? last : first;

        zero_rows(x, op->raw, 0, first);
        zero_rows(x, op->act, 0, first);
        zero_rows(x, op->raw, last, n);
        zero_rows(x, op->act, last, n);
    }
    if (op->kind == OM_VOC_CONV) {
        convolve(x, op, begin, end, ith, nth);
        return;
    }
    share(&begin, &end, ith, nth);
    if (op->kind == OM_VOC_MEAN)
        average(x, op, begin, end);
    else
        tanh_wave(x, op, begin, end);
}

/* One step, in every thread. The first thread lays the histories of what the step makes, the last
 * takes those of what it reads for the last time: nothing else of this step touches those rows. */
static void run_step(struct ggml_tensor *dst, int ith, int nth, void *user)
{
    const step *st = user;
    cpu *x = st->x;

    (void)dst;
    for (int s = 0; s < x->plan->n_signals; s++) {
        const om_voc_signal *signal = &x->plan->signals[s];

        if (ith == 0 && signal->born == st->index && s != x->plan->frames)
            restore(x, s);
        if (ith == nth - 1 && signal->dies == st->index && signal->born != st->index)
            save(x, s);
    }
    for (int i = 0; i < st->n_ops; i++)
        compute(x, &st->ops[i], ith, nth);
}

/* ---- executor ------------------------------------------------------------- */

/* The embeddings of the block's frames, behind their history. */
static void embed(cpu *x, const om_voc_block *block)
{
    size_t width = (size_t)x->vw->hp.voc.embd, lanes = (size_t)x->arrays[x->plan->frames].lanes;
    void *rows = new_rows(x, x->plan->frames);

    restore(x, x->plan->frames);
    zero_rows(x, x->plan->frames, 0, x->block);
    for (int f = 0; f < x->block; f++)
        if (block->units[f] >= 0)
            om_voc_to_act(x->vw->embd + (size_t)block->units[f] * width, rows, (size_t)f * lanes, width,
                          x->vw->bf16);
    /* Not in step 0, which reads these rows while it would save them; and it saves nothing it makes. */
    save(x, x->plan->frames);
}

static int run(void *self, int slot, const om_voc_block *block)
{
    cpu *x = self;
    int rc;

    x->now = block;
    x->slot = x->state + (size_t)slot * x->state_size;
    embed(x, block);
    rc = om_graph_compute(&x->graph, x->dev);
    x->now = NULL;
    return rc;
}

static void reset(void *self, int slot)
{
    cpu *x = self;

    memset(x->state + (size_t)slot * x->state_size, 0, x->state_size);
}

static void copy(void *self, int to, int from)
{
    cpu *x = self;

    memcpy(x->state + (size_t)to * x->state_size, x->state + (size_t)from * x->state_size, x->state_size);
}

static void cpu_free(void *self)
{
    cpu *x = self;

    om_graph_free(&x->graph);
    om_free(x->arrays);
    om_free(x->steps);
    om_free(x->arena);
    om_free(x->state);
    om_free(x);
}

static int build(cpu *x)
{
    struct ggml_tensor *last = NULL;
    int rc = om_graph_begin(&x->graph, (size_t)x->plan->n_steps + 1), at = 0;

    if (rc)
        return rc;
    for (int i = 0; i < x->plan->n_steps; i++) {
        step *st = &x->steps[i];

        *st = (step){ .x = x, .ops = x->plan->ops + at, .index = i };
        for (; at < x->plan->n_ops && x->plan->ops[at].step == i; at++)
            st->n_ops++;
        last = ggml_custom_4d(x->graph.ctx, GGML_TYPE_F32, 1, 1, 1, 1, &last, last ? 1 : 0, run_step,
                              GGML_N_TASKS_MAX, st);
    }
    om_graph_output(&x->graph, last);
    return om_graph_prepare(&x->graph, x->dev);
}

int om_voc_cpu_new(const om_vocoder_weights *vw, om_device *dev, int n_slots, int block, om_voc_executor *out)
{
    cpu *x = om_calloc(1, sizeof *x);
    int rc;

    if (!x)
        return om_fail(OMNI_ERR_MEMORY, "no memory for the vocoder");
    x->vw = vw;
    x->plan = vw->plan;
    x->dev = dev;
    x->block = block;
    x->arrays = om_calloc((size_t)x->plan->n_signals, sizeof *x->arrays);
    x->steps = om_calloc((size_t)x->plan->n_steps, sizeof *x->steps);
    if (x->arrays && x->steps) {
        lay_out(x);
        x->arena = om_aligned(x->arena_size, 1);
        x->state = om_aligned(x->state_size, (size_t)n_slots);
    }
    rc = x->arena && x->state ? build(x)
                              : om_fail(OMNI_ERR_MEMORY, "no memory for %d slots of the vocoder", n_slots);
    if (rc) {
        cpu_free(x);
        return rc;
    }
    *out = (om_voc_executor){ x, run, reset, copy, cpu_free };
    return OMNI_OK;
}
