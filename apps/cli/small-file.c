/* small-file: see small-file.h. */
#include "small-file.h"

#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_FILE = 1 << 20 };

int cli_small_file(const char *path, char **text)
{
    FILE *f = fopen(path, "rb");
    char *bytes = f ? malloc(MOST_FILE + 1) : NULL;
    const size_t n = bytes ? fread(bytes, 1, MOST_FILE + 1, f) : 0;
    const bool ok = bytes && !ferror(f) && n > 0 && n <= MOST_FILE;
    if (f) fclose(f);
    if (!ok) {
        free(bytes);
        return cli_error("%s: can not be read, is empty or larger than 1 MiB", path);
    }
    bytes[n] = 0;
    *text = bytes;
    return CLI_OK;
}

int cli_api_key(const cli_args *args, const char *command, cli_option_id key, cli_option_id key_file, char **file,
                const char **found)
{
    const char *path = cli_text(args, key_file, NULL);
    *found = cli_text(args, key, NULL);
    if (!path) return CLI_OK;
    if (*found) return cli_usage("%s: --api-key and --api-key-file contradict each other", command);
    const int rc = cli_small_file(path, file);
    if (rc != CLI_OK) return rc;
    (*file)[strcspn(*file, "\r\n")] = 0;
    *found = *file;
    return **found ? CLI_OK : cli_error("%s: its first line is empty; wanted the API key", path);
}
