/*
 * encoder-bf16: layer norm and attention for processors that multiply BF16 (AVX-512 BF16).
 *
 * Attention by ggml means either a matrix [T][T] per head in memory (180 MB at T = 1500) or
 * products in f32. Here six queries at a time meet all keys: scores stay in the second cache, and both
 * products are the same kernel, C[6][64] = A[6][2n] B[2n][64] with B packed in pairs of
 * rows, as the instruction wants it:
 *
 *   scores   A = queries [6][64],   B = one block of 64 keys, transposed   n = 32
 *   values   A = weights [6][keys], B = all values of the head             n = keys / 2
 *
 * Packed once per layer: K [heads][blocks][32][64][2], V [heads][blocks * 32][64][2].
 */
#include "stage/encoder-cpu.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")))

enum {
    HEAD = OM_BF16_HEAD,
    BLOCK = 64,              /* keys per packed block */
    TILE = 6,                /* queries at a time: 6 x 4 accumulators leave 8 registers for operands */
    GROUP = 10               /* tiles per job */
};

bool om_cpu_has_bf16(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bf16");
}

/* The lanes of a vector that hold the next of `left` numbers. */
TARGET static inline __mmask16 lanes(size_t left)
{
    return (__mmask16)(left < 16 ? (1u << left) - 1u : 0xFFFFu);
}

TARGET static void to_bf16(const float *x, void *y, size_t n)
{
    uint16_t *out = y;
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 m = lanes(n - i);
        const __m256i h = (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(m, x + i));
        _mm256_mask_storeu_epi16(out + i, m, h);
    }
}

void om_to_bf16(const float *x, void *y, size_t n)
{
    if (om_cpu_has_bf16()) to_bf16(x, y, n);
    else ggml_fp32_to_bf16_row(x, y, (int64_t)n);
}

/* ---- layer norm ------------------------------------------------------------- */

TARGET static void norm_row(const float *x, const float *w, const float *b, float eps, int n, float *y)
{
    __m512 sum = _mm512_setzero_ps(), var = _mm512_setzero_ps();
    float mean, scale;
    int i;

    for (i = 0; i < n; i += 16) {
        const __mmask16 m = lanes((size_t)(n - i));
        sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(m, x + i));
    }
    mean = _mm512_reduce_add_ps(sum) / (float)n;
    for (i = 0; i < n; i += 16) {
        const __mmask16 m = lanes((size_t)(n - i));
        const __m512 d = _mm512_maskz_sub_ps(m, _mm512_maskz_loadu_ps(m, x + i), _mm512_set1_ps(mean));
        var = _mm512_fmadd_ps(d, d, var);
    }
    scale = 1.0f / sqrtf(_mm512_reduce_add_ps(var) / (float)n + eps);
    for (i = 0; i < n; i += 16) {
        const __mmask16 m = lanes((size_t)(n - i));
        const __m512 d = _mm512_sub_ps(_mm512_maskz_loadu_ps(m, x + i), _mm512_set1_ps(mean));
        const __m512 g = _mm512_mul_ps(_mm512_maskz_loadu_ps(m, w + i), _mm512_set1_ps(scale));
        _mm512_mask_storeu_ps(y + i, m, _mm512_fmadd_ps(d, g, _mm512_maskz_loadu_ps(m, b + i)));
    }
}

enum { NORM_MAX = 8192 };    /* widest row that fits the buffer on the stack */

static void norm_op(struct ggml_tensor *dst, int ith, int nth, void *user)
{
    const struct ggml_tensor *x = dst->src[0];
    const float *w = dst->src[1]->data, *b = dst->src[2]->data, *eps = user;
    const int64_t c = x->ne[0], rows = ggml_nrows(x);
    float row[NORM_MAX];

    for (int64_t r = rows * ith / nth; r < rows * (ith + 1) / nth; r++) {
        const float *from = (const float *)x->data + r * c;
        if (dst->type == GGML_TYPE_F32) {
            norm_row(from, w, b, *eps, (int)c, (float *)dst->data + r * c);
        } else {
            norm_row(from, w, b, *eps, (int)c, row);
            to_bf16(row, (ggml_bf16_t *)dst->data + r * c, (size_t)c);
        }
    }
}

struct ggml_tensor *om_cpu_norm(struct ggml_context *ctx, struct ggml_tensor *x, struct ggml_tensor *weight,
                                struct ggml_tensor *bias, const float *eps, enum ggml_type type)
{
    struct ggml_tensor *args[3] = { x, weight, bias };
    if (!om_cpu_has_bf16() || x->ne[0] > NORM_MAX)
        return NULL;
    return ggml_custom_4d(ctx, type, x->ne[0], x->ne[1], 1, 1, args, 3, norm_op, GGML_N_TASKS_MAX,
                          (void *)(uintptr_t)eps);
}

