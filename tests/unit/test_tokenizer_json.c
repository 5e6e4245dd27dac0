/* tokenizer-json: both spellings of merges, kinds of tokens, ids that nobody has, templates, odd files. */
#include "unit/foreign_file.h"

#include "convert/tokenizer-json.h"

#define LLAMA3 "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":" \
    "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|" \
    "\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}},{\"type\":\"ByteLevel\",\"use_regex\":false}]}"
#define VOCAB "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"\xc4\xa0\":3}"
#define ADDED "\"added_tokens\":[{\"id\":5,\"content\":\"<|begin_of_text|>\",\"special\":true}," \
              "{\"id\":6,\"content\":\"plain\",\"special\":false},{\"id\":7,\"content\":\"<|end_of_text|>\",\"special\":false}]"
#define MODEL(merges) "\"model\":{\"type\":\"BPE\"," VOCAB ",\"merges\":" merges "}"

static void read_good(om_tokenizer *t, const char *text, const char *config)
{
    const int rc = om_tokenizer_read_files(foreign_text("tokenizer.json", text),
                                           config ? foreign_text("tokenizer_config.json", config) : NULL, NULL, 9, t);

    if (rc)
        fail_msg("%s", om_last_error());
}

static void refuse(const char *text, int code, const char *says)
{
    om_tokenizer t;

    expect_reason(om_tokenizer_read_files(foreign_text("tokenizer.json", text), NULL, NULL, 9, &t), code, says);
    assert_null(t.tokens);
}

static void tokens_and_merges(void **state)
{
    om_tokenizer t;

    (void)state;
    read_good(&t, "{" LLAMA3 "," ADDED "," MODEL("[\"a b\",[\"a\",\" \"]]") ",\"post_processor\":{\"type\":\"TemplateProcessing\","
              "\"single\":[{\"SpecialToken\":{\"id\":\"<|begin_of_text|>\"}},{\"Sequence\":{\"id\":\"A\"}}]}}", NULL);
    assert_string_equal(t.pre, "llama-bpe");
    assert_int_equal(t.n_tokens, 9);
    assert_string_equal(t.tokens[2], "ab");
    assert_int_equal(t.types[2], OM_TOKEN_NORMAL);
    assert_string_equal(t.tokens[4], "[PAD4]");
    assert_int_equal(t.types[4], OM_TOKEN_UNUSED);
    assert_int_equal(t.types[5], OM_TOKEN_CONTROL);
    assert_int_equal(t.types[6], OM_TOKEN_USER);
    assert_int_equal(t.types[7], OM_TOKEN_CONTROL);
    assert_int_equal(t.n_merges, 2);
    assert_string_equal(t.merges[0], "a b");
    assert_string_equal(t.merges[1], "a \xc4\xa0");
    assert_true(t.add_bos_known && t.add_bos);
    assert_int_equal(t.bos, -1);
    assert_int_equal(om_tokenizer_find(&t, "plain"), 6);
    assert_int_equal(om_tokenizer_find(&t, "none"), -1);
    om_tokenizer_free(&t);
}

static void the_configuration(void **state)
{
    om_tokenizer t;

    (void)state;
    read_good(&t, "{" LLAMA3 "," ADDED "," MODEL("[]") "}",
              "{\"bos_token\":\"<|begin_of_text|>\",\"eos_token\":{\"content\":\"<|end_of_text|>\"},\"pad_token\":null,"
              "\"chat_template\":[{\"name\":\"tool\",\"template\":\"no\"},{\"name\":\"default\",\"template\":\"yes\"}]}");
    assert_int_equal(t.bos, 5);
    assert_int_equal(t.eos, 7);
    assert_int_equal(t.pad, -1);
    assert_false(t.add_bos_known);
    assert_string_equal(t.chat_template, "yes");
    om_tokenizer_free(&t);
    assert_int_equal(om_tokenizer_read_files(foreign_path("tokenizer.json"), NULL, foreign_text("t.jinja", "{{ x }}\n"), 9, &t), 0);
    assert_string_equal(t.chat_template, "{{ x }}\n");
    om_tokenizer_free(&t);
    expect_reason(om_tokenizer_read_files(foreign_path("tokenizer.json"), NULL, foreign_put("t.jinja", "a\0b", 3), 9, &t),
                  OMNI_ERR_FORMAT, "t.jinja");
}

static void odd_files(void **state)
{
    (void)state;
    refuse("{}", OMNI_ERR_FORMAT, "model");
    refuse("[7]", OMNI_ERR_FORMAT, "model");
    refuse("{\"model\":{\"type\":\"Unigram\"}}", OMNI_ERR_MODEL, "Unigram");
    refuse("{" MODEL("[]") "}", OMNI_ERR_MODEL, "pre_tokenizer");
    refuse("{\"pre_tokenizer\":{\"type\":\"Metaspace\"}," MODEL("[]") "}", OMNI_ERR_MODEL, "pre_tokenizer");
    refuse("{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x+\"}},"
           "{\"type\":\"ByteLevel\"}]}," MODEL("[]") "}", OMNI_ERR_MODEL, "x+");
    refuse("{" LLAMA3 ",\"model\":{\"vocab\":[],\"merges\":[]}}", OMNI_ERR_FORMAT, "vocab");
    refuse("{" LLAMA3 ",\"model\":{\"vocab\":{\"a\":9},\"merges\":[]}}", OMNI_ERR_MODEL, "id 9");
    refuse("{" LLAMA3 ",\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}}", OMNI_ERR_MODEL, "id -1");
    refuse("{" LLAMA3 ",\"model\":{\"vocab\":{\"a\":1,\"b\":1},\"merges\":[]}}", OMNI_ERR_FORMAT, "same id");
    refuse("{" LLAMA3 "," MODEL("[\"ab\"]") "}", OMNI_ERR_FORMAT, "merges");
    refuse("{" LLAMA3 "," MODEL("[[\"a\"]]") "}", OMNI_ERR_FORMAT, "merges");
    refuse("{" LLAMA3 "," MODEL("[\"a b c\"]") "}", OMNI_ERR_FORMAT, "merges");
    refuse("{" LLAMA3 "," MODEL("3") "}", OMNI_ERR_FORMAT, "merges");
    refuse("{" LLAMA3 ",\"added_tokens\":[{\"id\":5}]," MODEL("[]") "}", OMNI_ERR_FORMAT, "added_tokens");
    refuse("{" LLAMA3 ",\"added_tokens\":[{\"id\":4,\"content\":\"a\"}]," MODEL("[]") "}", OMNI_ERR_FORMAT, "token a is there twice");
    refuse("{" LLAMA3 ",\"added_tokens\":[{\"id\":8,\"content\":\"[PAD4]\"}]," MODEL("[]") "}", OMNI_ERR_FORMAT, "[PAD4] is there twice");
    refuse("{" LLAMA3 ",\"added_tokens\":{}," MODEL("[]") "}", OMNI_ERR_FORMAT, "added_tokens");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_and_merges),
        cmocka_unit_test(the_configuration),
        cmocka_unit_test(odd_files),
    };

    return cmocka_run_group_tests_name("tokenizer-json", tests, foreign_begin, foreign_end);
}
