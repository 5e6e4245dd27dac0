/*
 * speech-decoder: LLM states to CTC symbols.
 *
 *   takes            one LLM state per answer token, [D], after the LLM's final norm
 *   gives            L = lambda symbols per token, 0 ... K (K = blank), and their logits [L][K+1]
 *   rate             L positions per token
 *   latency          none: a block depends on nothing that comes later
 *   receptive field  everything before, causally: positions, not tokens, are the clock
 *
 * upsample L times -> linear D to H -> Llama layers of width H -> linear H to K+1.
 *
 * Every step advances a slot by one block of L positions against its cache; all
 * slots with a state waiting go through one graph, their rows stacked for the
 * matrix products (25 rows use the machine some 20 % worse than 100), attention per slot.
 *
 * In the first layer the L inputs of a token are equal. With layer0_sharing the
 * input projection, the first norm and the first q, k, v are computed once per token
 * (15 % of all products) and that layer's attention costs next to nothing
 * (speech-decoder-attention.c).
 *
 * Easy to get wrong: there is NO norm before the output projection. Attention is
 * causal inside the block too. Positions count from 0 at the first answer token,
 * not from the LLM's positions. Of equal logits the lowest index wins. The state
 * that predicted the end token is decoded like the others.
 */
#include "stage/speech-decoder.h"
#include "stage/speech-decoder-attention.h"
#include "stage/speech-decoder-operators.h"
#include "stage/speech-decoder-products.h"
#include "stage/speech-decoder-weights.h"

#include "base/finite.h"
#include "base/memory.h"
#include "base/status.h"

#include <limits.h>
#include <stdatomic.h>
#include <string.h>

typedef struct om_dec_slot {
    float *hidden;              /* [D] */
    float *logits;              /* [L][K+1] */
    float *turns;               /* rotation of the current block */
    om_kv_cache *kv;            /* [layers], our own kernels */
    om_operators_cache cache;   /* ggml's operators */
    /* reset starts here */
    bool waiting, fresh;
    int token;                  /* blocks done */
} om_dec_slot;

typedef struct om_dec_op {      /* what a layer's custom operator is told */
    om_speech_decoder *dec;
    int layer;
    atomic_int next;            /* (slot, head) to take next; 0 before each computation */
} om_dec_op;

struct om_speech_decoder {
    const om_speech_decoder_weights *w;
    om_device *dev;
    om_speech_decoder_params params;
    om_attention *attention;    /* NULL: operators */
    om_operators_shape shape;
    om_dec_slot *slots;
    om_dec_op *ops;             /* [layers] */
    om_product *products;       /* [7 * layers + 2], packed weights */
    int n_products;             /* of the graph */
    om_operators_block *blocks; /* [n_slots], operators */
    float *mask;                /* scratch [L * n_keys], grows */
    size_t mask_size;
    float *staging;             /* [n_slots * L * (K+1)] */
    om_graph graph;
    int graph_slots;            /* rows / L that the graph was built for; 0: none */
    struct ggml_tensor *in;     /* [slots][D] */
    struct ggml_tensor *out[2]; /* [slots * L][columns]: most symbols, the rest or NULL */
    int *active;                /* [n_slots] slots of the running step */
    int  n_active;
};

/* ---- birth and death -------------------------------------------------------------- */

static int slot_new(const om_speech_decoder *dec, om_dec_slot *slot)
{
    const om_speech_decoder_weights *w = dec->w;
    slot->hidden = om_calloc((size_t)w->input, sizeof(float));
    slot->logits = om_calloc((size_t)w->block * (size_t)w->symbols, sizeof(float));
    if (!slot->hidden || !slot->logits)
        return om_fail(OMNI_ERR_MEMORY, "speech decoder: out of memory for a slot");
    if (!dec->attention)
        return OMNI_OK;
    slot->turns = om_calloc(om_attention_turns_size(dec->attention), sizeof(float));
    slot->kv = om_calloc((size_t)w->layers, sizeof(om_kv_cache));
    if (!slot->turns || !slot->kv)
        return om_fail(OMNI_ERR_MEMORY, "speech decoder: out of memory for a slot");
    for (int l = 0; l < w->layers; l++) {
        bool shared = l == 0 && dec->params.layer0_sharing;
        int status = om_kv_cache_new(&slot->kv[l], shared, dec->params.max_tokens);
        if (status)
            return status;
    }
    return OMNI_OK;
}

static void slot_free(const om_speech_decoder *dec, om_dec_slot *slot)
{
    om_free(slot->hidden);
    om_free(slot->logits);
    om_free(slot->turns);
    for (int l = 0; slot->kv && l < dec->w->layers; l++)
        om_kv_cache_free(&slot->kv[l]);
    om_free(slot->kv);
    om_operators_cache_free(&slot->cache);
}

