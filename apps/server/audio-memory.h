/* audio-memory: sound files in memory. */
#ifndef SRV_AUDIO_MEMORY_H
#define SRV_AUDIO_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SRV_FILE_WAV, SRV_FILE_MP3, SRV_FILE_FLAC, SRV_FILE_OPUS };

/* A file in one of the formats of sound-bytes.h, mixed to one channel; its bytes are changed (cli_sound_refused). *samples is
 * malloc'ed. false: not readable, empty or too long. One thread. */
bool  srv_audio_read(void *bytes, size_t n, float **samples, size_t *n_samples, int *hz);
/* 24 kHz or another rate the container allows; malloc'ed. NULL: out of memory, or the library can not. */
char *srv_audio_write(int format, const float *samples, size_t n, int hz, size_t *n_bytes);

#endif
