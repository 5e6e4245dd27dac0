/* mel against the numpy oracle, and the laws every stage keeps. */
#include "base/memory.h"
#include "base/status.h"
#include "base/weights.h"
#include "stage/mel.h"

#include "unit/cmocka_all.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const shapes[] = { "large", "small", "odd", "ragged" };
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

typedef struct toy {
    om_weights *w;
    om_hparams hp;
    float *filters;             /* [n_mels][n_fft/2+1] */
    size_t n_out;               /* F * n_mels */
} toy;

static float *read_tensor(const om_weights *w, const char *name, size_t *n)
{
    const om_tensor_desc *t = om_weights_find(w, name);
    float *x = NULL;
    assert_non_null(t);
    *n = (size_t)(t->ne[0] * t->ne[1]);
    x = om_calloc(*n, sizeof(float));
    assert_non_null(x);
    assert_int_equal(om_weights_read_f32(w, t, x), OMNI_OK);
    return x;
}

static toy toy_open(const char *shape)
{
    toy t = { 0 };
    const char *dir = getenv("OMNI_ORACLE_DIR");
    char path[4096];
    size_t n = 0;

    if (!dir)
        fail_msg("OMNI_ORACLE_DIR is not set: run this through ctest");
    snprintf(path, sizeof path, "%s/mel/mel-%s.gguf", dir, shape);
    if (om_weights_open(path, &t.w) != OMNI_OK)
        fail_msg("%s (made by tests/oracle/mel_oracle.py)", om_last_error());
    assert_int_equal(om_weights_u32(t.w, "test.sample_rate", 1, 1000000, &t.hp.audio.sample_rate), OMNI_OK);
    assert_int_equal(om_weights_u32(t.w, "test.n_fft", 1, 100000, &t.hp.audio.n_fft), OMNI_OK);
    assert_int_equal(om_weights_u32(t.w, "test.hop", 1, 100000, &t.hp.audio.hop), OMNI_OK);
    assert_int_equal(om_weights_u32(t.w, "test.n_mels", 1, 1000, &t.hp.audio.n_mels), OMNI_OK);
    assert_int_equal(om_weights_u32(t.w, "test.window_samples", 1, 1000000, &t.hp.audio.window_samples),
                     OMNI_OK);
    t.hp.audio.frames = t.hp.audio.window_samples / t.hp.audio.hop;
    t.filters = read_tensor(t.w, "filters", &n);
    t.n_out = (size_t)t.hp.audio.frames * (size_t)t.hp.audio.n_mels;
    return t;
}

static void toy_close(toy *t)
{
    om_free(t->filters);
    om_weights_free(t->w);
}

/* Whole signal in pushes of at most `packet` samples. */
static void run(om_mel *mel, const float *x, size_t n, size_t packet, float *out)
{
    for (size_t at = 0; at < n;) {
        size_t len = n - at < packet ? n - at : packet, taken = 0;
        assert_int_equal(om_mel_push(mel, x + at, len, &taken), OMNI_OK);
        at += taken;
        if (taken < len)
            break;
    }
    assert_int_equal(om_mel_finish(mel), OMNI_OK);
    assert_int_equal(om_mel_pull(mel, out), OMNI_OK);
}

typedef void case_visitor(const toy *t, const char *name, const float *x, size_t n, const float *want);

/* Calls visit for every shape and case. */
static void each_case(case_visitor *visit)
{
    for (int s = 0; s < N_SHAPES; s++) {
        toy t = toy_open(shapes[s]);
        const char *names = NULL;
        assert_int_equal(om_weights_str(t.w, "test.cases", &names), OMNI_OK);
        while (*names) {
            const size_t len = strcspn(names, ",");
            char name[32], tensor[64];
            size_t n = 0, n_want = 0;
            assert_true(len < sizeof name);
            memcpy(name, names, len);
            name[len] = 0;
            snprintf(tensor, sizeof tensor, "%s.samples", name);
            float *x = read_tensor(t.w, tensor, &n);
            snprintf(tensor, sizeof tensor, "%s.frames", name);
            float *want = read_tensor(t.w, tensor, &n_want);
            assert_int_equal(n_want, t.n_out);
            visit(&t, name, x, n, want);
            om_free(x);
            om_free(want);
            names += len + (names[len] == ',');
        }
        toy_close(&t);
    }
}

static void compare_oracle(const toy *t, const char *name, const float *x, size_t n, const float *want)
{
    om_mel *mel = NULL;
    float *out = om_calloc(t->n_out, sizeof(float));
    double worst = 0.0;

    assert_int_equal(om_mel_new(&t->hp, t->filters, &mel), OMNI_OK);
    run(mel, x, n, n, out);
    for (size_t i = 0; i < t->n_out; i++)
        worst = fmax(worst, fabs((double)out[i] - (double)want[i]));
    if (!(worst <= 1e-5))
        fail_msg("%d mels, case %s: off by %g", t->hp.audio.n_mels, name, worst);
    om_free(out);
    om_mel_free(mel);
}

static void test_oracle(void **state) { (void)state; each_case(compare_oracle); }

