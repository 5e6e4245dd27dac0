/* vocoder-conv: packing, and the choice and the cutting of tiles. See vocoder-conv.h. */
#include "stage/vocoder-conv.h"

#include "base/memory.h"
#include "base/status.h"

#include "ggml.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define X86 1
#include <immintrin.h>
#else
#define X86 0
#endif

/* What a tile works on: pointers of its first row and first lane. Strides in elements
 * of their arrays, for the input in words (see vocoder-tile.h). */
typedef struct {
    const void *weights, *in;
    const float *bias, *residual;
    float *raw;
    void *act;
    float slope;
    int taps, words;
    ptrdiff_t tap_stride, in_stride, out_stride;
} tile;

#define TILE_GLUE2(a, b) a##b
#define TILE_GLUE(a, b) TILE_GLUE2(a, b)
#if defined(__clang__)
#define TILE_UNROLL _Pragma("clang loop unroll(full)")
#else
#define TILE_UNROLL _Pragma("GCC unroll 16")
#endif

/* ---- AVX-512 -------------------------------------------------------------- */
#if X86

/* 32 registers: 24 sums, 4 weights, 1 spread value. */
#define CASES_512(CASE) \
    CASE(4, 6) CASE(4, 5) CASE(4, 4) CASE(4, 3) CASE(4, 2) CASE(4, 1) \
    CASE(3, 8) CASE(3, 6) CASE(3, 4) CASE(3, 2) CASE(3, 1) \
    CASE(2, 12) CASE(2, 8) CASE(2, 6) CASE(2, 4) CASE(2, 2) CASE(2, 1) \
    CASE(1, 12) CASE(1, 8) CASE(1, 6) CASE(1, 4) CASE(1, 2) CASE(1, 1)

#define TILE_NAME tile_avx512
#define TILE_TARGET __attribute__((target("avx512f")))
#define TILE_V16 __m512
#define TILE_WVEC __m512
#define TILE_SVEC __m512
#define TILE_WORD float
#define TILE_LOAD(p) _mm512_loadu_ps(p)
#define TILE_STORE(p, v) _mm512_storeu_ps(p, v)
#define TILE_ADD(a, b) _mm512_add_ps(a, b)
#define TILE_LEAKY(v, slope) _mm512_max_ps(v, _mm512_mul_ps(v, _mm512_set1_ps(slope)))
#define TILE_WEIGHT(p) _mm512_loadu_ps(p)
#define TILE_SPREAD(word) _mm512_set1_ps(word)
#define TILE_MADD(acc, weight, spread) _mm512_fmadd_ps(weight, spread, acc)
#define TILE_STORE_ACT(act, at, v) _mm512_storeu_ps((float *)(act) + (at), v)
#define TILE_CASES CASES_512
#include "stage/vocoder-tile.h"

#define TILE_NAME tile_avx512_bf16
#define TILE_TARGET __attribute__((target("avx512f,avx512bf16")))
#define TILE_V16 __m512
#define TILE_WVEC __m512i
#define TILE_SVEC __m512i
#define TILE_WORD uint32_t
#define TILE_LOAD(p) _mm512_loadu_ps(p)
#define TILE_STORE(p, v) _mm512_storeu_ps(p, v)
#define TILE_ADD(a, b) _mm512_add_ps(a, b)
#define TILE_LEAKY(v, slope) _mm512_max_ps(v, _mm512_mul_ps(v, _mm512_set1_ps(slope)))
#define TILE_WEIGHT(p) _mm512_loadu_si512(p)
#define TILE_SPREAD(word) _mm512_set1_epi32((int)(word))
#define TILE_MADD(acc, weight, spread) _mm512_dpbf16_ps(acc, (__m512bh)(weight), (__m512bh)(spread))
#define TILE_STORE_ACT(act, at, v) \
    _mm256_storeu_si256((__m256i *)((uint16_t *)(act) + (at)), (__m256i)_mm512_cvtneps_pbh(v))
#define TILE_CASES CASES_512
#include "stage/vocoder-tile.h"

/* ---- AVX2 ----------------------------------------------------------------- */

typedef struct {
    __m256 lo, hi;
} pair256;

#define AVX2 __attribute__((target("avx2,fma")))

static inline AVX2 pair256 load256(const float *p)
{
    return (pair256){ _mm256_loadu_ps(p), _mm256_loadu_ps(p + 8) };
}

static inline AVX2 void store256(float *p, pair256 v)
{
    _mm256_storeu_ps(p, v.lo);
    _mm256_storeu_ps(p + 8, v.hi);
}

static inline AVX2 pair256 spread256(float x)
{
    return (pair256){ _mm256_set1_ps(x), _mm256_set1_ps(x) };
}

static inline AVX2 pair256 add256(pair256 a, pair256 b)
{
    return (pair256){ _mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi) };
}

