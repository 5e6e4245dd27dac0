/* encoder and adaptor against the numpy oracle, and the laws every stage keeps. */
#include "base/graph.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/weights.h"
#include "stage/adaptor.h"
#include "stage/encoder-cpu.h"
#include "stage/encoder.h"

#include "unit/cmocka_all.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char cases[] = "abcdefghij";

/* Relative to the largest value. Activations meet f16 and bf16 matrices rounded to that type, q8_0 ones
 * rounded to 8 bits per block; about twice what was measured. */
static double tolerance(const char *type)
{
    if (strcmp(type, "f32") == 0)
        return 1e-4;
    return strcmp(type, "f16") == 0 ? 2e-3 : strcmp(type, "bf16") == 0 ? 1.5e-2 : 5e-2;
}

typedef struct toy {
    om_weights *w;
    om_hparams hp;
    const char *type;
    float *mel, *rows, *out;    /* [F][n_mels], [E][C], [R][D] or NULL */
    size_t n_rows, n_out;       /* numbers in rows, in out */
    om_device *dev;
} toy;

static float *read_tensor(const om_weights *w, const char *name, size_t *n)
{
    const om_tensor_desc *t = om_weights_find(w, name);
    float *x = NULL;

    if (!t)
        return NULL;
    *n = (size_t)(t->ne[0] * t->ne[1]);
    x = om_calloc(*n, sizeof(float));
    assert_non_null(x);
    assert_int_equal(om_weights_read_f32(w, t, x), OMNI_OK);
    return x;
}

static int number(const om_weights *w, const char *key)
{
    int value = 0;
    assert_int_equal(om_weights_u32(w, key, 1, 1000000, &value), OMNI_OK);
    return value;
}

static toy toy_open(char name, int threads)
{
    toy t = { 0 };
    const char *dir = getenv("OMNI_ORACLE_DIR");
    char path[4096];
    size_t n = 0;

    if (!dir)
        fail_msg("OMNI_ORACLE_DIR is not set: run this through ctest");
    snprintf(path, sizeof path, "%s/encoder/encoder-%c.gguf", dir, name);
    if (om_weights_open(path, &t.w) != OMNI_OK)
        fail_msg("%s (made by tests/oracle/encoder_oracle.py)", om_last_error());
    t.hp.audio.n_mels = number(t.w, "test.n_mels");
    t.hp.enc.width = number(t.w, "test.width");
    t.hp.enc.heads = number(t.w, "test.heads");
    t.hp.enc.layers = number(t.w, "test.layers");
    t.hp.enc.ff = number(t.w, "test.ff");
    t.hp.enc.context = number(t.w, "test.context");
    t.hp.audio.frames = 2 * t.hp.enc.context;
    t.hp.adaptor.stack = number(t.w, "test.stack");
    t.hp.adaptor.hidden = number(t.w, "test.hidden");
    t.hp.adaptor.rows = t.hp.enc.context / t.hp.adaptor.stack;
    t.hp.llm.width = number(t.w, "test.llm_width");
    assert_int_equal(om_weights_f32(t.w, "test.eps", 0.0f, 1.0f, &t.hp.enc.eps), OMNI_OK);
    assert_int_equal(om_weights_str(t.w, "test.type", &t.type), OMNI_OK);
    t.mel = read_tensor(t.w, "in.mel", &n);
    assert_non_null(t.mel);
    t.rows = read_tensor(t.w, "out.encoder", &t.n_rows);
    assert_non_null(t.rows);
    t.out = read_tensor(t.w, "out.adaptor", &t.n_out);
    assert_int_equal(om_device_new(threads, false, &t.dev), OMNI_OK);
    return t;
}

static void toy_close(toy *t)
{
    om_free(t->mel);
    om_free(t->rows);
    om_free(t->out);
    om_device_free(t->dev);
    om_weights_free(t->w);
}

static double relative_error(const float *got, const float *want, size_t n)
{
    double worst = 0.0, top = 0.0;
    for (size_t i = 0; i < n; i++) {
        const double e = fabs((double)got[i] - (double)want[i]);
        worst = e > worst || isnan(e) ? e : worst;
        top = fmax(top, fabs((double)want[i]));
    }
    return worst / top;
}

