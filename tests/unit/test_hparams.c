/* hparams: every key is needed, typed, bounded; every law between keys is enforced. */
#include "unit/cmocka_all.h"

#include "base/status.h"
#include "base/weights.h"
#include "unit/speech_file.h"

#include <math.h>
#include <unistd.h>

#define PATH "test_hparams.gguf"

static gguf_bytes file;

static int read_back(om_hparams *hp)
{
    om_weights *w;
    int rc;

    gguf_save(&file, PATH);
    rc = om_weights_open(PATH, &w);
    assert_int_equal(rc, OMNI_OK);
    rc = om_hparams_read(w, hp);
    om_weights_free(w);
    return rc;
}

static void good_numbers_come_back(void **state)
{
    om_hparams hp, back;

    (void)state;
    small_hparams(&hp);
    speech_metadata(&file, &hp, NULL, KEY_OMIT);
    assert_int_equal(read_back(&back), OMNI_OK);
#define SAME_U(key, field, lo, hi) assert_int_equal(back.field, hp.field);
#define SAME_F(key, field, lo, hi) assert_true(back.field == hp.field);
#define SAME_S(key, field)
#define SAME_B(key, field) assert_int_equal(back.field, hp.field);
#define SAME_A(key, field, count, cap, lo, hi) \
    assert_int_equal(back.count, hp.count); \
    assert_memory_equal(back.field, hp.field, (size_t)hp.count * sizeof hp.field[0]);
    OM_HPARAMS(SAME_U, SAME_F, SAME_S, SAME_B, SAME_A)
    assert_int_equal(back.audio.frames, 20);
    assert_int_equal(back.adaptor.rows, 3);     /* 10 / 3, the rest is dropped */
    assert_int_equal(back.voc.hop, 20);
}

static void needed_and_typed(const char *key)
{
    om_hparams hp, back;

    small_hparams(&hp);
    memset(&back, 7, sizeof back);
    speech_metadata(&file, &hp, key, KEY_OMIT);
    if (read_back(&back) != OMNI_ERR_MODEL)
        fail_msg("read without %s", key);
    assert_non_null(strstr(om_last_error(), key));
    assert_non_null(strstr(om_last_error(), "missing"));
    assert_int_equal(back.audio.n_fft, 0x07070707);     /* untouched on failure */
}

static void every_key_is_needed(void **state)
{
    (void)state;
#define NEED4(key, field, lo, hi) needed_and_typed(key);
#define NEED2(key, field) needed_and_typed(key);
#define NEED6(key, field, count, cap, lo, hi) needed_and_typed(key);
    OM_HPARAMS(NEED4, NEED4, NEED2, NEED2, NEED6)
}

static void the_optional_may_be_missing(void **state)
{
    om_hparams hp, back;
    uint64_t pairs;

    (void)state;
    small_hparams(&hp);
    speech_metadata(&file, &hp, NULL, KEY_OMIT);
    assert_int_equal(read_back(&back), OMNI_OK);
#define MISSING(key, field, otherwise) assert_string_equal(back.field, otherwise);
    OM_HPARAMS_OPTIONAL(MISSING)
    memcpy(&pairs, file.bytes + 16, sizeof pairs);
    gguf_str(&file, "omni-speech.prompt.text_prefix", " ");
    pairs++;
    memcpy(file.bytes + 16, &pairs, sizeof pairs);
    gguf_save(&file, PATH);
    om_weights *w;
    assert_int_equal(om_weights_open(PATH, &w), OMNI_OK);
    assert_int_equal(om_hparams_read(w, &back), OMNI_OK);
    assert_string_equal(back.prompt.text_prefix, " ");
    om_weights_free(w);
    speech_metadata(&file, &hp, NULL, KEY_OMIT);
    gguf_u32(&file, "omni-speech.prompt.text_prefix", 1);
    memcpy(file.bytes + 16, &pairs, sizeof pairs);
    assert_int_equal(read_back(&back), OMNI_ERR_MODEL);
    assert_non_null(strstr(om_last_error(), "text_prefix"));
}

static void mistyped(const char *key)
{
    om_hparams hp, back;

    small_hparams(&hp);
    speech_metadata(&file, &hp, key, KEY_WRONG_TYPE);
    if (read_back(&back) != OMNI_ERR_MODEL)
        fail_msg("read %s of another type", key);
    assert_non_null(strstr(om_last_error(), key));
}

static void every_key_is_typed(void **state)
{
    (void)state;
    /* A byte is an integer, hence good for a number in range: 0 is out of every range of these. */
#define TYPED4(key, field, lo, hi) mistyped(key);
#define TYPED2(key, field) mistyped(key);
#define TYPED6(key, field, count, cap, lo, hi) mistyped(key);
    OM_HPARAMS(TYPED4, TYPED4, TYPED2, TYPED2, TYPED6)
}

/* Read from a file, or filled in by a writer of files. */
static void out_of_range(const om_hparams *hp, const char *key)
{
    om_hparams back = *hp;

    if (om_hparams_check(&back, "numbers") != OMNI_ERR_MODEL)
        fail_msg("%s out of range passed the check", key);
    assert_non_null(strstr(om_last_error(), key));
    speech_metadata(&file, hp, NULL, KEY_OMIT);
    if (read_back(&back) != OMNI_ERR_MODEL)
        fail_msg("read %s out of range", key);
    assert_non_null(strstr(om_last_error(), key));
}

