/*
 * speech-decoder against the numpy oracle, and the laws of its caches: every way to
 * compute gives the same numbers, whoever else is in the batch, whatever came before.
 */
#include "base/memory.h"
#include "base/status.h"
#include "stage/speech-decoder-products.h"
#include "stage/speech-decoder.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const kernels[] = { "avx512-bf16", "avx2", "portable", NULL };
static const char *const shapes[] = {
    "plain", "grouped", "onelayer", "wide", "single", "tied", "bf16", "real", "growing",
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes, N_SMALL = 4 };    /* the first ones are quick */

typedef struct toy {
    om_weights *w;
    om_hparams hp;
    om_device *dev;
    om_speech_decoder_weights *dw;
    int tokens;
    size_t block;               /* L * (K+1) */
    float *states;              /* [M][D] */
    float *logits, *symbols;    /* [M*L][K+1], [M*L] */
    float *got;                 /* [M*L][K+1] */
    int32_t *got_symbols;       /* [M*L] */
} toy;

static float *read_tensor(const om_weights *w, const char *name)
{
    const om_tensor_desc *t = om_weights_find(w, name);
    assert_non_null(t);
    float *x = om_calloc((size_t)(t->ne[0] * t->ne[1]), sizeof(float));
    assert_non_null(x);
    assert_int_equal(om_weights_read_f32(w, t, x), OMNI_OK);
    return x;
}

static int number(const om_weights *w, const char *key)
{
    int x = 0;
    assert_int_equal(om_weights_u32(w, key, 0, 1u << 20, &x), OMNI_OK);
    return x;
}

static float real(const om_weights *w, const char *key)
{
    float x = 0;
    assert_int_equal(om_weights_f32(w, key, 0, 1e9f, &x), OMNI_OK);
    return x;
}

static toy toy_open(const char *shape)
{
    const char *dir = getenv("OMNI_ORACLE_DIR");
    char path[4096];
    toy t = { 0 };
    snprintf(path, sizeof path, "%s/speech_decoder/speech-decoder-%s.gguf", dir ? dir : ".", shape);
    if (om_weights_open(path, &t.w) != OMNI_OK)
        fail_msg("%s (made by tests/oracle/speech_decoder_oracle.py)", om_last_error());
    t.tokens = number(t.w, "test.tokens");
    t.hp.llm.width = number(t.w, "test.input");
    t.hp.dec.width = number(t.w, "test.width");
    t.hp.dec.heads = number(t.w, "test.heads");
    t.hp.dec.heads_kv = number(t.w, "test.kv");
    t.hp.dec.ff = number(t.w, "test.ff");
    t.hp.dec.layers = number(t.w, "test.layers");
    t.hp.dec.upsample = number(t.w, "test.L");
    t.hp.dec.units = number(t.w, "test.units");
    t.hp.dec.eps = 1e-5f;
    t.hp.dec.rope_base = real(t.w, "test.rope_base");
    t.hp.dec.rope_factor = real(t.w, "test.rope_factor");
    t.hp.dec.rope_low = real(t.w, "test.rope_low");
    t.hp.dec.rope_high = real(t.w, "test.rope_high");
    t.hp.dec.rope_original_context = number(t.w, "test.rope_context");
    t.states = read_tensor(t.w, "test.states");
    t.logits = read_tensor(t.w, "test.logits");
    t.symbols = read_tensor(t.w, "test.symbols");
    t.block = (size_t)t.hp.dec.upsample * (size_t)(t.hp.dec.units + 1);
    t.got = om_calloc((size_t)t.tokens * t.block, sizeof(float));
    t.got_symbols = om_calloc((size_t)(t.tokens * t.hp.dec.upsample), sizeof(int32_t));
    assert_true(t.got && t.got_symbols);
    assert_int_equal(om_device_new(1, false, &t.dev), OMNI_OK);
    assert_int_equal(om_speech_decoder_load(t.w, &t.hp, t.dev, true, &t.dw), OMNI_OK);
    return t;
}

static void toy_close(toy *t)
{
    om_speech_decoder_unload(t->dw);
    om_device_free(t->dev);
    om_free(t->states);
    om_free(t->logits);
    om_free(t->symbols);
    om_free(t->got);
    om_free(t->got_symbols);
    om_weights_free(t->w);
}

