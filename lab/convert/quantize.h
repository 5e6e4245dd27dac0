/* quantize: either file of a model in another type, with what each tensor lost. */
#ifndef OM_QUANTIZE_H
#define OM_QUANTIZE_H

#include <stdbool.h>
#include <stdint.h>

/* Any may be NULL. */
typedef struct om_quantize_watch {
    void *user;
    int  (*progress)(void *user, const char *what, double done);    /* non-zero stops */
    /* For every tensor in the end: its types before and after, its bytes after, and the rms of the difference relative
     * to its own; non-zero stops. */
    int  (*tensor)(void *user, const char *name, const char *from, const char *to, uint64_t bytes, double rms);
    /* Before (begins) and after work that asks nobody: to stop it is to end the process. Non-zero when it begins stops. */
    int  (*unstoppable)(void *user, const char *what, bool begins);
} om_quantize_watch;

/* The types a speech file can have, "f32|f16|bf16|q8_0". */
extern const char om_speech_types[];

/* Writes out, atomically. in: an LLM file (type: om_llm_types, through llama.cpp) or a speech file (om_speech_types;
 * docs/convert.md says which tensors follow). Its matrices must not be quantised. *bytes: out's size. OK, AGAIN
 * (stopped), ERR_ARG, ERR_IO, ERR_FORMAT, ERR_MODEL, ERR_MEMORY, ERR_STATE (another process writes out). */
int om_quantize(const char *in, const char *out, const char *type, int threads, const om_quantize_watch *watch,
                uint64_t *bytes);

#endif
