/*
 * The inner loops: a small matrix product on packed panels and one tile of an
 * online softmax. Each exists for f32 (plain C) and for bf16 in plain C, with AVX2 and
 * with AVX-512 BF16 (chosen at run time, so that one binary serves every x86-64).
 *
 * Easy to get wrong: a masked score is -INFINITY while a row that has seen
 * nothing has max = -1e30, never -INFINITY, else inf - inf gives NaN.
 */
#include "stage/speech-decoder-kernels.h"

#include <math.h>
#include <string.h>

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

/* ---- plain C ---------------------------------------------------------------- */

INLINE float bf16_low(uint32_t pair)
{
    union { uint32_t u; float f; } bits = { .u = pair << 16 };
    return bits.f;
}

INLINE float bf16_high(uint32_t pair)
{
    union { uint32_t u; float f; } bits = { .u = pair & 0xffff0000u };
    return bits.f;
}

/* 2^x for x <= 0, 0 below 2^-126. Taylor series of 2^f, |f| <= 1/2: relative error < 1e-8 before rounding.
 * Adding 1.5 * 2^23 rounds to an integer, in whose low bits it then lies. */
INLINE float exp2_nonpositive(float x)
{
    x = x > -200.0f ? x : -200.0f;
    union { float f; uint32_t u; } whole = { .f = x + 12582912.0f };
    float f = x - (whole.f - 12582912.0f);
    float y = 1.5252734e-5f;
    y = y * f + 1.5403530e-4f;
    y = y * f + 1.3333558e-3f;
    y = y * f + 9.6181291e-3f;
    y = y * f + 5.5504109e-2f;
    y = y * f + 2.4022651e-1f;
    y = y * f + 6.9314718e-1f;
    y = y * f + 1.0f;
    int32_t exponent = (int32_t)(whole.u - 0x4b400000u) + 127;
    union { uint32_t u; float f; } power = { .u = (uint32_t)(exponent > 0 ? exponent : 0) << 23 };
    return y * power.f;
}

/* c[OM_LANES] (+)= sum over pairs of a times b [pairs][OM_LANES][2]; pairs of a are step numbers apart. */
INLINE void row_f32(int pairs, const float *a, size_t step, const float *b, float *c, bool add)
{
    float sum[OM_LANES] = { 0 };
    for (int n = 0; n < pairs; n++, a += step, b += 2 * OM_LANES)
        for (int l = 0; l < OM_LANES; l++)
            sum[l] += a[0] * b[2 * l] + a[1] * b[2 * l + 1];
    for (int l = 0; l < OM_LANES; l++)
        c[l] = add ? c[l] + sum[l] : sum[l];
}

#if defined(__GNUC__)

/* Four lanes are in the base set of x86-64 and AArch64. */
typedef float    quad  __attribute__((vector_size(16)));
typedef uint32_t quadu __attribute__((vector_size(16)));

/* The same; step in pairs. */
INLINE void row_bf16(int pairs, const uint32_t *a, size_t step, const uint32_t *b, float *c, bool add)
{
    quad sum[OM_LANES / 4] = { { 0 } };
    for (int n = 0; n < pairs; n++, a += step, b += OM_LANES) {
        float low = bf16_low(*a), high = bf16_high(*a);
#pragma GCC unroll 4
        for (int i = 0; i < OM_LANES / 4; i++) {
            quadu y;
            memcpy(&y, b + 4 * i, sizeof y);
            sum[i] += low * (quad)(y << 16) + high * (quad)(y & 0xffff0000u);
        }
    }
    for (int i = 0; i < OM_LANES / 4; i++)
        for (int l = 0; l < 4; l++)
            c[4 * i + l] = add ? c[4 * i + l] + sum[i][l] : sum[i][l];
}

#else

/* The same; step in pairs. */
INLINE void row_bf16(int pairs, const uint32_t *a, size_t step, const uint32_t *b, float *c, bool add)
{
    float sum[OM_LANES] = { 0 };
    for (int n = 0; n < pairs; n++, a += step, b += OM_LANES) {
        float low = bf16_low(*a), high = bf16_high(*a);
        for (int l = 0; l < OM_LANES; l++)
            sum[l] += low * bf16_low(b[l]) + high * bf16_high(b[l]);
    }
    for (int l = 0; l < OM_LANES; l++)
        c[l] = add ? c[l] + sum[l] : sum[l];
}

#endif

