/*
 * vocoder against the numpy oracle, and the laws every stage keeps.
 *
 * Four ways compute it: our kernels in f32, our kernels in bf16 (where the file and the CPU have it),
 * ggml's operators in f32 and in the file's type.
 */
#include "base/memory.h"
#include "base/status.h"
#include "base/weights.h"
#include "stage/vocoder-parts.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const cases[] = {
    "small", "bf16", "f16", "tight", "slow", "steep", "deep", "prime", "empty",
    "tiny", "public", "public-bf16",
};
/* The laws do without the last three, which are large. */
enum { N_CASES = sizeof cases / sizeof *cases, N_LIGHT = N_CASES - 3, ALL = 1 << 30 };

static om_device *device;

/* ---- the toys ------------------------------------------------------------- */

typedef struct toy {
    om_weights *w;
    om_hparams hp;
    int32_t *units, *durations;     /* [n_units] */
    float *wave;                    /* [n_wave] */
    size_t n_units, n_wave;
} toy;

static float *read_tensor(const om_weights *w, const char *name, size_t *n)
{
    const om_tensor_desc *t = om_weights_find(w, name);
    float *x;

    assert_non_null(t);
    x = om_calloc((size_t)t->ne[0], sizeof *x);
    assert_non_null(x);
    assert_int_equal(om_weights_read_f32(w, t, x), OMNI_OK);
    *n = (size_t)t->ne[0] - 1;      /* the last element is filling */
    return x;
}

static int32_t *read_integers(const om_weights *w, const char *name, size_t *n)
{
    float *x = read_tensor(w, name, n);
    int32_t *y = om_calloc(*n + 1, sizeof *y);

    assert_non_null(y);
    for (size_t i = 0; i < *n; i++)
        y[i] = (int32_t)x[i];
    om_free(x);
    return y;
}

static void read_hparams(const om_weights *w, om_hparams *hp)
{
    int n;

#define NUMBER(key, field) \
    assert_int_equal(om_weights_u32(w, "omni-speech." key, 1, 100000, &hp->field), OMNI_OK)
#define LIST(key, field, cap, count) \
    assert_int_equal(om_weights_i32s(w, "omni-speech.vocoder." key, 1, 100, hp->voc.field, cap, count), \
                     OMNI_OK)
    NUMBER("decoder.unit_count", dec.units);
    NUMBER("vocoder.embedding_length", voc.embd);
    NUMBER("vocoder.initial_channels", voc.channels);
    NUMBER("vocoder.duration_hidden", voc.dur_hidden);
    NUMBER("vocoder.duration_kernel", voc.dur_kernel);
    LIST("upsample_rates", rates, OM_MAX_STAGES, &hp->voc.n_stages);
    LIST("upsample_kernels", kernels, OM_MAX_STAGES, &n);
    LIST("resblock_kernels", res_kernels, OM_MAX_KERNELS, &hp->voc.n_res);
    LIST("resblock_dilations", dilations, OM_MAX_DILATIONS, &hp->voc.n_dil);
#undef NUMBER
#undef LIST
    hp->voc.hop = 1;
    for (int i = 0; i < hp->voc.n_stages; i++)
        hp->voc.hop *= hp->voc.rates[i];
}

static toy toy_open(const char *name)
{
    const char *dir = getenv("OMNI_ORACLE_DIR");
    toy t = { 0 };
    char path[4096];
    size_t n;

    snprintf(path, sizeof path, "%s/vocoder/vocoder-%s.gguf", dir ? dir : ".", name);
    if (om_weights_open(path, &t.w) != OMNI_OK)
        fail_msg("%s (made by tests/oracle/vocoder_oracle.py)", om_last_error());
    read_hparams(t.w, &t.hp);
    t.units = read_integers(t.w, "case.units", &t.n_units);
    t.durations = read_integers(t.w, "case.durations", &n);
    assert_int_equal(n, t.n_units);
    t.wave = read_tensor(t.w, "case.wave", &t.n_wave);
    return t;
}

static void toy_close(toy *t)
{
    om_free(t->units);
    om_free(t->durations);
    om_free(t->wave);
    om_weights_free(t->w);
}

/* ---- running -------------------------------------------------------------- */

typedef struct way {
    bool force_f32, plain;
} way;

