/*
 * gguf-out: a GGUF file whose tensors are described first and streamed after.
 *
 * Each tensor's numbers are asked for some rows at a time as f32, turned into the file's type and written; memory
 * stays at a few MB. Numbers that are not finite, or that the type can not hold, are refused.
 */
#ifndef OM_GGUF_OUT_H
#define OM_GGUF_OUT_H

#include "part-file.h"

#include "ggml.h"
#include "gguf.h"

typedef struct om_gguf_out om_gguf_out;

/* Where a tensor's numbers come from: elements [first, first + n) in C order. */
typedef struct om_feed {
    int (*read)(const void *from, int64_t first, int64_t n, float *out);
    const void *from;
    /* "FILE: tensor NAME" of where they come from, for complaints; NULL: they are called by the output's own name. */
    void (*name)(const void *from, char *text, size_t room);
} om_feed;

/* done bytes of all; non-zero stops. */
typedef int (*om_gguf_progress)(void *user, uint64_t done, uint64_t all);

int  om_gguf_out_new(om_gguf_out **out);            /* ERR_MEMORY */
void om_gguf_out_free(om_gguf_out *o);
struct gguf_context *om_gguf_out_metadata(om_gguf_out *o);

/* shape in C order; names are distinct, of at most 63 bytes. Rows that the type's blocks do not divide become
 * f16. What the feed reads from must live until the file is written. ERR_LIMIT, ERR_MODEL (a name or shape that
 * GGUF can not hold). */
int  om_gguf_out_add(om_gguf_out *o, const char *name, enum ggml_type type, int n_dims, const int64_t *shape,
                     om_feed feed);

/* The metadata and all tensors. Metadata values may change afterwards as long as their sizes do not:
 * om_gguf_out_rewrite_metadata. OK, AGAIN (stopped), ERR_IO, ERR_MODEL (a number; its source is
 * named), ERR_MEMORY, what feeds return. */
int  om_gguf_out_write(om_gguf_out *o, om_part_file *file, om_gguf_progress progress, void *user);
int  om_gguf_out_rewrite_metadata(om_gguf_out *o, om_part_file *file);
uint64_t om_gguf_out_bytes(const om_gguf_out *o);

/* general.file_type's number for a file mostly of this type. */
uint32_t om_gguf_file_type(enum ggml_type type);

#endif