static void compare_cuts(const toy *t, const char *name, const float *x, size_t n, const float *want)
{
    static const size_t packets[] = { 1, 7, 159, 160, 161, 400, 4096, 48000 };
    om_mel *mel = NULL;
    float *whole = om_calloc(t->n_out, sizeof(float)), *cut = om_calloc(t->n_out, sizeof(float));

    (void)want;
    assert_int_equal(om_mel_new(&t->hp, t->filters, &mel), OMNI_OK);
    run(mel, x, n, n, whole);
    for (size_t p = 0; p < sizeof packets / sizeof *packets; p++) {
        om_mel_reset(mel);       /* the reset law is tested along: nothing of the last run may show */
        run(mel, x, n, packets[p], cut);
        if (memcmp(whole, cut, t->n_out * sizeof(float)) != 0)
            fail_msg("%s: packets of %zu change the frames", name, packets[p]);
    }
    om_free(whole);
    om_free(cut);
    om_mel_free(mel);
}

static void test_cuts(void **state) { (void)state; each_case(compare_cuts); }

static void test_filters_equal_oracle(void **state)
{
    (void)state;
    for (int s = 0; s < N_SHAPES; s++) {
        toy t = toy_open(shapes[s]);
        const size_t n = (size_t)t.hp.audio.n_mels * (size_t)(t.hp.audio.n_fft / 2 + 1);
        float *f = om_calloc(n, sizeof(float));
        om_mel_filters(t.hp.audio.sample_rate, t.hp.audio.n_fft, t.hp.audio.n_mels, f);
        for (size_t i = 0; i < n; i++)
            assert_true(f[i] == t.filters[i]);     /* exact but for the sign of zeros */
        om_free(f);
        toy_close(&t);
    }
}

/* The published table's landmarks (128 filters). */
static void test_filters_check_values(void **state)
{
    static const double last[9] = { 0.00047569, 0.00161717, 0.00275865, 0.00390013, 0.00504160,
                                    0.00445712, 0.00334284, 0.00222856, 0.00111428 };
    static float f[128][201];
    int nonzero = 0;
    float top = 0.0f;

    (void)state;
    om_mel_filters(16000, 400, 128, &f[0][0]);
    for (int m = 0; m < 128; m++) {
        int row = 0;
        for (int k = 0; k < 201; k++) {
            row += f[m][k] != 0.0f;
            top = fmaxf(top, f[m][k]);
        }
        assert_true(row > 0);
        nonzero += row;
    }
    assert_int_equal(nonzero, 394);
    assert_true(f[0][1] == (float)0.012373986653983593);
    assert_true(f[0][0] == 0.0f && f[0][2] == 0.0f);
    assert_true(top == (float)0.04168175160884857);
    for (int k = 0; k < 201; k++) {
        const double want = k >= 191 && k <= 199 ? last[k - 191] : 0.0;
        assert_true(fabs((double)f[127][k] - want) < 1e-8);    /* given to 8 decimals */
    }
}

static void test_states(void **state)
{
    toy t = toy_open("large");
    om_mel *mel = NULL;
    float x[1000] = { 0 }, *out = om_calloc(t.n_out, sizeof(float));
    size_t taken = 9, total = 0;

    (void)state;
    assert_int_equal(om_mel_new(&t.hp, t.filters, &mel), OMNI_OK);
    assert_int_equal(om_mel_pull(mel, out), OMNI_AGAIN);
    assert_int_equal(om_mel_push(mel, x, 0, &taken), OMNI_OK);
    assert_int_equal(taken, 0);
    do {
        assert_int_equal(om_mel_push(mel, x, 1000, &taken), OMNI_OK);
        total += taken;
    } while (taken == 1000);
    assert_int_equal(total, t.hp.audio.window_samples);
    assert_int_equal(om_mel_pull(mel, out), OMNI_AGAIN);   /* full is not finished */
    assert_int_equal(om_mel_finish(mel), OMNI_OK);
    assert_int_equal(om_mel_finish(mel), OMNI_OK);
    assert_int_equal(om_mel_push(mel, x, 1, &taken), OMNI_ERR_STATE);
    assert_int_equal(om_mel_pull(mel, out), OMNI_OK);
    assert_true(out[0] == -1.5f);                           /* silence: (log10(1e-10) + 4) / 4 */
    om_mel_free(mel);
    om_mel_free(NULL);

    mel = NULL;
    t.hp.audio.n_fft = 401;
    assert_int_equal(om_mel_new(&t.hp, t.filters, &mel), OMNI_ERR_MODEL);
    t.hp.audio.n_fft = 400;
    t.hp.audio.frames++;
    assert_int_equal(om_mel_new(&t.hp, t.filters, &mel), OMNI_ERR_MODEL);
    assert_null(mel);
    om_free(out);
    toy_close(&t);
}

static void test_every_allocation_fails(void **state)
{
    toy t = toy_open("odd");
    om_mel *mel = NULL;
    int rc = OMNI_ERR_MEMORY;

    (void)state;
    for (long n = 1; rc != OMNI_OK; n++) {
        assert_true(n < 100);
        om_torture_arm(n);
        rc = om_mel_new(&t.hp, t.filters, &mel);
        om_torture_arm(0);
        assert_true(rc == OMNI_OK || (rc == OMNI_ERR_MEMORY && !mel));
    }
    om_mel_free(mel);
    toy_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filters_check_values),
        cmocka_unit_test(test_filters_equal_oracle),
        cmocka_unit_test(test_oracle),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_every_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
