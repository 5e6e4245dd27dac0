/*
 * How near the encoder comes to a plain matrix product, and where its time goes.
 *
 *   python3 tests/oracle/encoder_oracle.py --bench 4 bf16 v3.gguf     # large-v3 shape, 4 random layers
 *   bench_encoder v3.gguf [threads [rounds]]
 *
 * Every round measures everything once, one after the other, so that a noisy machine disturbs all alike; the
 * table gives the median and the best round. With one thread the clock is the thread's own processor
 * time, which other programs hardly disturb; with more it is the clock on the wall.
 */
#include "base/graph.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/weights.h"
#include "stage/encoder-cpu.h"
#include "stage/encoder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_ROUNDS = 99 };

typedef struct lane {
    const char *name;
    double flops;                  /* of one measurement; 0: only the time matters */
    double per_layer;              /* how many of it a layer has; 0: not a part of a layer */
    om_graph graph;
    double seconds[MAX_ROUNDS];
} lane;

enum { PRODUCTS, ENCODER, ATTENTION, ATTENTION_GGML, GELU, GELU_GGML, NORM, NORM_GGML, ADD, N_LANES };

typedef struct bench {
    om_weights *w;
    om_hparams hp;
    om_device *dev;
    om_encoder_weights *ew;
    om_encoder *enc;
    om_pool pool;
    struct ggml_tensor *mats[6];                    /* q k v out up down, of the file's type */
    struct ggml_tensor *x, *wide, *q, *k, *v, *bias, *one, *scratch;
    om_attention_job job;
    float *mel;
    int threads;
    lane lanes[N_LANES];
} bench;

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, om_last_error());
    exit(1);
}

