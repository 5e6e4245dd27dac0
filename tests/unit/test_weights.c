/* weights: good files are served, and every lie in a bad one is found before data is used. */
#include "unit/cmocka_all.h"

#include "base/memory.h"
#include "base/status.h"
#include "base/weights.h"
#include "unit/gguf_bytes.h"

#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH "test_weights.gguf"

enum { F32 = 0, F16 = 1, REMOVED_TYPE = 4, Q8_0 = 8, BF16 = 30 };

static gguf_bytes file;

static int open_file(om_weights **w)
{
    gguf_save(&file, PATH);
    return om_weights_open(PATH, w);
}

/* The file is refused with this code, its path and this text. */
static void refused(int code, const char *text)
{
    om_weights *w = NULL;
    int rc = open_file(&w);

    if (rc != code || (rc != OMNI_OK && !strstr(om_last_error(), text)))
        fail_msg("got %d: %s; wanted %d with \"%s\"", rc, om_last_error(), code, text);
    assert_null(w);
    assert_non_null(strstr(om_last_error(), PATH));
}

/* "a" [3][4] f32 = 0..11, "b" [5] f16 = 1, "q" [1][32] q8_0 of scale 0.5 and 0..31 */
static void good_file(void)
{
    float a[12];
    uint16_t b[16] = { 0x3C00, 0x3C00, 0x3C00, 0x3C00, 0x3C00 }, scale = 0x3800;
    int8_t q[32];

    gguf_begin(&file, 3, 3, 5);
    gguf_u32(&file, "n", 7);
    gguf_f32(&file, "x", 0.5f);
    gguf_bool(&file, "yes", 1);
    gguf_str(&file, "name", "good");
    gguf_i32s(&file, "list", (int32_t[]){ 3, -1, 5 }, 3);
    gguf_tensor(&file, "a", 2, (uint64_t[]){ 4, 3 }, F32, 0);
    gguf_tensor(&file, "b", 1, (uint64_t[]){ 5 }, F16, 64);
    gguf_tensor(&file, "q", 1, (uint64_t[]){ 32 }, Q8_0, 96);
    gguf_pad(&file);
    for (int i = 0; i < 12; i++)
        a[i] = (float)i;
    gguf_raw(&file, a, sizeof a);
    gguf_raw(&file, (char[16]){ 0 }, 16);
    gguf_raw(&file, b, 32);
    for (int i = 0; i < 32; i++)
        q[i] = (int8_t)i;
    gguf_raw(&file, &scale, 2);
    gguf_raw(&file, q, 32);
    gguf_pad(&file);
}

static void serves_tensors(void **state)
{
    const om_tensor_desc *t;
    float x[32];
    om_weights *w;

    (void)state;
    good_file();
    assert_int_equal(open_file(&w), OMNI_OK);
    assert_string_equal(om_weights_path(w), PATH);
    assert_int_equal(om_weights_file_bytes(w), file.n);
    assert_int_equal(om_weights_tensor_count(w), 3);
    assert_null(om_weights_tensor(w, 3));
    assert_null(om_weights_tensor(w, -1));
    assert_null(om_weights_find(w, "c"));
    assert_int_equal(om_weights_need(w, "a", 2, (int64_t[]){ 3, 4 }, &t), OMNI_OK);
    assert_int_equal(om_weights_read_f32(w, t, x), OMNI_OK);
    for (int i = 0; i < 12; i++)
        assert_true(x[i] == (float)i);
    assert_int_equal(om_weights_need(w, "b", 1, (int64_t[]){ 5 }, &t), OMNI_OK);
    assert_int_equal(t->bytes, 10);
    assert_int_equal(om_weights_read_f32(w, t, x), OMNI_OK);
    assert_true(x[0] == 1.0f && x[4] == 1.0f);
    /* a leading dimension of one is not stored, but may be asked for */
    assert_int_equal(om_weights_need(w, "q", 2, (int64_t[]){ 1, 32 }, &t), OMNI_OK);
    assert_int_equal(om_weights_read_f32(w, t, x), OMNI_OK);
    assert_true(x[31] == 15.5f);
    om_weights_free(w);
}

