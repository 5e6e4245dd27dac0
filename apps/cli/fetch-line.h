/* fetch-line: one line about a download on standard error, only when that is a terminal. */
#ifndef CLI_FETCH_LINE_H
#define CLI_FETCH_LINE_H

#include "../../lab/pull/pull.h"

typedef struct cli_fetch_line {
    double   since, shown;      /* seconds: when the measure of the rate began, when the line was last written */
    uint64_t base;              /* bytes that were there then */
    bool     begun;
} cli_fetch_line;

/* "model-00001... [####    ] 42 %  2.1 of 5.0 GB  31.4 MB/s  1:32 left" */
void cli_fetch_line_show(cli_fetch_line *line, const om_pull_state *state);
/* Makes room for another line where this one stands; it comes again. From any thread. */
void cli_fetch_line_clear(void);
void cli_fetch_line_end(cli_fetch_line *line);

#endif
