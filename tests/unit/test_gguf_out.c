/* gguf-out, part-file, gguf-in: what is written is read again, what can not be held is refused, nothing is left. */
#include "unit/foreign_file.h"

#include "base/memory.h"
#include "convert/gguf-in.h"
#include "convert/gguf-out.h"

#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>

enum { ROWS = 70, COLUMNS = 64, COUNT = ROWS * COLUMNS };

static float numbers[COUNT];

static int feed(const void *from, int64_t first, int64_t n, float *out)
{
    memcpy(out, (const float *)from + first, (size_t)n * sizeof *out);
    return OMNI_OK;
}

static int write_file(const char *path, enum ggml_type type, om_gguf_progress progress)
{
    const int64_t shape[2] = {ROWS, COLUMNS};
    om_part_file part = {.fd = -1};
    om_gguf_out *o = NULL;
    int rc = om_gguf_out_new(&o);

    assert_int_equal(rc, OMNI_OK);
    gguf_set_val_str(om_gguf_out_metadata(o), "general.name", "before");
    assert_int_equal(om_gguf_out_add(o, "m", type, 2, shape, (om_feed){.read = feed, .from = numbers}), OMNI_OK);
    assert_int_equal(om_gguf_out_add(o, "v", GGML_TYPE_F32, 1, shape + 1, (om_feed){.read = feed, .from = numbers}), OMNI_OK);
    rc = om_part_file_open(&part, path);
    if (!rc)
        rc = om_gguf_out_write(o, &part, progress, NULL);
    gguf_set_val_str(om_gguf_out_metadata(o), "general.name", "later!");
    if (!rc)
        rc = om_gguf_out_rewrite_metadata(o, &part);
    if (!rc)
        rc = om_part_file_commit(&part);
    om_part_file_discard(&part);
    om_gguf_out_free(o);
    return rc;
}

static bool is_there(const char *name)
{
    return access(foreign_path(name), F_OK) == 0;
}

static om_difference compare(const char *path)
{
    om_gguf_in in;
    om_difference d;

    assert_int_equal(om_gguf_in_open(path, &in), OMNI_OK);
    const om_gguf_tensor t = {.file = &in, .desc = om_weights_find(in.weights, "m")};
    assert_non_null(t.desc);
    assert_int_equal(om_gguf_compare((om_feed){.read = feed, .from = numbers}, &t, &d), OMNI_OK);
    om_gguf_in_close(&in);
    return d;
}

static int fill(void **state)
{
    uint32_t bits = 1;

    (void)state;
    for (int i = 0; i < COUNT; i++) {
        bits = bits * 1664525u + 1013904223u;
        numbers[i] = ((float)(bits >> 8) / 8388608.0f - 1.0f) * (i % 7 == 0 ? 1e-3f : 2.0f);
    }
    return 0;
}

static void each_type_stays_within_its_error(void **state)
{
    static const struct { enum ggml_type type; double most; } types[] = {
        {GGML_TYPE_F32, 0}, {GGML_TYPE_F16, 3e-4}, {GGML_TYPE_BF16, 3e-3}, {GGML_TYPE_Q8_0, 8e-3}, {GGML_TYPE_Q4_0, 0.16}};

    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const char *path = foreign_path("out.gguf");

        assert_int_equal(write_file(path, types[i].type, NULL), OMNI_OK);
        const om_difference d = compare(path);
        assert_true(d.within);
        assert_true(d.rms <= types[i].most && (d.rms > 0 || types[i].most == 0));
        numbers[100] += 0.02f;       /* more than any of them explains, f16's 2^-11 above all */
        assert_true(compare(path).within == (types[i].type == GGML_TYPE_Q4_0));
        numbers[100] -= 0.02f;
        numbers[101] = NAN;     /* no number is near it */
        assert_false(compare(path).within);
        assert_false(is_there("out.gguf.part"));
        fill(NULL);
    }
}

static void metadata_may_change_at_the_end(void **state)
{
    const char *path = foreign_path("out.gguf"), *name;
    om_gguf_in in;
    char hex[80];

    (void)state;
    assert_int_equal(write_file(path, GGML_TYPE_F16, NULL), OMNI_OK);
    assert_int_equal(om_gguf_in_open(path, &in), OMNI_OK);
    assert_int_equal(om_weights_str(in.weights, "general.name", &name), OMNI_OK);
    assert_string_equal(name, "later!");
    const om_gguf_tensor t = {.file = &in, .desc = om_weights_find(in.weights, "v")};
    assert_int_equal(om_gguf_checksum(&t, hex), OMNI_OK);
    assert_int_equal(strlen(hex), 64);
    om_gguf_in_close(&in);
}

