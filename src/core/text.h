/* text: token bytes to text events: whole UTF-8 characters, no white space at either end of an answer. */
#ifndef OM_TEXT_H
#define OM_TEXT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct om_text {
    char *bytes;            /* [n] valid UTF-8 that was not given out yet */
    size_t n, cap;
    unsigned char part[4];  /* [n_part] the start of a character whose rest is to come */
    int n_part;
    bool started;           /* something but white space was given out */
} om_text;

bool   om_utf8_valid(const char *text, size_t n);
/* text without white space at its ends: its start, *n shortened. */
const char *om_text_strip(const char *text, size_t *n);

void   om_text_free(om_text *t);                              /* {0} is allowed */
void   om_text_reset(om_text *t);
/* What is not UTF-8 becomes U+FFFD. ERR_MEMORY. */
int    om_text_push(om_text *t, const char *bytes, size_t n);
int    om_text_finish(om_text *t);                            /* the answer ended. ERR_MEMORY */
/* Bytes at t->bytes that can be shown now; white space waits for what follows it. */
size_t om_text_ready(om_text *t);
void   om_text_take(om_text *t, size_t n);

#endif
