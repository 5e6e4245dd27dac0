/*
 * vocoder-graph: one block through the generator with ggml's operators, on any backend.
 *
 * An array is ne = {channels, history + N}: the history of the slot, then the new
 * columns. A convolution gathers its taps with one get_rows, whatever its dilation,
 * and is one matrix product; a transposed one is the same with `stride` columns of
 * output per row (see vocoder-plan.h). Columns outside the stream are multiplied by 0.
 *
 * The graph names the state of one slot; it is rebuilt when another slot's turn comes.
 */
#include "stage/vocoder-parts.h"

#include "base/memory.h"
#include "base/status.h"

#include <string.h>

typedef struct graph {
    const om_vocoder_weights *vw;
    const om_voc_plan *plan;
    om_device *dev;
    om_graph graph;
    om_pool pool;
    int block, n_slots, slot;           /* slot: whose state the graph names, -1 none */
    struct ggml_tensor **state;         /* [n_slots][n_signals], NULL without history: {channels, history} */
    struct ggml_tensor **gather;        /* [n_ops] for convolutions: rows to read, i32 {taps * n} */
    struct ggml_tensor **inside;        /* [n_ops] 1 or 0 per new column, f32 {1, n}; NULL for TANH */
    struct ggml_tensor **arrays;        /* [n_signals] of the graph */
    struct ggml_tensor *frames, *wave;
    float *host;                        /* [largest of: block of embeddings, columns of any operator] */
    bool masked;                        /* some column of `inside` is 0 */
} graph;

/* ---- tensors that stay ---------------------------------------------------- */

/* Columns an operator computes per block, before a transposed convolution's are told apart. */
static int rows_of(const graph *g, const om_voc_op *op)
{
    return op->rate * g->block / (op->conv < 0 ? 1 : g->plan->convs[op->conv].stride);
}

static void declare(graph *g)
{
    const om_voc_plan *p = g->plan;

    for (int slot = 0; slot < g->n_slots; slot++)
        for (int s = 0; s < p->n_signals; s++)
            if (p->signals[s].history > 0)
                g->state[slot * p->n_signals + s] = ggml_new_tensor_2d(g->pool.ctx, GGML_TYPE_F32,
                    p->signals[s].channels, p->signals[s].history);
    for (int i = 0; i < p->n_ops; i++) {
        const om_voc_op *op = &p->ops[i];

        if (op->kind == OM_VOC_CONV)
            g->gather[i] = ggml_new_tensor_1d(g->pool.ctx, GGML_TYPE_I32,
                                              (int64_t)p->convs[op->conv].taps * rows_of(g, op));
        if (op->kind != OM_VOC_TANH)
            g->inside[i] = ggml_new_tensor_2d(g->pool.ctx, GGML_TYPE_F32, 1, (int64_t)op->rate * g->block);
    }
}

/* Row n, tap j of an operator reads row first + n + j * dilation. */
static int fill_gather(const graph *g, int i)
{
    const om_voc_op *op = &g->plan->ops[i];
    const om_voc_conv *c = &g->plan->convs[op->conv];
    int n = rows_of(g, op), first = om_voc_first_row(g->plan, op, op->in[0]);
    int32_t *index = om_calloc((size_t)n * (size_t)c->taps, sizeof *index);

    if (!index)
        return om_fail(OMNI_ERR_MEMORY, "no memory for the vocoder");
    for (int row = 0; row < n; row++)
        for (int tap = 0; tap < c->taps; tap++)
            index[(size_t)row * (size_t)c->taps + (size_t)tap] = first + row + tap * c->dilation;
    om_tensor_set(g->gather[i], index, 0, ggml_nbytes(g->gather[i]));
    om_free(index);
    return OMNI_OK;
}

/* Only near the ends does anything change here. */
static void set_inside(graph *g, const om_voc_block *block)
{
    bool masked = false;

    for (int i = 0; i < g->plan->n_ops; i++) {
        const om_voc_op *op = &g->plan->ops[i];
        int n = op->rate * g->block, begin, end;

        om_voc_inside(block, n, op->rate, op->delay, &begin, &end);
        masked = masked || begin > 0 || end < n;
    }
    if (!masked && !g->masked)
        return;
    for (int i = 0; i < g->plan->n_ops; i++) {
        const om_voc_op *op = &g->plan->ops[i];
        int n = op->rate * g->block, begin, end;

        if (!g->inside[i])
            continue;
        om_voc_inside(block, n, op->rate, op->delay, &begin, &end);
        for (int c = 0; c < n; c++)
            g->host[c] = c >= begin && c < end ? 1.0f : 0.0f;
        om_tensor_set(g->inside[i], g->host, 0, ggml_nbytes(g->inside[i]));
    }
    g->masked = masked;
}