static void misshapen_and_missing_tensors_are_named(void **state)
{
    const om_tensor_desc *t = NULL;
    om_weights *w;

    (void)state;
    good_file();
    assert_int_equal(open_file(&w), OMNI_OK);
    assert_int_equal(om_weights_need(w, "a", 2, (int64_t[]){ 4, 3 }, &t), OMNI_ERR_MODEL);
    assert_non_null(strstr(om_last_error(), "found shape [3, 4], wanted [4, 3]"));
    assert_int_equal(om_weights_need(w, "a", 1, (int64_t[]){ 4 }, &t), OMNI_ERR_MODEL);
    assert_int_equal(om_weights_need(w, "a", 3, (int64_t[]){ 2, 3, 4 }, &t), OMNI_ERR_MODEL);
    assert_int_equal(om_weights_need(w, "z", 1, (int64_t[]){ 4 }, &t), OMNI_ERR_MODEL);
    assert_non_null(strstr(om_last_error(), "z is missing"));
    assert_null(t);
    om_weights_free(w);
}

static void metadata_is_typed_and_in_range(void **state)
{
    om_weights *w;
    int n, list[4], count;
    float x;
    bool yes;
    const char *name;

    (void)state;
    good_file();
    assert_int_equal(open_file(&w), OMNI_OK);
    assert_int_equal(om_weights_u32(w, "n", 7, 7, &n), OMNI_OK);
    assert_int_equal(n, 7);
    assert_int_equal(om_weights_u32(w, "n", 8, 9, &n), OMNI_ERR_MODEL);
    assert_non_null(strstr(om_last_error(), "key n: found 7, wanted 8 to 9"));
    assert_int_equal(om_weights_u32(w, "x", 0, 9, &n), OMNI_ERR_MODEL);
    assert_non_null(strstr(om_last_error(), "found type f32, wanted u32"));
    assert_int_equal(om_weights_u32(w, "list", 0, 9, &n), OMNI_ERR_MODEL);
    assert_int_equal(om_weights_u32(w, "nothing", 0, 9, &n), OMNI_ERR_MODEL);
    assert_int_equal(om_weights_f32(w, "x", 0, 1, &x), OMNI_OK);
    assert_true(x == 0.5f);
    assert_int_equal(om_weights_f32(w, "x", 0.6f, 1, &x), OMNI_ERR_MODEL);
    assert_int_equal(om_weights_f32(w, "name", 0, 1, &x), OMNI_ERR_MODEL);
    assert_int_equal(om_weights_bool(w, "yes", &yes), OMNI_OK);
    assert_true(yes);
    assert_int_equal(om_weights_bool(w, "n", &yes), OMNI_ERR_MODEL);
    assert_int_equal(om_weights_str(w, "name", &name), OMNI_OK);
    assert_string_equal(name, "good");
    assert_int_equal(om_weights_str(w, "n", &name), OMNI_ERR_MODEL);
    assert_int_equal(om_weights_i32s(w, "list", -1, 5, list, 4, &count), OMNI_OK);
    assert_int_equal(count, 3);
    assert_true(list[0] == 3 && list[1] == -1 && list[2] == 5);
    assert_int_equal(om_weights_i32s(w, "list", 0, 5, list, 4, &count), OMNI_ERR_MODEL);
    assert_non_null(strstr(om_last_error(), "list[1]: found -1"));
    assert_int_equal(om_weights_i32s(w, "list", -1, 5, list, 2, &count), OMNI_ERR_MODEL);
    assert_int_equal(om_weights_i32s(w, "n", 0, 5, list, 2, &count), OMNI_ERR_MODEL);
    assert_true(om_weights_has(w, "list"));
    assert_false(om_weights_has(w, "lis"));
    om_weights_free(w);
}

