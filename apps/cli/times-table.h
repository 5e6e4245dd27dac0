/* times-table: seconds as people read them, and the table after each answer. */
#ifndef CLI_TIMES_TABLE_H
#define CLI_TIMES_TABLE_H

#include <omni.h>

#include <stddef.h>
#include <stdio.h>

/* "12.3 ms" or "4.56 s" into text. */
const char *cli_duration(double seconds, char *text, size_t size);

void cli_times_table(FILE *file, const omni_stats *stats, const omni_model_info *info,
                     omni_end_reason reason);

#endif