/* ---- building ------------------------------------------------------------- */

/* The array of signal s from its new columns; the slot's history moves on. */
static void keep(graph *g, int s, struct ggml_tensor *fresh)
{
    struct ggml_context *ctx = g->graph.ctx;
    struct ggml_tensor *state = g->state[g->slot * g->plan->n_signals + s], *all, *last;

    if (!state) {
        g->arrays[s] = fresh;
        return;
    }
    all = ggml_concat(ctx, state, fresh, 1);
    last = ggml_view_2d(ctx, all, all->ne[0], state->ne[1], all->nb[1], (size_t)fresh->ne[1] * all->nb[1]);
    g->arrays[s] = all;
    om_graph_expand(&g->graph, all);    /* before the state it reads is overwritten */
    om_graph_expand(&g->graph, ggml_cpy(ctx, last, state));
}

/* n rows of signal s that op reads besides the convolution's own. */
static struct ggml_tensor *columns(graph *g, const om_voc_op *op, int s, int n)
{
    struct ggml_tensor *all = g->arrays[s];
    size_t first = (size_t)om_voc_first_row(g->plan, op, s);

    return ggml_view_2d(g->graph.ctx, all, all->ne[0], n, all->nb[1], first * all->nb[1]);
}

static struct ggml_tensor *convolve(graph *g, int i)
{
    struct ggml_context *ctx = g->graph.ctx;
    const om_voc_op *op = &g->plan->ops[i];
    const om_voc_conv *c = &g->plan->convs[op->conv];
    int n = rows_of(g, op);
    struct ggml_tensor *x = ggml_get_rows(ctx, g->arrays[op->in[0]], g->gather[i]), *y;

    x = ggml_reshape_2d(ctx, x, (int64_t)c->in * c->taps, n);
    y = ggml_mul_mat(ctx, g->vw->weight[op->conv], x);
    if (g->vw->weight[op->conv]->type == GGML_TYPE_F32)
        ggml_prec_set_acc(y, GGML_PREC_F32);
    y = ggml_add(ctx, y, g->vw->bias[op->conv]);
    y = ggml_reshape_2d(ctx, y, c->out, (int64_t)n * c->stride);
    if (op->residual >= 0)
        y = ggml_add(ctx, y, columns(g, op, op->residual, n));
    return y;
}

static struct ggml_tensor *average(graph *g, const om_voc_op *op)
{
    int n = op->rate * g->block;
    struct ggml_tensor *sum = columns(g, op, op->in[0], n);

    for (int j = 1; j < op->n_in; j++)
        sum = ggml_add(g->graph.ctx, sum, columns(g, op, op->in[j], n));
    return ggml_scale(g->graph.ctx, sum, 1.0f / (float)op->n_in);
}

static int build(graph *g, int slot)
{
    const om_voc_plan *p = g->plan;
    struct ggml_context *ctx;
    struct ggml_tensor *frames;
    int rc = om_graph_begin(&g->graph, 32 * (size_t)p->n_ops + 16);

    g->slot = -1;
    if (rc)
        return rc;
    ctx = g->graph.ctx;
    g->slot = slot;
    frames = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, g->vw->hp.voc.embd, g->block);
    g->frames = om_graph_input(&g->graph, frames);
    keep(g, p->frames, g->frames);
    for (int i = 0; i < p->n_ops; i++) {
        const om_voc_op *op = &p->ops[i];
        struct ggml_tensor *y;

        if (op->kind == OM_VOC_TANH) {
            g->wave = om_graph_output(&g->graph, ggml_tanh(ctx, g->arrays[op->in[0]]));
            continue;
        }
        y = op->kind == OM_VOC_CONV ? convolve(g, i) : average(g, op);
        y = ggml_mul(ctx, y, g->inside[i]);
        if (op->raw >= 0)
            keep(g, op->raw, y);
        if (op->act >= 0)
            keep(g, op->act, ggml_leaky_relu(ctx, y, op->slope, false));
    }
    rc = om_graph_prepare(&g->graph, g->dev);
    if (rc)
        g->slot = -1;
    return rc;
}

/* ---- executor ------------------------------------------------------------- */

