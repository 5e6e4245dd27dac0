/* answers: see answers.h. */
#include "answers.h"

#include "limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct srv_answers {
    struct { char id[40]; char *text; long long expires; } at[SRV_ANSWERS];
    size_t n;                       /* ever kept */
};

srv_answers *srv_answers_new(void)
{
    return calloc(1, sizeof(srv_answers));
}

void srv_answers_free(srv_answers *a)
{
    for (size_t i = 0; a && i < SRV_ANSWERS; i++) free(a->at[i].text);
    free(a);
}

void srv_answers_keep(srv_answers *a, const char *id, const char *text, size_t n, long long expires)
{
    const size_t i = a->n++ % SRV_ANSWERS;
    free(a->at[i].text);
    a->at[i].text = n ? strndup(text, n) : NULL;
    a->at[i].expires = expires;
    snprintf(a->at[i].id, sizeof a->at[i].id, "%s", id);
}

const char *srv_answers_find(const srv_answers *a, const char *id, long long now)
{
    for (size_t i = 0; a && i < SRV_ANSWERS; i++)
        if (a->at[i].text && a->at[i].expires > now && strcmp(a->at[i].id, id) == 0) return a->at[i].text;
    return NULL;
}
