/*
 * lm - the language model, through libllama.
 *
 *   takes   the positions of a prompt: token ids, or rows [n][D] from the adaptor
 *   gives   per step and slot the picked token y_i and the row c_i [D] after the final norm that
 *           predicted it (what the output matrix saw)
 *   rate    one token per step; all answering slots share one llama_decode
 *   latency one decode per token; a prefill of n positions is one decode
 *   sees    everything before, through the KV cache
 *
 * Easy to get wrong:
 *   - c_i is the row that predicts y_i, not the row after reading it (spec §6.1);
 *   - libllama appends outputs for every position of a batch once embeddings are on: they are on
 *     for steps, where each position wants one, and off for prefills, where none does;
 *   - BOS is put before by us: the tokenizer would not do it twice when the text holds it already;
 *   - weights that the CPU backend repacks are copied out of the file: mapping such a file as well
 *     would count its pages twice, so it is read instead.
 *
 * The cache, one of two: unified, where all sequences live in one buffer, the prompt prefix is shared, and a batch of
 * any slots is one pass over the weights; but each position looks at every cell of everybody, if only to see that it is
 * not its own. Or a buffer for each slot: it sees its own cells alone, but libllama computes only slots with
 * consecutive numbers in one pass. The second is for models whose weights are read from the processor's caches.
 */
#include "stage/lm.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/status.h"

#include "llama.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

struct om_lm_model {
    struct llama_model *model;
    const struct llama_vocab *vocab;
    om_lm_info info;
    char description[128];
};

struct om_lm_grammar {
    struct llama_sampler *rules;
    llama_token_data *candidates;       /* [vocab] */
};

struct om_lm {
    const om_lm_model *m;
    struct llama_context *ctx;
    llama_memory_t memory;
    om_lm_params p;
    int *used;                          /* [n_slots + 1] */
    struct llama_sampler **sampler, **kept;     /* [n_slots], NULL = greedy */
    om_lm_grammar **grammar;            /* [n_slots], NULL = none */
    /* one batch, as llama_batch wants it: [n_batch] each */
    llama_pos *pos;
    int32_t *n_seq;
    llama_seq_id *seq, **seq_of;
    int8_t *wanted;
};

/* ---- once per process ------------------------------------------------------- */

static pthread_once_t backend_once = PTHREAD_ONCE_INIT;

static void start_backend(void)
{
    ggml_log_callback log;
    void *user;

    /* libllama keeps its own copy of the callback: give it the one that base installed. */
    om_log_capture();
    ggml_log_get(&log, &user);
    llama_log_set(log, user);
    llama_backend_init();
}

/* ---- model ------------------------------------------------------------------ */

static bool is_repacked(int type)
{
    switch (type) {
    case GGML_TYPE_Q4_0: case GGML_TYPE_Q2_K: case GGML_TYPE_Q4_K: case GGML_TYPE_Q5_K:
    case GGML_TYPE_Q6_K: case GGML_TYPE_IQ4_NL: case GGML_TYPE_MXFP4:
        return true;
    default:
        return false;
    }
}

/* Most of the file will be copied into the CPU backend's own layout. */
static bool mostly_repacked(const om_weights *file)
{
    uint64_t repacked = 0, all = 0;

    for (int64_t i = 0; i < om_weights_tensor_count(file); i++) {
        const om_tensor_desc *t = om_weights_tensor(file, i);

        all += t->bytes;
        if (is_repacked(t->type))
            repacked += t->bytes;
    }
    return repacked > all / 2;
}

static int check_kind(const om_lm_model *m, const char *path)
{
    int width = llama_model_n_embd(m->model);

    if (llama_model_has_encoder(m->model) || !llama_model_has_decoder(m->model))
        return om_fail(OMNI_ERR_MODEL, "%s: %s is not a decoder-only language model", path, m->description);
    if (llama_model_n_embd_inp(m->model) != width || llama_model_n_embd_out(m->model) != width)
        return om_fail(OMNI_ERR_MODEL, "%s: rows of %d in and %d out around a width of %d, wanted one width",
                       path, llama_model_n_embd_inp(m->model), llama_model_n_embd_out(m->model), width);
    if (llama_vocab_n_tokens(m->vocab) < 1 || llama_vocab_type(m->vocab) == LLAMA_VOCAB_TYPE_NONE)
        return om_fail(OMNI_ERR_MODEL, "%s: it has no tokenizer", path);
    return OMNI_OK;
}

