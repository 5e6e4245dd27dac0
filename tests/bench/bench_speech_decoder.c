/*
 * What one block of the speech decoder costs at the published model's shape
 * (random weights), next to the bare matrix products of the same shapes.
 *
 *   bench_speech_decoder [-w bf16|f16|q8_0|q4_0] [-t threads] [-n slots] [-r rounds] [-sgo] [-k KERNELS]
 *       [-f FILE]
 *
 *   -s  with layer-0 sharing only         -g  products by ggml        -o  attention by ggml
 *   -k  attention by avx2 or portable     -f  where the weights go meanwhile (0.3 to 0.9 GB;
 *                                             default in /tmp), removed at once
 *
 * Every round measures all variants in turn, so that a busy machine disturbs all alike;
 * medians are printed. The decoder is moved to a token over keys of zeros: the cost is the
 * same. On a busy machine compare the CPU times of -t 1.
 */
#include "base/graph.h"
#include "base/memory.h"
#include "base/status.h"
#include "stage/speech-decoder.h"

#include "tensors.def"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_ROUNDS = 101, MAX_SLOTS = 16, N_PLACES = 3, TENSORS = 64 };
static const int places[N_PLACES] = { 5, 50, 200 };

typedef struct options {
    enum ggml_type type;
    int threads, slots, rounds;
    bool operators, shared_only, as_stored;
    const char *file, *kernels;
} options;

typedef struct sample {
    double wall[MAX_ROUNDS], cpu[MAX_ROUNDS];
    int n;
} sample;

static void die(const char *what)
{
    fprintf(stderr, "bench_speech_decoder: %s: %s\n", what, om_last_error());
    exit(1);
}

/* ---- a speech file of random weights ------------------------------------------ */

typedef struct writer {
    FILE *f;
    enum ggml_type type;      /* of matrices */
    uint64_t offset, count;
    int pass;                 /* 0 counts, 1 writes descriptions, 2 writes data */
    void *matrix;             /* random numbers of one piece, in type */
    float *numbers;
} writer;

enum { PIECE = 1 << 20 };     /* numbers of the random piece that is written again and again */

static void put(writer *w, const void *data, size_t n)
{
    if (fwrite(data, 1, n, w->f) != n)
        die("cannot write the file of weights");
}

static void tensor(writer *w, const char *name, bool is_matrix, int n_dims, const int64_t *shape)
{
    enum ggml_type type = is_matrix ? w->type : GGML_TYPE_F32;
    uint64_t length = strlen(name), columns = (uint64_t)shape[n_dims - 1];
    uint64_t rows = n_dims == 2 ? (uint64_t)shape[0] : 1;
    uint64_t bytes = rows * ggml_row_size(type, (int64_t)columns), padded = (bytes + 31) / 32 * 32;
    uint32_t dims = (uint32_t)n_dims, kind = (uint32_t)type;
    if (w->pass == 0) {
        w->count++;
    } else if (w->pass == 1) {
        put(w, &length, 8);
        put(w, name, length);
        put(w, &dims, 4);
        put(w, &columns, 8);
        if (n_dims == 2)
            put(w, &rows, 8);
        put(w, &kind, 4);
        put(w, &w->offset, 8);
        w->offset += padded;
    } else {
        size_t piece = is_matrix ? ggml_row_size(type, PIECE) : PIECE * sizeof(float);
        for (uint64_t at = 0; at < padded; at += piece)
            put(w, is_matrix ? w->matrix : w->numbers, (size_t)(padded - at < piece ? padded - at : piece));
    }
}