/* Slices needed to finish the job. */
static int drain(om_encoder *enc)
{
    int n = 1, rc;
    while ((rc = om_encoder_run(enc)) == OMNI_AGAIN) {
        n++;
        assert_true(n < 1000);
    }
    assert_int_equal(rc, OMNI_OK);
    return n;
}

static void encode(om_encoder *enc, const float *mel, float *rows)
{
    assert_int_equal(om_encoder_push(enc, mel), OMNI_OK);
    drain(enc);
    assert_int_equal(om_encoder_pull(enc, rows), OMNI_OK);
}

/* Encoder and adaptor of one toy against the oracle. */
static void compare(const toy *t, char name, bool force_f32, bool plain, double limit)
{
    om_encoder_weights *ew = NULL;
    om_adaptor_weights *aw = NULL;
    om_encoder *enc = NULL;
    om_adaptor *ad = NULL;
    float *rows = om_calloc(t->n_rows, sizeof(float)), *out = om_calloc(t->n_out + 1, sizeof(float));
    double e;

    assert_int_equal(om_encoder_load(t->w, &t->hp, t->dev, force_f32, &ew), OMNI_OK);
    assert_int_equal(om_encoder_new(ew, t->dev, &enc), OMNI_OK);
    om_encoder_set_plain(enc, plain);
    encode(enc, t->mel, rows);
    e = relative_error(rows, t->rows, t->n_rows);
    if (!(e <= limit))
        fail_msg("encoder %c (%s%s%s): relative error %g", name, t->type, force_f32 ? " as f32" : "",
                 plain ? " plain" : "", e);
    assert_int_equal(om_adaptor_load(t->w, &t->hp, t->dev, force_f32, &aw), OMNI_OK);
    assert_int_equal(om_adaptor_new(aw, t->dev, &ad), OMNI_OK);
    out[t->n_out] = 7.0f;                                   /* nothing past the end may be written */
    assert_int_equal(om_adaptor_run(ad, t->rows, out), OMNI_OK);
    assert_true(out[t->n_out] == 7.0f);
    assert_int_equal((size_t)t->hp.adaptor.rows * (size_t)t->hp.llm.width, t->n_out);
    e = t->n_out ? relative_error(out, t->out, t->n_out) : 0.0;
    if (!(e <= limit))
        fail_msg("adaptor %c (%s%s): relative error %g", name, t->type, force_f32 ? " as f32" : "", e);
    om_adaptor_free(ad);
    om_adaptor_unload(aw);
    om_encoder_free(enc);
    om_encoder_unload(ew);
    om_free(rows);
    om_free(out);
}

static void test_oracle_f32(void **state)
{
    (void)state;
    for (const char *c = cases; *c; c++) {
        toy t = toy_open(*c, 1);
        compare(&t, *c, true, false, 1e-4);
        compare(&t, *c, true, true, 1e-4);
        toy_close(&t);
    }
}

static void test_oracle_as_stored(void **state)
{
    (void)state;
    for (const char *c = cases; *c; c++) {
        toy t = toy_open(*c, 1);
        compare(&t, *c, false, false, tolerance(t.type));
        compare(&t, *c, false, true, tolerance(t.type));
        toy_close(&t);
    }
}

/* Slices of any size, a second job and a job after a broken-off one: the same bits. */
static void test_same_rows_always(void **state)
{
    (void)state;
    for (const char *c = "cfgh"; *c; c++) {
        toy t = toy_open(*c, 1);
        om_encoder_weights *ew = NULL;
        om_encoder *enc = NULL;
        float *once = om_calloc(t.n_rows, sizeof(float)), *again = om_calloc(t.n_rows, sizeof(float));

        assert_int_equal(om_encoder_load(t.w, &t.hp, t.dev, false, &ew), OMNI_OK);
        assert_int_equal(om_encoder_new(ew, t.dev, &enc), OMNI_OK);
        encode(enc, t.mel, once);
        assert_int_equal(om_encoder_push(enc, t.mel), OMNI_OK);
        om_encoder_set_slice(enc, 0.0);
        assert_int_equal(drain(enc), 2 * t.hp.enc.layers);
        assert_int_equal(om_encoder_pull(enc, again), OMNI_OK);
        assert_memory_equal(once, again, t.n_rows * sizeof(float));

        memset(again, 0, t.n_rows * sizeof(float));
        assert_int_equal(om_encoder_push(enc, t.mel), OMNI_OK);
        assert_int_equal(om_encoder_run(enc), OMNI_AGAIN);
        om_encoder_reset(enc);
        assert_int_equal(om_encoder_pull(enc, again), OMNI_AGAIN);
        encode(enc, t.mel, again);
        assert_memory_equal(once, again, t.n_rows * sizeof(float));
        om_encoder_free(enc);
        om_encoder_unload(ew);
        om_free(once);
        om_free(again);
        toy_close(&t);
    }
}

