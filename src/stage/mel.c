/*
 * mel: samples to log-mel frames.
 *
 *   takes            S samples [S], any cut, up to the window
 *   gives            F = window / hop frames [F][n_mels], after finish
 *   rate             sample_rate / hop frames per second (100)
 *   latency          n_fft / 2 samples; the scale needs the loudest value of the
 *                    whole window, so frames leave only after finish
 *   receptive field  n_fft samples per frame, centred on frame * hop
 *
 * Easy to get wrong: the frames are centred with REFLECT padding at both ends of
 * the padded window (not of the speech); the one frame too many that this gives is
 * dropped; the window function is the periodic Hann; the floor is the
 * maximum over all frames, silence included, minus 8.
 *
 * Why no FFT: the floor lies 80 dB below the loudest value, and there a single
 * precision FFT (kissfft, Debian's only build) is off by up to 3e-3 on ordinary speech, where
 * 1e-5 is wanted. A folded transform in double precision costs the same few
 * microseconds per frame at n_fft = 400 and is exact.
 */
#include "stage/mel.h"

#include "base/memory.h"
#include "base/status.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

static const double om_pi = 3.14159265358979323846;
static const double om_mel_floor = 1e-10;      /* power, before the logarithm */

/* One row of the filterbank without its zeros. */
typedef struct om_mel_band {
    int first, count;
    size_t offset;            /* into weights */
} om_mel_band;

struct om_mel {
    int n_fft, hop, n_mels, frames;
    size_t window;            /* samples */
    int n_fold;               /* n_fft / 4 + 1: bins k that stand for the pair k, n_fft/2 - k */
    double *hann;             /* [n_fft], rounded to float as the models were trained with */
    double *cosine, *sine;    /* [n_fft/2 + 1][n_fold] */
    om_mel_band *bands;       /* [n_mels] */
    double *weights;          /* non-zero filter entries, band after band */
    double *fold;             /* scratch: even [n_fft/2 + 1], odd [n_fft/2 + 1] */
    double *sums;             /* scratch: [4][n_fold] */
    double *power;            /* scratch: [n_fft/2 + 1] */
    float *samples;           /* [window], valid up to n_samples */
    float *logs;              /* [frames][n_mels], valid up to n_frames: log10 of power */
    /* reset starts here */
    size_t n_samples;
    int n_frames;
    float loudest;
    bool finished;
};

/* ---- filterbank ------------------------------------------------------------ */

static double hz_to_mel(double hz)
{
    const double f_sp = 200.0 / 3.0, min_log_hz = 1000.0;
    const double min_log_mel = min_log_hz / f_sp, logstep = log(6.4) / 27.0;
    return hz < min_log_hz ? hz / f_sp : min_log_mel + log(hz / min_log_hz) / logstep;
}

static double mel_to_hz(double mel)
{
    const double f_sp = 200.0 / 3.0, min_log_hz = 1000.0;
    const double min_log_mel = min_log_hz / f_sp, logstep = log(6.4) / 27.0;
    return mel < min_log_mel ? f_sp * mel : min_log_hz * exp(logstep * (mel - min_log_mel));
}

/* Corner i of n_mels + 2, evenly spaced in mel from 0 to half the rate. */
static double mel_corner(int i, int n_mels, double top)
{
    return mel_to_hz(i == n_mels + 1 ? top : (double)i * (top / (double)(n_mels + 1)));
}

void om_mel_filters(int sample_rate, int n_fft, int n_mels, float *out)
{
    const int n_bins = n_fft / 2 + 1;
    const double top = hz_to_mel((double)sample_rate / 2.0);

    /* The order of operations, the two roundings to float included, is what makes this table bit-exact. */
    for (int i = 0; i < n_mels; i++) {
        const double lo = mel_corner(i, n_mels, top);
        const double mid = mel_corner(i + 1, n_mels, top);
        const double hi = mel_corner(i + 2, n_mels, top);
        for (int k = 0; k < n_bins; k++) {
            const double f = (double)k * (double)sample_rate / (double)n_fft;
            const double rise = -(lo - f) / (mid - lo), fall = (hi - f) / (hi - mid);
            const double tent = fmin(rise, fall);
            const float a = tent > 0.0 ? (float)tent : 0.0f;
            out[(size_t)i * (size_t)n_bins + (size_t)k] = (float)((double)a * (2.0 / (hi - lo)));
        }
    }
}