static void not_a_number_is_outside_every_range(void **state)
{
    om_weights *w;
    float x;

    (void)state;
    gguf_begin(&file, 3, 0, 1);
    gguf_f32(&file, "x", NAN);
    assert_int_equal(open_file(&w), OMNI_OK);
    assert_int_equal(om_weights_f32(w, "x", -INFINITY, INFINITY, &x), OMNI_ERR_MODEL);
    om_weights_free(w);
}

static int collect(void *user, const char *key, const char *value)
{
    char *text = user;

    snprintf(text + strlen(text), 4096 - strlen(text), "%s=%s;", key, value);
    return strcmp(key, "stop") == 0 ? 9 : 0;
}

static void metadata_as_text_is_short_and_whole(void **state)
{
    char text[4096] = "", wide[3000], *accent;
    int32_t numbers[100];
    om_weights *w;

    (void)state;
    for (int i = 0; i < 100; i++)
        numbers[i] = i;
    memset(wide, 0, sizeof wide);
    for (int i = 0; i < 2998; i += 2)
        memcpy(wide + i, "\xC3\xA9", 2);        /* e with acute */
    gguf_begin(&file, 3, 0, 4);
    gguf_i32s(&file, "list", numbers, 100);
    gguf_str(&file, "wide", wide);
    gguf_u32(&file, "stop", 1);
    gguf_u32(&file, "unseen", 1);
    assert_int_equal(open_file(&w), OMNI_OK);
    assert_int_equal(om_weights_each_metadata(w, collect, text), 9);
    assert_non_null(strstr(text, "list=[0, 1, 2, 3, 4, 5, 6, 7, ... 100 in all];wide="));
    assert_null(strstr(text, "unseen"));
    accent = strstr(text, "...;stop=1;");
    assert_non_null(accent);
    assert_memory_equal(accent - 2, "\xC3\xA9", 2);         /* cut between characters */
    om_weights_free(w);
}

static void every_truncation_is_refused(void **state)
{
    size_t whole;

    (void)state;
    good_file();
    whole = file.n;
    /* The padding after the last tensor is not data. */
    for (size_t n = 0; n < whole - 30; n++) {
        om_weights *w = NULL;

        file.n = n;
        gguf_save(&file, PATH);
        if (om_weights_open(PATH, &w) != OMNI_ERR_FORMAT)
            fail_msg("accepted when cut to %zu of %zu bytes", n, whole);
        assert_null(w);
    }
}

static void any_corrupt_byte_is_refused_or_harmless(void **state)
{
    gguf_bytes good;
    om_weights *w;

    (void)state;
    good_file();
    good = file;
    for (size_t at = 0; at < good.n; at++) {
        for (int value = 0; value < 256; value += at < 400 ? 85 : 255) {
            file = good;
            file.bytes[at] = (unsigned char)value;
            w = NULL;
            if (open_file(&w) != OMNI_OK) {
                assert_null(w);
                continue;
            }
            for (int64_t i = 0; i < om_weights_tensor_count(w); i++) {
                const om_tensor_desc *t = om_weights_tensor(w, i);

                assert_true(t->offset + t->bytes <= file.n);
            }
            om_weights_free(w);
        }
    }
}

static void foreign_files_are_refused(void **state)
{
    om_weights *w = NULL;

    (void)state;
    file.n = 0;
    refused(OMNI_ERR_FORMAT, "too short");
    gguf_raw(&file, "RIFF\x10\0\0\0WAVEfmt and so on", 26);
    refused(OMNI_ERR_FORMAT, "not a GGUF file");
    good_file();
    file.bytes[4] = 9;
    refused(OMNI_ERR_FORMAT, "version 9");
    assert_int_equal(om_weights_open("no/such/file.gguf", &w), OMNI_ERR_IO);
    assert_non_null(strstr(om_last_error(), "no/such/file.gguf: No such file"));
    assert_int_equal(om_weights_open(".", &w), OMNI_ERR_IO);
    assert_non_null(strstr(om_last_error(), "directory"));
    unlink("test_weights.fifo");
    assert_int_equal(mkfifo("test_weights.fifo", 0600), 0);
    assert_int_equal(om_weights_open("test_weights.fifo", &w), OMNI_ERR_IO);     /* and does not wait */
    unlink("test_weights.fifo");
    assert_int_equal(om_weights_open("", &w), OMNI_ERR_ARG);
    assert_int_equal(om_weights_open(NULL, &w), OMNI_ERR_ARG);
    assert_null(w);
    om_weights_free(NULL);
}