static void score_f32(int rows, int pairs, const void *q, const void *k, float *s)
{
    for (int r = 0; r < rows; r++)
        row_f32(pairs, (const float *)q + 2 * r, 2 * (size_t)rows, k, s + r * OM_TILE, false);
}

static void score_bf16(int rows, int pairs, const void *q, const void *k, float *s)
{
    for (int r = 0; r < rows; r++)
        row_bf16(pairs, (const uint32_t *)q + r, (size_t)rows, k, s + r * OM_TILE, false);
}

static void blend_f32(int rows, const void *p, const void *v, float *o, int width)
{
    for (int r = 0; r < rows; r++, o += width)
        row_f32(OM_TILE / 2, (const float *)p + r * OM_TILE, 2, v, o, true);
}

static void blend_bf16(int rows, const void *p, const void *v, float *o, int width)
{
    for (int r = 0; r < rows; r++, o += width)
        row_bf16(OM_TILE / 2, (const uint32_t *)p + r * OM_TILE / 2, 1, v, o, true);
}

/* Weights of one row into w; updates the row's max and sum and scales its output down. Eight lanes of
 * max and sum, because compilers keep the order of sums. */
INLINE void weigh_row(const float *s, float *max, float *sum, float *w, float *o, int width)
{
    float top[8], total[8] = { 0 };
    for (int l = 0; l < 8; l++)
        top[l] = *max;
    for (int i = 0; i < OM_TILE; i += 8)
        for (int l = 0; l < 8; l++)
            top[l] = s[i + l] > top[l] ? s[i + l] : top[l];
    for (int l = 1; l < 8; l++)
        top[0] = top[l] > top[0] ? top[l] : top[0];
    if (top[0] > *max) {
        float scale = exp2_nonpositive(*max - top[0]);
        *sum *= scale;
        for (int d = 0; d < width; d++)
            o[d] *= scale;
        *max = top[0];
    }
    for (int i = 0; i < OM_TILE; i++)
        w[i] = exp2_nonpositive(s[i] - top[0]);
    for (int i = 0; i < OM_TILE; i += 8)
        for (int l = 0; l < 8; l++)
            total[l] += w[i + l];
    for (int l = 0; l < 8; l++)
        *sum += total[l];
}

static void weigh_f32(int rows, const float *s, float *max, float *sum, void *p, float *o, int width)
{
    for (int r = 0; r < rows; r++)
        weigh_row(s + (size_t)r * OM_TILE, max + r, sum + r, (float *)p + (size_t)r * OM_TILE,
                  o + (size_t)r * (size_t)width, width);
}

/* Compiled twice: for any processor, and with AVX2. */
INLINE void weigh_bf16_rows(int rows, const float *s, float *max, float *sum, void *p, float *o, int width)
{
    float w[OM_TILE];
    for (int r = 0; r < rows; r++) {
        weigh_row(s + (size_t)r * OM_TILE, max + r, sum + r, w, o + (size_t)r * (size_t)width, width);
        uint16_t *row = (uint16_t *)p + (size_t)r * OM_TILE;
        for (int l = 0; l < OM_TILE; l++)      /* as om_bf16; weights are never NaN */
            row[l] = om_bf16_finite(w[l]);
    }
}

static void weigh_bf16(int rows, const float *s, float *max, float *sum, void *p, float *o, int width)
{
    weigh_bf16_rows(rows, s, max, sum, p, o, width);
}

static const om_attention_kernels kernels_f32 = {
    "portable", sizeof(float), score_f32, weigh_f32, blend_f32
};
static const om_attention_kernels kernels_bf16 = {
    "portable", sizeof(uint16_t), score_bf16, weigh_bf16, blend_bf16
};

/* ---- AVX2: bf16 is stored, f32 is multiplied --------------------------------------- */

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma")))

