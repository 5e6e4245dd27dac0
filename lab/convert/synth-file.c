/*
 * Random tensors from tiles: one block of noise per type and deviation is made and quantised once, then laid
 * end to end from an odd place. A tile's length in quantisation blocks is a prime above the tensor's rows,
 * so no two rows of a matrix are alike.
 */
#include "synth-file.h"

#include "base/memory.h"
#include "base/status.h"

#include <math.h>
#include <string.h>

enum { MAX_TENSORS = 16384, MAX_TILES = 24, LEAST_BLOCKS = 1 << 15, PIECE = 1 << 20 };

typedef struct entry {
    struct ggml_tensor *tensor;
    double std;             /* of noise; 0: constant or table */
    float constant;
    float *table;           /* NULL: constant */
} entry;

typedef struct tile {
    enum ggml_type type;
    double std;
    size_t bytes;
    unsigned char *data;
} tile;

struct om_synth_file {
    struct gguf_context *gguf;
    struct ggml_context *ctx;
    enum ggml_type type, output;
    int failed;             /* the first failure of describing */
    entry *entries;
    size_t n_entries;
    tile tiles[MAX_TILES];
    size_t next_tile;       /* the one to give up when all are taken */
    uint64_t random;
};

/* ---- types -------------------------------------------------------------------- */

static const struct { const char *name; enum ggml_type type, output; uint32_t file_type; } types[] = {
    {"f32", GGML_TYPE_F32, GGML_TYPE_F32, 0},     {"f16", GGML_TYPE_F16, GGML_TYPE_F16, 1},
    {"bf16", GGML_TYPE_BF16, GGML_TYPE_BF16, 32}, {"q8_0", GGML_TYPE_Q8_0, GGML_TYPE_Q8_0, 7},
    {"q4_0", GGML_TYPE_Q4_0, GGML_TYPE_Q6_K, 2},  {"q4_k", GGML_TYPE_Q4_K, GGML_TYPE_Q6_K, 14},
};
/* Output matrices of 4-bit files stay at 6 bits, as llama.cpp's quantiser does. */

static enum ggml_type fitting(enum ggml_type type, int64_t ne0)
{
    return ne0 % ggml_blck_size(type) == 0 ? type : GGML_TYPE_F16;
}

enum ggml_type om_synth_matrix_type(const om_synth_file *f, int64_t ne0)
{
    return fitting(f->type, ne0);
}

enum ggml_type om_synth_output_type(const om_synth_file *f, int64_t ne0)
{
    return fitting(f->output, ne0);
}

enum ggml_type om_synth_conv_type(const om_synth_file *f)
{
    return ggml_is_quantized(f->type) ? GGML_TYPE_F16 : f->type;
}

/* ---- describing ---------------------------------------------------------------- */

int om_synth_file_new(const char *type, om_synth_file **out)
{
    struct ggml_init_params params = {.mem_size = ggml_tensor_overhead() * (MAX_TENSORS + 1),
                                      .no_alloc = true};
    om_synth_file *f;
    size_t i = 0;

    while (i < sizeof types / sizeof *types && strcmp(types[i].name, type) != 0)
        i++;
    if (i == sizeof types / sizeof *types)
        return om_fail(OMNI_ERR_ARG, "weight type: found %s, wanted one of q4_0, q4_k, q8_0, bf16, f16, f32",
                       type);
    f = om_calloc(1, sizeof *f);
    if (!f)
        return om_fail(OMNI_ERR_MEMORY, "out of memory for the list of tensors");
    f->type = types[i].type;
    f->output = types[i].output;
    f->gguf = gguf_init_empty();
    f->ctx = ggml_init(params);
    f->entries = om_calloc(MAX_TENSORS, sizeof *f->entries);
    if (!f->gguf || !f->ctx || !f->entries) {
        om_synth_file_free(f);
        return om_fail(OMNI_ERR_MEMORY, "out of memory for the list of tensors");
    }
    gguf_set_val_u32(f->gguf, "general.file_type", types[i].file_type);
    if (ggml_is_quantized(f->type))
        gguf_set_val_u32(f->gguf, "general.quantization_version", GGML_QNT_VERSION);
    *out = f;
    return OMNI_OK;
}

void om_synth_file_free(om_synth_file *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->n_entries; i++)
        om_free(f->entries[i].table);
    for (size_t i = 0; i < MAX_TILES; i++)
        om_free(f->tiles[i].data);
    om_free(f->entries);
    ggml_free(f->ctx);
    if (f->gguf)
        gguf_free(f->gguf);
    om_free(f);
}

