/* source: every type and stride as f32, and no array that does not lie within its file. */
#include "unit/cmocka_all.h"

#include "convert/source.h"
#include "base/memory.h"
#include "base/status.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static om_source *source_of(const void *bytes, size_t n)
{
    om_source *s = om_source_new();
    int fd = memfd_create("source", MFD_CLOEXEC), index = -1;

    assert_non_null(s);
    assert_int_equal(pwrite(fd, bytes, n, 0), n);
    assert_int_equal(om_source_add_file(s, "weights.bin", fd, n, &index), OMNI_OK);
    assert_int_equal(index, 0);
    return s;
}

static om_source_tensor matrix(const char *name, om_source_type type, int64_t rows, int64_t columns, uint64_t at)
{
    om_source_tensor t = {.name = name, .type = type, .n_dims = 2, .shape = {rows, columns}, .offset = at};

    om_source_contiguous(&t);
    return t;
}

static void expect(const om_source *s, const om_source_tensor *t, int64_t first, int n, const float *wanted)
{
    float got[16];

    assert_int_equal(om_source_read(s, t, first, n, got), OMNI_OK);
    assert_memory_equal(got, wanted, (size_t)n * sizeof *got);
}

static void refuse(om_source *s, const om_source_tensor *t, const char *says)
{
    const int before = s->n_tensors;

    assert_int_equal(om_source_add(s, t), OMNI_ERR_FORMAT);
    if (!strstr(om_last_error(), says) || !strstr(om_last_error(), "weights.bin"))
        fail_msg("\"%s\" does not say \"%s\"", om_last_error(), says);
    assert_int_equal(s->n_tensors, before);
}

static void each_type_becomes_f32(void **state)
{
    static const float wanted[4] = {1.0f, -2.0f, 0.5f, 3.0f};
    struct {
        double f64[4];
        float f32[4];
        uint16_t f16[4], bf16[4];
        int64_t whole[2];
    } file = {{1, -2, 0.5, 3}, {1, -2, 0.5f, 3}, {0x3c00, 0xc000, 0x3800, 0x4200}, {0x3f80, 0xc000, 0x3f00, 0x4040}, {7, 8}};
    om_source *s = source_of(&file, sizeof file);
    om_source_tensor t[5] = {matrix("d", OM_SOURCE_F64, 2, 2, 0), matrix("s", OM_SOURCE_F32, 2, 2, 32),
                             matrix("h", OM_SOURCE_F16, 2, 2, 48), matrix("b", OM_SOURCE_BF16, 2, 2, 56),
                             matrix("i", OM_SOURCE_I64, 1, 2, 64)};

    (void)state;
    for (int i = 0; i < 5; i++)
        assert_int_equal(om_source_add(s, &t[i]), OMNI_OK);
    assert_int_equal(om_source_finish(s), OMNI_OK);
    for (const char *name = "dshb"; *name; name++) {
        const om_source_tensor *found = om_source_find(s, (char[]){*name, 0});

        assert_non_null(found);
        assert_int_equal(om_source_count(found), 4);
        expect(s, found, 0, 4, wanted);
        expect(s, found, 1, 2, wanted + 1);
    }
    assert_null(om_source_find(s, "x"));
    float none[2];
    assert_int_equal(om_source_read(s, om_source_find(s, "i"), 0, 2, none), OMNI_ERR_ARG);
    assert_int_equal(om_source_read(s, om_source_find(s, "s"), 3, 2, none), OMNI_ERR_ARG);
    assert_int_equal(om_source_read(s, om_source_find(s, "s"), -1, 1, none), OMNI_ERR_ARG);
    assert_int_equal(om_source_read(s, om_source_find(s, "s"), 4, 0, none), OMNI_OK);
    om_source_free(s);
}

/* [2][3][4] as stored, seen with its axes in another order, from another element, and with a repeated row. */
static void strides_are_followed(void **state)
{
    float stored[24];
    om_source *s;
    float got[24];

    (void)state;
    for (int i = 0; i < 24; i++)
        stored[i] = (float)i;
    s = source_of(stored, sizeof stored);
    om_source_tensor turned = {.name = "turned", .n_dims = 3, .shape = {4, 2, 3}, .stride = {1, 12, 4}};
    om_source_tensor inner = {.name = "inner", .n_dims = 2, .shape = {2, 2}, .stride = {12, 2}, .offset = 20};
    om_source_tensor same = {.name = "same", .n_dims = 2, .shape = {2, 3}, .stride = {0, 1}};
    om_source_tensor number = {.name = "number", .offset = 28};

    assert_int_equal(om_source_add(s, &turned), OMNI_OK);
    assert_int_equal(om_source_read(s, &turned, 0, 24, got), OMNI_OK);
    for (int a = 0; a < 4; a++)
        for (int b = 0; b < 2; b++)
            for (int c = 0; c < 3; c++)
                assert_true(got[(a * 2 + b) * 3 + c] == stored[b * 12 + c * 4 + a]);
    assert_int_equal(om_source_add(s, &inner), OMNI_OK);
    expect(s, &inner, 0, 4, (float[]){5, 7, 17, 19});
    expect(s, &inner, 1, 2, (float[]){7, 17});
    assert_int_equal(om_source_add(s, &same), OMNI_OK);
    expect(s, &same, 0, 6, (float[]){0, 1, 2, 0, 1, 2});
    assert_int_equal(om_source_add(s, &number), OMNI_OK);
    expect(s, &number, 0, 1, (float[]){7});
    om_source_free(s);
}

