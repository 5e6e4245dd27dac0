/*
 * loader: tensors of a file into tensors of a pool, in two passes.
 *
 * Convolutions are turned while loading, once, so that every convolution at run
 * time is a matrix product over contiguous rows:
 *
 *   file [out][in][k]           -> row o is [k][in]       (im2col with channels innermost)
 *   file [in][out][k] (upward)  -> row o*k + j is [in]    (column product, then overlap-add)
 */
#include "base/graph.h"

#include "base/memory.h"
#include "base/status.h"
#include "base/weights.h"

#include <string.h>

typedef enum { AS_IS, CONV, CONV_TRANSPOSED } layout;

typedef struct {
    const om_tensor_desc *desc;
    struct ggml_tensor *tensor;
    layout how;
} entry;

struct om_loader {
    const om_weights *w;
    om_pool *pool;
    bool force_f32;
    int status;
    entry *entries;     /* [cap] */
    size_t n, cap;
};

int om_loader_new(const om_weights *w, om_pool *pool, bool force_f32, om_loader **out)
{
    om_loader *ld = om_calloc(1, sizeof *ld);

    if (!ld)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", om_weights_path(w));
    ld->w = w;
    ld->pool = pool;
    ld->force_f32 = force_f32;
    /* What om_pool_begin made room for. */
    ld->cap = ggml_get_mem_size(pool->ctx) / ggml_tensor_overhead() - 1;
    ld->entries = om_calloc(ld->cap, sizeof *ld->entries);
    if (!ld->entries) {
        om_free(ld);
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", om_weights_path(w));
    }
    *out = ld;
    return OMNI_OK;
}

void om_loader_free(om_loader *ld)
{
    if (!ld)
        return;
    om_free(ld->entries);
    om_free(ld);
}

int om_loader_status(const om_loader *ld)
{
    return ld->status;
}

/* Types that both backends multiply without conversion, as stored: the quantised ones that look_up lets through. */
static enum ggml_type kept_type(const om_loader *ld, const om_tensor_desc *t, bool quantised)
{
    enum ggml_type type = (enum ggml_type)t->type;

    if (ld->force_f32)
        return GGML_TYPE_F32;
    if (type == GGML_TYPE_F16 || type == GGML_TYPE_BF16)
        return type;
    return quantised && ggml_is_quantized(type) ? type : GGML_TYPE_F32;
}

static struct ggml_tensor *declare(om_loader *ld, const om_tensor_desc *t, layout how, enum ggml_type type,
                                   int n_dims, const int64_t *ne)
{
    struct ggml_tensor *tensor;

    if (ld->n == ld->cap) {
        ld->status =
            om_fail(OMNI_ERR_LIMIT, "%s: more than %zu tensors in one pool", om_weights_path(ld->w), ld->cap);
        return NULL;
    }
    tensor = ggml_new_tensor(ld->pool->ctx, type, n_dims, ne);
    if (!tensor) {
        ld->status =
            om_fail(OMNI_ERR_MEMORY, "%s: tensor %s: no room in the pool", om_weights_path(ld->w), t->name);
        return NULL;
    }
    ggml_set_name(tensor, t->name);
    ld->entries[ld->n++] = (entry){ t, tensor, how };
    return tensor;
}

/* Types of intermediate results (Q8_1, Q8_K) and of integers can not be read back, and a product with them has no
 * kernel: ggml would call a null pointer. */
static bool holds_weights(const om_tensor_desc *t)
{
    enum ggml_type type = (enum ggml_type)t->type;

    return type == GGML_TYPE_F32 || ggml_get_type_traits(type)->to_float;
}

static const om_tensor_desc *look_up(om_loader *ld, const char *name, int n_dims, const int64_t *shape)
{
    const om_tensor_desc *t = NULL;

    /* After a failure nothing more is declared: the first message is the one to keep. */
    if (ld->status == OMNI_OK)
        ld->status = om_weights_need(ld->w, name, n_dims, shape, &t);
    if (t && !holds_weights(t)) {
        ld->status = om_fail(OMNI_ERR_MODEL, "%s: tensor %s: type %s is not one for weights; convert the model again",
                             om_weights_path(ld->w), t->name, ggml_type_name((enum ggml_type)t->type));
        t = NULL;
    }
    return t;
}

struct ggml_tensor *om_load(om_loader *ld, const char *name, int n_dims, const int64_t *shape)
{
    const om_tensor_desc *t = look_up(ld, name, n_dims, shape);

