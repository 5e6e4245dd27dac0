/* omni: the exported functions that belong to no object. */
#include "omni.h"

#include "base/status.h"

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

const char *omni_status_string(int status)
{
    return om_status_string(status);
}

const char *omni_last_error(void)
{
    return om_last_error();
}

const char *omni_version(void)
{
    return TEXT(OMNI_VERSION_MAJOR) "." TEXT(OMNI_VERSION_MINOR) "." TEXT(OMNI_VERSION_PATCH);
}
