/* status: one line of detail per thread, and the names of the codes. */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>

enum { DETAIL_MAX = 512 };

static _Thread_local char detail[DETAIL_MAX];

/* One line that no terminal obeys, whatever a file put in. */
static char harmless(char c)
{
    if (c == '\n' || c == '\r' || c == '\t')
        return ' ';
    return (unsigned char)c < 0x20 || c == 0x7f ? '?' : c;
}

int om_fail(int code, const char *format, ...)
{
    va_list args;
    /* A copy first: the arguments may point into the previous detail. */
    char text[DETAIL_MAX];

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t i = 0;
    for (; text[i]; i++)
        detail[i] = harmless(text[i]);
    detail[i] = '\0';
    return code;
}

const char *om_last_error(void)
{
    return detail;
}

const char *om_status_string(int status)
{
    switch (status) {
    case OMNI_OK:          return "ok";
    case OMNI_AGAIN:       return "nothing now, try again";
    case OMNI_ERR_ARG:     return "bad argument";
    case OMNI_ERR_STATE:   return "not allowed in this state";
    case OMNI_ERR_MEMORY:  return "out of memory";
    case OMNI_ERR_IO:      return "input or output failed";
    case OMNI_ERR_FORMAT:  return "malformed file";
    case OMNI_ERR_MODEL:   return "not a usable model";
    case OMNI_ERR_LIMIT:   return "limit reached";
    case OMNI_ERR_BACKEND: return "compute backend failed";
    case OMNI_ERR_AUDIO:   return "unusable audio";
    default:               return "unknown status";
    }
}
