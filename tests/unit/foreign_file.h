/* A folder of small files for readers of foreign formats, and what they say about bad ones. */
#ifndef FOREIGN_FILE_H
#define FOREIGN_FILE_H

#include "unit/cmocka_all.h"

#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char foreign_folder[] = "/tmp/omni-foreign-XXXXXX";

static inline const char *foreign_path(const char *name)
{
    static char path[4][300];
    static int turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", foreign_folder, name);
    return path[turn];
}

static inline const char *foreign_put(const char *name, const void *bytes, size_t n)
{
    const char *path = foreign_path(name);
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    return path;
}

static inline const char *foreign_text(const char *name, const char *text)
{
    return foreign_put(name, text, strlen(text));
}

static inline void expect_reason(int rc, int wanted, const char *says)
{
    if (rc != wanted || !strstr(om_last_error(), says))
        fail_msg("%d: \"%s\", wanted %d and \"%s\"", rc, om_last_error(), wanted, says);
    assert_null(strchr(om_last_error(), '\n'));
}

static inline int foreign_begin(void **state)
{
    (void)state;
    return mkdtemp(foreign_folder) ? 0 : -1;
}

static inline int foreign_end(void **state)
{
    char command[100];

    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", foreign_folder);
    return system(command);
}

#endif
