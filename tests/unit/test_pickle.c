/* pickle: plain values come out as Python would have them; everything else is refused by name and byte. */
#include "unit/cmocka_all.h"

#include "base/memory.h"
#include "base/status.h"
#include "convert/pickle.h"

#include <stdlib.h>
#include <string.h>

#define READ(text) read_pickle(text, sizeof(text) - 1)
#define REFUSED(text, why) refused(text, sizeof(text) - 1, why)

static om_pickle *read_pickle(const char *bytes, size_t n)
{
    om_pickle *p = NULL;

    if (om_pickle_read(bytes, n, "t.pkl", &p) != OMNI_OK)
        fail_msg("%s", om_last_error());
    assert_int_equal(om_pickle_size(p), n);
    return p;
}

static void refused(const char *bytes, size_t n, const char *why)
{
    om_pickle *p = NULL;
    const int rc = om_pickle_read(bytes, n, "t.pkl", &p);

    assert_null(p);
    if (rc != OMNI_ERR_FORMAT || !strstr(om_last_error(), why) || strncmp(om_last_error(), "t.pkl: byte ", 12) != 0)
        fail_msg("got %d: %s; wanted \"%s\"", rc, rc ? om_last_error() : "", why);
}

static void is_int(const om_pickle_value *v, int64_t wanted)
{
    assert_int_equal(v->kind, OM_PICKLE_INT);
    assert_true(v->integer == wanted);
}

static void numbers(void **state)
{
    om_pickle *p = READ("\x80\2(K\xFFM\xFF\xFFJ\xFF\xFF\xFF\xFF\x8A\0\x8A\1\x80\x8A\3\xFF\xFF\0\x8B\2\0\0\0\0\1"
                        "G\xBF\xF8\0\0\0\0\0\0N\x88\x89\x8A\x09\0\0\0\0\0\0\0\0\1t.");
    const om_pickle_value *v = om_pickle_root(p);

    (void)state;
    assert_int_equal(v->kind, OM_PICKLE_TUPLE);
    assert_int_equal(v->list.n, 12);
    is_int(v->list.items[0], 255);
    is_int(v->list.items[1], 65535);
    is_int(v->list.items[2], -1);
    is_int(v->list.items[3], 0);
    is_int(v->list.items[4], -128);
    is_int(v->list.items[5], 65535);
    is_int(v->list.items[6], 256);
    assert_true(v->list.items[7]->kind == OM_PICKLE_FLOAT && v->list.items[7]->real == -1.5);
    assert_int_equal(v->list.items[8]->kind, OM_PICKLE_NONE);
    assert_true(v->list.items[9]->kind == OM_PICKLE_BOOL && v->list.items[9]->integer == 1);
    assert_true(v->list.items[10]->kind == OM_PICKLE_BOOL && v->list.items[10]->integer == 0);
    assert_int_equal(v->list.items[11]->kind, OM_PICKLE_LONG);
    assert_int_equal(v->list.items[11]->text.n, 9);
    om_pickle_free(p);
}

/* Protocol 4's framing, short text, memo; the last of equal keys wins; stack instructions. */
static void containers(void **state)
{
    om_pickle *p = READ("\x80\4\x95\x1C\0\0\0\0\0\0\0}\x94(\x8C\1a\x94]\x94(K\1K\2eh\1K\7\x8C\1b\x85h\2NN0" "0" "(NN1u.");
    const om_pickle_value *v = om_pickle_root(p), *list;

    (void)state;
    assert_int_equal(v->kind, OM_PICKLE_DICT);
    assert_int_equal(v->dict.n, 3);
    assert_true(om_pickle_text_is(v->dict.pairs[0].key, "a"));
    list = v->dict.pairs[0].value;
    assert_int_equal(list->kind, OM_PICKLE_LIST);
    assert_int_equal(list->list.n, 2);
    is_int(list->list.items[1], 2);
    assert_ptr_equal(v->dict.pairs[2].value, list);     /* shared, as it was */
    is_int(om_pickle_find(v, "a", 1), 7);
    assert_null(om_pickle_find(v, "b", 1));
    assert_null(om_pickle_find(list, "a", 1));
    om_pickle_free(p);
}