/* What libllama had to say, without the name of its function. */
static const char *reason(void)
{
    static const char preamble[] = "error loading model: ";
    const char *text = om_log_error(), *at = strstr(text, preamble);

    if (at)
        return at + strlen(preamble);
    return text[0] ? text : "no reason given; out of memory?";
}

int om_lm_load(const om_weights *file, int n_gpu_layers, void **devices, bool use_mmap, om_lm_model **out)
{
    struct llama_model_params params = llama_model_default_params();
    const char *path = om_weights_path(file);
    om_lm_model *m;
    int rc = OMNI_ERR_MEMORY;

    pthread_once(&backend_once, start_backend);
    m = om_calloc(1, sizeof *m);
    if (!m)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", path);
    params.n_gpu_layers = n_gpu_layers;
    params.devices = (ggml_backend_dev_t *)devices;
    params.load_mode = use_mmap && (n_gpu_layers || !mostly_repacked(file)) ? LLAMA_LOAD_MODE_MMAP
                                                                            : LLAMA_LOAD_MODE_NONE;
    om_log_capture();
    if (!om_torture_hit())
        m->model = llama_model_load_from_file(path, params);
    if (!m->model) {
        rc = om_fail(OMNI_ERR_MODEL, "%s: libllama can not load it: %s", path, reason());
        goto fail;
    }
    m->vocab = llama_model_get_vocab(m->model);
    llama_model_desc(m->model, m->description, sizeof m->description);
    rc = check_kind(m, path);
    if (rc)
        goto fail;
    m->info = (om_lm_info){
        .width = llama_model_n_embd(m->model), .layers = llama_model_n_layer(m->model),
        .vocab = llama_vocab_n_tokens(m->vocab), .context_trained = llama_model_n_ctx_train(m->model),
        .bytes = llama_model_size(m->model), .parameters = llama_model_n_params(m->model),
        .description = m->description,
    };
    *out = m;
    return OMNI_OK;
fail:
    om_lm_unload(m);
    return rc;
}

void om_lm_unload(om_lm_model *m)
{
    if (!m)
        return;
    if (m->model)
        llama_model_free(m->model);
    om_free(m);
}

const om_lm_info *om_lm_get_info(const om_lm_model *m)
{
    return &m->info;
}

int om_lm_tokenize(const om_lm_model *m, const char *text, size_t n, bool parse_special, bool add_bos,
                   int32_t *ids, int cap)
{
    int bos = add_bos && llama_vocab_bos(m->vocab) != LLAMA_TOKEN_NULL;
    int room = cap > bos ? cap - bos : 0;
    int32_t got, unused;

    if (n > INT32_MAX)
        return om_fail(OMNI_ERR_LIMIT, "text of %zu bytes, wanted at most %d", n, INT32_MAX);
    if (bos && cap > 0)
        ids[0] = llama_vocab_bos(m->vocab);
    if (n == 0)
        return bos;
    got = llama_tokenize(m->vocab, text, (int32_t)n, room ? ids + bos : &unused, room, false, parse_special);
    if (got == INT32_MIN)
        return om_fail(OMNI_ERR_LIMIT, "text of %zu bytes has too many tokens", n);
    return bos + (got < 0 ? -got : got);
}

int om_lm_piece(const om_lm_model *m, int32_t id, char *out, int cap)
{
    int32_t got = llama_token_to_piece(m->vocab, id, out, cap, 0, false);

    return got < 0 ? -got : got;
}

bool om_lm_is_end(const om_lm_model *m, int32_t id)
{
    return llama_vocab_is_eog(m->vocab, id);
}

/* ---- context ---------------------------------------------------------------- */

