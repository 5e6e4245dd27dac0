/*
 * encoder-cpu: operators of the encoder for the CPU, where ggml's are scalar or need
 * several passes over memory.
 *
 * Each builds one node of a graph and equals the ggml operators named beside it up to rounding;
 * the encoder runs on those when told to (om_encoder_set_plain) and on every other backend.
 * All arrays are contiguous; [T][C] stands for ne = {C, T}.
 */
#ifndef OM_ENCODER_CPU_H
#define OM_ENCODER_CPU_H

#include "ggml.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* GELU(x + bias) in the erf form: ggml_gelu_erf(ggml_add(x, bias)). x [T][C] f32, bias [C].
 * type F32, or BF16 where om_cpu_has_bf16. */
struct ggml_tensor *om_cpu_gelu(struct ggml_context *ctx, struct ggml_tensor *x, struct ggml_tensor *bias,
                                enum ggml_type type);
/* x += y + bias, in place: x [T][C], y [T][C], bias [C], all f32. */
struct ggml_tensor *om_cpu_add(struct ggml_context *ctx, struct ggml_tensor *x, struct ggml_tensor *y,
                               struct ggml_tensor *bias);

/* For tests: y[i] = GELU(x[i]), as om_cpu_gelu computes it. */
void om_gelu_f32(const float *x, float *y, size_t n);

/* ---- only where the processor multiplies BF16 (AVX-512 BF16) ---------------- */

enum { OM_BF16_HEAD = 64 };          /* the one head width the attention below is made for */

/* False: the functions below return NULL. */
bool om_cpu_has_bf16(void);

void om_to_bf16(const float *x, void *y, size_t n);   /* rounds to nearest even, on any processor */

/* Layer norm with weight and bias: ggml_add(ggml_mul(ggml_norm(x), weight), bias). x [T][C] f32 to type F32
 * or BF16. eps is borrowed while the graph lives. */
struct ggml_tensor *om_cpu_norm(struct ggml_context *ctx, struct ggml_tensor *x, struct ggml_tensor *weight,
                                struct ggml_tensor *bias, const float *eps, enum ggml_type type);

/* One attention of a graph; borrowed while the graph lives. Set next to 0 before every compute. */
typedef struct om_attention_job {
    int heads, threads;
    atomic_int next;
} om_attention_job;

/* Bytes of scratch for T positions. */
size_t om_cpu_attention_scratch(int64_t positions, int threads);
/* softmax((q + q_bias) k' / 8) v + v_bias, heads of 64: q, k, v [T][heads * 64] f32; scratch as
 * above; type F32 or BF16. Products of BF16 values, sums in f32. */
struct ggml_tensor *om_cpu_attention(struct ggml_context *ctx, struct ggml_tensor *q, struct ggml_tensor *k,
                                     struct ggml_tensor *v, struct ggml_tensor *q_bias,
                                     struct ggml_tensor *v_bias, struct ggml_tensor *scratch,
                                     om_attention_job *job, enum ggml_type type);

#endif
