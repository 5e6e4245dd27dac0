/*
 * encoder: log-mel frames to encoder rows (the encoder of Whisper, any size).
 *
 *   takes            F log-mel frames [F][n_mels], one whole window
 *   gives            E = F / 2 rows [E][C]
 *   rate             50 rows per second of window, always the whole window
 *   latency          all of it: attention looks both ways
 *   receptive field  the window
 *
 *   mel -> conv 3 -> GELU -> conv 3, stride 2 -> GELU -> + position table
 *       -> L x { x += attention(norm(x)); x += down(GELU(up(norm(x)))) } -> norm
 *
 * Easy to get wrong: GELU is the exact erf form; the key projection has no bias;
 * attention has no mask, silence is attended to; the position table is the stored one, not
 * recomputed; no normalisation is skipped for short speech: the window is always full.
 *
 * Work goes in slices of half layers (attention half, feed-forward half), each bounded by
 * om_device_slice, so that a cancel or another session's audio never waits
 * long. x [E][C] lives in a pool between slices; every slice is a graph of its own.
 *
 * On the CPU three operators replace ggml's (encoder-cpu.h); om_encoder_set_plain puts ggml's back.
 */
#include "stage/encoder.h"

#include "base/memory.h"
#include "base/status.h"
#include "stage/encoder-cpu.h"

#include <math.h>
#include <stdio.h>

enum { NODES_STEM = 64, NODES_HALF = 64, TENSORS_BLOCK = 15, TENSORS_OTHER = 7 };

typedef struct om_block {
    struct ggml_tensor *attn_ln_w, *attn_ln_b;          /* [C] */
    struct ggml_tensor *q_w, *q_b, *k_w, *v_w, *v_b;    /* [C][C], [C] */
    struct ggml_tensor *out_w, *out_b;                  /* [C][C], [C] */
    struct ggml_tensor *mlp_ln_w, *mlp_ln_b;            /* [C] */
    struct ggml_tensor *up_w, *up_b;                    /* [ff][C], [ff] */
    struct ggml_tensor *down_w, *down_b;                /* [C][ff], [C] */
} om_block;

struct om_encoder_weights {
    om_pool pool;
    om_hparams hp;                                      /* prompt strings are not used here */
    struct ggml_tensor *conv1_w, *conv1_b;              /* [C][3*n_mels], [C] */
    struct ggml_tensor *conv2_w, *conv2_b;              /* [C][3*C], [C] */
    struct ggml_tensor *pos;                            /* [E][C] */
    struct ggml_tensor *post_w, *post_b;                /* [C] */
    om_block *blocks;                                   /* [layers] */
};

typedef enum { IDLE, RUNNING, READY } om_encoder_state;

struct om_encoder {
    const om_encoder_weights *w;
    om_device *dev;
    om_pool pool;
    struct ggml_tensor *mel;        /* [F + 2][n_mels]; first and last row stay zero */
    struct ggml_tensor *mid;        /* [F + 2][C] between the convolutions; first and last row stay zero */
    struct ggml_tensor *x;          /* [E][C] between slices; the rows when READY */
    struct ggml_tensor *scratch;    /* of the BF16 attention, NULL without it */
    om_attention_job *jobs;         /* [layers] */
    om_graph graph;
    double slice;                   /* operations */
    bool plain;
    /* reset starts here */
    om_encoder_state state;
    int next;                       /* half layer to do next: 2 * layer, + 1 for its feed-forward half */
};

/* ---- weights ----------------------------------------------------------------- */

static struct ggml_tensor *load_part(om_loader *ld, int block, const char *part, int64_t rows, int64_t cols)
{
    const int64_t shape[2] = { rows, cols };
    char name[64];

    snprintf(name, sizeof name, "enc.blk.%d.%s", block, part);
    return cols ? om_load(ld, name, 2, shape) : om_load_f32(ld, name, 1, shape);
}

static void load_block(om_loader *ld, int i, int64_t c, int64_t ff, om_block *b)
{
    b->attn_ln_w = load_part(ld, i, "attn_ln.weight", c, 0);
    b->attn_ln_b = load_part(ld, i, "attn_ln.bias", c, 0);
    b->q_w = load_part(ld, i, "attn_q.weight", c, c);
    b->q_b = load_part(ld, i, "attn_q.bias", c, 0);
    b->k_w = load_part(ld, i, "attn_k.weight", c, c);
    b->v_w = load_part(ld, i, "attn_v.weight", c, c);
    b->v_b = load_part(ld, i, "attn_v.bias", c, 0);
    b->out_w = load_part(ld, i, "attn_out.weight", c, c);
    b->out_b = load_part(ld, i, "attn_out.bias", c, 0);
    b->mlp_ln_w = load_part(ld, i, "mlp_ln.weight", c, 0);
    b->mlp_ln_b = load_part(ld, i, "mlp_ln.bias", c, 0);
    b->up_w = load_part(ld, i, "mlp_up.weight", ff, c);
    b->up_b = load_part(ld, i, "mlp_up.bias", ff, 0);
    b->down_w = load_part(ld, i, "mlp_down.weight", c, ff);
    b->down_b = load_part(ld, i, "mlp_down.bias", c, 0);
}

