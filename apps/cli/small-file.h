/* small-file: files that are read whole, and keys in them. */
#ifndef CLI_SMALL_FILE_H
#define CLI_SMALL_FILE_H

#include "options.h"

/* A text file of 1 byte to 1 MiB, NUL-terminated, in *text (free() it): CLI_OK, or CLI_FAILED after an error line. */
int cli_small_file(const char *path, char **text);

/* The API key that the option key or the file's first line gives; NULL: neither is given. file (free() it) holds it if
 * it came from a file. command is for the message. CLI_OK, or CLI_USAGE or CLI_FAILED after an error line. */
int cli_api_key(const cli_args *args, const char *command, cli_option_id key, cli_option_id key_file, char **file,
                const char **found);

#endif
