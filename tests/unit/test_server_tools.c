/* Tools: what a model is told of them, what it may be held to say, and what counts as a call. */
#include "unit/cmocka_all.h"

#include "../apps/server/conversation.h"
#include "../apps/server/limits.h"
#include "../apps/server/past.h"
#include "../apps/server/tools.h"

#include <stdlib.h>
#include <string.h>

#define WEATHER "{\"type\":\"function\",\"name\":\"weather\",\"description\":\"d\",\"parameters\":{\"minimum\":0.1}}"
#define CLOCK   "{\"type\":\"function\",\"function\":{\"name\":\"clock\",\"strict\":true}}"

#define TOOLS   "[" WEATHER "," CLOCK ",{'type':'mcp','name':'m'}]"

/* ' for ", to be read */
static json_t *json(const char *text)
{
    json_error_t error;
    char *copy = strdup(text);

    for (char *at = copy; (at = strchr(at, '\'')); )
        *at = '"';
    json_t *read = json_loads(copy, JSON_DECODE_ANY, &error);
    free(copy);
    assert_non_null(read);
    return read;
}

static json_t *offered(const char *choice)
{
    json_t *tools = json(TOOLS), *chosen = choice ? json(choice) : NULL;
    json_t *made = srv_tools_offered(tools, chosen);

    json_decref(tools);
    json_decref(chosen);
    return made;
}

static omni_session_params told(const char *choice, const char *prompt)
{
    omni_session_params p = omni_session_default_params();
    json_t *tools = json(TOOLS), *chosen = choice ? json(choice) : NULL;

    srv_tools_tell(tools, chosen, prompt, &p);
    json_decref(tools);
    json_decref(chosen);
    return p;
}

static void a_preamble_has_one_function_a_line(void **state)
{
    omni_session_params p = told(NULL, "<{tools}>\n");

    (void)state;
    assert_string_equal(p.preamble,
        "<{\"type\":\"function\",\"function\":{\"name\":\"weather\",\"description\":\"d\",\"parameters\":{\"minimum\":0.1}}}\n"
        "{\"type\":\"function\",\"function\":{\"name\":\"clock\"}}>\n");
    assert_true(p.calls);
    assert_null(p.grammar);
    srv_tools_forget(&p);
    assert_null(p.preamble);
    p = told("'auto'", "twice {tools}{tools}, no {more}");
    assert_non_null(strstr(p.preamble, "\"clock\"}}{\"type\""));
    assert_non_null(strstr(p.preamble, ", no {more}"));
    srv_tools_forget(&p);
}

static void nothing_is_told_of_nothing(void **state)
{
    const char *const cases[][2] = {{"'auto'", NULL}, {"'none'", NULL}, {"{'type':'function','name':'m'}", "{tools}"}};
    omni_session_params none = told("'none'", "{tools}");

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        omni_session_params p = told(cases[i][0], cases[i][1]), before = omni_session_default_params();
        assert_true(srv_tools_same(&p, &before));
        assert_null(p.preamble);
    }
    assert_null(none.preamble);         /* what it may have been told before it is kept from */
    assert_false(none.calls);
    assert_non_null(none.grammar);
    srv_tools_forget(&none);
}

static void a_choice_is_a_grammar(void **state)
{
    omni_session_params any = told("'required'", "{tools}"), one = told("{'type':'function','function':{'name':'clock'}}", "{tools}");

    (void)state;
    assert_string_equal(one.preamble, "{\"type\":\"function\",\"function\":{\"name\":\"clock\"}}");
    assert_non_null(strstr(one.grammar, "name ::= \"clock\"\n"));
    assert_non_null(strstr(any.grammar, "name ::= \"weather\" | \"clock\"\n"));
    assert_ptr_equal(strstr(any.grammar, "root ::= \"{\\\"name\\\": \\\"\" name \"\\\", \\\"parameters\\\": \" object \"}\"\n"), any.grammar);
    assert_false(srv_tools_same(&any, &one));
    assert_true(srv_tools_same(&any, &any));
    srv_tools_forget(&any);
    srv_tools_forget(&one);
}

