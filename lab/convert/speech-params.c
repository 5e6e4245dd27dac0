/*
 * The numbers of the speech file: shapes of the tensors, config.json of the checkpoint, config.json of the vocoder.
 * What stands nowhere is the published model's: sound, mel, prompt.
 */
#include "convert-parts.h"

#include "base/status.h"
#include "json-fields.h"
#include "sources.def"
#include "synth.h"
#include "torch-file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WHISPER_HEAD = 64, MAX_CONFIG = 1 << 20 };      /* every Whisper has heads of 64 */

/* ---- encoder and adaptor ------------------------------------------------------------ */

/* The shape of prefix + name, of n_dims dimensions. */
static int shape_of(const om_source *s, const char *prefix, const char *name, int n_dims, int64_t *shape)
{
    char full[128];

    snprintf(full, sizeof full, "%s%s", prefix, name);
    const om_source_tensor *t = om_source_find(s, full);
    if (!t)
        return om_fail(OMNI_ERR_MODEL, "%s: tensor %s is missing", s->n_files ? s->files[0].path : "checkpoint", full);
    if (t->n_dims != n_dims)
        return om_fail(OMNI_ERR_MODEL, "%s: tensor %s: found %d dimensions, wanted %d", s->files[t->file].path, full,
                       t->n_dims, n_dims);
    for (int i = 0; i < n_dims; i++) {
        if (t->shape[i] < 1 || t->shape[i] > 1 << 24)
            return om_fail(OMNI_ERR_MODEL, "%s: tensor %s: dimension %d is %lld, wanted 1 to %d", s->files[t->file].path,
                           full, i, (long long)t->shape[i], 1 << 24);
        shape[i] = t->shape[i];
    }
    return OMNI_OK;
}

static int count_layers(const om_source *s, const char *prefix)
{
    char name[128];
    int n = 0;

    do
        snprintf(name, sizeof name, "%sblocks.%d.attn_ln.weight", prefix, n++);
    while (om_source_find(s, name) && n < 1024);
    return n - 1;
}

/* Whisper's own file says how many heads; the copy inside the checkpoint does not. */
static int encoder_heads(const om_speech_sources *s, om_hparams *hp)
{
    double heads = 0;

    if (s->whisper) {
        const int rc = om_torch_number(s->whisper->files[0].path, "dims.n_audio_head", &heads);

        if (!rc && !(heads >= 1 && heads <= 1024 && floor(heads) == heads))
            return om_fail(OMNI_ERR_MODEL, "%s: dims.n_audio_head: found %g, wanted 1 to 1024", s->whisper->files[0].path, heads);
        hp->enc.heads = (int)heads;
        return rc;
    }
    if (hp->enc.width % WHISPER_HEAD != 0)
        return om_fail(OMNI_ERR_MODEL, "speech encoder: found a width of %d, wanted a multiple of %d, the width of Whisper's "
                       "heads; give the encoder with --whisper", hp->enc.width, WHISPER_HEAD);
    hp->enc.heads = hp->enc.width / WHISPER_HEAD;
    return OMNI_OK;
}

static int read_encoder(const om_speech_sources *s, om_hparams *hp)
{
    const om_source *from = s->whisper ? s->whisper : s->hf;
    const char *prefix = s->whisper ? OM_PREFIX_WHISPER : OM_PREFIX_ENCODER;
    int64_t conv[3], pos[2], up[2];
    int rc = shape_of(from, prefix, "conv1.weight", 3, conv);

    if (!rc)
        rc = shape_of(from, prefix, "positional_embedding", 2, pos);
    if (!rc)
        rc = shape_of(from, prefix, "blocks.0.mlp.0.weight", 2, up);
    if (rc)
        return rc;
    hp->audio.n_mels = (int)conv[1];
    hp->enc.width = (int)conv[0];
    hp->enc.context = (int)pos[0];
    hp->enc.ff = (int)up[0];
    hp->enc.layers = count_layers(from, prefix);
    hp->enc.eps = 1e-5f;
    if (pos[0] > (1 << 25) / (2 * hp->audio.hop))
        return om_fail(OMNI_ERR_MODEL, "speech encoder: found %lld positions, too many", (long long)pos[0]);
    hp->audio.window_samples = 2 * hp->audio.hop * (int)pos[0];
    if (s->config->speech.encoder_width && s->config->speech.encoder_width != hp->enc.width)
        return om_fail(OMNI_ERR_MODEL, "config.json: speech_encoder_hidden_size: found %d, but the encoder's width is %d; is "
                       "it another Whisper?", s->config->speech.encoder_width, hp->enc.width);
    return encoder_heads(s, hp);
}