/* More than one block of reading, converted and strided. */
static void long_arrays_come_in_pieces(void **state)
{
    enum { N = 200000 };
    uint16_t *stored = malloc(N * sizeof *stored);
    float *got = malloc(N * sizeof *got);
    om_source *s;

    (void)state;
    for (int i = 0; i < N; i++)
        stored[i] = (uint16_t)(0x3f80 + i % 97);
    s = source_of(stored, N * sizeof *stored);
    om_source_tensor whole = matrix("whole", OM_SOURCE_BF16, 1, N, 0);
    om_source_tensor third = {.name = "third", .type = OM_SOURCE_BF16, .n_dims = 1, .shape = {N / 3}, .stride = {3}};
    assert_int_equal(om_source_add(s, &whole), OMNI_OK);
    assert_int_equal(om_source_add(s, &third), OMNI_OK);
    for (int step = 1; step <= 3; step += 2) {
        assert_int_equal(om_source_read(s, step == 1 ? &whole : &third, 0, N / step, got), OMNI_OK);
        for (int i = 0; i < N / step; i++) {
            const uint32_t bits = (uint32_t)stored[i * step] << 16;

            assert_memory_equal(&got[i], &bits, sizeof bits);
        }
    }
    om_source_free(s);
    free(stored);
    free(got);
}

static void nothing_outside_the_file_is_listed(void **state)
{
    float stored[8] = {0};
    om_source *s = source_of(stored, sizeof stored);
    om_source_tensor t;

    (void)state;
    t = matrix("late", OM_SOURCE_F32, 2, 4, 4);
    refuse(s, &t, "behind the end");
    t = matrix("behind", OM_SOURCE_F32, 0, 1, 33);
    refuse(s, &t, "begins behind");
    t = matrix("huge", OM_SOURCE_F32, INT64_MAX / 2, 4, 0);
    refuse(s, &t, "can be counted");
    t = (om_source_tensor){.name = "far", .n_dims = 2, .shape = {3, 2}, .stride = {INT64_MAX / 2, INT64_MAX / 2}};
    refuse(s, &t, "strides");
    t = (om_source_tensor){.name = "bomb", .n_dims = 2, .shape = {1 << 30, 2}, .stride = {0, 1}};
    refuse(s, &t, "room");
    t = (om_source_tensor){.name = "back", .n_dims = 1, .shape = {2}, .stride = {-1}};
    refuse(s, &t, "negative");
    t = (om_source_tensor){.name = "deep", .n_dims = 9};
    refuse(s, &t, "dimensions");
    t = (om_source_tensor){.name = "elsewhere", .file = 1};
    assert_int_equal(om_source_add(s, &t), OMNI_ERR_ARG);
    t = matrix("just", OM_SOURCE_F32, 2, 4, 0);
    assert_int_equal(om_source_add(s, &t), OMNI_OK);
    assert_int_equal(om_source_add(s, &t), OMNI_OK);
    assert_int_equal(om_source_finish(s), OMNI_ERR_FORMAT);
    assert_non_null(strstr(om_last_error(), "just is there twice"));
    om_source_free(s);
}

static void a_file_that_shrank_and_no_memory(void **state)
{
    float stored[8] = {0}, got[8];
    om_source *s = source_of(stored, sizeof stored);
    om_source_tensor t = matrix("t", OM_SOURCE_F32, 2, 4, 0);

    (void)state;
    om_torture_arm(1);
    assert_int_equal(om_source_add(s, &t), OMNI_ERR_MEMORY);
    om_torture_arm(2);
    assert_int_equal(om_source_add(s, &t), OMNI_ERR_MEMORY);
    om_torture_arm(0);
    assert_int_equal(om_source_add(s, &t), OMNI_OK);
    assert_int_equal(ftruncate(s->files[0].fd, 16), 0);
    assert_int_equal(om_source_read(s, &t, 0, 8, got), OMNI_ERR_IO);
    assert_non_null(strstr(om_last_error(), "shorter"));
    om_source_free(s);
    om_source_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_type_becomes_f32),
        cmocka_unit_test(strides_are_followed),
        cmocka_unit_test(long_arrays_come_in_pieces),
        cmocka_unit_test(nothing_outside_the_file_is_listed),
        cmocka_unit_test(a_file_that_shrank_and_no_memory),
    };

    return cmocka_run_group_tests_name("source", tests, NULL, NULL);
}
