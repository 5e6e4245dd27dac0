/*
 * vocoder-plan: the generator as a list of operators, whoever computes them.
 *
 * Time runs in blocks of B frames. A signal is the array between two operators;
 * at `rate` columns per frame one block brings N = B * rate new columns of it. A
 * convolution needs columns of the future, so its output lags behind its input:
 * after block b a signal has reached column (b + 1) * N - delay. What later
 * operators still need of earlier columns is its history, the only state there is.
 *
 *        columns of a signal while block b is computed
 *        |<- history ->|<-------- N new -------->|
 *        ^ b*N - delay - history                 ^ (b+1)*N - delay
 *
 * A column before 0, or beyond the last, is zero: that is the padding of every layer.
 */
#ifndef OM_VOCODER_PLAN_H
#define OM_VOCODER_PLAN_H

#include "base/hparams.h"

#include <stdbool.h>

/* A convolution of the file, and how it is computed: output column s*m + r - pad, r < s,
 * from the `taps` input columns up to m. s = stride > 1 is a transposed convolution:
 * column m of its input gives s columns of output, s * out values in one row. */
typedef struct om_voc_conv {
    char weight[40], bias[40];  /* names in the file */
    int in, out, kernel;        /* file shape [out][in][kernel]; [in][out][kernel] when transposed */
    int taps, dilation;
    int stride, pad;            /* 1 and 0 for an ordinary one */
    bool transposed;            /* also with a rate of 1 */
} om_voc_conv;

typedef struct om_voc_signal {
    int channels, rate, delay, history;
    bool raw;                   /* before the activation, always f32; else after it, in compute type */
    int born, dies;             /* steps */
} om_voc_signal;

typedef enum om_voc_kind {
    OM_VOC_CONV,    /* (residual +) convolution of in[0] */
    OM_VOC_MEAN,    /* mean of in[0 .. n_in) */
    OM_VOC_TANH     /* of in[0] */
} om_voc_kind;

/* The result is kept as it is (raw), after leaky_relu(slope) (act), or both; -1 means not. */
typedef struct om_voc_op {
    om_voc_kind kind;
    int step;                   /* operators of one step do not depend on each other */
    int conv;
    int in[OM_MAX_KERNELS], n_in;
    int residual;               /* signal or -1 */
    int raw, act;
    float slope;
    int channels, rate, delay;  /* of the result */
} om_voc_op;

typedef struct om_voc_plan {
    om_voc_conv *convs;
    om_voc_signal *signals;
    om_voc_op *ops;
    int n_convs, n_signals, n_ops, n_steps;
    int frames;                 /* signal: embedded units, one column per frame */
    int wave;                   /* signal: samples; its delay is the look-ahead of an exact sample */
    int hop;
    bool too_slow;              /* a delay passed the limit */
} om_voc_plan;

/* ERR_MODEL (kernels that would change the length), ERR_MEMORY. */
int  om_voc_plan_new(const om_hparams *hp, om_voc_plan **out);
void om_voc_plan_free(om_voc_plan *plan);

/* First row of signal s that output row 0 of op needs. */
int  om_voc_first_row(const om_voc_plan *plan, const om_voc_op *op, int s);

#endif
