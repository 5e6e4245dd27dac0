/*
 * ahead: a turn that is prepared while nobody knows yet whether the person has finished.
 *
 * It is in the states ENCODE to FLUSH with session.ahead set: no event tells of it, and om_ahead_forget undoes it
 * without a trace. When the silence window ends it becomes an ordinary turn, and gives out what it held back.
 */
#ifndef OM_AHEAD_H
#define OM_AHEAD_H

#include "omni.h"

/* Before each step, after om_order_look: do turns that were begun leave room for others (engine.room)? */
void om_ahead_look(omni_engine *e, int64_t now);
/* After it: what it spent from then on. moved: whether there was work. */
void om_ahead_count(omni_engine *e, int64_t since, bool moved);

/* Begins to prepare the turn that session.wants_ahead asks for, if it can be undone and there is room. OK, AGAIN. */
int  om_ahead_prepare(omni_session *s);
/* READY: begins the answer. OK, AGAIN (no room), ERR_MEMORY. */
int  om_ahead_answer(omni_session *s);
/* May it take one more token? What is held back is bounded. */
bool om_ahead_goes_on(const omni_session *s);
/* The silence window has ended, BEGIN was told: it is an ordinary turn from here on. */
void om_ahead_becomes_turn(omni_session *s);
/* Throws away what was prepared, if anything; give_way: to be tried again when there is room. */
void om_ahead_forget(omni_session *s);
void om_ahead_give_way(omni_session *s);

#endif
