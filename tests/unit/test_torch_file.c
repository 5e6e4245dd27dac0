/* torch-file: what torch.save wrote is read bit for bit; what it would never write is refused. */
#include "unit/cmocka_all.h"

#include "base/memory.h"
#include "base/status.h"
#include "convert/torch-file.h"
#include "fuzz/memory_file.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { MOST = 1 << 20 };

static char folder[1024];

static const char *in_folder(const char *name, const char *ending)
{
    static char path[2048];

    snprintf(path, sizeof path, "%s/%s%s", folder, name, ending);
    return path;
}

static size_t bytes_of(const char *name, unsigned char *out)
{
    FILE *f = fopen(in_folder(name, ".pt"), "rb");
    size_t n;

    assert_non_null(f);
    n = fread(out, 1, MOST, f);
    fclose(f);
    assert_true(n > 100 && n < MOST);
    return n;
}

/* ---- good files ------------------------------------------------------------------------ */

/* One line "array NAME TYPE N_DIMS SHAPE... BITS..." of a .txt against the source. */
static void check_array(const om_source *s, FILE *f, const char *file)
{
    char name[256], type[8];
    const om_source_tensor *t;
    int n_dims;

    assert_int_equal(fscanf(f, "%255s %7s %d", name, type, &n_dims), 3);
    t = om_source_find(s, name);
    if (!t)
        fail_msg("%s: no array %s", file, name);
    assert_string_equal(om_source_type_name(t->type), type);
    assert_int_equal(t->n_dims, n_dims);
    for (int i = 0; i < n_dims; i++) {
        long long size;

        assert_int_equal(fscanf(f, "%lld", &size), 1);
        assert_int_equal(t->shape[i], size);
    }
    if (t->type > OM_SOURCE_F64) {
        float x;

        assert_int_equal(om_source_read(s, t, 0, 1, &x), OMNI_ERR_ARG);
        return;
    }
    const int64_t n = om_source_count(t);
    float *x = malloc((size_t)(n + 1) * sizeof *x);
    uint32_t wanted, got;

    assert_int_equal(om_source_read(s, t, 0, n, x), OMNI_OK);
    for (int64_t i = 0; i < n; i++) {
        assert_int_equal(fscanf(f, "%" SCNx32, &wanted), 1);
        memcpy(&got, &x[i], sizeof got);
        if (got != wanted)
            fail_msg("%s: %s[%lld]: found %08x, wanted %08x", file, name, (long long)i, got, wanted);
    }
    free(x);
}

static void check_number(FILE *f, const char *file, const char *path)
{
    char key[256];
    double wanted, got = 0;

    assert_int_equal(fscanf(f, "%255s %lf", key, &wanted), 2);
    if (om_torch_number(path, key, &got) != OMNI_OK)
        fail_msg("%s: %s", file, om_last_error());
    if (got != wanted)
        fail_msg("%s: %s: found %g, wanted %g", file, key, got, wanted);
}

static void check_file(const char *name, int *n_arrays, int *n_numbers)
{
    om_source *s = om_source_new();
    FILE *f = fopen(in_folder(name, ".txt"), "r");
    char kind[16], path[2048];
    int arrays = 0;

    assert_non_null(f);
    snprintf(path, sizeof path, "%s", in_folder(name, ".pt"));
    if (om_torch_open(s, path) != OMNI_OK || om_source_finish(s) != OMNI_OK)
        fail_msg("%s: %s", name, om_last_error());
    while (fscanf(f, "%15s", kind) == 1) {
        if (strcmp(kind, "array") == 0) {
            check_array(s, f, name);
            arrays++;
        } else {
            check_number(f, name, path);
            ++*n_numbers;
        }
    }
    assert_int_equal(s->n_tensors, arrays);
    *n_arrays += arrays;
    fclose(f);
    om_source_free(s);
}

static void every_file_of_torch_save(void **state)
{
    FILE *list = fopen(in_folder("files", ""), "r");
    char name[256];
    int files = 0, arrays = 0, numbers = 0;

    (void)state;
    assert_non_null(list);
    for (; fscanf(list, "%255s", name) == 1; files++)
        check_file(name, &arrays, &numbers);
    fclose(list);
    print_message("%d files, %d arrays, %d numbers\n", files, arrays, numbers);
    assert_int_equal(files, 48);
}

