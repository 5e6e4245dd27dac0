/* Typed text as positions: the form that a vocabulary wants. */
#include "unit/toy.h"

#include "base/memory.h"
#include "core/prompt.h"

static om_piece read_text(const om_prompt *p, const char *text)
{
    om_piece out = {0};

    assert_int_equal(om_prompt_read(p, text, strlen(text), &out), OMNI_OK);
    return out;
}

static void text_becomes_words_where_the_file_says_so(void **state)
{
    static const char *const cases[][2] = {     /* as typed, as read */
        { "AZ az", "az az" }, { "\"What's   9-5?\"  ", "what's 9 5" }, { "@[`{a/:b", "a b" },
        { "na\xC3\xAFve, \xC3\x84\xE2\x82\xAC!", "na\xC3\xAFve \xC3\x84\xE2\x82\xAC" },    /* beyond ASCII nothing is ours to change */
    };
    om_prompt as_is = model->prompt, words = model->prompt;
    om_piece nothing;

    (void)state;
    words.plain_words = true;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        om_piece typed = read_text(&words, cases[i][0]), wanted = read_text(&as_is, cases[i][1]);

        assert_int_equal(typed.n, wanted.n);
        assert_memory_equal(typed.ids, wanted.ids, (size_t)wanted.n * sizeof *wanted.ids);
        om_free(typed.ids);
        om_free(wanted.ids);
    }
    nothing = read_text(&words, " ?! ");
    assert_int_equal(nothing.n, 0);
    om_free(nothing.ids);
}

static void the_form_is_one_we_know(void **state)
{
    om_hparams hp = { .prompt = { .begin = "a", .user = "a", .speech_suffix = "a", .text_prefix = "", .text_suffix = "a",
                                  .turn_end = "a", .tools = "" } };
    static const struct { const char *name; int rc; bool lower; } cases[] = {
        { "", OMNI_OK, false }, { "words", OMNI_OK, true }, { "Words", OMNI_ERR_MODEL, false }, { "upper", OMNI_ERR_MODEL, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        om_prompt p = {0};

        hp.prompt.text_form = cases[i].name;
        assert_int_equal(om_prompt_new(model->prompt.lm, &hp, &p), cases[i].rc);
        assert_true(p.plain_words == cases[i].lower);
        if (cases[i].rc)
            assert_non_null(strstr(omni_last_error(), "omni-speech.prompt.text_form: found"));
        om_prompt_free(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_becomes_words_where_the_file_says_so),
        cmocka_unit_test(the_form_is_one_we_know),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
