/*
 * prompt: which ids stand where (spec §5.4).
 *
 * Easy to get wrong: each piece is tokenised on its own, as the reference does around its placeholder;
 * BOS is put before `begin` even when that text starts with it (Llama 3 then has two); text typed by
 * people is never parsed for special tokens; an answer is closed by turn_end exactly once, whatever token
 * (or limit) ended it.
 */
#include "core/prompt.h"

#include "base/memory.h"
#include "base/status.h"
#include "core/text.h"

#include <string.h>

/* A text of n bytes as ids, allocated. */
static int tokenize(const om_lm_model *lm, const char *text, size_t n, bool special, bool bos, om_piece *out)
{
    int count = om_lm_tokenize(lm, text, n, special, bos, NULL, 0);

    if (count < 0)
        return count;
    out->ids = om_calloc((size_t)count, sizeof *out->ids);
    if (!out->ids)
        return om_fail(OMNI_ERR_MEMORY, "no memory for a prompt of %d tokens", count);
    out->n = count;
    count = om_lm_tokenize(lm, text, n, special, bos, out->ids, out->n);
    return count < 0 ? count : OMNI_OK;
}

static int piece(const om_lm_model *lm, const char *key, const char *text, bool bos, om_piece *out)
{
    size_t n = strlen(text);

    if (!om_utf8_valid(text, n))
        return om_fail(OMNI_ERR_MODEL, "speech file, key omni-speech.prompt.%s: it is not UTF-8", key);
    return tokenize(lm, text, n, true, bos, out);
}

static int check_stops(const om_lm_model *lm, const om_hparams *hp)
{
    int vocab = om_lm_get_info(lm)->vocab;

    for (int i = 0; i < hp->prompt.n_stop; i++)
        if (hp->prompt.stop[i] < 0 || hp->prompt.stop[i] >= vocab)
            return om_fail(OMNI_ERR_MODEL,
                           "speech file, key omni-speech.prompt.stop_ids: found %d, wanted an id below "
                           "the language model's %d: the two files do not belong together",
                           hp->prompt.stop[i], vocab);
    return OMNI_OK;
}

int om_prompt_new(const om_lm_model *lm, const om_hparams *hp, om_prompt *out)
{
    om_prompt p = { .lm = lm, .text_prefix = hp->prompt.text_prefix, .plain_words = !strcmp(hp->prompt.text_form, "words"),
                    .n_stop = hp->prompt.n_stop };
    int rc = check_stops(lm, hp);

    memcpy(p.stop, hp->prompt.stop, sizeof p.stop);
    if (!rc && !om_utf8_valid(p.text_prefix, strlen(p.text_prefix)))
        rc = om_fail(OMNI_ERR_MODEL, "speech file, key omni-speech.prompt.text_prefix: it is not UTF-8");
    if (!rc && !p.plain_words && *hp->prompt.text_form)
        rc = om_fail(OMNI_ERR_MODEL, "speech file, key omni-speech.prompt.text_form: found \"%.32s\", wanted \"words\" or nothing",
                     hp->prompt.text_form);
    if (!rc && !om_utf8_valid(hp->prompt.tools, strlen(hp->prompt.tools)))
        rc = om_fail(OMNI_ERR_MODEL, "speech file, key omni-speech.prompt.tools: it is not UTF-8");
    if (!rc)
        rc = piece(lm, "begin", hp->prompt.begin, hp->prompt.add_bos, &p.begin);
    if (!rc)
        rc = piece(lm, "user", hp->prompt.user, false, &p.user);
    if (!rc)
        rc = piece(lm, "speech_suffix", hp->prompt.speech_suffix, false, &p.speech_suffix);
    if (!rc)
        rc = piece(lm, "text_suffix", hp->prompt.text_suffix, false, &p.text_suffix);
    if (!rc)
        rc = piece(lm, "turn_end", hp->prompt.turn_end, false, &p.turn_end);
    if (!rc && (p.speech_suffix.n == 0 || p.text_suffix.n == 0))
        /* The first answer token is predicted by the suffix's last position. */
        rc = om_fail(OMNI_ERR_MODEL,
                     "speech file, key omni-speech.prompt.%s: found no tokens, wanted at least one",
                     p.speech_suffix.n ? "text_suffix" : "speech_suffix");
    if (rc) {
        om_prompt_free(&p);
        return rc;
    }
    *out = p;
    return OMNI_OK;
}

