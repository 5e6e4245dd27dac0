/*
 * Attention of the speech decoder by ggml's operators: any backend, no tricks.
 *
 * Every layer caches lambda keys and values per token, keys rotated, rows of
 * [heads_kv * hd]. The keys looked at are padded to a multiple of STEP tokens and
 * masked, so that the sizes of a graph change rarely.
 */
#include "stage/speech-decoder-operators.h"

#include "base/memory.h"
#include "base/status.h"

#include <math.h>

enum { STEP = 32, FIRST_CAPACITY = 64 /* tokens */ };

static int row_width(const om_operators_shape *shape)
{
    return shape->heads_kv * shape->head_dim;
}

void om_operators_cache_free(om_operators_cache *cache)
{
    om_pool_free(&cache->pool);
    om_free(cache->kv);
    *cache = (om_operators_cache){ 0 };
}

static int copy_kept(const om_operators_cache *from, const om_operators_cache *to,
                     const om_operators_shape *shape, om_device *dev, int kept)
{
    om_graph g = { 0 };
    int64_t rows = (int64_t)kept * shape->block;
    int status = om_graph_begin(&g, (size_t)shape->layers * 2 + 8);
    if (status)
        goto end;
    for (int i = 0; i < 2 * shape->layers; i++) {
        struct ggml_tensor *a = from->kv[i], *b = to->kv[i];
        a = ggml_view_2d(g.ctx, a, row_width(shape), rows, a->nb[1], 0);
        b = ggml_view_2d(g.ctx, b, row_width(shape), rows, b->nb[1], 0);
        om_graph_expand(&g, ggml_cpy(g.ctx, a, b));
    }
    status = om_graph_prepare(&g, dev);
    if (!status)
        status = om_graph_compute(&g, dev);
end:
    om_graph_free(&g);
    return status;
}

int om_operators_cache_reserve(om_operators_cache *cache, const om_operators_shape *shape, om_device *dev,
                               int tokens, int kept)
{
    if (tokens <= cache->capacity)
        return OMNI_OK;
    if (kept > cache->capacity)
        kept = cache->capacity;
    om_operators_cache grown = { .capacity = cache->capacity ? 2 * cache->capacity : FIRST_CAPACITY };
    while (grown.capacity < tokens)
        grown.capacity *= 2;
    int status = OMNI_ERR_MEMORY;
    grown.kv = om_calloc((size_t)shape->layers * 2, sizeof(struct ggml_tensor *));
    if (!grown.kv) {
        om_fail(status, "speech decoder: out of memory for a cache");
        goto end;
    }
    status = om_pool_begin(&grown.pool, (size_t)shape->layers * 2);
    if (status)
        goto end;
    for (int i = 0; i < 2 * shape->layers; i++)
        grown.kv[i] = ggml_new_tensor_2d(grown.pool.ctx, shape->f32 ? GGML_TYPE_F32 : GGML_TYPE_F16,
                                         row_width(shape), (int64_t)grown.capacity * shape->block);
    status = om_pool_alloc(&grown.pool, dev);
    if (!status && kept > 0)
        status = copy_kept(cache, &grown, shape, dev, kept);
    if (!status) {
        om_operators_cache old = *cache;
        *cache = grown;
        grown = old;
    }
end:
    om_operators_cache_free(&grown);
    return status;
}

int om_operators_keys(const om_operators_shape *shape, int token)
{
    return (token + STEP) / STEP * STEP * shape->block;
}

void om_operators_begin(om_graph *g, const om_operators_shape *shape, const om_operators_cache *cache,
                        int token, om_operators_block *block)
{
    block->cache = cache;
    block->token = token;
    block->n_keys = om_operators_keys(shape, token);
    block->positions = om_graph_input(g, ggml_new_tensor_1d(g->ctx, GGML_TYPE_I32, shape->block));
    block->mask = om_graph_input(g, ggml_new_tensor_2d(g->ctx, GGML_TYPE_F32, block->n_keys, shape->block));
}

static struct ggml_tensor *rotate(om_graph *g, const om_operators_shape *shape,
                                  const om_operators_block *block, struct ggml_tensor *x)
{
    return ggml_rope_ext(g->ctx, x, block->positions, shape->factors, shape->head_dim, GGML_ROPE_TYPE_NEOX, 0,
                         shape->rope_base, 1.0f, 0.0f, 1.0f, 0.0f, 0.0f);
}

/* Stores rows x [lambda][heads_kv][hd] behind the cached ones; gives all as a view [heads_kv][n_keys][hd]. */
static struct ggml_tensor *append(om_graph *g, const om_operators_shape *shape,
                                  const om_operators_block *block, struct ggml_tensor *cache,
                                  struct ggml_tensor *x)
{
    size_t row = cache->nb[1];
    struct ggml_tensor *rows = ggml_view_3d(g->ctx, cache, shape->head_dim, shape->heads_kv, shape->block,
                                            row / (size_t)shape->heads_kv, row,
                                            row * (size_t)block->token * (size_t)shape->block);
    om_graph_expand(g, ggml_cpy(g->ctx, x, rows));
    return ggml_view_3d(g->ctx, cache, shape->head_dim, block->n_keys, shape->heads_kv,
                        row, row / (size_t)shape->heads_kv, 0);
}

struct ggml_tensor *om_operators_attend(om_graph *g, const om_operators_shape *shape,
                                        const om_operators_block *block, int layer,
                                        struct ggml_tensor *q, struct ggml_tensor *k, struct ggml_tensor *v)
{
    struct ggml_context *c = g->ctx;
    struct ggml_tensor **kv = block->cache->kv + 2 * layer;
    struct ggml_tensor *keys = append(g, shape, block, kv[0], rotate(g, shape, block, k));
    struct ggml_tensor *values = append(g, shape, block, kv[1], v);
    q = ggml_cont(c, ggml_permute(c, rotate(g, shape, block, q), 0, 2, 1, 3));  /* [heads][lambda][hd] */
    struct ggml_tensor *p = ggml_mul_mat(c, keys, q);                           /* [heads][lambda][n_keys] */
    p = ggml_soft_max_ext(c, p, block->mask, 1.0f / sqrtf((float)shape->head_dim), 0.0f);
    values = ggml_cont(c, ggml_permute(c, values, 1, 0, 2, 3));                 /* [heads_kv][hd][n_keys] */
    struct ggml_tensor *o = ggml_mul_mat(c, values, p);                         /* [heads][lambda][hd] */
    o = ggml_cont(c, ggml_permute(c, o, 0, 2, 1, 3));                           /* [lambda][heads][hd] */
    return ggml_reshape_2d(c, o, (int64_t)shape->heads * shape->head_dim, shape->block);
}

void om_operators_fill(const om_operators_shape *shape, const om_operators_block *block, float *scratch)
{
    int base = block->token * shape->block;
    for (int i = 0; i < shape->block; i++) {
        int32_t position = base + i;
        om_tensor_set(block->positions, &position, (size_t)i * sizeof(position), sizeof(position));
        for (int j = 0; j < block->n_keys; j++)
            scratch[(size_t)i * (size_t)block->n_keys + (size_t)j] = j <= position ? 0.0f : -INFINITY;
    }
    om_tensor_set(block->mask, scratch, 0, (size_t)shape->block * (size_t)block->n_keys * sizeof(float));
}