/* Threads share the work, not the sums. One toy only: on a busy machine ggml's barriers are slow. */
static void test_threads(void **state)
{
    float *rows[2] = { NULL, NULL };
    size_t n = 0;

    (void)state;
    for (int i = 0; i < 2; i++) {
        toy t = toy_open('h', 1 + i);
        om_encoder_weights *ew = NULL;
        om_encoder *enc = NULL;

        n = t.n_rows;
        rows[i] = om_calloc(n, sizeof(float));
        assert_int_equal(om_encoder_load(t.w, &t.hp, t.dev, false, &ew), OMNI_OK);
        assert_int_equal(om_encoder_new(ew, t.dev, &enc), OMNI_OK);
        encode(enc, t.mel, rows[i]);
        om_encoder_free(enc);
        om_encoder_unload(ew);
        toy_close(&t);
    }
    assert_memory_equal(rows[0], rows[1], n * sizeof(float));
    om_free(rows[0]);
    om_free(rows[1]);
}

static bool stop_at_once(void *user)
{
    (void)user;
    return true;
}

static void test_states(void **state)
{
    toy t = toy_open('a', 1);
    om_encoder_weights *ew = NULL;
    om_encoder *enc = NULL;
    float *rows = om_calloc(t.n_rows, sizeof(float));

    (void)state;
    assert_int_equal(om_encoder_load(t.w, &t.hp, t.dev, false, &ew), OMNI_OK);
    assert_int_equal(om_encoder_new(ew, t.dev, &enc), OMNI_OK);
    assert_int_equal(om_encoder_pull(enc, rows), OMNI_AGAIN);
    assert_int_equal(om_encoder_run(enc), OMNI_ERR_STATE);
    assert_int_equal(om_encoder_push(enc, t.mel), OMNI_OK);
    assert_int_equal(om_encoder_push(enc, t.mel), OMNI_AGAIN);
    assert_int_equal(om_encoder_pull(enc, rows), OMNI_AGAIN);
    assert_int_equal(drain(enc), 1);                       /* small encoders take one slice */
    assert_int_equal(om_encoder_run(enc), OMNI_OK);
    assert_int_equal(om_encoder_pull(enc, rows), OMNI_OK);
    assert_int_equal(om_encoder_push(enc, t.mel), OMNI_OK);
    om_device_set_abort(t.dev, stop_at_once, NULL);
    assert_int_equal(om_encoder_run(enc), OMNI_ERR_STATE);
    om_device_set_abort(t.dev, NULL, NULL);
    assert_int_equal(om_encoder_pull(enc, rows), OMNI_AGAIN);
    encode(enc, t.mel, rows);
    assert_true(relative_error(rows, t.rows, t.n_rows) <= 1e-4);
    om_encoder_free(enc);
    om_encoder_unload(ew);
    om_encoder_free(NULL);
    om_encoder_unload(NULL);
    om_adaptor_free(NULL);
    om_adaptor_unload(NULL);
    om_free(rows);
    toy_close(&t);
}

