/* json-line: events, stats and model facts, one JSON object per line; its C file alone writes with jansson. */
#ifndef CLI_JSON_LINE_H
#define CLI_JSON_LINE_H

#include "bench.h"
#include "load-report.h"

#include <omni.h>

#include <stdio.h>

/* Each writes one line to file: CLI_OK, or CLI_FAILED after an error line (out of memory);
 * write errors show when the file is flushed. */
int cli_json_event(FILE *file, const omni_event *event, const char *input, const omni_stats *stats,
                   int rate_out);
int cli_json_info(FILE *file, const omni_model_info *info);
int cli_json_tensor(FILE *file, const omni_tensor_info *tensor, const char *sha256);
int cli_json_metadata(FILE *file, const char *which, const char *key, const char *value);
int cli_json_bench(FILE *file, const cli_bench_report *report);
int cli_json_load(FILE *file, const load_report *report);

#endif
