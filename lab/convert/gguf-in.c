/* gguf-in: see the header. */
#include "gguf-in.h"

#include "base/memory.h"
#include "base/status.h"
#include "digest.h"
#include "file-read.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 1 << 20, Q8_BLOCK = 32 };

int om_gguf_in_open(const char *path, om_gguf_in *out)
{
    int rc;

    *out = (om_gguf_in){.fd = -1};
    rc = om_weights_open(path, &out->weights);
    if (rc)
        return rc;
    out->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (out->fd >= 0)
        return OMNI_OK;
    rc = om_fail(OMNI_ERR_IO, "%s: can not be opened: %s", path, strerror(errno));
    om_gguf_in_close(out);
    return rc;
}

void om_gguf_in_close(om_gguf_in *in)
{
    if (in->fd >= 0 && in->weights)
        close(in->fd);
    om_weights_free(in->weights);
    *in = (om_gguf_in){.fd = -1};
}

static int read_bytes(const om_gguf_in *in, uint64_t at, void *out, size_t n)
{
    return om_file_read(in->fd, om_weights_path(in->weights), at, out, n);
}

int om_gguf_read(const void *tensor, int64_t first, int64_t n, float *out)
{
    const om_gguf_tensor *t = tensor;
    const enum ggml_type type = (enum ggml_type)t->desc->type;
    const struct ggml_type_traits *traits = ggml_get_type_traits(type);
    const int64_t block = ggml_blck_size(type);
    const size_t bytes = (size_t)(n / block) * ggml_type_size(type);
    const uint64_t at = t->desc->offset + (uint64_t)(first / block) * ggml_type_size(type);
    int rc;

    if (type == GGML_TYPE_F32)
        return read_bytes(t->file, at, out, bytes);
    if (!traits->to_float)
        return om_fail(OMNI_ERR_MODEL, "%s: tensor %s: type %s can not be turned into f32",
                       om_weights_path(t->file->weights), t->desc->name, ggml_type_name(type));
    void *raw = om_calloc(bytes, 1);
    if (!raw)
        return om_fail(OMNI_ERR_MEMORY, "out of memory for %zu bytes of %s", bytes, t->desc->name);
    rc = read_bytes(t->file, at, raw, bytes);
    if (!rc)
        traits->to_float(raw, out, n);
    om_free(raw);
    return rc;
}

void om_gguf_name(const void *tensor, char *text, size_t room)
{
    const om_gguf_tensor *t = tensor;

    snprintf(text, room, "%s: tensor %s", om_weights_path(t->file->weights), t->desc->name);
}

/* ---- differences --------------------------------------------------------------------- */

/* Relative rms that a type of fewer than 8 bits may show on weights: measured values are at most two thirds. */
static double loosest(enum ggml_type type)
{
    switch (type) {
    case GGML_TYPE_Q6_K:   return 0.04;
    case GGML_TYPE_Q5_0:
    case GGML_TYPE_Q5_1:
    case GGML_TYPE_Q5_K:   return 0.08;
    case GGML_TYPE_Q4_0:
    case GGML_TYPE_Q4_1:
    case GGML_TYPE_Q4_K:
    case GGML_TYPE_IQ4_NL:
    case GGML_TYPE_IQ4_XS: return 0.16;
    case GGML_TYPE_Q3_K:   return 0.30;
    default:               return 0.60;
    }
}

/* What a number of a block whose largest is most may be off. Types judged by their rms alone: anything. */
static double limit(enum ggml_type type, double most)
{
    switch (type) {
    case GGML_TYPE_F32:  return 0;
    case GGML_TYPE_F16:  return fmax(most * 0x1p-11, 0x1p-25);
    case GGML_TYPE_BF16: return fmax(most * 0x1p-8, 0x1p-134);
    case GGML_TYPE_Q8_0: return most * (0.5 / 127 + 0x1p-11) * 1.001 + 0x1p-18;     /* its scale is an f16 */
    default:             return INFINITY;
    }
}

/* Is each b as near to its a as the type's rounding allows? */
static bool rounded_well(enum ggml_type type, const float *a, const float *b, int64_t n)
{
    const int64_t block = type == GGML_TYPE_Q8_0 ? Q8_BLOCK : 1;

    for (int64_t i = 0; i + block <= n; i += block) {
        double most = 0, apart = 0;

        for (int64_t k = i; k < i + block; k++) {
            const double d = fabs((double)a[k] - (double)b[k]);

            if (isnan(d))       /* fmax would drop it */
                return false;
            most = fmax(most, fabs((double)a[k]));
            apart = fmax(apart, d);
        }
        if (!(apart <= limit(type, most)))
            return false;
    }
    return true;
}

int om_gguf_compare(om_feed original, const om_gguf_tensor *made, om_difference *out)
{
    const enum ggml_type type = (enum ggml_type)made->desc->type;
    const int64_t *ne = made->desc->ne, row = ne[0], count = row * ne[1] * ne[2] * ne[3];
    const int64_t step = row >= PIECE ? row : PIECE / row * row;
    float *a = om_calloc((size_t)step, sizeof *a), *b = om_calloc((size_t)step, sizeof *b);
    double square = 0, apart = 0;
    int rc = a && b ? OMNI_OK : om_fail(OMNI_ERR_MEMORY, "out of memory for comparing %s", made->desc->name);

    out->within = true;
    for (int64_t at = 0; !rc && at < count; at += step) {
        const int64_t n = count - at < step ? count - at : step;

        rc = original.read(original.from, at, n, a);
        if (!rc)
            rc = om_gguf_read(made, at, n, b);
        if (rc)
            break;
        for (int64_t i = 0; i < n; i++) {
            const double d = (double)a[i] - (double)b[i];

            square += (double)a[i] * (double)a[i];
            apart += d * d;
        }
        out->within = out->within && rounded_well(type, a, b, n);
    }
    om_free(a);
    om_free(b);
    out->rms = apart == 0 ? 0 : sqrt(apart / square);
    if (ggml_is_quantized(type) && type != GGML_TYPE_Q8_0)
        out->within = out->rms <= loosest(type);
    return rc;
}

int om_gguf_checksum(const om_gguf_tensor *t, char *hex)
{
    om_digest *d = om_digest_new(OM_DIGEST_SHA256);
    unsigned char *piece = om_calloc(PIECE, 1);
    uint64_t at = t->desc->offset, left = t->desc->bytes;
    int rc = d && piece ? OMNI_OK : om_fail(OMNI_ERR_MEMORY, "out of memory for the checksum of %s", t->desc->name);

    while (!rc && left > 0) {
        const size_t n = left < PIECE ? (size_t)left : PIECE;

        rc = read_bytes(t->file, at, piece, n);
        if (!rc)
            rc = om_digest_update(d, piece, n);
        at += n;
        left -= n;
    }
    if (!rc)
        rc = om_digest_hex(d, hex);
    om_free(piece);
    om_digest_free(d);
    return rc;
}
