/* gguf-out: see the header. */
#include "gguf-out.h"

#include "base/memory.h"
#include "base/status.h"

#include <stdio.h>
#include <string.h>

enum { MAX_TENSORS = 16384, PIECE = 1 << 20 };      /* elements read at a time, unless a row is longer */

typedef struct entry {
    struct ggml_tensor *tensor;
    om_feed feed;
} entry;

struct om_gguf_out {
    struct gguf_context *gguf;
    struct ggml_context *ctx;
    entry *entries;
    size_t n;
    uint64_t done, all;
};

int om_gguf_out_new(om_gguf_out **out)
{
    const struct ggml_init_params params = {.mem_size = ggml_tensor_overhead() * (MAX_TENSORS + 1), .no_alloc = true};
    om_gguf_out *o = om_calloc(1, sizeof *o);

    if (o) {
        o->gguf = gguf_init_empty();
        o->ctx = ggml_init(params);
        o->entries = om_calloc(MAX_TENSORS, sizeof *o->entries);
    }
    if (!o || !o->gguf || !o->ctx || !o->entries) {
        om_gguf_out_free(o);
        return om_fail(OMNI_ERR_MEMORY, "out of memory for the list of tensors");
    }
    *out = o;
    return OMNI_OK;
}

void om_gguf_out_free(om_gguf_out *o)
{
    if (!o)
        return;
    om_free(o->entries);
    ggml_free(o->ctx);
    if (o->gguf)
        gguf_free(o->gguf);
    om_free(o);
}

struct gguf_context *om_gguf_out_metadata(om_gguf_out *o)
{
    return o->gguf;
}

int om_gguf_out_add(om_gguf_out *o, const char *name, enum ggml_type type, int n_dims, const int64_t *shape,
                    om_feed feed)
{
    int64_t ne[4] = {1, 1, 1, 1};
    entry *e = &o->entries[o->n];

    if (o->n == MAX_TENSORS)
        return om_fail(OMNI_ERR_LIMIT, "more than %d tensors", MAX_TENSORS);
    if (n_dims < 1 || n_dims > 4 || strlen(name) >= GGML_MAX_NAME)
        return om_fail(OMNI_ERR_MODEL, "tensor %.80s: %d dimensions, wanted 1 to 4, and a name of at most %d bytes",
                       name, n_dims, GGML_MAX_NAME - 1);
    for (int i = 0; i < n_dims; i++)
        ne[i] = shape[n_dims - 1 - i];      /* ggml's order: fastest first */
    if (ne[0] % ggml_blck_size(type) != 0)
        type = GGML_TYPE_F16;
    e->tensor = ggml_new_tensor(o->ctx, type, n_dims, ne);
    e->feed = feed;
    ggml_set_name(e->tensor, name);
    gguf_add_tensor(o->gguf, e->tensor);
    o->n++;
    return OMNI_OK;
}

static uint64_t padded(uint64_t bytes)
{
    return (bytes + GGUF_DEFAULT_ALIGNMENT - 1) / GGUF_DEFAULT_ALIGNMENT * GGUF_DEFAULT_ALIGNMENT;
}

uint64_t om_gguf_out_bytes(const om_gguf_out *o)
{
    uint64_t bytes = gguf_get_meta_size(o->gguf);

    for (size_t i = 0; i < o->n; i++)
        bytes += padded(ggml_nbytes(o->entries[i].tensor));
    return bytes;
}

/* Bits of the largest magnitude; infinities and NaN are above all numbers. */
static uint32_t largest(const float *x, int64_t n)
{
    uint32_t most = 0;

    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;

        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    return most;
}

/* Bits of the least magnitude that becomes infinite in the type. Blocks of q8_0 have an f16 that is a 127th of it. */
static uint32_t too_large(enum ggml_type type)
{
    switch (type) {
    case GGML_TYPE_F16:  return 0x477ff000u;    /* 65520 */
    case GGML_TYPE_BF16: return 0x7f7f8000u;
    case GGML_TYPE_Q8_0: return 0x4afdf020u;    /* 127 times 65520 */
    default:             return 0x7f800000u;
    }
}