static const way ways[] = { { true, false }, { false, false }, { true, true }, { false, true } };
enum { N_WAYS = sizeof ways / sizeof *ways };

static om_vocoder_weights *load(const toy *t, way how)
{
    om_vocoder_weights *vw = NULL;

    if (om_vocoder_load_with(t->w, &t->hp, device, how.force_f32, how.plain, &vw) != OMNI_OK)
        fail_msg("%s", om_last_error());
    return vw;
}

static om_vocoder *new_vocoder(const om_vocoder_weights *vw, om_device *dev, int n_slots, int block)
{
    om_vocoder *voc = NULL;
    int rc = block ? om_vocoder_new_with(vw, dev, n_slots, block, &voc)
                   : om_vocoder_new(vw, dev, n_slots, &voc);

    if (rc != OMNI_OK)
        fail_msg("%s", om_last_error());
    return voc;
}

/* Everything that is there, at out + *n. */
static void drain(om_vocoder *voc, int slot, float *out, size_t cap, size_t *n)
{
    size_t got;
    int rc;

    do {
        rc = om_vocoder_run(voc);
        assert_true(rc == OMNI_OK || rc == OMNI_AGAIN);
        while (om_vocoder_pull(voc, slot, out + *n, cap - *n, &got) == OMNI_OK)
            *n += got;
    } while (rc == OMNI_OK);
}

/* The toy's stream in pushes of `cut` units; [n_wave] samples, om_free. One more than that fails. */
static float *speak(om_vocoder *voc, int slot, const toy *t, size_t cut)
{
    size_t n = 0, got, n_final;
    float *out = om_calloc(t->n_wave + 1, sizeof *out);
    const int32_t *durations;

    assert_non_null(out);
    for (size_t at = 0; at < t->n_units; at += cut) {
        size_t len = t->n_units - at < cut ? t->n_units - at : cut;

        assert_int_equal(om_vocoder_push(voc, slot, t->units + at, len), OMNI_OK);
        if (cut < ALL)
            drain(voc, slot, out, t->n_wave + 1, &n);
    }
    assert_false(om_vocoder_drained(voc, slot));
    assert_int_equal(om_vocoder_finish(voc, slot), OMNI_OK);
    drain(voc, slot, out, t->n_wave + 1, &n);
    assert_true(om_vocoder_drained(voc, slot));
    assert_int_equal(om_vocoder_pull(voc, slot, out, 1, &got), OMNI_AGAIN);
    assert_int_equal(n, t->n_wave);
    durations = om_vocoder_durations(voc, slot, &n_final);
    assert_int_equal(n_final, t->n_units);
    if (t->n_units)
        assert_memory_equal(durations, t->durations, n_final * sizeof *durations);
    return out;
}

static double worst(const float *a, const float *b, size_t n)
{
    double w = 0.0;

    for (size_t i = 0; i < n; i++)
        w = fabs((double)a[i] - (double)b[i]) > w ? fabs((double)a[i] - (double)b[i]) : w;
    return w;
}

/* Root mean square of the difference. */
static double distance(const float *a, const float *b, size_t n)
{
    double sum = 0.0;

    for (size_t i = 0; i < n; i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return n ? sqrt(sum / (double)n) : 0.0;
}

/* ---- the oracle ----------------------------------------------------------- */

static void equals_oracle(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++)
        for (int k = 0; k < (i < N_LIGHT ? N_WAYS : 3); k++) {
            toy t = toy_open(cases[i]);
            om_vocoder_weights *vw = load(&t, ways[k]);
            om_vocoder *voc = new_vocoder(vw, device, 1, 0);
            float *wave = speak(voc, 0, &t, ALL);
            bool exact = ways[k].force_f32 || (!ways[k].plain && !vw->bf16);

            print_message("  %-12s %s%s: worst %.1e, rms %.1e\n", cases[i], ways[k].plain ? "ggml" : "ours",
                          ways[k].force_f32 ? " f32" : vw->bf16 ? " bf16" : "", worst(wave, t.wave, t.n_wave),
                          distance(wave, t.wave, t.n_wave));
            if (exact)
                assert_true(worst(wave, t.wave, t.n_wave) <= 1e-4);
            else    /* activations rounded to 8 or 11 bits at 30 to 100 layers; the signal is about 0.4 */
                assert_true(distance(wave, t.wave, t.n_wave) <= 1.5e-2);
            om_free(wave);
            om_vocoder_free(voc);
            om_vocoder_unload(vw);
            toy_close(&t);
        }
}

