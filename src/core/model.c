/* model: loading the two files, and what can be asked about them. */
#include "base/memory.h"
#include "base/status.h"
#include "core/objects.h"

#include "ggml.h"

#include <string.h>

enum { ALL_LAYERS = 999 };

omni_model_params omni_model_default_params(void)
{
    return (omni_model_params){ .n_gpu_layers = om_gpu_found() ? ALL_LAYERS : 0, .use_mmap = true };
}

/* ---- loading ---------------------------------------------------------------- */

static int load_filters(omni_model *m)
{
    int64_t shape[2] = { m->hp.audio.n_mels, m->hp.audio.n_fft / 2 + 1 };
    const om_tensor_desc *t;
    int rc = om_weights_need(m->speech_file, "mel.filters", 2, shape, &t);

    if (rc)
        return rc;
    m->filters = om_calloc((size_t)(shape[0] * shape[1]), sizeof *m->filters);
    if (!m->filters)
        return om_fail(OMNI_ERR_MEMORY, "%s: no memory for the mel filters", m->files.speech);
    return om_weights_read_f32(m->speech_file, t, m->filters);
}

/* Both files, before anything large is read: one that is broken should fail at once. */
static int open_files(omni_model *m, const char *path)
{
    int rc = om_files_find(path, &m->files);

    if (!rc)
        rc = om_weights_open(m->files.llm, &m->llm_file);
    if (!rc)
        rc = om_weights_open(m->files.speech, &m->speech_file);
    if (!rc)
        rc = om_hparams_read(m->speech_file, &m->hp);
    return rc;
}

static int load_speech(omni_model *m, bool f32)
{
    int rc = om_device_new(1, m->use_gpu, &m->dev);

    if (!rc)
        rc = load_filters(m);
    if (!rc)
        rc = om_encoder_load(m->speech_file, &m->hp, m->dev, f32, &m->encoder);
    if (!rc)
        rc = om_adaptor_load(m->speech_file, &m->hp, m->dev, f32, &m->adaptor);
    if (!rc)
        rc = om_speech_decoder_load(m->speech_file, &m->hp, m->dev, f32, &m->decoder);
    if (!rc)
        rc = om_vocoder_load(m->speech_file, &m->hp, m->dev, f32, &m->vocoder);
    return rc;
}

static int load_llm(omni_model *m, const omni_model_params *p)
{
    int rc = p->rpc ? om_rpc_devices(p->rpc, m->devices) : OMNI_OK, width;

    if (!rc)
        rc = om_lm_load(m->llm_file, p->n_gpu_layers, p->rpc ? m->devices : NULL, p->use_mmap, &m->lm);
    if (rc)
        return rc;
    width = om_lm_get_info(m->lm)->width;
    if (width != m->hp.llm.width)
        return om_fail(OMNI_ERR_MODEL,
                       "%s: omni-speech.llm.embedding_length is %d, but %s has rows of %d: the two files "
                       "do not belong together",
                       m->files.speech, m->hp.llm.width, m->files.llm, width);
    return om_prompt_new(m->lm, &m->hp, &m->prompt);
}

static uint64_t count_parameters(const om_weights *w)
{
    uint64_t n = 0;

    for (int64_t i = 0; i < om_weights_tensor_count(w); i++) {
        const om_tensor_desc *t = om_weights_tensor(w, i);

        n += (uint64_t)t->ne[0] * (uint64_t)t->ne[1] * (uint64_t)t->ne[2] * (uint64_t)t->ne[3];
    }
    return n;
}

static int describe(omni_model *m)
{
    const om_lm_info *lm = om_lm_get_info(m->lm);
    const om_hparams *hp = &m->hp;
    const char *name = "unnamed", *slash = strrchr(m->files.llm, '/');

    if (!om_weights_has(m->llm_file, "general.name") || om_weights_str(m->llm_file, "general.name", &name))
        name = slash ? slash + 1 : m->files.llm;
    m->name = om_strdup(name);
    if (!m->name)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", m->files.llm);
    m->info = (omni_model_info){
        .tools_prompt = hp->prompt.tools[0] ? hp->prompt.tools : NULL,
        .name = m->name,
        .llm_path = m->files.llm,
        .speech_path = m->files.speech,
        .llm_description = lm->description,
        .llm_bytes = om_weights_file_bytes(m->llm_file),
        .speech_bytes = om_weights_file_bytes(m->speech_file),
        .llm_parameters = lm->parameters,
        .speech_parameters = count_parameters(m->speech_file),
        .sample_rate_in = hp->audio.sample_rate,
        .sample_rate_out = hp->voc.sample_rate,
        .window_samples = hp->audio.window_samples,
        .n_mels = hp->audio.n_mels,
        .encoder_positions = hp->enc.context,
        .encoder_width = hp->enc.width,
        .encoder_layers = hp->enc.layers,
        .adaptor_stack = hp->adaptor.stack,
        .speech_rows = hp->adaptor.rows,
        .llm_width = lm->width,
        .llm_layers = lm->layers,
        .llm_vocab = lm->vocab,
        .llm_context_trained = lm->context_trained,
        .upsample = hp->dec.upsample,
        .decoder_width = hp->dec.width,
        .decoder_layers = hp->dec.layers,
        .units = hp->dec.units,
        .samples_per_frame = hp->voc.hop,
        .vocoder_lookahead = om_vocoder_lookahead(hp),
    };
    return OMNI_OK;
}

