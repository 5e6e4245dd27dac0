/* past: exchanges that a client tells of, before its question: what was asked, what was answered. */
#ifndef SRV_PAST_H
#define SRV_PAST_H

#include "worker.h"

typedef struct srv_exchange { char *question, *answer; size_t n_bytes; } srv_exchange;

typedef struct srv_past {
    srv_exchange *turns;            /* oldest first */
    size_t first, n, cap;           /* turns[first .. n) are kept */
    size_t n_bytes;                 /* what they count */
    char *question;                 /* asked since the last answer, malloc'ed; NULL: nothing */
    size_t n_question, cap_question;    /* its bytes, and room */
} srv_past;

/* In the order of the conversation. Several questions become one (of more than the library takes the rest is dropped); an
 * answer may come without one. The oldest exchanges make room: SRV_TEXT_BYTES in all, more than most contexts hold.
 * false: no memory. */
bool srv_past_ask(srv_past *p, const char *text);
bool srv_past_answer(srv_past *p, const char *text);
/* The last answer goes on, when nothing was asked since: another call of a tool. */
bool srv_past_answer_more(srv_past *p, const char *text);
/* Into the history of a seat. false: no memory. */
bool srv_past_tell(const srv_past *p, srv_seat *seat);
void srv_past_free(srv_past *p);    /* {0} is allowed, and left behind */

#endif