static void numbers_that_can_not_be_held(void **state)
{
    const char *path = foreign_path("bad.gguf");

    (void)state;
    numbers[77] = 70000.0f;
    expect_reason(write_file(path, GGML_TYPE_F16, NULL), OMNI_ERR_MODEL, "tensor m: found 70000");
    assert_int_equal(write_file(path, GGML_TYPE_BF16, NULL), OMNI_OK);
    assert_int_equal(unlink(path), 0);
    numbers[77] = 3.3961775e38f;        /* the first that rounds to infinity */
    expect_reason(write_file(path, GGML_TYPE_BF16, NULL), OMNI_ERR_MODEL, "tensor m: found 3.39618e+38, which bf16 can not hold");
    numbers[77] = 8.4e6f;               /* more than 127 times what a block's f16 holds */
    expect_reason(write_file(path, GGML_TYPE_Q8_0, NULL), OMNI_ERR_MODEL, "which q8_0 can not hold; use the type bf16 or f32");
    numbers[77] = NAN;
    expect_reason(write_file(path, GGML_TYPE_F32, NULL), OMNI_ERR_MODEL, "not finite");
    assert_false(is_there("bad.gguf") || is_there("bad.gguf.part"));
    fill(NULL);
}

static int stop(void *user, uint64_t done, uint64_t all)
{
    (void)user;
    assert_true(done <= all);
    return 1;
}

static void a_stopped_or_killed_run_leaves_no_file(void **state)
{
    const char *path = foreign_path("out2.gguf");
    om_part_file other = {.fd = -1};

    (void)state;
    assert_int_equal(write_file(path, GGML_TYPE_F16, stop), OMNI_AGAIN);
    assert_false(is_there("out2.gguf") || is_there("out2.gguf.part"));
    foreign_text("out2.gguf.part", "what a killed run left, longer than nothing");
    assert_int_equal(write_file(path, GGML_TYPE_F16, NULL), OMNI_OK);
    assert_true(compare(path).within);
    assert_int_equal(om_part_file_open(&other, path), OMNI_OK);
    expect_reason(write_file(path, GGML_TYPE_F16, NULL), OMNI_ERR_STATE, "another process");
    assert_true(is_there("out2.gguf.part"));        /* the other's */
    om_part_file_discard(&other);
    expect_reason(write_file("/nowhere/out.gguf", GGML_TYPE_F16, NULL), OMNI_ERR_IO, "/nowhere/out.gguf.part");
}

/* Every allocation and write fails once. */
static void failures_leave_nothing(void **state)
{
    char path[300];
    long n = 1;

    (void)state;
    snprintf(path, sizeof path, "%s", foreign_path("out3.gguf"));
    for (;; n++) {
        const int64_t shape[2] = {ROWS, COLUMNS};
        om_part_file part = {.fd = -1};
        om_gguf_out *o = NULL;
        int rc;

        om_torture_arm(n);
        rc = om_gguf_out_new(&o);
        if (!rc)
            rc = om_gguf_out_add(o, "m", GGML_TYPE_F16, 2, shape, (om_feed){.read = feed, .from = numbers});
        if (!rc)
            rc = om_part_file_open(&part, path);
        if (!rc)
            rc = om_gguf_out_write(o, &part, NULL, NULL);
        if (!rc)
            rc = om_part_file_commit(&part);
        om_part_file_discard(&part);
        om_gguf_out_free(o);
        const bool over = om_torture_count() < n;
        om_torture_arm(0);
        if (over)
            break;
        assert_true(rc == OMNI_ERR_MEMORY || rc == OMNI_ERR_IO || rc == OMNI_OK);   /* folder's sync may fail unseen */
        assert_true(is_there("out3.gguf") == (rc == OMNI_OK));
        assert_false(is_there("out3.gguf.part"));
        unlink(path);
    }
    assert_true(n > 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_type_stays_within_its_error),
        cmocka_unit_test(metadata_may_change_at_the_end),
        cmocka_unit_test(numbers_that_can_not_be_held),
        cmocka_unit_test(a_stopped_or_killed_run_leaves_no_file),
        cmocka_unit_test(failures_leave_nothing),
    };

    fill(NULL);
    return cmocka_run_group_tests_name("gguf-out", tests, foreign_begin, foreign_end);
}