static om_speech_decoder *decoder(const toy *t, om_speech_decoder_params params)
{
    om_speech_decoder *dec = NULL;
    if (!params.n_slots)
        params.n_slots = 1;
    if (!params.max_tokens)
        params.max_tokens = t->tokens;
    if (om_speech_decoder_new(t->dw, t->dev, &params, &dec) != OMNI_OK)
        fail_msg("%s", om_last_error());
    return dec;
}

/* Pushes token i of the toy to a slot. */
static void push(om_speech_decoder *dec, const toy *t, int slot, int i)
{
    const float *row = t->states + (size_t)i * (size_t)t->hp.llm.width;
    assert_int_equal(om_speech_decoder_push(dec, slot, row), OMNI_OK);
}

static void pull(om_speech_decoder *dec, toy *t, int slot, int i)
{
    assert_int_equal(om_speech_decoder_pull(dec, slot, t->got_symbols + (size_t)(i * t->hp.dec.upsample),
                                            t->got + (size_t)i * t->block), OMNI_OK);
}

/* All tokens through one slot, one by one, into t->got. */
static void run_all(om_speech_decoder *dec, toy *t, int slot)
{
    for (int i = 0; i < t->tokens; i++) {
        push(dec, t, slot, i);
        if (om_speech_decoder_run(dec) != OMNI_OK)
            fail_msg("%s", om_last_error());
        pull(dec, t, slot, i);
    }
}

/* Largest difference of n numbers over the largest wanted one. */
static double difference(const float *got, const float *want, size_t n)
{
    double most = 0, scale = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - (double)want[i]);
        if (!(d <= most))       /* NaN counts as most */
            most = d;
        scale = fmax(scale, fabs((double)want[i]));
    }
    return most / scale;
}

static double error_of(const toy *t)
{
    return difference(t->got, t->logits, (size_t)t->tokens * t->block);
}

static void check_symbols(const toy *t)
{
    for (int p = 0; p < t->tokens * t->hp.dec.upsample; p++)
        if (t->got_symbols[p] != (int)t->symbols[p])
            fail_msg("position %d: symbol %d, wanted %d", p, t->got_symbols[p], (int)t->symbols[p]);
}

/* ---- against the oracle --------------------------------------------------------- */

static void test_f32_equals_oracle(void **state)
{
    (void)state;
    for (int s = 0; s < N_SHAPES; s++) {
        toy t = toy_open(shapes[s]);
        for (int way = 0; way < 4; way++) {
            om_speech_decoder_params p = {
                .layer0_sharing = way & 1, .operators_only = way & 2, .f32_cache = true,
            };
            om_speech_decoder *dec = decoder(&t, p);
            run_all(dec, &t, 0);
            print_message("%-9s sharing %-3s %-9s error %.1e\n", shapes[s], way & 1 ? "on" : "off",
                          om_speech_decoder_kernels(dec), error_of(&t));
            assert_true(error_of(&t) <= 1e-4);
            check_symbols(&t);
            om_speech_decoder_free(dec);
        }
        toy_close(&t);
    }
}

/* Caches of two bytes per number: symbols where the winner is ahead by more than the error. */
static void test_short_cache_is_close(void **state)
{
    (void)state;
    for (int s = 0; s < N_SHAPES; s++) {
        toy t = toy_open(shapes[s]);
        int K1 = t.hp.dec.units + 1;
        for (int way = 0; way < 8; way++) {
            om_speech_decoder_params p = {
                .layer0_sharing = way & 1, .operators_only = way >= 6, .kernels = kernels[way / 2],
            };
            om_speech_decoder *dec = decoder(&t, p);
            run_all(dec, &t, 0);
            double error = error_of(&t);
            print_message("%-9s sharing %-3s %-11s error %.1e\n", shapes[s], way & 1 ? "on" : "off",
                          om_speech_decoder_kernels(dec), error);
            assert_true(error <= (p.operators_only ? 4e-3 : 2e-2));
            float largest = 0;
            for (size_t i = 0; i < (size_t)t.tokens * t.block; i++)
                largest = fmaxf(largest, fabsf(t.logits[i]));
            for (int i = 0; i < t.tokens * t.hp.dec.upsample; i++) {
                const float *row = t.logits + (size_t)i * (size_t)K1;
                double behind = (double)(row[(int)t.symbols[i]] - row[t.got_symbols[i]]);
                assert_true(behind <= 2 * error * (double)largest);
            }
            om_speech_decoder_free(dec);
        }
        toy_close(&t);
    }
}

