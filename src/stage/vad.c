/*
 * vad: where somebody speaks.
 *
 *   takes            samples [n] f32 at 16 kHz, any level
 *   gives            START, PAUSE, RESUME, STOP with positions
 *   rate             a decision per frame of 10 ms
 *   latency          20 ms of window and the frames that the evidence takes to gather: START comes 20 ms
 *                    (clean) to 60 ms (10 dB) after the onset, which it tells to within 10 ms; PAUSE 100 ms
 *                    after the last speech, STOP silence_ms after it. Tables in docs/turn-taking.md
 *   state            noise floor per band, the state machine; 4 kB
 *
 *   window 20 ms -> power in 10 bands and in all -> dB above the noise floor of each -> score, less what
 *   the noise itself scores -> summed over frames while positive: evidence -> state machine
 *
 * A floor follows quiet frames in the mean and in the mean deviation, so that babble, which fluctuates, has
 * to be exceeded by more than a fan. While somebody speaks it stands still; a noise that sets in and
 * stays is recognised by the least level of the last 1.5 s: speech has gaps.
 *
 * Easy to get wrong:
 *   - everything is relative to the floor: no constant knows a level, but for the digital silence
 *     below which nothing is speech
 *   - a frame's position is its middle; the window makes an onset visible 10 ms before it begins
 *   - the floor must follow down and up alike, or it sinks during speech and speech never ends
 *   - after a pause it takes an onset to go on: the end of the speech does not wander
 *   - in quiet surroundings the smoothed score and a room's echo outlast the speech: its end is the last frame
 *     within 20 dB of its loudest, but never so early that what still scores as speech leaves the tail
 */
#include "stage/vad.h"

#include "base/memory.h"
#include "base/status.h"

#include <math.h>
#include <string.h>

enum {
    HOP = 160, WINDOW = 320, FFT = 512, LOG_FFT = 9,
    BANDS = 10, ALL = BANDS,    /* the last is all bands together */
    BEST = 4,
    PARTS = 3, PART = 50,       /* the least level is kept for 3 parts of 0.5 s */
    SETTLE = 10,                /* frames from which the first floor is taken */
    LINGER = 80 * OM_VAD_RATE / 1000    /* longest that sound fades behind the end; less than the tail */
};

static const float edges[BANDS + 1] = { 100, 300, 500, 750, 1000, 1400, 1900, 2600, 3600, 5000, 7000 };

/* dB */
static const float loudest_sample = 32768.0f;
static const float quietest = -80.0f;       /* power of a band that is taken for silence */
static const float fluctuation = 1.0f;      /* deviations of a band that are nothing unusual */
static const float slack = 1.25f;            /* over what the noise's score is now and then */
static const float even_odds = 12.0f;       /* evidence, dB times frames, at which speech is as likely as not */
static const float together = 0.75f;       /* weight of all bands' level in the score */
static const float keep = 1.25f;            /* dB over the noise's score that the smoothed score keeps in speech */
static const float dying = 20.0f;           /* so far below the loudest, speech is fading away */
static const float faintest = 40.0f;        /* so far below it nothing is speech: a room, a recording's hiss */
static const float forgetting = 0.02f;      /* of the loudest, per frame; in silence: */
static const float forgetting_all = 0.5f;

struct band {
    int first, last;            /* bins [first, last) */
    float floor, deviation;     /* dB */
    float smooth;               /* level, for the least level */
    float least[PARTS], running;
};

typedef enum vad_state { SILENT, SPEAKING, PAUSED } vad_state;

struct om_vad {
    om_vad_params params;
    float window[WINDOW];
    float cosine[FFT / 2], sine[FFT / 2];
    /* reset starts here */
    struct band bands[BANDS + 1];
    float held[WINDOW];         /* the last WINDOW samples */
    int n_held;                 /* new ones since the last frame */
    uint64_t n;                 /* samples taken */
    uint64_t n_frames;
    float score, smooth_score;
    float noise_score, noise_spread;    /* mean and mean deviation of the score in quiet frames */
    float evidence;             /* sum of what scores exceed, since it was last 0 */
    float loudest;              /* level of all bands in this speech, dB */
    vad_state state;
    uint64_t onset, end;        /* samples */
    bool has_event;
    om_vad_event event;
};

