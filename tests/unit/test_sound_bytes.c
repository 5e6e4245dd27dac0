/* What libsndfile gets to see of a recording: the samples and what describes them, nothing else. */
#include "unit/cmocka_all.h"

#include "../apps/cli/sound-bytes.h"

#include <stdlib.h>
#include <string.h>

/* A file as a literal: its bytes are changed, so it is copied to memory that ends where it ends. */
typedef struct file { unsigned char *data; size_t n; } file;

static file open_file(const char *bytes, size_t n)
{
    file f = { malloc(n), n };

    assert_non_null(f.data);
    memcpy(f.data, bytes, n);
    return f;
}

#define OPEN(literal) open_file(literal, sizeof literal - 1)

static void expect(file f, const char *bytes, size_t n)
{
    assert_null(cli_sound_refused(f.data, &f.n));
    assert_int_equal(f.n, n);
    assert_memory_equal(f.data, bytes, n);
    free(f.data);
}

#define EXPECT(f, literal) expect(f, literal, sizeof literal - 1)

static void expect_refusal(file f, const char *part)
{
    const char *why = cli_sound_refused(f.data, &f.n);

    assert_non_null(why);
    assert_non_null(strstr(why, part));
    free(f.data);
}

#define FMT "fmt \x04\0\0\0abcd"

static void other_chunks_go(void **state)
{
    (void)state;
    EXPECT(OPEN("RIFF\xff\0\0\0WAVE" "LIST\x03\0\0\0xyz\0" FMT "bext\0\0\0\0" "data\x02\0\0\0pq" "cue \x01\0\0\0z\0"),
           "RIFF\x1a\0\0\0WAVE" FMT "data\x02\0\0\0pq");
    EXPECT(OPEN("FORM\0\0\0\x32" "AIFC" "FVER\0\0\0\x04" "vers" "SSND\0\0\0\x02pq" "ANNO\0\0\0\x01n\0" "COMM\0\0\0\x04" "abcd"),
           "FORM\0\0\0\x26" "AIFC" "FVER\0\0\0\x04" "vers" "SSND\0\0\0\x02pq" "COMM\0\0\0\x04" "abcd");
    EXPECT(OPEN("RIFX\0\0\0\0WAVE" "fmt \0\0\0\x04" "abcd" "data\0\0\0\x02pq"),
           "RIFX\0\0\0\x1aWAVE" "fmt \0\0\0\x04" "abcd" "data\0\0\0\x02pq");
}

static void only_the_first_of_each_counts(void **state)
{
    (void)state;
    EXPECT(OPEN("RIFF\0\0\0\0WAVE" FMT FMT "data\x02\0\0\0pq" "data\x02\0\0\0rs"),
           "RIFF\x1a\0\0\0WAVE" FMT "data\x02\0\0\0pq");
}

/* Streams write a length that they do not know; players stop where the file stops. */
static void lengths_are_put_right(void **state)
{
    (void)state;
    EXPECT(OPEN("RIFF\xff\xff\xff\xffWAVE" FMT "data\xff\xff\xff\xffpqrs"), "RIFF\x1c\0\0\0WAVE" FMT "data\x04\0\0\0pqrs");
    EXPECT(OPEN("RIFF\0\0\0\0WAVE" FMT "data\x05\0\0\0pqrst"), "RIFF\x1c\0\0\0WAVE" FMT "data\x04\0\0\0pqrs");
    EXPECT(OPEN("FORM\0\0\0\0AIFF" "SSND\0\0\0\x02pq" "ANNO\xff\0\0\0"), "FORM\0\0\0\x0e" "AIFF" "SSND\0\0\0\x02pq");
}

static void damage_before_the_samples_is_refused(void **state)
{
    (void)state;
    expect_refusal(OPEN("RIFF\0\0\0\0WAVE" "LIST\xff\xff\xff\xff" FMT), "longer than the file");
    expect_refusal(OPEN("RIFF\0\0\0\0WAVE" "fmt \x04\0\0\0abc"), "longer than the file");
    char large[12 + 8 + 300 + 10] = "RIFF\0\0\0\0WAVEfmt \x2c\x01\0";
    memcpy(large + 320, "data\x02\0\0\0pq", 10);
    expect_refusal(open_file(large, sizeof large), "larger than any known");
}

static void other_formats(void **state)
{
    (void)state;
    EXPECT(OPEN("fLaCsomething"), "fLaCsomething");
    EXPECT(OPEN("OggS"), "OggS");
    EXPECT(OPEN("ID3\x04"), "ID3\x04");
    EXPECT(OPEN("\xff\xfb\x90\x64"), "\xff\xfb\x90\x64");
    expect_refusal(OPEN("What is two plus two?"), "none of theirs");
    expect_refusal(OPEN("RIFF\0\0\0\0AVI "), "none of theirs");
    expect_refusal(OPEN("R"), "none of theirs");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_chunks_go),
        cmocka_unit_test(only_the_first_of_each_counts),
        cmocka_unit_test(lengths_are_put_right),
        cmocka_unit_test(damage_before_the_samples_is_refused),
        cmocka_unit_test(other_formats),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