    return t ? declare(ld, t, AS_IS, kept_type(ld, t, n_dims == 2), n_dims, t->ne) : NULL;
}

struct ggml_tensor *om_load_f32(om_loader *ld, const char *name, int n_dims, const int64_t *shape)
{
    const om_tensor_desc *t = look_up(ld, name, n_dims, shape);

    return t ? declare(ld, t, AS_IS, GGML_TYPE_F32, n_dims, t->ne) : NULL;
}

struct ggml_tensor *om_load_conv(om_loader *ld, const char *name, const int64_t shape[3], bool transposed)
{
    const om_tensor_desc *t = look_up(ld, name, 3, shape);
    int64_t ne[2];

    if (!t)
        return NULL;
    ne[0] = transposed ? shape[0] : shape[1] * shape[2];
    ne[1] = transposed ? shape[1] * shape[2] : shape[0];
    return declare(ld, t, transposed ? CONV_TRANSPOSED : CONV, kept_type(ld, t, false), 2, ne);
}

/* ---- reading -------------------------------------------------------------- */

/* [out][in][k] to [out][k][in] */
static void turn_conv(const float *src, float *dst, int64_t out, int64_t in, int64_t k)
{
    for (int64_t o = 0; o < out; o++)
        for (int64_t j = 0; j < k; j++)
            for (int64_t i = 0; i < in; i++)
                *dst++ = src[(o * in + i) * k + j];
}

/* [in][out][k] to [out][k][in] */
static void turn_conv_transposed(const float *src, float *dst, int64_t in, int64_t out, int64_t k)
{
    for (int64_t o = 0; o < out; o++)
        for (int64_t j = 0; j < k; j++)
            for (int64_t i = 0; i < in; i++)
                *dst++ = src[(i * out + o) * k + j];
}

static void to_type(const float *src, void *dst, enum ggml_type type, int64_t n)
{
    if (type == GGML_TYPE_F16)
        ggml_fp32_to_fp16_row(src, dst, n);
    else if (type == GGML_TYPE_BF16)
        ggml_fp32_to_bf16_row(src, dst, n);
    else
        memcpy(dst, src, (size_t)n * sizeof *src);
}

/* Fills dst, ggml_nbytes of it, through two f32 copies where types or order differ. */
static int convert(const om_loader *ld, const entry *e, void *dst)
{
    const om_tensor_desc *t = e->desc;
    int64_t n = ggml_nelements(e->tensor);
    float *plain, *turned = NULL;
    int rc;

    if ((enum ggml_type)t->type == e->tensor->type && e->how == AS_IS)
        return om_weights_read(ld->w, t, dst);
    if (e->how == AS_IS && e->tensor->type == GGML_TYPE_F32)
        return om_weights_read_f32(ld->w, t, dst);
    plain = om_aligned((size_t)n, sizeof *plain);
    turned = om_aligned((size_t)n, sizeof *turned);
    rc = plain && turned
             ? om_weights_read_f32(ld->w, t, plain)
             : om_fail(OMNI_ERR_MEMORY, "%s: tensor %s: out of memory", om_weights_path(ld->w), t->name);
    if (!rc) {
        /* ne is fastest first: {k, in, out} or {k, out, in} */
        if (e->how == CONV)
            turn_conv(plain, turned, t->ne[2], t->ne[1], t->ne[0]);
        else
            turn_conv_transposed(plain, turned, t->ne[2], t->ne[1], t->ne[0]);
        to_type(turned, dst, e->tensor->type, n);
    }
    om_free(plain);
    om_free(turned);
    return rc;
}

int om_loader_fill(om_loader *ld)
{
    size_t staging_size = 0;
    void *staging = NULL;
    int rc = ld->status;

    for (size_t i = 0; i < ld->n && !rc; i++) {
        const entry *e = &ld->entries[i];
        void *host = om_tensor_host(e->tensor);
        size_t bytes = ggml_nbytes(e->tensor);

        if (host) {
            rc = convert(ld, e, host);
            continue;
        }
        if (bytes > staging_size) {
            om_free(staging);
            staging = om_aligned(bytes, 1);
            staging_size = staging ? bytes : 0;
        }
        rc = staging ? convert(ld, e, staging)
                     : om_fail(OMNI_ERR_MEMORY, "%s: out of memory", om_weights_path(ld->w));
        if (!rc)
            om_tensor_set(e->tensor, staging, 0, bytes);
    }
    om_free(staging);
    return rc;
}
