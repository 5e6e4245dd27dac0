/* resample: a whole recording to another rate (libsoxr). resample.c is the only includer of soxr.h. */
#ifndef CLI_RESAMPLE_H
#define CLI_RESAMPLE_H

#include "audio-file.h"

/* Brings audio to rate in place: CLI_OK, or CLI_FAILED after an error line. */
int cli_resample(cli_audio *audio, int rate);

#endif
