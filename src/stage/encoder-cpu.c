/*
 * encoder-cpu: GELU and the residual sum, in plain C that compilers turn into vector code.
 *
 * erf is Abramowitz & Stegun 7.1.26, |error| <= 1.5e-7 in exact arithmetic:
 *   erfc(z) = (a1 t + ... + a5 t^5) exp(-z^2),  t = 1 / (1 + p z),  z >= 0
 * and GELU(x) = x erfc(-x / sqrt 2) / 2 is taken from the side where erfc is small, so that the far
 * negative tail keeps its relative accuracy. Against libm's erff: |error| <= 5e-7 (tested).
 */
#include "stage/encoder-cpu.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define OM_X86 1
#define OM_INLINE static inline __attribute__((always_inline))
#else
#define OM_INLINE static inline
#endif

enum { PIECE = 512 };    /* floats of a row done at a time: stays in the first cache */

/* Choices are made with bits below: ?: on floats keeps compilers from using vectors. */
OM_INLINE uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

OM_INLINE float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* exp(y) for -87 <= y <= 0; relative error about 2e-7. */
OM_INLINE float exp_negative(float y)
{
    const float shift = 12582912.0f;             /* 1.5 * 2^23: adding it rounds to an integer */
    float k = y * 1.44269504f + shift;
    float n = k - shift;
    float r = (y - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.98756912e-4f;

    p = p * r + 1.39819994e-3f;
    p = p * r + 8.33345205e-3f;
    p = p * r + 4.16657962e-2f;
    p = p * r + 1.66666657e-1f;
    p = p * r + 0.5f;
    p = (p * r) * r + r + 1.0f;
    return p * float_of((bits_of(k) + 127u) << 23);
}

OM_INLINE float gelu_one(float x)
{
    const uint32_t far = 0x4114CCCDu;            /* 9.3: erfc is below 1e-38 there */
    const uint32_t u = bits_of(x), negative = 0u - (u >> 31);
    const uint32_t size = bits_of(0.707106781f * float_of(u & 0x7FFFFFFFu));
    const float z = float_of(size < far ? size : far);
    const float t = 1.0f / (1.0f + 0.3275911f * z);
    float p = 1.061405429f;
    float half;

    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    half = 0.5f * (p * t) * exp_negative(-z * z);
    return x * float_of((bits_of(half) & negative) | (bits_of(1.0f - half) & ~negative));
}

OM_INLINE void gelu_row(const float *restrict x, const float *restrict bias, float *restrict y, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = gelu_one(x[i] + bias[i]);
}

typedef void gelu_fn(const float *restrict x, const float *restrict bias, float *restrict y, int n);

static void gelu_generic(const float *restrict x, const float *restrict bias, float *restrict y, int n)
{
    gelu_row(x, bias, y, n);
}

#ifdef OM_X86
__attribute__((target("avx2,fma")))
static void gelu_avx2(const float *restrict x, const float *restrict bias, float *restrict y, int n)
{
    gelu_row(x, bias, y, n);
}
#endif

static gelu_fn *best_gelu(void)
{
#ifdef OM_X86
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return gelu_avx2;
#endif
    return gelu_generic;
}

void om_gelu_f32(const float *x, float *y, size_t n)
{
    static const float zero[PIECE];
    gelu_fn *fn = best_gelu();

    for (size_t i = 0; i < n; i += PIECE)
        fn(x + i, zero, y + i, (int)(n - i < PIECE ? n - i : PIECE));
}

static void gelu_op(struct ggml_tensor *dst, int ith, int nth, void *user)
{
    const struct ggml_tensor *x = dst->src[0];
    const float *bias = dst->src[1]->data;
    const int64_t c = x->ne[0], rows = ggml_nrows(x);
    gelu_fn *fn = best_gelu();
    float piece[PIECE];

    (void)user;
    for (int64_t r = rows * ith / nth; r < rows * (ith + 1) / nth; r++) {
        const float *from = (const float *)x->data + r * c;
        for (int64_t i = 0; i < c; i += PIECE) {
            const int n = (int)(c - i < PIECE ? c - i : PIECE);
            if (dst->type == GGML_TYPE_F32) {
                fn(from + i, bias + i, (float *)dst->data + r * c + i, n);
            } else {
                fn(from + i, bias + i, piece, n);
                om_to_bf16(piece, (ggml_bf16_t *)dst->data + r * c + i, (size_t)n);
            }
        }
    }
}

struct ggml_tensor *om_cpu_gelu(struct ggml_context *ctx, struct ggml_tensor *x, struct ggml_tensor *bias,
                                enum ggml_type type)
{
    struct ggml_tensor *args[2] = { x, bias };
    return ggml_custom_4d(ctx, type, x->ne[0], x->ne[1], 1, 1, args, 2, gelu_op, GGML_N_TASKS_MAX, NULL);
}

static void add_op(struct ggml_tensor *dst, int ith, int nth, void *user)
{
    float *restrict x = dst->data;
    const float *restrict y = dst->src[1]->data;
    const float *restrict bias = dst->src[2]->data;
    const int64_t c = dst->ne[0], rows = ggml_nrows(dst);

    (void)user;
    for (int64_t r = rows * ith / nth; r < rows * (ith + 1) / nth; r++)
        for (int64_t i = 0; i < c; i++)
            x[r * c + i] += y[r * c + i] + bias[i];
}

struct ggml_tensor *om_cpu_add(struct ggml_context *ctx, struct ggml_tensor *x, struct ggml_tensor *y,
                               struct ggml_tensor *bias)
{
    struct ggml_tensor *args[2] = { y, bias };
    return ggml_custom_inplace(ctx, x, args, 2, add_op, GGML_N_TASKS_MAX, NULL);
}
