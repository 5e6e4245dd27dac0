/* Shapes by name, and from JSON files. The only includer of jansson.h here. */
#include "synth.h"

#include "base/hparams.def"
#include "base/status.h"
#include "synth-shape.def"

#include <jansson.h>

#include <stdio.h>
#include <string.h>

#define SYSTEM_TEXT \
    "You are a helpful language and speech assistant. You are able to understand the speech content that the user " \
    "provides, and assist the user with a variety of tasks using natural language."
#define HEADER(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"

/* In the format that Llama 3.1 was trained to call functions in. */
#define TOOLS_TEXT \
    "These functions can be called:\n{tools}\n\nWhere one of them helps to answer, respond only with a JSON object in the " \
    "format {\"name\": function name, \"parameters\": dictionary of argument names and their values}; several calls are " \
    "separated by \"; \". Otherwise answer in plain words.\n\n"

/* LLaMA-Omni on Llama-3.1-8B with Whisper-large-v3. */
static const om_synth_shape shape_8b = {
    .name = "llama-omni-8b-random",
    .llm = {.layers = 32, .heads = 32, .heads_kv = 8, .ff = 14336, .vocab = 128256, .context = 131072,
            .rope_original_context = 8192, .eps = 1e-5f, .rope_base = 500000.0f, .rope_factor = 8.0f, .rope_low = 1.0f,
            .rope_high = 4.0f},
    .speech = {
        .audio = {.sample_rate = 16000, .n_fft = 400, .hop = 160, .n_mels = 128, .window_samples = 480000},
        .enc = {.context = 1500, .width = 1280, .layers = 32, .heads = 20, .ff = 5120, .eps = 1e-5f},
        .adaptor = {.stack = 5, .hidden = 2048},
        .llm = {.width = 4096},
        .dec = {.upsample = 25, .layers = 2, .width = 4096, .heads = 32, .heads_kv = 32, .ff = 11008, .units = 1000,
                .eps = 1e-5f, .rope_base = 500000.0f, .rope_factor = 8.0f, .rope_low = 1.0f, .rope_high = 4.0f,
                .rope_original_context = 8192},
        .voc = {.embd = 128, .channels = 512, .dur_hidden = 128, .dur_kernel = 3, .sample_rate = 16000,
                .n_stages = 5, .rates = {5, 4, 4, 2, 2}, .n_kernels = 5, .kernels = {11, 8, 8, 4, 4},
                .n_res = 3, .res_kernels = {3, 7, 11}, .n_dil = 3, .dilations = {1, 3, 5}},
        .prompt = {.begin = "<|begin_of_text|>" HEADER("system") SYSTEM_TEXT "<|eot_id|>",
                   .user = HEADER("user"),
                   .speech_suffix = "\nPlease directly answer the questions in the user's speech.<|eot_id|>"
                                    HEADER("assistant"),
                   .text_prefix = "", .text_form = "", .text_suffix = "<|eot_id|>" HEADER("assistant"),
                   .turn_end = "<|eot_id|>", .add_bos = true, .tools = TOOLS_TEXT},
    },
};

/* The proportions of the bundled model, for quick trials. */
static void shrink(om_synth_shape *s)
{
    om_hparams *h = &s->speech;

    snprintf(s->name, sizeof s->name, "llama-omni-tiny-random");
    s->llm.layers = 4, s->llm.heads = 4, s->llm.heads_kv = 2, s->llm.ff = 704, s->llm.vocab = 2048;
    s->llm.context = 2048, s->llm.rope_factor = 1.0f, s->llm.rope_base = 10000.0f;
    h->audio.n_mels = 80, h->audio.window_samples = 80000;
    h->enc.context = 250, h->enc.width = 256, h->enc.layers = 4, h->enc.heads = 4, h->enc.ff = 1024;
    h->adaptor.hidden = 512, h->llm.width = 256;
    h->dec.width = 256, h->dec.heads = h->dec.heads_kv = 4, h->dec.ff = 704, h->dec.units = 200;
    h->dec.rope_factor = 1.0f, h->dec.rope_base = 10000.0f;
    h->voc.channels = 128, h->voc.n_res = 2;
}