/* All kernels round at the same places: they differ by the order of sums. */
static void test_vector_equals_portable(void **state)
{
    (void)state;
    for (int s = 0; s < N_SMALL; s++) {
        toy t = toy_open(shapes[s]);
        size_t n = (size_t)t.tokens * t.block;
        float *first = om_calloc(n, sizeof(float));
        assert_non_null(first);
        for (int k = 2; k >= 0; k--) {
            om_speech_decoder_params p = { .layer0_sharing = true, .kernels = kernels[k] };
            om_speech_decoder *dec = decoder(&t, p);
            run_all(dec, &t, 0);
            if (k == 2) {
                assert_string_equal(om_speech_decoder_kernels(dec), "portable");
                memcpy(first, t.got, n * sizeof(float));
            }
            assert_true(difference(first, t.got, n) <= 5e-3);
            om_speech_decoder_free(dec);
        }
        om_free(first);
        toy_close(&t);
    }
}

/* ---- laws ------------------------------------------------------------------------ */

/* Three slots that start at different times and pause differently, each equal to itself alone. */
static void test_batch_equals_alone(void **state)
{
    (void)state;
    for (int s = 0; s < N_SMALL; s++)
        for (int way = 0; way < 3; way++) {
            toy t = toy_open(shapes[s]);
            size_t n = (size_t)t.tokens * t.block;
            om_speech_decoder *dec = decoder(&t, (om_speech_decoder_params){
                .n_slots = 3, .layer0_sharing = way != 1, .operators_only = way == 2, .f32_cache = true });
            int done[3] = { 0 };
            float *alone = om_calloc(n, sizeof(float));
            assert_non_null(alone);
            run_all(dec, &t, 1);
            memcpy(alone, t.got, n * sizeof(float));
            om_speech_decoder_reset(dec, 1);
            for (int step = 0; done[0] + done[1] + done[2] < 3 * t.tokens; step++) {
                bool in[3];
                for (int i = 0; i < 3; i++) {
                    in[i] = done[i] < t.tokens && step >= i && (step + i) % (i + 2) != 0;
                    if (in[i])
                        push(dec, &t, i, done[i]);
                }
                assert_int_equal(om_speech_decoder_run(dec), in[0] || in[1] || in[2] ? OMNI_OK : OMNI_AGAIN);
                for (int i = 0; i < 3; i++)
                    if (in[i]) {
                        size_t at = (size_t)done[i] * t.block;
                        pull(dec, &t, i, done[i]++);
                        assert_true(difference(t.got + at, alone + at, t.block) <= 1e-5);
                    }
            }
            check_symbols(&t);
            om_free(alone);
            om_speech_decoder_free(dec);
            toy_close(&t);
        }
}

/* A slot that was used and reset gives the same bits as a new one; so does a second decoder. */
static void test_reset_and_repeat_are_bit_identical(void **state)
{
    (void)state;
    for (int s = 0; s < N_SMALL; s++)
        for (int way = 0; way < 3; way++) {
            toy t = toy_open(shapes[s]);
            size_t bytes = (size_t)t.tokens * t.block * sizeof(float);
            om_speech_decoder_params p = {
                .n_slots = 2, .layer0_sharing = way != 1, .operators_only = way == 2,
            };
            om_speech_decoder *dec = decoder(&t, p), *other = decoder(&t, p);
            float *first = om_calloc(bytes, 1);
            assert_non_null(first);
            run_all(dec, &t, 0);
            memcpy(first, t.got, bytes);
            om_speech_decoder_reset(dec, 0);
            run_all(dec, &t, 0);
            assert_memory_equal(first, t.got, bytes);
            run_all(other, &t, 1);
            assert_memory_equal(first, t.got, bytes);
            om_free(first);
            om_speech_decoder_free(dec);
            om_speech_decoder_free(other);
            toy_close(&t);
        }
}

