/*
 * One thread reads and writes by turns, so microphone and loudspeaker stay in step for the echo canceller. The
 * loudspeaker's buffer is kept half full: a block more or less now and then makes up for two devices' clocks.
 */
#include "talk-sound.h"

#include "options.h"
#include "report.h"
#include "resample.h"
#include "talk-devices.h"
#include "talk-echo.h"
#include "talk-ring.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Samples on their way from one step to the next, within the thread. */
typedef struct tray {
    float *samples;
    size_t n, room;
} tray;

struct talk_sound {
    talk_device in, out;
    bool begun, threaded;
    pthread_t thread;
    talk_sound_params params;
    talk_echo *echo;
    cli_rate *from_microphone, *to_speaker, *reference_rate;
    talk_ring microphone, speaker;
    tray heard, said, reference;    /* microphone at rate_in; for the device; what was said at rate_in */
    float *block, *clean;           /* scratch */
    size_t out_buffer;              /* frames that the loudspeaker's device holds */
    double start;
    uint64_t blocks;
    bool clockless;
    tray kept;                      /* the other thread's: written, but no room in the speaker ring yet */
    size_t poured;                  /* of kept, moved on already */
    bool ended;                     /* the turn, once kept is empty */

    _Atomic bool stop, flush, expecting;
    _Atomic uint64_t pulled;        /* of the speaker ring, since turn_begin */
    _Atomic int64_t first_us;
    _Atomic float level, voice_level;
    atomic_uint underruns, overruns;
    _Atomic PaError error;
};

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void take_from(tray *t, size_t n)
{
    t->n -= n;
    memmove(t->samples, t->samples + n, t->n * sizeof *t->samples);
}

static float peak_of(const float *samples, size_t n)
{
    float peak = 0;
    for (size_t i = 0; i < n; i++) peak = fmaxf(peak, fabsf(samples[i]));
    return peak;
}

/* n samples, the same on each channel, in place; and back. */
static void spread(float *samples, size_t n, int channels)
{
    for (size_t i = n; channels == 2 && i-- > 0;) samples[2 * i] = samples[2 * i + 1] = samples[i];
}

static void mix(float *samples, size_t n, int channels)
{
    for (size_t i = 0; channels == 2 && i < n; i++) samples[i] = 0.5f * (samples[2 * i] + samples[2 * i + 1]);
}

/* 10 ms of the answer, or of silence, towards the loudspeaker. */
static void fetch(talk_sound *s)
{
    const size_t wanted = (size_t)s->params.rate_out / 100;
    const bool expecting = atomic_load(&s->expecting);      /* before reading: turn_end comes after the last write */
    const size_t got = talk_ring_read(&s->speaker, s->block, wanted);
    if (got > 0 && atomic_fetch_add(&s->pulled, got) == 0)
        atomic_store(&s->first_us, (int64_t)((now_seconds() + s->out.latency) * 1e6));
    if (got < wanted && expecting && atomic_load(&s->pulled) > 0) atomic_fetch_add(&s->underruns, 1);
    memset(s->block + got, 0, (wanted - got) * sizeof *s->block);
    atomic_store(&s->voice_level, peak_of(s->block, got));
    s->said.n += cli_rate_run(s->to_speaker, s->block, wanted, s->said.samples + s->said.n);
}

static PaError say_block(talk_sound *s)
{
    const size_t n = (size_t)s->out.rate / 100;
    while (s->said.n < n) fetch(s);
    memcpy(s->block, s->said.samples, n * sizeof *s->block);
    take_from(&s->said, n);
    if (s->echo) {
        /* Beyond 100 ms the clocks have drifted apart; the filter finds its way again. */
        if (s->reference.n > s->reference.room / 2) take_from(&s->reference, s->reference.n / 2);
        s->reference.n += cli_rate_run(s->reference_rate, s->block, n, s->reference.samples + s->reference.n);
    }
    spread(s->block, n, s->out.channels);
    const PaError error = Pa_WriteStream(s->out.stream, s->block, n);
    return error == paOutputUnderflowed ? paNoError : error;
}

static PaError say(talk_sound *s)
{
    if (atomic_load(&s->flush)) {
        talk_ring_drop(&s->speaker);
        s->said.n = 0;
        atomic_store(&s->flush, false);
    }
    const size_t block = (size_t)s->out.rate / 100;
    int blocks = 1;
    const signed long room = Pa_GetStreamWriteAvailable(s->out.stream);
    if (room < 0) return (PaError)room;
    if (!s->clockless) {
        if ((size_t)room < block) blocks = 0;
        else if ((size_t)room > s->out_buffer / 2 + 2 * block) blocks = 2;
    }
    PaError error = paNoError;
    while (error == paNoError && blocks-- > 0) error = say_block(s);
    return error;
}