/* Drops the zeros at both ends of every filter row. */
static int pack_filters(om_mel *mel, const float *filters)
{
    const int n_bins = mel->n_fft / 2 + 1;
    size_t used = 0;

    for (int m = 0; m < mel->n_mels; m++) {
        const float *row = filters + (size_t)m * (size_t)n_bins;
        int first = 0, end = n_bins;
        while (first < n_bins && row[first] == 0.0f) first++;
        while (end > first && row[end - 1] == 0.0f) end--;
        mel->bands[m] = (om_mel_band){ first, end - first, used };
        used += (size_t)(end - first);
    }
    mel->weights = om_calloc(used + 1, sizeof(double));
    if (!mel->weights)
        return om_fail(OMNI_ERR_MEMORY, "mel: out of memory for %zu filter weights", used);
    for (int m = 0; m < mel->n_mels; m++) {
        const om_mel_band *b = &mel->bands[m];
        const float *row = filters + (size_t)m * (size_t)n_bins + b->first;
        for (int k = 0; k < b->count; k++)
            mel->weights[b->offset + (size_t)k] = (double)row[k];
    }
    return OMNI_OK;
}

/* ---- life ------------------------------------------------------------------ */

static void fill_tables(om_mel *mel)
{
    const int n = mel->n_fft;

    for (int i = 0; i < n; i++)
        mel->hann[i] = (double)(float)(0.5 * (1.0 - cos(2.0 * om_pi * i / n)));
    for (int i = 0; i <= n / 2; i++) {
        for (int k = 0; k < mel->n_fold; k++) {
            const double angle = 2.0 * om_pi * (double)((int64_t)i * k % n) / n;
            mel->cosine[i * mel->n_fold + k] = cos(angle);
            mel->sine[i * mel->n_fold + k] = sin(angle);
        }
    }
}

int om_mel_new(const om_hparams *hp, const float *filters, om_mel **out)
{
    const int n_fft = hp->audio.n_fft, hop = hp->audio.hop;
    const size_t n_bins = (size_t)n_fft / 2 + 1;
    int rc = OMNI_OK;
    om_mel *mel = NULL;

    if (n_fft < 4 || n_fft > 4096 || n_fft % 2 || hop < 1 || hp->audio.n_mels < 1 || hp->audio.frames < 1 ||
        hp->audio.window_samples <= n_fft / 2 || hp->audio.window_samples / hop != hp->audio.frames)
        return om_fail(OMNI_ERR_MODEL, "mel: cannot cut %d samples with n_fft %d, hop %d into %d frames",
                       hp->audio.window_samples, n_fft, hop, hp->audio.frames);
    mel = om_calloc(1, sizeof *mel);
    if (!mel) {
        rc = om_fail(OMNI_ERR_MEMORY, "mel: out of memory");
        goto done;
    }
    mel->n_fft = n_fft;
    mel->hop = hop;
    mel->n_mels = hp->audio.n_mels;
    mel->frames = hp->audio.frames;
    mel->window = (size_t)hp->audio.window_samples;
    mel->n_fold = n_fft / 4 + 1;
    mel->hann = om_calloc((size_t)n_fft, sizeof(double));
    mel->cosine = om_calloc(n_bins * (size_t)mel->n_fold, sizeof(double));
    mel->sine = om_calloc(n_bins * (size_t)mel->n_fold, sizeof(double));
    mel->bands = om_calloc((size_t)mel->n_mels, sizeof *mel->bands);
    mel->fold = om_calloc(2 * n_bins, sizeof(double));
    mel->sums = om_calloc(4 * (size_t)mel->n_fold, sizeof(double));
    mel->power = om_calloc(n_bins, sizeof(double));
    mel->samples = om_calloc(mel->window, sizeof(float));
    mel->logs = om_calloc((size_t)mel->frames * (size_t)mel->n_mels, sizeof(float));
    if (!mel->hann || !mel->cosine || !mel->sine || !mel->bands || !mel->fold || !mel->sums || !mel->power ||
        !mel->samples || !mel->logs) {
        rc = om_fail(OMNI_ERR_MEMORY, "mel: out of memory for a window of %zu samples", mel->window);
        goto done;
    }
    rc = pack_filters(mel, filters);
    if (rc != OMNI_OK)
        goto done;
    fill_tables(mel);
    om_mel_reset(mel);
    *out = mel;
    mel = NULL;
done:
    om_mel_free(mel);
    return rc;
}

