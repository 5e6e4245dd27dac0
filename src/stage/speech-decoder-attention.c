/*
 * Attention of the speech decoder on the CPU.
 *
 *   takes   one block's queries, keys, values, not yet rotated, f32
 *   gives   the attention output of its lambda positions, f32
 *   state   the cache: keys rotated to their position, values, in f32 or bf16
 *
 * Letters: L lambda, hd head dimension, hp hd rounded up to a multiple of 16.
 *
 * Plain layers cache L keys per token. In the first layer all L inputs of a
 * token are one vector, so its L keys are rotations of one key and its L values
 * are one value: it caches one of each per token, the key rotated to the token's
 * first position. With R(n) the rotation by n positions, query i of token t' and
 * key j of token t score
 *
 *     R(L t' + i) q . R(L t + j) k  =  R(L t' + u) q . R(L t) k      u = i - j
 *
 * so 2L-1 queries, u = -(L-1) ... L-1, against one key per token hold every score
 * there is. The softmax of query i runs over its keys (t, j), that is over (t, u)
 * with u = i-(L-1) ... i: the partial results (max, sum, output) of the queries u
 * are each computed once and merged over that window, weighted by 2^(max_u - max_i).
 * Exact in real arithmetic, and no weight can underflow that matters to its row.
 *
 * Easy to get wrong: inside the current token only j <= i, that is u >= 0, may be
 * seen; in earlier tokens all j. Stale cache entries behind the end are multiplied
 * by weights of exactly 0, so they must be finite (chunks are zeroed at birth).
 */
#include "stage/speech-decoder-attention.h"
#include "stage/speech-decoder-kernels.h"

#include "base/memory.h"
#include "base/status.h"

#include <math.h>
#include <string.h>

struct om_attention {
    int heads, heads_kv, hd, hp, block, n_threads;
    bool f32;
    const om_attention_kernels *kernels;
    double *frequency;     /* [hd/2] */
    double *turn;          /* [2L-1][2][hd/2] cos, sin of u * frequency */
    size_t  rows;          /* most rows of one key-value head: heads/heads_kv * (2L-1) */
    struct scratch {
        float *q;          /* packed pairs, groups of rows [hd/2][rows of the group][2] */
        float *s;          /* [rows][OM_TILE] scores in bits (log2) */
        float *p;          /* [rows][OM_TILE] packed weights */
        float *o;          /* [rows][hp] unnormalised output */
        float *max, *sum;  /* [rows] */
        int   *seen;       /* [rows] keys that the row may see */
    } *scratch;            /* [n_threads] */
};

static const float NOTHING_SEEN = -1e30f;

/* ---- birth -------------------------------------------------------------------- */

static void scratch_free(struct scratch *s)
{
    om_free(s->q);
    om_free(s->s);
    om_free(s->p);
    om_free(s->o);
    om_free(s->max);
    om_free(s->sum);
    om_free(s->seen);
}

static bool scratch_new(const om_attention *att, struct scratch *s)
{
    s->q    = om_aligned(att->rows, (size_t)att->hd * sizeof(float));
    s->s    = om_aligned(att->rows, OM_TILE * sizeof(float));
    s->p    = om_aligned(att->rows, OM_TILE * sizeof(float));
    s->o    = om_aligned(att->rows, (size_t)att->hp * sizeof(float));
    s->max  = om_calloc(att->rows, sizeof(float));
    s->sum  = om_calloc(att->rows, sizeof(float));
    s->seen = om_calloc(att->rows, sizeof(int));
    return s->q && s->s && s->p && s->o && s->max && s->sum && s->seen;
}

