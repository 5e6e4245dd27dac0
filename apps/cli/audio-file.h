/* audio-file: recordings in (wav, flac, ogg, mp3), WAV out. audio-file.c is the only includer of sndfile.h. */
#ifndef CLI_AUDIO_FILE_H
#define CLI_AUDIO_FILE_H

#include "output-file.h"

#include <stddef.h>
#include <stdint.h>

typedef struct cli_audio {
    const char *name;       /* for messages; borrowed from who asked to read it */
    int    rate;            /* Hz */
    float *samples;         /* [n] mono */
    size_t n;
    double seconds;         /* length of the recording; more than n / rate when not all was read */
    double missing;         /* seconds that it says it has and has not: it was cut, or damaged */
} cli_audio;

/* Reads a recording ("-": standard input), mixed down to mono: CLI_OK, or CLI_FAILED after an error line: not
 * there, not audio, empty, NaN or infinity, rate or channels out of range. At most 5 minutes are read. */
int  cli_audio_read(const char *path, cli_audio *audio);
void cli_audio_tell(const cli_audio *audio);    /* a note when something is missing */
void cli_audio_free(cli_audio *audio);

/* 16-bit mono WAV into an output that stays the caller's to commit. In a pipe its header can not be completed: the lengths
 * there are the largest, as other programs that stream have it. */
typedef struct cli_wav cli_wav;
int  cli_wav_open(cli_output *out, int rate, cli_wav **wav);       /* CLI_FAILED after an error line */
int  cli_wav_write(cli_wav *wav, const float *samples, size_t n);  /* the output keeps the error */
void cli_wav_close(cli_wav *wav);                                  /* completes the header; NULL is allowed */

/* The same samples without a header, 16-bit little-endian. Both clip to [-1, 1] and round to the nearest. */
int cli_raw_write(cli_output *out, const float *samples, size_t n);

#endif
