/* The LLM file: llama architecture, names and metadata as llama.cpp's own converter writes them. */
#include "convert-parts.h"

#include "base/memory.h"
#include "base/status.h"
#include "sources.def"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- rotation --------------------------------------------------------------------- */

void om_rope_factors(double base, double factor, double low, double high, double original_context, int64_t n, float *out)
{
    for (int64_t j = 0; j < n; j++) {
        const double wave = 6.283185307179586 * pow(base, (double)j / (double)n);
        const double smooth = (original_context / wave - low) / (high - low);

        out[j] = (float)(wave < original_context / high  ? 1.0
                         : wave > original_context / low ? factor
                                                         : 1.0 / ((1 - smooth) / factor + smooth));
    }
}

static int add_rope_factors(const om_llm_parts *p, om_mapped_list *list)
{
    const om_hf_config *c = p->config;
    const int64_t n = c->head_dim / 2;
    om_mapped *m = om_mapped_add(list);

    if (!m)
        return OMNI_ERR_LIMIT;
    *m = (om_mapped){.how = OM_HOW_TABLE, .type = GGML_TYPE_F32, .n_dims = 1, .shape = {n}, .name = "rope_freqs.weight"};
    m->table = om_calloc((size_t)n, sizeof *m->table);
    if (!m->table)
        return om_fail(OMNI_ERR_MEMORY, "out of memory for %" PRId64 " rotation factors", n);
    om_rope_factors(c->rope_base, c->rope.factor, c->rope.low, c->rope.high, c->rope.original_context, n, m->table);
    return OMNI_OK;
}

/* ---- tensors ------------------------------------------------------------------------ */

typedef struct walk {
    const om_llm_parts *parts;
    om_mapped_list *list;
    int layer, rc;
} walk;

static void take(walk *w, const char *ours, const char *theirs, om_how how, int64_t rows, int64_t columns)
{
    const om_hf_config *c = w->parts->config;
    char name[128];
    om_mapped *m;

    if (w->rc)
        return;
    m = om_mapped_add(w->list);
    if (!m) {
        w->rc = OMNI_ERR_LIMIT;
        return;
    }
    *m = (om_mapped){.source = w->parts->hf->source, .how = how, .shape = {rows, columns}, .n_dims = columns ? 2 : 1,
                     .heads = how == OM_HOW_KEY ? c->heads_kv : c->heads,
                     .type = columns ? w->parts->type : GGML_TYPE_F32};
#if defined(__GNUC__)      /* the formats come from sources.def */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#endif
    snprintf(m->name, sizeof m->name, ours, w->layer);
    snprintf(name, sizeof name, theirs, w->layer);
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
    w->rc = om_origin_take(w->parts->hf, name, m->n_dims, m->shape, &m->tensor);
}

static int add_tensors(const om_llm_parts *p, om_mapped_list *list)
{
    const om_hf_config *c = p->config;
    walk w = {.parts = p, .list = list};

#define TAKE(ours, theirs, how, rows, columns) take(&w, ours, theirs, OM_HOW_##how, rows, columns);
    OM_SOURCES_LLM_ONCE(TAKE)
    /* Tied embeddings need no output matrix; some files hold it all the same. */
    if (!c->tied || om_source_find(p->hf->source, "lm_head.weight")) {
        OM_SOURCES_LLM_OUTPUT(TAKE)
    }
    for (w.layer = 0; w.layer < c->layers; w.layer++) {
        OM_SOURCES_LLM_LAYER(TAKE)
        if (c->attention_bias) {
            OM_SOURCES_LLM_ATTENTION_BIAS(TAKE)
        }
        if (c->mlp_bias) {
            OM_SOURCES_LLM_MLP_BIAS(TAKE)
        }
    }
#undef TAKE
    return w.rc;
}

/* ---- metadata ------------------------------------------------------------------------ */

void om_size_label(int64_t parameters, char text[16])
{
    static const struct { double unit; char letter; } units[] = {{1e12, 'T'}, {1e9, 'B'}, {1e6, 'M'}, {1e3, 'K'}};
    size_t i = 0;

    while (i < 3 && (double)parameters <= units[i].unit)
        i++;
    const double scaled = (double)parameters / units[i].unit;
    /* two digits at least */
    snprintf(text, 16, "%.*f%c", rint(scaled) >= 10 ? 0 : rint(scaled) >= 1 ? 1 : 2, scaled, units[i].letter);
}