static void every_key_is_bounded(void **state)
{
    om_hparams hp;

    (void)state;
#define BOUND_U(key, field, lo, hi) \
    small_hparams(&hp); hp.field = (int)((unsigned)(hi) + 1u); out_of_range(&hp, key); \
    hp.field = (lo) - 1; out_of_range(&hp, key);
#define BOUND_F(key, field, lo, hi)                                                                          \
    small_hparams(&hp);                                                                                      \
    hp.field = (hi)*1.01f;                                                                                   \
    out_of_range(&hp, key);                                                                                  \
    hp.field = NAN;                                                                                          \
    out_of_range(&hp, key);
#define BOUND_NONE(key, field)
#define BOUND_A(key, field, count, cap, lo, hi) \
    small_hparams(&hp); hp.field[0] = (int)((unsigned)(lo) - 1u); out_of_range(&hp, key); \
    small_hparams(&hp); hp.field[hp.count - 1] = (int)((unsigned)(hi) + 1u); out_of_range(&hp, key);
    OM_HPARAMS(BOUND_U, BOUND_F, BOUND_NONE, BOUND_NONE, BOUND_A)
}

/* One number changed so that it is in range but contradicts another. */
#define BREAKS(change, text) do { \
    small_hparams(&hp); change; \
    speech_metadata(&file, &hp, NULL, KEY_OMIT); \
    if (read_back(&back) != OMNI_ERR_MODEL) fail_msg("accepted: %s", #change); \
    if (!strstr(om_last_error(), text)) fail_msg("%s: %s", #change, om_last_error()); \
} while (0)

static void numbers_that_contradict_are_refused(void **state)
{
    om_hparams hp, back;

    (void)state;
    BREAKS(hp.audio.n_fft = 401, "audio.n_fft is 401");
    BREAKS(hp.audio.hop = 401, "audio.hop");
    BREAKS(hp.audio.window_samples = 400, "audio.window_samples");
    BREAKS(hp.audio.window_samples = 3201, "multiple of audio.hop");
    BREAKS(hp.enc.context = 11, "encoder.context is 11");
    BREAKS(hp.enc.heads = 3, "encoder.head_count (3)");
    BREAKS(hp.adaptor.stack = 11, "adaptor.stack");
    BREAKS(hp.dec.heads = 3, "decoder.head_count (3)");
    BREAKS(hp.dec.heads = 8, "even width");
    BREAKS(hp.dec.heads_kv = 3, "decoder.head_count_kv (3)");
    BREAKS(hp.dec.width = 2048; hp.dec.heads = 1024; hp.dec.upsample = 34, "decoder.upsample is 34");
    BREAKS(hp.dec.upsample = 1024; hp.dec.units = 1 << 14, "decoder.unit_count (16384)");
    BREAKS(hp.dec.rope_factor = 8; hp.dec.rope_high = 1, "decoder.rope_scaling_high_freq");
    BREAKS(hp.voc.n_stages = 0, "upsample_rates is empty");
    BREAKS(hp.voc.n_kernels = 1, "upsample_kernels has 1");
    BREAKS(hp.voc.n_res = 0, "empty");
    BREAKS(hp.voc.n_dil = 0, "empty");
    BREAKS(hp.voc.channels = 18, "vocoder.initial_channels");
    BREAKS(hp.voc.kernels[1] = 3, "upsample_kernels[1] is 3");
    BREAKS(hp.voc.kernels[0] = 12, "upsample_kernels[0] is 12");
    BREAKS(hp.voc.rates[0] = hp.voc.kernels[0] = 63; hp.voc.rates[1] = hp.voc.kernels[1] = 64;
           hp.voc.rates[2] = hp.voc.kernels[2] = 64; hp.voc.n_stages = hp.voc.n_kernels = 3, "65536");
    BREAKS(hp.voc.res_kernels[1] = 4, "resblock_kernels[1] is 4");
    BREAKS(hp.voc.dur_kernel = 4, "duration_kernel");
}

static void other_architectures_and_versions_are_refused(void **state)
{
    om_hparams back;

    (void)state;
    gguf_begin(&file, 3, 0, 1);
    gguf_str(&file, "general.architecture", "llama");
    assert_int_equal(read_back(&back), OMNI_ERR_MODEL);
    assert_non_null(strstr(om_last_error(), "\"llama\", wanted \"omni-speech\""));
    gguf_begin(&file, 3, 0, 2);
    gguf_str(&file, "general.architecture", OM_SPEECH_ARCHITECTURE);
    gguf_u32(&file, "omni-speech.version", 2);
    assert_int_equal(read_back(&back), OMNI_ERR_MODEL);
    assert_non_null(strstr(om_last_error(), "version: found 2"));
}

static int clean_up(void **state)
{
    (void)state;
    return unlink(PATH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_numbers_come_back),
        cmocka_unit_test(every_key_is_needed),
        cmocka_unit_test(the_optional_may_be_missing),
        cmocka_unit_test(every_key_is_typed),
        cmocka_unit_test(every_key_is_bounded),
        cmocka_unit_test(numbers_that_contradict_are_refused),
        cmocka_unit_test(other_architectures_and_versions_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, clean_up);
}