static void embed(graph *g, const om_voc_block *block)
{
    size_t width = (size_t)g->vw->hp.voc.embd, bytes = width * sizeof *g->host;

    memset(g->host, 0, (size_t)g->block * bytes);
    for (int f = 0; f < g->block; f++)
        if (block->units[f] >= 0)
            memcpy(g->host + (size_t)f * width, g->vw->embd + (size_t)block->units[f] * width, bytes);
    om_tensor_set(g->frames, g->host, 0, ggml_nbytes(g->frames));
}

static int run(void *self, int slot, const om_voc_block *block)
{
    graph *g = self;
    int rc = slot == g->slot ? OMNI_OK : build(g, slot);

    if (rc)
        return rc;
    set_inside(g, block);
    embed(g, block);
    rc = om_graph_compute(&g->graph, g->dev);
    if (!rc)
        om_tensor_get(g->wave, block->wave, 0, ggml_nbytes(g->wave));
    return rc;
}

static void reset(void *self, int slot)
{
    graph *g = self;

    for (int s = 0; s < g->plan->n_signals; s++) {
        struct ggml_tensor *t = g->state[slot * g->plan->n_signals + s];

        if (t)
            om_tensor_zero(t, 0, ggml_nbytes(t));
    }
}

/* Through the host: rare, and small. */
static void copy(void *self, int to, int from)
{
    graph *g = self;
    int n = g->plan->n_signals;

    for (int s = 0; s < n; s++) {
        struct ggml_tensor *t = g->state[to * n + s];

        if (t) {
            om_tensor_get(g->state[from * n + s], g->host, 0, ggml_nbytes(t));
            om_tensor_set(t, g->host, 0, ggml_nbytes(t));
        }
    }
}

static void graph_free(void *self)
{
    graph *g = self;

    om_graph_free(&g->graph);
    om_pool_free(&g->pool);
    om_free(g->state);
    om_free(g->gather);
    om_free(g->inside);
    om_free(g->arrays);
    om_free(g->host);
    om_free(g);
}

/* Floats that `host` must hold. */
static size_t host_size(const graph *g)
{
    size_t n = (size_t)g->block * (size_t)g->vw->hp.voc.embd;

    for (int s = 0; s < g->plan->n_signals; s++) {
        const om_voc_signal *signal = &g->plan->signals[s];
        size_t columns_new = (size_t)signal->rate * (size_t)g->block;
        size_t state = (size_t)signal->channels * (size_t)signal->history;

        n = columns_new > n ? columns_new : n;
        n = state > n ? state : n;
    }
    return n;
}

static int allocate(graph *g)
{
    size_t n_ops = (size_t)g->plan->n_ops, n_signals = (size_t)g->plan->n_signals;
    size_t n_states = n_signals * (size_t)g->n_slots;
    int rc = om_pool_begin(&g->pool, n_states + 2 * n_ops);

    if (rc)
        return rc;
    g->state = om_calloc(n_states, sizeof(struct ggml_tensor *));
    g->gather = om_calloc(n_ops, sizeof(struct ggml_tensor *));
    g->inside = om_calloc(n_ops, sizeof(struct ggml_tensor *));
    g->arrays = om_calloc(n_signals, sizeof(struct ggml_tensor *));
    g->host = om_aligned(host_size(g), sizeof *g->host);
    if (!g->state || !g->gather || !g->inside || !g->arrays || !g->host)
        return om_fail(OMNI_ERR_MEMORY, "no memory for %d slots of the vocoder", g->n_slots);
    declare(g);
    rc = om_pool_alloc(&g->pool, g->dev);
    for (size_t i = 0; i < n_ops && !rc; i++)
        if (g->gather[i])
            rc = fill_gather(g, (int)i);
    return rc;
}

int om_voc_graph_new(const om_vocoder_weights *vw, om_device *dev, int n_slots, int block,
                     om_voc_executor *out)
{
    graph *g = om_calloc(1, sizeof *g);
    int rc;

    if (!g)
        return om_fail(OMNI_ERR_MEMORY, "no memory for the vocoder");
    g->vw = vw;
    g->plan = vw->plan;
    g->dev = dev;
    g->block = block;
    g->n_slots = n_slots;
    g->slot = -1;
    g->masked = true;       /* `inside` is unset */
    rc = allocate(g);
    if (!rc)
        rc = build(g, 0);
    if (rc) {
        graph_free(g);
        return rc;
    }
    *out = (om_voc_executor){ g, run, reset, copy, graph_free };
    return OMNI_OK;
}
