/* vocoder-plan: lays the generator out. See the header for delays and histories. */
#include "stage/vocoder-plan.h"

#include "base/memory.h"
#include "base/status.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Slopes of leaky_relu: everywhere, and before the last convolution (the framework's default there). */
static const float slope_inner = 0.1f, slope_last = 0.01f;

enum {
    KERNEL_ENDS = 7,        /* conv_pre and conv_post */
    MAX_DELAY = 1 << 24     /* samples; keeps every row number far inside an int */
};

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static void name(char out[40], const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    vsnprintf(out, 40, format, ap);
    va_end(ap);
}

static int add_signal(om_voc_plan *p, const om_voc_op *op, bool raw)
{
    p->signals[p->n_signals] = (om_voc_signal){
        .channels = op->channels, .rate = op->rate, .delay = op->delay, .raw = raw,
        .born = op->step, .dies = op->step,
    };
    return p->n_signals++;
}

/* op reads columns of s from `back` columns before its own output column on. */
static void need(om_voc_plan *p, const om_voc_op *op, int s, int back)
{
    om_voc_signal *in = &p->signals[s];

    if (back > in->history)
        in->history = back;
    if (op->step > in->dies)
        in->dies = op->step;
}

static om_voc_op *add_op(om_voc_plan *p, om_voc_kind kind, int step)
{
    om_voc_op *op = &p->ops[p->n_ops++];

    *op = (om_voc_op){
        .kind = kind, .step = step, .conv = -1, .residual = -1, .raw = -1, .act = -1, .slope = 1.0f,
    };
    if (step >= p->n_steps)
        p->n_steps = step + 1;
    return op;
}

/* The convolution added last, reading `in`. */
static om_voc_op *add_conv_op(om_voc_plan *p, int step, int in, int residual)
{
    int index = p->n_convs - 1;
    const om_voc_conv *c = &p->convs[index];
    const om_voc_signal *src = &p->signals[in];
    om_voc_op *op = add_op(p, OM_VOC_CONV, step);
    int reach = (c->taps - 1) * c->dilation;
    int64_t delay;

    op->conv = index;
    op->in[0] = in;
    op->n_in = 1;
    op->residual = residual;
    op->slope = slope_inner;
    op->channels = c->out;
    op->rate = src->rate * c->stride;
    delay = c->transposed ? (int64_t)src->delay * c->stride + c->pad : (int64_t)src->delay + reach / 2;
    p->too_slow = p->too_slow || delay > MAX_DELAY;
    op->delay = delay > MAX_DELAY ? MAX_DELAY : (int)delay;
    need(p, op, in, reach);
    if (residual >= 0)
        need(p, op, residual, op->delay - p->signals[residual].delay);
    return op;
}

static om_voc_conv *add_conv(om_voc_plan *p, int in, int out, int kernel, int dilation)
{
    om_voc_conv *c = &p->convs[p->n_convs++];

    *c = (om_voc_conv){
        .in = in, .out = out, .kernel = kernel, .taps = kernel, .dilation = dilation, .stride = 1,
    };
    return c;
}

static void add_up(om_voc_plan *p, const om_hparams *hp, int stage)
{
    int rate = hp->voc.rates[stage], kernel = hp->voc.kernels[stage];
    om_voc_conv *c = add_conv(p, hp->voc.channels >> stage, hp->voc.channels >> (stage + 1), kernel, 1);

    c->transposed = true;
    c->taps = (kernel + rate - 1) / rate;
    c->stride = rate;
    c->pad = (kernel - rate) / 2;
    name(c->weight, "voc.up.%d.weight", stage);
    name(c->bias, "voc.up.%d.bias", stage);
}

static void add_res(om_voc_plan *p, const om_hparams *hp, int stage, int j, int d, char half)
{
    int channels = hp->voc.channels >> (stage + 1), block = stage * hp->voc.n_res + j;
    int dilation = half == 'a' ? hp->voc.dilations[d] : 1;
    om_voc_conv *c = add_conv(p, channels, channels, hp->voc.res_kernels[j], dilation);

    name(c->weight, "voc.res.%d.%c.%d.weight", block, half, d);
    name(c->bias, "voc.res.%d.%c.%d.bias", block, half, d);
}

/* One stage: in is what the transposed convolution reads; returns what follows reads.
 * The residual blocks are independent of each other and advance together, step by step. */
static int add_stage(om_voc_plan *p, const om_hparams *hp, int stage, int in)
{
    int n_res = hp->voc.n_res, n_dil = hp->voc.n_dil, step = p->n_steps, last_delay = 0;
    int raw[OM_MAX_KERNELS] = { 0 }, act[OM_MAX_KERNELS] = { 0 };
    om_voc_op *op;

    add_up(p, hp, stage);
    op = add_conv_op(p, step++, in, -1);
    op->raw = add_signal(p, op, true);
    op->act = add_signal(p, op, false);
    for (int j = 0; j < n_res; j++) {
        raw[j] = op->raw;
        act[j] = op->act;
    }
    for (int d = 0; d < n_dil; d++, step += 2)
        for (int j = 0; j < n_res; j++) {
            om_voc_op *b;
            int hidden;

            add_res(p, hp, stage, j, d, 'a');
            op = add_conv_op(p, step, act[j], -1);
            hidden = op->act = add_signal(p, op, false);
            add_res(p, hp, stage, j, d, 'b');
            b = add_conv_op(p, step + 1, hidden, raw[j]);
            raw[j] = b->raw = add_signal(p, b, true);
            if (d + 1 < n_dil)
                act[j] = b->act = add_signal(p, b, false);
        }
    op = add_op(p, OM_VOC_MEAN, step);
    for (int j = 0; j < n_res; j++) {
        op->in[op->n_in++] = raw[j];
        if (p->signals[raw[j]].delay > last_delay)
            last_delay = p->signals[raw[j]].delay;
    }
    op->slope = stage + 1 < hp->voc.n_stages ? slope_inner : slope_last;
    op->channels = p->signals[raw[0]].channels;
    op->rate = p->signals[raw[0]].rate;
    op->delay = last_delay;
    for (int j = 0; j < n_res; j++)
        need(p, op, raw[j], last_delay - p->signals[raw[j]].delay);
    op->act = add_signal(p, op, false);
    return op->act;
}

