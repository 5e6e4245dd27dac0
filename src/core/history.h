/* history: what a session remembers, changed from outside: turns put in, taken out, cut to what was heard. */
#ifndef OM_HISTORY_H
#define OM_HISTORY_H

#include "omni.h"

/* Between turns? A turn prepared ahead is none yet: it is forgotten. ERR_ARG (no session), ERR_STATE; what: who asks. */
int om_history_may_change(omni_session *s, const char *what);

#endif
