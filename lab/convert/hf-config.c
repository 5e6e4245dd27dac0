/* hf-config: see the header. */
#include "hf-config.h"

#include "base/status.h"
#include "json-fields.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_CONFIG = 1 << 20 };

static int read_rope_kind(om_json j, om_hf_config *c)
{
    const char *kind = NULL;
    int rc = om_json_text_or_null(j, "rope_type", &kind);

    if (!rc && !kind)
        rc = om_json_text_or_null(j, "type", &kind);
    if (rc)
        return rc;
    if (!kind || strcmp(kind, "default") == 0)
        c->rope.kind = OM_ROPE_PLAIN;
    else if (strcmp(kind, "linear") == 0)
        c->rope.kind = OM_ROPE_LINEAR;
    else if (strcmp(kind, "llama3") == 0)
        c->rope.kind = OM_ROPE_LLAMA3;
    else
        return om_json_odd(j, "rope_type", "default, linear or llama3");
    return OMNI_OK;
}

/* rope_scaling, or rope_parameters of newer files, which hold the base too. */
static int read_rope(om_json j, om_hf_config *c)
{
    const char *key = om_json_field(j, "rope_scaling") ? "rope_scaling" : "rope_parameters";
    const om_json rope = {.name = strcmp(key, "rope_scaling") == 0 ? "config.json: rope_scaling"
                                                                   : "config.json: rope_parameters",
                          .object = om_json_field(j, key)};
    int rc = om_json_real_or(j, "rope_theta", 1.0, 1e9, 10000.0, &c->rope_base);

    c->rope.factor = c->rope.low = 1.0;
    c->rope.high = 4.0;
    c->rope.original_context = c->context;
    if (rc || !rope.object)
        return rc;
    if (!json_is_object(rope.object))
        return om_json_odd(j, key, "an object");
    rc = read_rope_kind(rope, c);
    if (!rc)
        rc = om_json_real_or(rope, "rope_theta", 1.0, 1e9, c->rope_base, &c->rope_base);
    if (!rc && c->rope.kind != OM_ROPE_PLAIN)
        rc = om_json_real(rope, "factor", 1.0, 1e4, &c->rope.factor);
    if (rc || c->rope.kind != OM_ROPE_LLAMA3)
        return rc;
    rc = om_json_real(rope, "low_freq_factor", 1e-6, 1e6, &c->rope.low);
    if (!rc)
        rc = om_json_real(rope, "high_freq_factor", 1e-6, 1e6, &c->rope.high);
    if (!rc)
        rc = om_json_int(rope, "original_max_position_embeddings", 1, 1 << 30, &c->rope.original_context);
    if (!rc && c->rope.high <= c->rope.low)
        rc = om_json_odd(rope, "high_freq_factor", "more than low_freq_factor");
    return rc;
}

static int read_sizes(om_json j, om_hf_config *c)
{
    const char *act = NULL;
    int rc = om_json_int(j, "num_hidden_layers", 1, 1024, &c->layers);

    if (!rc) rc = om_json_int(j, "hidden_size", 2, 1 << 17, &c->width);
    if (!rc) rc = om_json_int(j, "num_attention_heads", 1, 1024, &c->heads);
    if (!rc) rc = om_json_int_or(j, "num_key_value_heads", 1, 1024, c->heads, &c->heads_kv);
    if (!rc) rc = om_json_int(j, "intermediate_size", 1, 1 << 18, &c->ff);
    if (!rc) rc = om_json_int(j, "vocab_size", 1, 1 << 24, &c->vocab);
    if (!rc) rc = om_json_int(j, "max_position_embeddings", 1, 1 << 30, &c->context);
    if (!rc) rc = om_json_real(j, "rms_norm_eps", 1e-12, 1e-1, &c->eps);
    if (!rc) rc = om_json_bool_or(j, "tie_word_embeddings", false, &c->tied);
    if (!rc) rc = om_json_bool_or(j, "attention_bias", false, &c->attention_bias);
    if (!rc) rc = om_json_bool_or(j, "mlp_bias", false, &c->mlp_bias);
    if (!rc) rc = om_json_text_or_null(j, "hidden_act", &act);
    if (!rc && act && strcmp(act, "silu") != 0) rc = om_json_odd(j, "hidden_act", "silu");
    if (!rc && c->heads % c->heads_kv != 0)
        rc = om_json_odd(j, "num_key_value_heads", "a divisor of num_attention_heads");
    c->head_dim_given = om_json_field(j, "head_dim") != NULL;
    if (!rc && !c->head_dim_given && c->width % c->heads != 0)
        rc = om_json_odd(j, "hidden_size", "a multiple of num_attention_heads");
    if (!rc) rc = om_json_int_or(j, "head_dim", 2, 4096, c->width / c->heads, &c->head_dim);
    if (!rc && c->head_dim % 2 != 0)
        rc = om_json_odd(j, "head_dim", "an even number (hidden_size / num_attention_heads when it is not given)");
    return rc;
}