static int new_arrays(om_lm *lm)
{
    size_t n = (size_t)(lm->p.n_batch > lm->p.n_slots ? lm->p.n_batch : lm->p.n_slots);

    lm->used = om_calloc((size_t)lm->p.n_slots + 1, sizeof *lm->used);
    lm->sampler = om_calloc((size_t)lm->p.n_slots, sizeof *lm->sampler);
    lm->kept = om_calloc((size_t)lm->p.n_slots, sizeof *lm->kept);
    lm->grammar = om_calloc((size_t)lm->p.n_slots, sizeof *lm->grammar);
    lm->pos = om_calloc(n, sizeof *lm->pos);
    lm->n_seq = om_calloc(n, sizeof *lm->n_seq);
    lm->seq = om_calloc(n, sizeof *lm->seq);
    lm->seq_of = om_calloc(n, sizeof *lm->seq_of);
    lm->wanted = om_calloc(n, sizeof *lm->wanted);
    if (!lm->used || !lm->sampler || !lm->kept || !lm->grammar || !lm->pos || !lm->n_seq || !lm->seq || !lm->seq_of || !lm->wanted)
        return om_fail(OMNI_ERR_MEMORY, "no memory for %d slots of the language model", lm->p.n_slots);
    for (size_t i = 0; i < n; i++) {
        lm->n_seq[i] = 1;
        lm->seq_of[i] = &lm->seq[i];
    }
    return OMNI_OK;
}

static int new_context(om_lm *lm)
{
    struct llama_context_params params = llama_context_default_params();
    const om_lm_params *p = &lm->p;

    params.n_ctx = (uint32_t)(p->own_caches ? (p->n_slots + 1) * p->n_ctx_slot
                                            : p->n_slots * p->n_ctx_slot + p->n_prefix);
    params.n_batch = params.n_ubatch = (uint32_t)(p->n_batch > p->n_slots ? p->n_batch : p->n_slots + 1);
    params.n_seq_max = (uint32_t)p->n_slots + 1;
    params.n_outputs_max = params.n_seq_max;     /* libllama reserves one per sequence */
    params.n_threads = params.n_threads_batch = p->n_threads;
    params.flash_attn_type = p->f32 ? LLAMA_FLASH_ATTN_TYPE_DISABLED : LLAMA_FLASH_ATTN_TYPE_AUTO;
    if (p->f32)
        params.type_k = params.type_v = GGML_TYPE_F32;
    params.kv_unified = !p->own_caches;
    params.no_perf = true;
    om_log_capture();
    if (!om_torture_hit())
        lm->ctx = llama_init_from_model(lm->m->model, params);
    if (!lm->ctx)
        return om_fail(OMNI_ERR_BACKEND,
                       "no context of %u positions for the language model: %s; ask for fewer slots or "
                       "positions",
                       params.n_ctx, reason());
    lm->memory = llama_get_memory(lm->ctx);
    if (p->threadpool)
        llama_attach_threadpool(lm->ctx, p->threadpool, p->threadpool);
    return OMNI_OK;
}

int om_lm_new(const om_lm_model *m, const om_lm_params *params, om_lm **out)
{
    om_lm *lm;
    int rc;

    if (params->n_slots < 1 || params->n_slots > OM_LM_MAX_SLOTS || params->n_ctx_slot < 1 ||
        params->n_batch < 1 || params->n_prefix < 0 || params->n_prefix > params->n_ctx_slot ||
        params->n_ctx_slot > INT32_MAX / (params->n_slots + 1))
        return om_fail(OMNI_ERR_ARG,
                       "%d slots of %d positions, %d of them a prefix, wanted 1..%d slots and at most %d positions in all",
                       params->n_slots, params->n_ctx_slot, params->n_prefix, OM_LM_MAX_SLOTS, INT32_MAX);
    lm = om_calloc(1, sizeof *lm);
    if (!lm)
        return om_fail(OMNI_ERR_MEMORY, "language model: out of memory");
    lm->m = m;
    lm->p = *params;
    rc = new_arrays(lm);
    if (!rc)
        rc = new_context(lm);
    if (rc) {
        om_lm_free(lm);
        return rc;
    }
    *out = lm;
    return OMNI_OK;
}