static PaError hear(talk_sound *s)
{
    const size_t n = (size_t)s->in.rate / 100, frame = talk_echo_frame(s->params.rate_in);
    PaError error = Pa_ReadStream(s->in.stream, s->block, n);
    if (error == paInputOverflowed) {
        atomic_fetch_add(&s->overruns, 1);
        error = paNoError;
    }
    if (error != paNoError) return error;
    mix(s->block, n, s->in.channels);
    s->heard.n += cli_rate_run(s->from_microphone, s->block, n, s->heard.samples + s->heard.n);
    while (s->heard.n >= frame) {
        const float *clean = s->heard.samples;
        if (s->echo) {
            if (s->reference.n < frame) {
                memset(s->reference.samples + s->reference.n, 0, (frame - s->reference.n) * sizeof(float));
                s->reference.n = frame;
            }
            talk_echo_cancel(s->echo, s->heard.samples, s->reference.samples, s->clean);
            take_from(&s->reference, frame);
            clean = s->clean;
        }
        atomic_store(&s->level, peak_of(clean, frame));
        if (talk_ring_write(&s->microphone, clean, frame) < frame) atomic_fetch_add(&s->overruns, 1);
        take_from(&s->heard, frame);
    }
    return paNoError;
}

/* ALSA's null and file devices give as fast as one reads: they are held to the clock here. */
static void pace(talk_sound *s)
{
    const double ahead = (double)++s->blocks * 0.01 - (now_seconds() - s->start);
    if (ahead > 0.2 && s->blocks < 100) s->clockless = true;
    if (!s->clockless || ahead <= 0) return;
    const struct timespec rest = {.tv_nsec = (long)(fmin(ahead, 0.9) * 1e9)};
    nanosleep(&rest, NULL);
}

static void *run(void *user)
{
    talk_sound *s = user;
    PaError error = paNoError;
    s->start = now_seconds();
    while (error == paNoError && !atomic_load(&s->stop)) {
        error = say(s);
        if (error == paNoError) error = hear(s);
        pace(s);
    }
    atomic_store(&s->error, error);
    return NULL;
}

static int tray_open(tray *t, size_t room)
{
    t->samples = calloc(room, sizeof *t->samples);
    t->room = room;
    return t->samples ? CLI_OK : cli_error("out of memory for sound");
}

/* Everything between the two devices. */
static int open_path(talk_sound *s)
{
    const talk_sound_params *p = &s->params;
    int rc = cli_rate_open(s->in.rate, p->rate_in, &s->from_microphone);
    if (rc == CLI_OK) rc = cli_rate_open(p->rate_out, s->out.rate, &s->to_speaker);
    if (rc == CLI_OK) rc = cli_rate_open(s->out.rate, p->rate_in, &s->reference_rate);
    if (rc == CLI_OK) rc = talk_ring_open(&s->microphone, (size_t)p->rate_in * 10);
    if (rc == CLI_OK) rc = talk_ring_open(&s->speaker, (size_t)p->rate_out * 10);
    if (rc != CLI_OK) return rc;
    /* Each tray holds what one step may add to what waits, twice over. */
    const size_t most = (size_t)(s->in.rate > s->out.rate ? s->in.rate : s->out.rate) / 50 + 1024;
    rc = tray_open(&s->heard, 2 * cli_rate_room(s->from_microphone, most));
    if (rc == CLI_OK) rc = tray_open(&s->said, 2 * cli_rate_room(s->to_speaker, most));
    if (rc == CLI_OK) rc = tray_open(&s->reference, 2 * cli_rate_room(s->reference_rate, most) + 2 * (size_t)p->rate_in / 10);
    s->block = calloc(2 * most, sizeof *s->block);
    s->clean = calloc(most, sizeof *s->clean);
    if (rc != CLI_OK || !s->block || !s->clean) return rc != CLI_OK ? rc : cli_error("out of memory for sound");
    return p->echo ? talk_echo_open(p->rate_in, &s->echo) : CLI_OK;
}

int talk_sound_list(void)
{
    const int rc = talk_devices_begin();
    if (rc != CLI_OK) return rc;
    talk_devices_list();
    talk_devices_end();
    return CLI_OK;
}