/* ---- the product -------------------------------------------------------------- */

/* c[6][64] = a[6][2n] b[2n][64]: a in rows of lda pairs, b packed [n][64] pairs. */
TARGET static void product(const uint32_t *a, size_t lda, const uint32_t *b, size_t n, float *c, size_t ldc)
{
#define ZERO(i) __m512 c##i##0 = _mm512_setzero_ps(), c##i##1 = c##i##0, c##i##2 = c##i##0, c##i##3 = c##i##0
#define STEP(i)                                                             \
    do {                                                                    \
        const __m512bh x = (__m512bh)_mm512_set1_epi32((int)a[i * lda + p]); \
        c##i##0 = _mm512_dpbf16_ps(c##i##0, b0, x);                         \
        c##i##1 = _mm512_dpbf16_ps(c##i##1, b1, x);                         \
        c##i##2 = _mm512_dpbf16_ps(c##i##2, b2, x);                         \
        c##i##3 = _mm512_dpbf16_ps(c##i##3, b3, x);                         \
    } while (0)
#define KEEP(i)                                       \
    do {                                              \
        _mm512_storeu_ps(c + i * ldc, c##i##0);       \
        _mm512_storeu_ps(c + i * ldc + 16, c##i##1);  \
        _mm512_storeu_ps(c + i * ldc + 32, c##i##2);  \
        _mm512_storeu_ps(c + i * ldc + 48, c##i##3);  \
    } while (0)

    ZERO(0); ZERO(1); ZERO(2); ZERO(3); ZERO(4); ZERO(5);
    for (size_t p = 0; p < n; p++) {
        const __m512bh b0 = (__m512bh)_mm512_loadu_si512(b + 64 * p);
        const __m512bh b1 = (__m512bh)_mm512_loadu_si512(b + 64 * p + 16);
        const __m512bh b2 = (__m512bh)_mm512_loadu_si512(b + 64 * p + 32);
        const __m512bh b3 = (__m512bh)_mm512_loadu_si512(b + 64 * p + 48);
        STEP(0); STEP(1); STEP(2); STEP(3); STEP(4); STEP(5);
    }
    KEEP(0); KEEP(1); KEEP(2); KEEP(3); KEEP(4); KEEP(5);
#undef ZERO
#undef STEP
#undef KEEP
}

/* ---- packing -------------------------------------------------------------------- */

static size_t n_blocks(int64_t positions)
{
    return ((size_t)positions + BLOCK - 1) / BLOCK;
}

/* One block of keys of one head, transposed: out [32][64] pairs. Missing keys are zero. */
TARGET static void pack_keys(const float *k, size_t stride, int n, uint32_t *out)
{
    const __m512i count = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i lane = _mm512_mullo_epi32(count, _mm512_set1_epi32(BLOCK));
    for (int j = 0; j < BLOCK; j++) {
        __m512i lo = _mm512_setzero_si512(), hi = lo;
        if (j < n) {
            const float *row = k + (size_t)j * stride;
            lo = (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(row + 16), _mm512_loadu_ps(row));
            hi = (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(row + 48), _mm512_loadu_ps(row + 32));
        }
        _mm512_i32scatter_epi32(out + j, lane, lo, 4);
        _mm512_i32scatter_epi32(out + j + 16 * BLOCK, lane, hi, 4);
    }
}

/* One block of values of one head, rows in pairs: out [32][64] pairs. */
TARGET static void pack_values(const float *v, size_t stride, int n, uint32_t *out)
{
    for (int j = 0; j < BLOCK; j += 2) {
        for (int i = 0; i < HEAD; i += 16) {
            const __m512 zero = _mm512_setzero_ps();
            const float *row = v + (size_t)j * stride + i;
            const __m512 even = j < n ? _mm512_loadu_ps(row) : zero;
            const __m512 odd = j + 1 < n ? _mm512_loadu_ps(row + stride) : zero;
            const __m512i e = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(even));
            const __m512i o = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(odd));
            _mm512_storeu_si512(out + (size_t)(j / 2) * HEAD + (size_t)i,
                                _mm512_or_si512(e, _mm512_slli_epi32(o, 16)));
        }
    }
}

/* Pairs in one packed block, of keys or of values. */
enum { PACKED = BLOCK * HEAD / 2 };

/* dst: K then V, each [heads][blocks][PACKED] pairs. */
static void pack_op(struct ggml_tensor *dst, int ith, int nth, void *user)
{
    const om_attention_job *job = user;
    const float *k = dst->src[0]->data, *v = dst->src[1]->data;
    const int64_t width = dst->src[0]->ne[0], positions = dst->src[0]->ne[1];
    const size_t blocks = n_blocks(positions), total = (size_t)job->heads * blocks;
    uint32_t *keys = dst->data, *values = keys + total * PACKED;

    for (size_t i = (size_t)ith; i < total; i += (size_t)nth) {
        const size_t head = i / blocks, first = i % blocks * BLOCK;
        const size_t left = (size_t)positions - first, from = first * (size_t)width + head * HEAD;
        const int n = left < BLOCK ? (int)left : BLOCK;
        pack_keys(k + from, (size_t)width, n, keys + i * PACKED);
        pack_values(v + from, (size_t)width, n, values + i * PACKED);
    }
}

/* ---- attention -------------------------------------------------------------------- */

/* 2^t for t <= 0, relative error 3e-6: far below the rounding to BF16 that follows. */
TARGET static inline __m512 exp2_ps(__m512 t)
{
    const __m512 n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512 r = _mm512_sub_ps(t, n);
    __m512 p = _mm512_set1_ps(1.3333558e-3f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(9.6181291e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.5504109e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.4022651e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.9314718e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

/* s[keys] to 2^(s - max) as BF16 in p; the keys past n weigh nothing. Returns the sum. */
TARGET static float soften(float *s, size_t n, size_t padded, uint16_t *p)
{
    __m512 top = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();

    for (size_t i = n; i < padded; i++)
        s[i] = -1e30f;           /* not infinity: exp2_ps subtracts */
    for (size_t i = 0; i < padded; i += 32)
        top = _mm512_max_ps(top, _mm512_max_ps(_mm512_loadu_ps(s + i), _mm512_loadu_ps(s + i + 16)));
    top = _mm512_set1_ps(_mm512_reduce_max_ps(top));
    for (size_t i = 0; i < padded; i += 32) {
        const __m512 a = exp2_ps(_mm512_sub_ps(_mm512_loadu_ps(s + i), top));
        const __m512 b = exp2_ps(_mm512_sub_ps(_mm512_loadu_ps(s + i + 16), top));
        sum = _mm512_add_ps(sum, _mm512_add_ps(a, b));
        _mm512_storeu_si512(p + i, (__m512i)_mm512_cvtne2ps_pbh(b, a));
    }
    return _mm512_reduce_add_ps(sum);
}

/* Scratch of one thread. */
typedef struct tile {
    float *scores;           /* [TILE][padded] */
    uint16_t *weights;       /* [TILE][padded] BF16 */
    float *out;              /* [TILE][HEAD] */
    uint16_t *q;             /* [TILE][HEAD] BF16 */
} tile;

static size_t tile_bytes(size_t padded)
{
    return TILE * (padded + HEAD) * (sizeof(float) + sizeof(uint16_t));
}

static tile tile_at(void *scratch, size_t padded, int ith)
{
    char *base = (char *)scratch + (size_t)ith * tile_bytes(padded);
    tile t;
    t.scores = (float *)(void *)base;
    t.weights = (uint16_t *)(void *)(t.scores + TILE * padded);
    t.out = (float *)(void *)(t.weights + TILE * padded);
    t.q = (uint16_t *)(void *)(t.out + TILE * HEAD);
    return t;
}

size_t om_cpu_attention_scratch(int64_t positions, int threads)
{
    return tile_bytes(n_blocks(positions) * BLOCK) * (size_t)threads;
}

/* Query rows (q + bias) log2(e) / sqrt(64) as BF16; rows past n are zero. */
TARGET static void load_queries(const float *q, size_t stride, const float *bias, int n, uint16_t *out)
{
    const __m512 scale = _mm512_set1_ps(1.44269504f * 0.125f);

    memset(out, 0, TILE * HEAD * sizeof *out);
    for (int r = 0; r < n; r++) {
        for (int i = 0; i < HEAD; i += 16) {
            const float *from = q + (size_t)r * stride + i;
            const __m512 x = _mm512_add_ps(_mm512_loadu_ps(from), _mm512_loadu_ps(bias + i));
            _mm256_storeu_si256((__m256i *)(void *)(out + r * HEAD + i),
                                (__m256i)_mm512_cvtneps_pbh(_mm512_mul_ps(x, scale)));
        }
    }
}

TARGET static void store_row(const float *x, float scale, const float *bias, float *y)
{
    for (int i = 0; i < HEAD; i += 16)
        _mm512_storeu_ps(y + i, _mm512_fmadd_ps(_mm512_loadu_ps(x + i), _mm512_set1_ps(scale),
                                                _mm512_loadu_ps(bias + i)));
}

/* Queries first .. first + n - 1 (n <= TILE) of one head. */
static void attend(struct ggml_tensor *dst, const tile *t, size_t head, size_t first, int n)
{
    const struct ggml_tensor *q = dst->src[0];
    const size_t width = (size_t)q->ne[0], positions = (size_t)q->ne[1];
    const size_t blocks = n_blocks(q->ne[1]), padded = blocks * BLOCK, heads = width / HEAD;
    const uint32_t *keys = (const uint32_t *)dst->src[1]->data + head * blocks * PACKED;
    const uint32_t *values = keys + heads * blocks * PACKED;
    const float *q_bias = (const float *)dst->src[2]->data + head * HEAD;
    const float *v_bias = (const float *)dst->src[3]->data + head * HEAD;
    float sum[TILE];

    load_queries((const float *)q->data + first * width + head * HEAD, width, q_bias, n, t->q);
    for (size_t b = 0; b < blocks; b++)
        product((const uint32_t *)(const void *)t->q, HEAD / 2, keys + b * PACKED, HEAD / 2,
                t->scores + b * BLOCK, padded);
    for (int r = 0; r < TILE; r++)
        sum[r] = soften(t->scores + (size_t)r * padded, positions, padded, t->weights + (size_t)r * padded);
    product((const uint32_t *)(const void *)t->weights, padded / 2, values, padded / 2, t->out, HEAD);
    for (int r = 0; r < n; r++) {
        const size_t at = (first + (size_t)r) * width + head * HEAD;
        if (dst->type == GGML_TYPE_F32) {
            store_row(t->out + r * HEAD, 1.0f / sum[r], v_bias, (float *)dst->data + at);
        } else {
            store_row(t->out + r * HEAD, 1.0f / sum[r], v_bias, t->scores);
            to_bf16(t->scores, (ggml_bf16_t *)dst->data + at, HEAD);
        }
    }
}

/* Threads take groups of tiles as they come free: a disturbed core holds up nobody for long. */
static void attention_op(struct ggml_tensor *dst, int ith, int nth, void *user)
{
    om_attention_job *job = user;
    const int positions = (int)dst->ne[1], span = TILE * GROUP;
    const int groups = (positions + span - 1) / span, total = groups * job->heads;
    const tile t = tile_at(dst->src[4]->data, n_blocks(positions) * BLOCK, ith);

    (void)nth;
    for (int i = atomic_fetch_add(&job->next, 1); i < total; i = atomic_fetch_add(&job->next, 1)) {
        const int head = i / groups, begin = i % groups * span;
        const int end = begin + span < positions ? begin + span : positions;
        for (int at = begin; at < end; at += TILE)
            attend(dst, &t, (size_t)head, (size_t)at, end - at < TILE ? end - at : TILE);
    }
}

struct ggml_tensor *om_cpu_attention(struct ggml_context *ctx, struct ggml_tensor *q, struct ggml_tensor *k,
                                     struct ggml_tensor *v, struct ggml_tensor *q_bias,
                                     struct ggml_tensor *v_bias, struct ggml_tensor *scratch,
                                     om_attention_job *job, enum ggml_type type)
{
    const int64_t pairs = 2 * (int64_t)n_blocks(q->ne[1]) * PACKED * job->heads;
    struct ggml_tensor *kv[2] = { k, v };
    struct ggml_tensor *args[5] = { q, NULL, q_bias, v_bias, scratch };

    if (!om_cpu_has_bf16())
        return NULL;
    args[1] = ggml_custom_4d(ctx, GGML_TYPE_I32, pairs, 1, 1, 1, kv, 2, pack_op, GGML_N_TASKS_MAX, job);
    return ggml_custom_4d(ctx, type, q->ne[0], q->ne[1], 1, 1, args, 5, attention_op, job->threads, job);
}

#else

bool om_cpu_has_bf16(void)
{
    return false;
}

void om_to_bf16(const float *x, void *y, size_t n)
{
    ggml_fp32_to_bf16_row(x, y, (int64_t)n);
}

struct ggml_tensor *om_cpu_norm(struct ggml_context *ctx, struct ggml_tensor *x, struct ggml_tensor *weight,
                                struct ggml_tensor *bias, const float *eps, enum ggml_type type)
{
    (void)ctx, (void)x, (void)weight, (void)bias, (void)eps, (void)type;
    return NULL;
}

size_t om_cpu_attention_scratch(int64_t positions, int threads)
{
    (void)positions, (void)threads;
    return 0;
}

struct ggml_tensor *om_cpu_attention(struct ggml_context *ctx, struct ggml_tensor *q, struct ggml_tensor *k,
                                     struct ggml_tensor *v, struct ggml_tensor *q_bias,
                                     struct ggml_tensor *v_bias, struct ggml_tensor *scratch,
                                     om_attention_job *job, enum ggml_type type)
{
    (void)ctx, (void)q, (void)k, (void)v, (void)q_bias, (void)v_bias, (void)scratch, (void)job, (void)type;
    return NULL;
}

#endif
