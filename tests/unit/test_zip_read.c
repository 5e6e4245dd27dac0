/* zip-read: stored entries are found; every lie of a directory or a header is. */
#include "unit/cmocka_all.h"

#include "base/memory.h"
#include "base/status.h"
#include "convert/file-read.h"
#include "convert/zip-read.h"
#include "fuzz/memory_file.h"

#include <string.h>

enum { ROOM = 1 << 14 };

static unsigned char file[ROOM];
static size_t n_file;

/* One entry of a container in the making. */
typedef struct {
    const char *name, *data;    /* data: also in the file */
    uint32_t header;            /* where it was written */
    int method, flags;
    const char *local_name;     /* NULL: name */
    uint32_t local_size;        /* 0: the data's */
    uint32_t claimed;           /* in the directory; 0: the data's */
    uint32_t unpacked;          /* in the directory; 0: as claimed */
    uint32_t crc;               /* in the directory */
} part;

static void raw(const void *bytes, size_t n)
{
    assert_true(n <= ROOM - n_file);
    memcpy(file + n_file, bytes, n);
    n_file += n;
}

static void number(uint64_t v, int n)
{
    unsigned char b[8];

    for (int i = 0; i < n; i++)
        b[i] = (unsigned char)(v >> 8 * i);
    raw(b, (size_t)n);
}

static void numbers(int n, int size, const uint64_t *v)
{
    for (int i = 0; i < n; i++)
        number(v[i], size);
}

static void write_entry(part *p)
{
    const char *name = p->local_name ? p->local_name : p->name;
    const uint32_t size = p->local_size ? p->local_size : (uint32_t)strlen(p->data);

    p->header = (uint32_t)n_file;
    raw("PK\3\4", 4);
    numbers(5, 2, (uint64_t[]){20, (uint64_t)p->flags, (uint64_t)p->method, 0, 0});
    numbers(3, 4, (uint64_t[]){0, size, size});
    numbers(2, 2, (uint64_t[]){strlen(name), 0});
    raw(name, strlen(name));
    raw(p->data, strlen(p->data));
}

static void write_central(const part *p)
{
    const uint32_t size = p->claimed ? p->claimed : (uint32_t)strlen(p->data);

    raw("PK\1\2", 4);
    numbers(6, 2, (uint64_t[]){20, 20, (uint64_t)p->flags, (uint64_t)p->method, 0, 0});
    numbers(3, 4, (uint64_t[]){p->crc, size, p->unpacked ? p->unpacked : size});
    numbers(5, 2, (uint64_t[]){strlen(p->name), 0, 0, 0, 0});
    numbers(2, 4, (uint64_t[]){0, p->header});
    raw(p->name, strlen(p->name));
}

static void write_end(uint64_t entries, uint64_t size, uint64_t offset)
{
    raw("PK\5\6", 4);
    numbers(4, 2, (uint64_t[]){0, 0, entries, entries});
    numbers(2, 4, (uint64_t[]){size, offset});
    number(0, 2);
}

static void write_end64(uint64_t entries, uint64_t size, uint64_t offset)
{
    const uint64_t at = n_file;

    raw("PK\6\6", 4);
    number(44, 8);
    numbers(2, 2, (uint64_t[]){45, 45});
    numbers(2, 4, (uint64_t[]){0, 0});
    numbers(4, 8, (uint64_t[]){entries, entries, size, offset});
    raw("PK\6\7", 4);
    number(0, 4);
    number(at, 8);
    number(1, 4);
}

/* A whole container; the directory begins at *directory. */
static void build(part *parts, size_t n, size_t *directory)
{
    n_file = 0;
    for (size_t i = 0; i < n; i++)
        write_entry(&parts[i]);
    *directory = n_file;
    for (size_t i = 0; i < n; i++)
        write_central(&parts[i]);
    write_end(n, n_file - *directory, *directory);
}

static int open_zip(om_zip **zip)
{
    const char *path = memory_file(file, n_file);
    uint64_t size;
    int fd, rc;

    assert_int_equal(om_file_open(path, &fd, &size), OMNI_OK);
    rc = om_zip_open(fd, size, "t.zip", zip);
    close(fd);
    return rc;
}

static void refused(const char *why)
{
    om_zip *zip = NULL;
    const int rc = open_zip(&zip);

    assert_null(zip);
    if (rc != OMNI_ERR_FORMAT || !strstr(om_last_error(), why) || strncmp(om_last_error(), "t.zip: ", 7) != 0)
        fail_msg("got %d: %s; wanted \"%s\"", rc, rc ? om_last_error() : "", why);
}

static void refused_parts(part *parts, size_t n, const char *why)
{
    size_t directory;

    build(parts, n, &directory);
    refused(why);
}

