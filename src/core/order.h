/*
 * order: whose work comes first when a step can not do everything at once.
 *
 * Who waits for the first sound hears nothing; whose answer has begun hears what was made before. So an answer that is
 * about to run dry comes first of all, then what stands before a first sound, then the rest. Only the order changes: an
 * answer is the same however it was interleaved.
 */
#ifndef OM_ORDER_H
#define OM_ORDER_H

#include "omni.h"

/* Before each step: sets engine.looked_at, hurries, one_waits. */
void om_order_look(omni_engine *e, int64_t now);

/* Is it a turn, begun and not over? One that is prepared ahead is none yet. */
bool om_order_is_begun(const omni_session *s);
/* ANSWER: so much of its sound is still to be played that others come before it. */
bool om_order_rests(const omni_session *s);

#endif