static int kernels_new(om_speech_decoder *dec)
{
    const om_speech_decoder_weights *w = dec->w;
    om_attention_params p = {
        .heads = w->heads, .heads_kv = w->heads_kv, .head_dim = w->width / w->heads, .block = w->block,
        .n_threads = om_device_threads(dec->dev), .f32 = dec->params.f32_cache, .frequency = w->frequency,
        .kernels = dec->params.kernels,
    };
    return om_attention_new(&p, &dec->attention);
}

int om_speech_decoder_new(const om_speech_decoder_weights *dw, om_device *dev,
                          const om_speech_decoder_params *params, om_speech_decoder **out)
{
    int status = OMNI_ERR_MEMORY, n = params->n_slots;
    if (n < 1 || params->max_tokens < 1 || params->max_tokens > INT_MAX / dw->block - OM_ATTENTION_STEP)
        return om_fail(OMNI_ERR_ARG, "speech decoder: %d slots of %d tokens, wanted at least 1 of 1 to %d",
                       n, params->max_tokens, INT_MAX / dw->block - OM_ATTENTION_STEP);
    om_speech_decoder *dec = om_calloc(1, sizeof(*dec));
    if (!dec)
        return om_fail(status, "speech decoder: out of memory");
    dec->w = dw;
    dec->dev = dev;
    dec->params = *params;
    dec->shape = (om_operators_shape){
        .layers = dw->layers, .heads = dw->heads, .heads_kv = dw->heads_kv, .head_dim = dw->width / dw->heads,
        .block = dw->block, .max_tokens = params->max_tokens, .f32 = params->f32_cache,
        .rope_base = dw->rope_base, .factors = dw->factors,
    };
    dec->slots = om_calloc((size_t)n, sizeof(om_dec_slot));
    dec->ops = om_calloc((size_t)dw->layers, sizeof(om_dec_op));
    dec->products = om_calloc((size_t)dw->layers * 7 + 2, sizeof(om_product));
    dec->blocks = om_calloc((size_t)n, sizeof(om_operators_block));
    dec->active = om_calloc((size_t)n, sizeof(int));
    dec->staging = om_calloc((size_t)n * (size_t)dw->block, (size_t)dw->symbols * sizeof(float));
    if (!dec->slots || !dec->ops || !dec->products || !dec->blocks || !dec->active || !dec->staging) {
        om_fail(status, "speech decoder: out of memory");
        goto end;
    }
    for (int l = 0; l < dw->layers; l++)
        dec->ops[l].dec = dec, dec->ops[l].layer = l;
    status = om_device_is_cpu(dev) && !params->operators_only ? kernels_new(dec) : OMNI_OK;
    for (int i = 0; i < n && !status; i++)
        status = slot_new(dec, &dec->slots[i]);
    if (!status) {
        *out = dec;
        dec = NULL;
    }
end:
    om_speech_decoder_free(dec);
    return status;
}

void om_speech_decoder_free(om_speech_decoder *dec)
{
    if (!dec)
        return;
    for (int i = 0; dec->slots && i < dec->params.n_slots; i++)
        slot_free(dec, &dec->slots[i]);
    om_graph_free(&dec->graph);
    om_attention_free(dec->attention);
    om_free(dec->slots);
    om_free(dec->ops);
    om_free(dec->products);
    om_free(dec->blocks);
    om_free(dec->mask);
    om_free(dec->active);
    om_free(dec->staging);
    om_free(dec);
}

void om_speech_decoder_reset(om_speech_decoder *dec, int slot)
{
    om_speech_decoder_seek(dec, slot, 0);
}

void om_speech_decoder_seek(om_speech_decoder *dec, int slot, int token)
{
    om_dec_slot *s = &dec->slots[slot];
    s->waiting = s->fresh = false;
    s->token = token;
}

size_t om_speech_decoder_bytes(const om_speech_decoder *dec)
{
    size_t sum = om_graph_bytes(&dec->graph);
    for (int i = 0; i < dec->params.n_slots; i++) {
        sum += om_pool_bytes(&dec->slots[i].cache.pool);
        for (int l = 0; dec->attention && l < dec->w->layers; l++)
            sum += om_kv_cache_bytes(dec->attention, &dec->slots[i].kv[l]);
    }
    return sum;
}

const char *om_speech_decoder_kernels(const om_speech_decoder *dec)
{
    return dec->attention ? om_attention_name(dec->attention) : "operators";
}

