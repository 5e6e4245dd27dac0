/*
 * output-file: a file that appears under its name only when it is complete.
 *
 * Bytes go to a temporary file in the same folder; commit renames it. Devices and pipes
 * (/dev/null, a FIFO) are written directly. The first failure is kept and told by commit.
 */
#ifndef CLI_OUTPUT_FILE_H
#define CLI_OUTPUT_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cli_output {
    char *path;        /* as given, for messages; "-": standard output */
    char *target;      /* path with links followed; NULL: no rename, write directly */
    char *temp;
    int   fd;
    int   slot;        /* of the interrupt handler's list */
    int   error;       /* errno of the first failed write */
} cli_output;

/* Each returns CLI_OK, or CLI_FAILED after an error line; open leaves *out closed then. */
int  cli_output_open(cli_output *out, const char *path);
int  cli_output_write(cli_output *out, const void *bytes, size_t n);   /* no error line: commit tells it */
int64_t cli_output_seek(cli_output *out, int64_t offset, int whence);
int  cli_output_commit(cli_output *out);    /* CLI_PIPE when the reader of standard output has gone */
/* Removes what was written, unless committed. {0} and closed ones are allowed. */
void cli_output_discard(cli_output *out);

#endif
