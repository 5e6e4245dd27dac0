/* tokenizer-json: see the header. */
#include "tokenizer-json.h"

#include "base/memory.h"
#include "base/status.h"
#include "file-read.h"
#include "json-fields.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_TOKENIZER = 24 << 20, MAX_CONFIG = 16 << 20, MAX_TEMPLATE = 1 << 20, MAX_VOCAB = 1 << 24 };

static int bad(const char *path, const char *field, const char *wanted)
{
    return om_fail(OMNI_ERR_FORMAT, "%s: %s: wanted %s", path, field, wanted);
}

static int no_memory(const char *path)
{
    return om_fail(OMNI_ERR_MEMORY, "%s: out of memory for the vocabulary", path);
}

/* ---- how text is cut before BPE ----------------------------------------------- */

/* What llama.cpp knows under these names. Splitting on another pattern would give other tokens. */
static const struct { const char *name, *pattern; } patterns[] = {
    {"llama-bpe", "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
                  "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
    {"qwen2", "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
              "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
};

/* One pre-tokenizer or a sequence of them: its i-th step, or NULL. */
static const json_t *step_of(const json_t *pre, size_t i)
{
    const json_t *steps = json_object_get(pre, "pretokenizers");

    return steps ? json_array_get(steps, i) : i == 0 ? pre : NULL;
}

static bool is_kind(const json_t *object, const char *type)
{
    const char *found = json_string_value(json_object_get(object, "type"));

    return found && strcmp(found, type) == 0;
}

static int read_pre(const char *path, const json_t *root, om_tokenizer *t)
{
    const json_t *pre = json_object_get(root, "pre_tokenizer"), *first = step_of(pre, 0), *second = step_of(pre, 1);

    if (is_kind(first, "ByteLevel") && !second) {
        t->pre = "gpt-2";
        if (json_is_false(json_object_get(first, "use_regex")))
            return om_fail(OMNI_ERR_MODEL, "%s: pre_tokenizer: found ByteLevel without its pattern, wanted a Split before it", path);
        return OMNI_OK;
    }
    if (!is_kind(first, "Split") || !is_kind(second, "ByteLevel") || step_of(pre, 2))
        return om_fail(OMNI_ERR_MODEL, "%s: pre_tokenizer: wanted ByteLevel, or Split and ByteLevel (byte-level BPE)", path);
    const char *pattern = json_string_value(json_object_get(json_object_get(first, "pattern"), "Regex"));
    for (size_t i = 0; pattern && i < sizeof patterns / sizeof *patterns; i++) {
        if (strcmp(pattern, patterns[i].pattern) == 0) {
            t->pre = patterns[i].name;
            return OMNI_OK;
        }
    }
    return om_fail(OMNI_ERR_MODEL, "%s: pre_tokenizer: pattern: found %.200s, wanted that of Llama 3, Qwen 2 or GPT-2", path,
                   pattern ? pattern : "no Regex");
}

/* ---- tokens ---------------------------------------------------------------------- */

static int put_token(const char *path, om_tokenizer *t, const char *text, const json_t *id, int32_t type)
{
    const json_int_t at = json_integer_value(id);
    char *copy;

    if (!json_is_integer(id) || at < 0 || at >= t->n_tokens)
        return om_fail(OMNI_ERR_MODEL, "%s: token %.60s: id %" JSON_INTEGER_FORMAT ", wanted 0 to %d (config.json: vocab_size)",
                       path, text, at, t->n_tokens - 1);
    if (t->tokens[at] && strcmp(t->tokens[at], text) != 0)
        return om_fail(OMNI_ERR_FORMAT, "%s: tokens %.60s and %.60s have the same id %" JSON_INTEGER_FORMAT, path,
                       t->tokens[at], text, at);
    copy = t->tokens[at] ? t->tokens[at] : om_strdup(text);
    if (!copy)
        return no_memory(path);
    t->tokens[at] = copy;
    t->types[at] = type;
    return OMNI_OK;
}

static int read_vocab(const char *path, const json_t *model, om_tokenizer *t)
{
    const json_t *vocab = json_object_get(model, "vocab");
    const char *text;
    json_t *id;

    if (!json_is_object(vocab) || json_object_size(vocab) == 0)
        return bad(path, "model: vocab", "an object of tokens and ids");
    json_object_foreach((json_t *)vocab, text, id) {
        const int rc = put_token(path, t, text, id, OM_TOKEN_NORMAL);

        if (rc)
            return rc;
    }
    return OMNI_OK;
}

static bool looks_special(const char *text)
{
    const size_t n = strlen(text);

    return n > 4 && strncmp(text, "<|", 2) == 0 && strcmp(text + n - 2, "|>") == 0;
}

static int read_added(const char *path, const json_t *added, om_tokenizer *t)
{
    const json_t *entry;
    size_t i;

    if (added && !json_is_array(added))
        return bad(path, "added_tokens", "an array");
    json_array_foreach(added, i, entry) {
        const char *text = json_string_value(json_object_get(entry, "content"));
        int rc;

        if (!text || !*text)
            return bad(path, "added_tokens: content", "a string");
        rc = put_token(path, t, text, json_object_get(entry, "id"),
                       json_is_true(json_object_get(entry, "special")) || looks_special(text) ? OM_TOKEN_CONTROL
                                                                                            : OM_TOKEN_USER);
        if (rc)
            return rc;
    }
    return OMNI_OK;
}

/* Ids that config.json counts and no token has. */
static int fill_unused(const char *path, om_tokenizer *t)
{
    char text[32];

    for (int i = 0; i < t->n_tokens; i++) {
        if (t->tokens[i])
            continue;
        snprintf(text, sizeof text, "[PAD%d]", i);
        t->tokens[i] = om_strdup(text);
        t->types[i] = OM_TOKEN_UNUSED;
        if (!t->tokens[i])
            return no_memory(path);
    }
    return OMNI_OK;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* llama.cpp ends the program when it loads a vocabulary of which two tokens are spelt alike. */
static int check_distinct(const char *path, const om_tokenizer *t)
{
    char **sorted = om_calloc((size_t)t->n_tokens, sizeof *sorted);
    int rc = OMNI_OK;

    if (!sorted)
        return no_memory(path);
    memcpy(sorted, t->tokens, (size_t)t->n_tokens * sizeof *sorted);
    qsort(sorted, (size_t)t->n_tokens, sizeof *sorted, by_text);
    for (int i = 1; !rc && i < t->n_tokens; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0)
            rc = om_fail(OMNI_ERR_FORMAT, "%s: token %.60s is there twice, with different ids", path, sorted[i]);
    om_free(sorted);
    return rc;
}

/* ---- merges ------------------------------------------------------------------------ */

/* In a pair a token may hold a space; the list of strings spells it as bytes are spelt, U+0120. */
static char *pair_text(const char *left, const char *right)
{
    const size_t room = 2 * (strlen(left) + strlen(right)) + 2;
    char *text = om_calloc(room, 1), *to = text;

    for (const char *const parts[] = {left, right}, *const *part = parts; text && part < parts + 2; part++) {
        if (part > parts)
            *to++ = ' ';
        for (const char *from = *part; *from; from++) {
            if (*from == ' ') {
                *to++ = '\xc4';
                *to++ = '\xa0';
            } else {
                *to++ = *from;
            }
        }
    }
    return text;
}

static int read_merge(const char *path, const json_t *v, char **out)
{
    const char *whole = json_string_value(v), *left = json_string_value(json_array_get(v, 0)),
               *right = json_string_value(json_array_get(v, 1));
    const char *space = whole ? strchr(whole, ' ') : NULL;

    if (space && space != whole && space[1] && !strchr(space + 1, ' '))
        *out = om_strdup(whole);
    else if (!whole && json_array_size(v) == 2 && left && right && *left && *right)
        *out = pair_text(left, right);
    else
        return bad(path, "model: merges", "\"left right\" or [\"left\", \"right\"]");
    return *out ? OMNI_OK : no_memory(path);
}

static int read_merges(const char *path, const json_t *model, om_tokenizer *t)
{
    const json_t *merges = json_object_get(model, "merges"), *v;
    size_t i;

    if (!json_is_array(merges) || json_array_size(merges) > MAX_VOCAB)
        return bad(path, "model: merges", "an array");
    t->merges = om_calloc(json_array_size(merges) + 1, sizeof *t->merges);
    if (!t->merges)
        return no_memory(path);
    json_array_foreach(merges, i, v) {
        const int rc = read_merge(path, v, &t->merges[i]);

        if (rc)
            return rc;
        t->n_merges++;
    }
    return OMNI_OK;
}

/* Does the post-processor put a token before the text? TemplateProcessing, alone or in a Sequence. */
static void read_post(const json_t *root, om_tokenizer *t)
{
    const json_t *post = json_object_get(root, "post_processor"), *steps = json_object_get(post, "processors"), *step;
    size_t i;

    if (is_kind(post, "TemplateProcessing")) {
        const json_t *first = json_array_get(json_object_get(post, "single"), 0);

        t->add_bos_known = true;
        t->add_bos = json_object_get(first, "SpecialToken") != NULL;
    }
    json_array_foreach(steps, i, step) {
        if (is_kind(step, "TemplateProcessing")) {
            const json_t *first = json_array_get(json_object_get(step, "single"), 0);

            t->add_bos_known = true;
            t->add_bos = json_object_get(first, "SpecialToken") != NULL;
        }
    }
}

static int read_tokenizer(const char *path, const json_t *root, om_tokenizer *t)
{
    const json_t *model = json_object_get(root, "model");
    int rc;

    if (!json_is_object(model))
        return bad(path, "model", "an object");
    if (json_object_get(model, "type") && !is_kind(model, "BPE"))
        return om_fail(OMNI_ERR_MODEL, "%s: model: type: found %.40s, wanted BPE", path,
                       json_string_value(json_object_get(model, "type")) ? json_string_value(json_object_get(model, "type"))
                                                                         : "no string");
    t->tokens = om_calloc((size_t)t->n_tokens, sizeof *t->tokens);
    t->types = om_calloc((size_t)t->n_tokens, sizeof *t->types);
    if (!t->tokens || !t->types)
        return no_memory(path);
    rc = read_pre(path, root, t);
    if (!rc)
        rc = read_vocab(path, model, t);
    if (!rc)
        rc = read_added(path, json_object_get(root, "added_tokens"), t);
    if (!rc)
        rc = fill_unused(path, t);
    if (!rc)
        rc = check_distinct(path, t);
    if (!rc)
        rc = read_merges(path, model, t);
    if (!rc)
        read_post(root, t);
    return rc;
}

/* ---- tokenizer_config.json, chat_template.jinja -------------------------------------- */

/* A token named by its text, or by an object that has it as content. */
static void read_named(const om_tokenizer *t, const json_t *root, const char *key, int *id)
{
    const json_t *v = json_object_get(root, key);
    const char *text = json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);

    if (text)
        *id = om_tokenizer_find(t, text);
}

/* The template: a string, or a list of named ones of which "default" is taken. */
static const char *template_of(const json_t *v)
{
    const json_t *entry;
    size_t i;

    json_array_foreach(v, i, entry) {
        const char *name = json_string_value(json_object_get(entry, "name"));

        if (name && strcmp(name, "default") == 0)
            return json_string_value(json_object_get(entry, "template"));
    }
    return json_string_value(v);
}

static int read_config(const char *path, om_tokenizer *t)
{
    json_t *root = NULL;
    int rc = om_json_load(path, MAX_CONFIG, &root);

    if (rc)
        return rc;
    read_named(t, root, "bos_token", &t->bos);
    read_named(t, root, "eos_token", &t->eos);
    read_named(t, root, "pad_token", &t->pad);
    if (json_is_boolean(json_object_get(root, "add_bos_token"))) {
        t->add_bos_known = true;
        t->add_bos = json_is_true(json_object_get(root, "add_bos_token"));
    }
    const char *template = template_of(json_object_get(root, "chat_template"));
    if (template) {
        t->chat_template = om_strdup(template);
        if (!t->chat_template)
            rc = no_memory(path);
    }
    json_decref(root);
    return rc;
}

static int read_jinja(const char *path, om_tokenizer *t)
{
    char *text = NULL;
    uint64_t size;
    int fd, rc = om_file_open(path, &fd, &size);

    if (rc)
        return rc;
    if (size > MAX_TEMPLATE)
        rc = om_fail(OMNI_ERR_FORMAT, "%s: found %llu bytes, wanted at most %d", path, (unsigned long long)size, MAX_TEMPLATE);
    else if (!(text = om_calloc((size_t)size + 1, 1)))
        rc = no_memory(path);
    else
        rc = om_file_read(fd, path, 0, text, (size_t)size);
    if (!rc && memchr(text, 0, (size_t)size))
        rc = om_fail(OMNI_ERR_FORMAT, "%s: found a zero byte, wanted text", path);
    close(fd);
    if (rc) {
        om_free(text);
        return rc;
    }
    om_free(t->chat_template);
    t->chat_template = text;
    return OMNI_OK;
}

/* ---- the whole ------------------------------------------------------------------------ */

int om_tokenizer_find(const om_tokenizer *t, const char *text)
{
    for (int i = t->n_tokens - 1; i >= 0; i--)      /* what is looked for stands at the end */
        if (t->tokens[i] && strcmp(t->tokens[i], text) == 0)
            return i;
    return -1;
}

void om_tokenizer_free(om_tokenizer *t)
{
    for (int i = 0; t->tokens && i < t->n_tokens; i++)
        om_free(t->tokens[i]);
    for (int i = 0; i < t->n_merges; i++)
        om_free(t->merges[i]);
    om_free(t->tokens);
    om_free(t->types);
    om_free(t->merges);
    om_free(t->chat_template);
    *t = (om_tokenizer){.pre = NULL};
}

int om_tokenizer_read_files(const char *tokenizer, const char *config, const char *jinja, int vocab, om_tokenizer *out)
{
    om_tokenizer t = {.n_tokens = vocab, .bos = -1, .eos = -1, .pad = -1};
    json_t *root = NULL;
    int rc;

    *out = (om_tokenizer){.pre = NULL};
    if (vocab < 1 || vocab > MAX_VOCAB)
        return om_fail(OMNI_ERR_ARG, "a vocabulary of %d tokens, wanted 1 to %d", vocab, MAX_VOCAB);
    rc = om_json_load(tokenizer, MAX_TOKENIZER, &root);
    if (rc)
        return rc;
    rc = read_tokenizer(tokenizer, root, &t);
    json_decref(root);
    if (!rc && config)
        rc = read_config(config, &t);
    if (!rc && jinja)
        rc = read_jinja(jinja, &t);
    if (rc)
        om_tokenizer_free(&t);
    else
        *out = t;
    return rc;
}

int om_tokenizer_read(const char *folder, int vocab, om_tokenizer *out)
{
    char path[3][PATH_MAX];
    static const char *const names[3] = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"};

    for (int i = 0; i < 3; i++)
        if (snprintf(path[i], sizeof path[i], "%s/%s", folder, names[i]) >= (int)sizeof path[i])
            return om_fail(OMNI_ERR_ARG, "%.200s: the path is too long", folder);
    return om_tokenizer_read_files(path[0], access(path[1], F_OK) == 0 ? path[1] : NULL,
                                   access(path[2], F_OK) == 0 ? path[2] : NULL, vocab, out);
}