/* ---- graph ------------------------------------------------------------------------ */

static bool is_shared(const om_speech_decoder *dec, int layer)
{
    return layer == 0 && dec->params.layer0_sharing;
}

/* x as multiply wants it, once for all its products. */
static struct ggml_tensor *operand(om_speech_decoder *dec, struct ggml_tensor *x)
{
    return dec->w->packed ? om_products_operand(dec->graph.ctx, x) : x;
}

/* [n][rows of m] = x m', x an operand of n rows. */
static struct ggml_tensor *multiply(om_speech_decoder *dec, struct ggml_tensor *m, struct ggml_tensor *x)
{
    if (!dec->w->packed)
        return ggml_mul_mat(dec->graph.ctx, m, x);
    om_product *product = &dec->products[dec->n_products++];
    product->rows = m->ne[1] / OM_PANEL * OM_PANEL;
    return om_products_multiply(dec->graph.ctx, m, x, x->ne[1], product);
}

/* Custom operator: dst [slots * L][H] from q, k, v with 1 (shared) or L rows per slot. A head of a slot is
 * one thread's alone, so that threads change no result; they take heads as they come free, so that a
 * disturbed core holds up nobody. */
static void attend_with_kernels(struct ggml_tensor *dst, int ith, int nth, void *user)
{
    om_dec_op *op = user;
    om_speech_decoder *dec = op->dec;
    const om_speech_decoder_weights *w = dec->w;
    size_t rows = is_shared(dec, op->layer) ? 1 : (size_t)w->block;
    size_t width = (size_t)w->width, width_kv = width / (size_t)w->heads * (size_t)w->heads_kv;
    (void)nth;
    for (int i; (i = atomic_fetch_add(&op->next, 1)) < dec->n_active * w->heads_kv;) {
        size_t at = (size_t)(i / w->heads_kv);
        const om_dec_slot *slot = &dec->slots[dec->active[at]];
        om_block_job job = {
            .kv = &slot->kv[op->layer], .token = slot->token, .turns = slot->turns,
            .q = (const float *)dst->src[0]->data + at * rows * width,
            .k = (const float *)dst->src[1]->data + at * rows * width_kv,
            .v = (const float *)dst->src[2]->data + at * rows * width_kv,
            .out = (float *)dst->data + at * (size_t)w->block * width,
        };
        om_attention_head(dec->attention, &job, i % w->heads_kv, ith);
    }
}

/* Slot i's rows of x [slots or slots * L][heads * hd] as [L][heads][hd]. */
static struct ggml_tensor *rows_of_slot(om_speech_decoder *dec, struct ggml_tensor *x, int i, int heads,
                                        bool shared)
{
    struct ggml_context *c = dec->graph.ctx;
    int hd = dec->shape.head_dim, L = dec->w->block;
    size_t head = (size_t)hd * sizeof(float), first = (size_t)i * (size_t)(shared ? 1 : L) * x->nb[1];
    x = ggml_view_3d(c, x, hd, heads, shared ? 1 : L, head, x->nb[1], first);
    return shared ? ggml_repeat_4d(c, x, hd, heads, L, 1) : x;
}

/* Attention over all active slots: [slots * L][H]. */
static struct ggml_tensor *attend(om_speech_decoder *dec, int layer, struct ggml_tensor *q,
                                  struct ggml_tensor *k, struct ggml_tensor *v)
{
    const om_speech_decoder_weights *w = dec->w;
    struct ggml_context *c = dec->graph.ctx;
    bool shared = is_shared(dec, layer);
    if (dec->attention)
        return ggml_custom_4d(c, GGML_TYPE_F32, w->width, (int64_t)dec->n_active * w->block, 1, 1,
                              (struct ggml_tensor *[]){ q, k, v }, 3, attend_with_kernels,
                              om_device_threads(dec->dev), &dec->ops[layer]);
    struct ggml_tensor *all = NULL;
    for (int i = 0; i < dec->n_active; i++) {
        struct ggml_tensor *one = om_operators_attend(&dec->graph, &dec->shape, &dec->blocks[i], layer,
            rows_of_slot(dec, q, i, w->heads, shared), rows_of_slot(dec, k, i, w->heads_kv, shared),
            rows_of_slot(dec, v, i, w->heads_kv, shared));
        all = all ? ggml_concat(c, all, one, 1) : one;
    }
    return all;
}

