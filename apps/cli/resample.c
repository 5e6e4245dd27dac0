/* libsoxr's high quality, linear phase: alias-free, and what sox itself does. */
#include "resample.h"

#include "options.h"
#include "report.h"

#include <soxr.h>

#include <math.h>
#include <stdlib.h>

int cli_resample(cli_audio *audio, int rate)
{
    if (audio->rate == rate) return CLI_OK;
    const double ratio = (double)rate / audio->rate;
    const size_t room = (size_t)ceil((double)audio->n * ratio) + 16;
    float *out = malloc(room * sizeof *out);
    if (!out) return cli_error("out of memory resampling %zu samples", audio->n);
    const soxr_io_spec_t io = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
    const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
    const soxr_runtime_spec_t runtime = soxr_runtime_spec(1);
    size_t used = 0, made = 0;
    const soxr_error_t error = soxr_oneshot(audio->rate, rate, 1, audio->samples, audio->n, &used, out, room,
                                            &made, &io, &quality, &runtime);
    if (error || made == 0) {
        free(out);
        return cli_error("resampling from %d to %d Hz failed: %s", audio->rate, rate,
                         error ? soxr_strerror(error) : "too short to give a sample");
    }
    free(audio->samples);
    audio->samples = out;
    audio->n = made;
    audio->rate = rate;
    return CLI_OK;
}