static void load_stem(om_loader *ld, om_loader *ld_conv1, om_encoder_weights *ew)
{
    const int64_t c = ew->hp.enc.width;
    const int64_t conv1[3] = { c, ew->hp.audio.n_mels, 3 }, conv2[3] = { c, c, 3 };
    const int64_t pos[2] = { ew->hp.enc.context, c };

    ew->conv1_w = om_load_conv(ld_conv1, "enc.conv1.weight", conv1, false);
    ew->conv1_b = om_load_f32(ld, "enc.conv1.bias", 1, &c);
    ew->conv2_w = om_load_conv(ld, "enc.conv2.weight", conv2, false);
    ew->conv2_b = om_load_f32(ld, "enc.conv2.bias", 1, &c);
    ew->pos = om_load_f32(ld, "enc.pos", 2, pos);
    ew->post_w = om_load_f32(ld, "enc.ln_post.weight", 1, &c);
    ew->post_b = om_load_f32(ld, "enc.ln_post.bias", 1, &c);
}

int om_encoder_load(const om_weights *w, const om_hparams *hp, om_device *dev, bool force_f32,
                    om_encoder_weights **out)
{
    const size_t layers = (size_t)hp->enc.layers;
    /* ggml's fast products want rows of a multiple of 32; 80 mels give 240: f32, which is content with 16. */
    const bool conv1_f32 = force_f32 || 3 * hp->audio.n_mels % 32 != 0;
    om_loader *ld = NULL, *ld_conv1 = NULL;
    om_encoder_weights *ew = om_calloc(1, sizeof *ew);
    int rc = OMNI_OK;

    if (!ew)
        return om_fail(OMNI_ERR_MEMORY, "encoder: out of memory");
    if (hp->audio.frames != 2 * hp->enc.context || hp->enc.width % hp->enc.heads) {
        rc = om_fail(OMNI_ERR_MODEL, "encoder: %d frames, %d positions, width %d, %d heads do not fit",
                     hp->audio.frames, hp->enc.context, hp->enc.width, hp->enc.heads);
        goto done;
    }
    ew->hp = *hp;
    ew->blocks = om_calloc(layers, sizeof *ew->blocks);
    if (!ew->blocks) {
        rc = om_fail(OMNI_ERR_MEMORY, "encoder: out of memory");
        goto done;
    }
    rc = om_pool_begin(&ew->pool, TENSORS_OTHER + TENSORS_BLOCK * layers);
    if (rc == OMNI_OK)
        rc = om_loader_new(w, &ew->pool, force_f32, &ld);
    if (rc == OMNI_OK)
        rc = om_loader_new(w, &ew->pool, conv1_f32, &ld_conv1);
    if (rc != OMNI_OK)
        goto done;
    load_stem(ld, ld_conv1, ew);
    for (int i = 0; i < hp->enc.layers; i++)
        load_block(ld, i, hp->enc.width, hp->enc.ff, &ew->blocks[i]);
    rc = om_loader_status(ld_conv1);
    if (rc == OMNI_OK)
        rc = om_loader_status(ld);
    if (rc == OMNI_OK)
        rc = om_pool_alloc(&ew->pool, dev);
    if (rc == OMNI_OK)
        rc = om_loader_fill(ld);
    if (rc == OMNI_OK)
        rc = om_loader_fill(ld_conv1);
    if (rc != OMNI_OK)
        goto done;
    *out = ew;
    ew = NULL;
done:
    om_loader_free(ld);
    om_loader_free(ld_conv1);
    om_encoder_unload(ew);
    return rc;
}

void om_encoder_unload(om_encoder_weights *ew)
{
    if (!ew)
        return;
    om_pool_free(&ew->pool);
    om_free(ew->blocks);
    om_free(ew);
}

/* ---- life ---------------------------------------------------------------------- */

