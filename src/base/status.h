/* Status codes with one line of detail per thread. See omni.h for the codes. */
#ifndef OM_STATUS_H
#define OM_STATUS_H

#include "omni.h"

/* Records the detail text for this thread and returns code, so that a failing
 * function can end with `return om_fail(OMNI_ERR_IO, "%s: ...", path)`. Texts
 * say what, where, found, wanted, and how to mend it, on one line. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
int om_fail(int code, const char *format, ...);

const char *om_last_error(void);

/* A short English name of a code; static. */
const char *om_status_string(int status);

#endif
