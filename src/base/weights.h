/*
 * weights.h - a GGUF file whose every claim was checked before ggml sees it.
 *
 * gguf.h is included by weights.c and metadata.c alone. Opening reads the header, checks
 * that every tensor's data lies inside the file and that names are unique; data
 * is read on demand. Thread rule: immutable after open, reads use pread.
 */
#ifndef OM_WEIGHTS_H
#define OM_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct om_weights om_weights;

/* One tensor of the file. ne is ggml's order (fastest first), padded with 1. */
typedef struct om_tensor_desc {
    const char *name;
    int      type;          /* enum ggml_type */
    int      n_dims;
    int64_t  ne[4];
    uint64_t offset, bytes; /* in the file */
} om_tensor_desc;

/* ERR_IO, ERR_FORMAT (not GGUF, truncated, corrupt), ERR_MEMORY. */
int  om_weights_open(const char *path, om_weights **out);
void om_weights_free(om_weights *w);

const char *om_weights_path(const om_weights *w);
uint64_t    om_weights_file_bytes(const om_weights *w);

/* The parsed directory (struct gguf_context *), for metadata.c. */
const void *om_weights_gguf(const om_weights *w);

/* Required metadata: OK, or ERR_MODEL naming file, key, found and wanted. The
 * number must lie in [lo, hi]; any integer type will do for u32 and i32s. Strings
 * are borrowed from w. */
int om_weights_u32(const om_weights *w, const char *key, uint32_t lo, uint32_t hi, int *out);
int om_weights_f32(const om_weights *w, const char *key, float lo, float hi, float *out);
int om_weights_bool(const om_weights *w, const char *key, bool *out);
int om_weights_str(const om_weights *w, const char *key, const char **out);
/* Integer array of at most cap elements, each in [lo, hi]; *n elements found. */
int om_weights_i32s(const om_weights *w, const char *key, int lo, int hi, int *out, int cap, int *n);
bool om_weights_has(const om_weights *w, const char *key);

/* value is readable text; long strings and arrays are shortened. Stops when visit
 * returns non-zero and returns that. */
int om_weights_each_metadata(const om_weights *w,
    int (*visit)(void *user, const char *key, const char *value), void *user);

int64_t om_weights_tensor_count(const om_weights *w);
const om_tensor_desc *om_weights_tensor(const om_weights *w, int64_t i);
const om_tensor_desc *om_weights_find(const om_weights *w, const char *name); /* NULL: none */

/* Finds a tensor and checks its shape (C order, n_dims entries).
 * ERR_MODEL naming file, tensor, found and wanted. */
int om_weights_need(const om_weights *w, const char *name, int n_dims, const int64_t *shape,
                    const om_tensor_desc **out);

/* Raw bytes of a tensor (desc->bytes) into dst. ERR_IO. */
int om_weights_read(const om_weights *w, const om_tensor_desc *t, void *dst);
/* The same converted to f32, one float an element. ERR_IO, ERR_MEMORY, ERR_MODEL (no conversion). */
int om_weights_read_f32(const om_weights *w, const om_tensor_desc *t, float *dst);

#endif