static void set_general(const om_llm_parts *p, const om_mapped_list *list, struct gguf_context *g)
{
    int64_t parameters = 0;
    char label[16];

    for (int i = 0; i < list->n; i++)
        parameters += list->items[i].shape[0] * (list->items[i].n_dims > 1 ? list->items[i].shape[1] : 1);
    om_size_label(parameters, label);
    gguf_set_val_str(g, "general.architecture", "llama");
    gguf_set_val_str(g, "general.type", "model");
    gguf_set_val_str(g, "general.name", p->name);
    gguf_set_val_str(g, "general.size_label", label);
    if (p->licence)
        gguf_set_val_str(g, "general.license", p->licence);
    gguf_set_val_u32(g, "general.file_type", om_gguf_file_type(p->type));
    gguf_set_val_u32(g, "general.quantization_version", GGML_QNT_VERSION);
}

static void set_shape(const om_hf_config *c, struct gguf_context *g)
{
    gguf_set_val_u32(g, "llama.block_count", (uint32_t)c->layers);
    gguf_set_val_u32(g, "llama.context_length", (uint32_t)c->context);
    gguf_set_val_u32(g, "llama.embedding_length", (uint32_t)c->width);
    gguf_set_val_u32(g, "llama.feed_forward_length", (uint32_t)c->ff);
    gguf_set_val_u32(g, "llama.attention.head_count", (uint32_t)c->heads);
    gguf_set_val_u32(g, "llama.attention.head_count_kv", (uint32_t)c->heads_kv);
    if (c->head_dim_given) {
        gguf_set_val_u32(g, "llama.attention.key_length", (uint32_t)c->head_dim);
        gguf_set_val_u32(g, "llama.attention.value_length", (uint32_t)c->head_dim);
    }
    gguf_set_val_f32(g, "llama.attention.layer_norm_rms_epsilon", (float)c->eps);
    gguf_set_val_u32(g, "llama.vocab_size", (uint32_t)c->vocab);
    gguf_set_val_u32(g, "llama.rope.dimension_count", (uint32_t)c->head_dim);
    gguf_set_val_f32(g, "llama.rope.freq_base", (float)c->rope_base);
    if (c->rope.kind == OM_ROPE_LINEAR) {
        gguf_set_val_str(g, "llama.rope.scaling.type", "linear");
        gguf_set_val_f32(g, "llama.rope.scaling.factor", (float)c->rope.factor);
    }
}

static void set_tokenizer(const om_hf_config *c, const om_tokenizer *t, struct gguf_context *g)
{
    const int bos = t->bos >= 0 ? t->bos : c->bos, eos = t->eos >= 0 ? t->eos : c->n_eos ? c->eos[0] : -1;

    gguf_set_val_str(g, "tokenizer.ggml.model", "gpt2");
    gguf_set_val_str(g, "tokenizer.ggml.pre", t->pre);
    gguf_set_arr_str(g, "tokenizer.ggml.tokens", (const char **)t->tokens, (size_t)t->n_tokens);
    gguf_set_arr_data(g, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, t->types, (size_t)t->n_tokens);
    gguf_set_arr_str(g, "tokenizer.ggml.merges", (const char **)t->merges, (size_t)t->n_merges);
    if (bos >= 0)
        gguf_set_val_u32(g, "tokenizer.ggml.bos_token_id", (uint32_t)bos);
    if (eos >= 0)
        gguf_set_val_u32(g, "tokenizer.ggml.eos_token_id", (uint32_t)eos);
    if (t->pad >= 0)
        gguf_set_val_u32(g, "tokenizer.ggml.padding_token_id", (uint32_t)t->pad);
    if (t->add_bos_known)
        gguf_set_val_bool(g, "tokenizer.ggml.add_bos_token", t->add_bos);
    if (t->chat_template)
        gguf_set_val_str(g, "tokenizer.chat_template", t->chat_template);
}

static int check_ids(const om_hf_config *c)
{
    if (c->bos >= c->vocab)
        return om_fail(OMNI_ERR_MODEL, "config.json: bos_token_id: found %d, wanted less than vocab_size (%d)", c->bos, c->vocab);
    for (int i = 0; i < c->n_eos; i++)
        if (c->eos[i] >= c->vocab)
            return om_fail(OMNI_ERR_MODEL, "config.json, generation_config.json: eos_token_id: found %d, wanted less than "
                           "vocab_size (%d)", c->eos[i], c->vocab);
    return OMNI_OK;
}

int om_llm_describe(const om_llm_parts *p, om_mapped_list *list, om_gguf_out *out)
{
    int rc = check_ids(p->config);

    if (!rc)
        rc = om_mapped_list_new(p->config->layers * 16 + 8, list);
    if (!rc && p->config->rope.kind == OM_ROPE_LLAMA3)
        rc = add_rope_factors(p, list);
    if (!rc)
        rc = add_tensors(p, list);
    if (rc)
        return rc;
    set_general(p, list, om_gguf_out_metadata(out));
    set_shape(p->config, om_gguf_out_metadata(out));
    set_tokenizer(p->config, p->tokenizer, om_gguf_out_metadata(out));
    return om_mapped_put(list, out);
}
