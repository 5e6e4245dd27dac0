/* A session's answer against a model that reads the session's whole script at once, with nothing cached. */
#ifndef FRESH_H
#define FRESH_H

#include "unit/conversation.h"

/* Greedy tokens that follow the first n positions of a script, with nothing cached. */
static inline void continue_afresh(omni_engine *engine, const om_script *script, int n, int n_tokens, int32_t *out)
{
    const int32_t *ids;
    const float *rows;
    om_sampling greedy = {0};
    int32_t id = script->ids[n - 1];
    int slot = 0, at = 0;

    om_lm_cut(engine->lm, slot, 0);
    assert_int_equal(om_lm_set_sampling(engine->lm, slot, &greedy), OMNI_OK);
    while (at < n - 1) {
        int k = om_script_run(script, at, n - 1 - at < 7 ? n - 1 - at : 7, &ids, &rows);

        assert_int_equal(om_lm_prefill(engine->lm, slot, ids, rows, k), OMNI_OK);
        at += k;
    }
    for (int i = 0; i < n_tokens; i++) {
        assert_int_equal(om_lm_step(engine->lm, 1, &slot, &id, &id, NULL), OMNI_OK);
        out[i] = id;
    }
}

/* The session's last answer is what a model that reads its whole script at once would say. */
static inline void check_against_fresh(const omni_model *model, const omni_session *session)
{
    omni_engine *fresh = new_engine(model, 1, 0);
    int n = session->script.n - session->answer_at;
    int32_t tokens[64];

    assert_true(n > 0 && n <= 64);
    continue_afresh(fresh, &session->script, session->answer_at, n, tokens);
    assert_memory_equal(tokens, session->script.ids + session->answer_at, (size_t)n * sizeof *tokens);
    omni_engine_free(fresh);
}

#endif
