/* log: the first error line that ggml printed in this thread since we asked. */
#include "base/log.h"

#include "ggml.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char first_error[256];
static pthread_once_t installed = PTHREAD_ONCE_INIT;

static void keep(enum ggml_log_level level, const char *text, void *user)
{
    (void)user;
    if (level != GGML_LOG_LEVEL_ERROR || first_error[0])
        return;
    snprintf(first_error, sizeof first_error, "%s", text);
    first_error[strcspn(first_error, "\r\n")] = '\0';
}

static void install(void)
{
    ggml_log_set(keep, NULL);
}

void om_log_capture(void)
{
    pthread_once(&installed, install);      /* a second thread waits until it is there */
    first_error[0] = '\0';
}

const char *om_log_error(void)
{
    return first_error;
}