static void finds_entries(void **state)
{
    part parts[] = {{.name = "a/z", .data = "12345"}, {.name = "a/b", .data = ""}, {.name = "a/c", .data = "xy"}};
    const om_zip_entry *e;
    om_zip *zip = NULL;
    size_t directory;

    (void)state;
    build(parts, 3, &directory);
    assert_int_equal(open_zip(&zip), OMNI_OK);
    assert_int_equal(om_zip_count(zip), 3);
    e = om_zip_find(zip, "a/z");
    assert_non_null(e);
    assert_int_equal(e->size, 5);
    assert_memory_equal(file + e->offset, "12345", 5);
    assert_string_equal(om_zip_entry_at(zip, 0)->name, "a/b");
    assert_int_equal(om_zip_entry_at(zip, 0)->size, 0);
    assert_null(om_zip_entry_at(zip, 3));
    assert_null(om_zip_find(zip, "a"));
    assert_null(om_zip_find(zip, "a/zz"));
    om_zip_free(zip);
}

static int check(const om_zip *zip, const char *name)
{
    uint64_t size;
    int fd, rc;

    assert_int_equal(om_file_open(memory_file(file, n_file), &fd, &size), OMNI_OK);
    rc = om_zip_check(fd, "t.zip", om_zip_find(zip, name));
    close(fd);
    return rc;
}

static void data_must_have_its_checksum(void **state)
{
    part parts[] = {{.name = "right", .data = "123456789", .crc = 0xCBF43926}, {.name = "wrong", .data = "123456780", .crc = 0xCBF43926},
                    {.name = "unsaid", .data = "x"}};
    om_zip *zip = NULL;
    size_t directory;

    (void)state;
    build(parts, 3, &directory);
    assert_int_equal(open_zip(&zip), OMNI_OK);
    assert_int_equal(check(zip, "right"), OMNI_OK);
    assert_int_equal(check(zip, "unsaid"), OMNI_OK);
    assert_int_equal(check(zip, "wrong"), OMNI_ERR_FORMAT);
    assert_non_null(strstr(om_last_error(), "entry wrong"));
    assert_non_null(strstr(om_last_error(), "wanted cbf43926"));
    om_zip_free(zip);
}

/* Entries beyond 4 GB carry their numbers in an extra field; here with small ones. room: of the field. */
static void build_wide(uint64_t size, uint64_t header, int room)
{
    const part p = {.name = "a", .data = "12345"};
    size_t directory;

    n_file = 0;
    raw("PK\3\4", 4);
    numbers(5, 2, (uint64_t[]){45, 0, 0, 0, 0});
    numbers(3, 4, (uint64_t[]){0, 0xFFFFFFFF, 0xFFFFFFFF});
    numbers(2, 2, (uint64_t[]){1, 20});
    raw("a\1\0\x10\0", 5);
    numbers(2, 8, (uint64_t[]){5, 5});
    raw(p.data, 5);
    directory = n_file;
    raw("PK\1\2", 4);
    numbers(6, 2, (uint64_t[]){45, 45, 0, 0, 0, 0});
    numbers(3, 4, (uint64_t[]){0, 0xFFFFFFFF, 0xFFFFFFFF});
    numbers(5, 2, (uint64_t[]){1, (uint64_t)room + 4, 0, 0, 0});
    numbers(2, 4, (uint64_t[]){0, 0xFFFFFFFF});
    raw("a\1\0", 3);
    number((uint64_t)room, 2);
    numbers(room / 8, 8, (uint64_t[]){size, size, header});
    write_end(1, n_file - directory, directory);
}

static void wide_entries(void **state)
{
    om_zip *zip = NULL;

    (void)state;
    build_wide(5, 0, 24);
    assert_int_equal(open_zip(&zip), OMNI_OK);
    assert_int_equal(om_zip_find(zip, "a")->size, 5);
    assert_memory_equal(file + om_zip_find(zip, "a")->offset, "12345", 5);
    om_zip_free(zip);
    build_wide(5, 0, 16);
    refused("zip64 sizes are missing");
    build_wide((uint64_t)-1, 0, 24);
    refused("reach behind");
    build_wide(5, (uint64_t)-8, 24);
    refused("outside of the entries");
    build_wide(4, 0, 24);
    refused("another name or size");
}