void om_mel_free(om_mel *mel)
{
    if (!mel)
        return;
    om_free(mel->hann);
    om_free(mel->cosine);
    om_free(mel->sine);
    om_free(mel->bands);
    om_free(mel->weights);
    om_free(mel->fold);
    om_free(mel->sums);
    om_free(mel->power);
    om_free(mel->samples);
    om_free(mel->logs);
    om_free(mel);
}

void om_mel_reset(om_mel *mel)
{
    mel->n_samples = 0;
    mel->n_frames = 0;
    mel->loudest = -INFINITY;
    mel->finished = false;
}

/* ---- one frame ------------------------------------------------------------- */

/* Sample i of the window reflected at both ends; zero where nothing was pushed. */
static double sample_at(const om_mel *mel, int64_t i)
{
    const int64_t last = (int64_t)mel->window - 1;
    if (i < 0) i = -i;
    if (i > last) i = 2 * last - i;
    return (size_t)i < mel->n_samples ? (double)mel->samples[i] : 0.0;
}

/* sums[k] += x0 row0[k] + ... for four rows of a table at once. */
static void add_rows(double *restrict sums, const double *restrict table, size_t stride, const double *x,
                     int n)
{
    const double a = x[0], b = x[2], c = x[4], d = x[6];
    const double *r0 = table, *r1 = r0 + stride, *r2 = r1 + stride, *r3 = r2 + stride;
    for (int k = 0; k < n; k++)
        sums[k] += (a * r0[k] + b * r1[k]) + (c * r2[k] + d * r3[k]);
}

static void add_row(double *restrict sums, const double *restrict row, double x, int n)
{
    for (int k = 0; k < n; k++)
        sums[k] += x * row[k];
}

/* sums[k] = sum over i = first, first + 2, ... <= n_fft/2 of x[i] table[i][k] */
static void project(const om_mel *mel, const double *x, const double *table, int first, double *sums)
{
    const int half = mel->n_fft / 2, n = mel->n_fold;
    int i = first;

    memset(sums, 0, (size_t)n * sizeof(double));
    for (; i + 6 <= half; i += 8)
        add_rows(sums, table + (size_t)i * (size_t)n, 2 * (size_t)n, x + i, n);
    for (; i <= half; i += 2)
        add_row(sums, table + (size_t)i * (size_t)n, x[i], n);
}

/*
 * Power of bins 0 .. n_fft/2 around frame t. Real input: X[k] = sum e[i] cos - j sum o[i] sin
 * with e, o the even and odd parts, i <= n_fft/2. And since
 * cos(2 pi i (N/2 - k) / N) = (-1)^i cos(2 pi i k / N), sin likewise with the opposite sign, even and odd i
 * summed apart give the bins k and N/2 - k together.
 */
static void frame_power(om_mel *mel, int t)
{
    const int n = mel->n_fft, half = n / 2;
    const int64_t start = (int64_t)t * mel->hop - half;
    double *even = mel->fold, *odd = mel->fold + half + 1;
    double *ce = mel->sums, *co = ce + mel->n_fold, *se = co + mel->n_fold, *so = se + mel->n_fold;

    even[0] = sample_at(mel, start) * mel->hann[0];
    even[half] = sample_at(mel, start + half) * mel->hann[half];
    odd[0] = odd[half] = 0.0;
    for (int i = 1; i < half; i++) {
        const double a = sample_at(mel, start + i) * mel->hann[i];
        const double b = sample_at(mel, start + n - i) * mel->hann[n - i];
        even[i] = a + b;
        odd[i] = a - b;
    }
    project(mel, even, mel->cosine, 0, ce);
    project(mel, even, mel->cosine, 1, co);
    project(mel, odd, mel->sine, 0, se);
    project(mel, odd, mel->sine, 1, so);
    for (int k = 0; k < mel->n_fold; k++) {
        const double re = ce[k] + co[k], im = se[k] + so[k];
        const double re2 = ce[k] - co[k], im2 = so[k] - se[k];
        mel->power[half - k] = re2 * re2 + im2 * im2;
        mel->power[k] = re * re + im * im;
    }
}

