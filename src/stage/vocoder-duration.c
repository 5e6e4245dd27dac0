/* vocoder-duration: see the card in vocoder-duration.h. */
#include "stage/vocoder-duration.h"

#include "base/memory.h"
#include "base/status.h"

#include <math.h>
#include <string.h>

static const double norm_epsilon = 1e-5;

int om_voc_read(const om_weights *w, const char *name, int n_dims, const int64_t *shape, float **out)
{
    const om_tensor_desc *t;
    size_t n = 1;
    float *x;
    int rc = om_weights_need(w, name, n_dims, shape, &t);

    if (rc)
        return rc;
    for (int i = 0; i < n_dims; i++)
        if (!om_mul_ok(n, (size_t)shape[i], &n))
            return om_fail(OMNI_ERR_MEMORY, "%s: tensor %s is too large", om_weights_path(w), name);
    x = om_aligned(n, sizeof *x);
    if (!x)
        return om_fail(OMNI_ERR_MEMORY, "%s: no memory for tensor %s", om_weights_path(w), name);
    rc = om_weights_read_f32(w, t, x);
    if (rc) {
        om_free(x);
        return rc;
    }
    *out = x;
    return OMNI_OK;
}

typedef struct {
    const float *w;     /* [out][in][kernel] */
    int out, in, kernel;
} source;

/* Lanes beyond the channels are zero in weights and bias. */
static float weight_at(const void *user, int lane, int tap, int channel)
{
    const source *s = user;

    if (lane >= s->out)
        return 0.0f;
    return s->w[((size_t)lane * (size_t)s->in + (size_t)channel) * (size_t)s->kernel + (size_t)tap];
}

static int load_conv(const om_weights *w, const char *const names[2], int in, int out, int kernel,
                     om_voc_packed *c)
{
    int64_t shape[3] = { out, in, kernel };
    float *weight = NULL, *bias = NULL;
    int rc = om_voc_read(w, names[0], 3, shape, &weight);

    if (!rc)
        rc = om_voc_read(w, names[1], 1, shape, &bias);
    if (!rc) {
        source s = { weight, out, in, kernel };

        rc = om_voc_conv_pack(c, in, om_voc_padded(out), kernel, 1, OM_VOC_F32, weight_at, &s);
    }
    if (!rc)
        memcpy(c->bias, bias, (size_t)out * sizeof *bias);
    om_free(weight);
    om_free(bias);
    return rc;
}

int om_voc_duration_load(const om_weights *w, const om_hparams *hp, om_voc_duration *d)
{
    static const char *const conv[2][2] = {
        { "voc.dur.conv1.weight", "voc.dur.conv1.bias" }, { "voc.dur.conv2.weight", "voc.dur.conv2.bias" },
    };
    static const char *const norm[2][2] = {
        { "voc.dur.ln1.weight", "voc.dur.ln1.bias" }, { "voc.dur.ln2.weight", "voc.dur.ln2.bias" },
    };
    int64_t row[2] = { 1, hp->voc.dur_hidden };
    float *bias = NULL;
    int rc = OMNI_OK;

    *d = (om_voc_duration){
        .embd = hp->voc.embd, .hidden = hp->voc.dur_hidden, .kernel = hp->voc.dur_kernel,
    };
    for (int i = 0; i < 2 && !rc; i++) {
        rc = load_conv(w, conv[i], i ? d->hidden : d->embd, d->hidden, d->kernel, &d->conv[i]);
        if (!rc)
            rc = om_voc_read(w, norm[i][0], 1, row + 1, &d->gain[i]);
        if (!rc)
            rc = om_voc_read(w, norm[i][1], 1, row + 1, &d->shift[i]);
    }
    if (!rc)
        rc = om_voc_read(w, "voc.dur.proj.weight", 2, row, &d->proj);
    if (!rc)
        rc = om_voc_read(w, "voc.dur.proj.bias", 1, row, &bias);
    if (rc)
        om_voc_duration_unload(d);
    else
        d->proj_bias = *bias;
    om_free(bias);
    return rc;
}

void om_voc_duration_unload(om_voc_duration *d)
{
    for (int i = 0; i < 2; i++) {
        om_voc_conv_free(&d->conv[i]);
        om_free(d->gain[i]);
        om_free(d->shift[i]);
    }
    om_free(d->proj);
    *d = (om_voc_duration){ 0 };
}

