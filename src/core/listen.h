/*
 * listen: turn taking: from what the ear hears to turns that begin, are prepared ahead (see ahead.h), and are
 * interrupted.
 */
#ifndef OM_LISTEN_H
#define OM_LISTEN_H

#include "omni.h"

/* Hears what was pushed, a bounded part at a time, in whatever state the session is. OK, AGAIN. */
int  om_listen_hear(omni_session *s);
/* IDLE and LISTEN with turn taking on: begins the turn of a question that is complete. As om_turn_listen. */
int  om_listen_begin(omni_session *s);
/* The question so far into mel. */
int  om_listen_read_question(omni_session *s);

#endif