static void huge_counts_are_refused(void **state)
{
    (void)state;
    gguf_begin(&file, 3, UINT64_MAX, 0);
    refused(OMNI_ERR_FORMAT, "claims");
    gguf_begin(&file, 3, 0, (uint64_t)1 << 62);
    refused(OMNI_ERR_FORMAT, "claims");
    gguf_begin(&file, 3, 65536, 65536);
    refused(OMNI_ERR_FORMAT, "corrupt or truncated");
    gguf_begin(&file, 3, 0, 1);
    gguf_n64(&file, UINT64_MAX);                /* key length */
    refused(OMNI_ERR_FORMAT, "string length");
    gguf_begin(&file, 3, 0, 1);
    gguf_key(&file, "list", G_ARRAY);
    gguf_n32(&file, G_U64);
    gguf_n64(&file, (uint64_t)1 << 61);
    refused(OMNI_ERR_FORMAT, "corrupt or truncated");
    gguf_begin(&file, 3, 0, 1);
    gguf_key(&file, "list", G_ARRAY);
    gguf_n32(&file, G_ARRAY);
    gguf_n64(&file, 1);
    refused(OMNI_ERR_FORMAT, "invalid GGUF type");
}

static void duplicate_names_are_refused(void **state)
{
    (void)state;
    gguf_begin(&file, 3, 0, 2);
    gguf_u32(&file, "n", 1);
    gguf_u32(&file, "n", 2);
    refused(OMNI_ERR_FORMAT, "duplicate key 'n'");
    gguf_begin(&file, 3, 2, 0);
    gguf_tensor(&file, "a", 1, (uint64_t[]){ 8 }, F32, 0);
    gguf_tensor(&file, "a", 1, (uint64_t[]){ 8 }, F32, 32);
    gguf_pad(&file);
    gguf_raw(&file, (char[64]){ 0 }, 64);
    refused(OMNI_ERR_FORMAT, "duplicate tensor name 'a'");
}

static void one_tensor(uint32_t n_dims, const uint64_t *ne, uint32_t type, uint64_t offset)
{
    gguf_begin(&file, 3, 1, 0);
    gguf_tensor(&file, "a", n_dims, ne, type, offset);
    gguf_pad(&file);
    gguf_raw(&file, (char[256]){ 0 }, 256);
}