static void test_wrong_models(void **state)
{
    toy t = toy_open('a', 1);
    om_encoder_weights *ew = NULL;
    om_adaptor_weights *aw = NULL;
    om_hparams hp = t.hp;

    (void)state;
    hp.enc.ff++;
    assert_int_equal(om_encoder_load(t.w, &hp, t.dev, false, &ew), OMNI_ERR_MODEL);
    hp = t.hp;
    hp.enc.layers++;
    assert_int_equal(om_encoder_load(t.w, &hp, t.dev, false, &ew), OMNI_ERR_MODEL);
    hp = t.hp;
    hp.enc.heads = 5;                                      /* does not divide the width */
    assert_int_equal(om_encoder_load(t.w, &hp, t.dev, false, &ew), OMNI_ERR_MODEL);
    hp = t.hp;
    hp.audio.frames--;
    assert_int_equal(om_encoder_load(t.w, &hp, t.dev, false, &ew), OMNI_ERR_MODEL);
    hp = t.hp;
    hp.llm.width++;
    assert_int_equal(om_adaptor_load(t.w, &hp, t.dev, false, &aw), OMNI_ERR_MODEL);
    assert_null(ew);
    assert_null(aw);
    toy_close(&t);
}

static int everything(const toy *t)
{
    om_encoder_weights *ew = NULL;
    om_adaptor_weights *aw = NULL;
    om_encoder *enc = NULL;
    om_adaptor *ad = NULL;
    int rc = om_encoder_load(t->w, &t->hp, t->dev, false, &ew);

    if (rc == OMNI_OK)
        rc = om_encoder_new(ew, t->dev, &enc);
    if (rc == OMNI_OK)
        rc = om_encoder_push(enc, t->mel);
    while (rc == OMNI_OK && (rc = om_encoder_run(enc)) == OMNI_AGAIN)
        rc = OMNI_OK;
    if (rc == OMNI_OK)
        rc = om_adaptor_load(t->w, &t->hp, t->dev, false, &aw);
    if (rc == OMNI_OK)
        rc = om_adaptor_new(aw, t->dev, &ad);
    om_adaptor_free(ad);
    om_adaptor_unload(aw);
    om_encoder_free(enc);
    om_encoder_unload(ew);
    return rc;
}

static void test_every_allocation_fails(void **state)
{
    toy t = toy_open('f', 1);
    int rc = OMNI_ERR_MEMORY;

    (void)state;
    for (long n = 1; rc != OMNI_OK; n++) {
        assert_true(n < 2000);
        om_torture_arm(n);
        rc = everything(&t);
        om_torture_arm(0);
        assert_true(rc == OMNI_OK || rc == OMNI_ERR_MEMORY || rc == OMNI_ERR_IO);
    }
    toy_close(&t);
}

static void test_gelu(void **state)
{
    static float x[20001], y[20001];

    (void)state;
    for (int i = 0; i <= 20000; i++)
        x[i] = (float)(i - 10000) * 1e-3f;
    om_gelu_f32(x, y, 20001);
    for (int i = 0; i <= 20000; i++) {
        const double v = (double)x[i], want = 0.5 * v * erfc(-v * 0.70710678118654752440);
        if (!(fabs((double)y[i] - want) <= 5e-7 * fmax(1.0, fabs(v))))
            fail_msg("gelu(%g) = %.9g, wanted %.9g", v, (double)y[i], want);
    }
    x[0] = -1e30f;
    x[1] = 1e30f;
    x[2] = -0.0f;
    om_gelu_f32(x, y, 3);
    assert_true(fabsf(y[0]) < 1e-6f && y[1] == 1e30f && y[2] == 0.0f);
}

static void test_bf16_rounding(void **state)
{
    float x[37];
    ggml_bf16_t got[37], want[37];

    (void)state;
    for (int i = 0; i < 37; i++)
        x[i] = ldexpf(1.0f + (float)i * 0x1.0p-9f, i - 18) * (i % 2 ? -1.0f : 1.0f);   /* ties among them */
    om_to_bf16(x, got, 37);
    ggml_fp32_to_bf16_row_ref(x, want, 37);
    assert_memory_equal(got, want, sizeof want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gelu),
        cmocka_unit_test(test_bf16_rounding),
        cmocka_unit_test(test_oracle_f32),
        cmocka_unit_test(test_oracle_as_stored),
        cmocka_unit_test(test_same_rows_always),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_wrong_models),
        cmocka_unit_test(test_every_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