static int read_adaptor(const om_speech_sources *s, om_hparams *hp)
{
    int64_t shape[2];
    int rc = shape_of(s->hf, OM_PREFIX_ADAPTOR, "linear1.weight", 2, shape);

    if (!rc) {
        hp->adaptor.stack = s->config->speech.stack;
        hp->adaptor.hidden = (int)shape[0];
    }
    return rc;
}

/* ---- speech decoder ------------------------------------------------------------------- */

static void read_decoder(const om_hf_config *c, om_hparams *hp)
{
    hp->llm.width = c->width;
    hp->dec.upsample = c->speech.upsample;
    hp->dec.layers = c->speech.layers;
    hp->dec.width = c->speech.width;
    hp->dec.heads = hp->dec.heads_kv = c->speech.heads;
    hp->dec.ff = c->speech.ff;
    hp->dec.units = c->speech.units;
    hp->dec.eps = (float)c->eps;
    hp->dec.rope_base = (float)c->rope_base;
    hp->dec.rope_factor = c->rope.kind == OM_ROPE_PLAIN ? 1.0f : (float)c->rope.factor;
    hp->dec.rope_low = (float)c->rope.low;
    hp->dec.rope_high = (float)c->rope.high;
    hp->dec.rope_original_context = c->rope.original_context;
    if (c->rope.kind == OM_ROPE_LINEAR) {   /* every wave is longer than 1: all are divided by the factor */
        hp->dec.rope_original_context = 1;
        hp->dec.rope_low = 1.0f;
        hp->dec.rope_high = 2.0f;
    }
    if (c->n_eos > 0 && c->n_eos <= OM_MAX_STOPS) {
        hp->prompt.n_stop = c->n_eos;
        memcpy(hp->prompt.stop, c->eos, (size_t)c->n_eos * sizeof *c->eos);
    } else {
        hp->prompt.n_stop = 0;
    }
}

/* ---- vocoder ---------------------------------------------------------------------------- */

static int read_list(om_json j, const char *key, int lo, int hi, int cap, int *out, int *n)
{
    const int rc = om_json_ints(j, key, lo, hi, cap, out, n);

    return rc || *n > 0 ? rc : om_json_odd(j, key, "numbers");
}

/* One list of dilations per residual block; ours is one for all. */
static int read_dilations(om_json j, om_hparams *hp)
{
    const json_t *lists = om_json_field(j, "resblock_dilation_sizes");
    int n, row[OM_MAX_DILATIONS];

    if (!json_is_array(lists) || json_array_size(lists) != (size_t)hp->voc.n_res)
        return om_json_odd(j, "resblock_dilation_sizes", "one list for each of resblock_kernel_sizes");
    for (size_t i = 0; i < json_array_size(lists); i++) {
        json_t *one = json_pack("{sO}", "resblock_dilation_sizes", json_array_get(lists, i));
        const int rc = one ? read_list((om_json){j.name, one}, "resblock_dilation_sizes", 1, 127, OM_MAX_DILATIONS, row, &n)
                           : om_fail(OMNI_ERR_MEMORY, "%s: out of memory", j.name);

        json_decref(one);
        if (rc)
            return rc;
        if (i > 0 && (n != hp->voc.n_dil || memcmp(row, hp->voc.dilations, (size_t)n * sizeof *row) != 0))
            return om_json_odd(j, "resblock_dilation_sizes", "the same list for all blocks");
        hp->voc.n_dil = n;
        memcpy(hp->voc.dilations, row, (size_t)n * sizeof *row);
    }
    return OMNI_OK;
}

static int read_predictor(om_json j, const char *name, om_hparams *hp)
{
    const om_json p = {.name = name, .object = om_json_field(j, "dur_predictor_params")};
    int rc, width;

    if (!json_is_object(p.object))
        return om_json_odd(j, "dur_predictor_params", "an object; vocoders without durations are not supported");
    rc = om_json_int(p, "encoder_embed_dim", 1, 1 << 14, &width);
    if (!rc && width != hp->voc.embd)
        rc = om_json_odd(p, "encoder_embed_dim", "embedding_dim");
    if (!rc)
        rc = om_json_int(p, "var_pred_hidden_dim", 1, 1 << 14, &hp->voc.dur_hidden);
    if (!rc)
        rc = om_json_int(p, "var_pred_kernel_size", 1, 127, &hp->voc.dur_kernel);
    return rc;
}