/* ---- birth and death ------------------------------------------------------ */

int om_vad_set(om_vad *vad, const om_vad_params *p)
{
    if (!(p->threshold >= 0.0f && p->threshold <= 1.0f) || p->silence_ms < OM_VAD_TAIL_MS ||
        p->silence_ms > 60000)
        return om_fail(OMNI_ERR_ARG, "vad: threshold %g, silence %d ms: wanted 0..1, %d..60000",
                       (double)p->threshold, p->silence_ms, OM_VAD_TAIL_MS);
    vad->params = *p;
    return OMNI_OK;
}

int om_vad_new(const om_vad_params *params, om_vad **out)
{
    om_vad *vad = om_calloc(1, sizeof *vad);
    int rc;

    if (!vad)
        return om_fail(OMNI_ERR_MEMORY, "vad: out of memory");
    rc = om_vad_set(vad, params);
    if (rc) {
        om_free(vad);
        return rc;
    }
    for (int i = 0; i < WINDOW; i++)
        vad->window[i] = (float)(0.5 - 0.5 * cos(2.0 * 3.14159265358979 * (i + 0.5) / WINDOW));
    for (int i = 0; i < FFT / 2; i++) {
        vad->cosine[i] = (float)cos(2.0 * 3.14159265358979 * i / FFT);
        vad->sine[i] = (float)-sin(2.0 * 3.14159265358979 * i / FFT);
    }
    om_vad_reset(vad);
    *out = vad;
    return OMNI_OK;
}

void om_vad_free(om_vad *vad)
{
    om_free(vad);
}

void om_vad_reset(om_vad *vad)
{
    memset(vad->bands, 0, sizeof vad->bands);
    memset(vad->held, 0, sizeof vad->held);
    for (int b = 0; b < BANDS; b++) {
        vad->bands[b].first = (int)(edges[b] * FFT / OM_VAD_RATE + 0.5f);
        vad->bands[b].last = (int)(edges[b + 1] * FFT / OM_VAD_RATE + 0.5f);
    }
    vad->n_held = 0;
    vad->n = vad->n_frames = vad->onset = vad->end = 0;
    vad->score = vad->smooth_score = vad->evidence = 0.0f;
    vad->noise_score = vad->noise_spread = 0.5f;
    vad->loudest = quietest;
    vad->state = SILENT;
    vad->has_event = false;
}

void om_vad_stop(om_vad *vad)
{
    vad->state = SILENT;
    vad->evidence = vad->smooth_score = 0.0f;
    vad->has_event = false;
    memset(vad->held, 0, sizeof vad->held);     /* else the next frame would still hear what was before */
}

/* ---- levels --------------------------------------------------------------- */

/* In place, radix 2, decimation in time. */
static void fft(const om_vad *vad, float *re, float *im)
{
    for (int i = 0, j = 0; i < FFT; i++) {
        if (i < j) {
            float t = re[i];

            re[i] = re[j];
            re[j] = t;
        }
        for (int bit = FFT / 2; (j ^= bit) < bit; bit /= 2)
            ;
    }
    for (int half = 1; half < FFT; half *= 2)
        for (int at = 0; at < FFT; at += 2 * half)
            for (int k = 0; k < half; k++) {
                float c = vad->cosine[k * (FFT / 2 / half)], s = vad->sine[k * (FFT / 2 / half)];
                float *ar = re + at + k, *ai = im + at + k, *br = ar + half, *bi = ai + half;
                float tr = *br * c - *bi * s, ti = *br * s + *bi * c;

                *br = *ar - tr;
                *bi = *ai - ti;
                *ar += tr;
                *ai += ti;
            }
}

/* A sine of amplitude 1 has about 0 dB in its band. */
static float decibel(float power)
{
    float level = 10.0f * log10f(power * (16.0f / (WINDOW * WINDOW)) + 1e-12f);

    return level > quietest ? level : quietest;
}

