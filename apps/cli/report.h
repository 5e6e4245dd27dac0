/* report: error lines, notes and the progress bar on standard error; standard output that is checked. */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#if defined(__GNUC__)
#define CLI_PRINTF(a, b) __attribute__((format(printf, a, b)))
#else
#define CLI_PRINTF(a, b)
#endif

/* One line "omni: ..." on standard error: what, where, found, wanted, how to mend it. Control
 * characters in names become '?', so that it stays one line. Return CLI_FAILED and CLI_USAGE. */
int cli_error(const char *format, ...) CLI_PRINTF(1, 2);
int cli_usage(const char *format, ...) CLI_PRINTF(1, 2);
/* One line "omni: note: ..."; not an error. */
void cli_note(const char *format, ...) CLI_PRINTF(1, 2);
/* The library's last error as an error line. */
int cli_library_error(void);

/* As printf, for texts out of foreign files: control characters but a newline at the end become '?', so that they
 * neither steer the terminal nor look like lines of their own. */
void cli_print(const char *format, ...) CLI_PRINTF(1, 2);

/* Flushes standard output: CLI_OK, CLI_PIPE when its reader has gone (silent), or CLI_FAILED after
 * an error line (disk full). */
int cli_stdout_flush(void);

/* Is fd a terminal whose lines can be written anew? Not with TERM=dumb, or without TERM. */
bool cli_live(int fd);
/* A bar "label [####    ] 42 %" on standard error, only when that is such a terminal. done >= 1 ends it. */
void cli_progress(const char *label, double done);
/* "label ..." there, for work whose length is unknown. */
void cli_busy(const char *label);
/* Takes either away. */
void cli_progress_end(void);

#endif