/* What our vocoder does not compute must not be asked for. */
static int refuse_others(om_json j)
{
    static const char *const never[] = {"f0", "multispkr", "multilingual", "f0_quantizer"};
    const json_t *block = om_json_field(j, "resblock");
    int rc = OMNI_OK;

    for (size_t i = 0; !rc && i < sizeof never / sizeof *never; i++) {
        const json_t *v = om_json_field(j, never[i]);

        if (v && !json_is_false(v) && !(json_is_integer(v) && json_integer_value(v) == 0))
            rc = om_json_odd(j, never[i], "false; such vocoders are not supported");
    }
    if (!rc && block && !(json_is_string(block) && strcmp(json_string_value(block), "1") == 0) &&
        !(json_is_integer(block) && json_integer_value(block) == 1))
        rc = om_json_odd(j, "resblock", "\"1\"");
    return rc;
}

static int read_vocoder_fields(om_json j, const char *name, const om_hf_config *c, om_hparams *hp)
{
    int units, width, hop, product = 1, rc = refuse_others(j);

    if (!rc)
        rc = read_list(j, "upsample_rates", 1, 64, OM_MAX_STAGES, hp->voc.rates, &hp->voc.n_stages);
    if (!rc)
        rc = read_list(j, "upsample_kernel_sizes", 1, 128, OM_MAX_STAGES, hp->voc.kernels, &hp->voc.n_kernels);
    if (!rc)
        rc = om_json_int(j, "upsample_initial_channel", 2, 1 << 14, &hp->voc.channels);
    if (!rc)
        rc = read_list(j, "resblock_kernel_sizes", 1, 127, OM_MAX_KERNELS, hp->voc.res_kernels, &hp->voc.n_res);
    if (!rc)
        rc = read_dilations(j, hp);
    if (!rc)
        rc = om_json_int(j, "num_embeddings", 1, 1 << 20, &units);
    if (!rc && units != c->speech.units)
        rc = om_json_odd(j, "num_embeddings", "the checkpoint's unit_vocab_size");
    if (!rc)
        rc = om_json_int(j, "embedding_dim", 1, 1 << 14, &hp->voc.embd);
    if (!rc)
        rc = om_json_int_or(j, "model_in_dim", 1, 1 << 14, hp->voc.embd, &width);
    if (!rc && width != hp->voc.embd)
        rc = om_json_odd(j, "model_in_dim", "embedding_dim");
    if (!rc)
        rc = om_json_int(j, "sampling_rate", 4000, 384000, &hp->voc.sample_rate);
    if (!rc)
        rc = read_predictor(j, name, hp);
    for (int i = 0; !rc && i < hp->voc.n_stages; i++)
        product *= hp->voc.rates[i];
    if (!rc)
        rc = om_json_int_or(j, "code_hop_size", 1, 1 << 24, product, &hop);
    if (!rc && hop != product)
        rc = om_json_odd(j, "code_hop_size", "the product of upsample_rates");
    return rc;
}

static int read_vocoder(const om_speech_sources *s, om_hparams *hp)
{
    char inner[300];
    json_t *root = NULL;
    int rc;

    if (!s->vocoder_config)
        return OMNI_OK;
    rc = om_json_load(s->vocoder_config, MAX_CONFIG, &root);
    if (rc)
        return rc;
    snprintf(inner, sizeof inner, "%.250s: dur_predictor_params", s->vocoder_config);
    rc = json_is_object(root) ? read_vocoder_fields((om_json){s->vocoder_config, root}, inner, s->config, hp)
                              : om_fail(OMNI_ERR_FORMAT, "%s: wanted a JSON object", s->vocoder_config);
    json_decref(root);
    return rc;
}

/* ---- the whole ---------------------------------------------------------------------------- */

bool om_speech_has_encoder(const om_source *hf)
{
    return om_source_find(hf, OM_PREFIX_ENCODER "conv1.weight") != NULL;
}

int om_speech_params(const om_speech_sources *s, om_hparams *hp)
{
    om_synth_shape published;
    int rc = om_synth_shape_read("llama-omni-8b", &published);

    if (rc)
        return rc;
    *hp = published.speech;
    rc = read_encoder(s, hp);
    if (!rc)
        rc = read_adaptor(s, hp);
    if (!rc)
        read_decoder(s->config, hp);
    if (!rc)
        rc = read_vocoder(s, hp);
    return rc ? rc : om_hparams_check(hp, "the speech part of the checkpoint");
}
