/*
 * sound: bytes as clients send and take them, to and from the float samples of the model.
 *
 * pcm16 is 24 kHz, signed, little endian, mono; the G.711 laws are 8 kHz, a byte a sample. soxr.h's
 * only includer in this room.
 */
#ifndef SRV_SOUND_H
#define SRV_SOUND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum srv_format { SRV_PCM16, SRV_ULAW, SRV_ALAW } srv_format;

int    srv_format_rate(srv_format format);                  /* Hz */
size_t srv_format_bytes(srv_format format);                 /* per sample */
/* Bytes to milliseconds, and back (whole samples). */
double srv_format_ms(srv_format format, size_t bytes);
size_t srv_format_at(srv_format format, double ms);

/* n whole samples. */
void srv_sound_decode(srv_format format, const uint8_t *bytes, size_t n, float *samples);
void srv_sound_encode(srv_format format, const float *samples, size_t n, uint8_t *bytes);

/* A streaming resampler; state and exactness are soxr's, high quality. */
typedef struct srv_rate srv_rate;
srv_rate *srv_rate_new(int from, int to);                   /* NULL: out of memory */
void      srv_rate_free(srv_rate *rate);                    /* NULL is allowed */
/* n samples in (0 with finish: what is still inside); *out is the resampler's, valid until the next call.
 * false: out of memory. After finish it begins anew. */
bool      srv_rate_run(srv_rate *rate, const float *in, size_t n, bool finish, const float **out, size_t *n_out);

#endif