static double now(const bench *b)
{
    struct timespec t;
    clock_gettime(b->threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int number(const om_weights *w, const char *key)
{
    int value = 0;
    if (om_weights_u32(w, key, 1, 1000000, &value) != OMNI_OK)
        die("bench");
    return value;
}

static void open_model(bench *b, const char *path)
{
    om_hparams *hp = &b->hp;
    const om_tensor_desc *mel;

    if (om_weights_open(path, &b->w) != OMNI_OK)
        die(path);
    hp->audio.n_mels = number(b->w, "test.n_mels");
    hp->enc.width = number(b->w, "test.width");
    hp->enc.heads = number(b->w, "test.heads");
    hp->enc.layers = number(b->w, "test.layers");
    hp->enc.ff = number(b->w, "test.ff");
    hp->enc.context = number(b->w, "test.context");
    hp->enc.eps = 1e-5f;
    hp->audio.frames = 2 * hp->enc.context;
    mel = om_weights_find(b->w, "in.mel");
    b->mel = om_calloc((size_t)hp->audio.frames * (size_t)hp->audio.n_mels, sizeof(float));
    if (!mel || !b->mel || om_weights_read_f32(b->w, mel, b->mel) != OMNI_OK)
        die(path);
    if (om_device_new(b->threads, false, &b->dev) != OMNI_OK ||
        om_encoder_load(b->w, hp, b->dev, false, &b->ew) != OMNI_OK ||
        om_encoder_new(b->ew, b->dev, &b->enc) != OMNI_OK)
        die(path);
}

/* Random numbers of about unit size, or a matrix of the file. */
static void fill(const bench *b, struct ggml_tensor *t, const char *name)
{
    const om_tensor_desc *desc = name ? om_weights_find(b->w, name) : NULL;
    const size_t bytes = ggml_nbytes(t);
    float *data = om_calloc(1, bytes);

    if (!data || (name && !desc))
        die("bench");
    if (desc)
        om_weights_read(b->w, desc, data);
    else
        for (size_t i = 0; i < bytes / sizeof(float); i++)
            data[i] = (float)(rand() % 2001 - 1000) * 1.7e-3f;
    om_tensor_set(t, data, 0, bytes);
    om_free(data);
}

static void make_arrays(bench *b)
{
    static const char *const names[6] = { "enc.blk.0.attn_q.weight", "enc.blk.0.attn_k.weight",
        "enc.blk.0.attn_v.weight", "enc.blk.0.attn_out.weight", "enc.blk.0.mlp_up.weight",
        "enc.blk.0.mlp_down.weight" };
    const int64_t c = b->hp.enc.width, e = b->hp.enc.context, ff = b->hp.enc.ff;
    const size_t scratch = om_cpu_attention_scratch(e, b->threads);

    if (om_pool_begin(&b->pool, 16) != OMNI_OK)
        die("bench");
    for (int i = 0; i < 6; i++) {
        const om_tensor_desc *t = om_weights_find(b->w, names[i]);
        b->mats[i] = ggml_new_tensor_2d(b->pool.ctx, (enum ggml_type)t->type, t->ne[0], t->ne[1]);
    }
    b->x = ggml_new_tensor_2d(b->pool.ctx, GGML_TYPE_F32, c, e);
    b->wide = ggml_new_tensor_2d(b->pool.ctx, GGML_TYPE_F32, ff, e);
    b->q = ggml_new_tensor_2d(b->pool.ctx, GGML_TYPE_F32, c, e);
    b->k = ggml_new_tensor_2d(b->pool.ctx, GGML_TYPE_F32, c, e);
    b->v = ggml_new_tensor_2d(b->pool.ctx, GGML_TYPE_F32, c, e);
    b->bias = ggml_new_tensor_1d(b->pool.ctx, GGML_TYPE_F32, ff);
    b->one = ggml_new_tensor_1d(b->pool.ctx, GGML_TYPE_F32, ff);
    b->scratch = ggml_new_tensor_1d(b->pool.ctx, GGML_TYPE_I8, (int64_t)(scratch ? scratch : 1));
    if (om_pool_alloc(&b->pool, b->dev) != OMNI_OK)
        die("bench");
    for (int i = 0; i < 6; i++)
        fill(b, b->mats[i], names[i]);
    fill(b, b->x, NULL);
    fill(b, b->wide, NULL);
    fill(b, b->q, NULL);
    fill(b, b->k, NULL);
    fill(b, b->v, NULL);
    fill(b, b->bias, NULL);
    fill(b, b->one, NULL);
}

static struct ggml_tensor *narrow(bench *b, struct ggml_context *ctx, struct ggml_tensor *t)
{
    return ggml_view_1d(ctx, t, b->hp.enc.width, 0);
}

static struct ggml_tensor *heads(const bench *b, struct ggml_context *ctx, struct ggml_tensor *t)
{
    t = ggml_reshape_3d(ctx, t, OM_BF16_HEAD, b->hp.enc.heads, b->hp.enc.context);
    return ggml_permute(ctx, t, 0, 2, 1, 3);
}

static void build_products(bench *b, om_graph *g)
{
    for (int i = 0; i < 6; i++)
        om_graph_output(g, ggml_mul_mat(g->ctx, b->mats[i], i < 5 ? b->x : b->wide));
}

/* The node a lane measures; NULL: this machine lacks the operator. */
static struct ggml_tensor *build_part(bench *b, struct ggml_context *ctx, int which, enum ggml_type type)
{
    struct ggml_tensor *bias = narrow(b, ctx, b->bias), *one = narrow(b, ctx, b->one);

    switch (which) {
    case ATTENTION:
        return om_cpu_attention(ctx, b->q, b->k, b->v, bias, one, b->scratch, &b->job, type);
    case ATTENTION_GGML:
        return ggml_flash_attn_ext(ctx, heads(b, ctx, b->q), heads(b, ctx, b->k), heads(b, ctx, b->v), NULL,
                                   0.125f, 0.0f, 0.0f);
    case GELU:
        return om_cpu_gelu(ctx, b->wide, b->bias, type);
    case GELU_GGML:
        return ggml_gelu_erf(ctx, ggml_add(ctx, b->wide, b->bias));
    case NORM:
        return om_cpu_norm(ctx, b->x, one, bias, &b->hp.enc.eps, type);
    case NORM_GGML:
        return ggml_add(ctx, ggml_mul(ctx, ggml_norm(ctx, b->x, b->hp.enc.eps), one), bias);
    default:
        return om_cpu_add(ctx, b->q, b->x, bias);
    }
}

static void build_lanes(bench *b)
{
    const double c = b->hp.enc.width, e = b->hp.enc.context, ff = b->hp.enc.ff, f = b->hp.audio.frames;
    const double linear = 2.0 * e * (4.0 * c * c + 2.0 * c * ff), scores = 4.0 * e * e * c;
    const double stem = 6.0 * c * (f * b->hp.audio.n_mels + e * c);
    const bool bf16 = om_cpu_has_bf16() && b->mats[0]->type == GGML_TYPE_BF16;
    const enum ggml_type type = bf16 ? GGML_TYPE_BF16 : GGML_TYPE_F32;

    b->lanes[PRODUCTS] = (lane){ .name = "plain products of a layer", .flops = linear, .per_layer = 1 };
    b->lanes[ENCODER] = (lane){ .name = "encoder", .flops = stem + b->hp.enc.layers * (linear + scores) };
    b->lanes[ATTENTION] = (lane){ .name = "attention", .flops = scores, .per_layer = 1 };
    b->lanes[ATTENTION_GGML] = (lane){ .name = "  by ggml flash_attn_ext", .flops = scores };
    b->lanes[GELU] = (lane){ .name = "bias and GELU", .per_layer = 1 };
    b->lanes[GELU_GGML] = (lane){ .name = "  by ggml" };
    b->lanes[NORM] = (lane){ .name = "layer norm", .per_layer = 2 };
    b->lanes[NORM_GGML] = (lane){ .name = "  by ggml" };
    b->lanes[ADD] = (lane){ .name = "residual sum", .per_layer = 2 };
    b->job.heads = b->hp.enc.heads;
    b->job.threads = b->threads;
    for (int i = 0; i < N_LANES; i++) {
        om_graph *g = &b->lanes[i].graph;
        struct ggml_tensor *node;
        if (i == ENCODER)
            continue;
        if (om_graph_begin(g, 64) != OMNI_OK)
            die("bench");
        if (i == PRODUCTS) {
            build_products(b, g);
        } else {
            node = build_part(b, g->ctx, i, type);
            if (!node) {
                om_graph_free(g);
                continue;
            }
            om_graph_output(g, node);
        }
        if (om_graph_prepare(g, b->dev) != OMNI_OK)
            die("bench");
    }
}

static void measure(bench *b, int which, int round)
{
    lane *l = &b->lanes[which];
    double start = now(b);
    int rc;

    if (which == ENCODER) {
        if (om_encoder_push(b->enc, b->mel) != OMNI_OK)
            die("bench");
        while ((rc = om_encoder_run(b->enc)) == OMNI_AGAIN)
            ;
        if (rc != OMNI_OK)
            die("bench");
    } else if (l->graph.ctx) {
        atomic_store(&b->job.next, 0);
        if (om_graph_compute(&l->graph, b->dev) != OMNI_OK)
            die("bench");
    }
    if (round >= 0)
        l->seconds[round] = now(b) - start;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(bench *b, int rounds)
{
    double layer[2] = { 0.0, 0.0 };

    printf("%-28s %10s %10s %10s %10s\n", "", "median ms", "best ms", "GFLOP/s", "best");
    for (int i = 0; i < N_LANES; i++) {
        lane *l = &b->lanes[i];
        double at[2];
        qsort(l->seconds, (size_t)rounds, sizeof(double), by_size);
        at[0] = l->seconds[rounds / 2];
        at[1] = l->seconds[0];
        if (i != ENCODER && !l->graph.ctx) {
            printf("%-28s not on this processor\n", l->name);
            continue;
        }
        printf("%-28s %10.2f %10.2f", l->name, at[0] * 1e3, at[1] * 1e3);
        if (l->flops > 0)
            printf(" %10.0f %10.0f", l->flops / at[0] * 1e-9, l->flops / at[1] * 1e-9);
        printf("\n");
        for (int j = 0; j < 2; j++)
            layer[j] += l->per_layer * at[j];
    }
    printf("%-28s %10.2f %10.2f\n", "sum of a layer's parts", layer[0] * 1e3, layer[1] * 1e3);
    for (int j = 0; j < 2; j++) {
        const int at = j ? 0 : rounds / 2;
        const lane *p = &b->lanes[PRODUCTS], *e = &b->lanes[ENCODER];
        const double product = p->flops / p->seconds[at], encoder = e->flops / e->seconds[at];
        printf("%s: encoder %.0f, products %.0f GFLOP/s, ratio %.3f\n", j ? "best" : "median", encoder * 1e-9,
               product * 1e-9, encoder / product);
    }
}

int main(int argc, char **argv)
{
    static bench b;
    const int rounds = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 7;

    b.threads = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 2;
    if (argc < 2 || b.threads < 1 || rounds < 1 || rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: bench_encoder FILE [threads [rounds]]\n");
        return 2;
    }
    open_model(&b, argv[1]);
    make_arrays(&b);
    build_lanes(&b);
    for (int r = -1; r < rounds; r++)
        for (int i = 0; i < N_LANES; i++)
            measure(&b, i, r);
    printf("%d layers, %s, %d threads, %s\n", b.hp.enc.layers, ggml_type_name(b.mats[0]->type), b.threads,
           b.threads == 1 ? "processor time" : "wall clock");
    report(&b, rounds);
    for (int i = 0; i < N_LANES; i++)
        om_graph_free(&b.lanes[i].graph);
    om_pool_free(&b.pool);
    om_encoder_free(b.enc);
    om_encoder_unload(b.ew);
    om_device_free(b.dev);
    om_weights_free(b.w);
    om_free(b.mel);
    return 0;
}
