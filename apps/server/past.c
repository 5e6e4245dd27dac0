/* past: see past.h. */
#include "past.h"

#include "limits.h"

#include <stdlib.h>
#include <string.h>

enum {
    MOST_QUESTION = 5 * SRV_TEXT_BYTES,     /* the library refuses 1 MiB */
    EXCHANGE_BYTES = 256                    /* what an exchange counts besides its text: the engine does all of them at once */
};

bool srv_past_ask(srv_past *p, const char *text)
{
    const size_t n = p->n_question, m = strlen(text), gap = n && m ? 1 : 0;
    if (n + m > MOST_QUESTION) return true;
    if (n + gap + m + 1 > p->cap_question || !p->question) {    /* doubled: a body may hold a million words of one letter */
        const size_t cap = 2 * (n + gap + m + 1);
        char *both = realloc(p->question, cap);
        if (!both) return false;
        p->question = both;
        p->cap_question = cap;
    }
    if (gap) p->question[n] = ' ';
    memcpy(p->question + n + gap, text, m + 1);
    p->n_question = n + gap + m;
    return true;
}

bool srv_past_answer(srv_past *p, const char *text)
{
    if (p->n == p->cap) {
        const size_t cap = p->cap ? 2 * p->cap : 8;
        srv_exchange *bigger = realloc(p->turns, cap * sizeof *bigger);
        if (!bigger) return false;
        p->turns = bigger;
        p->cap = cap;
    }
    srv_exchange turn = {p->question ? p->question : strdup(""), strdup(text)};
    p->question = NULL;
    p->n_question = p->cap_question = 0;
    p->turns[p->n++] = turn;
    return turn.question && turn.answer;
}

bool srv_past_tell(const srv_past *p, srv_seat *seat)
{
    size_t first = p->n, bytes = 0;
    while (first > 0) {
        bytes += EXCHANGE_BYTES + strlen(p->turns[first - 1].question) + strlen(p->turns[first - 1].answer);
        if (bytes > SRV_TEXT_BYTES) break;
        first--;
    }
    for (size_t i = first; i < p->n; i++)
        if (!srv_seat_add(seat, p->turns[i].question, p->turns[i].answer, 0)) return false;
    return true;
}

void srv_past_free(srv_past *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free(p->turns[i].question);
        free(p->turns[i].answer);
    }
    free(p->turns);
    free(p->question);
    *p = (srv_past){.n = 0};
}
