/* session: the exported functions of one conversation. */
#include "base/memory.h"
#include "base/status.h"
#include "core/ahead.h"
#include "core/history.h"
#include "core/objects.h"
#include "core/turn.h"

#include <math.h>
#include <string.h>

enum {
    MAX_EVENTS = 1024,
    MAX_EVENT_BYTES = 1 << 19,      /* 8 s of audio: how far an answer may run ahead of its receiver */
    MAX_PACKET = 1 << 26,
    MAX_TYPED = 1 << 20
};

omni_session_params omni_session_default_params(void)
{
    return (omni_session_params){ .max_tokens = 256, .top_k = 50, .top_p = 1.0f, .seed = 0xFFFFFFFFu,
                                  .speech = true, .keep_history = true };
}

/* ---- new, free -------------------------------------------------------------- */

static int check_params(const omni_session_params *p)
{
    if (p->max_tokens < 1)
        return om_fail(OMNI_ERR_ARG, "max_tokens is %d, wanted at least 1", p->max_tokens);
    if (!isfinite(p->temperature) || p->temperature < 0.0f)
        return om_fail(OMNI_ERR_ARG, "temperature is %g, wanted 0 (greedy) or more", (double)p->temperature);
    if (p->top_k < 0)
        return om_fail(OMNI_ERR_ARG, "top_k is %d, wanted 0 (off) or more", p->top_k);
    if (!(p->top_p > 0.0f && p->top_p <= 1.0f))
        return om_fail(OMNI_ERR_ARG, "top_p is %g, wanted more than 0, at most 1", (double)p->top_p);
    if (p->packet_samples < 0 || p->packet_samples > MAX_PACKET)
        return om_fail(OMNI_ERR_ARG, "packet_samples is %d, wanted 0..%d", p->packet_samples, MAX_PACKET);
    return OMNI_OK;
}

static int set_sampling(omni_session *s)
{
    om_sampling sampling = { s->params.temperature, s->params.top_k, s->params.top_p, s->params.seed };

    return om_lm_set_sampling(s->engine->lm, s->slot, &sampling);
}

/* ---- texts ---------------------------------------------------------------------- */

static void free_texts(om_texts *t)
{
    om_free(t->preamble);
    om_free(t->grammar);
    om_free(t->ids.ids);
    *t = (om_texts){0};
}

static int new_preamble(const omni_session *s, const char *text, om_texts *out)
{
    size_t n = strlen(text);
    int rc;

    if (!om_utf8_valid(text, n))
        return om_fail(OMNI_ERR_ARG, "the preamble is not UTF-8");
    if (n > MAX_TYPED)
        return om_fail(OMNI_ERR_ARG, "a preamble of %zu bytes, wanted at most %d", n, MAX_TYPED);
    rc = om_history_check_text(s, n);
    if (rc)
        return rc;
    out->preamble = om_strdup(text);
    if (!out->preamble)
        return om_fail(OMNI_ERR_MEMORY, "no memory for a preamble of %zu bytes", n);
    rc = om_prompt_read(&s->engine->model->prompt, text, n, &out->ids);
    if (!rc && om_prompt_positions(&s->engine->model->prompt, 0) + out->ids.n >= s->engine->params.n_ctx)
        rc = om_fail(OMNI_ERR_LIMIT, "a preamble of %d positions leaves no room for a question in the slot's %d: ask for a larger context",
                     out->ids.n, s->engine->params.n_ctx);
    return rc;
}

static int new_grammar(const omni_model *m, const char *text, om_texts *out, om_lm_grammar **rules)
{
    int rc = om_lm_grammar_new(m->lm, text, rules);

    if (rc)
        return rc;
    out->grammar = om_strdup(text);
    return out->grammar ? OMNI_OK : om_fail(OMNI_ERR_MEMORY, "no memory for a grammar");
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : (!a || !*a) && (!b || !*b);
}

/* The texts of s->params become the session's own. On failure nothing changes but s->params. */
static int take_texts(omni_session *s)
{
    const omni_model *m = s->engine->model;
    const char *preamble = s->params.preamble, *grammar = s->params.grammar;
    om_texts new = {0};
    om_lm_grammar *rules = NULL;
    int rc = OMNI_OK;

    if (!same_text(preamble, s->texts.preamble) || !same_text(grammar, s->texts.grammar)) {
        if (preamble && *preamble)
            rc = new_preamble(s, preamble, &new);
        if (!rc && grammar && *grammar)
            rc = new_grammar(m, grammar, &new, &rules);
        if (rc) {
            free_texts(&new);
            om_lm_grammar_free(rules);
            return rc;
        }
        s->told = s->told && same_text(preamble, s->texts.preamble);
        free_texts(&s->texts);
        s->texts = new;
        om_lm_set_grammar(s->engine->lm, s->slot, rules);
    }
    s->params.preamble = s->texts.preamble;
    s->params.grammar = s->texts.grammar;
    return OMNI_OK;
}

