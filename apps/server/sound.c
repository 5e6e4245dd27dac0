/* sound: see sound.h. */
#include "sound.h"

#include <soxr.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

int srv_format_rate(srv_format format)
{
    return format == SRV_PCM16 ? 24000 : 8000;
}

size_t srv_format_bytes(srv_format format)
{
    return format == SRV_PCM16 ? 2 : 1;
}

double srv_format_ms(srv_format format, size_t bytes)
{
    return (double)(bytes / srv_format_bytes(format)) * 1000.0 / srv_format_rate(format);
}

size_t srv_format_at(srv_format format, double ms)
{
    return (size_t)floor(ms * srv_format_rate(format) / 1000.0) * srv_format_bytes(format);
}

/* ---- G.711 (ITU-T): 8 segments of 16 steps, on 14 and 13 bits ------------------- */

static int ulaw_decode(uint8_t byte)
{
    byte = (uint8_t)~byte;
    const int size = ((((byte & 15) << 3) + 132) << (byte >> 4 & 7)) - 132;
    return byte & 128 ? -size : size;
}

static int alaw_decode(uint8_t byte)
{
    byte ^= 0x55;
    const int segment = byte >> 4 & 7, step = (byte & 15) << 4;
    const int size = segment ? (step + 264) << (segment - 1) : step + 8;
    return byte & 128 ? size : -size;
}

static uint8_t ulaw_encode(int sample)
{
    const int sign = sample < 0 ? 128 : 0;
    int size = abs(sample), segment = 7;
    if (size > 32635) size = 32635;
    size += 132;
    while (segment > 0 && !(size >> (segment + 7))) segment--;
    return (uint8_t)~(sign | segment << 4 | (size >> (segment + 3) & 15));
}

static uint8_t alaw_encode(int sample)
{
    const int sign = sample < 0 ? 0 : 128;
    int size = sample < 0 ? -sample - 1 : sample, segment = 7;
    if (size > 32767) size = 32767;
    while (segment > 0 && !(size >> (segment + 7))) segment--;
    const int step = segment ? size >> (segment + 3) & 15 : size >> 4;
    return (uint8_t)((sign | segment << 4 | step) ^ 0x55);
}

void srv_sound_decode(srv_format format, const uint8_t *bytes, size_t n, float *samples)
{
    for (size_t i = 0; i < n; i++) {
        int v;
        if (format == SRV_PCM16) v = (int16_t)(bytes[2 * i] | bytes[2 * i + 1] << 8);
        else v = format == SRV_ULAW ? ulaw_decode(bytes[i]) : alaw_decode(bytes[i]);
        samples[i] = (float)v / 32768.0f;
    }
}

void srv_sound_encode(srv_format format, const float *samples, size_t n, uint8_t *bytes)
{
    for (size_t i = 0; i < n; i++) {
        float x = samples[i] * 32768.0f;
        x = x > 32767.0f ? 32767.0f : x < -32768.0f ? -32768.0f : x;
        const int v = (int)lrintf(x);
        if (format == SRV_PCM16) {
            bytes[2 * i] = (uint8_t)(v & 255);
            bytes[2 * i + 1] = (uint8_t)(v >> 8 & 255);
        } else {
            bytes[i] = format == SRV_ULAW ? ulaw_encode(v) : alaw_encode(v);
        }
    }
}

/* ---- resampling ------------------------------------------------------------------- */

struct srv_rate {
    soxr_t soxr;            /* NULL: same rate */
    double ratio;
    float *out;
    size_t cap;
};

srv_rate *srv_rate_new(int from, int to)
{
    srv_rate *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->ratio = (double)to / from;
    if (from == to) return r;
    const soxr_io_spec_t io = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
    /* 16 bits, flat to nine tenths of the band, and small transforms: 5 to 17 ms are held back, not up to 38
     * (between 8 and 16 kHz 24, not 118). */
    soxr_quality_spec_t quality = soxr_quality_spec(SOXR_LQ, 0);
    quality.passband_end = 0.9;
    quality.stopband_begin = 1;
    soxr_runtime_spec_t runtime = soxr_runtime_spec(1);
    runtime.log2_min_dft_size = runtime.log2_large_dft_size = 8;
    soxr_error_t error = NULL;
    r->soxr = soxr_create(from, to, 1, &error, &io, &quality, &runtime);
    if (r->soxr && !error) return r;
    srv_rate_free(r);
    return NULL;
}

void srv_rate_free(srv_rate *r)
{
    if (!r) return;
    soxr_delete(r->soxr);
    free(r->out);
    free(r);
}

static bool reserve(srv_rate *r, size_t n)
{
    if (n <= r->cap) return true;
    float *bigger = realloc(r->out, n * sizeof *bigger);
    if (!bigger) return false;
    r->out = bigger;
    r->cap = n;
    return true;
}

bool srv_rate_run(srv_rate *r, const float *in, size_t n, bool finish, const float **out, size_t *n_out)
{
    *n_out = 0;
    if (!reserve(r, (size_t)((double)n * r->ratio) + 8192)) return false;
    *out = r->out;
    if (!r->soxr) {
        if (n) memcpy(r->out, in, n * sizeof *in);
        *n_out = n;
        return true;
    }
    size_t used = 0, made = 0;
    if (n) {
        if (soxr_process(r->soxr, in, n, &used, r->out, r->cap, &made)) return false;
        *n_out = made;
    }
    if (!finish) return true;
    do {
        if (!reserve(r, *n_out + 8192)) return false;
        if (soxr_process(r->soxr, NULL, 0, NULL, r->out + *n_out, r->cap - *n_out, &made)) return false;
        *n_out += made;
    } while (made);
    *out = r->out;
    return soxr_clear(r->soxr) == 0;
}
