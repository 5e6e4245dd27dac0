/* libsoxr's high quality, linear phase: alias-free, and what sox itself does. */
#include "resample.h"

#include "options.h"
#include "report.h"

#include <soxr.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

int cli_resample(cli_audio *audio, int rate)
{
    if (audio->rate == rate) return CLI_OK;
    const double ratio = (double)rate / audio->rate;
    const size_t room = (size_t)ceil((double)audio->n * ratio) + 16;
    float *out = malloc(room * sizeof *out);
    if (!out) return cli_error("%s: out of memory resampling %zu samples", audio->name, audio->n);
    const soxr_io_spec_t io = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
    const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
    const soxr_runtime_spec_t runtime = soxr_runtime_spec(1);
    size_t used = 0, made = 0;
    const soxr_error_t error = soxr_oneshot(audio->rate, rate, 1, audio->samples, audio->n, &used, out, room,
                                            &made, &io, &quality, &runtime);
    if (error || made == 0) {
        free(out);
        return cli_error("%s: resampling from %d to %d Hz failed: %s", audio->name, audio->rate, rate,
                         error ? soxr_strerror(error) : "too short to give a sample");
    }
    free(audio->samples);
    audio->samples = out;
    audio->n = made;
    audio->rate = rate;
    return CLI_OK;
}

struct cli_rate {
    soxr_t state;       /* NULL: nothing to do */
    double ratio;
};

int cli_rate_open(int from, int to, cli_rate **out)
{
    *out = NULL;
    cli_rate *r = calloc(1, sizeof *r);
    if (!r) return cli_error("out of memory for resampling");
    r->ratio = (double)to / from;
    if (from != to) {
        const soxr_io_spec_t io = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
        /* 16 bits, flat to nine tenths of the band, and small transforms: a third of the usual delay. */
        soxr_quality_spec_t quality = soxr_quality_spec(SOXR_LQ, 0);
        quality.passband_end = 0.9;
        quality.stopband_begin = 1;
        soxr_runtime_spec_t runtime = soxr_runtime_spec(1);
        runtime.log2_min_dft_size = runtime.log2_large_dft_size = 8;
        soxr_error_t error = NULL;
        r->state = soxr_create(from, to, 1, &error, &io, &quality, &runtime);
        if (!r->state || error) {
            const char *why = error ? soxr_strerror(error) : "no memory";
            cli_rate_close(r);
            return cli_error("resampling from %d to %d Hz: %s", from, to, why);
        }
    }
    *out = r;
    return CLI_OK;
}

void cli_rate_close(cli_rate *r)
{
    if (r) soxr_delete(r->state);
    free(r);
}

size_t cli_rate_room(const cli_rate *r, size_t n)
{
    /* soxr works in blocks inside: what waited there may come with these. */
    return r->state ? (size_t)ceil((double)n * r->ratio) + 4096 : n;
}

size_t cli_rate_run(cli_rate *r, const float *in, size_t n, float *out)
{
    if (!r->state) {
        memmove(out, in, n * sizeof *out);
        return n;
    }
    size_t used = 0, made = 0;
    soxr_process(r->state, in, n, &used, out, cli_rate_room(r, n), &made);
    return made;
}