/* "(2,4096,32,11008)": layers, width, heads, feed-forward width. */
static int read_decoder(om_json j, om_hf_config *c)
{
    const char *text = NULL;
    long v[4];
    char end = 0, tail = 0;
    int rc = om_json_text_or_null(j, "ctc_decoder_config", &text);

    if (rc)
        return rc;
    if (!text || strlen(text) > 64 ||
        sscanf(text, " (%7ld ,%7ld ,%7ld ,%7ld %c %c", &v[0], &v[1], &v[2], &v[3], &end, &tail) != 5 || end != ')' ||
        v[0] < 1 || v[0] > 256 || v[1] < 2 || v[1] > 1 << 16 || v[2] < 1 || v[2] > 1024 || v[3] < 1 || v[3] > 1 << 18)
        return om_json_odd(j, "ctc_decoder_config", "\"(layers,width,heads,feed-forward width)\"");
    if (v[1] % v[2] != 0 || v[1] / v[2] % 2 != 0)
        return om_json_odd(j, "ctc_decoder_config", "a width that is heads times an even number");
    c->speech.layers = (int)v[0];
    c->speech.width = (int)v[1];
    c->speech.heads = (int)v[2];
    c->speech.ff = (int)v[3];
    return OMNI_OK;
}

/* What must be a certain word, where it is given. */
static int expect_text(om_json j, const char *key, const char *wanted)
{
    const char *text = NULL;
    int rc = om_json_text_or_null(j, key, &text);

    return rc || !text || strcmp(text, wanted) == 0 ? rc : om_json_odd(j, key, wanted);
}

static int read_speech(om_json j, om_hf_config *c)
{
    bool normalize;
    int rc;

    c->has_speech = om_json_field(j, "speech_encoder_ds_rate") || om_json_field(j, "ctc_decoder_config") ||
                    strncmp(c->model_type, "omni_speech", 11) == 0;
    if (!c->has_speech)
        return OMNI_OK;
    rc = expect_text(j, "speech_encoder_type", "whisper");
    if (!rc) rc = expect_text(j, "speech_projector_type", "linear");
    if (!rc) rc = expect_text(j, "speech_generator_type", "ctc");
    if (!rc) rc = om_json_bool_or(j, "speech_normalize", false, &normalize);
    if (!rc && normalize) rc = om_json_odd(j, "speech_normalize", "false");
    if (!rc) rc = om_json_int(j, "speech_encoder_ds_rate", 1, 1 << 10, &c->speech.stack);
    if (!rc) rc = om_json_int_or(j, "speech_encoder_hidden_size", 0, 1 << 15, 0, &c->speech.encoder_width);
    if (!rc) rc = read_decoder(j, c);
    if (!rc) rc = om_json_int(j, "ctc_upsample_factor", 1, 1024, &c->speech.upsample);
    if (!rc) rc = om_json_int(j, "unit_vocab_size", 1, 1 << 20, &c->speech.units);
    return rc;
}

static int read_config(om_json j, om_hf_config *c)
{
    const char *type = NULL, *dtype = NULL;
    int rc = om_json_text_or_null(j, "model_type", &type), n = 0;

    if (!rc && (!type || (strcmp(type, "llama") != 0 && strcmp(type, "omni_speech_llama") != 0 &&
                          strcmp(type, "omni_speech2s_llama") != 0)))
        rc = om_json_odd(j, "model_type", "llama, omni_speech_llama or omni_speech2s_llama");
    if (rc)
        return rc;
    snprintf(c->model_type, sizeof c->model_type, "%s", type);
    rc = om_json_text_or_null(j, om_json_field(j, "torch_dtype") ? "torch_dtype" : "dtype", &dtype);
    snprintf(c->dtype, sizeof c->dtype, "%s", dtype ? dtype : "");
    if (!rc) rc = read_sizes(j, c);
    if (!rc) rc = read_rope(j, c);
    c->bos = -1;
    if (!rc) rc = om_json_ints(j, "bos_token_id", 0, INT_MAX, 1, &c->bos, &n);
    if (!rc) rc = om_json_ints(j, "eos_token_id", 0, INT_MAX, OM_HF_MAX_EOS, c->eos, &c->n_eos);
    if (!rc) rc = read_speech(j, c);
    return rc;
}

int om_hf_config_read_files(const char *config, const char *generation, om_hf_config *out)
{
    om_hf_config c = {.bos = -1};
    json_t *root = NULL;
    int n, rc = om_json_load(config, MAX_CONFIG, &root), eos[OM_HF_MAX_EOS];

    if (rc)
        return rc;
    rc = json_is_object(root) ? read_config((om_json){"config.json", root}, &c)
                              : om_fail(OMNI_ERR_FORMAT, "%s: wanted a JSON object", config);
    json_decref(root);
    if (!rc && generation) {
        rc = om_json_load(generation, MAX_CONFIG, &root);
        if (rc)
            return rc;
        rc = om_json_ints((om_json){"generation_config.json", root}, "eos_token_id", 0, INT_MAX, OM_HF_MAX_EOS, eos, &n);
        if (!rc && n > 0) {
            memcpy(c.eos, eos, sizeof eos);
            c.n_eos = n;
        }
        json_decref(root);
    }
    if (!rc)
        *out = c;
    return rc;
}

int om_hf_config_read(const char *folder, om_hf_config *out)
{
    char config[PATH_MAX], generation[PATH_MAX];

    if (snprintf(config, sizeof config, "%s/config.json", folder) >= (int)sizeof config ||
        snprintf(generation, sizeof generation, "%s/generation_config.json", folder) >= (int)sizeof generation)
        return om_fail(OMNI_ERR_ARG, "%.200s: the path is too long", folder);
    return om_hf_config_read_files(config, access(generation, F_OK) == 0 ? generation : NULL, out);
}
