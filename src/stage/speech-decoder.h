/*
 * speech-decoder: LLM states to CTC symbols, lambda per token, against a KV cache
 * per slot. The card is in speech-decoder.c.
 */
#ifndef OM_SPEECH_DECODER_H
#define OM_SPEECH_DECODER_H

#include "base/graph.h"
#include "base/hparams.h"
#include "base/weights.h"

#include <stdint.h>

typedef struct om_speech_decoder_weights om_speech_decoder_weights;
typedef struct om_speech_decoder om_speech_decoder;

/* On a CPU that multiplies BF16, a file with all matrices in BF16 is rearranged for our own products;
 * as_stored leaves them to ggml. ERR_MODEL, ERR_IO, ERR_MEMORY. */
int  om_speech_decoder_load(const om_weights *w, const om_hparams *hp, om_device *dev, bool force_f32,
                            om_speech_decoder_weights **out);
int  om_speech_decoder_load_as_stored(const om_weights *w, const om_hparams *hp, om_device *dev,
                                      bool force_f32, om_speech_decoder_weights **out);
void om_speech_decoder_unload(om_speech_decoder_weights *dw);
bool om_speech_decoder_is_packed(const om_speech_decoder_weights *dw);   /* rearranged as said above */

typedef struct om_speech_decoder_params {
    int  n_slots;
    int  max_tokens;       /* per slot and turn; the cache grows up to it in steps */
    bool layer0_sharing;   /* spec §6.8; off: plain evaluation of all positions */
    bool f32_cache;        /* exact oracle comparisons; else two bytes per number */
    bool operators_only;   /* attention by ggml's operators as on a GPU; off: our own kernels on a CPU */
    const char *kernels;   /* which of our own: "avx512-bf16", "avx2", "portable"; NULL: the fastest */
} om_speech_decoder_params;

int  om_speech_decoder_new(const om_speech_decoder_weights *dw, om_device *dev,
                           const om_speech_decoder_params *params, om_speech_decoder **out);
void om_speech_decoder_free(om_speech_decoder *dec);
void om_speech_decoder_reset(om_speech_decoder *dec, int slot);
/* Goes on as if token blocks had been run (0 ... max_tokens): back, to cut what was said; ahead, over
 * whatever keys are there, only to measure. A waiting state or block is dropped. */
void om_speech_decoder_seek(om_speech_decoder *dec, int slot, int token);

/* One LLM state for a slot, [D], copied. AGAIN while the slot's previous one was not run;
 * ERR_LIMIT after max_tokens; ERR_BACKEND when it is not finite. */
int  om_speech_decoder_push(om_speech_decoder *dec, int slot, const float *hidden);
/* One block of lambda positions for every slot that has a state waiting, one graph. AGAIN: none waits.
 * After a failure (ERR_MEMORY, ERR_BACKEND, ERR_STATE when aborted) nothing has advanced: run again or
 * reset. */
int  om_speech_decoder_run(om_speech_decoder *dec);
/* The slot's latest block: symbols [lambda] (argmax, ties to the lowest index),
 * logits [lambda][K+1] or NULL. AGAIN: no new block. */
int  om_speech_decoder_pull(om_speech_decoder *dec, int slot, int32_t *symbols, float *logits);

/* Bytes held now: caches of all slots and the arrays of the graph. */
size_t om_speech_decoder_bytes(const om_speech_decoder *dec);
/* What does the attention: "avx512-bf16", "avx2", "portable", "operators". */
const char *om_speech_decoder_kernels(const om_speech_decoder *dec);

/* CTC collapse (spec §6.6) carrying the previous symbol; start with prev = -1.
 * units needs room for n; returns how many were written. */
int  om_collapse(int32_t *prev, int32_t blank, const int32_t *symbols, int n, int32_t *units);

#endif
