/*
 * speech-decoder-attention: causal attention of one block of lambda positions
 * over everything said so far, on the CPU, against a cache laid out for it.
 * Used by speech-decoder.c alone; the card is in speech-decoder-attention.c.
 */
#ifndef OM_SPEECH_DECODER_ATTENTION_H
#define OM_SPEECH_DECODER_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>

enum {
    OM_ATTENTION_STEP = 64   /* tokens by which a cache grows */
};

typedef struct om_attention om_attention;

/* The cache of one layer of one slot: chunks of OM_ATTENTION_STEP tokens, never moved. */
typedef struct om_kv_cache {
    bool  per_token;    /* one key and value per token (first layer, shared) instead of lambda */
    int   n_chunks, max_chunks;
    void **chunks;      /* [max_chunks], the first n_chunks allocated */
} om_kv_cache;

typedef struct om_attention_params {
    int heads, heads_kv, head_dim, block;   /* block: lambda */
    int n_threads;
    bool f32;                               /* cache and products in f32, else bf16 */
    const char *kernels;                    /* by name, see speech-decoder-kernels.h; NULL: the fastest */
    const double *frequency;                /* [head_dim/2] radians per position, copied */
} om_attention_params;

int  om_attention_new(const om_attention_params *params, om_attention **out);   /* ERR_MEMORY */
void om_attention_free(om_attention *att);

const char *om_attention_name(const om_attention *att);    /* of its kernels */

int  om_kv_cache_new(om_kv_cache *kv, bool per_token, int max_tokens);          /* ERR_MEMORY */
void om_kv_cache_free(om_kv_cache *kv);                                         /* {0} is allowed */
/* Room for tokens tokens. ERR_MEMORY; what was cached stays. */
int  om_kv_cache_reserve(const om_attention *att, om_kv_cache *kv, int tokens);
size_t om_kv_cache_bytes(const om_attention *att, const om_kv_cache *kv);

/* One block of one slot in one layer: token = tokens cached before it. */
typedef struct om_block_job {
    const om_kv_cache *kv;
    int token;
    const float *turns;      /* from om_attention_turns(token) */
    const float *q, *k, *v;  /* unrotated. per_token: [heads*hd], [heads_kv*hd] x 2; else [lambda][...] */
    float *out;              /* [lambda][heads*hd] */
} om_block_job;

/* cos and sin of the angles of positions lambda*token - (lambda-1) ... lambda*token + (lambda-1):
 * [2*lambda-1][2][hd/2]. */
size_t om_attention_turns_size(const om_attention *att);                        /* floats */
void   om_attention_turns(const om_attention *att, int token, float *turns);

/* Appends the block's keys and values, then attends, for key-value head kv_head.
 * Different heads and slots may run at once on different threads (thread < n_threads). */
void om_attention_head(om_attention *att, const om_block_job *job, int kv_head, int thread);

#endif
