/*
 * lm: the language model through libllama: positions of a prompt in, token and the
 * final-norm row that predicted it out. lm.c is the only includer of llama.h; its card
 * is there. D = width.
 *
 * Thread rule: a model is immutable; a context (om_lm) belongs to one thread at a time.
 */
#ifndef OM_LM_H
#define OM_LM_H

#include "base/weights.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct om_lm_model om_lm_model;   /* shared, immutable */
typedef struct om_lm om_lm;               /* one context: n_slots sequences and one for the prompt prefix */

enum { OM_LM_MAX_SLOTS = 255 };           /* libllama knows 256 sequences; one holds the prefix */

typedef struct om_lm_info {
    int width, layers, vocab, context_trained;
    uint64_t bytes, parameters;           /* of the tensors */
    const char *description;              /* e.g. "llama 8B Q4_0"; lives as long as the model */
} om_lm_info;

/* file was opened, and so checked, before libllama sees it (of a file in parts the first; libllama opens the others);
 * it is not kept. devices: where the n_gpu_layers go, as
 * om_rpc_devices fills it, kept by the caller while the model lives; NULL: the GPUs of this machine.
 * ERR_MODEL, ERR_FORMAT, ERR_MEMORY. */
int  om_lm_load(const om_weights *file, int n_gpu_layers, void **devices, bool use_mmap, om_lm_model **out);
void om_lm_unload(om_lm_model *m);
const om_lm_info *om_lm_get_info(const om_lm_model *m);

/* Tokens of a text of n bytes (UTF-8); special tokens are parsed, the model's BOS is put before, on request.
 * Returns the count needed; writes at most cap. Negative omni_status on error. */
int  om_lm_tokenize(const om_lm_model *m, const char *text, size_t n, bool parse_special, bool add_bos,
                    int32_t *ids, int cap);
/* Bytes of a token (control tokens have none). Returns the count needed; writes at most cap, nothing when
 * it does not fit. */
int  om_lm_piece(const om_lm_model *m, int32_t id, char *out, int cap);
bool om_lm_is_end(const om_lm_model *m, int32_t id);     /* what the LLM's own file calls an end */

typedef struct om_lm_params {
    int n_slots;        /* 1..OM_LM_MAX_SLOTS */
    int n_ctx_slot;     /* positions per slot */
    int n_prefix;       /* positions of the spare sequence, at most n_ctx_slot; 0 = none is used */
    int n_batch;        /* most positions of one prefill */
    int n_threads;
    void *threadpool;   /* om_device_threadpool, or NULL */
    bool own_caches;    /* a KV cache for each slot; else one for all (lm.c) */
    bool f32;           /* cache and attention in f32 (comparisons with oracles); else f16 */
} om_lm_params;
int  om_lm_new(const om_lm_model *m, const om_lm_params *params, om_lm **out);
void om_lm_free(om_lm *lm);

typedef struct om_sampling { float temperature; int top_k; float top_p; uint32_t seed; } om_sampling;
/* temperature 0: greedy, ties to the lowest id. Starts the random numbers anew. ERR_MEMORY. */
int  om_lm_set_sampling(om_lm *lm, int slot, const om_sampling *s);
/* Keeps a copy of how the slot samples, random numbers included; restore goes back to it, once. ERR_MEMORY. */
int  om_lm_keep_sampling(om_lm *lm, int slot);
void om_lm_restore_sampling(om_lm *lm, int slot);

/* A grammar that answers must follow (GBNF, rule "root"). ERR_ARG: not understood; ERR_MEMORY. */
typedef struct om_lm_grammar om_lm_grammar;
int  om_lm_grammar_new(const om_lm_model *m, const char *gbnf, om_lm_grammar **out);
void om_lm_grammar_free(om_lm_grammar *grammar);         /* one that no slot took; NULL is allowed */
/* Takes it over, for steps from the next om_lm_begin_answer on; NULL: none. */
void om_lm_set_grammar(om_lm *lm, int slot, om_lm_grammar *grammar);
void om_lm_begin_answer(om_lm *lm, int slot);            /* the next step's token is an answer's first */

/* Sequence bookkeeping. Positions are counted per slot; slot n_slots is the spare one. */
int  om_lm_used(const om_lm *lm, int slot);
/* Keeps the first n_keep positions; none when the model's memory can not be cut in the middle
 * (recurrent models): look at om_lm_used afterwards. */
void om_lm_cut(om_lm *lm, int slot, int n_keep);
/* The slot becomes a copy of the spare sequence's first n positions. */
void om_lm_copy_prefix(om_lm *lm, int slot, int n);

/* Prefill without outputs: either ids or rows [n][D] (the other NULL), n <= n_batch.
 * ERR_LIMIT: the slot is full; ERR_STATE: aborted; ERR_BACKEND. On failure om_lm_used tells what was kept. */
int  om_lm_prefill(om_lm *lm, int slot, const int32_t *ids, const float *rows, int n);
/* Several slots in one pass: positions n[i] for slots[i], each once, together at most n_batch; their ids or rows one
 * behind the other. Errors as om_lm_prefill, for all of them. */
int  om_lm_prefill_many(om_lm *lm, int n_slots, const int *slots, const int *n, const int32_t *ids, const float *rows);

/* No token: a grammar allows none of the vocabulary's. The answer ends; it can not be fed. */
enum { OM_LM_NONE = -1 };

/* One step for n slots at once: feeds ids[i] to slots[i] (the last prompt token
 * or the token picked before), picks the next. Out: next[n] (OM_LM_NONE among them), hidden [n][D] (the final-norm row
 * that predicted next), either may be NULL. Errors as om_lm_prefill; nothing is kept then. */
int  om_lm_step(om_lm *lm, int n, const int *slots, const int32_t *ids, int32_t *next, float *hidden);

/* Polled by libllama between nodes (CPU only). NULL: never. */
void om_lm_set_abort(om_lm *lm, bool (*abort)(void *user), void *user);

#endif