/* x [rows][H]; rows = slots in the shared first layer, slots * L else. Gives [slots * L][H]. */
static struct ggml_tensor *layer_graph(om_speech_decoder *dec, int layer, struct ggml_tensor *x)
{
    const om_speech_decoder_weights *w = dec->w;
    const om_dec_layer *b = &w->blocks[layer];
    struct ggml_context *c = dec->graph.ctx;
    struct ggml_tensor *h = operand(dec, ggml_mul(c, ggml_rms_norm(c, x, w->eps), b->t.attn_norm));
    h = attend(dec, layer, multiply(dec, b->t.q, h), multiply(dec, b->t.k, h), multiply(dec, b->t.v, h));
    h = multiply(dec, b->t.attn_out, operand(dec, h));
    if (is_shared(dec, layer)) {
        h = ggml_add(c, ggml_reshape_3d(c, h, w->width, w->block, dec->n_active),
                     ggml_reshape_3d(c, x, w->width, 1, dec->n_active));
        x = ggml_reshape_2d(c, h, w->width, (int64_t)w->block * dec->n_active);
    } else {
        x = ggml_add(c, h, x);
    }
    h = operand(dec, ggml_mul(c, ggml_rms_norm(c, x, w->eps), b->t.ffn_norm));
    h = ggml_swiglu_split(c, multiply(dec, b->t.gate, h), multiply(dec, b->t.up, h));
    return ggml_add(c, multiply(dec, b->t.down, operand(dec, h)), x);
}

/* Symbols first ... first + count from x. */
static struct ggml_tensor *output_graph(om_speech_decoder *dec, struct ggml_tensor *x, int first, int count)
{
    const om_speech_decoder_weights *w = dec->w;
    struct ggml_context *c = dec->graph.ctx;
    size_t row = w->out->nb[1];
    struct ggml_tensor *m = ggml_view_2d(c, w->out, w->width, count, row, row * (size_t)first);
    struct ggml_tensor *b = ggml_view_1d(c, w->out_bias, count, sizeof(float) * (size_t)first);
    m = first == 0 && count >= OM_PANEL ? multiply(dec, m, operand(dec, x)) : ggml_mul_mat(c, m, x);
    return om_graph_output(&dec->graph, ggml_add(c, m, b));
}

static int build(om_speech_decoder *dec)
{
    const om_speech_decoder_weights *w = dec->w;
    int n = dec->n_active;
    dec->graph_slots = 0;
    dec->n_products = 0;
    int status = om_graph_begin(&dec->graph, (size_t)w->layers * (32 + 32 * (size_t)n) + 32);
    if (status)
        return status;
    struct ggml_context *c = dec->graph.ctx;
    dec->in = om_graph_input(&dec->graph, ggml_new_tensor_2d(c, GGML_TYPE_F32, w->input, n));
    for (int i = 0; i < n && !dec->attention; i++)
        om_operators_begin(&dec->graph, &dec->shape, &dec->slots[dec->active[i]].cache,
                           dec->slots[dec->active[i]].token, &dec->blocks[i]);
    struct ggml_tensor *x = dec->in;
    if (!dec->params.layer0_sharing) {
        x = ggml_repeat_4d(c, ggml_reshape_3d(c, x, w->input, 1, n), w->input, w->block, n, 1);
        x = ggml_reshape_2d(c, x, w->input, (int64_t)w->block * n);
    }
    x = ggml_add(c, multiply(dec, w->in, operand(dec, x)), w->in_bias);
    for (int l = 0; l < w->layers; l++)
        x = layer_graph(dec, l, x);
    /* A count of rows that is no multiple of 16 (1001) would put the whole product on ggml's slow path. */
    int most = w->symbols / OM_PANEL * OM_PANEL, rest = w->symbols - most;
    dec->out[0] = output_graph(dec, x, 0, most ? most : rest);
    dec->out[1] = most && rest ? output_graph(dec, x, most, rest) : NULL;
    status = om_graph_prepare(&dec->graph, dec->dev);
    if (!status)
        dec->graph_slots = n;
    return status;
}

/* ---- running ---------------------------------------------------------------------- */

int om_speech_decoder_push(om_speech_decoder *dec, int slot, const float *hidden)
{
    om_dec_slot *s = &dec->slots[slot];
    if (s->waiting)
        return OMNI_AGAIN;
    if (s->token >= dec->params.max_tokens)
        return om_fail(OMNI_ERR_LIMIT, "speech decoder: more than %d tokens in one answer",
                       dec->params.max_tokens);
    int rc = om_check_finite(hidden, (size_t)dec->w->input, "the language model");
    if (rc)
        return rc;
    memcpy(s->hidden, hidden, (size_t)dec->w->input * sizeof(float));
    s->waiting = true;
    return OMNI_OK;
}