int om_attention_new(const om_attention_params *params, om_attention **out)
{
    int status = OMNI_ERR_MEMORY, half = params->head_dim / 2, n_turns = 2 * params->block - 1;
    om_attention *att = om_calloc(1, sizeof(*att));
    if (!att)
        goto end;
    att->heads = params->heads;
    att->heads_kv = params->heads_kv;
    att->hd = params->head_dim;
    att->hp = (params->head_dim + OM_LANES - 1) / OM_LANES * OM_LANES;
    att->block = params->block;
    att->n_threads = params->n_threads;
    att->f32 = params->f32;
    att->rows = (size_t)(att->heads / att->heads_kv) * (size_t)n_turns;
    att->kernels = om_attention_kernels_for(params->f32, params->kernels);
    att->frequency = om_calloc((size_t)half, sizeof(double));
    att->turn = om_calloc((size_t)n_turns * (size_t)half, 2 * sizeof(double));
    att->scratch = om_calloc((size_t)att->n_threads, sizeof(*att->scratch));
    if (!att->frequency || !att->turn || !att->scratch)
        goto end;
    for (int t = 0; t < att->n_threads; t++)
        if (!scratch_new(att, &att->scratch[t]))
            goto end;
    memcpy(att->frequency, params->frequency, (size_t)half * sizeof(double));
    for (int u = 0; u < n_turns; u++)
        for (int f = 0; f < half; f++) {
            double angle = (u - (att->block - 1)) * att->frequency[f];
            att->turn[(2 * u) * half + f] = cos(angle);
            att->turn[(2 * u + 1) * half + f] = sin(angle);
        }
    *out = att;
    att = NULL;
    status = OMNI_OK;
end:
    om_attention_free(att);
    return status ? om_fail(status, "speech decoder: out of memory for the attention tables") : OMNI_OK;
}

void om_attention_free(om_attention *att)
{
    if (!att)
        return;
    for (int t = 0; att->scratch && t < att->n_threads; t++)
        scratch_free(&att->scratch[t]);
    om_free(att->scratch);
    om_free(att->turn);
    om_free(att->frequency);
    om_free(att);
}

const char *om_attention_name(const om_attention *att)
{
    return att->kernels->name;
}

/* ---- cache -------------------------------------------------------------------- */

/* A chunk is [heads_kv][tiles][keys | values] with, per tile of 64 keys,
 *   keys   [64/16][hd/2][16][2]   lanes are keys, a pair is (component f, f + hd/2)
 *   values [hp/16][64/2][16][2]   lanes are components, a pair is two keys          */

static int chunk_tiles(const om_attention *att, const om_kv_cache *kv)
{
    return OM_ATTENTION_STEP * (kv->per_token ? 1 : att->block) / OM_TILE;
}

static size_t tile_bytes(const om_attention *att)
{
    return (size_t)OM_TILE * (size_t)(att->hd + att->hp) * att->kernels->element;
}

static size_t chunk_bytes(const om_attention *att, const om_kv_cache *kv)
{
    return (size_t)att->heads_kv * (size_t)chunk_tiles(att, kv) * tile_bytes(att);
}

/* Tile number index of a head, counted over all chunks. */
static char *tile_at(const om_attention *att, const om_kv_cache *kv, int head, int index)
{
    int tiles = chunk_tiles(att, kv);
    return (char *)kv->chunks[index / tiles] +
           ((size_t)head * (size_t)tiles + (size_t)(index % tiles)) * tile_bytes(att);
}

int om_kv_cache_new(om_kv_cache *kv, bool per_token, int max_tokens)
{
    kv->per_token = per_token;
    kv->n_chunks = 0;
    kv->max_chunks = (max_tokens + OM_ATTENTION_STEP - 1) / OM_ATTENTION_STEP;
    kv->chunks = om_calloc((size_t)kv->max_chunks, sizeof(void *));
    return kv->chunks ? OMNI_OK : om_fail(OMNI_ERR_MEMORY, "speech decoder: out of memory for a cache");
}

void om_kv_cache_free(om_kv_cache *kv)
{
    for (int i = 0; i < kv->n_chunks; i++)
        om_free(kv->chunks[i]);
    om_free(kv->chunks);
    *kv = (om_kv_cache){ 0 };
}

int om_kv_cache_reserve(const om_attention *att, om_kv_cache *kv, int tokens)
{
    while (kv->n_chunks * OM_ATTENTION_STEP < tokens) {
        void *chunk = kv->n_chunks < kv->max_chunks ? om_aligned(1, chunk_bytes(att, kv)) : NULL;
        if (!chunk)
            return om_fail(OMNI_ERR_MEMORY, "speech decoder: cannot grow a cache to %d tokens, %zu bytes",
                           tokens, chunk_bytes(att, kv) * (size_t)(kv->n_chunks + 1));
        kv->chunks[kv->n_chunks++] = chunk;
    }
    return OMNI_OK;
}