static om_hparams public_hparams(void)
{
    static const int rates[] = { 5, 4, 4, 2, 2 }, kernels[] = { 11, 8, 8, 4, 4 }, odd[] = { 3, 7, 11 },
                     dilations[] = { 1, 3, 5 };
    om_hparams hp = { 0 };

    hp.voc.embd = 128;
    hp.voc.channels = 512;
    hp.voc.n_stages = 5;
    hp.voc.n_res = hp.voc.n_dil = 3;
    memcpy(hp.voc.rates, rates, sizeof rates);
    memcpy(hp.voc.kernels, kernels, sizeof kernels);
    memcpy(hp.voc.res_kernels, odd, sizeof odd);
    memcpy(hp.voc.dilations, dilations, sizeof dilations);
    return hp;
}

static void lookahead_is_6418(void **state)
{
    om_hparams hp = public_hparams();
    om_voc_plan *plan = NULL;

    (void)state;
    assert_int_equal(om_vocoder_lookahead(&hp), 6418);
    assert_int_equal(om_voc_plan_new(&hp, &plan), OMNI_OK);
    assert_int_equal(plan->signals[plan->wave].delay, 6418);
    assert_int_equal(plan->hop, 320);
    om_voc_plan_free(plan);
}

/* No sample later than the look-ahead and the block require, and none before it is exact. */
static void samples_come_as_soon_as_they_can(void **state)
{
    (void)state;
    for (int i = 0; i < N_LIGHT; i++) {
        toy t = toy_open(cases[i]);
        om_vocoder_weights *vw = load(&t, ways[0]);
        om_vocoder *voc = new_vocoder(vw, device, 1, 3);
        float *out = om_calloc(t.n_wave + 1, sizeof *out);
        int64_t n_frames = 0, due, lookahead = om_vocoder_lookahead(&t.hp);
        size_t n = 0, n_final, wait = (size_t)t.hp.voc.dur_kernel - 1;

        for (size_t u = 0; u < t.n_units; u++) {
            assert_int_equal(om_vocoder_push(voc, 0, t.units + u, 1), OMNI_OK);
            drain(voc, 0, out, t.n_wave + 1, &n);
            om_vocoder_durations(voc, 0, &n_final);
            assert_int_equal(n_final, u + 1 < wait ? 0 : u + 1 - wait);
            n_frames = 0;
            for (size_t k = 0; k < n_final; k++)
                n_frames += t.durations[k];
            due = n_frames / 3 * 3 * t.hp.voc.hop - lookahead;
            assert_int_equal(n, due > 0 ? due : 0);
        }
        assert_true(worst(out, t.wave, n) <= 1e-4);
        om_free(out);
        om_vocoder_free(voc);
        om_vocoder_unload(vw);
        toy_close(&t);
    }
}

/* ---- the kernels of all CPUs ---------------------------------------------- */

enum { MAX_IN = 40, MAX_LANES = 160, MAX_TAPS = 7, MAX_ROWS = 40, MAX_REACH = MAX_ROWS + 6 * 3 };

typedef struct conv_toy {
    int in, lanes, taps, dilation, rows;
    float w[MAX_LANES][MAX_TAPS][MAX_IN], bias[MAX_LANES];
    float x[MAX_REACH][48], residual[MAX_ROWS][MAX_LANES];
    float raw[MAX_ROWS * MAX_LANES], act[MAX_ROWS * MAX_LANES];
    uint16_t x16[MAX_REACH][48], act16[MAX_ROWS * MAX_LANES];
} conv_toy;

static uint32_t draw(uint32_t n)
{
    static uint64_t state = 7;

    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % n;
}

/* Halves of small integers: sums of products are exact in every type and order. */
static float draw_value(void)
{
    return ((float)draw(9) - 4.0f) / 2.0f;
}

static float toy_weight(const void *user, int lane, int tap, int channel)
{
    const conv_toy *t = user;

    return t->w[lane][tap][channel];
}

