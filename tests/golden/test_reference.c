/*
 * The whole path against tests/oracle/reference_oracle.py: random small models of many
 * shapes, every number between the stages, in f32.
 */
#include "unit/cmocka_all.h"

#include "omni.h"

#include "base/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODELS = 10 };

typedef struct {
    const char *stage;
    bool is_int;
    double relative, absolute;
} tolerance; /* both 0: exact */

static const tolerance stages[] = {
    { "mel", false, 0, 1e-5 },    { "encoder", false, 1e-4, 0 }, { "adaptor", false, 1e-4, 0 },
    { "prompt", true, 0, 0 },     { "tokens", true, 0, 0 },      { "hidden", false, 1e-4, 0 },
    { "ctc", false, 1e-4, 0 },    { "symbols", true, 0, 0 },     { "units", true, 0, 0 },
    { "durations", true, 0, 0 },  { "wave", false, 0, 1e-4 },
};

static const char *folder(void)
{
    const char *dir = getenv("OMNI_ORACLE_DIR");

    assert_non_null(dir);
    return dir;
}

static float *read_tensor(const om_weights *w, const char *name, const om_tensor_desc **desc)
{
    const om_tensor_desc *t = om_weights_find(w, name);
    size_t n;
    float *x;

    assert_non_null(t);
    n = (size_t)(t->ne[0] * t->ne[1]);
    x = malloc(n * sizeof *x);
    assert_non_null(x);
    assert_int_equal(om_weights_read_f32(w, t, x), OMNI_OK);
    *desc = t;
    return x;
}

/* Fails the test with the place of the largest difference. */
static void compare(int model, const tolerance *tol, const om_weights *expect, const omni_array *got)
{
    const om_tensor_desc *t;
    float *want = read_tensor(expect, tol->stage, &t);
    int64_t n = t->ne[0] * t->ne[1], at = 0;
    double largest = 0, difference = 0;

    if (got->shape[got->n_dims - 1] != t->ne[0] || (got->n_dims == 2 && got->shape[0] != t->ne[1]))
        fail_msg("model %d, %s: shape %lld x %lld, wanted %lld x %lld", model, tol->stage,
                 (long long)got->shape[0], got->n_dims == 2 ? (long long)got->shape[1] : 1LL,
                 (long long)t->ne[1], (long long)t->ne[0]);
    for (int64_t i = 0; i < n; i++) {
        double x = got->is_int ? ((const int32_t *)got->data)[i] : (double)((const float *)got->data)[i];
        double d = fabs(x - (double)want[i]);

        if (!(d <= difference)) {       /* a NaN is a difference too */
            difference = d;
            at = i;
        }
        largest = fmax(largest, fabs((double)want[i]));
    }
    print_message("model %d %-10s %6lld x %-4lld difference %.1e of %.2g\n", model, tol->stage,
                  (long long)(t->ne[1]), (long long)t->ne[0], difference, largest);
    if (!(difference <= tol->absolute + tol->relative * largest))
        fail_msg("model %d, %s[%lld]: difference %g, largest %g", model, tol->stage, (long long)at,
                 difference, largest);
    assert_int_equal(got->is_int, tol->is_int);
    free(want);
}

static void compare_vocoder_alone(int model, omni_engine *engine, const om_weights *expect)
{
    const tolerance tol = { "wave", false, 0, 1e-4 };
    const om_tensor_desc *t;
    float *units = read_tensor(expect, "units", &t);
    int32_t ids[4096];
    omni_array wave;

    assert_true(t->ne[0] <= 4096);
    for (int64_t i = 0; i < t->ne[0]; i++)
        ids[i] = (int32_t)units[i];
    assert_int_equal(omni_probe_vocoder(engine, ids, (size_t)t->ne[0], &wave), OMNI_OK);
    compare(model, &tol, expect, &wave);
    omni_array_free(&wave);
    free(units);
}

static void every_stage_of(int model)
{
    omni_model_params params = omni_model_default_params();
    omni_engine_params engine_params = omni_engine_default_params();
    const om_tensor_desc *t;
    char path[1024];
    om_weights *expect;
    omni_model *m;
    omni_engine *engine;
    float *samples;
    int most;

    snprintf(path, sizeof path, "%s/reference/%d.gguf", folder(), model);
    assert_int_equal(om_weights_open(path, &expect), OMNI_OK);
    assert_int_equal(om_weights_u32(expect, "test.max_tokens", 1, 1000, &most), OMNI_OK);
    samples = read_tensor(expect, "samples", &t);
    snprintf(path, sizeof path, "%s/reference/%d", folder(), model);
    params.force_f32 = true;
    params.n_gpu_layers = 0;
    engine_params.n_threads = 1;        /* such small networks gain nothing from more */
    if (omni_model_load(path, &params, &m) != OMNI_OK ||
        omni_engine_new(m, &engine_params, &engine) != OMNI_OK)
        fail_msg("model %d: %s", model, omni_last_error());
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        omni_array got;

        if (omni_probe(engine, stages[i].stage, samples, (size_t)t->ne[0], most, &got) != OMNI_OK)
            fail_msg("model %d, %s: %s", model, stages[i].stage, omni_last_error());
        compare(model, &stages[i], expect, &got);
        omni_array_free(&got);
    }
    compare_vocoder_alone(model, engine, expect);
    omni_engine_free(engine);
    omni_model_free(m);
    om_weights_free(expect);
    free(samples);
}

#define MODEL_TEST(n) static void model_##n(void **state) { (void)state; every_stage_of(n); }
MODEL_TEST(0) MODEL_TEST(1) MODEL_TEST(2) MODEL_TEST(3) MODEL_TEST(4)
MODEL_TEST(5) MODEL_TEST(6) MODEL_TEST(7) MODEL_TEST(8) MODEL_TEST(9)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(model_0), cmocka_unit_test(model_1), cmocka_unit_test(model_2),
        cmocka_unit_test(model_3), cmocka_unit_test(model_4), cmocka_unit_test(model_5),
        cmocka_unit_test(model_6), cmocka_unit_test(model_7), cmocka_unit_test(model_8),
        cmocka_unit_test(model_9),
    };

    _Static_assert(sizeof tests / sizeof *tests == MODELS, "one test for each model");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