void om_prompt_free(om_prompt *p)
{
    om_free(p->begin.ids);
    om_free(p->user.ids);
    om_free(p->speech_suffix.ids);
    om_free(p->text_suffix.ids);
    om_free(p->turn_end.ids);
    *p = (om_prompt){0};
}

bool om_prompt_is_stop(const om_prompt *p, int32_t id)
{
    for (int i = 0; i < p->n_stop; i++)
        if (p->stop[i] == id)
            return true;
    return p->n_stop == 0 && om_lm_is_end(p->lm, id);
}

int om_prompt_positions(const om_prompt *p, int rows)
{
    return p->begin.n + p->user.n + rows + p->speech_suffix.n;
}

/* begin (or the end of the turn before), then the piece that opens a question, and the preamble. */
static int open_turn(const om_prompt *p, om_script *s, uint32_t number, const om_piece *preamble)
{
    const om_piece *before = s->n ? &p->turn_end : &p->begin;
    int rc = om_script_add_ids(s, before->ids, before->n);

    if (!rc)
        rc = om_script_begin_turn(s, number);
    if (!rc)
        rc = om_script_add_ids(s, p->user.ids, p->user.n);
    if (!rc && preamble)
        rc = om_script_add_ids(s, preamble->ids, preamble->n);
    return rc;
}

int om_prompt_ask_rows(const om_prompt *p, om_script *s, uint32_t number, const om_piece *preamble, const float *rows, int n)
{
    int rc = open_turn(p, s, number, preamble);

    if (!rc)
        rc = om_script_add_rows(s, rows, n);
    if (!rc)
        rc = om_script_add_ids(s, p->speech_suffix.ids, p->speech_suffix.n);
    return rc;
}

/* Small letters, digits and apostrophes with single spaces between; other characters of ASCII only part words, all beyond it
 * stay (in UTF-8 none of them has a byte below 0x80). In place; the length. */
static size_t to_words(char *text, size_t n)
{
    size_t kept = 0;
    bool apart = false;

    for (size_t i = 0; i < n; i++) {
        char c = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] - 'A' + 'a') : text[i];
        bool of_word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '\'' || (unsigned char)c >= 0x80;

        if (of_word && apart && kept > 0)
            text[kept++] = ' ';
        if (of_word)
            text[kept++] = c;
        apart = !of_word;
    }
    return kept;
}

/* text behind its prefix, in one piece. */
int om_prompt_read(const om_prompt *p, const char *text, size_t n, om_piece *out)
{
    size_t before = strlen(p->text_prefix);
    char *whole = om_calloc(before + n + 1, 1);
    int rc;

    if (!whole)
        return om_fail(OMNI_ERR_MEMORY, "no memory for a text of %zu bytes", n);
    memcpy(whole, p->text_prefix, before);
    memcpy(whole + before, text, n);
    if (p->plain_words)
        n = to_words(whole + before, n);
    rc = tokenize(p->lm, whole, before + n, false, false, out);
    om_free(whole);
    return rc;
}

/* Text behind its prefix, as positions. */
static int add_text(const om_prompt *p, om_script *s, const char *text, size_t n)
{
    om_piece typed = {0};
    int rc = om_prompt_read(p, text, n, &typed);

    if (!rc)
        rc = om_script_add_ids(s, typed.ids, typed.n);
    om_free(typed.ids);
    return rc;
}

int om_prompt_ask_text(const om_prompt *p, om_script *s, uint32_t number, const om_piece *preamble, const char *text,
                       size_t n)
{
    int rc = open_turn(p, s, number, preamble);

    if (!rc && n > 0)
        rc = add_text(p, s, text, n);
    return rc ? rc : om_script_add_ids(s, p->text_suffix.ids, p->text_suffix.n);
}

int om_prompt_add_answer(const om_prompt *p, om_script *s, const char *text, size_t n)
{
    return add_text(p, s, text, n);
}