static void bad_names(void **state)
{
    static const char *const names[] = {"../a", "a/../../b", "/etc/passwd", "a//b", "a/", "./a", "a/.", "a\\b", "",
                                        "..", "a\nb", "\x1b[2J"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        refused_parts(&(part){.name = names[i], .data = "1"}, 1, "entry name");
    refused_parts((part[]){{.name = "a", .data = "1"}, {.name = "a", .data = "2"}}, 2, "twice");
}

static void bombs(void **state)
{
    (void)state;
    refused_parts(&(part){.name = "a/bomb", .data = "1", .method = 8}, 1, "entry a/bomb is compressed (method 8)");
    refused_parts(&(part){.name = "a", .data = "1", .flags = 1}, 1, "encrypted");
    refused_parts(&(part){.name = "a", .data = "1", .unpacked = 1u << 31}, 1, "pretend to be 2147483648");
    refused_parts(&(part){.name = "a", .data = "1", .claimed = 1u << 31, .local_size = 1u << 31}, 1, "reach behind");
}

static void headers_that_disagree(void **state)
{
    size_t directory;
    part one = {.name = "a", .data = "1234"};

    (void)state;
    refused_parts(&(part){.name = "a", .data = "1", .local_name = "b"}, 1, "another name");
    refused_parts(&(part){.name = "a", .data = "1", .local_name = "ab"}, 1, "not what the directory says");
    refused_parts(&(part){.name = "a", .data = "1234", .local_size = 3}, 1, "another name or size");
    build(&one, 1, &directory);
    file[8] = 8;            /* method of the local header alone */
    refused("not what the directory says");
    build(&one, 1, &directory);
    file[0] = 'X';
    refused("not what the directory says");
    build(&one, 1, &directory);
    file[26] = 0xFF;        /* a long local name: the data lies behind the directory */
    refused("not what the directory says");
    build(&one, 1, &directory);
    file[28] = 0xFF;        /* a long extra field */
    refused("reach behind");
    build(&one, 1, &directory);
    memset(file + directory + 42, 0xFE, 4);     /* the header's place */
    refused("outside of the entries");
}

/* Two names for the same bytes, and an entry that covers the next: overlaps make bombs, too. */
static void overlaps(void **state)
{
    part parts[] = {{.name = "a", .data = "12345678"}, {.name = "b", .data = "x"}};
    size_t directory;

    (void)state;
    n_file = 0;
    write_entry(&parts[0]);
    directory = n_file;
    write_central(&parts[0]);
    write_central(&parts[0]);
    write_end(2, n_file - directory, directory);
    refused("overlap");
    n_file = 0;
    parts[0].claimed = parts[0].local_size = 20;
    write_entry(&parts[0]);
    write_entry(&parts[1]);
    directory = n_file;
    write_central(&parts[0]);
    write_central(&parts[1]);
    write_end(2, n_file - directory, directory);
    refused("entries a and b overlap");
}

static void end_records(void **state)
{
    part one = {.name = "a", .data = "1"};
    size_t directory, end;
    om_zip *zip = NULL;

    (void)state;
    build(&one, 1, &directory);
    end = n_file - 22;
    file[end] = 'X';
    refused("no end record");
    for (size_t at = 4; at <= 6; at += 2) {
        build(&one, 1, &directory);
        file[end + at] = 1;
        refused("disks");
    }
    build(&one, 1, &directory);
    file[end + 8] = file[end + 10] = 2;
    refused("found 2 entries");
    build(&one, 1, &directory);
    file[end + 12]++;
    refused("does not end where");
    build(&one, 1, &directory);
    raw("tail", 4);
    refused("no end record");
    n_file = 0;
    write_end(0, 0, 0);
    refused("empty ZIP");
    n_file = 3;
    refused("no end record");

    build(&one, 1, &directory);
    n_file = end;                       /* zip64 records between */
    write_end64(1, end - directory, directory);
    write_end(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF);
    assert_int_equal(open_zip(&zip), OMNI_OK);
    om_zip_free(zip);
    zip = NULL;
    n_file = end;
    write_end64(1, end - directory, directory);
    write_end(2, 0xFFFFFFFF, 0xFFFFFFFF);
    refused("contradict");
    n_file = end;
    write_end64((uint64_t)1 << 60, end - directory, directory);
    write_end(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF);
    refused("1152921504606846976 entries");
    n_file = end;
    write_end64(1, end - directory, (uint64_t)-1);
    write_end(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF);
    refused("does not end where");
    n_file = end;
    write_end64(1, end - directory, directory);
    memset(file + n_file - 12, 0xFF, 8);    /* the locator's place */
    write_end(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF);
    refused("zip64 record lies outside");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_entries),
        cmocka_unit_test(data_must_have_its_checksum), cmocka_unit_test(wide_entries), cmocka_unit_test(bad_names),
        cmocka_unit_test(bombs),
        cmocka_unit_test(headers_that_disagree), cmocka_unit_test(overlaps), cmocka_unit_test(end_records),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