static void draw_conv(conv_toy *t)
{
    memset(t, 0, sizeof *t);
    t->in = 1 + (int)draw(MAX_IN);
    t->lanes = 16 * (1 + (int)draw(MAX_LANES / 16));
    t->taps = 1 + (int)draw(MAX_TAPS);
    t->dilation = 1 + (int)draw(3);
    t->rows = (int)draw(MAX_ROWS + 1);
    for (int o = 0; o < t->lanes; o++) {
        t->bias[o] = draw_value();
        for (int j = 0; j < t->taps; j++)
            for (int i = 0; i < t->in; i++)
                t->w[o][j][i] = draw_value();
        for (int n = 0; n < MAX_ROWS; n++)
            t->residual[n][o] = draw_value();
    }
    for (int n = 0; n < MAX_REACH; n++)
        for (int i = 0; i < t->in; i++)
            t->x[n][i] = draw_value();
}

/* Rows come packed one after the other, as wide as the padded channels. */
static void check_conv(conv_toy *t, om_voc_compute compute, int begin, int end, int threads)
{
    int stride = om_voc_padded(t->in);
    bool bf16 = compute == OM_VOC_BF16;
    float *x = om_calloc((size_t)MAX_REACH * 48, sizeof *x);
    float *residual = om_calloc((size_t)MAX_ROWS * MAX_LANES, sizeof *x);
    om_voc_packed c;
    om_voc_rows rows = {
        .in = bf16 ? (const void *)t->x16 : x, .begin = begin, .end = end, .residual = residual,
        .raw = t->raw, .act = bf16 ? (void *)t->act16 : t->act, .slope = 0.25f,
    };

    for (int n = 0; n < MAX_REACH; n++)
        memcpy(x + n * stride, t->x[n], (size_t)stride * sizeof *x);
    for (int n = 0; n < MAX_ROWS; n++)
        memcpy(residual + n * t->lanes, t->residual[n], (size_t)t->lanes * sizeof *x);
    om_voc_to_act(x, t->x16, 0, (size_t)(MAX_REACH * stride), true);
    for (int i = 0; i < MAX_ROWS * MAX_LANES; i++)
        t->raw[i] = t->act[i] = 1e9f;
    assert_int_equal(om_voc_conv_pack(&c, t->in, t->lanes, t->taps, t->dilation, compute, toy_weight, t),
                     OMNI_OK);
    memcpy(c.bias, t->bias, (size_t)t->lanes * sizeof *c.bias);
    for (int ith = 0; ith < threads; ith++)
        om_voc_conv_run(&c, &rows, ith, threads);
    for (int n = 0; n < MAX_ROWS; n++)
        for (int o = 0; o < t->lanes; o++) {
            float sum = t->bias[o] + t->residual[n][o], act = t->act[n * t->lanes + o];

            for (int j = 0; j < t->taps; j++)
                for (int i = 0; i < t->in; i++)
                    sum += t->w[o][j][i] * t->x[n + j * t->dilation][i];
            if (n < begin || n >= end)
                sum = 1e9f;
            assert_true(t->raw[n * t->lanes + o] == sum);
            if (bf16) {
                uint32_t bits = (uint32_t)t->act16[n * t->lanes + o] << 16;

                memcpy(&act, &bits, sizeof act);
                if (sum < 1e9f)
                    assert_true(fabsf(act - (sum > 0 ? sum : 0.25f * sum)) <= fabsf(sum) / 256.0f);
            } else {
                assert_true(act == (sum > 0 || sum == 1e9f ? sum : 0.25f * sum));
            }
        }
    om_voc_conv_free(&c);
    om_free(x);
    om_free(residual);
}

static void kernels_agree_with_the_sum(void **state)
{
    conv_toy *t = om_calloc(1, sizeof *t);

    (void)state;
    assert_non_null(t);
    for (int round = 0; round < 60; round++) {
        draw_conv(t);
        for (int k = OM_VOC_F32; k <= OM_VOC_F32_ANY; k++)
            if (om_voc_conv_has((om_voc_compute)k))
                check_conv(t, (om_voc_compute)k, (int)draw((uint32_t)t->rows + 1), t->rows, 1 + (int)draw(4));
    }
    om_free(t);
}

/* ---- the laws ------------------------------------------------------------- */

