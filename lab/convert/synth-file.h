/* synth-file: a GGUF file whose tensors are described first and streamed after. */
#ifndef OM_SYNTH_FILE_H
#define OM_SYNTH_FILE_H

#include "synth.h"

#include "ggml.h"
#include "gguf.h"

typedef struct om_synth_file om_synth_file;

/* type: as in synth.h. ERR_ARG, ERR_MEMORY. */
int  om_synth_file_new(const char *type, om_synth_file **out);
void om_synth_file_free(om_synth_file *f);
struct gguf_context *om_synth_file_metadata(om_synth_file *f);

/* Tensors, shape in C order. Failures are kept until om_synth_file_write. */
void om_synth_noise(om_synth_file *f, const char *name, enum ggml_type type, int n_dims,
                    const int64_t *shape, double std);
void om_synth_constant(om_synth_file *f, const char *name, int64_t n, float value);   /* F32 [n] */
/* F32, to be filled by the caller; NULL: no memory. */
float *om_synth_table(om_synth_file *f, const char *name, int n_dims, const int64_t *shape);

/* The types of this file: for matrices with rows of ne0, for convolutions, for the LLM's output matrix. */
enum ggml_type om_synth_matrix_type(const om_synth_file *f, int64_t ne0);
enum ggml_type om_synth_conv_type(const om_synth_file *f);
enum ggml_type om_synth_output_type(const om_synth_file *f, int64_t ne0);

/* As om_synth_llm. */
int om_synth_file_write(om_synth_file *f, uint64_t seed, const om_synth_sink *sink, uint64_t *bytes);

#endif
