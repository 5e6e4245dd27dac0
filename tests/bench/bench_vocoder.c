/*
 * How fast the vocoder speaks, at the public size with random weights.
 *
 *   bench_vocoder [threads [rounds [seconds of speech [part of a lane's name]]]]
 *
 * RTF is time to compute / duration of the speech; GFLOP/s counts the products of the whole stream, 160.4 M
 * per frame. "products" is the time of ggml's matrix products of the same shapes alone: every convolution as
 * one product, its input already gathered. Every round measures everything once, one after the other, so that
 * a noisy machine disturbs all alike; the table gives the median and the best round. With one thread the
 * clock is the thread's own processor time, which other programs hardly disturb; with more it is the clock on
 * the wall.
 */
#include "base/memory.h"
#include "base/status.h"
#include "stage/vocoder-parts.h"
#include "unit/gguf_bytes.h"

#include <math.h>
#include <time.h>
#include <unistd.h>

enum { MAX_ROUNDS = 99, MAX_LANES = 32, MAX_UNITS = 1 << 14, N_TYPES = 3, CODEBOOK = 1000 };

static const struct {
    enum ggml_type type;
    const char *name;
} types[N_TYPES] = { { GGML_TYPE_F32, "f32" }, { GGML_TYPE_F16, "f16" }, { GGML_TYPE_BF16, "bf16" } };

typedef struct lane {
    char name[48];
    om_vocoder *voc;            /* NULL: products */
    om_graph products;
    int blocks;                 /* of products for the stream */
    bool unit_by_unit;
    double seconds[MAX_ROUNDS];
} lane;

typedef struct bench {
    om_hparams hp;
    om_device *dev;
    om_vocoder_weights *ours[N_TYPES], *plain[N_TYPES];
    om_pool inputs;
    lane lanes[MAX_LANES];
    int n_lanes, threads, frames;
    int32_t units[MAX_UNITS];
    size_t n_units;
    float *out;
} bench;

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, om_last_error());
    exit(1);
}

static void *need(void *p)
{
    if (!p)
        die("out of memory");
    return p;
}

/* ---- a file with random weights ------------------------------------------- */

static om_hparams public_hparams(void)
{
    static const int rates[] = { 5, 4, 4, 2, 2 }, kernels[] = { 11, 8, 8, 4, 4 };
    om_hparams hp = { 0 };

    hp.dec.units = CODEBOOK;
    hp.voc.embd = hp.voc.dur_hidden = 128;
    hp.voc.channels = 512;
    hp.voc.dur_kernel = 3;
    hp.voc.n_stages = 5;
    hp.voc.n_res = hp.voc.n_dil = 3;
    hp.voc.hop = 320;
    for (int i = 0; i < 5; i++) {
        hp.voc.rates[i] = rates[i];
        hp.voc.kernels[i] = kernels[i];
    }
    for (int i = 0; i < 3; i++) {
        hp.voc.res_kernels[i] = 3 + 4 * i;
        hp.voc.dilations[i] = 1 + 2 * i;
    }
    return hp;
}

static uint64_t random_state;