void om_lm_grammar_free(om_lm_grammar *g)
{
    if (!g)
        return;
    llama_sampler_free(g->rules);
    om_free(g->candidates);
    om_free(g);
}

void om_lm_free(om_lm *lm)
{
    if (!lm)
        return;
    for (int i = 0; lm->sampler && lm->kept && lm->grammar && i < lm->p.n_slots; i++) {
        om_lm_grammar_free(lm->grammar[i]);
        llama_sampler_free(lm->sampler[i]);
        llama_sampler_free(lm->kept[i]);
    }
    if (lm->ctx)
        llama_free(lm->ctx);
    om_free(lm->used);
    om_free(lm->sampler);
    om_free(lm->kept);
    om_free(lm->grammar);
    om_free(lm->pos);
    om_free(lm->n_seq);
    om_free(lm->seq);
    om_free(lm->seq_of);
    om_free(lm->wanted);
    om_free(lm);
}

void om_lm_set_abort(om_lm *lm, bool (*abort)(void *user), void *user)
{
    llama_set_abort_callback(lm->ctx, abort, user);
}

/* ---- sampling --------------------------------------------------------------- */

/* Logits / T, then top-k, then top-p, then a draw (spec §5.5). */
int om_lm_set_sampling(om_lm *lm, int slot, const om_sampling *s)
{
    struct llama_sampler *chain = NULL;

    if (s->temperature > 0.0f) {
        if (!om_torture_hit())
            chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
        if (!chain)
            return om_fail(OMNI_ERR_MEMORY, "no memory for a sampler");
        llama_sampler_chain_add(chain, llama_sampler_init_temp(s->temperature));
        if (s->top_k > 0)
            llama_sampler_chain_add(chain, llama_sampler_init_top_k(s->top_k));
        if (s->top_p < 1.0f)
            llama_sampler_chain_add(chain, llama_sampler_init_top_p(s->top_p, 1));
        llama_sampler_chain_add(chain, llama_sampler_init_dist(s->seed));
    }
    llama_sampler_free(lm->sampler[slot]);
    lm->sampler[slot] = chain;
    return OMNI_OK;
}

int om_lm_keep_sampling(om_lm *lm, int slot)
{
    struct llama_sampler *copy = NULL;

    if (lm->sampler[slot]) {
        if (!om_torture_hit())
            copy = llama_sampler_clone(lm->sampler[slot]);
        if (!copy)
            return om_fail(OMNI_ERR_MEMORY, "no memory for a sampler");
    }
    llama_sampler_free(lm->kept[slot]);
    lm->kept[slot] = copy;
    return OMNI_OK;
}

void om_lm_restore_sampling(om_lm *lm, int slot)
{
    llama_sampler_free(lm->sampler[slot]);
    lm->sampler[slot] = lm->kept[slot];
    lm->kept[slot] = NULL;
}

int om_lm_grammar_new(const om_lm_model *m, const char *gbnf, om_lm_grammar **out)
{
    om_lm_grammar *g = om_calloc(1, sizeof *g);

    if (g)
        g->candidates = om_calloc((size_t)m->info.vocab, sizeof *g->candidates);
    if (!g || !g->candidates) {
        om_lm_grammar_free(g);
        return om_fail(OMNI_ERR_MEMORY, "no memory for a grammar");
    }
    om_log_capture();
    g->rules = llama_sampler_init_grammar(m->vocab, gbnf, "root");
    if (!g->rules) {
        om_lm_grammar_free(g);
        return om_fail(OMNI_ERR_ARG, "the grammar is not understood: %s", om_log_error());
    }
    *out = g;
    return OMNI_OK;
}

void om_lm_set_grammar(om_lm *lm, int slot, om_lm_grammar *grammar)
{
    om_lm_grammar_free(lm->grammar[slot]);
    lm->grammar[slot] = grammar;
}

