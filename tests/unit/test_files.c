/* Which files a path stands for, and what is said when that is not clear. */
#include "unit/cmocka_all.h"

#include "core/files.h"
#include "omni.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/omni-files-XXXXXX";

static const char *in(const char *name)
{
    static char path[300];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* The folder holds exactly these files, all empty; NULL ends the list. */
static void put(const char *const *names)
{
    char command[400];

    snprintf(command, sizeof command, "rm -rf %s && mkdir %s", folder, folder);
    assert_int_equal(system(command), 0);
    for (; *names; names++) {
        FILE *f = fopen(in(*names), "w");

        assert_non_null(f);
        fclose(f);
    }
}

static void expect_pair(const char *path, const char *llm, const char *speech)
{
    om_files files = { NULL, NULL };

    if (om_files_find(path, &files) != OMNI_OK)
        fail_msg("%s: %s", path, omni_last_error());
    assert_string_equal(files.llm, in(llm));
    assert_string_equal(files.speech, in(speech));
    om_files_free(&files);
}

static void expect_error(const char *path, int code, const char *says)
{
    om_files files = { NULL, NULL };

    assert_int_equal(om_files_find(path, &files), code);
    assert_null(files.llm);
    if (!strstr(omni_last_error(), says))
        fail_msg("\"%s\" does not say \"%s\"", omni_last_error(), says);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    static const char *const none[] = { NULL };

    (void)state;
    put(none);
    return rmdir(folder);
}

static void one_of_each(void **state)
{
    static const char *const names[] = { "tiny-F16.gguf", "tiny-speech-F16.gguf", "README.md", NULL };
    static const char *const strangers[] = { "llama.gguf", "voice-speech-Q8_0.gguf", NULL };

    (void)state;
    put(names);
    expect_pair(folder, "tiny-F16.gguf", "tiny-speech-F16.gguf");
    expect_pair(in("tiny-F16.gguf"), "tiny-F16.gguf", "tiny-speech-F16.gguf");
    put(strangers);         /* names need not match when there is no choice */
    expect_pair(folder, "llama.gguf", "voice-speech-Q8_0.gguf");
}

static void names_decide_among_many(void **state)
{
    static const char *const names[] = { "a-Q4_0.gguf", "a-speech-BF16.gguf", "b-Q4_0.gguf", "a-b-F16.gguf",
                                         "a-b-speech-F16.gguf", NULL };

    (void)state;
    put(names);
    expect_pair(in("a-Q4_0.gguf"), "a-Q4_0.gguf", "a-speech-BF16.gguf");
    expect_pair(in("a-b-F16.gguf"), "a-b-F16.gguf", "a-b-speech-F16.gguf");     /* the longer name */
    expect_error(in("b-Q4_0.gguf"), OMNI_ERR_MODEL, "a-b-speech-F16.gguf");     /* lists what it found */
}

static void a_choice_is_not_guessed(void **state)
{
    static const char *const two_llms[] = { "a-Q4_0.gguf", "a-Q8_0.gguf", "a-speech-BF16.gguf", NULL };
    static const char *const two_speech[] = { "a-Q4_0.gguf", "a-speech-BF16.gguf", "a-speech-Q8_0.gguf",
                                              NULL };

    (void)state;
    put(two_llms);
    expect_error(folder, OMNI_ERR_MODEL, "more than one pair");
    expect_pair(in("a-Q8_0.gguf"), "a-Q8_0.gguf", "a-speech-BF16.gguf");
    put(two_speech);
    expect_error(in("a-Q4_0.gguf"), OMNI_ERR_MODEL, "a-speech-Q8_0.gguf");
}

static void nothing_there(void **state)
{
    static const char *const none[] = { "notes.txt", NULL }, *const half[] = { "a-Q4_0.gguf", NULL };

    (void)state;
    put(none);
    expect_error(folder, OMNI_ERR_MODEL, "no .gguf file");
    expect_error(in("gone"), OMNI_ERR_IO, "gone");
    put(half);
    expect_error(folder, OMNI_ERR_MODEL, "found a-Q4_0.gguf");
    expect_error(in("x-speech-F16.gguf"), OMNI_ERR_IO, "x-speech");
}

static void the_speech_file_is_not_the_model(void **state)
{
    static const char *const names[] = { "a-F16.gguf", "a-speech-F16.gguf", NULL };

    (void)state;
    put(names);
    expect_error(in("a-speech-F16.gguf"), OMNI_ERR_MODEL, "is a speech file");
}

static void parts_count_once(void **state)
{
    static const char *const names[] = { "a-Q4_0-00001-of-00002.gguf", "a-Q4_0-00002-of-00002.gguf",
                                         "a-speech-F16.gguf", NULL };

    (void)state;
    put(names);
    expect_pair(folder, "a-Q4_0-00001-of-00002.gguf", "a-speech-F16.gguf");
}

/* Numbers count as those of a part at the end only. */
static void a_name_may_hold_of(void **state)
{
    static const char *const names[] = { "best-of-two-Q4_0.gguf", "best-of-two-speech-F16.gguf", NULL };
    static const char *const near[] = { "a-00002-of-0003.gguf", "a-speech-F16.gguf", NULL };
    static const char *const parts[] = { "state-of-the-art-00001-of-00002.gguf", "state-of-the-art-00002-of-00002.gguf",
                                         "state-of-the-art-speech-F16.gguf", NULL };

    (void)state;
    put(names);
    expect_pair(folder, "best-of-two-Q4_0.gguf", "best-of-two-speech-F16.gguf");
    put(near);
    expect_pair(folder, "a-00002-of-0003.gguf", "a-speech-F16.gguf");
    put(parts);
    expect_pair(folder, "state-of-the-art-00001-of-00002.gguf", "state-of-the-art-speech-F16.gguf");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_of_each),
        cmocka_unit_test(names_decide_among_many),
        cmocka_unit_test(a_choice_is_not_guessed),
        cmocka_unit_test(nothing_there),
        cmocka_unit_test(the_speech_file_is_not_the_model),
        cmocka_unit_test(parts_count_once),
        cmocka_unit_test(a_name_may_hold_of),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