static void refusals(void **state)
{
    (void)state;
    REFUSED("\x80\2cos\nsystem\nX\2\0\0\0id\x85R.", "os.system");
    REFUSED("\x80\2cbuiltins\neval\n.", "builtins.eval");
    REFUSED("\x80\4\x8C\5posix\x8C\6system\x93.", "posix.system");
    REFUSED("\x80\2c__builtin__\neval\n0N.", "__builtin__.eval");            /* even if it is dropped */
    REFUSED("\x80\2ctorch\nFloatStorage.system\n.", "FloatStorage.system");
    REFUSED("\x80\2(X\2\0\0\0idios\nsystem\n.", "INST");
    REFUSED("\x80\2(cos\nsystem\no.", "os.system");
    REFUSED("\x80\2(o.", "OBJ");
    REFUSED("\x80\2\x82\1.", "EXT1");
    REFUSED("\x80\2P0\n.", "PERSID");
    REFUSED("\x80\2\xFE.", "unknown");
    REFUSED("\x80\2\x96\1\0\0\0\0\0\0\0a.", "BYTEARRAY8");
    REFUSED("(dp0\n.", "protocol 2 to 5");
    REFUSED("\x80\1N.", "protocol 2 to 5");
    REFUSED("\x80\6N.", "protocol 2 to 5");
    REFUSED("\x80\2N\x80\2.", "PROTO");
    REFUSED("\x80\2X\1\0\0\0aR.", "more values");
    REFUSED("\x80\2X\1\0\0\0a)R.", "no function");
    REFUSED("\x80\2ctorch\nFloatStorage\n)R.", "storage's type");
    REFUSED("\x80\2ccollections\nOrderedDict\nNR.", "no function");
    REFUSED("\x80\2ccollections\nOrderedDict\nK\1\x85R.", "unknown");
    REFUSED("\x80\2K\1Q.", "persistent id");
    REFUSED("\x80\2)Q.", "persistent id");
    REFUSED("\x80\2K\1}b.", "has none");
    REFUSED("\x80\2ctorch._utils\n_rebuild_tensor_v2\n)R.", "without storage");
    REFUSED("\x80\2cnumpy\ndtype\nX\2\0\0\0O8\x85R.", "no number");
    REFUSED("\x80\2cnumpy\ndtype\nX\2\0\0\0f\0\x85R.", "no number");
    REFUSED("\x80\2cnumpy\ndtype\nX\2\0\0\0\0008\x85R.", "no number");
    REFUSED("\x80\2cnumpy\ndtype\nX\2\0\0\0f8\x85R(K\3X\1\0\0\0>tb.", "lowest byte");
}

static void damaged(void **state)
{
    static const char deep[] = "\x80\2(((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((";
    char *marks = malloc(3000);

    (void)state;
    REFUSED("", "end of the pickle");
    REFUSED("\x80\2", "end of the pickle");
    REFUSED("\x80\2.", "unfinished");
    REFUSED("\x80\2NN.", "unfinished");
    REFUSED("\x80\2(N.", "unfinished");
    REFUSED(deep, "end of the pickle");
    REFUSED("\x80\2t.", "never began");
    REFUSED("\x80\2N(a.", "more values");                   /* nothing below a mark is touched */
    REFUSED("\x80\2N(N\x86.", "more values");
    REFUSED("\x80\2}(Nu.", "no list or dict");
    REFUSED("\x80\2]}(NNe.", "no list or dict");
    REFUSED("\x80\2h\0.", "never made");
    REFUSED("\x80\2Nq\1h\2.", "never made");
    REFUSED("\x80\2q\0.", "more values");
    REFUSED("\x80\2Nr\xFF\xFF\xFF\xFF.", "memo number");
    REFUSED("\x80\2Nr\0\0\0\x10.", "memo number");
    REFUSED("\x80\2X\xFF\xFF\xFF\xFF" "abc.", "longer than");
    REFUSED("\x80\2X\x10\0\0\0" "abc.", "");
    REFUSED("\x80\4\x8D\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF" "abc.", "longer than");
    REFUSED("\x80\4\x95\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFFN.", "frame");
    REFUSED("\x80\2\x8B\xFF\xFF\xFF\xFF" "abc.", "longer than");
    REFUSED("\x80\2ccollections", "does not end");
    memset(marks, '(', 3000);
    memcpy(marks, "\x80\2", 2);
    refused(marks, 3000, "open groups");
    free(marks);
}

/* A list within itself is a value like any other here; who walks it takes care. */
static void recursion(void **state)
{
    om_pickle *p = READ("\x80\2]q\1h\1a.");
    const om_pickle_value *v = om_pickle_root(p);

    (void)state;
    assert_int_equal(v->list.n, 1);
    assert_ptr_equal(v->list.items[0], v);
    om_pickle_free(p);
}

/* Few bytes must not become much memory: one big group, added to one list again and again through the memo. */
static void memory_is_bounded(void **state)
{
    const size_t n = (size_t)24 << 20;
    char *bytes = malloc(n);
    om_pickle *p = NULL;

    (void)state;
    memset(bytes, ']', n);          /* a list per byte */
    memcpy(bytes, "\x80\2", 2);
    assert_int_equal(om_pickle_read(bytes, n, "t.pkl", &p), OMNI_ERR_FORMAT);
    assert_non_null(strstr(om_last_error(), "too deep a stack"));
    for (size_t i = 2; i + 1 < n; i += 2)
        memcpy(bytes + i, "]0", 2);
    assert_int_equal(om_pickle_read(bytes, n, "t.pkl", &p), OMNI_ERR_FORMAT);
    assert_non_null(strstr(om_last_error(), "256 MB"));
    assert_null(p);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),  cmocka_unit_test(containers), cmocka_unit_test(refusals),
        cmocka_unit_test(damaged),  cmocka_unit_test(recursion),  cmocka_unit_test(memory_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