static void cuts_do_not_matter(void **state)
{
    static const size_t cuts[] = { 1, 2, 7 };

    (void)state;
    for (int i = 0; i < N_LIGHT; i++)
        for (int k = 0; k < (i < 4 ? N_WAYS : 2); k++) {     /* ggml's graphs take their time */
            toy t = toy_open(cases[i]);
            om_vocoder_weights *vw = load(&t, ways[k]);
            om_vocoder *voc = new_vocoder(vw, device, 1, 4);
            float *want = speak(voc, 0, &t, ALL);

            for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++) {
                float *wave;

                om_vocoder_reset(voc, 0);
                wave = speak(voc, 0, &t, cuts[c]);
                assert_memory_equal(wave, want, t.n_wave * sizeof *wave);
                om_free(wave);
            }
            om_free(want);
            om_vocoder_free(voc);
            om_vocoder_unload(vw);
            toy_close(&t);
        }
}

/* Our kernels sum in one order, whatever the block and the number of threads. */
static void blocks_and_threads_do_not_matter(void **state)
{
    static const int blocks[] = { 1, 3, 8, 50 }, threads[] = { 2, 3 };

    (void)state;
    for (int i = 0; i < N_LIGHT; i++)
        for (int k = 0; k < 2; k++) {
            toy t = toy_open(cases[i]);
            om_vocoder_weights *vw = load(&t, ways[k]);
            om_vocoder *voc = new_vocoder(vw, device, 1, 0);
            float *want = speak(voc, 0, &t, ALL), *wave;

            om_vocoder_free(voc);
            for (size_t b = 0; b < sizeof blocks / sizeof *blocks; b++) {
                voc = new_vocoder(vw, device, 1, blocks[b]);
                wave = speak(voc, 0, &t, 5);
                assert_memory_equal(wave, want, t.n_wave * sizeof *wave);
                om_free(wave);
                om_vocoder_free(voc);
            }
            for (size_t n = 0; i < 2 && n < sizeof threads / sizeof *threads; n++) {
                om_device *dev = NULL;

                assert_int_equal(om_device_new(threads[n], false, &dev), OMNI_OK);
                voc = new_vocoder(vw, dev, 1, 0);
                wave = speak(voc, 0, &t, ALL);
                assert_memory_equal(wave, want, t.n_wave * sizeof *wave);
                om_free(wave);
                om_vocoder_free(voc);
                om_device_free(dev);
            }
            om_free(want);
            om_vocoder_unload(vw);
            toy_close(&t);
        }
}

/* Three slots, one unit each in turn, the second a few units late, against one alone. */
static void slots_do_not_disturb_each_other(void **state)
{
    (void)state;
    for (int k = 0; k < N_WAYS; k++) {
        toy t = toy_open("small");
        om_vocoder_weights *vw = load(&t, ways[k]);
        om_vocoder *voc = new_vocoder(vw, device, 3, 2);
        float *want = speak(voc, 1, &t, ALL), *out[3];
        size_t n[3] = { 0 };

        om_vocoder_reset(voc, 1);
        for (int s = 0; s < 3; s++)
            out[s] = om_calloc(t.n_wave + 1, sizeof **out);
        for (size_t u = 0; u < t.n_units + 6; u++)
            for (int s = 0; s < 3; s++) {
                size_t late = s == 1 ? 6 : 0;

                if (u >= late && u - late < t.n_units)
                    assert_int_equal(om_vocoder_push(voc, s, t.units + u - late, 1), OMNI_OK);
                if (u - late == t.n_units)
                    assert_int_equal(om_vocoder_finish(voc, s), OMNI_OK);
                drain(voc, s, out[s], t.n_wave + 1, &n[s]);
            }
        for (int s = 0; s < 3; s++) {
            om_vocoder_finish(voc, s);
            drain(voc, s, out[s], t.n_wave + 1, &n[s]);
            assert_int_equal(n[s], t.n_wave);
            assert_memory_equal(out[s], want, t.n_wave * sizeof *want);
            om_free(out[s]);
        }
        om_free(want);
        om_vocoder_free(voc);
        om_vocoder_unload(vw);
        toy_close(&t);
    }
}