/* A head of a slot belongs to one thread and rows do not mix: their number changes nothing. */
static void test_threads_do_not_matter(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        toy t = toy_open("plain");
        size_t bytes = (size_t)t.tokens * t.block * sizeof(float);
        om_device *one = t.dev, *three = NULL;
        om_speech_decoder_params p = { .layer0_sharing = way };
        float *first = om_calloc(bytes, 1);
        assert_non_null(first);
        om_speech_decoder *dec = decoder(&t, p);
        run_all(dec, &t, 0);
        om_speech_decoder_free(dec);
        memcpy(first, t.got, bytes);
        assert_int_equal(om_device_new(3, false, &three), OMNI_OK);
        t.dev = three;
        dec = decoder(&t, p);
        run_all(dec, &t, 0);
        om_speech_decoder_free(dec);
        assert_memory_equal(first, t.got, bytes);
        t.dev = one;
        om_device_free(three);
        om_free(first);
        toy_close(&t);
    }
}

/* Back to an earlier token and on from there. */
static void test_seek(void **state)
{
    (void)state;
    toy t = toy_open("grouped");
    om_speech_decoder_params p = { .layer0_sharing = true, .f32_cache = true };
    om_speech_decoder *dec = decoder(&t, p);
    run_all(dec, &t, 0);
    om_speech_decoder_seek(dec, 0, 11);
    memset(t.got + 11 * t.block, 0, (size_t)(t.tokens - 11) * t.block * sizeof(float));
    for (int i = 11; i < t.tokens; i++) {
        push(dec, &t, 0, i);
        assert_int_equal(om_speech_decoder_run(dec), OMNI_OK);
        pull(dec, &t, 0, i);
    }
    assert_true(error_of(&t) <= 1e-4);
    om_speech_decoder_free(dec);
    toy_close(&t);
}