int talk_sound_open(const talk_sound_params *params, talk_sound **out)
{
    *out = NULL;
    talk_sound *s = aligned_alloc(_Alignof(talk_sound), (sizeof *s + 127) & ~(size_t)127);
    if (!s) return cli_error("out of memory for sound");
    memset(s, 0, sizeof *s);
    s->params = *params;
    int rc = talk_devices_begin();
    s->begun = rc == CLI_OK;
    if (rc == CLI_OK) rc = talk_device_open(&s->out, false, params->output);
    if (rc == CLI_OK) rc = talk_device_open(&s->in, true, params->input);
    if (rc == CLI_OK) rc = open_path(s);
    if (rc == CLI_OK) {
        const signed long room = Pa_GetStreamWriteAvailable(s->out.stream);
        s->out_buffer = room > 0 ? (size_t)room : 0;
        s->threaded = pthread_create(&s->thread, NULL, run, s) == 0;
        if (!s->threaded) rc = cli_error("no thread for sound; too many run already");
    }
    if (rc != CLI_OK) {
        talk_sound_close(s);
        return rc;
    }
    *out = s;
    return CLI_OK;
}

void talk_sound_close(talk_sound *s)
{
    if (!s) return;
    atomic_store(&s->stop, true);
    if (s->threaded) pthread_join(s->thread, NULL);
    talk_device_close(&s->in);
    talk_device_close(&s->out);
    if (s->begun) talk_devices_end();
    talk_echo_close(s->echo);
    cli_rate_close(s->from_microphone);
    cli_rate_close(s->to_speaker);
    cli_rate_close(s->reference_rate);
    talk_ring_close(&s->microphone);
    talk_ring_close(&s->speaker);
    free(s->heard.samples);
    free(s->said.samples);
    free(s->reference.samples);
    free(s->kept.samples);
    free(s->block);
    free(s->clean);
    free(s);
}

void talk_sound_describe(const talk_sound *s, char *text, size_t size)
{
    snprintf(text, size, "microphone %s (%d Hz), loudspeaker %s (%d Hz), echo cancellation %s", s->in.info->name,
             s->in.rate, s->out.info->name, s->out.rate, s->echo ? "on" : "off");
}

size_t talk_sound_read(talk_sound *s, float *samples, size_t n)
{
    return talk_ring_read(&s->microphone, samples, n);
}

int talk_sound_write(talk_sound *s, const float *samples, size_t n)
{
    tray *kept = &s->kept;
    if (kept->n + n > kept->room) {
        const size_t room = 2 * kept->room > kept->n + n ? 2 * kept->room : kept->n + n;
        float *more = realloc(kept->samples, room * sizeof *more);
        if (!more) return cli_error("out of memory for %zu samples of sound", room);
        kept->samples = more;
        kept->room = room;
    }
    memcpy(kept->samples + kept->n, samples, n * sizeof *samples);
    kept->n += n;
    talk_sound_pour(s);
    return CLI_OK;
}

void talk_sound_pour(talk_sound *s)
{
    tray *kept = &s->kept;
    if (kept->n > 0) s->poured += talk_ring_write(&s->speaker, kept->samples + s->poured, kept->n - s->poured);
    if (s->poured < kept->n) return;
    kept->n = s->poured = 0;
    if (s->ended) atomic_store(&s->expecting, false);
}

void talk_sound_turn_begin(talk_sound *s)
{
    if (talk_sound_playing(s)) talk_sound_silence(s);
    s->ended = false;
    atomic_store(&s->pulled, 0);
    atomic_store(&s->first_us, 0);
    atomic_store(&s->expecting, true);
}

void talk_sound_turn_end(talk_sound *s)
{
    s->ended = true;
    talk_sound_pour(s);
}

bool talk_sound_playing(const talk_sound *s)
{
    return s->poured < s->kept.n || talk_ring_filled(&s->speaker) > 0;
}

uint64_t talk_sound_heard(const talk_sound *s)
{
    const uint64_t pulled = atomic_load(&s->pulled);
    const uint64_t on_the_way = (uint64_t)(s->out.latency * s->params.rate_out);
    return pulled > on_the_way ? pulled - on_the_way : 0;
}

int64_t talk_sound_first_us(const talk_sound *s)
{
    return atomic_load(&s->first_us);
}

void talk_sound_silence(talk_sound *s)
{
    s->kept.n = s->poured = 0;
    talk_sound_pour(s);
    atomic_store(&s->flush, true);
    const struct timespec rest = {.tv_nsec = 1000000};
    for (int i = 0; i < 50 && atomic_load(&s->flush); i++) nanosleep(&rest, NULL);
}

float talk_sound_level(const talk_sound *s)
{
    return atomic_load(&s->level);
}

float talk_sound_voice_level(const talk_sound *s)
{
    return atomic_load(&s->voice_level);
}

unsigned talk_sound_underruns(const talk_sound *s)
{
    return atomic_load(&s->underruns);
}

unsigned talk_sound_overruns(const talk_sound *s)
{
    return atomic_load(&s->overruns);
}

int talk_sound_check(const talk_sound *s)
{
    const PaError error = atomic_load(&s->error);
    if (error == paNoError) return CLI_OK;
    return cli_error("a sound device stopped: %s; was it unplugged?", Pa_GetErrorText(error));
}