static void reset_forgets(void **state)
{
    (void)state;
    for (int k = 0; k < N_WAYS; k++) {
        toy t = toy_open("deep");
        om_vocoder_weights *vw = load(&t, ways[k]);
        om_vocoder *voc = new_vocoder(vw, device, 1, 4);
        float *want = speak(voc, 0, &t, ALL), *out = om_calloc(t.n_wave + 1, sizeof *out), *wave;
        size_t n = 0;

        om_vocoder_reset(voc, 0);
        assert_int_equal(om_vocoder_push(voc, 0, t.units + 3, t.n_units - 3), OMNI_OK);
        drain(voc, 0, out, t.n_wave + 1, &n);
        assert_true(n > 0);
        om_vocoder_reset(voc, 0);
        assert_null(om_vocoder_durations(voc, 0, &n));
        wave = speak(voc, 0, &t, 7);
        assert_memory_equal(wave, want, t.n_wave * sizeof *wave);
        om_free(wave);
        om_free(out);
        om_free(want);
        om_vocoder_free(voc);
        om_vocoder_unload(vw);
        toy_close(&t);
    }
}

/* After u units: what a stream of just these units gives, from the next sample of the exact one on. */
static void early_is_the_stream_cut_here(void **state)
{
    (void)state;
    for (int k = 0; k < N_WAYS; k++) {
        toy t = toy_open("small");
        om_vocoder_weights *vw = load(&t, ways[k]);
        om_vocoder *voc = new_vocoder(vw, device, 1, 4), *other = new_vocoder(vw, device, 1, 4);
        size_t cap = 2 * t.n_wave, n = 0, got, few, m;
        float *out = om_calloc(cap, sizeof *out), *early = om_calloc(cap, sizeof *out);
        float *prefix = om_calloc(cap, sizeof *out);

        for (size_t u = 0; u < t.n_units; u++) {
            assert_int_equal(om_vocoder_push(voc, 0, t.units + u, 1), OMNI_OK);
            if (u % 3 == 0)     /* samples may wait, or not, when early is asked */
                drain(voc, 0, out, t.n_wave + 1, &n);
            if (u % 7 != 0)
                continue;
            assert_int_equal(om_vocoder_early(voc, 0, early, cap, &got), OMNI_OK);
            om_vocoder_reset(other, 0);
            assert_int_equal(om_vocoder_push(other, 0, t.units, u + 1), OMNI_OK);
            assert_int_equal(om_vocoder_finish(other, 0), OMNI_OK);
            m = 0;
            drain(other, 0, prefix, cap, &m);
            assert_int_equal(got, m - n);
            assert_memory_equal(early, prefix + n, got * sizeof *early);
            assert_int_equal(om_vocoder_early(voc, 0, early, 10, &few), OMNI_OK);
            assert_int_equal(few, got < 10 ? got : 10);
            assert_memory_equal(early, prefix + n, few * sizeof *early);
        }
        assert_int_equal(om_vocoder_finish(voc, 0), OMNI_OK);
        drain(voc, 0, out, t.n_wave + 1, &n);
        assert_int_equal(n, t.n_wave);
        om_vocoder_reset(other, 0);
        om_free(prefix);
        prefix = speak(other, 0, &t, ALL);
        assert_memory_equal(out, prefix, n * sizeof *out);
        om_free(out);
        om_free(early);
        om_free(prefix);
        om_vocoder_free(voc);
        om_vocoder_free(other);
        om_vocoder_unload(vw);
        toy_close(&t);
    }
}

/* ---- what is refused ------------------------------------------------------ */