static void test_contract(void **state)
{
    (void)state;
    toy t = toy_open("plain");
    int32_t symbols[25];
    om_speech_decoder_params two = { .max_tokens = 2, .layer0_sharing = true };
    om_speech_decoder *dec = decoder(&t, two);
    assert_int_equal(om_speech_decoder_run(dec), OMNI_AGAIN);
    assert_int_equal(om_speech_decoder_pull(dec, 0, symbols, NULL), OMNI_AGAIN);
    push(dec, &t, 0, 0);
    assert_int_equal(om_speech_decoder_push(dec, 0, t.states), OMNI_AGAIN);
    assert_int_equal(om_speech_decoder_pull(dec, 0, symbols, NULL), OMNI_AGAIN);
    assert_int_equal(om_speech_decoder_run(dec), OMNI_OK);
    assert_int_equal(om_speech_decoder_pull(dec, 0, symbols, NULL), OMNI_OK);
    assert_int_equal(om_speech_decoder_pull(dec, 0, symbols, NULL), OMNI_AGAIN);
    push(dec, &t, 0, 1);
    assert_int_equal(om_speech_decoder_run(dec), OMNI_OK);
    assert_int_equal(om_speech_decoder_push(dec, 0, t.states), OMNI_ERR_LIMIT);
    om_speech_decoder_reset(dec, 0);
    assert_int_equal(om_speech_decoder_pull(dec, 0, symbols, NULL), OMNI_AGAIN);
    push(dec, &t, 0, 0);
    om_speech_decoder_free(dec);

    om_speech_decoder_params bad[] = { { .n_slots = 0, .max_tokens = 1 }, { .n_slots = 1, .max_tokens = 0 },
                                       { .n_slots = 1, .max_tokens = 1 << 30 } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(om_speech_decoder_new(t.dw, t.dev, &bad[i], &dec), OMNI_ERR_ARG);
    om_speech_decoder_weights *dw = NULL;
    t.hp.dec.ff++;
    assert_int_equal(om_speech_decoder_load(t.w, &t.hp, t.dev, true, &dw), OMNI_ERR_MODEL);
    assert_null(dw);
    t.hp.dec.ff--;
    toy_close(&t);
}

/* A state that is not finite is refused, and nothing of it stays in the caches. */
static void test_states_are_finite(void **state)
{
    (void)state;
    static const float wrong[] = { NAN, INFINITY, -INFINITY };
    toy t = toy_open("plain");
    om_speech_decoder_params params = { .layer0_sharing = true, .f32_cache = true };
    om_speech_decoder *dec = decoder(&t, params);
    float *row = om_calloc((size_t)t.hp.llm.width, sizeof(float));
    assert_non_null(row);
    for (int i = 0; i < 3; i++) {
        row[t.hp.llm.width - 1] = wrong[i];
        assert_int_equal(om_speech_decoder_push(dec, 0, row), OMNI_ERR_BACKEND);
        assert_int_equal(om_speech_decoder_run(dec), OMNI_AGAIN);
    }
    run_all(dec, &t, 0);
    assert_true(error_of(&t) <= 1e-4);
    om_free(row);
    om_speech_decoder_free(dec);
    toy_close(&t);
}

static bool abort_now(void *user)
{
    return --*(int *)user < 0;
}

/* Aborted anywhere in a block, the block can be run again and nothing is lost. */
static void test_abort_and_run_again(void **state)
{
    (void)state;
    toy t = toy_open("grouped");
    int aborted = 0;
    om_speech_decoder_params p = { .layer0_sharing = true, .f32_cache = true };
    om_speech_decoder *dec = decoder(&t, p);
    for (int i = 0; i < t.tokens; i++) {
        int left = 3 * i, status;
        push(dec, &t, 0, i);
        om_device_set_abort(t.dev, abort_now, &left);
        status = om_speech_decoder_run(dec);
        om_device_set_abort(t.dev, NULL, NULL);
        if (status != OMNI_OK) {
            assert_int_equal(status, OMNI_ERR_STATE);
            aborted++;
            assert_int_equal(om_speech_decoder_run(dec), OMNI_OK);
        }
        pull(dec, &t, 0, i);
    }
    assert_true(aborted > 3);
    assert_true(error_of(&t) <= 1e-4);
    om_speech_decoder_free(dec);
    toy_close(&t);
}

/* Every allocation fails once: an honest status, then the same block succeeds. */
static void test_every_allocation_fails_once(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        toy t = toy_open("plain");
        bool failed = true;
        for (long n = 1; failed; n++) {
            om_speech_decoder_params p = { .n_slots = 2, .max_tokens = 70, .layer0_sharing = true,
                                           .f32_cache = true, .operators_only = way };
            om_speech_decoder *dec = NULL;
            om_torture_arm(n);
            int status = om_speech_decoder_new(t.dw, t.dev, &p, &dec);
            failed = status != OMNI_OK;
            if (failed) {
                assert_null(dec);
                assert_int_equal(status, OMNI_ERR_MEMORY);
            } else {
                push(dec, &t, 1, 0);
                status = om_speech_decoder_run(dec);
                failed = status != OMNI_OK;
                om_torture_arm(0);
                if (failed) {
                    assert_int_equal(status, OMNI_ERR_MEMORY);
                    assert_int_equal(om_speech_decoder_run(dec), OMNI_OK);
                }
                pull(dec, &t, 1, 0);
                assert_true(difference(t.got, t.logits, t.block) <= 1e-4);
            }
            om_torture_arm(0);
            om_speech_decoder_free(dec);
            assert_true(n < 1000);
        }
        toy_close(&t);
    }
}

/* ---- packed weights --------------------------------------------------------------- */

