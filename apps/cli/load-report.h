/* load-report: what `omni bench --serve` measured, for the table, JSON and the drawing. */
#ifndef LOAD_REPORT_H
#define LOAD_REPORT_H

#include "load-tally.h"
#include "output-file.h"

typedef struct load_report {
    const char *url;
    int sessions, silence_ms, n_questions, interrupted_early;   /* interrupted_early: by a signal */
    double think_seconds, buffer_seconds, barge_in, seconds;
    double shortest, longest;       /* questions, seconds */
    double cpu_seconds;             /* of the generator itself */
    load_quantiles first, own, reaction;
    const load_tally *tally;
} load_report;

/* On standard output. */
void load_print_table(const load_report *report);
/* Into an output that was opened before; commits it. CLI_OK, or CLI_FAILED after an error line. */
int  load_write_svg(const load_report *report, cli_output *out);

#endif
