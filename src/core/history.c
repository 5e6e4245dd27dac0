/*
 * history: see history.h.
 *
 * Easy to get wrong: the KV cache holds a prefix of the script, so it is cut to where the first change was; the end
 * of a turn is closed by the opening of the next, so a last turn goes together with what closed the turn before it.
 */
#include "core/history.h"

#include "base/status.h"
#include "core/ahead.h"
#include "core/objects.h"
#include "core/text.h"
#include "core/turn.h"

#include <string.h>

enum { MAX_TEXT = 1 << 20, MOST_OF_A_TOKEN = 64 };      /* bytes; a word has 4 to 6 per token, only runs of blanks have more */

int om_history_check_text(const omni_session *s, size_t n)
{
    int n_ctx = s->engine->params.n_ctx;

    if (n / MOST_OF_A_TOKEN <= (size_t)n_ctx)
        return OMNI_OK;
    return om_fail(OMNI_ERR_LIMIT, "a text of %zu bytes can not fit into the slot's %d positions: ask for a larger context", n, n_ctx);
}

int om_history_may_change(omni_session *s, const char *what)
{
    if (!s)
        return om_fail(OMNI_ERR_ARG, "%s: session may not be NULL", what);
    if ((s->state > OM_LISTEN && !s->ahead) || atomic_load(&s->question) != OM_ASK_NONE)
        return om_fail(OMNI_ERR_STATE, "%s: a turn is running or waiting; cancel it and read its last event",
                       what);
    om_ahead_forget(s);
    return OMNI_OK;
}

/* ---- room ------------------------------------------------------------------------ */

int om_history_next_question(const omni_session *s)
{
    const om_prompt *prompt = &s->engine->model->prompt;
    const om_piece *before = s->script.n ? &prompt->turn_end : &prompt->begin, *preamble = om_turn_untold(s);

    return om_prompt_positions(prompt, s->engine->model->hp.adaptor.rows) - prompt->begin.n + before->n +
           (preamble ? preamble->n : 0);
}

/* Positions of the context that are kept for the answer. */
static int reserve(const omni_session *s)
{
    int most = s->engine->params.n_ctx / 4;

    return s->params.max_tokens < most ? s->params.max_tokens : most;
}

bool om_history_fits(const omni_session *s, int more)
{
    return s->script.n + more <= s->engine->params.n_ctx - reserve(s);
}

/* Half of the context is freed at once: the KV cache has to be rebuilt then, which should be rare. Keeps `least` turns.
 * Was any forgotten? */
static bool forget_oldest(omni_session *s, int more, int least)
{
    int n = s->script.n;

    while (s->script.n_turns > least && s->script.n + more > s->engine->params.n_ctx / 2)
        om_script_drop(&s->script, 0);
    if (s->script.n == n)
        return false;
    om_lm_cut(s->engine->lm, s->slot, 0);
    return true;
}

void om_history_make_room(omni_session *s)
{
    bool forgot = true;

    if (om_history_next_question(s) > s->engine->params.n_ctx)
        return;     /* it will fail, whatever is forgotten */
    /* More than once when the turn that told the preamble goes: the question has to tell it then. */
    while (forgot && !om_history_fits(s, om_history_next_question(s))) {
        int n = s->script.n;

        forgot = forget_oldest(s, om_history_next_question(s), 1);
        s->answer_at -= n - s->script.n;
    }
}

int om_history_fit(omni_session *s)
{
    const om_script *script = &s->script;
    int n_ctx = s->engine->params.n_ctx, n = script->n;
    int alone = n - script->turns[script->n_turns - 1].at + script->turns[0].at;

    /* What is forgotten may be the turn that told the preamble, which the question has to tell then. */
    if (!om_history_fits(s, 0) && s->texts.preamble && s->told_in != s->turn)
        alone += s->texts.ids.n;
    if (alone > n_ctx)
        return om_fail(OMNI_ERR_LIMIT,
                       "the question needs %d positions, the slot has %d: ask for a larger context", alone, n_ctx);
    if (!om_history_fits(s, 0))
        forget_oldest(s, 0, 2);
    if (!om_history_fits(s, 0))
        forget_oldest(s, 0, 1);
    s->script_before = script->n_turns > 1 ? s->script_before - (n - script->n) : 0;
    return OMNI_OK;
}

/* ---- put in ------------------------------------------------------------------- */