static int reserve(om_speech_decoder *dec, om_dec_slot *slot)
{
    if (!dec->attention)
        return om_operators_cache_reserve(&slot->cache, &dec->shape, dec->dev, slot->token + 1, slot->token);
    int status = OMNI_OK;
    for (int l = 0; l < dec->w->layers && !status; l++)
        status = om_kv_cache_reserve(dec->attention, &slot->kv[l], slot->token + 1);
    return status;
}

/* What depends on the position: rotations, or positions and masks. */
static int fill_positions(om_speech_decoder *dec, int i)
{
    om_dec_slot *slot = &dec->slots[dec->active[i]];
    if (dec->attention) {
        om_attention_turns(dec->attention, slot->token, slot->turns);
        return OMNI_OK;
    }
    size_t size = (size_t)dec->w->block * (size_t)dec->blocks[i].n_keys;
    if (size > dec->mask_size) {
        float *mask = om_realloc(dec->mask, size, sizeof(float));
        if (!mask)
            return om_fail(OMNI_ERR_MEMORY, "speech decoder: out of memory for a mask");
        dec->mask = mask;
        dec->mask_size = size;
    }
    om_operators_fill(&dec->shape, &dec->blocks[i], dec->mask);
    return OMNI_OK;
}

/* Output piece columns wide, starting at symbol first, into the slots' logits. */
static void scatter(om_speech_decoder *dec, struct ggml_tensor *piece, int first)
{
    size_t columns = (size_t)piece->ne[0], L = (size_t)dec->w->block, all = (size_t)dec->w->symbols;
    om_tensor_get(piece, dec->staging, 0, columns * L * (size_t)dec->n_active * sizeof(float));
    for (size_t i = 0; i < (size_t)dec->n_active; i++)
        for (size_t p = 0; p < L; p++)
            memcpy(dec->slots[dec->active[i]].logits + p * all + (size_t)first,
                   dec->staging + (i * L + p) * columns, columns * sizeof(float));
}

int om_speech_decoder_run(om_speech_decoder *dec)
{
    int status = OMNI_OK;
    dec->n_active = 0;
    for (int i = 0; i < dec->params.n_slots && !status; i++)
        if (dec->slots[i].waiting) {
            dec->active[dec->n_active++] = i;
            status = reserve(dec, &dec->slots[i]);
        }
    if (status)
        return status;
    if (dec->n_active == 0)
        return OMNI_AGAIN;
    /* With our own kernels the graph depends on the number of slots only. */
    if (!dec->attention || dec->graph_slots != dec->n_active)
        status = build(dec);
    for (int i = 0; i < dec->n_active && !status; i++)
        status = fill_positions(dec, i);
    if (status)
        return status;
    size_t row = (size_t)dec->w->input * sizeof(float);
    for (int i = 0; i < dec->n_active; i++)
        om_tensor_set(dec->in, dec->slots[dec->active[i]].hidden, (size_t)i * row, row);
    for (int l = 0; l < dec->w->layers; l++)
        atomic_store(&dec->ops[l].next, 0);
    for (int i = 0; i < dec->n_products; i++)
        atomic_store(&dec->products[i].next, 0);
    status = om_graph_compute(&dec->graph, dec->dev);
    if (status)
        return status;
    scatter(dec, dec->out[0], 0);
    if (dec->out[1])
        scatter(dec, dec->out[1], (int)dec->out[0]->ne[0]);
    for (int i = 0; i < dec->n_active; i++) {
        om_dec_slot *slot = &dec->slots[dec->active[i]];
        slot->waiting = false;
        slot->fresh = true;
        slot->token++;
    }
    return OMNI_OK;
}

int om_speech_decoder_pull(om_speech_decoder *dec, int slot, int32_t *symbols, float *logits)
{
    om_dec_slot *s = &dec->slots[slot];
    int L = dec->w->block, K1 = dec->w->symbols;
    if (!s->fresh)
        return OMNI_AGAIN;
    for (int p = 0; p < L; p++) {
        const float *row = s->logits + (size_t)p * (size_t)K1;
        symbols[p] = 0;
        for (int k = 1; k < K1; k++)
            if (row[k] > row[symbols[p]])
                symbols[p] = k;
    }
    if (logits)
        memcpy(logits, s->logits, (size_t)L * (size_t)K1 * sizeof(float));
    s->fresh = false;
    return OMNI_OK;
}

int om_collapse(int32_t *prev, int32_t blank, const int32_t *symbols, int n, int32_t *units)
{
    int count = 0;
    for (int i = 0; i < n; i++) {
        if (symbols[i] != *prev && symbols[i] != blank)
            units[count++] = symbols[i];
        *prev = symbols[i];
    }
    return count;
}