size_t om_kv_cache_bytes(const om_attention *att, const om_kv_cache *kv)
{
    return chunk_bytes(att, kv) * (size_t)kv->n_chunks;
}

/* ---- rotation ----------------------------------------------------------------- */

size_t om_attention_turns_size(const om_attention *att)
{
    return (size_t)(2 * att->block - 1) * (size_t)att->hd;
}

/* The angle sum in double: exact where a product position * frequency in f32 is off by 1e-3. */
void om_attention_turns(const om_attention *att, int token, float *turns)
{
    int half = att->hd / 2;
    double start = (double)token * att->block;
    for (int f = 0; f < half; f++) {
        double c = cos(start * att->frequency[f]), s = sin(start * att->frequency[f]);
        for (int u = 0; u < 2 * att->block - 1; u++) {
            const double *t = att->turn + (size_t)(2 * u) * (size_t)half + f;
            float *to = turns + (size_t)(2 * u) * (size_t)half + f;
            to[0] = (float)(c * t[0] - s * t[half]);
            to[half] = (float)(s * t[0] + c * t[half]);
        }
    }
}

/* Row of om_attention_turns for position L * token + u. */
static const float *turn_of(const om_attention *att, const om_block_job *job, int u)
{
    return job->turns + (size_t)(u + att->block - 1) * (size_t)att->hd;
}

static inline void store(const om_attention *att, void *to, size_t at, float x)
{
    if (att->f32)
        ((float *)to)[at] = x;
    else
        ((uint16_t *)to)[at] = om_bf16(x);
}

/* Rotates x [hd] by the angles of turn, times scale, into pairs (f, f + hd/2) that lie step numbers apart. */
static void rotate(const om_attention *att, const float *x, const float *turn, float scale,
                   void *to, size_t at, size_t step)
{
    int half = att->hd / 2;
    for (int f = 0; f < half; f++) {
        float c = turn[f] * scale, s = turn[half + f] * scale;
        store(att, to, at + (size_t)f * step, x[f] * c - x[half + f] * s);
        store(att, to, at + (size_t)f * step + 1, x[half + f] * c + x[f] * s);
    }
}

/* ---- one head ------------------------------------------------------------------ */

static void append_head(const om_attention *att, const om_block_job *job, int head)
{
    int count = job->kv->per_token ? 1 : att->block;
    size_t width = (size_t)att->heads_kv * (size_t)att->hd;
    for (int j = 0; j < count; j++) {
        int key = job->token * count + j, lane = key % OM_TILE;
        const float *k = job->k + (size_t)j * width + (size_t)head * (size_t)att->hd;
        const float *v = job->v + (size_t)j * width + (size_t)head * (size_t)att->hd;
        char *tile = tile_at(att, job->kv, head, key / OM_TILE);
        size_t panel = (size_t)(lane / OM_LANES) * (size_t)att->hd * OM_LANES;
        rotate(att, k, turn_of(att, job, j), 1.0f, tile, panel + (size_t)(lane % OM_LANES) * 2, 2 * OM_LANES);
        void *values = tile + (size_t)OM_TILE * (size_t)att->hd * att->kernels->element;
        for (int d = 0; d < att->hd; d++) {
            size_t at = (size_t)(d / OM_LANES) * OM_TILE * OM_LANES + (size_t)(lane / 2) * 2 * OM_LANES
                      + (size_t)(d % OM_LANES) * 2 + (size_t)(lane % 2);
            store(att, values, at, v[d]);
        }
    }
}