static void lay_out(om_voc_plan *p, const om_hparams *hp)
{
    om_voc_op source = { .channels = hp->voc.embd, .rate = 1, .step = 0 };
    om_voc_conv *c;
    om_voc_op *op;
    int x;

    p->frames = add_signal(p, &source, false);
    c = add_conv(p, hp->voc.embd, hp->voc.channels, KERNEL_ENDS, 1);
    name(c->weight, "voc.conv_pre.weight");
    name(c->bias, "voc.conv_pre.bias");
    op = add_conv_op(p, 0, p->frames, -1);
    x = op->act = add_signal(p, op, false);
    for (int i = 0; i < hp->voc.n_stages; i++)
        x = add_stage(p, hp, i, x);
    c = add_conv(p, hp->voc.channels >> hp->voc.n_stages, 1, KERNEL_ENDS, 1);
    name(c->weight, "voc.conv_post.weight");
    name(c->bias, "voc.conv_post.bias");
    op = add_conv_op(p, p->n_steps, x, -1);
    x = op->raw = add_signal(p, op, true);
    op = add_op(p, OM_VOC_TANH, p->n_steps);
    op->in[op->n_in++] = x;
    op->channels = 1;
    op->rate = p->signals[x].rate;
    op->delay = p->signals[x].delay;
    need(p, op, x, 0);
    p->wave = op->raw = add_signal(p, op, true);
    p->hop = op->rate;
}

/* An operator emits in the order (step 2d, step 2d+1) for each residual block in turn; the
 * executors want steps in order. Insertion sort: stable, and the list is nearly sorted. */
static void sort_steps(om_voc_plan *p)
{
    for (int i = 1; i < p->n_ops; i++) {
        om_voc_op op = p->ops[i];
        int at = i;

        for (; at > 0 && p->ops[at - 1].step > op.step; at--)
            p->ops[at] = p->ops[at - 1];
        p->ops[at] = op;
    }
}

static int check(const om_hparams *hp)
{
    for (int i = 0; i < hp->voc.n_stages; i++) {
        int over = hp->voc.kernels[i] - hp->voc.rates[i];

        if (over < 0 || over % 2)
            return om_fail(OMNI_ERR_MODEL, "vocoder stage %d: kernel %d and rate %d change the length; wanted"
                           " a kernel larger by an even number", i, hp->voc.kernels[i], hp->voc.rates[i]);
    }
    for (int j = 0; j < hp->voc.n_res; j++)
        if (hp->voc.res_kernels[j] % 2 == 0)
            return om_fail(OMNI_ERR_MODEL, "vocoder residual kernel %d is even, wanted odd",
                           hp->voc.res_kernels[j]);
    if (hp->voc.n_stages < 1 || hp->voc.n_res < 1 || hp->voc.n_dil < 1)
        return om_fail(OMNI_ERR_MODEL, "vocoder with %d stages, %d residual kernels, %d dilations; wanted at"
                       " least one of each", hp->voc.n_stages, hp->voc.n_res, hp->voc.n_dil);
    return OMNI_OK;
}

int om_voc_plan_new(const om_hparams *hp, om_voc_plan **out)
{
    size_t pairs, stages;
    om_voc_plan *p;
    int rc = check(hp);

    if (rc)
        return rc;
    stages = (size_t)hp->voc.n_stages;
    pairs = stages * (size_t)(hp->voc.n_res * hp->voc.n_dil);
    p = om_calloc(1, sizeof *p);
    if (!p)
        goto memory;
    p->convs = om_calloc(2 + stages + 2 * pairs, sizeof *p->convs);
    p->ops = om_calloc(3 + 2 * stages + 2 * pairs, sizeof *p->ops);
    p->signals = om_calloc(4 + 3 * stages + 3 * pairs, sizeof *p->signals);
    if (!p->convs || !p->ops || !p->signals)
        goto memory;
    lay_out(p, hp);
    sort_steps(p);
    if (p->too_slow) {
        om_voc_plan_free(p);
        return om_fail(OMNI_ERR_MODEL, "the vocoder's kernels and dilations need more than %d samples of"
                       " look-ahead", MAX_DELAY);
    }
    *out = p;
    return OMNI_OK;
memory:
    om_voc_plan_free(p);
    return om_fail(OMNI_ERR_MEMORY, "no memory for the plan of the vocoder");
}

void om_voc_plan_free(om_voc_plan *p)
{
    if (!p)
        return;
    om_free(p->convs);
    om_free(p->ops);
    om_free(p->signals);
    om_free(p);
}

int om_voc_first_row(const om_voc_plan *p, const om_voc_op *op, int s)
{
    const om_voc_signal *in = &p->signals[s];

    if (op->kind == OM_VOC_CONV && s == op->in[0] && s != op->residual) {
        const om_voc_conv *c = &p->convs[op->conv];

        return in->history - (c->taps - 1) * c->dilation;
    }
    return in->history - (op->delay - in->delay);
}
