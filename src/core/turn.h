/*
 * turn: one question and its answer, as a state machine. Each function below serves one
 * state and does one bounded slice: OK, it advanced; AGAIN, it waits (for input, for the encoder, for
 * room in the event queue); negative, the turn failed.
 *
 *   IDLE, LISTEN --> ENCODE --> PREFILL --> ANSWER --> FLUSH --> DONE --> IDLE
 *                                     \-> READY -/   (prepared ahead: see ahead.h)
 *        (typed questions skip ENCODE; text-only answers skip FLUSH; cancelling and failing go to DONE;
 *         prefill.h serves PREFILL, answer.c what several sessions share)
 */
#ifndef OM_TURN_H
#define OM_TURN_H

#include "core/prompt.h"
#include "omni.h"

int om_turn_listen(omni_session *s);    /* IDLE, LISTEN */
int om_turn_encode(omni_session *s);    /* ENCODE */
int om_turn_flush(omni_session *s);     /* FLUSH */
int om_turn_done(omni_session *s);      /* DONE */
/* ANSWER: one token for every session that can take one, in one batch. A negative return is the
 * engine's; what concerns one session has ended that session's turn. */
int om_turn_answer(omni_engine *e);
/* The vocoder, for every session that speaks, until it has nothing more to do. */
int om_turn_speak(omni_engine *e);

/* How far input may be taken now, on its clock: to the end of the spoken question that waits, else all that is there,
 * so that nothing pushed after a question is taken for it. *question: the one that waits, OM_ASK_. */
uint64_t om_turn_input_end(const omni_session *s, int *question);

bool om_turn_is_cancelled(const omni_session *s);
/* Has this answer speech? */
bool om_turn_speaks_up(const omni_session *s);
/* The preamble, if the question to be asked has to tell it: the script has it no more, or never had. NULL: no. */
const om_piece *om_turn_untold(const omni_session *s);
/* Text, voice and speech stages as before an answer. */
void om_turn_clear_answer(omni_session *s);
/* The spoken question lies in mel: tells of it. asked: by end_input. The events have room. */
void om_turn_begin_heard(omni_session *s, bool asked);
/* Ends the turn: type and reason or status. A failed turn, and one cancelled before anything was
 * said, leave no trace in the conversation. */
void om_turn_end(omni_session *s, omni_event_type type, int reason_or_status);
/* What to do with a status that is not OK: nothing for AGAIN and when the turn is being cancelled. */
void om_turn_trouble(omni_session *s, int rc);

int  om_turn_post(omni_session *s, omni_event *event);  /* fills in turn and time */
int  om_turn_post_text(omni_session *s);                /* what text is ready. AGAIN: the queue is full */

/* Who profits from the computation that follows; NULL, 0: no one in particular. */
void om_turn_serve(omni_engine *e, omni_session *const *sessions, int n);
bool om_turn_abandoned(void *engine);                   /* abort callback: all whom it serves cancelled */

int64_t om_now_us(void);

#endif
