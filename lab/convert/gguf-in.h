/* gguf-in: rows of a GGUF file's tensors as f32, and how far two tensors are apart. */
#ifndef OM_GGUF_IN_H
#define OM_GGUF_IN_H

#include "gguf-out.h"

#include "base/weights.h"

typedef struct om_gguf_in {
    om_weights *weights;
    int         fd;
} om_gguf_in;

/* A tensor as a feed's from, with om_gguf_read. */
typedef struct om_gguf_tensor {
    const om_gguf_in     *file;
    const om_tensor_desc *desc;
} om_gguf_tensor;

int  om_gguf_in_open(const char *path, om_gguf_in *out);    /* ERR_IO, ERR_FORMAT, ERR_MEMORY */
void om_gguf_in_close(om_gguf_in *in);
/* first and n are multiples of the row length. ERR_IO, ERR_MODEL (a type that can not be turned into f32). */
int  om_gguf_read(const void *tensor, int64_t first, int64_t n, float *out);
/* A feed's name for it. */
void om_gguf_name(const void *tensor, char *text, size_t room);

typedef struct om_difference {
    double rms;         /* of the difference, relative to the first's rms; 0 when both are zero */
    bool   within;      /* every number is as near as the second's type allows */
} om_difference;

/* How far a tensor of a file is from what it was made of, which has the same shape. ERR_MEMORY, what reading returns. */
int om_gguf_compare(om_feed original, const om_gguf_tensor *made, om_difference *out);
/* SHA-256 of a tensor's bytes, as hexadecimal text (digest.h). ERR_IO, ERR_MEMORY, ERR_BACKEND. */
int om_gguf_checksum(const om_gguf_tensor *t, char *hex);

#endif
