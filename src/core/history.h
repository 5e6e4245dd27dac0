/* history: what a session remembers, changed from outside: turns put in, taken out, cut to what was heard. */
#ifndef OM_HISTORY_H
#define OM_HISTORY_H

#include "omni.h"

/* ERR_LIMIT: a text of n bytes that no context of this size holds, known without the work of tokenising it. */
int om_history_check_text(const omni_session *s, size_t n);

/* Between turns? A turn prepared ahead is none yet: it is forgotten. ERR_ARG (no session), ERR_STATE; what: who asks. */
int om_history_may_change(omni_session *s, const char *what);

/* Positions of the next spoken question, with what opens and tells. */
int  om_history_next_question(const omni_session *s);
/* Do so many positions more, and an answer, fit behind what is remembered? */
bool om_history_fits(const omni_session *s, int more);
/* Between turns, before a spoken question: forgets the oldest turns, all but the last, if it and its answer would not fit. */
void om_history_make_room(omni_session *s);
/* The same once a question stands in the script, and the last turn too when nothing else helps. ERR_LIMIT: the question
 * does not fit alone; nothing is forgotten for it. */
int  om_history_fit(omni_session *s);

#endif