static void tools_are_checked(void **state)
{
    static const struct { const char *tools; bool nested; const char *code, *param; } cases[] = {
        {"[]", true, NULL, ""}, {"[" WEATHER ",{'type':'mcp'}]", false, NULL, ""}, {"[" CLOCK "]", true, NULL, ""},
        {"[" CLOCK "]", false, NULL, ""}, {"[{'type':'function','name':'f','description':null,'parameters':null}]", false, NULL, ""},
        {"{}", false, "invalid_type", "tools"}, {"[1]", false, "invalid_type", "tools[0]"},
        {"[{'type':1}]", false, "invalid_type", "tools[0].type"}, {"[{'name':'f'}]", false, "missing_required_parameter", "tools[0].type"},
        {"[" WEATHER "]", true, "missing_required_parameter", "tools[0].function"},
        {"[{'type':'function','function':{}}]", true, "missing_required_parameter", "tools[0].function.name"},
        {"[{'type':'function','name':''}]", false, "invalid_value", "tools[0].name"},
        {"[{'type':'function','name':'\xC3\xA9'}]", false, "invalid_value", "tools[0].name"},
        {"[{'type':'function','name':'f','parameters':[]}]", false, "invalid_type", "tools[0].parameters"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        srv_trouble t = { .code = NULL };
        json_t *tools = json(cases[i].tools);
        assert_int_equal(srv_tools_ok(tools, "tools", cases[i].nested, &t), cases[i].code == NULL);
        if (cases[i].code) {
            assert_string_equal(t.code, cases[i].code);
            assert_string_equal(t.param, cases[i].param);
        }
        json_decref(tools);
    }
    srv_trouble t = { .code = NULL };
    json_t *many = json_array(), *one = json(WEATHER);
    for (int i = 0; i < SRV_TOOLS; i++)
        json_array_append(many, one);
    assert_true(srv_tools_ok(many, "tools", false, &t));
    json_array_append_new(many, one);
    assert_false(srv_tools_ok(many, "tools", false, &t));
    assert_string_equal(t.code, "array_above_max_length");
    json_decref(many);
}

/* What is read of n bytes at text, as compact JSON with ' for "; "" when it is no call. malloc'ed. */
static char *read_bytes(const char *text, size_t n, bool cut)
{
    char *copy = malloc(n + 1);      /* to its last byte, so that a sanitizer sees one too many */
    json_t *tools = offered(NULL);

    memcpy(copy, text, n);
    json_t *calls = cut ? srv_calls_read_cut(tools, copy, n) : srv_calls_read(tools, copy, n);
    char *shown = calls ? json_dumps(calls, JSON_COMPACT) : strdup("");
    for (char *at = shown; (at = strchr(at, '"')); )
        *at = '\'';
    json_decref(calls);
    json_decref(tools);
    free(copy);
    return shown;
}

static void expect(const char *text, bool cut, const char *wanted)
{
    char *copy = strdup(text);

    for (char *at = copy; (at = strchr(at, '\'')); )
        *at = '"';
    char *shown = read_bytes(copy, strlen(copy), cut);
    assert_string_equal(shown, wanted);
    free(shown);
    free(copy);
}

#define CALL(name, arguments) "{'name':'" name "','arguments':'" arguments "'}"

static void calls_are_read(void **state)
{
    static const char one[] = "[" CALL("clock", "{}") "]", two[] = "[" CALL("clock", "{}") "," CALL("weather", "{\\'a\\':0.1}") "]";

    (void)state;
    expect("{'name': 'clock', 'parameters': {}}", false, one);
    expect(" {'name': 'clock'}\n", false, one);
    expect("{'name':'clock','arguments':null,'type':'function'}", false, one);
    expect("{'name': 'clock', 'arguments': '{ }'}", false, one);
    expect("[{'name': 'clock', 'parameters': {}}]", false, one);
    expect("{'name': 'clock', 'parameters': {}}; {'name': 'weather', 'parameters': {'a': 0.1}}", false, two);
    expect("{'name': 'clock'}{'name': 'weather', 'parameters': {'a': 0.1}};", false, two);
    expect("{'name': 'clock'},\n{'name': 'weather', 'arguments': {'a': 0.1}}", false, two);
    expect(" [{'name': 'clock'}, {'name': 'weather', 'arguments': {'a': 0.1}}] ", false, two);
}

static void all_else_is_text(void **state)
{
    static const char *const texts[] = {
        "", " ", "hello", "{", "[", "[]", "{}", "{'name': 'other'}", "{'name': 1}", "{'name': 'clock', 'parameters': []}",
        "{'name': 'clock', 'parameters': '[]'}", "{'name': 'clock', 'parameters': '{'}", "{'name': 'clock'} and so on",
        "so: {'name': 'clock'}", "{'name': 'clock'}; {'name': 'other'}", "[{'name': 'clock'}, {'name': 'other'}]", "[['clock']]",
        "[{'name': 'clock'}] {'name': 'clock'}", "{'name': 'clock', 'parameters': {'a': 1e999}}", "{'name': 'clock' 'parameters': {}}",
        "{'name': 'clo\\u0000ck'}", "{'name': 'clock\\u0000'}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        expect(texts[i], false, "");
}

static void hostile_texts_are_text(void **state)
{
    enum { N = 1 << 20 };
    char *text = malloc(N);

    (void)state;
    for (const char *letter = "{[\"; \t"; *letter; letter++) {
        memset(text, *letter, N);
        for (int cut = 0; cut < 2; cut++) {
            char *shown = read_bytes(text, N, cut);
            assert_string_equal(shown, "");
            free(shown);
        }
    }
    static const char start[] = "{\"name\": \"clock\", \"parameters\": {\"a\": ";
    memset(text, '[', N);
    memcpy(text, start, sizeof start - 1);
    char *deep = read_bytes(text, N, false);
    assert_string_equal(deep, "");
    free(deep);
    for (size_t at = 0; at + 17 <= N; at += 17)
        memcpy(text + at, "{\"name\":\"clock\"} ", 17);
    char *many = read_bytes(text, N / 17 * 17, false);
    assert_string_equal(many, "");
    free(many);
    many = read_bytes(text, 17 * SRV_TOOLS, false);
    assert_int_equal(many[0], '[');
    free(many);
    static const char zero[] = "{\"name\":\"clock\"}\0{\"name\":\"clock\"}", wrong[] = "{\"name\":\"clock\",\"parameters\":{\"a\":\"\xFF\"}}";
    char *shown = read_bytes(zero, sizeof zero - 1, false);
    assert_string_equal(shown, "");
    free(shown);
    shown = read_bytes(wrong, sizeof wrong - 1, false);
    assert_string_equal(shown, "");
    free(shown);
    free(text);
}

static void what_was_cut_off_is_read_as_far_as_it_goes(void **state)
{
    static const char whole[] = "{'name': 'weather', 'parameters': {'a': 'b'}}; {'name': 'clock', 'parameters': {'c': 'd'}}";
    char *text = strdup(whole);

    (void)state;
    expect(whole, true, "[" CALL("weather", "{\\'a\\':\\'b\\'}") "," CALL("clock", "{\\'c\\':\\'d\\'}") "]");
    expect("{'name': 'weather', 'parameters': {'a': 'b'}}; {'name': 'clock'", true, "[" CALL("weather", "{\\'a\\':\\'b\\'}") "," CALL("clock", "") "]");
    expect("{'name': 'weather', 'parameters': {'a': 'b", true, "[" CALL("weather", "{\\'a\\': \\'b") "]");
    expect("{'name': 'weather', 'param", true, "[" CALL("weather", "") "]");
    expect("[{'name': 'weather', 'arguments':", true, "[" CALL("weather", "") "]");
    expect("{'name': 'weather", true, "");
    expect("{'name': 'other', 'parameters': {", true, "");
    for (char *at = text; (at = strchr(at, '\'')); )
        *at = '"';
    for (size_t n = 0; n < strlen(text); n++) {     /* nowhere is a byte too many read, nor a call made up */
        char *shown = read_bytes(text, n, true);
        assert_int_equal(*shown == 0, n < strlen("{'name': 'weather'"));
        free(shown);
    }
    free(text);
}

static void an_opening_tells(void **state)
{
    (void)state;
    assert_true(srv_calls_begin("{", 1));
    assert_true(srv_calls_begin(" \n[x", 4));
    assert_false(srv_calls_begin("", 0));
    assert_false(srv_calls_begin("  ", 2));
    assert_false(srv_calls_begin("a{", 2));
}

static void calls_are_written(void **state)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);

    (void)state;
    srv_call_write(f, "a\"b", "{\"c\": 1}");
    srv_call_write(f, "d", "");
    srv_output_write(f, "d", "mild");
    srv_output_write(f, NULL, "");
    fclose(f);
    assert_string_equal(text, "{\"name\": \"a\\\"b\", \"parameters\": {\"c\": 1}}{\"name\": \"d\", \"parameters\": {}}d returned: mild"
                              "the tool returned: ");
    free(text);
}