static int check_numbers(const entry *e, const float *x, int64_t n)
{
    const uint32_t most = largest(x, n), infinite = 0x7f800000u;
    char name[400];
    float value;

    if (most < too_large(e->tensor->type))
        return OMNI_OK;
    if (e->feed.name)
        e->feed.name(e->feed.from, name, sizeof name);
    else
        snprintf(name, sizeof name, "tensor %s", e->tensor->name);
    if (most >= infinite)
        return om_fail(OMNI_ERR_MODEL, "%s: found a number that is not finite; the checkpoint is damaged", name);
    memcpy(&value, &most, sizeof value);
    return om_fail(OMNI_ERR_MODEL, "%s: found %g, which %s can not hold; use the type %s", name, (double)value,
                   ggml_type_name(e->tensor->type), e->tensor->type == GGML_TYPE_BF16 ? "f32" : "bf16 or f32");
}

static int put_tensor(om_gguf_out *o, const entry *e, om_part_file *file, float *x, void *bytes, om_gguf_progress progress,
                      void *user)
{
    static const char zeros[GGUF_DEFAULT_ALIGNMENT];
    const struct ggml_tensor *t = e->tensor;
    const int64_t row = t->ne[0], count = ggml_nelements(t), step = row >= PIECE ? row : PIECE / row * row;
    const size_t size = ggml_nbytes(t);
    int rc = OMNI_OK;

    for (int64_t at = 0; !rc && at < count; at += step) {
        const int64_t n = count - at < step ? count - at : step;
        const size_t n_bytes = ggml_row_size(t->type, row) * (size_t)(n / row);

        rc = e->feed.read(e->feed.from, at, n, x);
        if (!rc)
            rc = check_numbers(e, x, n);
        if (!rc && t->type != GGML_TYPE_F32)
            ggml_quantize_chunk(t->type, x, bytes, 0, n / row, row, NULL);
        if (!rc)
            rc = om_part_file_write(file, t->type == GGML_TYPE_F32 ? (const void *)x : bytes, n_bytes);
        o->done += n_bytes;
        if (!rc && progress && progress(user, o->done, o->all))
            rc = OMNI_AGAIN;
    }
    if (!rc && padded(size) > size)
        rc = om_part_file_write(file, zeros, (size_t)(padded(size) - size));
    return rc;
}

static int put_tensors(om_gguf_out *o, om_part_file *file, om_gguf_progress progress, void *user)
{
    int64_t longest = PIECE;
    int rc = OMNI_OK;

    for (size_t i = 0; i < o->n; i++)
        if (o->entries[i].tensor->ne[0] > longest)
            longest = o->entries[i].tensor->ne[0];
    float *x = om_calloc((size_t)longest, sizeof *x), *bytes = om_calloc((size_t)longest, sizeof *bytes);
    if (!x || !bytes)
        rc = om_fail(OMNI_ERR_MEMORY, "%s: out of memory for %lld numbers", file->path, (long long)longest);
    for (size_t i = 0; !rc && i < o->n; i++)
        rc = put_tensor(o, &o->entries[i], file, x, bytes, progress, user);
    om_free(x);
    om_free(bytes);
    return rc;
}

int om_gguf_out_rewrite_metadata(om_gguf_out *o, om_part_file *file)
{
    const size_t n = gguf_get_meta_size(o->gguf);
    unsigned char *bytes = om_calloc(n, 1);
    int rc;

    if (!bytes)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory for %zu bytes of metadata", file->path, n);
    gguf_get_meta_data(o->gguf, bytes);
    rc = om_part_file_write_at(file, bytes, n, 0);
    om_free(bytes);
    return rc;
}

int om_gguf_out_write(om_gguf_out *o, om_part_file *file, om_gguf_progress progress, void *user)
{
    const size_t n = gguf_get_meta_size(o->gguf);
    unsigned char *bytes = om_calloc(n, 1);
    int rc;

    if (!bytes)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory for %zu bytes of metadata", file->path, n);
    o->all = om_gguf_out_bytes(o);
    o->done = n;
    gguf_get_meta_data(o->gguf, bytes);
    rc = om_part_file_write(file, bytes, n);
    om_free(bytes);
    return rc ? rc : put_tensors(o, file, progress, user);
}

uint32_t om_gguf_file_type(enum ggml_type type)
{
    switch (type) {
    case GGML_TYPE_F16:  return 1;
    case GGML_TYPE_Q4_0: return 2;
    case GGML_TYPE_Q8_0: return 7;
    case GGML_TYPE_BF16: return 32;
    default:             return 0;
    }
}
