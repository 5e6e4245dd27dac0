/*
 * Products y [n][rows] = x [n][columns] W' with n = lambda times the number of slots.
 *
 * 16 rows of W lie side by side in pairs of columns, so that one load feeds as many
 * multiplications as x has rows (25 accumulators of the 32 registers), each with a pair of
 * x broadcast from memory; ggml reads W row by row and needs as many loads as half its
 * multiplications, and a horizontal sum at the end of each. W streams through once,
 * panel after panel; x stays in the second cache.
 *
 *   W   [rows/16][columns/2][16][2]
 *   x   groups of r = 25, 24, 16, 8, 4, 2 or 1 rows, as many as it takes: [columns/2][r][2]
 */
#include "stage/speech-decoder-products.h"
#include "stage/speech-decoder-kernels.h"

#include "base/memory.h"
#include "base/status.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

#define AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))

enum { PANELS_AT_ONCE = 4, AHEAD = 32 /* lines of 64 bytes */ };

bool om_products_supported(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bf16");
}

int om_products_pack(void *matrix, int64_t rows, int64_t columns)
{
    size_t pairs = (size_t)columns / 2;
    uint32_t *copy = om_calloc(OM_PANEL * pairs, sizeof(uint32_t));
    if (!copy)
        return om_fail(OMNI_ERR_MEMORY, "speech decoder: out of memory to rearrange a matrix");
    for (int64_t panel = 0; panel < rows / OM_PANEL; panel++) {
        uint32_t *at = (uint32_t *)matrix + (size_t)panel * OM_PANEL * pairs;
        memcpy(copy, at, OM_PANEL * pairs * sizeof(uint32_t));
        for (size_t p = 0; p < pairs; p++)
            for (size_t r = 0; r < OM_PANEL; r++)
                at[p * OM_PANEL + r] = copy[r * pairs + p];
    }
    om_free(copy);
    return OMNI_OK;
}

/* ---- x ---------------------------------------------------------------------------- */

/* Pairs first ... last of r rows of x into out [pairs][r]. */
AVX512_BF16
static void interleave(const float *x, size_t columns, int r, size_t first, size_t last, uint32_t *out)
{
    for (int i = 0; i < r; i++) {
        const float *row = x + (size_t)i * columns;
        for (size_t p = first; p < last; p += 16) {
            uint32_t pairs[16];
            size_t n = last - p < 16 ? last - p : 16;
            __mmask32 have = (__mmask32)((1ull << (2 * n)) - 1);
            __m512 low = _mm512_maskz_loadu_ps((__mmask16)have, row + 2 * p);
            __m512 high = _mm512_maskz_loadu_ps((__mmask16)(have >> 16), row + 2 * p + 16);
            _mm512_storeu_si512(pairs, (__m512i)_mm512_cvtne2ps_pbh(high, low));
            for (size_t j = 0; j < n; j++)
                out[(p + j) * (size_t)r + (size_t)i] = pairs[j];
        }
    }
}

static void operand_op(struct ggml_tensor *dst, int ith, int nth, void *user)
{
    const struct ggml_tensor *x = dst->src[0];
    size_t columns = (size_t)x->ne[0], pairs = columns / 2;
    size_t share = (pairs + (size_t)nth - 1) / (size_t)nth;
    size_t first = share * (size_t)ith, last = first + share < pairs ? first + share : pairs;
    uint32_t *out = dst->data;
    (void)user;
    for (int64_t done = 0, r; done < x->ne[1] && first < last; done += r) {
        r = om_row_group(x->ne[1] - done);
        interleave((const float *)x->data + (size_t)done * columns, columns, (int)r, first, last,
                   out + (size_t)done * pairs);
    }
}

struct ggml_tensor *om_products_operand(struct ggml_context *ctx, struct ggml_tensor *x)
{
    return ggml_custom_4d(ctx, GGML_TYPE_I32, x->ne[0] / 2, x->ne[1], 1, 1, &x, 1, operand_op,
                          GGML_N_TASKS_MAX, NULL);
}

/* ---- x W' --------------------------------------------------------------------------- */

