/*
 * speech-decoder-operators: the speech decoder's attention written with ggml's
 * operators, for devices that our own kernels do not reach.
 */
#ifndef OM_SPEECH_DECODER_OPERATORS_H
#define OM_SPEECH_DECODER_OPERATORS_H

#include "base/graph.h"

#include <stdint.h>

typedef struct om_operators_shape {
    int layers, heads, heads_kv, head_dim, block;  /* block: lambda */
    int max_tokens;
    bool f32;                   /* cache type: f32, else f16 */
    float rope_base;
    struct ggml_tensor *factors; /* [hd/2] divides the angles (llama3 scaling), in a pool */
} om_operators_shape;

/* Caches of one slot: per layer k and v, [capacity * lambda][heads_kv * hd]. */
typedef struct om_operators_cache {
    om_pool pool;
    struct ggml_tensor **kv;    /* [layers][2], in pool */
    int capacity;               /* tokens */
} om_operators_cache;

void om_operators_cache_free(om_operators_cache *cache);   /* {0} is allowed */
/* Room for tokens tokens; keeps the first kept. ERR_MEMORY, ERR_BACKEND: unchanged. */
int  om_operators_cache_reserve(om_operators_cache *cache, const om_operators_shape *shape, om_device *dev,
                                int tokens, int kept);

/* One slot's part of a graph: inputs to create once per slot, then one call per layer. */
typedef struct om_operators_block {
    const om_operators_cache *cache;
    int token, n_keys;              /* keys looked at: a padded number of positions */
    struct ggml_tensor *positions;  /* [lambda] i32 */
    struct ggml_tensor *mask;       /* [lambda][n_keys] f32 */
} om_operators_block;

void om_operators_begin(om_graph *g, const om_operators_shape *shape, const om_operators_cache *cache,
                        int token, om_operators_block *block);
/* q [lambda][heads][hd], k and v [lambda][heads_kv][hd], not rotated; gives [lambda][heads * hd]. */
struct ggml_tensor *om_operators_attend(om_graph *g, const om_operators_shape *shape,
                                        const om_operators_block *block, int layer,
                                        struct ggml_tensor *q, struct ggml_tensor *k, struct ggml_tensor *v);
/* After om_graph_prepare. scratch [lambda * n_keys]. */
void om_operators_fill(const om_operators_shape *shape, const om_operators_block *block, float *scratch);
int  om_operators_keys(const om_operators_shape *shape, int token);   /* n_keys at token */

#endif
