#include "licence.h"

#include "paths.h"

#include "base/memory.h"
#include "base/status.h"

#include <stdio.h>
#include <string.h>

enum { LIST_MAX = 16384 };

static int read_list(char **path, char text[LIST_MAX])
{
    char *config = om_config_home();
    *path = config ? om_path("%s/llama-omni/accepted-licences", config) : NULL;
    om_free(config);
    if (!*path) return OMNI_ERR_IO;
    text[0] = '\0';
    const int rc = om_read_whole(*path, text, LIST_MAX);
    return rc == OMNI_AGAIN ? OMNI_OK : rc;
}

static bool lists(const char *text, const char *licence)
{
    const size_t n = strlen(licence);
    for (const char *line = text; *line;) {
        const size_t m = strcspn(line, "\r\n");
        if (m == n && memcmp(line, licence, n) == 0) return true;
        line += m;
        line += strspn(line, "\r\n");
    }
    return false;
}

int om_licence_accepted(const char *licence, bool *accepted)
{
    char text[LIST_MAX], *path;
    const int rc = read_list(&path, text);
    if (rc == OMNI_OK) *accepted = lists(text, licence);
    om_free(path);
    return rc;
}

int om_licence_accept(const char *licence)
{
    char text[LIST_MAX], more[LIST_MAX + 128], *path;
    int rc = read_list(&path, text);
    if (rc == OMNI_OK && !lists(text, licence)) {
        const size_t n = strlen(text);
        const int all = snprintf(more, sizeof more, "%s%s%.100s\n", text, n && text[n - 1] != '\n' ? "\n" : "", licence);
        rc = om_write_whole(path, more, (size_t)all);
    }
    om_free(path);
    return rc;
}
