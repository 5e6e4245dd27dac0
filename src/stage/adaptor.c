/*
 * adaptor: encoder rows to rows that stand where text embeddings stand.
 *
 *   takes            E encoder rows [E][C]
 *   gives            R = E / k rows [R][D], k = stack
 *   rate             50 / k rows per second (10)
 *   latency          none of its own
 *   receptive field  k rows
 *
 *   [E][C] -> the first R * k rows seen as [R][k * C] -> linear, ReLU -> linear
 *
 * Easy to get wrong: rows are stacked in order without overlap; the E mod k rows that are
 * left over are discarded, not padded; there is no normalisation and no position.
 */
#include "stage/adaptor.h"

#include "base/memory.h"
#include "base/status.h"

struct om_adaptor_weights {
    om_pool pool;
    int rows, width, stack, out;                         /* R, C, k, D */
    struct ggml_tensor *w1, *b1;                         /* [hidden][k*C], [hidden] */
    struct ggml_tensor *w2, *b2;                         /* [D][hidden], [D] */
};

struct om_adaptor {
    const om_adaptor_weights *w;
    om_device *dev;
    om_graph graph;
    struct ggml_tensor *in, *out;                        /* [R][k*C], [R][D] */
};

int om_adaptor_load(const om_weights *w, const om_hparams *hp, om_device *dev, bool force_f32,
                    om_adaptor_weights **out)
{
    const int64_t in = (int64_t)hp->adaptor.stack * hp->enc.width;
    const int64_t hidden = hp->adaptor.hidden, width = hp->llm.width;
    const int64_t shape1[2] = { hidden, in }, shape2[2] = { width, hidden };
    om_loader *ld = NULL;
    om_adaptor_weights *aw = om_calloc(1, sizeof *aw);
    int rc = OMNI_OK;

    if (!aw)
        return om_fail(OMNI_ERR_MEMORY, "adaptor: out of memory");
    aw->rows = hp->enc.context / hp->adaptor.stack;
    aw->width = hp->enc.width;
    aw->stack = hp->adaptor.stack;
    aw->out = hp->llm.width;
    rc = om_pool_begin(&aw->pool, 4);
    if (rc == OMNI_OK)
        rc = om_loader_new(w, &aw->pool, force_f32, &ld);
    if (rc != OMNI_OK)
        goto done;
    aw->w1 = om_load(ld, "adaptor.1.weight", 2, shape1);
    aw->b1 = om_load_f32(ld, "adaptor.1.bias", 1, &hidden);
    aw->w2 = om_load(ld, "adaptor.2.weight", 2, shape2);
    aw->b2 = om_load_f32(ld, "adaptor.2.bias", 1, &width);
    rc = om_loader_status(ld);
    if (rc == OMNI_OK)
        rc = om_pool_alloc(&aw->pool, dev);
    if (rc == OMNI_OK)
        rc = om_loader_fill(ld);
    if (rc != OMNI_OK)
        goto done;
    *out = aw;
    aw = NULL;
done:
    om_loader_free(ld);
    om_adaptor_unload(aw);
    return rc;
}

void om_adaptor_unload(om_adaptor_weights *aw)
{
    if (!aw)
        return;
    om_pool_free(&aw->pool);
    om_free(aw);
}

/* The graph never changes: built once. */
static int build(om_adaptor *ad)
{
    const om_adaptor_weights *w = ad->w;
    const int64_t stacked = (int64_t)w->stack * w->width;
    struct ggml_context *ctx;
    struct ggml_tensor *h;
    int rc = om_graph_begin(&ad->graph, 16);

    if (rc != OMNI_OK)
        return rc;
    ctx = ad->graph.ctx;
    ad->in = om_graph_input(&ad->graph, ggml_new_tensor_2d(ctx, GGML_TYPE_F32, stacked, w->rows));
    h = ggml_relu(ctx, ggml_add(ctx, ggml_mul_mat(ctx, w->w1, ad->in), w->b1));
    ad->out = om_graph_output(&ad->graph, ggml_add(ctx, ggml_mul_mat(ctx, w->w2, h), w->b2));
    return om_graph_prepare(&ad->graph, ad->dev);
}

int om_adaptor_new(const om_adaptor_weights *aw, om_device *dev, om_adaptor **out)
{
    om_adaptor *ad = om_calloc(1, sizeof *ad);
    int rc = OMNI_OK;

    if (!ad)
        return om_fail(OMNI_ERR_MEMORY, "adaptor: out of memory");
    ad->w = aw;
    ad->dev = dev;
    if (aw->rows > 0)
        rc = build(ad);
    if (rc != OMNI_OK) {
        om_adaptor_free(ad);
        return rc;
    }
    *out = ad;
    return OMNI_OK;
}

void om_adaptor_free(om_adaptor *ad)
{
    if (!ad)
        return;
    om_graph_free(&ad->graph);
    om_free(ad);
}

int om_adaptor_run(om_adaptor *ad, const float *rows, float *out)
{
    int rc;

    if (ad->w->rows == 0)        /* fewer encoder rows than the stack: nothing to give */
        return OMNI_OK;
    om_tensor_set(ad->in, rows, 0, ggml_nbytes(ad->in));
    rc = om_graph_compute(&ad->graph, ad->dev);
    if (rc == OMNI_OK)
        om_tensor_get(ad->out, out, 0, ggml_nbytes(ad->out));
    return rc;
}
