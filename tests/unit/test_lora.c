/* lora, adapter: sums of any range of elements, tensors that take the place of others, and failures that leave nothing. */
#include "unit/foreign_file.h"

#include "base/memory.h"
#include "convert/adapter.h"
#include "convert/safetensors.h"

#include <limits.h>
#include <sys/stat.h>

enum { ROWS = 3, COLUMNS = 4, RANK = 2 };

static const float base[ROWS][COLUMNS] = {{1, 2, 3, 4}, {5, 6, 7, 8}, {9, 10, 11, 12}};
static const float a[RANK][COLUMNS] = {{1, 0, -1, 2}, {0, 1, 1, -2}};
static const float b[ROWS][RANK] = {{1, 0}, {0, 1}, {2, -1}};

/* A safetensors file of one or two matrices of f32. */
static void put(const char *name, const char *header, const void *first, size_t n_first, const void *second, size_t n_second)
{
    unsigned char bytes[1024] = {(unsigned char)strlen(header), (unsigned char)(strlen(header) >> 8)};
    const size_t n = strlen(header);

    assert_true(8 + n + n_first + n_second <= sizeof bytes);
    memcpy(bytes + 8, header, n);
    memcpy(bytes + 8 + n, first, n_first);
    if (n_second)
        memcpy(bytes + 8 + n + n_first, second, n_second);
    foreign_put(name, bytes, 8 + n + n_first + n_second);
}

static void put_adapter(const char *alpha)
{
    char config[200];

    mkdir(foreign_path("adapter"), 0777);
    snprintf(config, sizeof config, "{\"peft_type\":\"LORA\",\"bias\":\"none\",\"r\":2,\"lora_alpha\":%s,\"target_modules\":[\"m\"],"
             "\"base_model_name_or_path\":\"/base\"}", alpha);
    foreign_text("adapter/adapter_config.json", config);
    put("adapter/adapter_model.safetensors",
        "{\"base_model.model.x.m.lora_A.weight\":{\"dtype\":\"F32\",\"shape\":[2,4],\"data_offsets\":[0,32]},"
        "\"base_model.model.x.m.lora_B.weight\":{\"dtype\":\"F32\",\"shape\":[3,2],\"data_offsets\":[32,56]}}", a, sizeof a, b, sizeof b);
}

static int open_base(om_source **s)
{
    int rc;

    put("base.safetensors",
        "{\"x.m.weight\":{\"dtype\":\"F32\",\"shape\":[3,4],\"data_offsets\":[0,48]},"
        "\"x.n.weight\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[48,64]}}", base, sizeof base, base, sizeof base[0]);
    *s = om_source_new();
    rc = *s ? om_safetensors_open(*s, foreign_path("base.safetensors")) : OMNI_ERR_MEMORY;
    return rc ? rc : om_source_finish(*s);
}

/* alpha 4, rank 2: twice b * a */
static float sum(int i, int j)
{
    return base[i][j] + 2 * (b[i][0] * a[0][j] + b[i][1] * a[1][j]);
}

static void any_range_of_elements(void **state)
{
    om_source *s;
    om_lora *lora;
    float got[ROWS * COLUMNS];

    (void)state;
    put_adapter("4");
    assert_int_equal(open_base(&s), OMNI_OK);
    assert_int_equal(om_adapter_apply(foreign_path("adapter"), s, &lora), OMNI_OK);
    assert_int_equal(om_lora_count(lora), 1);
    const om_source_tensor *m = om_source_find(s, "x.m.weight"), *n = om_source_find(s, "x.n.weight");
    for (int first = 0; first < ROWS * COLUMNS; first++)
        for (int count = 0; first + count <= ROWS * COLUMNS; count++) {
            assert_int_equal(om_source_read(s, m, first, count, got), OMNI_OK);
            for (int i = 0; i < count; i++)
                assert_true(got[i] == sum((first + i) / COLUMNS, (first + i) % COLUMNS));
        }
    assert_int_equal(om_source_read(s, n, 0, 4, got), OMNI_OK);
    assert_memory_equal(got, base[0], sizeof base[0]);
    om_source_free(s);
    om_lora_free(lora);
}

static void tensors_take_the_place_of_others(void **state)
{
    static const float other[2] = {-1, -2};
    om_source *s, *from = om_source_new();
    float got[2];

    (void)state;
    assert_int_equal(open_base(&s), OMNI_OK);
    put("more.safetensors",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"x.n.weight\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
        other, sizeof other, NULL, 0);
    assert_int_equal(om_safetensors_open(from, foreign_path("more.safetensors")), OMNI_OK);
    assert_int_equal(om_source_finish(from), OMNI_OK);
    assert_int_equal(om_source_take_over(s, from), OMNI_OK);
    assert_int_equal(s->n_files, 2);
    assert_int_equal(s->n_tensors, 3);
    assert_int_equal(om_source_find(s, "x.m.weight")->file, 0);
    assert_int_equal(om_source_read(s, om_source_find(s, "a"), 0, 1, got), OMNI_OK);
    assert_int_equal(om_source_read(s, om_source_find(s, "x.n.weight"), 0, 1, got + 1), OMNI_OK);
    assert_memory_equal(got, other, sizeof other);
    /* the list still grows where it should */
    for (int i = 0; i < 20; i++) {
        char name[8];
        om_source_tensor t = {.name = name, .file = 1};

        snprintf(name, sizeof name, "t%02d", i);
        assert_int_equal(om_source_add(s, &t), OMNI_OK);
    }
    om_source_free(s);
}

static void configurations(void **state)
{
    char folder[PATH_MAX];

    (void)state;
    put_adapter("4");
    expect_reason(om_adapter_base(foreign_path("adapter"), NULL, folder), OMNI_ERR_MODEL, "found /base, which is no folder");
    assert_int_equal(om_adapter_base(foreign_path("adapter"), foreign_folder, folder), OMNI_OK);
    assert_string_equal(folder, foreign_folder);
    for (const char *const odd[] = {"0", "1e999", "\"4\"", "null", "[]"}, *const *alpha = odd; alpha < odd + 5; alpha++) {
        put_adapter(*alpha);
        assert_true(om_adapter_base(foreign_path("adapter"), NULL, folder) != OMNI_OK);
        assert_non_null(strstr(om_last_error(), "adapter_config.json"));
    }
}

/* Every allocation and every read fails once. */
static void failures_leave_nothing(void **state)
{
    long n = 1;

    (void)state;
    put_adapter("4");
    for (;; n++) {
        om_source *s = NULL;
        om_lora *lora = NULL;
        float got[4];
        char folder[PATH_MAX];

        om_torture_arm(n);
        int rc = om_adapter_base(foreign_path("adapter"), foreign_folder, folder);
        if (!rc)
            rc = open_base(&s);
        if (!rc)
            rc = om_adapter_apply(foreign_path("adapter"), s, &lora);
        if (!rc)
            rc = om_source_read(s, om_source_find(s, "x.m.weight"), 4, 4, got);
        const bool over = om_torture_count() < n;
        om_torture_arm(0);
        assert_true(rc == (over ? OMNI_OK : rc) && (rc == OMNI_OK || rc == OMNI_ERR_MEMORY || rc == OMNI_ERR_IO));
        om_source_free(s);
        om_lora_free(lora);
        if (over)
            break;
    }
    assert_true(n > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_range_of_elements),
        cmocka_unit_test(tensors_take_the_place_of_others),
        cmocka_unit_test(configurations),
        cmocka_unit_test(failures_leave_nothing),
    };

    return cmocka_run_group_tests(tests, foreign_begin, foreign_end);
}