/* Level of every band in dB, of the window held. */
static void measure(const om_vad *vad, float level[BANDS + 1])
{
    float re[FFT] = {0}, im[FFT] = {0}, all = 0.0f;

    for (int i = 0; i < WINDOW; i++)
        re[i] = vad->held[i] * vad->window[i];
    fft(vad, re, im);
    for (int b = 0; b < BANDS; b++) {
        float power = 0.0f;

        for (int k = vad->bands[b].first; k < vad->bands[b].last; k++)
            power += re[k] * re[k] + im[k] * im[k];
        level[b] = decibel(power);
        all += power;
    }
    level[ALL] = decibel(all);
}

/* ---- the noise floor ------------------------------------------------------- */

static void start_floor(om_vad *vad, const float level[BANDS + 1])
{
    float share = 1.0f / (float)(vad->n_frames + 1);

    for (int b = 0; b <= ALL; b++) {
        struct band *in = &vad->bands[b];

        in->floor += share * (level[b] - in->floor);
        in->deviation = 3.0f;
        in->smooth = in->running = in->floor;
        for (int i = 0; i < PARTS; i++)
            in->least[i] = in->floor;
    }
}

/* Keeps the least smoothed level of the last PARTS parts; returns it. */
static float least_level(const om_vad *vad, struct band *in, float level)
{
    float least;

    in->smooth += 0.2f * (level - in->smooth);
    if (vad->n_frames % PART == 0) {
        for (int i = PARTS - 1; i > 0; i--)
            in->least[i] = in->least[i - 1];
        in->least[0] = in->running;
        in->running = in->smooth;
    }
    if (in->smooth < in->running)
        in->running = in->smooth;
    least = in->running;
    for (int i = 0; i < PARTS; i++)
        if (in->least[i] < least)
            least = in->least[i];
    return least;
}

static void follow_floor(om_vad *vad, const float level[BANDS + 1], bool quiet)
{
    for (int b = 0; b <= ALL; b++) {
        struct band *in = &vad->bands[b];
        float least = least_level(vad, in, level[b]), above = level[b] - in->floor;

        if (quiet) {
            in->deviation += 0.02f * (fabsf(above) - in->deviation);
            in->floor += 0.05f * above;
        }
        if (least > in->floor)
            in->floor += 0.1f * (least - in->floor);
        if (in->deviation < 1.0f)
            in->deviation = 1.0f;
    }
}

/* ---- speech or not ----------------------------------------------------------- */

/* dB by which a band exceeds what the noise reaches now and then. */
static float excess(const struct band *in, float level)
{
    float x = level - in->floor - fluctuation * in->deviation;

    return x < 0.0f ? 0.0f : x > 25.0f ? 25.0f : x;
}

/* The best bands, where speech stands out of coloured noise, and all together, which fluctuates least. */
static float score_of(const om_vad *vad, const float level[BANDS + 1])
{
    float best[BEST] = {0}, sum = 0.0f;

    for (int b = 0; b < BANDS; b++) {
        float x = excess(&vad->bands[b], level[b]);

        for (int i = 0; i < BEST && x > 0.0f; i++)
            if (x > best[i]) {
                float t = best[i];

                best[i] = x;
                x = t;
            }
    }
    for (int i = 0; i < BEST; i++)
        sum += best[i];
    return (1.0f - together) * sum / BEST + together * excess(&vad->bands[ALL], level[ALL]);
}

static void tell(om_vad *vad, om_vad_kind kind, uint64_t at)
{
    vad->event = (om_vad_event){ kind, at };
    vad->has_event = true;
}

/* A frame of speech ends at `at`. */
static void speech_until(om_vad *vad, uint64_t at, float level)
{
    vad->loudest -= forgetting;
    if (level > vad->loudest)
        vad->loudest = level;
    if (level > vad->loudest - dying)
        vad->end = at;
    else if (at > vad->end + LINGER)
        vad->end = at - LINGER;
}

