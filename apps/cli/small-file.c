/* small-file: see small-file.h. */
#include "small-file.h"

#include "report.h"

#include "../server/limits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_FILE = 1 << 20 };

int cli_small_file(const char *path, char **text)
{
    FILE *f = fopen(path, "rb");
    if (!f) return cli_error("%s: can not be opened: %s", path, strerror(errno));
    char *bytes = malloc(MOST_FILE + 1);
    const size_t n = bytes ? fread(bytes, 1, MOST_FILE + 1, f) : 0;
    const int why = errno;
    int rc = CLI_OK;
    if (!bytes) rc = cli_error("%s: out of memory", path);
    else if (ferror(f)) rc = cli_error("%s: can not be read: %s", path, strerror(why));
    else if (n == 0) rc = cli_error("%s: empty file", path);
    else if (n > MOST_FILE) rc = cli_error("%s: too large: wanted at most %d bytes", path, MOST_FILE);
    fclose(f);
    if (rc != CLI_OK) {
        free(bytes);
        return rc;
    }
    bytes[n] = 0;
    *text = bytes;
    return CLI_OK;
}

static bool is_key(const char *text)
{
    return *text && strlen(text) <= SRV_KEY_BYTES;
}

int cli_api_key(const cli_args *args, const char *command, cli_option_id key, cli_option_id key_file, char **file,
                const char **found)
{
    const char *path = cli_text(args, key_file, NULL);
    *found = cli_text(args, key, NULL);
    if (*found && path) return cli_usage("%s: --api-key and --api-key-file contradict each other", command);
    if (*found && !is_key(*found)) return cli_usage("%s: --api-key: wanted a key of 1 to %d bytes", command, SRV_KEY_BYTES);
    if (!path) return CLI_OK;
    const int rc = cli_small_file(path, file);
    if (rc != CLI_OK) return rc;
    (*file)[strcspn(*file, "\r\n")] = 0;
    *found = *file;
    return is_key(*found) ? CLI_OK : cli_error("%s: its first line is no API key: wanted 1 to %d bytes", path, SRV_KEY_BYTES);
}