static uint32_t random_bits(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

/* Uniform with deviation 1. */
static float random_value(void)
{
    return ((float)random_bits() / 1073741824.0f - 1.0f) * 1.7320508f;
}

typedef struct draft {
    gguf_bytes head;
    FILE *data;
    uint64_t offset;
    int n_tensors;
} draft;

/* Weights like 1/sqrt(fan in); biases 0, norms and tables as asked. */
static void add(draft *d, const char *name, int n_dims, const uint64_t *ne, enum ggml_type type, float mean,
                float spread)
{
    size_t n = 1, bytes;
    float *x;
    void *y;

    for (int i = 0; i < n_dims; i++)
        n *= (size_t)ne[i];
    x = need(om_calloc(n, sizeof *x));
    y = need(om_calloc(n, sizeof *x));
    for (size_t i = 0; i < n; i++)
        x[i] = mean + spread * random_value();
    bytes = n * ggml_type_size(type);
    if (type == GGML_TYPE_F16)
        ggml_fp32_to_fp16_row(x, y, (int64_t)n);
    else if (type == GGML_TYPE_BF16)
        ggml_fp32_to_bf16_row(x, y, (int64_t)n);
    else
        memcpy(y, x, bytes);
    gguf_tensor(&d->head, name, (uint32_t)n_dims, ne, (uint32_t)type, d->offset);
    if (fwrite(y, 1, bytes, d->data) != bytes)
        die("temporary file");
    for (d->offset += bytes; d->offset % 32; d->offset++)
        fputc(0, d->data);
    d->n_tensors++;
    om_free(x);
    om_free(y);
}

/* f32 in all files, so that all speak equally long. */
static void add_duration(draft *d, const om_hparams *hp)
{
    uint64_t h = (uint64_t)hp->voc.dur_hidden, conv[3] = { 3, h, h }, row[2] = { h, 1 }, one = 1;
    char name[32];

    for (int i = 1; i <= 2; i++) {
        snprintf(name, sizeof name, "voc.dur.conv%d.weight", i);
        add(d, name, 3, conv, GGML_TYPE_F32, 0.0f, 0.05f);
        snprintf(name, sizeof name, "voc.dur.conv%d.bias", i);
        add(d, name, 1, &h, GGML_TYPE_F32, 0.0f, 0.1f);
        snprintf(name, sizeof name, "voc.dur.ln%d.weight", i);
        add(d, name, 1, &h, GGML_TYPE_F32, 1.0f, 0.1f);
        snprintf(name, sizeof name, "voc.dur.ln%d.bias", i);
        add(d, name, 1, &h, GGML_TYPE_F32, 0.0f, 0.1f);
    }
    add(d, "voc.dur.proj.weight", 2, row, GGML_TYPE_F32, 0.0f, 0.03f);
    add(d, "voc.dur.proj.bias", 1, &one, GGML_TYPE_F32, 1.0f, 0.0f);    /* 1.7 frames per unit */
}

/* Opened and already unlinked. */
static om_weights *random_file(const om_hparams *hp, const om_voc_plan *plan, enum ggml_type type)
{
    draft *d = need(om_calloc(1, sizeof *d));
    uint64_t table[2] = { (uint64_t)hp->voc.embd, (uint64_t)hp->dec.units };
    char path[] = "/tmp/bench-vocoder-XXXXXX", chunk[1 << 16];
    om_weights *w = NULL;
    FILE *file;
    size_t n;
    int fd = mkstemp(path);

    file = fd < 0 ? NULL : fdopen(fd, "wb");
    d->data = tmpfile();
    if (!file || !d->data)
        die(path);
    random_state = 1;       /* the same durations in all files */
    gguf_begin(&d->head, 3, 2 * (uint64_t)plan->n_convs + 11, 0);
    add(d, "voc.embd", 2, table, GGML_TYPE_F32, 0.0f, 1.0f);
    add_duration(d, hp);
    for (int i = 0; i < plan->n_convs; i++) {
        const om_voc_conv *c = &plan->convs[i];
        uint64_t in = (uint64_t)c->in, out = (uint64_t)c->out;
        uint64_t ne[3] = { (uint64_t)c->kernel, c->transposed ? out : in, c->transposed ? in : out };

        add(d, c->weight, 3, ne, type, 0.0f, 0.5f / sqrtf((float)(c->in * c->taps)));
        add(d, c->bias, 1, &out, GGML_TYPE_F32, 0.0f, 0.01f);
    }
    gguf_pad(&d->head);
    fwrite(d->head.bytes, 1, d->head.n, file);
    rewind(d->data);
    while ((n = fread(chunk, 1, sizeof chunk, d->data)) > 0)
        fwrite(chunk, 1, n, file);
    fclose(d->data);
    if (fclose(file) != 0 || om_weights_open(path, &w) != OMNI_OK)
        die(path);
    unlink(path);
    om_free(d);
    return w;
}

/* ---- lanes ---------------------------------------------------------------- */

static lane *add_lane(bench *b, const char *name)
{
    lane *l = &b->lanes[b->n_lanes++];

    snprintf(l->name, sizeof l->name, "%s", name);
    return l;
}

static void add_voice(bench *b, const om_vocoder_weights *vw, const char *name, int block, bool unit_by_unit)
{
    lane *l = add_lane(b, name);

    l->unit_by_unit = unit_by_unit;
    if (om_vocoder_new_with(vw, b->dev, 1, block, &l->voc) != OMNI_OK)
        die(name);
}

/* One product per convolution of a block, over inputs that nobody has to gather. */
static void add_products(bench *b, const om_vocoder_weights *vw, const char *name, int block)
{
    lane *l = add_lane(b, name);
    const om_voc_plan *plan = vw->plan;

    l->blocks = (b->frames + block - 1) / block;
    if (om_graph_begin(&l->products, 2 * (size_t)plan->n_ops + 16) != OMNI_OK)
        die(name);
    for (int i = 0; i < plan->n_ops; i++) {
        const om_voc_op *op = &plan->ops[i];
        struct ggml_tensor *x, *y;

        if (op->kind != OM_VOC_CONV)
            continue;
        x = ggml_new_tensor_2d(l->products.ctx, GGML_TYPE_F32, vw->weight[op->conv]->ne[0],
                               (int64_t)op->rate * block / plan->convs[op->conv].stride);
        y = ggml_mul_mat(l->products.ctx, vw->weight[op->conv], om_graph_input(&l->products, x));
        om_graph_expand(&l->products, y);
    }
    if (om_graph_prepare(&l->products, b->dev) != OMNI_OK)
        die(name);
}

static void add_lanes(bench *b)
{
    static const int blocks[] = { 1, 2, 4, 8, 16, 32 };
    char name[48];

    for (int t = 0; t < N_TYPES; t++) {
        bool own = types[t].type != GGML_TYPE_F16;      /* computed as f32: once is enough */

        for (size_t i = 0; own && i < sizeof blocks / sizeof *blocks; i++) {
            snprintf(name, sizeof name, "ours %s, blocks of %d", types[t].name, blocks[i]);
            add_voice(b, b->ours[t], name, blocks[i], false);
        }
        if (own) {
            snprintf(name, sizeof name, "ours %s, blocks of 8, unit by unit", types[t].name);
            add_voice(b, b->ours[t], name, 8, true);
        }
        snprintf(name, sizeof name, "ggml %s, blocks of 8", types[t].name);
        add_voice(b, b->plain[t], name, 8, false);
        snprintf(name, sizeof name, "ggml %s, products alone", types[t].name);
        add_products(b, b->plain[t], name, 8);
    }
}

static double now(const bench *b)
{
    struct timespec t;

    clock_gettime(b->threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static size_t drain(bench *b, om_vocoder *voc)
{
    size_t n = 0, got;

    while (om_vocoder_run(voc) == OMNI_OK)
        while (om_vocoder_pull(voc, 0, b->out, (size_t)b->frames * 320, &got) == OMNI_OK)
            n += got;
    return n;
}

/* Lanes whose name lacks `part` are left out. */
static void select_lanes(bench *b, const char *part)
{
    int kept = 0;

    for (int i = 0; i < b->n_lanes; i++)
        if (strstr(b->lanes[i].name, part)) {
            b->lanes[kept++] = b->lanes[i];
        } else {
            om_vocoder_free(b->lanes[i].voc);
            om_graph_free(&b->lanes[i].products);
        }
    b->n_lanes = kept;
}

static void measure(bench *b, lane *l, int round)
{
    size_t step = l->unit_by_unit ? 1 : b->n_units, n = 0;
    double start = now(b);

    if (!l->voc) {
        for (int i = 0; i < l->blocks; i++)
            if (om_graph_compute(&l->products, b->dev) != OMNI_OK)
                die(l->name);
    } else {
        om_vocoder_reset(l->voc, 0);
        for (size_t u = 0; u < b->n_units; u += step) {
            if (om_vocoder_push(l->voc, 0, b->units + u, step) != OMNI_OK)
                die(l->name);
            n += drain(b, l->voc);
        }
        om_vocoder_finish(l->voc, 0);
        n += drain(b, l->voc);
        if (n != (size_t)b->frames * 320)
            die("a stream of another length");
    }
    l->seconds[round] = now(b) - start;
}

/* ---- table ---------------------------------------------------------------- */

static int rising(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print_table(bench *b, int rounds)
{
    double speech = b->frames * 0.02, flop = 2.0 * 160369664.0 * b->frames;

    printf("%d thread%s, %.2f s of speech, %d rounds\n\n", b->threads,
           b->threads == 1 ? " (processor time)" : "s", speech, rounds);
    printf("%-36s %10s %10s %10s\n", "", "RTF median", "RTF best", "GFLOP/s");
    for (int i = 0; i < b->n_lanes; i++) {
        lane *l = &b->lanes[i];

        qsort(l->seconds, (size_t)rounds, sizeof *l->seconds, rising);
        printf("%-36s %10.4f %10.4f %10.1f\n", l->name, l->seconds[rounds / 2] / speech,
               l->seconds[0] / speech, 1e-9 * flop / l->seconds[rounds / 2]);
    }
}

static void choose_units(bench *b, double seconds)
{
    om_vocoder *voc;
    const int32_t *durations;
    size_t n;

    if (om_vocoder_new(b->ours[0], b->dev, 1, &voc) != OMNI_OK)
        die("bench");
    b->n_units = (size_t)(seconds * 29.0) < MAX_UNITS ? (size_t)(seconds * 29.0) : MAX_UNITS;
    for (size_t i = 0; i < b->n_units; i++)
        b->units[i] = (int32_t)(random_bits() % CODEBOOK);
    om_vocoder_push(voc, 0, b->units, b->n_units);
    om_vocoder_finish(voc, 0);
    durations = om_vocoder_durations(voc, 0, &n);
    for (size_t i = 0; i < n; i++)
        b->frames += durations[i];
    om_vocoder_free(voc);
}

int main(int argc, char **argv)
{
    bench *b = need(om_calloc(1, sizeof *b));
    int rounds = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 5;
    om_voc_plan *plan;

    b->threads = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 2;
    rounds = rounds < 1 ? 1 : rounds > MAX_ROUNDS ? MAX_ROUNDS : rounds;
    b->hp = public_hparams();
    if (om_device_new(b->threads, false, &b->dev) != OMNI_OK || om_voc_plan_new(&b->hp, &plan) != OMNI_OK)
        die("bench");
    for (int t = 0; t < N_TYPES; t++) {
        om_weights *w = random_file(&b->hp, plan, types[t].type);

        if (om_vocoder_load(w, &b->hp, b->dev, false, &b->ours[t]) != OMNI_OK ||
            om_vocoder_load_with(w, &b->hp, b->dev, false, true, &b->plain[t]) != OMNI_OK)
            die("bench");
        om_weights_free(w);
    }
    choose_units(b, argc > 3 ? strtod(argv[3], NULL) : 2.0);
    b->out = need(om_calloc((size_t)b->frames * 320, sizeof *b->out));
    add_lanes(b);
    if (argc > 4)
        select_lanes(b, argv[4]);
    for (int round = 0; round < rounds; round++)
        for (int i = 0; i < b->n_lanes; i++)
            measure(b, &b->lanes[i], round);
    print_table(b, rounds);
    for (int i = 0; i < b->n_lanes; i++) {
        om_vocoder_free(b->lanes[i].voc);
        om_graph_free(&b->lanes[i].products);
    }
    for (int t = 0; t < N_TYPES; t++) {
        om_vocoder_unload(b->ours[t]);
        om_vocoder_unload(b->plain[t]);
    }
    om_voc_plan_free(plan);
    om_device_free(b->dev);
    om_free(b->out);
    om_free(b);
    return 0;
}
