/* An adaptive filter of 250 ms, then suppression of what it leaves. Only echo is suppressed: with the
 * noise floor at 0 dB the preprocessor lets a microphone without echo through as it is. */
#include "talk-echo.h"

#include "options.h"
#include "report.h"

#include <speex/speex_echo.h>
#include <speex/speex_preprocess.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct talk_echo {
    size_t frame;
    spx_int16_t *microphone, *speaker, *clean;      /* [frame] */
    SpeexEchoState *filter;
    SpeexPreprocessState *rest;
};

size_t talk_echo_frame(int rate)
{
    return (size_t)rate / 100;
}

int talk_echo_open(int rate, talk_echo **out)
{
    *out = NULL;
    talk_echo *e = calloc(1, sizeof *e);
    if (!e) return cli_error("out of memory for echo cancellation");
    e->frame = talk_echo_frame(rate);
    e->microphone = calloc(e->frame * 3, sizeof *e->microphone);
    e->filter = speex_echo_state_init((int)e->frame, rate / 4);
    e->rest = speex_preprocess_state_init((int)e->frame, rate);
    if (!e->microphone || !e->filter || !e->rest) {
        talk_echo_close(e);
        return cli_error("out of memory for echo cancellation");
    }
    e->speaker = e->microphone + e->frame;
    e->clean = e->speaker + e->frame;
    int noise_suppress = 0, echo_suppress = -45, echo_suppress_active = -20;
    speex_echo_ctl(e->filter, SPEEX_ECHO_SET_SAMPLING_RATE, &rate);
    speex_preprocess_ctl(e->rest, SPEEX_PREPROCESS_SET_NOISE_SUPPRESS, &noise_suppress);
    speex_preprocess_ctl(e->rest, SPEEX_PREPROCESS_SET_ECHO_SUPPRESS, &echo_suppress);
    speex_preprocess_ctl(e->rest, SPEEX_PREPROCESS_SET_ECHO_SUPPRESS_ACTIVE, &echo_suppress_active);
    speex_preprocess_ctl(e->rest, SPEEX_PREPROCESS_SET_ECHO_STATE, e->filter);
    *out = e;
    return CLI_OK;
}

void talk_echo_close(talk_echo *e)
{
    if (!e) return;
    if (e->rest) speex_preprocess_state_destroy(e->rest);
    if (e->filter) speex_echo_state_destroy(e->filter);
    free(e->microphone);
    free(e);
}

static spx_int16_t to_16_bit(float x)
{
    const float scaled = x * 32767.0f;
    return (spx_int16_t)(scaled > 32767 ? 32767 : scaled < -32768 ? -32768 : lrintf(scaled));
}

static double energy(const spx_int16_t *samples, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)samples[i] * samples[i];
    return sum;
}

void talk_echo_cancel(talk_echo *e, const float *microphone, const float *speaker, float *clean)
{
    for (size_t i = 0; i < e->frame; i++) {
        e->speaker[i] = to_16_bit(speaker[i]);
        e->microphone[i] = to_16_bit(microphone[i]);
    }
    speex_echo_cancellation(e->filter, e->microphone, e->speaker, e->clean);
    /* Without an echo to follow (headphones) the filter may wander and add what it should take away. */
    if (energy(e->clean, e->frame) > energy(e->microphone, e->frame))
        memcpy(e->clean, e->microphone, e->frame * sizeof *e->clean);
    speex_preprocess_run(e->rest, e->clean);
    for (size_t i = 0; i < e->frame; i++) clean[i] = (float)e->clean[i] / 32767.0f;
}