/* Views of one storage lie in one place; nothing of them is copied. */
static void views_share_their_bytes(void **state)
{
    om_source *s = om_source_new();
    const om_source_tensor *whole, *turned, *row;

    (void)state;
    assert_int_equal(om_torch_open(s, in_folder("views-zip-2", ".pt")), OMNI_OK);
    assert_int_equal(om_source_finish(s), OMNI_OK);
    whole = om_source_find(s, "whole");
    turned = om_source_find(s, "transposed");
    row = om_source_find(s, "row");
    assert_int_equal(whole->offset, turned->offset);
    assert_int_equal(turned->stride[0], 1);
    assert_int_equal(turned->stride[2], 20);
    assert_int_equal(row->offset, whole->offset + 20 * sizeof(float));
    om_source_free(s);
}

/* Two files into one source; numbers that are not there, or no numbers. */
static void files_add_up(void **state)
{
    om_source *s = om_source_new();
    double number = 5;

    (void)state;
    assert_int_equal(om_torch_open(s, in_folder("whisper-zip-2", ".pt")), OMNI_OK);
    assert_int_equal(om_torch_open(s, in_folder("vocoder-legacy-2", ".pt")), OMNI_OK);
    assert_int_equal(om_source_finish(s), OMNI_OK);
    assert_non_null(om_source_find(s, "generator.ups.0.weight_v"));
    assert_non_null(om_source_find(s, "model_state_dict.encoder.conv1.weight"));
    assert_int_equal(om_torch_open(s, in_folder("whisper-legacy-2", ".pt")), OMNI_OK);
    assert_int_equal(om_source_finish(s), OMNI_ERR_FORMAT);
    om_source_free(s);

    assert_int_equal(om_torch_number(in_folder("whisper-zip-2", ".pt"), "dims.n_nothing", &number), OMNI_ERR_FORMAT);
    assert_non_null(strstr(om_last_error(), "dims.n_nothing"));
    assert_int_equal(om_torch_number(in_folder("whisper-zip-2", ".pt"), "dims", &number), OMNI_ERR_FORMAT);
    assert_int_equal(om_torch_number(in_folder("no such file", ".pt"), "dims", &number), OMNI_ERR_IO);
    assert_true(number == 5);
}

/* ---- bad files ---------------------------------------------------------------------------- */

static int open_bytes(const void *bytes, size_t n)
{
    om_source *s = om_source_new();
    int rc = om_torch_open(s, memory_file(bytes, n));

    if (!rc)
        rc = om_source_finish(s);
    for (int i = 0; !rc && i < s->n_tensors; i++) {
        const om_source_tensor *t = &s->tensors[i];
        float x[4];

        if (t->type <= OM_SOURCE_F64)
            assert_int_equal(om_source_read(s, t, 0, om_source_count(t) < 4 ? om_source_count(t) : 4, x), OMNI_OK);
    }
    om_source_free(s);
    return rc;
}

static void refused(const void *bytes, size_t n, const char *text)
{
    const int rc = open_bytes(bytes, n);

    if (rc != OMNI_ERR_FORMAT || !strstr(om_last_error(), text))
        fail_msg("got %d: %s; wanted \"%s\"", rc, rc ? om_last_error() : "", text);
}

static void refused_file(const char *name, int code, const char *text)
{
    om_source *s = om_source_new();
    const int rc = om_torch_open(s, in_folder(name, ".pt"));

    if (rc != code || !strstr(om_last_error(), text))
        fail_msg("%s: got %d: %s; wanted \"%s\"", name, rc, rc ? om_last_error() : "", text);
    om_source_free(s);
}

static void what_is_no_list_of_arrays(void **state)
{
    char tar[1024] = "sys_info";

    (void)state;
    refused_file("program", OMNI_ERR_FORMAT, "torch.nn.modules.linear.Linear");
    refused_file("script", OMNI_ERR_FORMAT, "torch.jit.save");
    refused_file("nameless", OMNI_ERR_FORMAT, "an array by itself");
    refused_file("numbers", OMNI_ERR_FORMAT, "without a single array");
    refused_file("missing", OMNI_ERR_IO, "No such file");
    refused("", 0, "an empty file");
    refused("{}", 2, "not a PyTorch checkpoint");
    refused("version https://git-lfs.github.com/spec/v1\noid sha256:1\n", 56, "git lfs pull");
    memcpy(tar + 257, "ustar", 6);
    refused(tar, sizeof tar, "tar container");
    refused("\x80\x02K\x01.", 5, "magic number");
    refused("\x80\x02" "cos\nsystem\nX\2\0\0\0id\x85R.", 24, "os.system");
}

