/*
 * speech-decoder-kernels: the two inner loops of the speech decoder's attention.
 *
 * Numbers go in pairs, [..][2], because the dot-product instructions of bf16
 * take two at a time; the f32 kernels keep the same order.
 */
#ifndef OM_SPEECH_DECODER_KERNELS_H
#define OM_SPEECH_DECODER_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    OM_LANES = 16,   /* columns of a packed panel */
    OM_TILE  = 64    /* keys that are weighed together */
};

/* Rows of queries go through the first product in groups, each stored [pairs][rows of the group][2] so that
 * one pointer walks over all of them: the group that starts when n rows are left. */
static inline int om_row_group(int64_t n)
{
    return n >= 25 ? 25 : n >= 24 ? 24 : n >= 16 ? 16 : n >= 8 ? 8 : n >= 4 ? 4 : n >= 2 ? 2 : 1;
}

typedef struct om_attention_kernels {
    const char *name;
    size_t element;   /* bytes of a packed number: 2 (bf16) or 4 (f32) */
    /* One group: s[r][l] = sum_n q[n][r][0] * k[n][l][0] + q[n][r][1] * k[n][l][1], r < rows (a group's
     * count), n < pairs, l < OM_LANES; rows of s are OM_TILE apart. */
    void (*score)(int rows, int pairs, const void *q, const void *k, float *s);
    /* One tile of an online softmax in base 2, for each row: raises max[r] to that of s[r][OM_TILE]
     * (scaling sum[r] and o[r][width] down to it), p[r] = 2^(s[r] - max[r]), sum[r] += their sum. */
    void (*weigh)(int rows, const float *s, float *max, float *sum, void *p, float *o, int width);
    /* o[r][l] += sum_n p[r][2n] * v[n][l][0] + p[r][2n+1] * v[n][l][1], n < OM_TILE/2; p [rows][OM_TILE],
     * rows of o are width apart. */
    void (*blend)(int rows, const void *p, const void *v, float *o, int width);
} om_attention_kernels;

/* The fastest that this processor runs, or those called name ("avx512-bf16", "avx2"); where it does not run
 * them, for any other name and always for f32, plain C ("portable"). */
const om_attention_kernels *om_attention_kernels_for(bool f32, const char *name);

/* Round to nearest even. */
static inline uint16_t om_bf16_finite(float x)
{
    union { float f; uint32_t u; } bits = { .f = x };
    return (uint16_t)((bits.u + 0x7fffu + ((bits.u >> 16) & 1u)) >> 16);
}

/* As that; NaN stays NaN. */
static inline uint16_t om_bf16(float x)
{
    union { float f; uint32_t u; } bits = { .f = x };
    if ((bits.u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((bits.u >> 16) | 64u);
    return om_bf16_finite(x);
}

#endif