static void text_is(const srv_item *item, const char *wanted)
{
    char *text = srv_item_text(item);

    assert_string_equal(text, wanted);
    free(text);
}

static void an_output_has_the_name_of_its_call(void **state)
{
    srv_trouble t = { .code = NULL };
    json_t *given = json("{'type':'function_call_output','call_id':'b','output':'mild'}");
    srv_item *items[] = { srv_item_call("1", "a", "clock", "{}", "completed"), srv_item_call("2", "b", "weather", "{\"c\":1}", "completed"),
                          srv_item_message("3", "user", "completed", json_array()) };
    srv_item *output = srv_item_read(given, "item", SRV_PCM16, &t);

    (void)state;
    assert_true(output->question && !output->answer && items[1]->answer && !items[1]->question);
    srv_item_find_call(output, items, 1);
    text_is(output, "the tool returned: mild");
    srv_item_find_call(output, items, 3);
    text_is(output, "weather returned: mild");
    text_is(items[1], "{\"name\": \"weather\", \"parameters\": {\"c\":1}}");
    srv_item_hush(output);
    srv_item_hush(items[1]);
    srv_item_hush(items[2]);
    assert_false(output->question || items[1]->answer);
    assert_true(items[2]->question);
    srv_item_free(output);

    char name[SRV_TOOL_NAME_BYTES + 2];         /* said again by every output, it is kept short */
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    srv_item *named = srv_item_call("4", "b", name, "{}", "completed");
    output = srv_item_read(given, "item", SRV_PCM16, &t);
    srv_item_find_call(output, &named, 1);
    text_is(output, "the tool returned: mild");
    srv_item_free(output);
    srv_item_free(named);
    for (int i = 0; i < 3; i++)
        srv_item_free(items[i]);
    json_decref(given);
}

