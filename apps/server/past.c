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

/* One more place at the end; those of dropped exchanges are used again. */
static bool make_room(srv_past *p)
{
    if (p->n < p->cap) return true;
    if (p->first > p->n / 2) {
        memmove(p->turns, p->turns + p->first, (p->n - p->first) * sizeof *p->turns);
        p->n -= p->first;
        p->first = 0;
        return true;
    }
    const size_t cap = p->cap ? 2 * p->cap : 8;
    srv_exchange *bigger = realloc(p->turns, cap * sizeof *bigger);
    if (!bigger) return false;
    p->turns = bigger;
    p->cap = cap;
    return true;
}

static void drop(srv_exchange *turn)
{
    free(turn->question);
    free(turn->answer);
}

static void drop_oldest(srv_past *p)
{
    for (; p->n_bytes > SRV_TEXT_BYTES; p->first++) {
        p->n_bytes -= p->turns[p->first].n_bytes;
        drop(&p->turns[p->first]);
    }
}

bool srv_past_answer(srv_past *p, const char *text)
{
    if (!make_room(p)) return false;
    srv_exchange turn = {p->question ? p->question : strdup(""), strdup(text), EXCHANGE_BYTES + p->n_question + strlen(text)};
    p->question = NULL;
    p->n_question = p->cap_question = 0;
    if (!turn.question || !turn.answer) return drop(&turn), false;
    p->turns[p->n++] = turn;
    p->n_bytes += turn.n_bytes;
    drop_oldest(p);
    return true;
}

bool srv_past_answer_more(srv_past *p, const char *text)
{
    if (p->question || p->n == p->first) return srv_past_answer(p, text);
    srv_exchange *last = &p->turns[p->n - 1];
    const size_t n = strlen(last->answer), m = strlen(text);
    char *both = realloc(last->answer, n + m + sizeof "; ");
    if (!both) return false;
    memcpy(both + n, "; ", 2);
    memcpy(both + n + 2, text, m + 1);
    last->answer = both;
    last->n_bytes += m + 2;
    p->n_bytes += m + 2;
    drop_oldest(p);
    return true;
}

bool srv_past_tell(const srv_past *p, srv_seat *seat)
{
    for (size_t i = p->first; i < p->n; i++)
        if (!srv_seat_add(seat, p->turns[i].question, p->turns[i].answer, 0)) return false;
    return true;
}

void srv_past_free(srv_past *p)
{
    for (size_t i = p->first; i < p->n; i++) drop(&p->turns[i]);
    free(p->turns);
    free(p->question);
    *p = (srv_past){.n = 0};
}
