/*
 * vocoder-parts: what vocoder.c and its two executors share.
 *
 * Two ways compute a block: vocoder-cpu.c with kernels of our own, and
 * vocoder-graph.c with ggml's operators, for any backend and as the yardstick of
 * the first. Both follow the plan.
 */
#ifndef OM_VOCODER_PARTS_H
#define OM_VOCODER_PARTS_H

#include "base/graph.h"
#include "stage/vocoder.h"
#include "stage/vocoder-conv.h"
#include "stage/vocoder-duration.h"
#include "stage/vocoder-plan.h"

#include <stdint.h>

struct om_vocoder_weights {
    om_hparams hp;
    om_voc_plan *plan;
    float *embd;                    /* [K][embd] */
    om_voc_duration duration;
    bool plain;                     /* which of the two forms below there is */
    bool bf16;
    om_voc_packed *packed;          /* [n_convs] */
    om_pool pool;
    struct ggml_tensor **weight;    /* [n_convs], ne = {in * taps, out * stride} */
    struct ggml_tensor **bias;      /* [n_convs], ne = {out * stride} */
};

/* Block `index` of a stream. */
typedef struct om_voc_block {
    int64_t index;
    int64_t end;                    /* frames of the whole stream, INT64_MAX while unknown */
    const int32_t *units;           /* [B], one per frame; -1 past the end */
    float *wave;                    /* [B * hop]; the caller drops what lies before 0 or past the end */
} om_voc_block;

typedef struct om_voc_executor {
    void *self;
    int  (*run)(void *self, int slot, const om_voc_block *block);
    void (*reset)(void *self, int slot);
    void (*copy)(void *self, int to, int from);
    void (*free)(void *self);
} om_voc_executor;

int om_voc_cpu_new(const om_vocoder_weights *vw, om_device *dev, int n_slots, int block,
                   om_voc_executor *out);
int om_voc_graph_new(const om_vocoder_weights *vw, om_device *dev, int n_slots, int block,
                     om_voc_executor *out);

/* Rows [*begin, *end) of a block's n whose columns lie inside the stream; the others are zero. */
void om_voc_inside(const om_voc_block *block, int n, int rate, int delay, int *begin, int *end);

#endif
