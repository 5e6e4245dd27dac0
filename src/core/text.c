/* text: see text.h. A tokenizer on bytes may split a character over tokens. */
#include "core/text.h"

#include "base/memory.h"
#include "base/status.h"

#include <string.h>

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Length of the character that byte c starts; 0: no character starts so. */
static int length_of(unsigned char c)
{
    return c < 0x80 ? 1 : c < 0xC2 ? 0 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : c < 0xF5 ? 4 : 0;
}

/* May byte c stand at place i of a character that starts with first? Keeps out overlong forms,
 * surrogates and what lies beyond U+10FFFF. */
static bool may_follow(unsigned char first, int i, unsigned char c)
{
    unsigned char lo = 0x80, hi = 0xBF;

    if (i == 1) {
        if (first == 0xE0)
            lo = 0xA0;
        else if (first == 0xED)
            hi = 0x9F;
        else if (first == 0xF0)
            lo = 0x90;
        else if (first == 0xF4)
            hi = 0x8F;
    }
    return c >= lo && c <= hi;
}

bool om_utf8_valid(const char *text, size_t n)
{
    const unsigned char *b = (const unsigned char *)text;

    for (size_t i = 0; i < n;) {
        int len = length_of(b[i]);

        if (len == 0 || (size_t)len > n - i)
            return false;
        for (int k = 1; k < len; k++)
            if (!may_follow(b[i], k, b[i + (size_t)k]))
                return false;
        i += (size_t)len;
    }
    return true;
}

const char *om_text_strip(const char *text, size_t *n)
{
    while (*n && is_space(text[0])) {
        text++;
        --*n;
    }
    while (*n && is_space(text[*n - 1]))
        --*n;
    return text;
}

void om_text_free(om_text *t)
{
    om_free(t->bytes);
    *t = (om_text){0};
}

void om_text_reset(om_text *t)
{
    t->n = 0;
    t->n_part = 0;
    t->started = false;
}

static int append(om_text *t, const void *bytes, size_t n)
{
    if (n > t->cap - t->n) {
        size_t cap = (t->n + n) * 2 + 64;
        char *bigger = om_realloc(t->bytes, cap, 1);

        if (!bigger)
            return om_fail(OMNI_ERR_MEMORY, "no memory for %zu bytes of text", cap);
        t->bytes = bigger;
        t->cap = cap;
    }
    memcpy(t->bytes + t->n, bytes, n);
    t->n += n;
    return OMNI_OK;
}

static int give_up_part(om_text *t)
{
    t->n_part = 0;
    return append(t, "\xEF\xBF\xBD", 3);
}

static int push_byte(om_text *t, unsigned char c)
{
    int rc = OMNI_OK;

    if (t->n_part && !may_follow(t->part[0], t->n_part, c))
        rc = give_up_part(t);
    if (rc)
        return rc;
    t->part[t->n_part++] = c;
    if (length_of(t->part[0]) == 0)
        return give_up_part(t);
    if (t->n_part < length_of(t->part[0]))
        return OMNI_OK;
    rc = append(t, t->part, (size_t)t->n_part);
    t->n_part = 0;
    return rc;
}

int om_text_push(om_text *t, const char *bytes, size_t n)
{
    int rc = OMNI_OK;

    for (size_t i = 0; i < n && !rc; i++)
        rc = push_byte(t, (unsigned char)bytes[i]);
    return rc;
}

int om_text_finish(om_text *t)
{
    return t->n_part ? give_up_part(t) : OMNI_OK;
}

size_t om_text_ready(om_text *t)
{
    size_t n, lead = 0;

    while (!t->started && lead < t->n && is_space(t->bytes[lead]))
        lead++;
    om_text_take(t, lead);
    for (n = t->n; n && is_space(t->bytes[n - 1]);)
        n--;
    t->started |= n > 0;
    return n;
}

void om_text_take(om_text *t, size_t n)
{
    if (!n)
        return;
    memmove(t->bytes, t->bytes + n, t->n - n);
    t->n -= n;
}