static void calls_of_one_turn_are_one_answer(void **state)
{
    srv_past p = { .n = 0 };

    (void)state;
    assert_true(srv_past_answer_more(&p, "a"));
    assert_true(srv_past_answer_more(&p, "b"));
    assert_true(srv_past_ask(&p, "q"));
    assert_true(srv_past_answer_more(&p, "c"));
    assert_int_equal(p.n - p.first, 2);
    assert_string_equal(p.turns[0].answer, "a; b");
    assert_string_equal(p.turns[1].answer, "c");
    srv_past_free(&p);

    char *huge = calloc(1, SRV_TEXT_BYTES + 1);
    memset(huge, 'x', SRV_TEXT_BYTES);
    assert_true(srv_past_answer(&p, "a"));
    assert_true(srv_past_answer_more(&p, huge));
    assert_int_equal(p.n - p.first, 0);
    assert_int_equal(p.n_bytes, 0);
    free(huge);
    srv_past_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_preamble_has_one_function_a_line), cmocka_unit_test(nothing_is_told_of_nothing), cmocka_unit_test(a_choice_is_a_grammar),
        cmocka_unit_test(tools_are_checked), cmocka_unit_test(calls_are_read), cmocka_unit_test(all_else_is_text),
        cmocka_unit_test(hostile_texts_are_text), cmocka_unit_test(what_was_cut_off_is_read_as_far_as_it_goes), cmocka_unit_test(an_opening_tells),
        cmocka_unit_test(calls_are_written), cmocka_unit_test(an_output_has_the_name_of_its_call),
        cmocka_unit_test(calls_of_one_turn_are_one_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