/* Queries of the head's group, rotated and packed, and how far each may see. Scores come out in bits. */
static int queries_of(const om_attention *att, const om_block_job *job, int head, struct scratch *x)
{
    int group = att->heads / att->heads_kv, rows = 0, L = att->block, first = 0, together = 0;
    int all = group * (job->kv->per_token ? 2 * L - 1 : L);
    float scale = 1.44269504f / sqrtf((float)att->hd);
    size_t width = (size_t)att->heads * (size_t)att->hd;
    for (int g = 0; g < group; g++) {
        const float *q = job->q + (size_t)(head * group + g) * (size_t)att->hd;
        for (int u = job->kv->per_token ? 1 - L : 0; u < L; u++, rows++) {
            const float *from = job->kv->per_token ? q : q + (size_t)u * width;
            if (rows == first + together) {
                first = rows;
                together = om_row_group(all - rows);
            }
            rotate(att, from, turn_of(att, job, u), scale, x->q,
                   (size_t)first * (size_t)att->hd + (size_t)(rows - first) * 2, 2 * (size_t)together);
            x->seen[rows] = job->kv->per_token ? job->token + (u >= 0) : job->token * L + u + 1;
            x->max[rows] = NOTHING_SEEN;
            x->sum[rows] = 0;
        }
    }
    memset(x->o, 0, (size_t)rows * (size_t)att->hp * sizeof(float));
    return rows;
}

static void attend_tile(const om_attention *att, const char *tile, int first, int rows, struct scratch *x)
{
    const om_attention_kernels *k = att->kernels;
    size_t hd = (size_t)att->hd, hp = (size_t)att->hp;
    for (size_t panel = 0; panel < OM_TILE / OM_LANES; panel++)
        for (int r = 0, n; r < rows; r += n) {
            n = om_row_group(rows - r);
            k->score(n, att->hd / 2, (const char *)x->q + (size_t)r * hd * k->element,
                     tile + panel * hd * OM_LANES * k->element,
                     x->s + (size_t)r * OM_TILE + panel * OM_LANES);
        }
    for (int r = 0; r < rows; r++)
        for (int l = x->seen[r] > first ? x->seen[r] - first : 0; l < OM_TILE; l++)
            x->s[(size_t)r * OM_TILE + (size_t)l] = -INFINITY;
    k->weigh(rows, x->s, x->max, x->sum, x->p, x->o, att->hp);
    const char *values = tile + (size_t)OM_TILE * hd * k->element;
    for (size_t panel = 0; panel < hp / OM_LANES; panel++)
        k->blend(rows, x->p, values + panel * OM_TILE * OM_LANES * k->element,
                 x->o + panel * OM_LANES, att->hp);
}

/* Output i of a head whose row 0 is u = -(L-1): merges the rows of its window u = i-(L-1) ... i. */
static void merge_window(const om_attention *att, const struct scratch *x, int first, int count, float *out)
{
    float max = NOTHING_SEEN, sum = 0;
    for (int r = first; r < first + count; r++)
        max = fmaxf(max, x->max[r]);
    memset(out, 0, (size_t)att->hd * sizeof(float));
    for (int r = first; r < first + count; r++) {
        float weight = exp2f(x->max[r] - max);
        const float *o = x->o + (size_t)r * (size_t)att->hp;
        sum += weight * x->sum[r];
        for (int d = 0; d < att->hd; d++)
            out[d] += weight * o[d];
    }
    float scale = 1.0f / sum;
    for (int d = 0; d < att->hd; d++)
        out[d] *= scale;
}

void om_attention_head(om_attention *att, const om_block_job *job, int kv_head, int thread)
{
    struct scratch *x = &att->scratch[thread];
    int group = att->heads / att->heads_kv, L = att->block;
    bool shared = job->kv->per_token;
    append_head(att, job, kv_head);
    int rows = queries_of(att, job, kv_head, x);
    int keys = (job->token + 1) * (shared ? 1 : L);
    for (int first = 0; first < keys; first += OM_TILE)
        attend_tile(att, tile_at(att, job->kv, kv_head, first / OM_TILE), first, rows, x);
    for (int g = 0; g < group; g++)
        for (int i = 0; i < L; i++) {
            float *out = job->out + ((size_t)i * (size_t)att->heads + (size_t)(kv_head * group + g))
                                  * (size_t)att->hd;
            merge_window(att, x, g * (shared ? 2 * L - 1 : L) + i, shared ? L : 1, out);
        }
}