struct gguf_context *om_synth_file_metadata(om_synth_file *f)
{
    return f->gguf;
}

static entry *add(om_synth_file *f, const char *name, enum ggml_type type, int n_dims, const int64_t *shape)
{
    int64_t ne[4] = {1, 1, 1, 1};
    entry *e = &f->entries[f->n_entries];

    if (f->n_entries == MAX_TENSORS) {
        f->failed = om_fail(OMNI_ERR_LIMIT, "more than %d tensors", MAX_TENSORS);
        return NULL;
    }
    for (int i = 0; i < n_dims; i++)
        ne[i] = shape[n_dims - 1 - i];     /* ggml's order: fastest first */
    e->tensor = ggml_new_tensor(f->ctx, type, n_dims, ne);
    ggml_set_name(e->tensor, name);
    gguf_add_tensor(f->gguf, e->tensor);
    f->n_entries++;
    return e;
}

void om_synth_noise(om_synth_file *f, const char *name, enum ggml_type type, int n_dims, const int64_t *shape,
                    double std)
{
    entry *e = add(f, name, type, n_dims, shape);

    if (e)
        e->std = std;
}

void om_synth_constant(om_synth_file *f, const char *name, int64_t n, float value)
{
    entry *e = add(f, name, GGML_TYPE_F32, 1, &n);

    if (e)
        e->constant = value;
}

float *om_synth_table(om_synth_file *f, const char *name, int n_dims, const int64_t *shape)
{
    entry *e = add(f, name, GGML_TYPE_F32, n_dims, shape);

    if (!e)
        return NULL;
    e->table = om_calloc((size_t)ggml_nelements(e->tensor), sizeof(float));
    if (!e->table)
        f->failed = om_fail(OMNI_ERR_MEMORY, "out of memory for the table %s", name);
    return e->table;
}

/* ---- noise ---------------------------------------------------------------------- */

/* xorshift64*: 32 good bits. */
static uint32_t random_bits(om_synth_file *f)
{
    f->random ^= f->random >> 12;
    f->random ^= f->random << 25;
    f->random ^= f->random >> 27;
    return (uint32_t)((f->random * 2685821657736338717ull) >> 32);
}

/* Two normal numbers at a time (Box-Muller). n is even. */
static void normal_numbers(om_synth_file *f, float *x, size_t n, double std)
{
    for (size_t i = 0; i < n; i += 2) {
        const float u = ((float)(random_bits(f) >> 8) + 1.0f) / 16777217.0f;
        const float v = (float)(random_bits(f) >> 8) / 16777216.0f;
        const float r = (float)std * sqrtf(-2.0f * logf(u)), a = 6.2831853f * v;

        x[i] = r * cosf(a);
        x[i + 1] = r * sinf(a);
    }
}

static bool is_prime(size_t n)
{
    for (size_t d = 3; d * d <= n; d += 2)
        if (n % d == 0)
            return false;
    return n % 2 != 0;
}

/* Fills t with noise quantised block row by block row. */
static int make_tile(om_synth_file *f, tile *t, enum ggml_type type, double std, size_t blocks)
{
    const size_t per_block = (size_t)ggml_blck_size(type), block_bytes = ggml_type_size(type);
    const size_t piece = (PIECE / per_block) & ~(size_t)1;     /* blocks made at a time */
    float *x = om_calloc((piece + 1) * per_block, sizeof *x);

    om_free(t->data);
    *t = (tile){
        .type = type, .std = std, .bytes = blocks * block_bytes, .data = om_calloc(blocks, block_bytes)};
    if (!x || !t->data) {
        om_free(x);
        om_free(t->data);
        *t = (tile){.data = NULL};
        return om_fail(OMNI_ERR_MEMORY, "out of memory for %zu bytes of noise", blocks * block_bytes);
    }
    for (size_t at = 0; at < blocks; at += piece) {
        const size_t n = blocks - at < piece ? blocks - at : piece;

        normal_numbers(f, x, (n * per_block + 1) & ~(size_t)1, std);
        if (type == GGML_TYPE_F32)
            memcpy(t->data + at * block_bytes, x, n * block_bytes);
        else
            ggml_quantize_chunk(type, x, t->data + at * block_bytes, 0, 1, (int64_t)(n * per_block), NULL);
    }
    om_free(x);
    return OMNI_OK;
}