/* No file that was cut short is accepted, wherever it was cut. */
static void cut_at_every_byte(void **state)
{
    static const char *const names[] = {"views-zip-2", "views-legacy-2", "nested-zip-4", "nested-legacy-5"};
    unsigned char *bytes = malloc(MOST);

    (void)state;
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        const size_t n = bytes_of(names[k], bytes);

        assert_int_equal(open_bytes(bytes, n), OMNI_OK);
        for (size_t cut = 0; cut < n; cut++) {
            const int rc = open_bytes(bytes, cut);

            if (rc != OMNI_ERR_FORMAT)
                fail_msg("%s cut at %zu of %zu: got %d: %s", names[k], cut, n, rc, rc ? om_last_error() : "");
        }
    }
    free(bytes);
}

/* Any byte may be wrong: the file is refused with a reason, or still describes arrays within itself. */
static void wrong_at_every_byte(void **state)
{
    static const char *const names[] = {"vocoder-zip-2", "vocoder-legacy-2", "nested-zip-2", "nested-legacy-4"};
    static const unsigned char changes[] = {0xFF, 0x01, 0x80};
    unsigned char *bytes = malloc(MOST);
    long accepted = 0, seen = 0;

    (void)state;
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        const size_t n = bytes_of(names[k], bytes);

        for (size_t i = 0; i < 3 * n; i++, seen++) {
            int rc;

            bytes[i / 3] ^= changes[i % 3];
            rc = open_bytes(bytes, n);
            accepted += rc == OMNI_OK;
            if (rc != OMNI_OK && rc != OMNI_ERR_FORMAT)
                fail_msg("%s: byte %zu: got %d: %s", names[k], i / 3, rc, om_last_error());
            bytes[i / 3] ^= changes[i % 3];
        }
        assert_int_equal(open_bytes(bytes, n), OMNI_OK);
    }
    print_message("%ld of %ld changes are harmless (values, names, padding)\n", accepted, seen);
    free(bytes);
}

/* Replaces the only occurrence of a text by another of the same length. */
static void patch(unsigned char *bytes, size_t n, const char *from, const char *to, size_t length)
{
    unsigned char *at = memmem(bytes, n, from, length);

    assert_non_null(at);
    memcpy(at, to, length);
}

/* Offsets and shapes that lead out of the storage. */
static void windows_out_of_their_storage(void **state)
{
    unsigned char *bytes = malloc(MOST);
    /* The beginning of "row" in views: first 20, shape (4, 5), and then stride (5, 1). */
    static const char row[] = "K\x14K\x04K\x05\x86";
    static const struct { const char *to, *text; } cases[] = {
        {"K\x29K\x04K\x05\x86", "reaches behind its storage"},      /* first 41: ends at 61 */
        {"K\x14K\x08K\x0A\x86", "reaches behind its storage"},
        {"K\x14K\xFFK\xFF\x86", "reaches behind its storage"},
    };

    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const size_t n = bytes_of("views-zip-2", bytes);

        patch(bytes, n, row, cases[k].to, sizeof row - 1);
        refused(bytes, n, cases[k].text);
    }
    free(bytes);
}

/* ---- legacy containers by hand ------------------------------------------------------------- */

typedef struct { unsigned char bytes[4096]; size_t n; } hand_made;

#define ADD(f, text) add(f, text, sizeof(text) - 1)
#define MAGIC "\x80\2\x8A\x0A\x6C\xFC\x9C\x46\xF9\x20\x6A\xA8\x50\x19."
#define PROTOCOL "\x80\2M\xE9\3."
#define MACHINE "\x80\2}X\x0D\0\0\0little_endian\x88s."
/* Storage "0" of `count` elements, and a tensor's call around it. */
#define STORAGE(type, count) "(X\7\0\0\0storagectorch\n" type "Storage\nX\1\0\0\0" "0X\3\0\0\0cpu" count "NtQ"
#define TENSOR(storage, first, shape, stride) "ctorch._utils\n_rebuild_tensor_v2\n(" storage first shape stride "\x89}tR"
#define KEYS "\x80\2]X\1\0\0\0" "0a."
#define FOUR "\4\0\0\0\0\0\0\0" "abcdefghijklmnop"