static void mistakes_are_refused(void **state)
{
    toy t = toy_open("small");
    om_vocoder_weights *vw = load(&t, ways[0]), *none = NULL;
    om_vocoder *voc = new_vocoder(vw, device, 1, 0), *bad = NULL;
    int32_t units[2] = { 0, t.hp.dec.units };
    om_hparams hp = t.hp;
    float *wave, x;
    size_t n;

    (void)state;
    assert_int_equal(om_vocoder_push(voc, 1, t.units, 1), OMNI_ERR_ARG);
    assert_int_equal(om_vocoder_push(voc, -1, t.units, 1), OMNI_ERR_ARG);
    assert_int_equal(om_vocoder_push(voc, 0, units, 2), OMNI_ERR_ARG);
    units[1] = -1;
    assert_int_equal(om_vocoder_push(voc, 0, units, 2), OMNI_ERR_ARG);
    assert_int_equal(om_vocoder_push(voc, 0, units, SIZE_MAX / 8), OMNI_ERR_ARG);
    assert_int_equal(om_vocoder_pull(voc, 2, &x, 1, &n), OMNI_ERR_ARG);
    assert_int_equal(om_vocoder_finish(voc, 2), OMNI_ERR_ARG);
    assert_int_equal(om_vocoder_early(voc, 2, &x, 1, &n), OMNI_ERR_ARG);
    assert_int_equal(om_vocoder_new_with(vw, device, 0, 8, &bad), OMNI_ERR_ARG);
    assert_int_equal(om_vocoder_new_with(vw, device, 1, 0, &bad), OMNI_ERR_ARG);
    wave = speak(voc, 0, &t, 3);    /* nothing of the above has been taken */
    om_free(wave);
    assert_int_equal(om_vocoder_push(voc, 0, t.units, 1), OMNI_ERR_STATE);
    assert_int_equal(om_vocoder_finish(voc, 0), OMNI_OK);
    hp.voc.channels *= 2;
    assert_int_equal(om_vocoder_load(t.w, &hp, device, true, &none), OMNI_ERR_MODEL);
    assert_non_null(strstr(om_last_error(), "voc.conv_pre.weight"));
    hp = t.hp;
    hp.voc.res_kernels[1] = 4;
    assert_int_equal(om_vocoder_load(t.w, &hp, device, true, &none), OMNI_ERR_MODEL);
    assert_null(none);
    om_vocoder_free(voc);
    om_vocoder_unload(vw);
    toy_close(&t);
}

/* A stream as long as allowed is not begun with more than that. */
static void a_stream_has_an_end(void **state)
{
    enum { CHUNK = 1 << 14 };
    toy t = toy_open("tight");
    om_vocoder_weights *vw = load(&t, ways[0]);
    om_vocoder *voc = new_vocoder(vw, device, 1, 0);
    int32_t *units = om_calloc(CHUNK, sizeof *units);
    int rc = OMNI_OK, n = 0;

    (void)state;
    for (; rc == OMNI_OK && n < 1000; n++)
        rc = om_vocoder_push(voc, 0, units, CHUNK);
    assert_int_equal(rc, OMNI_ERR_LIMIT);
    assert_int_equal((n - 1) * CHUNK, 1 << 18);
    om_free(units);
    om_vocoder_free(voc);
    om_vocoder_unload(vw);
    toy_close(&t);
}

/* Every allocation and read fails once; what failed can be freed, and says so. */
static int whole_life(const toy *t, way how)
{
    om_vocoder_weights *vw = NULL;
    om_vocoder *voc = NULL;
    float out[64];
    size_t n;
    int rc = om_vocoder_load_with(t->w, &t->hp, device, how.force_f32, how.plain, &vw);

    if (!rc)
        rc = om_vocoder_new_with(vw, device, 1, 2, &voc);
    for (size_t u = 0; u < t->n_units && !rc; u++)
        rc = om_vocoder_push(voc, 0, t->units + u, 1);
    if (!rc)
        rc = om_vocoder_early(voc, 0, out, 64, &n);
    if (!rc)
        rc = om_vocoder_finish(voc, 0);
    while (!rc && !om_vocoder_drained(voc, 0)) {
        rc = om_vocoder_run(voc);
        rc = rc == OMNI_AGAIN ? OMNI_OK : rc;
        while (!rc && om_vocoder_pull(voc, 0, out, 64, &n) == OMNI_OK)
            continue;
    }
    om_vocoder_free(voc);
    om_vocoder_unload(vw);
    return rc;
}

static void failures_are_survived(void **state)
{
    (void)state;
    for (int k = 0; k < N_WAYS; k += 2) {
        toy t = toy_open("tight");
        long n = 1;
        int rc;

        for (; n < 10000; n++) {
            om_torture_arm(n);
            rc = whole_life(&t, ways[k]);
            if (om_torture_count() < n)
                break;      /* none was left to fail */
            assert_true(rc < 0);
        }
        om_torture_arm(0);
        assert_int_equal(rc, OMNI_OK);
        assert_true(n > 20 && n < 10000);
        toy_close(&t);
    }
}