/* The tile for a tensor: of its type and deviation, with more blocks than it has rows. */
static int find_tile(om_synth_file *f, const entry *e, const tile **out)
{
    const enum ggml_type type = e->tensor->type;
    size_t least = (size_t)LEAST_BLOCKS * 32 / (size_t)ggml_blck_size(type);
    tile *t = NULL;
    int rc;

    if (least < (size_t)ggml_nrows(e->tensor))
        least = (size_t)ggml_nrows(e->tensor);
    for (size_t i = 0; i < MAX_TILES; i++) {
        tile *old = &f->tiles[i];

        if (old->data && old->type == type && fabs(old->std - e->std) < 1e-12 &&
            old->bytes / ggml_type_size(type) >= least) {
            *out = old;
            return OMNI_OK;
        }
    }
    while (!is_prime(least))
        least++;
    t = &f->tiles[f->next_tile++ % MAX_TILES];
    rc = make_tile(f, t, type, e->std, least);
    *out = t;
    return rc;
}

/* ---- writing -------------------------------------------------------------------- */

static int put(const om_synth_sink *sink, const void *bytes, size_t n)
{
    return sink->write(sink->user, bytes, n) ? OMNI_AGAIN : OMNI_OK;
}

static int put_noise(om_synth_file *f, const entry *e, const om_synth_sink *sink)
{
    const size_t block = ggml_type_size(e->tensor->type);
    size_t left = ggml_nbytes(e->tensor), at;
    const tile *t;
    int rc = find_tile(f, e, &t);

    if (rc)
        return rc;
    at = random_bits(f) % (t->bytes / block) * block;
    while (!rc && left > 0) {
        size_t n = t->bytes - at < left ? t->bytes - at : left;

        if (n > PIECE)
            n = PIECE / block * block;
        rc = put(sink, t->data + at, n);
        at = (at + n) % t->bytes;
        left -= n;
    }
    return rc;
}

static int put_constant(const entry *e, const om_synth_sink *sink)
{
    float piece[1024];
    int64_t left = ggml_nelements(e->tensor);
    int rc = OMNI_OK;

    for (size_t i = 0; i < 1024; i++)
        piece[i] = e->constant;
    while (!rc && left > 0) {
        const int64_t n = left < 1024 ? left : 1024;

        rc = put(sink, piece, (size_t)n * sizeof *piece);
        left -= n;
    }
    return rc;
}

/* Tensor data starts at multiples of the alignment. */
static size_t padded_bytes(const entry *e)
{
    const size_t a = GGUF_DEFAULT_ALIGNMENT;

    return (ggml_nbytes(e->tensor) + a - 1) / a * a;
}

static int put_tensor(om_synth_file *f, const entry *e, const om_synth_sink *sink)
{
    static const char zeros[GGUF_DEFAULT_ALIGNMENT];
    const size_t bytes = ggml_nbytes(e->tensor), padded = padded_bytes(e);
    int rc;

    if (e->std > 0)
        rc = put_noise(f, e, sink);
    else
        rc = e->table ? put(sink, e->table, bytes) : put_constant(e, sink);
    return rc || padded == bytes ? rc : put(sink, zeros, padded - bytes);
}

int om_synth_file_write(om_synth_file *f, uint64_t seed, const om_synth_sink *sink, uint64_t *bytes)
{
    const size_t n_meta = gguf_get_meta_size(f->gguf);
    unsigned char *meta;
    int rc = f->failed;

    if (rc)
        return rc;
    if (bytes) {
        *bytes = n_meta;
        for (size_t i = 0; i < f->n_entries; i++)
            *bytes += padded_bytes(&f->entries[i]);
    }
    if (!sink)
        return OMNI_OK;
    f->random = seed * 2685821657736338717ull + 88172645463325252ull;
    if (!f->random)
        f->random = 1;
    meta = om_calloc(n_meta, 1);
    if (!meta)
        return om_fail(OMNI_ERR_MEMORY, "out of memory for %zu bytes of metadata", n_meta);
    gguf_get_meta_data(f->gguf, meta);
    rc = put(sink, meta, n_meta);
    om_free(meta);
    for (size_t i = 0; !rc && i < f->n_entries; i++)
        rc = put_tensor(f, &f->entries[i], sink);
    return rc;
}