static void add(hand_made *f, const char *bytes, size_t n)
{
    assert_true(n <= sizeof f->bytes - f->n);
    memcpy(f->bytes + f->n, bytes, n);
    f->n += n;
}

/* {"a": value}, its keys, its data. */
static const hand_made *container(const char *value, size_t n_value, const char *keys, size_t n_keys, const char *data,
                                  size_t n_data)
{
    static hand_made f;

    f.n = 0;
    ADD(&f, MAGIC PROTOCOL MACHINE "\x80\2}X\1\0\0\0a");
    add(&f, value, n_value);
    ADD(&f, "s.");
    add(&f, keys, n_keys);
    add(&f, data, n_data);
    return &f;
}

#define GOOD TENSOR(STORAGE("Float", "K\4"), "K\0", "K\2K\2\x86", "K\2K\1\x86")
#define REFUSED(value, keys, data, text)                                                                              \
    do {                                                                                                              \
        const hand_made *f_ = container(value, sizeof(value) - 1, keys, sizeof(keys) - 1, data, sizeof(data) - 1);    \
        refused(f_->bytes, f_->n, text);                                                                              \
    } while (0)

static void legacy_containers_by_hand(void **state)
{
    const hand_made *f = container(GOOD, sizeof GOOD - 1, KEYS, sizeof KEYS - 1, FOUR, sizeof FOUR - 1);

    (void)state;
    assert_int_equal(open_bytes(f->bytes, f->n), OMNI_OK);
    REFUSED(TENSOR(STORAGE("Float", "K\4"), "K\0", "J\xFF\xFF\xFF\xFFK\2\x86", "K\2K\1\x86"), KEYS, FOUR, "negative");
    REFUSED(TENSOR(STORAGE("Float", "K\4"), "K\0", "K\2K\2\x86", "J\xFF\xFF\xFF\xFFK\1\x86"), KEYS, FOUR, "negative");
    REFUSED(TENSOR(STORAGE("Float", "K\4"), "J\xFF\xFF\xFF\xFF", "K\2K\2\x86", "K\2K\1\x86"), KEYS, FOUR, "offset");
    REFUSED(TENSOR(STORAGE("Float", "K\4"), "K\1", "K\2K\2\x86", "K\2K\1\x86"), KEYS, FOUR, "behind its storage");
    REFUSED(TENSOR(STORAGE("Float", "K\4"), "K\5", "K\0\x85", "K\1\x85"), KEYS, FOUR, "behind its storage");
    REFUSED(TENSOR(STORAGE("Float", "K\4"), "K\0", "\x8A\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7FK\2\x86",
                   "\x8A\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7FK\1\x86"), KEYS, FOUR, "behind its storage");
    /* many zero strides: few bytes as a huge array */
    REFUSED(TENSOR(STORAGE("Float", "K\4"), "K\0", "J\0\0\0\x40J\0\0\0\x40\x86", "K\0K\0\x86"), KEYS, FOUR, "room");
    REFUSED(TENSOR(STORAGE("Float", "K\5"), "K\0", "K\2\x85", "K\1\x85"), KEYS, FOUR, "found 4");
    REFUSED(TENSOR(STORAGE("Double", "K\4"), "K\0", "K\2\x85", "K\1\x85"), KEYS, FOUR, "cut short");
    REFUSED(TENSOR(STORAGE("Double", "\x8A\x08\0\0\0\0\0\0\0\x40"), "K\0", "K\2\x85", "K\1\x85"), KEYS,
            "\0\0\0\0\0\0\0\x40" "abcdefghijklmnop", "cut short");
    REFUSED(TENSOR(STORAGE("Short", "K\4"), "K\0", "K\2\x85", "K\1\x85"), KEYS, FOUR, "torch.ShortStorage");
    REFUSED(GOOD, KEYS, FOUR "x", "ends at byte");
    REFUSED(GOOD, "\x80\2].", FOUR, "not those used");
    REFUSED(GOOD, "\x80\2]X\1\0\0\0" "1a.", FOUR, "not used");
    REFUSED(GOOD, "\x80\2](X\1\0\0\0" "0X\1\0\0\0" "0e.", FOUR, "not those used");
    REFUSED(GOOD, "\x80\2K\1.", FOUR, "not those used");
    REFUSED("(" GOOD TENSOR(STORAGE("Half", "K\4"), "K\0", "K\2\x85", "K\1\x85") "t", KEYS, FOUR, "two types");
    REFUSED("(" GOOD TENSOR(STORAGE("Float", "K\3"), "K\0", "K\2\x85", "K\1\x85") "t", KEYS, FOUR, "two types or sizes");
    REFUSED("}X\3\0\0\0x\nzK\1s}X\3\0\0\0x\nz" GOOD "s\x86", KEYS, FOUR, "control characters");
    REFUSED("}N" GOOD "s", KEYS, FOUR, "neither text nor number");
}