/* With products rounded to BF16 or coarser anyway, BF16 attention is no loss; with f32 and f16 it were. */
static bool wants_bf16_attention(const om_encoder_weights *ew, const om_device *dev)
{
    const enum ggml_type type = ew->blocks[0].q_w->type;

    return om_device_is_cpu(dev) && om_cpu_has_bf16() && type != GGML_TYPE_F32 && type != GGML_TYPE_F16 &&
           ew->hp.enc.width == ew->hp.enc.heads * OM_BF16_HEAD;
}

int om_encoder_new(const om_encoder_weights *ew, om_device *dev, om_encoder **out)
{
    const om_hparams *hp = &ew->hp;
    const size_t layers = (size_t)hp->enc.layers;
    om_encoder *enc = om_calloc(1, sizeof *enc);
    int rc = OMNI_OK;

    if (!enc)
        return om_fail(OMNI_ERR_MEMORY, "encoder: out of memory");
    enc->w = ew;
    enc->dev = dev;
    enc->slice = om_device_slice(dev);
    enc->jobs = om_calloc(layers, sizeof *enc->jobs);
    if (!enc->jobs) {
        rc = om_fail(OMNI_ERR_MEMORY, "encoder: out of memory");
        goto done;
    }
    rc = om_pool_begin(&enc->pool, 4);
    if (rc != OMNI_OK)
        goto done;
    enc->mel = ggml_new_tensor_2d(enc->pool.ctx, GGML_TYPE_F32, hp->audio.n_mels, hp->audio.frames + 2);
    enc->mid = ggml_new_tensor_2d(enc->pool.ctx, GGML_TYPE_F32, hp->enc.width, hp->audio.frames + 2);
    enc->x = ggml_new_tensor_2d(enc->pool.ctx, GGML_TYPE_F32, hp->enc.width, hp->enc.context);
    if (wants_bf16_attention(ew, dev)) {
        const size_t bytes = om_cpu_attention_scratch(hp->enc.context, om_device_threads(dev));
        enc->scratch = ggml_new_tensor_1d(enc->pool.ctx, GGML_TYPE_I8, (int64_t)bytes);
        for (size_t i = 0; i < layers; i++) {
            enc->jobs[i].heads = hp->enc.heads;
            enc->jobs[i].threads = om_device_threads(dev);
        }
    }
    rc = om_pool_alloc(&enc->pool, dev);
    if (rc != OMNI_OK)
        goto done;
    *out = enc;
    enc = NULL;
done:
    om_encoder_free(enc);
    return rc;
}

void om_encoder_free(om_encoder *enc)
{
    if (!enc)
        return;
    om_graph_free(&enc->graph);
    om_pool_free(&enc->pool);
    om_free(enc->jobs);
    om_free(enc);
}

void om_encoder_reset(om_encoder *enc)
{
    enc->state = IDLE;
    enc->next = 0;
}

void om_encoder_set_plain(om_encoder *enc, bool plain)
{
    enc->plain = plain;
}

void om_encoder_set_slice(om_encoder *enc, double flops)
{
    enc->slice = flops;
}

/* ---- operators: ours or ggml's --------------------------------------------------- */

static bool on_cpu(const om_encoder *enc)
{
    return !enc->plain && om_device_is_cpu(enc->dev);
}

/* What to hand to a product with w: BF16 saves a conversion where the product would round to it anyway. */
static enum ggml_type operand_type(const om_encoder *enc, const struct ggml_tensor *w)
{
    return on_cpu(enc) && om_cpu_has_bf16() && w->type == GGML_TYPE_BF16 ? GGML_TYPE_BF16 : GGML_TYPE_F32;
}

/* The same for the three that share one operand; a file may mix types. */
static enum ggml_type qkv_operand_type(const om_encoder *enc, const om_block *b)
{
    const bool same = b->q_w->type == b->k_w->type && b->k_w->type == b->v_w->type;

    return same ? operand_type(enc, b->q_w) : GGML_TYPE_F32;
}

static struct ggml_tensor *norm(om_encoder *enc, struct ggml_tensor *x, struct ggml_tensor *w,
                                struct ggml_tensor *b, enum ggml_type type)
{
    struct ggml_context *ctx = enc->graph.ctx;
    struct ggml_tensor *y = NULL;

    if (on_cpu(enc) && om_cpu_has_bf16())
        y = om_cpu_norm(ctx, x, w, b, &enc->w->hp.enc.eps, type);
    return y ? y : ggml_add(ctx, ggml_mul(ctx, ggml_norm(ctx, x, enc->w->hp.enc.eps), w), b);
}

static struct ggml_tensor *gelu(om_encoder *enc, struct ggml_tensor *x, struct ggml_tensor *b,
                                enum ggml_type type)
{
    struct ggml_context *ctx = enc->graph.ctx;

