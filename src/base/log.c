/* log: the first error line that ggml printed in this thread since we asked. */
#include "base/log.h"

#include "ggml.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char first_error[256];
static atomic_flag installed = ATOMIC_FLAG_INIT;

static void keep(enum ggml_log_level level, const char *text, void *user)
{
    (void)user;
    if (level != GGML_LOG_LEVEL_ERROR || first_error[0])
        return;
    snprintf(first_error, sizeof first_error, "%s", text);
    first_error[strcspn(first_error, "\r\n")] = '\0';
}

void om_log_capture(void)
{
    if (!atomic_flag_test_and_set(&installed))
        ggml_log_set(keep, NULL);
    first_error[0] = '\0';
}

const char *om_log_error(void)
{
    return first_error;
}
