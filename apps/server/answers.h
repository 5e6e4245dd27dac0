/* answers: what chat completions said, for a while, by the id of their audio: later requests name it instead of the text. */
#ifndef SRV_ANSWERS_H
#define SRV_ANSWERS_H

#include <stddef.h>

typedef struct srv_answers srv_answers;

srv_answers *srv_answers_new(void);                 /* NULL: no memory */
void srv_answers_free(srv_answers *a);              /* NULL is allowed */
/* text of n bytes is copied. The oldest makes room. */
void srv_answers_keep(srv_answers *a, const char *id, const char *text, size_t n, long long expires);
/* Borrowed until the next keep; NULL: unknown, or expired. a may be NULL. */
const char *srv_answers_find(const srv_answers *a, const char *id, long long now);

#endif