/* rows (at most 4), row and step are constants where this is inlined: 8 of 16 registers accumulate. */
AVX2 INLINE void product_avx2(const int rows, const size_t row, const size_t step, int pairs,
                              const uint32_t *a, const uint32_t *b, float *c, size_t stride_c, const bool add)
{
    const __m256i top = _mm256_set1_epi32((int)0xffff0000u);
    __m256 sum[4][2];
#pragma GCC unroll 8
    for (int i = 0; i < 2 * rows; i++) {
        const float *from = c + (size_t)(i / 2) * stride_c + i % 2 * 8;
        sum[i / 2][i % 2] = add ? _mm256_loadu_ps(from) : _mm256_setzero_ps();
    }
    for (int n = 0; n < pairs; n++, a += step, b += OM_LANES) {
        __m256i y0 = _mm256_loadu_si256((const __m256i *)(const void *)b);
        __m256i y1 = _mm256_loadu_si256((const __m256i *)(const void *)(b + 8));
        __m256 low0 = _mm256_castsi256_ps(_mm256_slli_epi32(y0, 16));
        __m256 low1 = _mm256_castsi256_ps(_mm256_slli_epi32(y1, 16));
        __m256 high0 = _mm256_castsi256_ps(_mm256_and_si256(y0, top));
        __m256 high1 = _mm256_castsi256_ps(_mm256_and_si256(y1, top));
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            __m256i x = _mm256_set1_epi32((int)a[(size_t)r * row]);
            __m256 low = _mm256_castsi256_ps(_mm256_slli_epi32(x, 16));
            __m256 high = _mm256_castsi256_ps(_mm256_and_si256(x, top));
            sum[r][0] = _mm256_fmadd_ps(low, low0, sum[r][0]);
            sum[r][1] = _mm256_fmadd_ps(low, low1, sum[r][1]);
            sum[r][0] = _mm256_fmadd_ps(high, high0, sum[r][0]);
            sum[r][1] = _mm256_fmadd_ps(high, high1, sum[r][1]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < 2 * rows; i++)
        _mm256_storeu_ps(c + (size_t)(i / 2) * stride_c + i % 2 * 8, sum[i / 2][i % 2]);
}

/* step: rows of the whole group, a constant once the group is a full one. */
AVX2 INLINE void score_group_avx2(int rows, const size_t step, int pairs, const uint32_t *q,
                                  const uint32_t *k, float *s)
{
    int r = 0;
    for (; r + 4 <= rows; r += 4)
        product_avx2(4, 1, step, pairs, q + r, k, s + (size_t)r * OM_TILE, OM_TILE, false);
    for (; r < rows; r++)
        product_avx2(1, 1, step, pairs, q + r, k, s + (size_t)r * OM_TILE, OM_TILE, false);
}

AVX2 static void score_avx2(int rows, int pairs, const void *q, const void *k, float *s)
{
    if (rows == 25)
        score_group_avx2(25, 25, pairs, q, k, s);
    else
        score_group_avx2(rows, (size_t)rows, pairs, q, k, s);
}

AVX2 static void blend_avx2(int rows, const void *p, const void *v, float *o, int width)
{
    enum { ROW = OM_TILE / 2 };
    const uint32_t *a = p;
    int r = 0;
    for (; r + 4 <= rows; r += 4)
        product_avx2(4, ROW, 1, ROW, a + r * ROW, v, o + (size_t)r * (size_t)width, (size_t)width, true);
    for (; r < rows; r++)
        product_avx2(1, ROW, 1, ROW, a + r * ROW, v, o + (size_t)r * (size_t)width, (size_t)width, true);
}

AVX2 static void weigh_avx2(int rows, const float *s, float *max, float *sum, void *p, float *o, int width)
{
    weigh_bf16_rows(rows, s, max, sum, p, o, width);
}

static const om_attention_kernels kernels_avx2 = {
    "avx2", sizeof(uint16_t), score_avx2, weigh_avx2, blend_avx2
};

/* ---- AVX-512 with bf16 -------------------------------------------------------- */

#define AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))

enum { AHEAD = 32 };    /* lines of 64 bytes: tiles lie one behind the other, too many for caches */

/* rows, row and step are constants where this is inlined: one accumulator register per row, one load of b
 * for all of them, broadcasts of a from memory off one pointer. 25 rows use 25 of 32 registers. */
AVX512_BF16 __attribute__((always_inline))
static inline void product(const int rows, const size_t row, const size_t step, int pairs, const uint32_t *a,
                           const uint32_t *b, float *c, size_t stride_c, const bool add)
{
    __m512 sum[25];
#pragma GCC unroll 25
    for (int r = 0; r < rows; r++)
        sum[r] = add ? _mm512_loadu_ps(c + (size_t)r * stride_c) : _mm512_setzero_ps();
    for (int n = 0; n < pairs; n++, a += step, b += OM_LANES) {
        __m512bh y = (__m512bh)_mm512_loadu_si512(b);
        _mm_prefetch((const char *)(b + AHEAD * OM_LANES), _MM_HINT_T0);
#pragma GCC unroll 25
        for (int r = 0; r < rows; r++)
            sum[r] = _mm512_dpbf16_ps(sum[r], (__m512bh)_mm512_set1_epi32((int)a[(size_t)r * row]), y);
    }
#pragma GCC unroll 25
    for (int r = 0; r < rows; r++)
        _mm512_storeu_ps(c + (size_t)r * stride_c, sum[r]);
}

AVX512_BF16
static void score_avx512(int rows, int pairs, const void *q, const void *k, float *s)
{
#define SCORE(N) case N: product(N, 1, N, pairs, q, k, s, OM_TILE, false); break;
    switch (rows) {
    SCORE(25) SCORE(24) SCORE(16) SCORE(8) SCORE(4) SCORE(2) SCORE(1)
    }
#undef SCORE
}

AVX512_BF16
static void blend_avx512(int rows, const void *p, const void *v, float *o, int width)
{
    const uint32_t *a = p;
    enum { ROW = OM_TILE / 2 };
#define BLEND(N) case N: product(N, ROW, 1, ROW, a, v, o, (size_t)width, true); break;
    for (int r = 0; r < rows;) {
        int group = om_row_group(rows - r);
        switch (group) {
        BLEND(25) BLEND(24) BLEND(16) BLEND(8) BLEND(4) BLEND(2) BLEND(1)
        }
        r += group, a += group * ROW, o += group * width;
    }
#undef BLEND
}

/* As exp2_nonpositive with two terms less (2e-6): the results are rounded to bf16. */
AVX512_BF16
static inline __m512 exp2_avx512(__m512 x)
{
    x = _mm512_max_ps(x, _mm512_set1_ps(-200.0f));
    __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 f = _mm512_sub_ps(x, whole);
    __m512 y = _mm512_set1_ps(1.3333558e-3f);
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(9.6181291e-3f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(5.5504109e-2f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(2.4022651e-1f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(6.9314718e-1f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(y, whole);
}

AVX512_BF16
static void weigh_avx512(int rows, const float *s, float *max, float *sum, void *p, float *o, int width)
{
    for (int r = 0; r < rows; r++, s += OM_TILE, o += width) {
        __m512 x[4], top = _mm512_loadu_ps(s);
        for (int i = 0; i < 4; i++) {
            x[i] = _mm512_loadu_ps(s + 16 * i);
            top = _mm512_max_ps(top, x[i]);
        }
        float high = _mm512_reduce_max_ps(top);
        if (high > max[r]) {
            __m512 scale = exp2_avx512(_mm512_set1_ps(max[r] - high));
            sum[r] *= _mm512_cvtss_f32(scale);
            for (int d = 0; d < width; d += OM_LANES)
                _mm512_storeu_ps(o + d, _mm512_mul_ps(_mm512_loadu_ps(o + d), scale));
            max[r] = high;
        }
        __m512 base = _mm512_set1_ps(max[r]);
        for (int i = 0; i < 4; i++)
            x[i] = exp2_avx512(_mm512_sub_ps(x[i], base));
        sum[r] += _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(x[0], x[1]), _mm512_add_ps(x[2], x[3])));
        uint16_t *row = (uint16_t *)p + (size_t)r * OM_TILE;
        _mm512_storeu_si512(row, (__m512i)_mm512_cvtne2ps_pbh(x[1], x[0]));
        _mm512_storeu_si512(row + 32, (__m512i)_mm512_cvtne2ps_pbh(x[3], x[2]));
    }
}

static const om_attention_kernels kernels_avx512 = {
    "avx512-bf16", sizeof(uint16_t), score_avx512, weigh_avx512, blend_avx512
};

static const om_attention_kernels *vector_kernels(int level)
{
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512bf16");
    return level == 0 && avx512 ? &kernels_avx512 : level == 1 && avx2 ? &kernels_avx2 : NULL;
}

#else

static const om_attention_kernels *vector_kernels(int level)
{
    (void)level;
    return NULL;
}

#endif

const om_attention_kernels *om_attention_kernels_for(bool f32, const char *name)
{
    for (int level = 0; level < 2 && !f32; level++) {
        const om_attention_kernels *k = vector_kernels(level);
        if (k && (!name || !strcmp(name, k->name)))
            return k;
    }
    return f32 ? &kernels_f32 : &kernels_bf16;
}
