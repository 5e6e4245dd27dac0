/* prompt: the constant pieces of a conversation as token ids. */
#ifndef OM_PROMPT_H
#define OM_PROMPT_H

#include "base/hparams.h"
#include "core/script.h"
#include "stage/lm.h"

typedef struct om_piece { int32_t *ids; int n; } om_piece;

/* [begin][user] preamble rows [speech_suffix] answer [turn_end][user] text [text_suffix] answer [turn_end] ...
 * text is tokenised together with text_prefix: in vocabularies whose words carry a space in front, " ". */
typedef struct om_prompt {
    const om_lm_model *lm;
    om_piece begin, user, speech_suffix, text_suffix, turn_end;
    const char *text_prefix;    /* borrowed from the speech file */
    bool plain_words;           /* the vocabulary has words of small letters only: text is brought to that */
    int n_stop, stop[OM_MAX_STOPS];
} om_prompt;

/* ERR_MODEL (a piece that is not UTF-8, an empty suffix, an unknown form of text, a stop id outside the vocabulary), ERR_MEMORY. */
int  om_prompt_new(const om_lm_model *lm, const om_hparams *hp, om_prompt *out);
void om_prompt_free(om_prompt *p);                     /* {0} is allowed */
bool om_prompt_is_stop(const om_prompt *p, int32_t id);
int  om_prompt_positions(const om_prompt *p, int rows); /* of a first spoken question */

/* A text that people or programs gave, as positions of a prompt; ids are the caller's. ERR_MEMORY, ERR_LIMIT. */
int  om_prompt_read(const om_prompt *p, const char *text, size_t n, om_piece *out);

/* Append the question of turn `number` to the script, behind the preamble (NULL: none); text of n bytes without
 * surrounding white space. On failure the script may hold a part of it: cut it back. ERR_MEMORY, ERR_LIMIT. */
int  om_prompt_ask_rows(const om_prompt *p, om_script *s, uint32_t number, const om_piece *preamble, const float *rows, int n);
int  om_prompt_ask_text(const om_prompt *p, om_script *s, uint32_t number, const om_piece *preamble, const char *text,
                        size_t n);
/* And its answer, as if the model had said it. */
int  om_prompt_add_answer(const om_prompt *p, om_script *s, const char *text, size_t n);

#endif
