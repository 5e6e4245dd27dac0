/*
 * tokenizer-json: the vocabulary of a Hugging Face checkpoint, as GGUF stores it.
 *
 * tokenizer.json with a byte-level BPE model, and what tokenizer_config.json adds: which tokens begin, end and pad,
 * and the chat template.
 */
#ifndef OM_TOKENIZER_JSON_H
#define OM_TOKENIZER_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OM_TOKEN_NORMAL = 1, OM_TOKEN_CONTROL = 3, OM_TOKEN_USER = 4, OM_TOKEN_UNUSED = 5 };   /* as in GGUF */

typedef struct om_tokenizer {
    const char *pre;            /* llama.cpp's name of the pre-tokenizer: llama-bpe, gpt-2, qwen2 */
    int       n_tokens;
    char    **tokens;           /* [n_tokens]; ids that no token has: "[PAD7]" */
    int32_t  *types;            /* [n_tokens] */
    int       n_merges;
    char    **merges;           /* "left right" */
    int       bos, eos, pad;    /* -1: not said */
    bool      add_bos, add_bos_known;
    char     *chat_template;    /* NULL: none */
} om_tokenizer;

/* vocab: config.json's vocab_size; all ids must be below. The folder's tokenizer_config.json and
 * chat_template.jinja may be missing. ERR_IO, ERR_FORMAT (not JSON, not a tokenizer), ERR_MODEL (a kind that we
 * do not know; the field is named), ERR_MEMORY. *out is zeroed on failure. */
int  om_tokenizer_read(const char *folder, int vocab, om_tokenizer *out);
/* The same from files; config and jinja may be NULL. */
int  om_tokenizer_read_files(const char *tokenizer, const char *config, const char *jinja, int vocab,
                             om_tokenizer *out);
void om_tokenizer_free(om_tokenizer *t);
/* The id of a token, or -1. */
int  om_tokenizer_find(const om_tokenizer *t, const char *text);

#endif
