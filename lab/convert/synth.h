/*
 * synth: models of any shape with random weights, for measuring speed and memory
 * where weights can not be had. Files are streamed: memory stays at a few dozen MB.
 */
#ifndef OM_SYNTH_H
#define OM_SYNTH_H

#include "base/hparams.h"

#include <stddef.h>
#include <stdint.h>

typedef struct om_synth_shape {
    char name[64];
    struct {
        int layers, heads, heads_kv, ff, vocab, context, rope_original_context;
        float eps, rope_base, rope_factor, rope_low, rope_high;
    } llm;                      /* its width is speech.llm.width */
    om_hparams speech;          /* strings are constants */
} om_synth_shape;

/* "llama-omni-8b", "llama-omni-tiny", or a JSON file: an object whose keys are those of hparams.def and of
 * synth-shape.def, "like" (one of the two names) and "name". ERR_ARG, ERR_IO, ERR_FORMAT, ERR_MODEL. */
int om_synth_shape_read(const char *like, om_synth_shape *shape);

/* Where the bytes of a file go; write returns non-zero to stop. */
typedef struct om_synth_sink {
    void *user;
    int (*write)(void *user, const void *bytes, size_t n);
} om_synth_sink;

/* Write one file with weights of the named type (q4_0, q4_k, q8_0, bf16, f16, f32; rows that the type's
 * blocks do not divide become f16). sink NULL: only *bytes, the file's size, which may be NULL otherwise. The
 * same seed gives the same file. OK, AGAIN when write stopped it, ERR_ARG, ERR_MEMORY. */
int om_synth_llm(const om_synth_shape *shape, const char *type, uint64_t seed, const om_synth_sink *sink,
                 uint64_t *bytes);
int om_synth_speech(const om_synth_shape *shape, const char *type, uint64_t seed, const om_synth_sink *sink,
                    uint64_t *bytes);

#endif