static int named_shape(const char *name, om_synth_shape *shape)
{
    *shape = shape_8b;
    if (strcmp(name, "llama-omni-8b") == 0)
        return OMNI_OK;
    if (strcmp(name, "llama-omni-tiny") != 0)
        return OMNI_ERR_ARG;
    shrink(shape);
    return OMNI_OK;
}

/* ---- JSON ------------------------------------------------------------------- */

static int bad(const char *path, const char *key, const char *wanted)
{
    return om_fail(OMNI_ERR_FORMAT, "%s: \"%s\": wanted %s", path, key, wanted);
}

static int read_integer(const char *path, const char *key, const json_t *v, json_int_t lo, json_int_t hi,
                        int *out)
{
    if (!json_is_integer(v))
        return bad(path, key, "a whole number");
    if (json_integer_value(v) < lo || json_integer_value(v) > hi)
        return om_fail(OMNI_ERR_FORMAT,
                       "%s: \"%s\": found %" JSON_INTEGER_FORMAT ", wanted %" JSON_INTEGER_FORMAT
                       " to %" JSON_INTEGER_FORMAT,
                       path, key, json_integer_value(v), lo, hi);
    *out = (int)json_integer_value(v);
    return OMNI_OK;
}

static int read_real(const char *path, const char *key, const json_t *v, float lo, float hi, float *out)
{
    if (!json_is_number(v))
        return bad(path, key, "a number");
    if (json_number_value(v) < (double)lo || json_number_value(v) > (double)hi)
        return om_fail(OMNI_ERR_FORMAT, "%s: \"%s\": found %g, wanted %g to %g", path, key,
                       json_number_value(v), (double)lo, (double)hi);
    *out = (float)json_number_value(v);
    return OMNI_OK;
}

static int read_array(const char *path, const char *key, const json_t *v, int lo, int hi, int cap, int *out,
                      int *n)
{
    if (!json_is_array(v) || json_array_size(v) < 1 || json_array_size(v) > (size_t)cap)
        return om_fail(OMNI_ERR_FORMAT, "%s: \"%s\": wanted an array of 1 to %d numbers", path, key, cap);
    *n = (int)json_array_size(v);
    for (int i = 0; i < *n; i++) {
        int rc = read_integer(path, key, json_array_get(v, (size_t)i), lo, hi, &out[i]);

        if (rc)
            return rc;
    }
    return OMNI_OK;
}

/* One key of a shape file. Prompt texts and stop ids follow from the synthetic vocabulary and can not be set.
 */
static int read_key(const char *path, const char *key, const json_t *v, om_synth_shape *s)
{
    om_hparams *hp = &s->speech;

#define LLM_U(name, field, lo, hi) \
    if (strcmp(key, name) == 0) return read_integer(path, key, v, lo, hi, &s->llm.field);
#define LLM_F(name, field, lo, hi) \
    if (strcmp(key, name) == 0) return read_real(path, key, v, lo, hi, &s->llm.field);
#define SPEECH_U(name, field, lo, hi) \
    if (strcmp(key, name) == 0) return read_integer(path, key, v, lo, hi, &hp->field);
#define SPEECH_F(name, field, lo, hi) \
    if (strcmp(key, name) == 0) return read_real(path, key, v, lo, hi, &hp->field);
#define SPEECH_A(name, field, count, cap, lo, hi) \
    if (strcmp(key, name) == 0 && hp->field != hp->prompt.stop) \
        return read_array(path, key, v, lo, hi, cap, hp->field, &hp->count);
#define NOT_SET(...)
    OM_SYNTH_LLM(LLM_U, LLM_F)
    OM_HPARAMS(SPEECH_U, SPEECH_F, NOT_SET, NOT_SET, SPEECH_A)
#undef LLM_U
#undef LLM_F
#undef SPEECH_U
#undef SPEECH_F
#undef SPEECH_A
#undef NOT_SET
    return om_fail(OMNI_ERR_FORMAT, "%s: \"%s\": unknown key; docs/format.md lists them", path, key);
}

