/* hf-config: config.json and generation_config.json of a Llama-family checkpoint, checked field by field. */
#ifndef OM_HF_CONFIG_H
#define OM_HF_CONFIG_H

#include <stdbool.h>

enum { OM_HF_MAX_EOS = 16 };

typedef enum om_rope_kind { OM_ROPE_PLAIN, OM_ROPE_LINEAR, OM_ROPE_LLAMA3 } om_rope_kind;

typedef struct om_hf_config {
    char model_type[64];            /* "llama", "omni_speech2s_llama", ... */
    char dtype[16];                 /* torch_dtype, or "" */
    int  layers, width, heads, heads_kv, head_dim, ff, vocab, context;
    bool head_dim_given, tied, attention_bias, mlp_bias;
    double eps, rope_base;
    struct {
        om_rope_kind kind;
        double factor, low, high;   /* factor 1: plain */
        int original_context;
    } rope;
    int bos, n_eos, eos[OM_HF_MAX_EOS];     /* bos -1: none; eos: generation_config's when it has any */
    bool has_speech;                        /* the fields below are there */
    struct {
        int stack;                  /* speech_encoder_ds_rate */
        int encoder_width;          /* 0: not given */
        int layers, width, heads, ff;       /* ctc_decoder_config */
        int upsample, units;
    } speech;
} om_hf_config;

/* Reads FOLDER/config.json and, when it is there, FOLDER/generation_config.json. ERR_IO, ERR_FORMAT (not JSON),
 * ERR_MODEL (a field is missing or odd, or a kind of model we do not know; file and field are named). */
int om_hf_config_read(const char *folder, om_hf_config *out);
/* The same from two files; generation NULL: none. */
int om_hf_config_read_files(const char *config, const char *generation, om_hf_config *out);

#endif