static int new_parts(omni_session *s)
{
    const omni_model *m = s->engine->model;
    int rc = om_ring_new(2 * (size_t)m->hp.audio.window_samples, &s->input);

    if (!rc)
        rc = om_queue_new(MAX_EVENTS, MAX_EVENT_BYTES, &s->events);
    if (!rc)
        rc = om_mel_new(&m->hp, m->filters, &s->mel);
    if (!rc)
        rc = set_sampling(s);
    if (!rc)
        rc = take_texts(s);
    return rc;
}

int omni_session_new(omni_engine *engine, const omni_session_params *params, omni_session **out)
{
    omni_session *s;
    int slot = 0, rc;

    if (!engine || !out)
        return om_fail(OMNI_ERR_ARG, "omni_session_new: engine and out may not be NULL");
    while (slot < engine->params.n_slots && engine->sessions[slot])
        slot++;
    if (slot == engine->params.n_slots)
        return om_fail(OMNI_ERR_LIMIT, "all %d slots of the engine are taken", slot);
    s = om_aligned(1, sizeof *s);
    if (!s)
        return om_fail(OMNI_ERR_MEMORY, "session: out of memory");
    s->engine = engine;
    s->slot = slot;
    s->params = params ? *params : omni_session_default_params();
    s->script.width = engine->model->hp.llm.width;
    om_voice_reset(&s->voice);
    rc = check_params(&s->params);
    if (!rc)
        rc = new_parts(s);
    if (rc) {
        omni_session_free(s);
        return rc;
    }
    engine->sessions[slot] = s;
    *out = s;
    return OMNI_OK;
}

void omni_session_free(omni_session *s)
{
    omni_engine *e;

    if (!s)
        return;
    e = s->engine;
    if (e->sessions[s->slot] == s) {
        if (e->encoding == s) {
            om_encoder_reset(e->encoder);
            e->encoding = NULL;
        }
        om_speech_decoder_reset(e->decoder, s->slot);
        om_vocoder_reset(e->vocoder, s->slot);
        om_lm_cut(e->lm, s->slot, 0);
        om_lm_set_grammar(e->lm, s->slot, NULL);
        e->sessions[s->slot] = NULL;
    }
    om_ring_free(s->input);
    om_queue_free(s->events);
    om_mel_free(s->mel);
    om_ear_free(&s->ear);
    om_script_free(&s->script);
    om_text_free(&s->text);
    om_voice_free(&s->voice);
    om_voice_free(&s->other_voice);
    free_texts(&s->texts);
    om_free(s->typed);
    om_free(s);
}

/* ---- between turns ------------------------------------------------------------ */

/* What was pushed and not asked. */
static void drop_input(omni_session *s)
{
    s->n_pulled += om_ring_drop(s->input, om_ring_size(s->input));
    s->n_before = s->n_pushed;
    om_ear_clear(&s->ear, s->n_pulled);
    if (s->state == OM_ENCODE && s->engine->encoding != s)
        return;     /* mel holds the running turn's question */
    om_mel_reset(s->mel);
    s->n_heard = s->n_question = 0;
    if (s->state <= OM_LISTEN)
        s->state = OM_IDLE;
}

static int check_no_spoken_question(omni_session *s, const char *what)
{
    if (!s)
        return om_fail(OMNI_ERR_ARG, "%s: session may not be NULL", what);
    if (atomic_load_explicit(&s->question, memory_order_acquire) == OM_ASK_AUDIO)
        return om_fail(OMNI_ERR_STATE, "%s: a spoken question waits; let the engine step", what);
    return OMNI_OK;
}

int omni_session_clear_input(omni_session *s)
{
    int rc = check_no_spoken_question(s, "omni_session_clear_input");

    if (rc)
        return rc;
    om_ahead_forget(s);
    drop_input(s);
    return OMNI_OK;
}

int omni_session_set_turns(omni_session *s, const omni_turn_params *params)
{
    static const omni_turn_params manual = { .enabled = false };
    const om_hparams *hp;
    bool was_on;
    int rc = check_no_spoken_question(s, "omni_session_set_turns");

    if (rc)
        return rc;
    hp = &s->engine->model->hp;
    params = params ? params : &manual;
    was_on = s->ear.vad != NULL;
    if (params->enabled && hp->audio.sample_rate != OM_VAD_RATE)
        return om_fail(OMNI_ERR_MODEL, "turn taking needs input of %d Hz, the model's is %d", OM_VAD_RATE,
                       hp->audio.sample_rate);
    if (was_on == params->enabled && !was_on)
        return OMNI_OK;
    om_ahead_forget(s);
    rc = om_ear_set(&s->ear, params, (size_t)hp->audio.window_samples, s->n_pulled);
    if (!rc && was_on != params->enabled)
        drop_input(s);
    return rc;
}