int omni_model_load(const char *path, const omni_model_params *params, omni_model **out)
{
    omni_model_params p = params ? *params : omni_model_default_params();
    omni_model *m;
    int rc;

    if (!path || !out || p.n_gpu_layers < 0)
        return om_fail(OMNI_ERR_ARG,
                       "omni_model_load: path and out may not be NULL, n_gpu_layers not negative");
    if (p.rpc && p.n_gpu_layers == 0)
        return om_fail(OMNI_ERR_ARG, "RPC servers %s are named, but n_gpu_layers 0 leaves nothing to them", p.rpc);
    m = om_calloc(1, sizeof *m);
    if (!m)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", path);
    /* RPC servers compute the LLM alone: the other stages need a GPU here. */
    m->use_gpu = p.n_gpu_layers > 0 && (!p.rpc || om_gpu_found());
    m->force_f32 = p.force_f32;
    rc = open_files(m, path);
    if (!rc)
        rc = load_speech(m, p.force_f32);
    if (!rc)
        rc = load_llm(m, &p);
    if (!rc)
        rc = describe(m);
    if (rc) {
        omni_model_free(m);
        return rc;
    }
    *out = m;
    return OMNI_OK;
}

void omni_model_free(omni_model *m)
{
    if (!m)
        return;
    om_prompt_free(&m->prompt);
    om_lm_unload(m->lm);
    om_vocoder_unload(m->vocoder);
    om_speech_decoder_unload(m->decoder);
    om_adaptor_unload(m->adaptor);
    om_encoder_unload(m->encoder);
    om_device_free(m->dev);
    om_weights_free(m->llm_file);
    om_weights_free(m->speech_file);
    om_files_free(&m->files);
    om_free(m->filters);
    om_free(m->name);
    om_free(m);
}

/* ---- asking ----------------------------------------------------------------- */

const omni_model_info *omni_model_get_info(const omni_model *model)
{
    return model ? &model->info : NULL;
}

typedef struct walk {
    int (*visit)(void *user, const char *file, const char *key, const char *value);
    void *user;
    const char *file;
} walk;

static int visit_pair(void *user, const char *key, const char *value)
{
    const walk *w = user;

    return w->visit(w->user, w->file, key, value);
}

int omni_model_each_metadata(const omni_model *model,
    int (*visit)(void *user, const char *file, const char *key, const char *value), void *user)
{
    walk w = { visit, user, "llm" };
    int rc;

    if (!model || !visit)
        return om_fail(OMNI_ERR_ARG, "omni_model_each_metadata: model and visit may not be NULL");
    rc = om_weights_each_metadata(model->llm_file, visit_pair, &w);
    w.file = "speech";
    return rc ? rc : om_weights_each_metadata(model->speech_file, visit_pair, &w);
}

int omni_model_each_tensor(const omni_model *model,
    int (*visit)(void *user, const omni_tensor_info *tensor), void *user)
{
    int rc = OMNI_OK;

    if (!model || !visit)
        return om_fail(OMNI_ERR_ARG, "omni_model_each_tensor: model and visit may not be NULL");
    for (int64_t i = 0; i < om_weights_tensor_count(model->speech_file) && !rc; i++) {
        const om_tensor_desc *t = om_weights_tensor(model->speech_file, i);
        omni_tensor_info info = { .name = t->name, .type = ggml_type_name((enum ggml_type)t->type),
                                  .n_dims = t->n_dims, .bytes = t->bytes };

        for (int d = 0; d < t->n_dims; d++)
            info.shape[d] = t->ne[t->n_dims - 1 - d];
        rc = visit(user, &info);
    }
    return rc;
}
