/* resample: a whole recording, or a stream, to another rate (libsoxr). resample.c is the only includer of soxr.h. */
#ifndef CLI_RESAMPLE_H
#define CLI_RESAMPLE_H

#include "audio-file.h"

/* Brings audio to rate in place: CLI_OK, or CLI_FAILED after an error line. */
int cli_resample(cli_audio *audio, int rate);

/* The same for a stream, chunk by chunk, with the state between them and about 20 ms of delay at most; mono. */
typedef struct cli_rate cli_rate;
int    cli_rate_open(int from, int to, cli_rate **out);    /* CLI_OK, or CLI_FAILED after an error line */
void   cli_rate_close(cli_rate *rate);                     /* NULL is allowed */
size_t cli_rate_room(const cli_rate *rate, size_t n);      /* most samples that n more give */
/* in may be out only when the rates are the same. Returns the samples written, at most cli_rate_room(n). */
size_t cli_rate_run(cli_rate *rate, const float *in, size_t n, float *out);

#endif