static void impossible_tensors_are_refused(void **state)
{
    om_weights *w;

    (void)state;
    one_tensor(1, (uint64_t[]){ 64 }, F32, 0);
    assert_int_equal(open_file(&w), OMNI_OK);
    om_weights_free(w);
    one_tensor(1, (uint64_t[]){ 65 }, F32, 0);
    refused(OMNI_ERR_FORMAT, "truncated: tensor a");
    one_tensor(1, (uint64_t[]){ 8 }, F32, 32);
    refused(OMNI_ERR_FORMAT, "offset 32");
    one_tensor(1, (uint64_t[]){ 8 }, F32, UINT64_MAX - 31);
    refused(OMNI_ERR_FORMAT, "offset");
    one_tensor(1, (uint64_t[]){ 0 }, F32, 0);
    refused(OMNI_ERR_FORMAT, "impossible shape");
    one_tensor(1, (uint64_t[]){ UINT64_MAX }, F32, 0);
    refused(OMNI_ERR_FORMAT, "invalid number of elements");
    one_tensor(2, (uint64_t[]){ (uint64_t)1 << 61, 16 }, F32, 0);
    refused(OMNI_ERR_FORMAT, "a");
    one_tensor(2, (uint64_t[]){ (uint64_t)1 << 40, (uint64_t)1 << 40 }, F32, 0);
    refused(OMNI_ERR_FORMAT, "a");
    one_tensor(1, (uint64_t[]){ (uint64_t)1 << 62 }, F32, 0);
    refused(OMNI_ERR_FORMAT, "a");
    one_tensor(5, (uint64_t[]){ 1, 1, 1, 1, 1 }, F32, 0);
    refused(OMNI_ERR_FORMAT, "number of dimensions");
    one_tensor(1, (uint64_t[]){ 32 }, 1000, 0);
    refused(OMNI_ERR_FORMAT, "invalid ggml type");
    one_tensor(1, (uint64_t[]){ 32 }, REMOVED_TYPE, 0);
    refused(OMNI_ERR_FORMAT, "block size");
    one_tensor(1, (uint64_t[]){ 33 }, Q8_0, 0);
    refused(OMNI_ERR_FORMAT, "block size");
}

static void overlapping_tensors_are_refused(void **state)
{
    (void)state;
    gguf_begin(&file, 3, 2, 0);
    gguf_tensor(&file, "a", 1, (uint64_t[]){ 16 }, F32, 0);
    gguf_tensor(&file, "b", 1, (uint64_t[]){ 16 }, F32, 32);
    gguf_pad(&file);
    gguf_raw(&file, (char[256]){ 0 }, 256);
    refused(OMNI_ERR_FORMAT, "offset 32, expected 64");
}

static void bad_alignment_is_refused(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        gguf_begin(&file, 3, 0, 1);
        gguf_u32(&file, "general.alignment", i ? 33 : 0);
        refused(OMNI_ERR_FORMAT, "alignment");
    }
    gguf_begin(&file, 3, 0, 1);
    gguf_str(&file, "general.alignment", "32");
    refused(OMNI_ERR_FORMAT, "alignment");
}

/* Opening and reading with each allocation and each read failing once. */
static void survives_every_failure(void **state)
{
    long total = 0;

    (void)state;
    good_file();
    gguf_save(&file, PATH);
    for (long n = 0; n <= total; n++) {
        om_weights *w = NULL;
        float x[32];
        int rc;

        om_torture_arm(n);
        rc = om_weights_open(PATH, &w);
        for (int64_t i = 0; rc == OMNI_OK && i < om_weights_tensor_count(w); i++)
            rc = om_weights_read_f32(w, om_weights_tensor(w, i), x);
        if (n == 0) {
            total = om_torture_count();
            assert_int_equal(rc, OMNI_OK);
            assert_true(total > 8);
        } else {
            assert_true(rc == OMNI_ERR_MEMORY || rc == OMNI_ERR_IO);
        }
        om_torture_arm(0);
        om_weights_free(w);
    }
}

static int clean_up(void **state)
{
    (void)state;
    return unlink(PATH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves_tensors),
        cmocka_unit_test(misshapen_and_missing_tensors_are_named),
        cmocka_unit_test(metadata_is_typed_and_in_range),
        cmocka_unit_test(not_a_number_is_outside_every_range),
        cmocka_unit_test(metadata_as_text_is_short_and_whole),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(any_corrupt_byte_is_refused_or_harmless),
        cmocka_unit_test(foreign_files_are_refused),
        cmocka_unit_test(huge_counts_are_refused),
        cmocka_unit_test(duplicate_names_are_refused),
        cmocka_unit_test(impossible_tensors_are_refused),
        cmocka_unit_test(overlapping_tensors_are_refused),
        cmocka_unit_test(bad_alignment_is_refused),
        cmocka_unit_test(survives_every_failure),
    };

    return cmocka_run_group_tests(tests, NULL, clean_up);
}
