/* safetensors: what it reads, and that each kind of damage is refused by name. */
#include "unit/foreign_file.h"

#include "convert/safetensors.h"

#include <stdint.h>
#include <sys/stat.h>

/* A file of this header and n_data bytes 0, 1, 2, ...; length: what the first 8 bytes claim, -1: the truth. */
static const char *put(const char *name, const char *header, size_t n_data, int64_t length)
{
    unsigned char bytes[4096];
    const size_t n = strlen(header);
    const uint64_t claimed = length < 0 ? n : (uint64_t)length;

    assert_true(8 + n + n_data <= sizeof bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(claimed >> 8 * i);
    memcpy(bytes + 8, header, n);
    for (size_t i = 0; i < n_data; i++)
        bytes[8 + n + i] = (unsigned char)i;
    return foreign_put(name, bytes, 8 + n + n_data);
}

static void refuse(const char *header, size_t n_data, const char *says)
{
    om_source *s = om_source_new();
    int rc = om_safetensors_open(s, put("bad.safetensors", header, n_data, -1));

    if (!rc)
        rc = om_source_finish(s);
    expect_reason(rc, OMNI_ERR_FORMAT, says);
    assert_non_null(strstr(om_last_error(), "bad.safetensors"));
    om_source_free(s);
}

static void a_good_file(void **state)
{
    om_source *s = om_source_new();
    const om_source_tensor *t;
    float x[2];

    (void)state;
    assert_int_equal(om_safetensors_open(s, put("good.safetensors",
        "{\"__metadata__\":{\"format\":\"pt\"},\"b\":{\"dtype\":\"F16\",\"shape\":[2,1],\"data_offsets\":[4,8]},"
        "\"a\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[0,4]},"
        "\"e\":{\"dtype\":\"F32\",\"shape\":[0,3],\"data_offsets\":[8,8]}}   ", 8, -1)), OMNI_OK);
    assert_int_equal(om_source_finish(s), OMNI_OK);
    assert_int_equal(s->n_tensors, 3);
    t = om_source_find(s, "b");
    assert_non_null(t);
    assert_int_equal(t->type, OM_SOURCE_F16);
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->shape[0], 2);
    assert_int_equal(om_source_read(s, t, 0, 2, x), OMNI_OK);
    assert_true(x[0] > 0 && x[1] > x[0]);
    assert_int_equal(om_source_count(om_source_find(s, "a")), 1);
    assert_int_equal(om_source_count(om_source_find(s, "e")), 0);
    om_source_free(s);
}

/* A pipe with nobody at its other end is refused, not waited for. */
static void pipes(void **state)
{
    const char *path = foreign_path("pipe.safetensors");
    om_source *s = om_source_new();

    (void)state;
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_reason(om_safetensors_open(s, path), OMNI_ERR_IO, "not a regular file");
    om_source_free(s);
    unlink(path);
}

static void damaged_files(void **state)
{
    (void)state;
    refuse("{", 0, "header");
    refuse("[]", 0, "object");
    refuse("{\"a\":3}", 0, "wanted an object");
    refuse("{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, "F8_E4M3");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "shape");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "shape");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,4]}}", 4, "counted");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "data_offsets");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, "end of the file");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, "found 8 bytes");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,9223372036854775807]}}", 4, "end of the file");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
           "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]}}", 8, "overlaps");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
           "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}", 12, "hole");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, "8 bytes of data");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
           "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "uplicate");
}

static void damaged_lengths(void **state)
{
    static const int64_t lengths[] = {INT64_MAX, 100, 3, 1 << 30};

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        om_source *s = om_source_new();

        expect_reason(om_safetensors_open(s, put("bad.safetensors", "{\"a\":1}", 0, lengths[i])), OMNI_ERR_FORMAT,
                      "header");
        om_source_free(s);
    }
    om_source *s = om_source_new();
    expect_reason(om_safetensors_open(s, foreign_text("bad.safetensors", "abc")), OMNI_ERR_FORMAT, "too few");
    expect_reason(om_safetensors_open(s, foreign_path("none")), OMNI_ERR_IO, "can not be opened");
    expect_reason(om_safetensors_open(s, foreign_folder), OMNI_ERR_IO, "regular");
    om_source_free(s);
}

static void folder(const char *index, int wanted, const char *says)
{
    om_source *s = om_source_new();

    put("one.safetensors", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, -1);
    put("two.safetensors", "{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, -1);
    foreign_text("model.safetensors.index.json", index);
    if (wanted)
        expect_reason(om_safetensors_open_folder(s, foreign_folder), wanted, says);
    else
        assert_int_equal(om_safetensors_open_folder(s, foreign_folder), OMNI_OK);
    if (!wanted)
        assert_int_equal(s->n_tensors, 2);
    om_source_free(s);
}

static void shards_and_their_index(void **state)
{
    om_source *s = om_source_new();

    (void)state;
    expect_reason(om_safetensors_open_folder(s, "/nowhere"), OMNI_ERR_IO, "neither");
    om_source_free(s);
    folder("{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}", OMNI_OK, "");
    folder("{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"one.safetensors\"}}", OMNI_ERR_FORMAT, "tensor b");
    folder("{\"weight_map\":{\"a\":\"two.safetensors\",\"b\":\"one.safetensors\"}}", OMNI_ERR_FORMAT, "but it is in");
    folder("{\"weight_map\":{\"b\":\"one.safetensors\",\"c\":\"two.safetensors\"}}", OMNI_ERR_FORMAT, "tensor a");
    folder("{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\",\"c\":\"two.safetensors\"}}",
           OMNI_ERR_FORMAT, "tensor c");
    folder("{\"weight_map\":{\"a\":\"../one.safetensors\"}}", OMNI_ERR_FORMAT, "same folder");
    folder("{\"weight_map\":{\"a\":\"/etc/passwd\"}}", OMNI_ERR_FORMAT, "same folder");
    folder("{\"weight_map\":{\"a\":\"..safetensors\"}}", OMNI_ERR_FORMAT, "same folder");
    folder("{\"weight_map\":{\"a\":7}}", OMNI_ERR_FORMAT, "same folder");
    folder("{\"weight_map\":{\"a\":\"three.safetensors\"}}", OMNI_ERR_IO, "three");
    folder("{\"weight_map\":{}}", OMNI_ERR_FORMAT, "weight_map");
    folder("{}", OMNI_ERR_FORMAT, "weight_map");
    folder("{\"weight_map\":", OMNI_ERR_FORMAT, "index.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_file),
        cmocka_unit_test(pipes), cmocka_unit_test(damaged_files),
        cmocka_unit_test(damaged_lengths),
        cmocka_unit_test(shards_and_their_index),
    };

    return cmocka_run_group_tests_name("safetensors", tests, foreign_begin, foreign_end);
}