static bool abort_at_once(void *user)
{
    (void)user;
    return true;
}

static void a_cancelled_block_leaves_a_slot_to_reset(void **state)
{
    (void)state;
    for (int k = 0; k < N_WAYS; k += 2) {
        toy t = toy_open("small");
        om_vocoder_weights *vw = load(&t, ways[k]);
        om_vocoder *voc = new_vocoder(vw, device, 1, 2);
        float *want = speak(voc, 0, &t, ALL), *wave;

        om_vocoder_reset(voc, 0);
        assert_int_equal(om_vocoder_push(voc, 0, t.units, t.n_units), OMNI_OK);
        assert_int_equal(om_vocoder_run(voc), OMNI_OK);
        om_device_set_abort(device, abort_at_once, NULL);
        assert_int_equal(om_vocoder_run(voc), OMNI_ERR_STATE);
        om_device_set_abort(device, NULL, NULL);
        assert_int_equal(om_vocoder_run(voc), OMNI_AGAIN);
        om_vocoder_reset(voc, 0);
        wave = speak(voc, 0, &t, 2);
        assert_memory_equal(wave, want, t.n_wave * sizeof *wave);
        om_free(want);
        om_free(wave);
        om_vocoder_free(voc);
        om_vocoder_unload(vw);
        toy_close(&t);
    }
}

/* No memory for one slot's samples: the other has its block all the same, and all of its sound. */
static void a_broken_slot_breaks_no_other(void **state)
{
    toy t = toy_open("small");
    om_vocoder_weights *vw = load(&t, ways[0]);
    om_vocoder *voc = new_vocoder(vw, device, 2, 64);
    float *want = speak(voc, 0, &t, ALL), *wave;
    size_t n = 0;

    (void)state;
    om_vocoder_free(voc);
    voc = new_vocoder(vw, device, 2, 64);
    wave = om_calloc(t.n_wave + 1, sizeof *wave);
    assert_non_null(wave);
    for (int slot = 0; slot < 2; slot++) {
        assert_int_equal(om_vocoder_push(voc, slot, t.units, t.n_units), OMNI_OK);
        assert_int_equal(om_vocoder_finish(voc, slot), OMNI_OK);
    }
    om_torture_arm(1);
    assert_int_equal(om_vocoder_run(voc), OMNI_ERR_MEMORY);
    om_torture_arm(0);
    assert_int_equal(om_vocoder_status(voc, 0), OMNI_ERR_MEMORY);
    assert_int_equal(om_vocoder_status(voc, 1), OMNI_OK);
    assert_int_equal(om_vocoder_pull(voc, 1, wave, t.n_wave, &n), OMNI_OK);
    drain(voc, 1, wave, t.n_wave + 1, &n);
    assert_int_equal(n, t.n_wave);
    assert_memory_equal(wave, want, t.n_wave * sizeof *wave);
    om_free(wave);
    om_vocoder_reset(voc, 0);
    assert_int_equal(om_vocoder_status(voc, 0), OMNI_OK);
    wave = speak(voc, 0, &t, ALL);
    assert_memory_equal(wave, want, t.n_wave * sizeof *wave);
    om_free(wave);
    om_free(want);
    om_vocoder_free(voc);
    om_vocoder_unload(vw);
    toy_close(&t);
}

static int set_up(void **state)
{
    (void)state;
    return om_device_new(1, false, &device);
}

static int tear_down(void **state)
{
    (void)state;
    om_device_free(device);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_oracle),
        cmocka_unit_test(lookahead_is_6418),
        cmocka_unit_test(kernels_agree_with_the_sum),
        cmocka_unit_test(samples_come_as_soon_as_they_can),
        cmocka_unit_test(cuts_do_not_matter),
        cmocka_unit_test(blocks_and_threads_do_not_matter),
        cmocka_unit_test(slots_do_not_disturb_each_other),
        cmocka_unit_test(reset_forgets),
        cmocka_unit_test(early_is_the_stream_cut_here),
        cmocka_unit_test(mistakes_are_refused),
        cmocka_unit_test(a_stream_has_an_end),
        cmocka_unit_test(failures_are_survived),
        cmocka_unit_test(a_cancelled_block_leaves_a_slot_to_reset),
        cmocka_unit_test(a_broken_slot_breaks_no_other),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