/* r is a constant where this is inlined. c [r][16], rows stride apart. */
AVX512_BF16 __attribute__((always_inline))
static inline void panel_rows(const int r, size_t pairs, const uint32_t *x, const uint32_t *w, float *c,
                              size_t stride)
{
    __m512 sum[25];
#pragma GCC unroll 25
    for (int i = 0; i < r; i++)
        sum[i] = _mm512_setzero_ps();
    for (size_t p = 0; p < pairs; p++, x += r, w += OM_PANEL) {
        __m512bh y = (__m512bh)_mm512_loadu_si512(w);
        _mm_prefetch((const char *)(w + AHEAD * OM_PANEL), _MM_HINT_T0);
#pragma GCC unroll 25
        for (int i = 0; i < r; i++)
            sum[i] = _mm512_dpbf16_ps(sum[i], (__m512bh)_mm512_set1_epi32((int)x[i]), y);
    }
#pragma GCC unroll 25
    for (int i = 0; i < r; i++)
        _mm512_storeu_ps(c + (size_t)i * stride, sum[i]);
}

AVX512_BF16
static void panel_of(int r, size_t pairs, const uint32_t *x, const uint32_t *w, float *c, size_t stride)
{
    switch (r) {
    case 25: panel_rows(25, pairs, x, w, c, stride); break;
    case 24: panel_rows(24, pairs, x, w, c, stride); break;
    case 16: panel_rows(16, pairs, x, w, c, stride); break;
    case 8:  panel_rows(8, pairs, x, w, c, stride); break;
    case 4:  panel_rows(4, pairs, x, w, c, stride); break;
    case 2:  panel_rows(2, pairs, x, w, c, stride); break;
    default: panel_rows(1, pairs, x, w, c, stride); break;
    }
}

/* Threads take panels as they come free: a disturbed core holds up nobody for long. */
static void multiply_op(struct ggml_tensor *dst, int ith, int nth, void *user)
{
    om_product *product = user;
    const uint32_t *x = dst->src[0]->data, *w = dst->src[1]->data;
    size_t pairs = (size_t)dst->src[0]->ne[0], rows = (size_t)product->rows, panels = rows / OM_PANEL;
    int64_t n = dst->ne[1];
    (void)ith, (void)nth;
    for (;;) {
        size_t first = (size_t)atomic_fetch_add(&product->next, 1) * PANELS_AT_ONCE;
        if (first >= panels)
            break;
        for (size_t panel = first; panel < panels && panel < first + PANELS_AT_ONCE; panel++)
            for (int64_t done = 0, r; done < n; done += r) {
                r = om_row_group(n - done);
                panel_of((int)r, pairs, x + (size_t)done * pairs, w + panel * OM_PANEL * pairs,
                         (float *)dst->data + (size_t)done * rows + panel * OM_PANEL, rows);
            }
    }
}

struct ggml_tensor *om_products_multiply(struct ggml_context *ctx, struct ggml_tensor *matrix,
                                         struct ggml_tensor *x, int64_t n, om_product *product)
{
    struct ggml_tensor *args[2] = { x, matrix };
    return ggml_custom_4d(ctx, GGML_TYPE_F32, product->rows, n, 1, 1, args, 2, multiply_op,
                          GGML_N_TASKS_MAX, product);
}

#else

bool om_products_supported(void)
{
    return false;
}

int om_products_pack(void *matrix, int64_t rows, int64_t columns)
{
    (void)matrix, (void)rows, (void)columns;
    return om_fail(OMNI_ERR_STATE, "speech decoder: this processor does not multiply BF16");
}

struct ggml_tensor *om_products_operand(struct ggml_context *ctx, struct ggml_tensor *x)
{
    (void)ctx;
    return x;
}

struct ggml_tensor *om_products_multiply(struct ggml_context *ctx, struct ggml_tensor *matrix,
                                         struct ggml_tensor *x, int64_t n, om_product *product)
{
    (void)n, (void)product;
    return ggml_mul_mat(ctx, matrix, x);
}

#endif