/* *text without white space at its ends, *n its bytes. */
static int check_text(const char **text, size_t *n, size_t least, const char *what)
{
    *n = strlen(*text);
    if (!om_utf8_valid(*text, *n))
        return om_fail(OMNI_ERR_ARG, "omni_session_add_turn: the %s is not UTF-8", what);
    *text = om_text_strip(*text, n);
    if (*n < least || *n > MAX_TEXT)
        return om_fail(OMNI_ERR_ARG, "omni_session_add_turn: %s of %zu bytes, wanted %zu..%d", what, *n, least,
                       MAX_TEXT);
    return OMNI_OK;
}

/* Appends both; more than half of the context would leave the next question no room. */
static int append(omni_session *s, const char *question, size_t n_question, const char *answer, size_t n_answer)
{
    const om_prompt *prompt = &s->engine->model->prompt;
    int before = s->script.n, most = s->engine->params.n_ctx / 2;
    int rc = om_prompt_ask_text(prompt, &s->script, s->turn, NULL, question, n_question);

    if (!rc)
        rc = om_prompt_add_answer(prompt, &s->script, answer, n_answer);
    if (!rc && s->script.n - before > most)
        rc = om_fail(OMNI_ERR_LIMIT,
                     "the turn needs %d positions, wanted at most %d, half of a slot's: ask for a larger context",
                     s->script.n - before, most);
    if (rc)
        om_script_cut(&s->script, before);
    return rc;
}

/* Forgets the oldest turns until the rest fits. */
static void drop_what_is_too_much(omni_session *s)
{
    int n = s->script.n;

    while (s->script.n_turns > 1 && s->script.n > s->engine->params.n_ctx)
        om_script_drop(&s->script, 0);
    if (s->script.n < n)
        om_lm_cut(s->engine->lm, s->slot, 0);
}

int omni_session_add_turn(omni_session *s, const char *question_utf8, const char *answer_utf8, uint32_t *turn)
{
    size_t n_question, n_answer;
    int rc = OMNI_OK;

    if (!question_utf8 || !answer_utf8)
        rc = om_fail(OMNI_ERR_ARG, "omni_session_add_turn: question and answer may not be NULL");
    if (!rc)
        rc = check_text(&question_utf8, &n_question, 0, "question");
    if (!rc)
        rc = check_text(&answer_utf8, &n_answer, 1, "answer");
    if (!rc)
        rc = om_history_may_change(s, "omni_session_add_turn");
    if (!rc)
        rc = om_history_check_text(s, n_question + n_answer);
    if (!rc)
        rc = append(s, question_utf8, n_question, answer_utf8, n_answer);
    if (rc)
        return rc;
    drop_what_is_too_much(s);
    s->has_answer = s->sounds = false;
    if (turn)
        *turn = s->turn;
    s->turn++;
    return OMNI_OK;
}

/* ---- taken out ------------------------------------------------------------------ */

int omni_session_forget_turn(omni_session *s, uint32_t turn)
{
    om_script *script;
    int rc = om_history_may_change(s, "omni_session_forget_turn"), at, from, n;

    if (rc)
        return rc;
    if (turn >= s->turn)
        return om_fail(OMNI_ERR_ARG, "omni_session_forget_turn: turn %u, wanted one below %u", turn, s->turn);
    script = &s->script;
    at = om_script_find(script, turn);
    if (at < 0)
        return OMNI_OK;
    n = script->n;
    from = script->turns[at].at;
    if (at < script->n_turns - 1) {
        om_script_drop(script, at);
        s->answer_at -= n - script->n;
    } else {
        om_script_cut(script, at == 0 ? 0 : from - s->engine->model->prompt.turn_end.n);
        s->has_answer = s->sounds = false;
    }
    om_lm_cut(s->engine->lm, s->slot, from < script->n ? from : script->n);
    return OMNI_OK;
}

/* ---- cut ---------------------------------------------------------------------------- */

int omni_session_trim(omni_session *s, uint64_t n_samples, int *n_tokens_kept)
{
    int rc = om_history_may_change(s, "omni_session_trim"), said, kept;

    if (rc)
        return rc;
    if (!s->has_answer || !s->spoke)
        return om_fail(OMNI_ERR_STATE, "omni_session_trim: the session has no spoken answer to cut");
    said = s->script.n - s->answer_at;
    kept = n_samples >= s->voice.n_posted && s->end.type == OMNI_EVENT_END
               ? said
               : om_voice_tokens_heard(s, n_samples);
    if (kept < said)
        om_script_cut(&s->script, s->answer_at + kept);
    om_lm_cut(s->engine->lm, s->slot, s->script.n);
    s->sounds = false;
    if (n_tokens_kept)
        *n_tokens_kept = kept < said ? kept : said;
    return OMNI_OK;
}