/* ---- state ---------------------------------------------------------------- */

static size_t window_row(const om_voc_duration *d, int i)
{
    return (size_t)om_voc_padded(i ? d->hidden : d->embd);
}

static size_t window_size(const om_voc_duration *d, int i)
{
    return window_row(d, i) * (size_t)d->kernel;
}

int om_voc_duration_state_new(const om_voc_duration *d, om_voc_duration_state *s)
{
    *s = (om_voc_duration_state){ .end = INT64_MAX };
    for (int i = 0; i < 2; i++)
        s->window[i] = om_aligned(window_size(d, i), sizeof(float));
    s->row = om_aligned(window_row(d, 1), sizeof *s->row);
    if (s->window[0] && s->window[1] && s->row)
        return OMNI_OK;
    om_voc_duration_state_free(s);
    return om_fail(OMNI_ERR_MEMORY, "no memory for the state of the duration predictor");
}

void om_voc_duration_state_free(om_voc_duration_state *s)
{
    om_free(s->window[0]);
    om_free(s->window[1]);
    om_free(s->row);
    *s = (om_voc_duration_state){ 0 };
}

void om_voc_duration_state_reset(const om_voc_duration *d, om_voc_duration_state *s)
{
    for (int i = 0; i < 2; i++)
        memset(s->window[i], 0, window_size(d, i) * sizeof(float));
    s->seen = 0;
    s->end = INT64_MAX;
}

void om_voc_duration_state_copy(const om_voc_duration *d, om_voc_duration_state *to,
                                const om_voc_duration_state *from)
{
    for (int i = 0; i < 2; i++)
        memcpy(to->window[i], from->window[i], window_size(d, i) * sizeof(float));
    to->seen = from->seen;
    to->end = from->end;
}

/* ---- one unit ------------------------------------------------------------- */

/* A new last row, NULL for zeros. */
static void slide(const om_voc_duration *d, om_voc_duration_state *s, int i, const float *row)
{
    size_t width = window_row(d, i), keep = width * (size_t)(d->kernel - 1);
    size_t n = (size_t)(i ? d->hidden : d->embd);

    memmove(s->window[i], s->window[i] + width, keep * sizeof(float));
    memset(s->window[i] + keep, 0, width * sizeof(float));
    if (row)
        memcpy(s->window[i] + keep, row, n * sizeof(float));
}

static void relu_norm(float *x, int n, const float *gain, const float *shift)
{
    double sum = 0.0, square = 0.0, mean, scale;

    for (int i = 0; i < n; i++) {
        x[i] = x[i] > 0.0f ? x[i] : 0.0f;
        sum += (double)x[i];
    }
    mean = sum / n;
    for (int i = 0; i < n; i++)
        square += ((double)x[i] - mean) * ((double)x[i] - mean);
    scale = 1.0 / sqrt(square / n + norm_epsilon);
    for (int i = 0; i < n; i++)
        x[i] = (float)(((double)x[i] - mean) * scale) * gain[i] + shift[i];
}

static void convolve(const om_voc_duration *d, om_voc_duration_state *s, int i)
{
    om_voc_rows rows = { .in = s->window[i], .end = 1, .raw = s->row, .slope = 1.0f };

    om_voc_conv_run(&d->conv[i], &rows, 0, 1);
    relu_norm(s->row, d->hidden, d->gain[i], d->shift[i]);
}

static int round_duration(float d)
{
    float frames = rintf(expf(d) - 1.0f);   /* half to even, the default rounding */

    if (!(frames >= 1.0f))
        return 1;
    return frames < (float)OM_VOC_MAX_DURATION ? (int)frames : OM_VOC_MAX_DURATION;
}

int om_voc_duration_step(const om_voc_duration *d, om_voc_duration_state *s, const float *embedding)
{
    int half = (d->kernel - 1) / 2;
    int64_t hidden = s->seen - half, out = hidden - half;
    float sum = d->proj_bias;

    s->seen++;
    slide(d, s, 0, embedding);
    if (hidden >= 0 && hidden < s->end) {
        convolve(d, s, 0);
        slide(d, s, 1, s->row);
    } else {
        slide(d, s, 1, NULL);
    }
    if (out < 0 || out >= s->end)
        return 0;
    convolve(d, s, 1);
    for (int i = 0; i < d->hidden; i++)
        sum += s->row[i] * d->proj[i];
    return round_duration(sum);
}