static inline AVX2 pair256 leaky256(pair256 v, float slope)
{
    __m256 s = _mm256_set1_ps(slope);

    v.lo = _mm256_max_ps(v.lo, _mm256_mul_ps(v.lo, s));
    v.hi = _mm256_max_ps(v.hi, _mm256_mul_ps(v.hi, s));
    return v;
}

static inline AVX2 pair256 madd256(pair256 acc, pair256 a, pair256 b)
{
    return (pair256){ _mm256_fmadd_ps(a.lo, b.lo, acc.lo), _mm256_fmadd_ps(a.hi, b.hi, acc.hi) };
}

/* 16 registers: 12 sums, 2 weights, 1 spread value. */
#define CASES_256(CASE) CASE(1, 6) CASE(1, 5) CASE(1, 4) CASE(1, 3) CASE(1, 2) CASE(1, 1)

#define TILE_NAME tile_avx2
#define TILE_TARGET AVX2
#define TILE_V16 pair256
#define TILE_WVEC pair256
#define TILE_SVEC pair256
#define TILE_WORD float
#define TILE_LOAD(p) load256(p)
#define TILE_STORE(p, v) store256(p, v)
#define TILE_ADD(a, b) add256(a, b)
#define TILE_LEAKY(v, slope) leaky256(v, slope)
#define TILE_WEIGHT(p) load256(p)
#define TILE_SPREAD(word) spread256(word)
#define TILE_MADD(acc, weight, spread) madd256(acc, weight, spread)
#define TILE_STORE_ACT(act, at, v) store256((float *)(act) + (at), v)
#define TILE_CASES CASES_256
#include "stage/vocoder-tile.h"

#endif

/* ---- any CPU -------------------------------------------------------------- */

/* The compiler's own vectors: it cuts them to what the target has. */
typedef float any16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t any16_mask __attribute__((vector_size(64), may_alias));

#define CASES_ANY(CASE) CASE(1, 2) CASE(1, 1)

#define TILE_NAME tile_any
#define TILE_TARGET
#define TILE_V16 any16
#define TILE_WVEC any16
#define TILE_SVEC float
#define TILE_WORD float
#define TILE_LOAD(p) (*(const any16 *)(p))
#define TILE_STORE(p, v) (*(any16 *)(p) = (v))
#define TILE_ADD(a, b) ((a) + (b))
#define TILE_LEAKY(v, slope) \
    (any16)((((v) > 0.0f) & (any16_mask)(v)) | (~((v) > 0.0f) & (any16_mask)((v) * (slope))))
#define TILE_WEIGHT(p) (*(const any16 *)(p))
#define TILE_SPREAD(word) (word)
#define TILE_MADD(acc, weight, spread) ((acc) + (weight) * (spread))
#define TILE_STORE_ACT(act, at, v) (*(any16 *)((float *)(act) + (at)) = (v))
#define TILE_CASES CASES_ANY
#include "stage/vocoder-tile.h"

/* ---- which ---------------------------------------------------------------- */

typedef struct om_voc_kernel {
    void (*run)(const tile *t, int rows, int vectors);
    int vectors;                /* of a full panel */
    const int *heights[5];      /* by vectors: tile heights there are, falling to 1 */
} om_voc_kernel;

static const int rows_2[] = { 2, 1 };
#if X86
static const int rows_12[] = { 12, 8, 6, 4, 2, 1 }, rows_8[] = { 8, 6, 4, 2, 1 };
static const int rows_6[] = { 6, 5, 4, 3, 2, 1 };
static const om_voc_kernel avx512 = { tile_avx512, 4, { NULL, rows_12, rows_12, rows_8, rows_6 } };
static const om_voc_kernel avx512_bf16 = { tile_avx512_bf16, 4, { NULL, rows_12, rows_12, rows_8, rows_6 } };
static const om_voc_kernel avx2 = { tile_avx2, 1, { NULL, rows_6, NULL, NULL, NULL } };
#endif
static const om_voc_kernel any = { tile_any, 1, { NULL, rows_2, NULL, NULL, NULL } };

