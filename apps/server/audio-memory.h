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

/* A file that grows with its sound, one channel of 24 kHz or another rate the container allows. Opus takes 17 ms for a second
 * of sound, and all clients would wait while a long answer is encoded at once. */
typedef struct srv_audio_writer srv_audio_writer;
/* SRV_FILE_*; NULL: out of memory, or the library can not. */
srv_audio_writer *srv_audio_begin(int format, int hz);
/* false: likewise, and of no more use. */
bool  srv_audio_put(srv_audio_writer *writer, const float *samples, size_t n);
/* The file, malloc'ed, and the writer freed; NULL: likewise. Without any sound mp3 and FLAC files have no bytes. */
char *srv_audio_end(srv_audio_writer *writer, size_t *n_bytes);
void  srv_audio_drop(srv_audio_writer *writer);             /* NULL is allowed */

#endif
