/* convert-parts: what convert.c puts together; one file per part. */
#ifndef OM_CONVERT_PARTS_H
#define OM_CONVERT_PARTS_H

#include "base/hparams.h"
#include "gguf-out.h"
#include "hf-config.h"
#include "mapped.h"
#include "speech-layout.h"
#include "tokenizer-json.h"

/* ---- convert-llm.c --------------------------------------------------------------- */

typedef struct om_llm_parts {
    const om_hf_config *config;
    const om_tokenizer *tokenizer;
    om_origin          *hf;
    const char *name, *licence;     /* general.name, general.license; licence NULL: not said */
    enum ggml_type type;            /* of the matrices */
} om_llm_parts;

/* Describes the LLM file as llama.cpp's own converter writes it. list keeps the feeds. ERR_MODEL, ERR_MEMORY. */
int om_llm_describe(const om_llm_parts *p, om_mapped_list *list, om_gguf_out *out);

/* What llama.cpp divides the n rotation frequencies by (Llama 3's scaling): 1 for short waves, the factor for
 * long ones, between them a smooth passage. */
void om_rope_factors(double base, double factor, double low, double high, double original_context, int64_t n, float *out);

/* "8.0B": parameters rounded as llama.cpp does; text holds 16 bytes. */
void om_size_label(int64_t parameters, char text[16]);

/* ---- convert-speech.c --------------------------------------------------------------- */

typedef struct om_speech_parts {
    const om_hparams *hp;
    om_origin *hf, *whisper, *vocoder;  /* whisper NULL: the encoder inside hf */
    const char *name;
    enum ggml_type type;
} om_speech_parts;

/* Describes the speech file: every tensor of tensors.def by way of sources.def. ERR_MODEL, ERR_MEMORY, ERR_IO. */
int om_speech_describe(const om_speech_parts *p, om_mapped_list *list, om_gguf_out *out);
/* Tensors of a speech file with these numbers. */
int om_speech_count(const om_hparams *hp);
/* The type a tensor of this kind gets in a file of this type. */
enum ggml_type om_speech_type(enum ggml_type type, om_tensor_kind kind);

/* ---- speech-params.c ------------------------------------------------------------------ */

typedef struct om_speech_sources {
    const om_hf_config *config;
    const om_source *hf, *whisper, *vocoder;    /* whisper NULL: the encoder inside hf */
    const char *vocoder_config;                 /* NULL: the published vocoder's numbers */
} om_speech_sources;

/* Every number of the speech file; prompt texts are constants. ERR_MODEL, ERR_FORMAT, ERR_IO. */
int om_speech_params(const om_speech_sources *s, om_hparams *hp);
/* Is there an encoder inside the checkpoint? */
bool om_speech_has_encoder(const om_source *hf);

#endif