    return on_cpu(enc) ? om_cpu_gelu(ctx, x, b, type) : ggml_gelu_erf(ctx, ggml_add(ctx, x, b));
}

/* x [E][C] of the pool += y + b */
static void add_to_x(om_encoder *enc, struct ggml_tensor *y, struct ggml_tensor *b)
{
    struct ggml_context *ctx = enc->graph.ctx;

    if (on_cpu(enc))
        om_graph_expand(&enc->graph, om_cpu_add(ctx, enc->x, y, b));
    else
        om_graph_expand(&enc->graph, ggml_add_inplace(ctx, enc->x, ggml_add(ctx, y, b)));
}

/* [E][C] to [heads][E][C/heads] */
static struct ggml_tensor *split_heads(om_encoder *enc, struct ggml_tensor *x)
{
    const int heads = enc->w->hp.enc.heads;

    x = ggml_reshape_3d(enc->graph.ctx, x, x->ne[0] / heads, heads, x->ne[1]);
    return ggml_permute(enc->graph.ctx, x, 0, 2, 1, 3);
}

/* Attention by ggml: flash_attn_ext on the CPU (f32, no [E][E] matrices), else product, softmax, product. */
static struct ggml_tensor *ggml_attention(om_encoder *enc, struct ggml_tensor *q, struct ggml_tensor *k,
                                          struct ggml_tensor *v)
{
    struct ggml_context *ctx = enc->graph.ctx;
    const int64_t c = q->ne[0], e = q->ne[1];
    const float scale = 1.0f / sqrtf((float)(c / enc->w->hp.enc.heads));
    struct ggml_tensor *s;

    q = split_heads(enc, q);
    k = split_heads(enc, k);
    v = split_heads(enc, v);
    if (on_cpu(enc))
        return ggml_reshape_2d(ctx, ggml_flash_attn_ext(ctx, q, k, v, NULL, scale, 0.0f, 0.0f), c, e);
    s = ggml_soft_max_ext(ctx, ggml_mul_mat(ctx, k, q), NULL, scale, 0.0f);         /* [heads][E][E] */
    v = ggml_cont(ctx, ggml_transpose(ctx, v));                                     /* [heads][C/heads][E] */
    s = ggml_mul_mat(ctx, v, s);                                                    /* [heads][E][C/heads] */
    return ggml_cont_2d(ctx, ggml_permute(ctx, s, 0, 2, 1, 3), c, e);
}

static struct ggml_tensor *attention(om_encoder *enc, int layer, struct ggml_tensor *h)
{
    struct ggml_context *ctx = enc->graph.ctx;
    const om_block *b = &enc->w->blocks[layer];
    struct ggml_tensor *q = ggml_mul_mat(ctx, b->q_w, h);
    struct ggml_tensor *k = ggml_mul_mat(ctx, b->k_w, h);
    struct ggml_tensor *v = ggml_mul_mat(ctx, b->v_w, h);

    if (on_cpu(enc) && enc->scratch) {
        atomic_store(&enc->jobs[layer].next, 0);
        return om_cpu_attention(ctx, q, k, v, b->q_b, b->v_b, enc->scratch, &enc->jobs[layer],
                                operand_type(enc, b->out_w));
    }
    return ggml_attention(enc, ggml_add(ctx, q, b->q_b), k, ggml_add(ctx, v, b->v_b));
}

/* ---- graphs ------------------------------------------------------------------------ */

/*
 * Kernel 3 over x [T + 2][in], padded, times w [out][3 * in]. Gives [out_len][out]. Channels are
 * innermost, so the three rows under the kernel are one run of 3 * in numbers; the runs overlap,
 * which ggml allows to be read but not to be declared, hence the width set by hand.
 */
static struct ggml_tensor *conv3(om_encoder *enc, struct ggml_tensor *x, struct ggml_tensor *w, int stride,
                                 int64_t out_len)
{
    struct ggml_context *ctx = enc->graph.ctx;
    struct ggml_tensor *runs = ggml_view_2d(ctx, x, x->ne[0], out_len, (size_t)stride * x->nb[1], 0);

    runs->ne[0] *= 3;
    return ggml_mul_mat(ctx, w, ggml_cont(ctx, runs));
}