static void all_tensors(writer *w, const om_hparams *hp)
{
    char name[64];
    tensor(w, "dec.in.weight", true, 2, (int64_t[]){ hp->dec.width, hp->llm.width });
    tensor(w, "dec.in.bias", false, 1, (int64_t[]){ hp->dec.width });
    tensor(w, "dec.out.weight", true, 2, (int64_t[]){ hp->dec.units + 1, hp->dec.width });
    tensor(w, "dec.out.bias", false, 1, (int64_t[]){ hp->dec.units + 1 });
    for (int i = 0; i < hp->dec.layers; i++) {
#define KIND_MAT true
#define KIND_F32 false
#define PUT1(n, kind, a) \
        snprintf(name, sizeof name, n, i); \
        tensor(w, name, KIND_##kind, 1, (int64_t[]){ a });
#define PUT2(n, kind, a, b) \
        snprintf(name, sizeof name, n, i); \
        tensor(w, name, KIND_##kind, 2, (int64_t[]){ a, b });
#define PUT3(n, kind, a, b, c)
        OM_TENSORS_DEC(PUT1, PUT2, PUT3)
    }
}

static void random_piece(writer *w)
{
    uint32_t seed = 1;
    w->numbers = om_calloc(PIECE, sizeof(float));
    w->matrix = om_calloc(ggml_row_size(w->type, PIECE), 1);
    if (!w->numbers || !w->matrix)
        die("memory");
    for (int i = 0; i < PIECE; i++) {
        seed = seed * 1664525u + 1013904223u;
        /* times sqrt(3 / 4096): keeps the size of what it multiplies */
        w->numbers[i] = ((float)(seed >> 8) / 8388608.0f - 1.0f) * 0.027f;
    }
    ggml_quantize_chunk(w->type, w->numbers, w->matrix, 0, PIECE / 4096, 4096, NULL);
}

static void write_weights(const char *path, const om_hparams *hp, enum ggml_type type)
{
    writer w = { .f = fopen(path, "wb"), .type = type };
    uint32_t version = 3;
    uint64_t keys = 0;
    static const char zeros[32];
    if (!w.f)
        die(path);
    random_piece(&w);
    all_tensors(&w, hp);
    put(&w, "GGUF", 4);
    put(&w, &version, 4);
    put(&w, &w.count, 8);
    put(&w, &keys, 8);
    w.pass = 1;
    all_tensors(&w, hp);
    put(&w, zeros, (size_t)(-ftell(w.f) & 31));
    w.pass = 2;
    all_tensors(&w, hp);
    if (fclose(w.f))
        die("cannot write the file of weights");
    om_free(w.numbers);
    om_free(w.matrix);
}

/* ---- the floor: bare products --------------------------------------------------- */

typedef struct products {
    om_pool pool;
    om_graph graph;
} products;

/* ggml's products for one step of n slots, with sharing or without, in their order; both layers use one
 * layer's weights (far more than any cache holds). */
static void products_new(products *p, const om_hparams *hp, om_device *dev, enum ggml_type type, int n,
                         bool sharing)
{
    int64_t D = hp->llm.width, H = hp->dec.width, FF = hp->dec.ff, K = hp->dec.units;
    int64_t all = (int64_t)n * hp->dec.upsample;
    struct ggml_tensor *in, *square[4], *gate, *up, *down, *out, *x, *wide;
    if (om_pool_begin(&p->pool, TENSORS))
        die("pool");
    struct ggml_context *c = p->pool.ctx;
    in = ggml_new_tensor_2d(c, type, D, H);
    for (int i = 0; i < 4; i++)
        square[i] = ggml_new_tensor_2d(c, type, H, H);
    gate = ggml_new_tensor_2d(c, type, H, FF);
    up = ggml_new_tensor_2d(c, type, H, FF);
    down = ggml_new_tensor_2d(c, type, FF, H);
    out = ggml_new_tensor_2d(c, type, H, K);
    x = ggml_new_tensor_2d(c, GGML_TYPE_F32, H, all);
    wide = ggml_new_tensor_2d(c, GGML_TYPE_F32, FF, all);
    if (om_pool_alloc(&p->pool, dev) || om_graph_begin(&p->graph, TENSORS))
        die("pool");
    c = p->graph.ctx;
    struct ggml_tensor *few = ggml_view_2d(c, x, H, sharing ? n : all, x->nb[1], 0);
    om_graph_output(&p->graph, ggml_mul_mat(c, in, few));
    for (int layer = 0; layer < hp->dec.layers; layer++) {
        for (int i = 0; i < 4; i++)
            om_graph_output(&p->graph, ggml_mul_mat(c, square[i], layer == 0 && i < 3 ? few : x));
        om_graph_output(&p->graph, ggml_mul_mat(c, gate, x));
        om_graph_output(&p->graph, ggml_mul_mat(c, up, x));
        om_graph_output(&p->graph, ggml_mul_mat(c, down, wide));
    }
    om_graph_output(&p->graph, ggml_mul_mat(c, out, x));
    if (om_graph_prepare(&p->graph, dev))
        die("products");
}

/* ---- measuring ------------------------------------------------------------------- */

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void block(om_speech_decoder *dec, const float *state, int slots, sample *s)
{
    static int32_t symbols[1024];
    double wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < slots; i++)
        if (om_speech_decoder_push(dec, i, state))
            die("push");
    if (om_speech_decoder_run(dec))
        die("run");
    for (int i = 0; i < slots; i++)
        om_speech_decoder_pull(dec, i, symbols, NULL);
    if (s) {
        s->wall[s->n] = now(CLOCK_MONOTONIC) - wall;
        s->cpu[s->n++] = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    }
}

static void floor_of(products *p, om_device *dev, sample *s)
{
    double wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    if (om_graph_compute(&p->graph, dev))
        die("products");
    if (s) {
        s->wall[s->n] = now(CLOCK_MONOTONIC) - wall;
        s->cpu[s->n++] = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, ascending);
    return x[n / 2];
}

static void row(const char *what, sample *s, double *wall, double *cpu)
{
    double least = 1e30;
    for (int i = 0; i < s->n; i++)
        least = fmin(least, s->wall[i]);
    *wall = median(s->wall, s->n);
    *cpu = median(s->cpu, s->n);
    printf("  %-24s %8.1f ms wall (least %.1f) %8.1f ms cpu\n", what, *wall, least, *cpu);
}

static void measure(const options *o, const om_hparams *hp, om_device *dev,
                    const om_speech_decoder_weights *dw, bool sharing, const float *state)
{
    static sample at[N_PLACES], floor_sample;
    om_speech_decoder *dec;
    products p = { 0 };
    double wall[N_PLACES], cpu[N_PLACES], floor_wall, floor_cpu;
    om_speech_decoder_params params = {
        .n_slots = o->slots, .max_tokens = places[N_PLACES - 1] + 1, .layer0_sharing = sharing,
        .operators_only = o->operators, .kernels = o->kernels,
    };
    memset(at, 0, sizeof at);
    memset(&floor_sample, 0, sizeof floor_sample);
    products_new(&p, hp, dev, o->type, o->slots, sharing);
    if (om_speech_decoder_new(dw, dev, &params, &dec))
        die("decoder");
    for (int r = -1; r < o->rounds; r++) {      /* the first round warms up */
        for (int i = 0; i < N_PLACES; i++) {
            for (int slot = 0; slot < o->slots; slot++)
                om_speech_decoder_seek(dec, slot, places[i]);
            block(dec, state, o->slots, r < 0 ? NULL : &at[i]);
        }
        floor_of(&p, dev, r < 0 ? NULL : &floor_sample);
    }
    printf("%s, %d slot%s, sharing %s, %d threads, attention %s, products %s\n", ggml_type_name(o->type),
           o->slots, o->slots > 1 ? "s" : "", sharing ? "on" : "off", om_device_threads(dev),
           om_speech_decoder_kernels(dec), om_speech_decoder_is_packed(dw) ? "ours" : "ggml's");
    for (int i = 0; i < N_PLACES; i++) {
        char what[32];
        snprintf(what, sizeof what, "block at token %d", places[i]);
        row(what, &at[i], &wall[i], &cpu[i]);
    }
    row("ggml's bare products", &floor_sample, &floor_wall, &floor_cpu);
    printf("  token 200 / token 5: %.3f wall, %.3f cpu; token 5 / products: %.3f wall, %.3f cpu\n",
           wall[2] / wall[0], cpu[2] / cpu[0], wall[0] / floor_wall, cpu[0] / floor_cpu);
    printf("  per slot at token 200: %.1f ms wall, %.1f ms cpu; caches and arrays %.0f MB\n",
           wall[2] / o->slots, cpu[2] / o->slots, (double)om_speech_decoder_bytes(dec) / 1e6);
    om_speech_decoder_free(dec);
    om_graph_free(&p.graph);
    om_pool_free(&p.pool);
}

static options parse(int argc, char **argv)
{
    options o = {
        .type = GGML_TYPE_BF16, .slots = 1, .rounds = 11, .file = "/tmp/bench-speech-decoder.gguf",
    };
    static const enum ggml_type types[] = {
        GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0,
    };
    for (int c; (c = getopt(argc, argv, "w:t:n:r:k:osgf:")) != -1;) {
        if (c == 'w')
            for (size_t i = 0; i < sizeof types / sizeof *types; i++)
                if (!strcmp(optarg, ggml_type_name(types[i])))
                    o.type = types[i];
        if (c == 't')
            o.threads = (int)strtol(optarg, NULL, 10);
        if (c == 'n')
            o.slots = (int)strtol(optarg, NULL, 10);
        if (c == 'r')
            o.rounds = (int)strtol(optarg, NULL, 10);
        if (c == 'o')
            o.operators = true;
        if (c == 'k')
            o.kernels = optarg;
        if (c == 's')
            o.shared_only = true;
        if (c == 'g')
            o.as_stored = true;
        if (c == 'f')
            o.file = optarg;
        if (c == '?')
            exit(2);
    }
    if (o.slots < 1 || o.slots > MAX_SLOTS || o.rounds < 1 || o.rounds > MAX_ROUNDS) {
        fprintf(stderr, "bench_speech_decoder: 1 to %d slots, 1 to %d rounds\n", MAX_SLOTS, MAX_ROUNDS);
        exit(2);
    }
    return o;
}

int main(int argc, char **argv)
{
    options o = parse(argc, argv);
    om_hparams hp = { .llm.width = 4096, .dec = { .upsample = 25, .layers = 2, .width = 4096, .heads = 32,
        .heads_kv = 32, .ff = 11008, .units = 1000, .eps = 1e-5f, .rope_base = 500000.0f, .rope_factor = 8.0f,
        .rope_low = 1.0f, .rope_high = 4.0f, .rope_original_context = 8192 } };
    om_device *dev = NULL;
    om_weights *w = NULL;
    om_speech_decoder_weights *dw = NULL;
    float state[4096];
    for (int i = 0; i < 4096; i++)
        state[i] = sinf((float)i * (float)i);
    write_weights(o.file, &hp, o.type);
    if (om_device_new(o.threads, false, &dev) || om_weights_open(o.file, &w))
        die(o.file);
    if ((o.as_stored ? om_speech_decoder_load_as_stored : om_speech_decoder_load)(w, &hp, dev, false, &dw))
        die(o.file);
    om_weights_free(w);
    unlink(o.file);
    for (int sharing = 1; sharing >= (o.shared_only ? 1 : 0); sharing--)
        measure(&o, &hp, dev, dw, sharing, state);
    om_speech_decoder_unload(dw);
    om_device_free(dev);
    return 0;
}
