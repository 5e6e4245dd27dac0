/*
 * vocoder-conv: direct convolution over rows of channels, on the CPU.
 *
 * Arrays are [time][channels], channels padded with zeros to a multiple of
 * OM_VOC_LANES. Vectors run along the output channels and one input value is
 * broadcast, so that any kernel, dilation and number of rows costs what its
 * products cost, without a gathered copy of the input and without horizontal sums.
 *
 * Every output is the sum bias + w[tap 0][channel 0] * x + ... in that order,
 * whichever row it is computed with: results do not depend on how rows are cut.
 *
 * Types: f32, and bf16 weights and activations with f32 sums where the CPU has
 * the instructions. The fastest code for this CPU is chosen when weights are packed.
 */
#ifndef OM_VOCODER_CONV_H
#define OM_VOCODER_CONV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OM_VOC_LANES = 16 };

static inline int om_voc_padded(int channels)
{
    return (channels + OM_VOC_LANES - 1) / OM_VOC_LANES * OM_VOC_LANES;
}

typedef enum om_voc_compute {
    OM_VOC_F32,             /* the fastest this CPU has */
    OM_VOC_BF16,
    OM_VOC_F32_AVX2,        /* what slower CPUs get; for tests */
    OM_VOC_F32_ANY
} om_voc_compute;

/* This CPU, this build. */
bool om_voc_conv_has(om_voc_compute compute);

/* The weights of a convolution in the order the kernel reads. */
typedef struct om_voc_packed {
    const struct om_voc_kernel *kernel;
    int in, lanes;          /* input channels; values per output row (a multiple of OM_VOC_LANES) */
    int taps, dilation;
    bool bf16;
    int panel;              /* lanes computed together: weights are [lanes/panel][taps][in][panel] */
    void *weights;          /* bf16: pairs of channels side by side, [..][taps][in/2][panel][2] */
    float *bias;            /* [lanes] */
} om_voc_packed;

/* Rows of one call. Pointers are those of row 0, tap 0; input rows are om_voc_padded(in)
 * values apart, the others `lanes`. */
typedef struct om_voc_rows {
    const void *in;             /* activations, f32 or bf16 */
    int begin, end;             /* rows wanted */
    const float *residual;      /* added, or NULL */
    float *raw;                 /* result, or NULL */
    void *act;                  /* leaky_relu(result) in the type of in, or NULL */
    float slope;                /* in (0, 1] */
} om_voc_rows;

/* The weight of (lane, tap, channel) is at(user, lane, tap, channel); biases are 0. ERR_MEMORY. */
int  om_voc_conv_pack(om_voc_packed *c, int in, int lanes, int taps, int dilation, om_voc_compute compute,
                      float (*at)(const void *user, int lane, int tap, int channel), const void *user);
void om_voc_conv_free(om_voc_packed *c);

/* The share of thread ith of nth. */
void om_voc_conv_run(const om_voc_packed *c, const om_voc_rows *rows, int ith, int nth);

/* n f32 values to the activation type, element `at` of dst on. */
void om_voc_to_act(const float *x, void *dst, size_t at, size_t n, bool bf16);

#endif
