/* llm-quantize: llama.cpp's quantiser. llm-quantize.c is the only file of the lab that includes llama.h. */
#ifndef OM_LLM_QUANTIZE_H
#define OM_LLM_QUANTIZE_H

/* "q4_k_m|q8_0|...": every type the LLM file can have. */
extern const char om_llm_types[];

/* llama.cpp's number of a type (enum llama_ftype), or -1. */
int om_llm_file_type(const char *type);

/* Writes the file out (through llama.cpp, which truncates it) from in, whose matrices are f32, f16 or bf16.
 * threads 0: all. ERR_ARG (type), ERR_MODEL (llama.cpp's reason), ERR_MEMORY. out is incomplete on failure. */
int om_llm_quantize(const char *in, const char *out, const char *type, int threads);

#endif
