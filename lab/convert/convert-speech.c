/* The speech file: every tensor of tensors.def from what sources.def says. */
#include "convert-parts.h"

#include "base/memory.h"
#include "base/status.h"
#include "sources.def"
#include "stage/mel.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef enum part { ENCODER, ADAPTOR, DECODER, VOCODER } part;

typedef struct rule {
    const char *ours, *theirs;
    om_how how;
    part part;
} rule;

static const rule rules[] = {
#define RULE(ours, theirs, how, part) {ours, theirs, OM_HOW_##how, part},
#define OF_ENCODER(ours, theirs, how) RULE(ours, theirs, how, ENCODER)
#define OF_ADAPTOR(ours, theirs, how) RULE(ours, theirs, how, ADAPTOR)
#define OF_DECODER(ours, theirs, how) RULE(ours, theirs, how, DECODER)
#define OF_VOCODER(ours, theirs, how) RULE(ours, theirs, how, VOCODER)
    OM_SOURCES_ENCODER(OF_ENCODER)
    OM_SOURCES_ADAPTOR(OF_ADAPTOR)
    OM_SOURCES_DECODER(OF_DECODER)
    OM_SOURCES_VOCODER(OF_VOCODER)
};

typedef struct walk {
    const om_speech_parts *parts;
    om_mapped_list *list;
} walk;

enum ggml_type om_speech_type(enum ggml_type type, om_tensor_kind kind)
{
    if (kind == OM_KIND_F32)
        return GGML_TYPE_F32;
    return kind != OM_KIND_MAT && ggml_is_quantized(type) ? GGML_TYPE_F16 : type;
}

static om_origin *origin_of(const om_speech_parts *p, part of, const char **prefix)
{
    switch (of) {
    case ENCODER:
        *prefix = p->whisper ? OM_PREFIX_WHISPER : OM_PREFIX_ENCODER;
        return p->whisper ? p->whisper : p->hf;
    case ADAPTOR:
        *prefix = OM_PREFIX_ADAPTOR;
        return p->hf;
    case DECODER:
        *prefix = OM_PREFIX_DECODER;
        return p->hf;
    default:
        *prefix = OM_PREFIX_VOCODER;
        return p->vocoder;
    }
}

static int add_table(om_mapped *m)
{
    int64_t n = 1;

    for (int i = 0; i < m->n_dims; i++)
        n *= m->shape[i];
    m->table = om_calloc((size_t)n, sizeof *m->table);
    return m->table ? OMNI_OK : om_fail(OMNI_ERR_MEMORY, "%s: out of memory for %lld numbers", m->name, (long long)n);
}

/* theirs.weight_v scaled so that the length along the first axis is theirs.weight_g; or theirs.weight as it is. */
static int fold(om_origin *o, const char *theirs, om_mapped *m)
{
    const int64_t gain_shape[3] = {m->shape[0], 1, 1}, row = m->shape[1] * m->shape[2];
    const om_source_tensor *v, *g = NULL;
    char name[200];
    bool newer;
    int rc;

    snprintf(name, sizeof name, "%s.weight", theirs);
    m->how = OM_HOW_COPY;
    if (om_source_find(o->source, name))
        return om_origin_take(o, name, m->n_dims, m->shape, &m->tensor);
    /* torch calls the pair weight_g, weight_v; since 2.0 also parametrizations.weight.original0 and 1. */
    snprintf(name, sizeof name, "%s.parametrizations.weight.original1", theirs);
    newer = om_source_find(o->source, name) != NULL;
    if (!newer)
        snprintf(name, sizeof name, "%s.weight_v", theirs);
    rc = om_origin_take(o, name, m->n_dims, m->shape, &v);
    snprintf(name, sizeof name, newer ? "%s.parametrizations.weight.original0" : "%s.weight_g", theirs);
    if (!rc)
        rc = om_origin_take(o, name, 3, gain_shape, &g);
    if (!rc)
        rc = add_table(m);
    if (!rc)
        rc = om_source_read(o->source, v, 0, m->shape[0] * row, m->table);
    for (int64_t i = 0; !rc && i < m->shape[0]; i++) {
        float gain, *x = m->table + i * row;
        double square = 0;

        rc = om_source_read(o->source, g, i, 1, &gain);
        if (rc)
            break;
        for (int64_t k = 0; k < row; k++)
            square += (double)x[k] * (double)x[k];
        if (!isfinite(square) || !isfinite(gain))
            rc = om_fail(OMNI_ERR_MODEL, "%s: tensor %s: row %lld, or its length in %s: found a number that is not finite; "
                         "the checkpoint is damaged", o->source->files[v->file].path, v->name, (long long)i, g->name);
        if (!rc && square == 0)
            rc = om_fail(OMNI_ERR_MODEL, "%s: tensor %s: row %lld is zero, which has no direction",
                         o->source->files[v->file].path, v->name, (long long)i);
        for (int64_t k = 0; !rc && k < row; k++)
            x[k] = (float)((double)x[k] * ((double)gain / sqrt(square)));
    }
    m->how = OM_HOW_FOLD;
    m->tensor = rc ? NULL : v;
    return rc;
}