bool om_voc_conv_has(om_voc_compute compute)
{
#if X86
    if (compute == OM_VOC_BF16)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16");
    if (compute == OM_VOC_F32_AVX2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return compute == OM_VOC_F32 || compute == OM_VOC_F32_ANY;
}

static const om_voc_kernel *choose(om_voc_compute compute)
{
#if X86
    if (compute == OM_VOC_BF16)
        return &avx512_bf16;
    if (compute == OM_VOC_F32 && __builtin_cpu_supports("avx512f"))
        return &avx512;
    if (compute != OM_VOC_F32_ANY && om_voc_conv_has(OM_VOC_F32_AVX2))
        return &avx2;
#else
    (void)compute;
#endif
    return &any;
}

/* ---- packing -------------------------------------------------------------- */

static size_t element(const om_voc_packed *c)
{
    return c->bf16 ? sizeof(uint16_t) : sizeof(float);
}

/* Channels as the kernel counts them: bf16 takes them in pairs, the last filled with a zero. */
static int channels_read(const om_voc_packed *c)
{
    return c->bf16 ? c->in + c->in % 2 : c->in;
}

static void put(const om_voc_packed *c, size_t at, float w)
{
    om_voc_to_act(&w, c->weights, at, 1, c->bf16);
}

int om_voc_conv_pack(om_voc_packed *c, int in, int lanes, int taps, int dilation, om_voc_compute compute,
                     float (*at)(const void *user, int lane, int tap, int channel), const void *user)
{
    int group = compute == OM_VOC_BF16 ? 2 : 1, read;
    size_t n, to = 0;

    *c = (om_voc_packed){
        .kernel = choose(compute), .in = in, .lanes = lanes, .taps = taps, .dilation = dilation,
        .bf16 = compute == OM_VOC_BF16,
    };
    c->panel = c->kernel->vectors * OM_VOC_LANES;
    read = channels_read(c);
    n = (size_t)read * (size_t)taps;
    c->weights = om_mul_ok(n, (size_t)lanes, &n) ? om_aligned(n, element(c)) : NULL;
    c->bias = om_aligned((size_t)lanes, sizeof *c->bias);
    if (!c->weights || !c->bias) {
        om_voc_conv_free(c);
        return om_fail(OMNI_ERR_MEMORY, "no memory for a convolution of %d to %d channels", in, lanes);
    }
    for (int first = 0; first < lanes; first += c->panel) {
        int width = lanes - first < c->panel ? lanes - first : c->panel;

        for (int tap = 0; tap < taps; tap++)
            for (int i = 0; i < read; i += group)
                for (int lane = first; lane < first + width; lane++)
                    for (int g = 0; g < group; g++, to++)
                        if (i + g < in)
                            put(c, to, at(user, lane, tap, i + g));
    }
    return OMNI_OK;
}

void om_voc_conv_free(om_voc_packed *c)
{
    om_free(c->weights);
    om_free(c->bias);
    *c = (om_voc_packed){ 0 };
}

void om_voc_to_act(const float *x, void *dst, size_t at, size_t n, bool bf16)
{
    if (bf16)
        ggml_fp32_to_bf16_row(x, (ggml_bf16_t *)dst + at, (int64_t)n);
    else
        memcpy((float *)dst + at, x, n * sizeof *x);
}

/* ---- running -------------------------------------------------------------- */

static int panel_vectors(const om_voc_packed *c, int first)
{
    return (c->lanes - first < c->panel ? c->lanes - first : c->panel) / OM_VOC_LANES;
}

/* The next tile's height when n rows are left: as few tiles as possible, of about one height. */
static int choose_height(const int *heights, int n)
{
    int tiles = (n + *heights - 1) / *heights, even = (n + tiles - 1) / tiles;

    while (*heights > even)
        heights++;
    return *heights;
}

/* Rows begin..end of the panel that starts at lane `first`. */
static void run_panel(const om_voc_packed *c, const om_voc_rows *rows, int first, int begin, int end)
{
    int vectors = panel_vectors(c, first), group = c->bf16 ? 2 : 1, in_stride = om_voc_padded(c->in) / group;
    size_t panel_at = (size_t)first * (size_t)c->taps * (size_t)channels_read(c);
    tile t = {
        .weights = (const char *)c->weights + panel_at * element(c),
        .bias = c->bias + first, .slope = rows->slope, .taps = c->taps, .words = channels_read(c) / group,
        .tap_stride = (ptrdiff_t)c->dilation * in_stride, .in_stride = in_stride, .out_stride = c->lanes,
    };

    for (int row = begin, height; row < end; row += height) {
        ptrdiff_t at = (ptrdiff_t)row * c->lanes + first;

        height = choose_height(c->kernel->heights[vectors], end - row);
        t.in = (const char *)rows->in + (size_t)row * (size_t)om_voc_padded(c->in) * element(c);
        t.residual = rows->residual ? rows->residual + at : NULL;
        t.raw = rows->raw ? rows->raw + at : NULL;
        t.act = rows->act ? (char *)rows->act + at * (ptrdiff_t)element(c) : NULL;
        c->kernel->run(&t, height, vectors);
    }
}

static int common_divisor(int a, int b)
{
    while (b) {
        int rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

/* Threads share out the panels first, so that each reads its own weights, then the rows. */
void om_voc_conv_run(const om_voc_packed *c, const om_voc_rows *rows, int ith, int nth)
{
    int panels = (c->lanes + c->panel - 1) / c->panel, n = rows->end - rows->begin;
    int groups = common_divisor(panels, nth), parts = nth / groups, part = ith / groups;
    int tall = *c->kernel->heights[panel_vectors(c, 0)], share = (n + parts - 1) / parts, begin, end;

    if (n <= 0)
        return;
    if (share > 4 * tall)
        share = (share + tall - 1) / tall * tall;
    begin = rows->begin + part * share;
    end = begin + share < rows->end ? begin + share : rows->end;
    for (int panel = ith % groups; panel < panels; panel += groups)
        run_panel(c, rows, panel * c->panel, begin, end);
}
