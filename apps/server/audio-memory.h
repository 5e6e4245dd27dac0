/* audio-memory: sound files in memory. */
#ifndef SRV_AUDIO_MEMORY_H
#define SRV_AUDIO_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SRV_FILE_WAV, SRV_FILE_MP3, SRV_FILE_FLAC, SRV_FILE_OPUS };

/* A file of that format, SRV_FILE_WAV or _MP3, mixed to one channel; its bytes are changed (cli_sound_refused). *samples is
 * malloc'ed, of a long file only the beginning: `most` seconds. false: not readable, another format, empty, or above the
 * limits for recordings. One thread. */
bool  srv_audio_read(void *bytes, size_t n, int format, double most, float **samples, size_t *n_samples, int *hz);
/* 24 kHz or another rate the container allows; malloc'ed. NULL: out of memory, or the library can not. */
char *srv_audio_write(int format, const float *samples, size_t n, int hz, size_t *n_bytes);

#endif