void om_lm_begin_answer(om_lm *lm, int slot)
{
    if (lm->grammar[slot])
        llama_sampler_reset(lm->grammar[slot]->rules);
}

/* The token with the largest logit that is left; -1: the grammar left none. */
static int32_t best_of(const llama_token_data_array *all)
{
    float best = -INFINITY;
    int32_t at = -1;

    for (size_t i = 0; i < all->size; i++)
        if (all->data[i].logit > best) {
            best = all->data[i].logit;
            at = all->data[i].id;
        }
    return at;
}

static int32_t greedy(const float *logits, int n)
{
    float best = -INFINITY;
    int32_t at = 0;

    for (int i = 0; i < n; i++)
        if (logits[i] > best) {
            best = logits[i];
            at = i;
        }
    return at;
}

/* Do the rules let this token stand? They look at each token they are given, at its letters, so one is quick and a whole
 * vocabulary is not. */
static bool is_allowed(const om_lm_grammar *g, int32_t id)
{
    llama_token_data one = { id, 0.0f, 0.0f };
    llama_token_data_array alone = { &one, 1, -1, false };

    llama_sampler_apply(g->rules, &alone);
    return one.logit > -INFINITY;
}

/* What the rules leave of all tokens. */
static llama_token_data_array left_by_rules(const om_lm *lm, const om_lm_grammar *g, const float *logits)
{
    llama_token_data_array all = { g->candidates, (size_t)lm->m->info.vocab, -1, false };

    for (int32_t i = 0; i < lm->m->info.vocab; i++)
        all.data[i] = (llama_token_data){ i, logits[i], 0.0f };
    llama_sampler_apply(g->rules, &all);
    return all;
}

/* OM_LM_NONE where the rules leave no token of this vocabulary. */
static int32_t pick_by_rules(const om_lm *lm, int slot, const float *logits)
{
    const om_lm_grammar *g = lm->grammar[slot];
    int32_t id = greedy(logits, lm->m->info.vocab);

    if (lm->sampler[slot] || !is_allowed(g, id)) {
        llama_token_data_array all = left_by_rules(lm, g, logits);

        id = best_of(&all);
        if (id < 0)
            return OM_LM_NONE;
        if (lm->sampler[slot]) {
            llama_sampler_apply(lm->sampler[slot], &all);
            id = all.data[all.selected].id;
            llama_sampler_accept(lm->sampler[slot], id);
        }
    }
    llama_sampler_accept(g->rules, id);
    return id;
}

static int32_t pick(const om_lm *lm, int slot, int i, const float *logits)
{
    if (lm->grammar[slot])
        return pick_by_rules(lm, slot, logits);
    return lm->sampler[slot] ? llama_sampler_sample(lm->sampler[slot], lm->ctx, i) : greedy(logits, lm->m->info.vocab);
}

/* ---- positions -------------------------------------------------------------- */

int om_lm_used(const om_lm *lm, int slot)
{
    return lm->used[slot];
}

void om_lm_cut(om_lm *lm, int slot, int n_keep)
{
    if (n_keep >= lm->used[slot])
        return;
    if (n_keep > 0 && llama_memory_seq_rm(lm->memory, slot, n_keep, -1)) {
        lm->used[slot] = n_keep;
        return;
    }
    llama_memory_seq_rm(lm->memory, slot, -1, -1);   /* removing all never fails */
    lm->used[slot] = 0;
}

void om_lm_copy_prefix(om_lm *lm, int slot, int n)
{
    int spare = lm->p.n_slots;

    om_lm_cut(lm, slot, 0);
    llama_memory_seq_cp(lm->memory, spare, slot, -1, -1);   /* between buffers only whole ones can be copied */
    lm->used[slot] = lm->used[spare];
    om_lm_cut(lm, slot, n);
}

