/* speech-layout: the metadata and tensors that hparams.def and tensors.def demand of a speech file, for writers. */
#ifndef OM_SPEECH_LAYOUT_H
#define OM_SPEECH_LAYOUT_H

#include "base/hparams.h"

#include "gguf.h"

#include <stdint.h>

typedef enum om_tensor_kind { OM_KIND_F32, OM_KIND_MAT, OM_KIND_CONV, OM_KIND_UPC } om_tensor_kind;

/* One tensor: format is its name with %d for the indices i and j; shape in C order. */
typedef struct om_speech_tensor {
    const char *format, *name;
    int i, j;
    om_tensor_kind kind;
    int n_dims;
    int64_t shape[3];
} om_speech_tensor;

/* Sets general.architecture, general.name and every key of hparams.def. */
void om_speech_set_metadata(struct gguf_context *g, const char *name, const om_hparams *hp);
/* Visits every tensor of tensors.def in the file's order; stops when visit returns non-zero and returns that. */
int  om_speech_each(const om_hparams *hp, int (*visit)(void *user, const om_speech_tensor *t), void *user);

#endif