int omni_session_set_params(omni_session *s, const omni_session_params *params)
{
    omni_session_params old;
    bool resample;
    int rc = params ? check_params(params)
                    : om_fail(OMNI_ERR_ARG, "omni_session_set_params: params may not be NULL");

    /* Last, because it forgets what was prepared ahead: a call that is refused should not. */
    if (!rc)
        rc = om_history_may_change(s, "omni_session_set_params");
    if (rc)
        return rc;
    old = s->params;
    s->params = *params;
    resample = params->temperature != old.temperature || params->top_k != old.top_k || params->top_p != old.top_p ||
               params->seed != old.seed;
    if (resample)
        rc = om_lm_keep_sampling(s->engine->lm, s->slot);
    if (!rc && resample)
        rc = set_sampling(s);
    if (!rc)
        rc = take_texts(s);
    if (!rc)
        return OMNI_OK;
    if (resample)
        om_lm_restore_sampling(s->engine->lm, s->slot);
    s->params = old;
    return rc;
}

int omni_session_reset(omni_session *s)
{
    int rc = om_history_may_change(s, "omni_session_reset");

    if (!rc)
        rc = set_sampling(s);
    if (rc)
        return rc;
    drop_input(s);
    om_script_cut(&s->script, 0);
    om_lm_cut(s->engine->lm, s->slot, 0);
    s->turn = 0;
    s->told = s->has_answer = s->sounds = false;
    s->stats = (omni_stats){0};
    return OMNI_OK;
}

int omni_session_get_stats(const omni_session *s, omni_stats *stats)
{
    if (!s || !stats)
        return om_fail(OMNI_ERR_ARG, "omni_session_get_stats: session and stats may not be NULL");
    if (!om_queue_stats(s->events, stats))
        return om_fail(OMNI_ERR_STATE, "omni_session_get_stats: no turn's last event was taken yet");
    return OMNI_OK;
}

/* ---- asking (one thread) -------------------------------------------------------- */

int omni_session_push_audio(omni_session *s, const float *samples, size_t n)
{
    if (!s || (!samples && n))
        return om_fail(OMNI_ERR_ARG, "omni_session_push_audio: session and samples may not be NULL");
    for (size_t i = 0; i < n; i++)
        if (!isfinite(samples[i]))
            return om_fail(OMNI_ERR_AUDIO, "sample %zu of %zu is not a finite number", i, n);
    if (om_ring_push(s->input, samples, n) != OMNI_OK)
        return om_fail(OMNI_ERR_LIMIT,
                       "%zu samples are more than the %zu that the input buffer has room for; let the "
                       "engine step between pushes",
                       n, om_ring_room(s->input));
    s->n_pushed += n;
    return OMNI_OK;
}

static int check_no_question(const omni_session *s)
{
    if (atomic_load_explicit(&s->question, memory_order_acquire) != OM_ASK_NONE)
        return om_fail(OMNI_ERR_STATE, "a question already waits");
    return OMNI_OK;
}

static void publish(omni_session *s, int question)
{
    s->asked_at = om_now_us();
    /* Counted first: whoever sees the question as asked may cancel it. */
    atomic_fetch_add(&s->n_asked, 1);
    atomic_store_explicit(&s->question, question, memory_order_release);
}

int omni_session_end_input(omni_session *s)
{
    int rc;

    if (!s)
        return om_fail(OMNI_ERR_ARG, "omni_session_end_input: session may not be NULL");
    rc = check_no_question(s);
    if (rc)
        return rc;
    if (s->n_pushed == s->n_before)
        return om_fail(OMNI_ERR_AUDIO, "the question has no audio");
    s->n_before = s->end_mark = s->n_pushed;
    publish(s, OM_ASK_AUDIO);
    return OMNI_OK;
}

int omni_session_push_text(omni_session *s, const char *utf8)
{
    size_t n;
    int rc;

    if (!s || !utf8)
        return om_fail(OMNI_ERR_ARG, "omni_session_push_text: session and text may not be NULL");
    n = strlen(utf8);
    if (!om_utf8_valid(utf8, n))
        return om_fail(OMNI_ERR_ARG, "the typed question is not UTF-8");
    utf8 = om_text_strip(utf8, &n);
    if (n == 0 || n > MAX_TYPED)
        return om_fail(OMNI_ERR_ARG, "a typed question of %zu bytes, wanted 1..%d", n, MAX_TYPED);
    rc = check_no_question(s);
    if (rc)
        return rc;
    s->typed = om_calloc(n + 1, 1);
    if (!s->typed)
        return om_fail(OMNI_ERR_MEMORY, "no memory for a question of %zu bytes", n);
    memcpy(s->typed, utf8, n);
    publish(s, OM_ASK_TEXT);
    return OMNI_OK;
}

/* Async-signal-safe: lock-free atomics only. A turn that ends meanwhile is not mistaken for the next. */
void omni_session_cancel(omni_session *s)
{
    unsigned answered;

    if (!s)
        return;
    answered = atomic_load(&s->n_answered);
    if (atomic_load(&s->n_asked) != answered)
        atomic_store(&s->cancel, answered + 1);
}

/* ---- listening (one thread) ----------------------------------------------------- */

int omni_session_next_event(omni_session *s, omni_event *event)
{
    if (!s || !event)
        return om_fail(OMNI_ERR_ARG, "omni_session_next_event: session and event may not be NULL");
    return om_queue_pull(s->events, event);
}
