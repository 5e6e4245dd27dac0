/*
 * The weights of the speech decoder: read, rotation frequencies worked out, and BF16
 * matrices rearranged in place for our own products where the processor has them.
 */
#include "stage/speech-decoder-weights.h"
#include "stage/speech-decoder-products.h"

#include "tensors.def"

#include "base/memory.h"
#include "base/status.h"

#include <math.h>
#include <stdio.h>

/* llama3 scaling: short waves stay, long ones are stretched by factor, between them a linear blend. */
static double scaled_frequency(const om_hparams *hp, int f, int head_dim)
{
    double plain = pow((double)hp->dec.rope_base, -2.0 * f / head_dim);
    double factor = (double)hp->dec.rope_factor, context = hp->dec.rope_original_context;
    double low = (double)hp->dec.rope_low, high = (double)hp->dec.rope_high;
    double wave = 2 * 3.14159265358979323846 / plain;
    if (factor == 1.0 || wave < context / high)
        return plain;
    if (wave > context / low)
        return plain / factor;
    double blend = (context / wave - low) / (high - low);
    return (1 - blend) * plain / factor + blend * plain;
}

static int frequencies(om_speech_decoder_weights *dw, const om_hparams *hp)
{
    int half = dw->width / dw->heads / 2;
    dw->frequency = om_calloc((size_t)half, sizeof(double));
    if (!dw->frequency)
        return om_fail(OMNI_ERR_MEMORY, "speech decoder: out of memory");
    for (int f = 0; f < half; f++) {
        dw->frequency[f] = scaled_frequency(hp, f, 2 * half);
        float factor = (float)(pow((double)hp->dec.rope_base, -(double)f / half) / dw->frequency[f]);
        om_tensor_set(dw->factors, &factor, (size_t)f * sizeof(float), sizeof(float));
    }
    return OMNI_OK;
}

static void declare_block(om_loader *ld, const om_hparams *hp, int index, om_dec_layer *layer)
{
    struct ggml_tensor **to = layer->all;
    char name[64];
#define LOAD_MAT om_load
#define LOAD_F32 om_load_f32
#define LOAD1(n, kind, a) \
    snprintf(name, sizeof(name), n, index); \
    *to++ = LOAD_##kind(ld, name, 1, (int64_t[]){ a });
#define LOAD2(n, kind, a, b) \
    snprintf(name, sizeof(name), n, index); \
    *to++ = LOAD_##kind(ld, name, 2, (int64_t[]){ a, b });
#define LOAD3(n, kind, a, b, c)
    OM_TENSORS_DEC(LOAD1, LOAD2, LOAD3)
#undef LOAD_MAT
#undef LOAD_F32
#undef LOAD1
#undef LOAD2
#undef LOAD3
}

static void declare(om_loader *ld, const om_hparams *hp, om_speech_decoder_weights *dw)
{
    int64_t in[2] = { dw->width, dw->input }, out[2] = { dw->symbols, dw->width };
    dw->in = om_load(ld, "dec.in.weight", 2, in);
    dw->in_bias = om_load_f32(ld, "dec.in.bias", 1, in);
    dw->out = om_load(ld, "dec.out.weight", 2, out);
    dw->out_bias = om_load_f32(ld, "dec.out.bias", 1, out);
    for (int i = 0; i < dw->layers; i++)
        declare_block(ld, hp, i, &dw->blocks[i]);
}

static bool can_pack(struct ggml_tensor *m, bool all_rows)
{
    return m->type == GGML_TYPE_BF16 && m->ne[0] % 2 == 0 && (!all_rows || m->ne[1] % OM_PANEL == 0) &&
           om_tensor_host(m);
}

/* Matrix i of all, NULL behind the last. */
static struct ggml_tensor *matrix_at(const om_speech_decoder_weights *dw, int i)
{
    if (i < 2)
        return i == 0 ? dw->in : dw->out;
    const om_dec_layer *b = (i - 2) / 7 < dw->layers ? &dw->blocks[(i - 2) / 7] : NULL;
    if (!b)
        return NULL;
    struct ggml_tensor *m[7] = { b->t.q, b->t.k, b->t.v, b->t.attn_out, b->t.gate, b->t.up, b->t.down };
    return m[(i - 2) % 7];
}

/* All matrices or none. Rows of the output projection behind the last panel (1001 = 62 * 16 + 9) stay. */
static int pack(om_speech_decoder_weights *dw)
{
    int status = OMNI_OK;
    dw->packed = om_products_supported();
    for (int i = 0; matrix_at(dw, i) && dw->packed; i++)
        dw->packed = can_pack(matrix_at(dw, i), i != 1);
    for (int i = 0; matrix_at(dw, i) && dw->packed && !status; i++) {
        struct ggml_tensor *m = matrix_at(dw, i);
        status = om_products_pack(om_tensor_host(m), m->ne[1], m->ne[0]);
    }
    return status;
}

static int load(const om_weights *w, const om_hparams *hp, om_device *dev, bool force_f32, bool as_stored,
                om_speech_decoder_weights **out)
{
    om_loader *ld = NULL;
    int status = OMNI_ERR_MEMORY;
    om_speech_decoder_weights *dw = om_calloc(1, sizeof(*dw));
    if (dw)
        dw->blocks = om_calloc((size_t)hp->dec.layers, sizeof(om_dec_layer));
    if (!dw || !dw->blocks) {
        om_fail(status, "speech decoder: out of memory");
        goto end;
    }
    dw->input = hp->llm.width;
    dw->width = hp->dec.width;
    dw->ff = hp->dec.ff;
    dw->layers = hp->dec.layers;
    dw->heads = hp->dec.heads;
    dw->heads_kv = hp->dec.heads_kv;
    dw->block = hp->dec.upsample;
    dw->symbols = hp->dec.units + 1;
    dw->eps = hp->dec.eps;
    dw->rope_base = hp->dec.rope_base;
    status = om_pool_begin(&dw->pool, (size_t)dw->layers * 9 + 5);
    if (status)
        goto end;
    status = om_loader_new(w, &dw->pool, force_f32, &ld);
    if (status)
        goto end;
    declare(ld, hp, dw);
    status = om_loader_status(ld);
    if (status)
        goto end;
    dw->factors = ggml_new_tensor_1d(dw->pool.ctx, GGML_TYPE_F32, dw->width / dw->heads / 2);
    status = om_pool_alloc(&dw->pool, dev);
    if (!status)
        status = om_loader_fill(ld);
    if (!status)
        status = frequencies(dw, hp);
    if (!status && !as_stored && om_device_is_cpu(dev))
        status = pack(dw);
    if (!status) {
        *out = dw;
        dw = NULL;
    }
end:
    om_loader_free(ld);
    om_speech_decoder_unload(dw);
    return status;
}

int om_speech_decoder_load(const om_weights *w, const om_hparams *hp, om_device *dev, bool force_f32,
                           om_speech_decoder_weights **out)
{
    return load(w, hp, dev, force_f32, false, out);
}

int om_speech_decoder_load_as_stored(const om_weights *w, const om_hparams *hp, om_device *dev,
                                     bool force_f32, om_speech_decoder_weights **out)
{
    return load(w, hp, dev, force_f32, true, out);
}

void om_speech_decoder_unload(om_speech_decoder_weights *dw)
{
    if (!dw)
        return;
    om_pool_free(&dw->pool);
    om_free(dw->frequency);
    om_free(dw->blocks);
    om_free(dw);
}

bool om_speech_decoder_is_packed(const om_speech_decoder_weights *dw)
{
    return dw->packed;
}