/* The oldest files say of which part of a storage a tensor may see something. */
static void views_of_legacy_storages(void **state)
{
#define VIEW(first, count) "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" "0X\3\0\0\0cpuK\4" \
                           "X\1\0\0\0v" first count "\x87tQ"
    static const char good[] = TENSOR(VIEW("K\1", "K\3"), "K\1", "K\2\x85", "K\1\x85");
    const hand_made *f = container(good, sizeof good - 1, KEYS, sizeof KEYS - 1, FOUR, sizeof FOUR - 1);
    om_source *s = om_source_new();
    float x[2];

    (void)state;
    assert_int_equal(om_torch_open(s, memory_file(f->bytes, f->n)), OMNI_OK);
    assert_int_equal(om_source_read(s, &s->tensors[0], 0, 2, x), OMNI_OK);
    assert_memory_equal(x, "ijklmnop", 8);      /* elements 2 and 3 */
    om_source_free(s);
    REFUSED(TENSOR(VIEW("K\1", "K\3"), "K\2", "K\2\x85", "K\1\x85"), KEYS, FOUR, "behind its storage of 3");
    REFUSED(TENSOR(VIEW("K\2", "K\3"), "K\0", "K\2\x85", "K\1\x85"), KEYS, FOUR, "within its storage");
}

static void preambles(void **state)
{
    hand_made f = {.n = 0};

    (void)state;
    ADD(&f, MAGIC "\x80\2M\xE8\3." MACHINE);
    refused(f.bytes, f.n, "wanted protocol 1001");
    f.n = 0;
    ADD(&f, MAGIC PROTOCOL "\x80\2}X\x0D\0\0\0little_endian\x89s.");
    refused(f.bytes, f.n, "big-endian");
    f.n = 0;
    ADD(&f, MAGIC PROTOCOL "\x80\2}.");
    refused(f.bytes, f.n, "big-endian");
}

/* Values within themselves, and a few lists that unfold into 2^60: refused, and soon. */
static void endless_values(void **state)
{
#define TWICE "2\x86" "2\x86" "2\x86" "2\x86"
    (void)state;
    REFUSED("}q\1X\1\0\0\0bh\1s", KEYS, FOUR, "not those used");      /* before any walk */
    REFUSED("}q\1(X\1\0\0\0bh\1X\1\0\0\0c" GOOD "u", KEYS, FOUR, "within themselves");
    REFUSED("(]q\1h\1a" GOOD "t", KEYS, FOUR, "within themselves");
    /* A tuple of what was before, twice; 28 times. */
    REFUSED(GOOD TWICE TWICE TWICE TWICE TWICE TWICE TWICE, KEYS, FOUR, "more values than");
}

static int find_folder(void **state)
{
    const char *oracle = getenv("OMNI_ORACLE_DIR");

    (void)state;
    snprintf(folder, sizeof folder, "%s/torch_file", oracle ? oracle : ".");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_file_of_torch_save), cmocka_unit_test(views_share_their_bytes),
        cmocka_unit_test(files_add_up),             cmocka_unit_test(what_is_no_list_of_arrays),
        cmocka_unit_test(cut_at_every_byte),        cmocka_unit_test(wrong_at_every_byte),
        cmocka_unit_test(windows_out_of_their_storage), cmocka_unit_test(legacy_containers_by_hand),
        cmocka_unit_test(views_of_legacy_storages), cmocka_unit_test(preambles),
        cmocka_unit_test(endless_values),
    };

    return cmocka_run_group_tests(tests, find_folder, NULL);
}