/* One step of the state machine; middle: the frame's position; level: of all its bands. */
static void decide(om_vad *vad, bool onset, bool speech, uint64_t middle, float level)
{
    uint64_t ms = OM_VAD_RATE / 1000;

    if (vad->state == SPEAKING) {
        if (speech)
            speech_until(vad, middle + HOP / 2, level);
        else if (vad->n >= vad->end + OM_VAD_TAIL_MS * ms) {
            vad->state = PAUSED;
            vad->evidence = 0.0f;
            tell(vad, OM_VAD_PAUSE, vad->end);
        }
    } else if (onset) {
        if (vad->onset < vad->end)
            vad->onset = vad->end;
        tell(vad, vad->state == SILENT ? OM_VAD_START : OM_VAD_RESUME, vad->onset);
        if (vad->state == SILENT || level > vad->loudest)
            vad->loudest = level;
        vad->state = SPEAKING;
        vad->end = middle + HOP / 2;
    } else if (vad->state == PAUSED && vad->n >= vad->end + (uint64_t)vad->params.silence_ms * ms) {
        vad->state = SILENT;
        tell(vad, OM_VAD_STOP, vad->end);
    }
}

/* What scores of noise hardly reach. */
static float usual(const om_vad *vad)
{
    return vad->noise_score + 1.5f * vad->noise_spread;
}

static void gather_evidence(om_vad *vad, bool faint, uint64_t middle)
{
    float most = 3.0f * even_odds;

    if (faint)
        vad->evidence = 0.0f;

    if (vad->evidence <= 0.0f)
        vad->onset = middle > HOP / 2 ? middle - HOP / 2 : 0;
    if (!faint)
        vad->evidence += vad->score - usual(vad) - slack;
    vad->evidence = vad->evidence < 0.0f ? 0.0f : vad->evidence > most ? most : vad->evidence;
}

static void hear_frame(om_vad *vad)
{
    float level[BANDS + 1];
    uint64_t middle = vad->n - WINDOW / 2;
    bool faint, speech, quiet;

    measure(vad, level);
    if (vad->n_frames < SETTLE) {
        start_floor(vad, level);
        vad->n_frames++;
        return;
    }
    vad->score = score_of(vad, level);
    vad->smooth_score += 0.4f * (vad->score - vad->smooth_score);
    if (vad->state == SILENT)
        vad->loudest -= forgetting_all;
    faint = level[ALL] <= vad->loudest - faintest;
    gather_evidence(vad, faint, middle);
    speech = !faint && vad->smooth_score > vad->noise_score + 0.6f * vad->noise_spread + keep;
    decide(vad, om_vad_probability(vad) > vad->params.threshold, speech, middle, level[ALL]);
    quiet = !faint && (vad->state == SPEAKING ? !speech : vad->evidence < 0.5f * even_odds);
    if (quiet) {
        vad->noise_spread += 0.01f * (fabsf(vad->score - vad->noise_score) - vad->noise_spread);
        vad->noise_score += 0.02f * (vad->score - vad->noise_score);
    }
    follow_floor(vad, level, quiet);
    vad->n_frames++;
}

/* ---- in and out ------------------------------------------------------------- */

/* Beyond what any scale of samples reaches: the square of what is larger may overflow, and an infinite noise floor
 * would hear nothing any more. */
static void clamp(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] > loudest_sample ? loudest_sample : x[i] < -loudest_sample ? -loudest_sample : x[i];
}

int om_vad_push(om_vad *vad, const float *x, size_t n, size_t *taken)
{
    *taken = 0;
    if (vad->has_event)
        return OMNI_AGAIN;
    while (*taken < n && !vad->has_event) {
        size_t part = (size_t)(HOP - vad->n_held);

        if (part > n - *taken)
            part = n - *taken;
        memmove(vad->held, vad->held + part, (WINDOW - part) * sizeof *vad->held);
        memcpy(vad->held + WINDOW - part, x + *taken, part * sizeof *x);
        clamp(vad->held + WINDOW - part, part);
        *taken += part;
        vad->n += part;
        vad->n_held += (int)part;
        if (vad->n_held == HOP) {
            vad->n_held = 0;
            if (vad->n >= WINDOW)
                hear_frame(vad);
        }
    }
    return OMNI_OK;
}

int om_vad_pull(om_vad *vad, om_vad_event *event)
{
    if (!vad->has_event)
        return OMNI_AGAIN;
    *event = vad->event;
    vad->has_event = false;
    return OMNI_OK;
}

bool om_vad_speaking(const om_vad *vad)
{
    return vad->state != SILENT;
}

uint64_t om_vad_last_speech(const om_vad *vad)
{
    return vad->end;
}

float om_vad_probability(const om_vad *vad)
{
    return vad->evidence / (vad->evidence + even_odds);
}