/* One llama_decode of the n positions laid out in lm->pos, seq, wanted. */
static int decode(om_lm *lm, const int32_t *ids, const float *rows, int n)
{
    /* libllama only reads the inputs; its struct lacks the const. */
    struct llama_batch batch = { n, (llama_token *)(uintptr_t)ids, (float *)(uintptr_t)rows,
                                 lm->pos, lm->n_seq, lm->seq_of, lm->wanted };
    int32_t rc = -1;

    om_log_capture();
    if (!om_torture_hit())
        rc = llama_decode(lm->ctx, batch);
    if (rc == 0)
        return OMNI_OK;
    for (int i = 0; i < n; i++)     /* what a failed decode left behind is not a whole step */
        lm->used[lm->seq[i]] = llama_memory_seq_pos_max(lm->memory, lm->seq[i]) + 1;
    if (rc == 1)
        return om_fail(OMNI_ERR_LIMIT, "the context has no room for %d more positions", n);
    if (rc == 2)
        return om_fail(OMNI_ERR_STATE, "the language model was interrupted");
    return om_fail(OMNI_ERR_BACKEND, "llama_decode of %d positions failed (%d): %s", n, (int)rc,
                   om_log_error());
}

int om_lm_prefill_many(om_lm *lm, int n_slots, const int *slots, const int *n, const int32_t *ids, const float *rows)
{
    int all = 0, rc;

    for (int k = 0; k < n_slots; k++) {
        int slot = slots[k], room = slot == lm->p.n_slots ? lm->p.n_prefix : lm->p.n_ctx_slot;

        if (n[k] < 1 || n[k] > lm->p.n_batch - all || (!ids) == (!rows))
            return om_fail(OMNI_ERR_ARG, "prefill of %d positions after %d, wanted 1..%d in all, of ids or of rows",
                           n[k], all, lm->p.n_batch);
        if (n[k] > room - lm->used[slot])
            return om_fail(OMNI_ERR_LIMIT, "the prompt needs %d positions, the slot has %d", lm->used[slot] + n[k],
                           room);
        for (int i = 0; i < n[k]; i++, all++) {
            lm->pos[all] = lm->used[slot] + i;
            lm->seq[all] = slot;
            lm->wanted[all] = 0;
        }
    }
    llama_set_embeddings(lm->ctx, false);
    rc = decode(lm, ids, rows, all);
    for (int k = 0; k < n_slots && !rc; k++)
        lm->used[slots[k]] += n[k];
    return rc;
}

int om_lm_prefill(om_lm *lm, int slot, const int32_t *ids, const float *rows, int n)
{
    return om_lm_prefill_many(lm, 1, &slot, &n, ids, rows);
}

int om_lm_step(om_lm *lm, int n, const int *slots, const int32_t *ids, int32_t *next, float *hidden)
{
    size_t width = (size_t)lm->m->info.width;
    int rc;

    if (n < 1 || n > lm->p.n_slots)
        return om_fail(OMNI_ERR_ARG, "a step of %d slots, wanted 1..%d", n, lm->p.n_slots);
    for (int i = 0; i < n; i++) {
        if (lm->used[slots[i]] >= lm->p.n_ctx_slot)
            return om_fail(OMNI_ERR_LIMIT, "all %d positions of slot %d are in use", lm->p.n_ctx_slot,
                           slots[i]);
        lm->pos[i] = lm->used[slots[i]];
        lm->seq[i] = slots[i];
        lm->wanted[i] = 1;
    }
    llama_set_embeddings(lm->ctx, true);
    rc = decode(lm, ids, NULL, n);
    if (rc) {
        for (int i = 0; i < n; i++)     /* what came before the failing pass stays in libllama's cache */
            om_lm_cut(lm, slots[i], lm->pos[i]);
        return rc;
    }
    for (int i = 0; i < n; i++)
        lm->used[slots[i]]++;
    for (int i = 0; i < n; i++) {
        const float *row = llama_get_embeddings_ith(lm->ctx, i);
        const float *logits = llama_get_logits_ith(lm->ctx, i);

        if (!row || !logits)
            return om_fail(OMNI_ERR_BACKEND, "libllama gave no outputs for position %d", i);
        if (hidden)
            memcpy(hidden + (size_t)i * width, row, width * sizeof *row);
        if (next)
            next[i] = pick(lm, slots[i], i, logits);
    }
    return OMNI_OK;
}