static int read_object(const char *path, json_t *root, om_synth_shape *s)
{
    const json_t *like = json_object_get(root, "like"), *name = json_object_get(root, "name");
    const char *key;
    json_t *v;

    if (named_shape(like ? json_string_value(like) ? json_string_value(like) : "" : "llama-omni-8b", s) !=
        OMNI_OK)
        return bad(path, "like", "llama-omni-8b or llama-omni-tiny");
    if (name) {
        const char *text = json_string_value(name);

        if (!text || !*text || strlen(text) >= sizeof s->name || strchr(text, '/'))
            return bad(path, "name", "a file name of at most 63 bytes");
        snprintf(s->name, sizeof s->name, "%s", text);
    } else {
        snprintf(s->name, sizeof s->name, "random");
    }
    json_object_foreach(root, key, v) {
        int rc = strcmp(key, "like") == 0 || strcmp(key, "name") == 0 ? OMNI_OK : read_key(path, key, v, s);

        if (rc)
            return rc;
    }
    return OMNI_OK;
}

static int read_json(const char *path, om_synth_shape *shape)
{
    json_error_t error;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    int rc;

    if (!root)
        return error.line < 0 ? om_fail(OMNI_ERR_IO,
                                        "%s: neither llama-omni-8b nor llama-omni-tiny nor a shape file: %s",
                                        path, error.text)
                              : om_fail(OMNI_ERR_FORMAT, "%s: line %d: %s", path, error.line, error.text);
    rc = json_is_object(root) ? read_object(path, root, shape)
                              : om_fail(OMNI_ERR_FORMAT, "%s: wanted a JSON object", path);
    json_decref(root);
    return rc;
}

/* ---- what connects the numbers ----------------------------------------------- */

static int check_llm(const om_synth_shape *s, const char *like)
{
    const int width = s->speech.llm.width;

    if (width % s->llm.heads != 0 || width / s->llm.heads % 2 != 0)
        return om_fail(OMNI_ERR_MODEL,
                       "%s: llm.embedding_length is %d, wanted llm.head_count (%d) times an even number",
                       like, width, s->llm.heads);
    if (s->llm.heads % s->llm.heads_kv != 0)
        return om_fail(OMNI_ERR_MODEL,
                       "%s: llm.head_count is %d, wanted a multiple of llm.head_count_kv (%d)", like,
                       s->llm.heads, s->llm.heads_kv);
    if (s->llm.rope_factor > 1.0f && s->llm.rope_high <= s->llm.rope_low)
        return om_fail(OMNI_ERR_MODEL,
                       "%s: llm.rope_scaling_high_freq is %g, wanted more than rope_scaling_low_freq (%g)",
                       like, (double)s->llm.rope_high, (double)s->llm.rope_low);
    return OMNI_OK;
}

int om_synth_shape_read(const char *like, om_synth_shape *shape)
{
    om_synth_shape s;
    int rc = named_shape(like, &s);

    if (rc)
        rc = read_json(like, &s);
    if (!rc)
        rc = check_llm(&s, like);
    if (!rc)
        rc = om_hparams_check(&s.speech, like);
    if (rc)
        return rc;
    /* <|end_of_text|>, <|eom_id|>, <|eot_id|> of synth-llm.c's vocabulary */
    s.speech.prompt.n_stop = 3;
    s.speech.prompt.stop[0] = s.llm.vocab - 256 + 1;
    s.speech.prompt.stop[1] = s.llm.vocab - 256 + 8;
    s.speech.prompt.stop[2] = s.llm.vocab - 256 + 9;
    *shape = s;
    return OMNI_OK;
}