/* The next frame's row of logs; only what was pushed is looked at. */
static void next_frame(om_mel *mel)
{
    float *row = mel->logs + (size_t)mel->n_frames * (size_t)mel->n_mels;

    frame_power(mel, mel->n_frames);
    for (int m = 0; m < mel->n_mels; m++) {
        const om_mel_band *b = &mel->bands[m];
        double sum = 0.0;
        for (int k = 0; k < b->count; k++)
            sum += mel->weights[b->offset + (size_t)k] * mel->power[b->first + k];
        row[m] = (float)log10(fmax(sum, om_mel_floor));
        if (row[m] > mel->loudest)
            mel->loudest = row[m];
    }
    mel->n_frames++;
}

/* Samples that must be there before frame t is final; reflection reads x[n_fft/2] for frame 0. */
static int64_t frame_needs(const om_mel *mel, int t)
{
    const int64_t start = (int64_t)t * mel->hop - mel->n_fft / 2, end = start + mel->n_fft;
    const int64_t window = (int64_t)mel->window;
    int64_t need = end;
    if (need < -start + 1) need = -start + 1;
    return need < window ? need : window;
}

/* First pushed-or-not sample a frame reads, reflection at the end of the window included. */
static int64_t frame_begin(const om_mel *mel, int t)
{
    const int64_t start = (int64_t)t * mel->hop - mel->n_fft / 2, end = start + mel->n_fft;
    const int64_t window = (int64_t)mel->window;
    const int64_t mirror = end > window ? 2 * (window - 1) - (end - 1) : start;
    if (start < 0)
        return 0;
    return mirror < start ? mirror : start;
}

/* ---- the contract ---------------------------------------------------------- */

int om_mel_push(om_mel *mel, const float *x, size_t n, size_t *taken)
{
    const size_t room = mel->window - mel->n_samples;
    const size_t take = n < room ? n : room;

    if (mel->finished)
        return om_fail(OMNI_ERR_STATE, "mel: samples pushed after finish; reset first");
    if (take) {
        memcpy(mel->samples + mel->n_samples, x, take * sizeof(float));
        mel->n_samples += take;
    }
    while (mel->n_frames < mel->frames && frame_needs(mel, mel->n_frames) <= (int64_t)mel->n_samples)
        next_frame(mel);
    if (taken)
        *taken = take;
    return OMNI_OK;
}

int om_mel_finish(om_mel *mel)
{
    const float silence = (float)log10(om_mel_floor);

    if (mel->finished)
        return OMNI_OK;
    while (mel->n_frames < mel->frames) {
        float *row = mel->logs + (size_t)mel->n_frames * (size_t)mel->n_mels;
        if (frame_begin(mel, mel->n_frames) < (int64_t)mel->n_samples) {
            next_frame(mel);
            continue;
        }
        for (int m = 0; m < mel->n_mels; m++)
            row[m] = silence;
        if (silence > mel->loudest)
            mel->loudest = silence;
        mel->n_frames++;
    }
    mel->finished = true;
    return OMNI_OK;
}

int om_mel_pull(om_mel *mel, float *out)
{
    const size_t n = (size_t)mel->frames * (size_t)mel->n_mels;
    const float floor_log = mel->loudest - 8.0f;

    if (!mel->finished)
        return OMNI_AGAIN;
    for (size_t i = 0; i < n; i++) {
        const float l = mel->logs[i] > floor_log ? mel->logs[i] : floor_log;
        out[i] = (l + 4.0f) / 4.0f;
    }
    return OMNI_OK;
}