/* A file of BF16 matrices, multiplied by us and by ggml; ours does not know who else is in the batch. */
static void test_packed_weights(void **state)
{
    (void)state;
    toy t = toy_open("bf16");
    size_t n = (size_t)t.tokens * t.block;
    om_speech_decoder_weights *forced = t.dw, *packed = NULL, *stored = NULL;
    float *got = om_calloc(n, sizeof(float));
    assert_non_null(got);
    assert_int_equal(om_speech_decoder_load(t.w, &t.hp, t.dev, false, &packed), OMNI_OK);
    assert_int_equal(om_speech_decoder_load_as_stored(t.w, &t.hp, t.dev, false, &stored), OMNI_OK);
    assert_false(om_speech_decoder_is_packed(forced));
    assert_false(om_speech_decoder_is_packed(stored));
    assert_int_equal(om_speech_decoder_is_packed(packed), om_products_supported());
    for (int way = 0; way < 4; way++) {
        om_speech_decoder_params p = {
            .n_slots = 3, .layer0_sharing = way & 1, .operators_only = way & 2, .f32_cache = true,
        };
        t.dw = stored;
        om_speech_decoder *dec = decoder(&t, p);
        run_all(dec, &t, 0);
        om_speech_decoder_free(dec);
        memcpy(got, t.got, n * sizeof(float));
        assert_true(error_of(&t) <= 2e-2);
        t.dw = packed;
        dec = decoder(&t, p);
        run_all(dec, &t, 0);
        print_message("sharing %-3s %-9s packed %.1e, stored %.1e, between them %.1e\n",
                      way & 1 ? "on" : "off", om_speech_decoder_kernels(dec), error_of(&t),
                      difference(got, t.logits, n), difference(t.got, got, n));
        assert_true(error_of(&t) <= 2e-2);
        assert_true(difference(t.got, got, n) <= 1e-2);
        memcpy(got, t.got, n * sizeof(float));
        om_speech_decoder_reset(dec, 0);
        for (int i = 0; i < t.tokens; i++) {
            for (int slot = 0; slot < 3; slot++)
                push(dec, &t, slot, i);
            assert_int_equal(om_speech_decoder_run(dec), OMNI_OK);
            pull(dec, &t, 2, i);
        }
        if (om_speech_decoder_is_packed(packed) && !p.operators_only)
            assert_memory_equal(got, t.got, (n - t.block) * sizeof(float));
        om_speech_decoder_free(dec);
    }
    t.dw = forced;
    om_speech_decoder_unload(packed);
    om_speech_decoder_unload(stored);
    om_free(got);
    toy_close(&t);
}

/* ---- collapse ---------------------------------------------------------------------- */

static void check_collapse(const int32_t *in, int n, const int32_t *want, int n_want, int32_t blank)
{
    int32_t out[64];
    for (int cut = 0; cut <= n; cut++) {     /* the carry makes the cut invisible */
        int32_t prev = -1;
        int count = om_collapse(&prev, blank, in, cut, out);
        count += om_collapse(&prev, blank, in + cut, n - cut, out + count);
        assert_int_equal(count, n_want);
        if (n_want)
            assert_memory_equal(out, want, (size_t)n_want * sizeof(int32_t));
        if (n)
            assert_int_equal(prev, in[n - 1]);
    }
}

#define COLLAPSE(blank, in, want) \
    check_collapse(in, (int)(sizeof in / sizeof *in), want, (int)(sizeof want / sizeof *want), blank)

static void test_collapse(void **state)
{
    (void)state;
    static const int32_t specified[] = { 5, 5, 1000, 5, 7, 7, 1000 }, units[] = { 5, 5, 7 };
    static const int32_t zeros[] = { 0, 0, 0, 1, 0 }, zero_units[] = { 0, 1, 0 };
    static const int32_t ends[] = { 3, 2, 3, 3, 1, 3, 1 }, end_units[] = { 2, 1, 1 };
    static const int32_t blanks[] = { 9, 9, 9 };
    COLLAPSE(1000, specified, units);
    COLLAPSE(1000, zeros, zero_units);
    COLLAPSE(3, ends, end_units);
    check_collapse(blanks, 3, NULL, 0, 9);
    check_collapse(blanks, 0, NULL, 0, 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_collapse),
        cmocka_unit_test(test_f32_equals_oracle),
        cmocka_unit_test(test_short_cache_is_close),
        cmocka_unit_test(test_vector_equals_portable),
        cmocka_unit_test(test_batch_equals_alone),
        cmocka_unit_test(test_reset_and_repeat_are_bit_identical),
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_seek),
        cmocka_unit_test(test_contract),
        cmocka_unit_test(test_states_are_finite),
        cmocka_unit_test(test_abort_and_run_again),
        cmocka_unit_test(test_every_allocation_fails_once),
        cmocka_unit_test(test_packed_weights),
    };
    return cmocka_run_group_tests_name("speech-decoder", tests, NULL, NULL);
}