static int add_rule(const walk *w, const rule *r, const om_speech_tensor *t, om_mapped *m)
{
    const char *prefix;
    om_origin *o = origin_of(w->parts, r->part, &prefix);
    char inner[96], name[160];

#if defined(__GNUC__)      /* the formats come from sources.def */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#endif
    snprintf(inner, sizeof inner, r->theirs, t->i, t->j);
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
    snprintf(name, sizeof name, "%s%s", prefix, inner);
    m->source = o->source;
    m->how = r->how;
    return r->how == OM_HOW_FOLD ? fold(o, name, m) : om_origin_take(o, name, t->n_dims, t->shape, &m->tensor);
}

static int add(void *user, const om_speech_tensor *t)
{
    const walk *w = user;
    const om_hparams *hp = w->parts->hp;
    om_mapped *m = om_mapped_add(w->list);

    if (!m)
        return OMNI_ERR_LIMIT;
    m->n_dims = t->n_dims;
    m->type = om_speech_type(w->parts->type, t->kind);
    memcpy(m->shape, t->shape, sizeof t->shape);
    snprintf(m->name, sizeof m->name, "%s", t->name);
    if (strcmp(t->name, "mel.filters") == 0) {
        const int rc = add_table(m);

        m->how = OM_HOW_TABLE;
        if (!rc)
            om_mel_filters(hp->audio.sample_rate, hp->audio.n_fft, hp->audio.n_mels, m->table);
        return rc;
    }
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strcmp(rules[i].ours, t->format) == 0)
            return add_rule(w, &rules[i], t, m);
    return om_fail(OMNI_ERR_MODEL, "tensor %s: sources.def does not say what it is made of", t->name);
}

static int count(void *user, const om_speech_tensor *t)
{
    (void)t;
    ++*(int *)user;
    return 0;
}

int om_speech_count(const om_hparams *hp)
{
    int n = 0;

    om_speech_each(hp, count, &n);
    return n;
}

int om_speech_describe(const om_speech_parts *p, om_mapped_list *list, om_gguf_out *out)
{
    struct gguf_context *g = om_gguf_out_metadata(out);
    walk w = {.parts = p, .list = list};
    int rc = om_mapped_list_new(om_speech_count(p->hp), list);

    if (!rc)
        rc = om_speech_each(p->hp, add, &w);
    if (rc)
        return rc;
    om_speech_set_metadata(g, p->name, p->hp);
    gguf_set_val_u32(g, "general.file_type", om_gguf_file_type(p->type));
    if (ggml_is_quantized(p->type))
        gguf_set_val_u32(g, "general.quantization_version", GGML_QNT_VERSION);
    return om_mapped_put(list, out);
}
