/*
 * listen: turn taking: from what the ear hears to turns that begin, are prepared ahead, and are interrupted.
 *
 * A turn prepared ahead is in the states ENCODE, PREFILL and READY with session.ahead set: no event told of it, and
 * om_listen_forget undoes it without a trace. When the silence window ends it becomes an ordinary turn.
 */
#ifndef OM_LISTEN_H
#define OM_LISTEN_H

#include "omni.h"

/* Hears what was pushed, a bounded part at a time, in whatever state the session is. OK, AGAIN. */
int  om_listen_hear(omni_session *s);
/* IDLE and LISTEN with turn taking on: begins the turn of a question that is complete. As om_turn_listen. */
int  om_listen_begin(omni_session *s);
/* Throws away what was prepared ahead, if anything. */
void om_listen_forget(omni_session *s);

#endif