static void build_stem(om_encoder *enc)
{
    struct ggml_context *ctx = enc->graph.ctx;
    const om_encoder_weights *w = enc->w;
    const int64_t frames = w->hp.audio.frames, e = w->hp.enc.context;
    struct ggml_tensor *mid = enc->mid, *h;

    h = gelu(enc, conv3(enc, enc->mel, w->conv1_w, 1, frames), w->conv1_b, GGML_TYPE_F32);   /* [F][C] */
    om_graph_expand(&enc->graph, ggml_cpy(ctx, h, ggml_view_2d(ctx, mid, mid->ne[0], frames, mid->nb[1],
                                                               mid->nb[1])));
    h = gelu(enc, conv3(enc, mid, w->conv2_w, 2, e), w->conv2_b, GGML_TYPE_F32);             /* [E][C] */
    om_graph_expand(&enc->graph, ggml_add_inplace(ctx, ggml_cpy(ctx, h, enc->x), w->pos));
}

static void build_half(om_encoder *enc, int half)
{
    struct ggml_context *ctx = enc->graph.ctx;
    const om_block *b = &enc->w->blocks[half / 2];
    struct ggml_tensor *h;

    if (half % 2 == 0) {
        h = norm(enc, enc->x, b->attn_ln_w, b->attn_ln_b, qkv_operand_type(enc, b));
        h = attention(enc, half / 2, h);
        add_to_x(enc, ggml_mul_mat(ctx, b->out_w, h), b->out_b);
    } else {
        h = norm(enc, enc->x, b->mlp_ln_w, b->mlp_ln_b, operand_type(enc, b->up_w));
        h = gelu(enc, ggml_mul_mat(ctx, b->up_w, h), b->up_b, operand_type(enc, b->down_w));
        add_to_x(enc, ggml_mul_mat(ctx, b->down_w, h), b->down_b);
    }
}

static void build_end(om_encoder *enc)
{
    struct ggml_tensor *h = norm(enc, enc->x, enc->w->post_w, enc->w->post_b, GGML_TYPE_F32);

    om_graph_expand(&enc->graph, ggml_cpy(enc->graph.ctx, h, enc->x));
}

/* ---- slices -------------------------------------------------------------------------- */

static double stem_flops(const om_hparams *hp)
{
    const double c = hp->enc.width;

    return 2.0 * 3.0 * c * ((double)hp->audio.frames * hp->audio.n_mels + (double)hp->enc.context * c);
}

static double half_flops(const om_hparams *hp, int half)
{
    const double e = hp->enc.context, c = hp->enc.width;

    return half % 2 ? 4.0 * e * c * hp->enc.ff : 8.0 * e * c * c + 4.0 * e * e * c;
}

/* Half layers [enc->next, end) for the next slice: at least one. */
static int slice_end(const om_encoder *enc)
{
    const om_hparams *hp = &enc->w->hp;
    const int halves = 2 * hp->enc.layers;
    double room = enc->slice - (enc->next == 0 ? stem_flops(hp) : 0.0);
    int end = enc->next;

    if (!om_device_is_cpu(enc->dev))
        return halves;
    do
        room -= half_flops(hp, end++);
    while (end < halves && room >= half_flops(hp, end));
    return end;
}

int om_encoder_push(om_encoder *enc, const float *mel)
{
    const size_t row = enc->mel->nb[1];

    if (enc->state == RUNNING)
        return OMNI_AGAIN;
    om_tensor_set(enc->mel, mel, row, row * (size_t)enc->w->hp.audio.frames);
    enc->state = RUNNING;
    enc->next = 0;
    return OMNI_OK;
}

int om_encoder_run(om_encoder *enc)
{
    const int halves = 2 * enc->w->hp.enc.layers;
    int end, rc;

    if (enc->state == READY)
        return OMNI_OK;
    if (enc->state == IDLE)
        return om_fail(OMNI_ERR_STATE, "encoder: run without frames; push first");
    end = slice_end(enc);
    rc = om_graph_begin(&enc->graph, NODES_STEM + (size_t)(end - enc->next) * NODES_HALF);
    if (rc != OMNI_OK)
        goto done;
    if (enc->next == 0)
        build_stem(enc);
    for (int half = enc->next; half < end; half++)
        build_half(enc, half);
    if (end == halves)
        build_end(enc);
    rc = om_graph_prepare(&enc->graph, enc->dev);
    if (rc == OMNI_OK)
        rc = om_graph_compute(&enc->graph, enc->dev);
done:
    if (rc != OMNI_OK) {
        om_encoder_reset(enc);
        return rc;
    }
    enc->next = end;
    enc->state = end == halves ? READY : RUNNING;
    return enc->state == READY ? OMNI_OK : OMNI_AGAIN;
}

int om_encoder_pull(om_encoder *enc, float *rows)
{
    if (enc->state != READY)
        return OMNI_AGAIN;
    om_tensor_get(enc->x, rows, 0, ggml_nbytes(enc->x));
    return OMNI_OK;
}
