/* tools: see tools.h. */
#include "tools.h"

#include "json-bounds.h"
#include "limits.h"

#include <stdlib.h>
#include <string.h>

/* 0.1 stays 0.1 */
enum { PRINT = JSON_COMPACT | JSON_REAL_PRECISION(15) };

/* ---- what a client offers ---------------------------------------------------------------------- */

/* The member of a tool, or of a choice, that names the function; NULL: it is not of that kind. */
static const json_t *function_of(const json_t *tool)
{
    const char *type = json_string_value(json_object_get(tool, "type"));
    const json_t *nested = json_object_get(tool, "function");
    if (!type || strcmp(type, "function") != 0) return NULL;
    return json_is_object(nested) ? nested : tool;
}

static const char *name_of(const json_t *function)
{
    return json_string_value(json_object_get(function, "name"));
}

static bool check_name(const json_t *function, const char *path, srv_trouble *t)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    char inner[200];
    const json_t *name = srv_member(function, path, "name", JSON_STRING, t);
    if (!name) return false;
    const size_t n = json_string_length(name);
    if (n > 0 && n <= SRV_TOOL_NAME_BYTES && strspn(json_string_value(name), letters) == n) return true;
    snprintf(inner, sizeof inner, "%.150s.name", path);
    return srv_trouble_set(t, "invalid_value", inner, "Invalid '%s': expected 1 to %d of the characters A-Z, a-z, 0-9, '_' and '-'.", inner, SRV_TOOL_NAME_BYTES);
}

/* A member that may be missing or null. */
static bool check_member(const json_t *function, const char *path, const char *name, json_type type, srv_trouble *t)
{
    const json_t *value = json_object_get(function, name);
    return !value || json_is_null(value) || srv_member(function, path, name, type, t);
}

static bool check_tool(const json_t *tool, const char *path, bool nested, srv_trouble *t)
{
    char inner[200];
    if (!json_is_object(tool)) return srv_trouble_set(t, "invalid_type", path, "Invalid type for '%s': expected an object, but got %s instead.", path, srv_json_kind(tool));
    const json_t *type = srv_member(tool, path, "type", JSON_STRING, t), *function = tool;
    if (!type) return false;
    if (strcmp(json_string_value(type), "function") != 0) return true;
    snprintf(inner, sizeof inner, "%.150s", path);
    if (nested || json_object_get(tool, "function")) {
        function = srv_member(tool, path, "function", JSON_OBJECT, t);
        snprintf(inner, sizeof inner, "%.150s.function", path);
    }
    return function && check_name(function, inner, t) && check_member(function, inner, "description", JSON_STRING, t) &&
           check_member(function, inner, "parameters", JSON_OBJECT, t);
}

bool srv_tools_ok(const json_t *tools, const char *path, bool nested, srv_trouble *t)
{
    char inner[200];
    size_t i;
    const json_t *tool;
    if (!json_is_array(tools)) return srv_trouble_set(t, "invalid_type", path, "Invalid type for '%s': expected an array, but got %s instead.", path, srv_json_kind(tools));
    if (json_array_size(tools) > SRV_TOOLS) return srv_trouble_set(t, "array_above_max_length", path, "Invalid '%s': at most %d tools.", path, SRV_TOOLS);
    json_array_foreach(tools, i, tool) {
        snprintf(inner, sizeof inner, "%.150s[%zu]", path, i);
        if (!check_tool(tool, inner, nested, t)) return false;
    }
    return true;
}

bool srv_tool_choice_ok(const json_t *choice, const char *path, srv_trouble *t)
{
    char inner[200];
    const char *word = json_string_value(choice);
    if (json_is_object(choice)) {
        const json_t *function = function_of(choice);
        snprintf(inner, sizeof inner, "%.150s%s", path, function == choice ? "" : ".function");
        return !function || srv_member(function, inner, "name", JSON_STRING, t);
    }
    if (!word) return srv_trouble_set(t, "invalid_type", path, "Invalid type for '%s': expected a string or an object, but got %s instead.", path, srv_json_kind(choice));
    if (strcmp(word, "auto") == 0 || strcmp(word, "none") == 0 || strcmp(word, "required") == 0) return true;
    return srv_trouble_set(t, "invalid_value", path, "Invalid value: '%.80s'. Supported values are: 'auto', 'none', 'required', and a function.", word);
}

/* ---- what the model is told ---------------------------------------------------------------------- */

static const char *word_of(const json_t *choice)
{
    const char *word = json_string_value(choice);
    return word ? word : "";
}

json_t *srv_tools_offered(const json_t *tools, const json_t *choice)
{
    const char *only = name_of(function_of(choice));
    json_t *offered = strcmp(word_of(choice), "none") == 0 ? NULL : json_array();
    size_t i;
    const json_t *tool;
    if (!offered) return NULL;
    json_array_foreach(tools, i, tool) {
        const json_t *function = function_of(tool);
        const char *name = name_of(function);
        if (!name || (only && strcmp(only, name) != 0)) continue;
        json_t *shown = json_pack("{s:s}", "name", name), *description = json_object_get(function, "description");
        json_t *parameters = json_object_get(function, "parameters");
        if (json_is_string(description)) json_object_set(shown, "description", description);
        if (json_is_object(parameters)) json_object_set(shown, "parameters", parameters);
        json_array_append_new(offered, json_pack("{s:s, s:o}", "type", "function", "function", shown));
    }
    if (json_array_size(offered) > 0) return offered;
    json_decref(offered);
    return NULL;
}

static char *make_preamble(const json_t *offered, const char *prompt)
{
    static const char mark[] = "{tools}";
    char *text = NULL;
    size_t size = 0, i;
    const json_t *tool;
    const char *at;
    FILE *f = open_memstream(&text, &size);
    if (!f) return NULL;
    while ((at = strstr(prompt, mark))) {
        fwrite(prompt, 1, (size_t)(at - prompt), f);
        json_array_foreach(offered, i, tool) {
            if (i) fputc('\n', f);
            json_dumpf(tool, f, PRINT);
        }
        prompt = at + sizeof mark - 1;
    }
    fputs(prompt, f);
    fclose(f);
    return text;
}

/* One call of one of the functions, with any object of JSON. At most one space in a row outside of strings, and numbers of
 * a bounded length: a model that has lost its way can not go on for ever in them. */
static char *make_grammar(const json_t *offered)
{
    static const char rules[] =
        "object ::= \"{\" ws ( pair ( \",\" ws pair )* )? \"}\"\n"
        "pair ::= string ws \":\" ws value\n"
        "array ::= \"[\" ws ( value ( \",\" ws value )* )? \"]\"\n"
        "value ::= ( object | array | string | number | \"true\" | \"false\" | \"null\" ) ws\n"
        "string ::= \"\\\"\" letter* \"\\\"\"\n"
        "letter ::= [^\"\\\\\\x00-\\x1F\\x7F] | \"\\\\\" ( [\"\\\\/bfnrt] | \"u\" [0-9a-fA-F]{4} )\n"
        "number ::= \"-\"? ( \"0\" | [1-9] [0-9]{0,14} ) ( \".\" [0-9]{1,15} )? ( [eE] [-+]? [0-9]{1,2} )?\n"
        "ws ::= \" \"?\n";
    char *text = NULL;
    size_t size = 0, i;
    const json_t *tool;
    FILE *f = open_memstream(&text, &size);
    if (!f) return NULL;
    fputs("root ::= \"{\\\"name\\\": \\\"\" name \"\\\", \\\"parameters\\\": \" object \"}\"\nname ::=", f);
    json_array_foreach(offered, i, tool) fprintf(f, "%s \"%s\"", i ? " |" : "", name_of(function_of(tool)));
    fprintf(f, "\n%s", rules);
    fclose(f);
    return text;
}

/* Anything that is no call. The model may have been told of functions in a turn that it remembers. */
static const char no_call[] = "root ::= [ \\t\\r\\n]{0,4} ( [^ \\t\\r\\n{[] .* )?\n";

void srv_tools_tell(const json_t *tools, const json_t *choice, const char *prompt, omni_session_params *p)
{
    if (!prompt || json_array_size(tools) == 0) return;
    const bool must = strcmp(word_of(choice), "required") == 0 || name_of(function_of(choice));
    if (strcmp(word_of(choice), "none") == 0) p->grammar = strdup(no_call);
    json_t *offered = srv_tools_offered(tools, choice);
    if (!offered) return;
    p->preamble = make_preamble(offered, prompt);
    p->calls = p->preamble != NULL;
    if (p->calls && must) p->grammar = make_grammar(offered);
    json_decref(offered);
}

void srv_tools_forget(omni_session_params *p)
{
    free((char *)(uintptr_t)p->preamble);
    free((char *)(uintptr_t)p->grammar);
    p->preamble = p->grammar = NULL;
    p->calls = false;
}

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

bool srv_tools_same(const omni_session_params *a, const omni_session_params *b)
{
    return a->calls == b->calls && same(a->preamble, b->preamble) && same(a->grammar, b->grammar);
}

/* ---- what the model says ----------------------------------------------------------------------------- */

static const char space[] = " \t\r\n", between[] = " \t\r\n;,";

static size_t skip(const char *text, size_t n, size_t at, const char *letters)
{
    while (at < n && text[at] && strchr(letters, text[at])) at++;
    return at;
}

bool srv_calls_begin(const char *text, size_t n)
{
    const size_t at = skip(text, n, 0, space);
    return at < n && (text[at] == '{' || text[at] == '[');
}

static bool is_offered(const json_t *offered, const char *name, size_t n)
{
    size_t i;
    const json_t *tool;
    json_array_foreach(offered, i, tool) {
        const char *known = name_of(function_of(tool));
        if (strlen(known) == n && memcmp(known, name, n) == 0) return true;
    }
    return false;
}

/* Some models write the arguments as text that holds JSON. Nothing at all is an empty object; NULL: they are no object. */
static char *print_arguments(const json_t *given)
{
    json_t *read = NULL;
    const char *words = json_string_value(given);
    if (words && !srv_json_excess(words, json_string_length(given))) given = read = json_loads(words, 0, NULL);
    else if (!given || json_is_null(given)) given = read = json_object();
    char *text = json_is_object(given) ? json_dumps(given, PRINT) : NULL;
    json_decref(read);
    return text;
}

static bool add_call(const json_t *offered, const json_t *given, json_t *calls)
{
    const json_t *name = json_object_get(given, "name"), *arguments = json_object_get(given, "parameters");
    if (!arguments) arguments = json_object_get(given, "arguments");
    if (!json_is_string(name) || !is_offered(offered, json_string_value(name), json_string_length(name))) return false;
    if (json_array_size(calls) == SRV_TOOLS) return false;
    char *text = print_arguments(arguments);
    const bool ok = text && json_array_append_new(calls, json_pack("{s:O, s:s}", "name", name, "arguments", text)) == 0;
    free(text);
    return ok;
}

/* The value at *at: one call, or with list an array of them. *at goes behind it. */
static bool read_calls(const json_t *offered, const char *text, size_t n, bool list, size_t *at, json_t *calls)
{
    json_error_t end;
    size_t i;
    const json_t *one;
    json_t *value = json_loadb(text + *at, n - *at, JSON_DISABLE_EOF_CHECK, &end);
    bool ok = value && json_is_array(value) == list;
    if (ok && !list) ok = add_call(offered, value, calls);
    json_array_foreach(value, i, one) ok = ok && add_call(offered, one, calls);
    if (ok) *at += (size_t)end.position;
    else if (list) json_array_clear(calls);
    json_decref(value);
    return ok;
}

/* As many calls as there are; returns where that ends. */
static size_t read_all(const json_t *offered, const char *text, size_t n, json_t *calls)
{
    size_t at = skip(text, n, 0, space);
    if (srv_json_excess(text, n) || at == n) return 0;
    if (text[at] == '[') {
        const bool ok = read_calls(offered, text, n, true, &at, calls);
        return ok ? skip(text, n, at, space) : at;
    }
    while (at < n && text[at] == '{' && read_calls(offered, text, n, false, &at, calls)) at = skip(text, n, at, between);
    return at;
}

static json_t *unless_empty(json_t *calls)
{
    if (json_array_size(calls) > 0) return calls;
    json_decref(calls);
    return NULL;
}

json_t *srv_calls_read(const json_t *offered, const char *text, size_t n)
{
    json_t *calls = json_array();
    if (calls && read_all(offered, text, n, calls) != n) json_array_clear(calls);
    return unless_empty(calls);
}

/* Behind a word, which white space may stand before; 0: there is another. */
static size_t behind(const char *text, size_t n, size_t at, const char *word)
{
    const size_t m = strlen(word);
    at = skip(text, n, at, space);
    return n - at >= m && memcmp(text + at, word, m) == 0 ? at + m : 0;
}

/* The beginning of a call, as far as its name at least. */
static void add_beginning(const json_t *offered, const char *text, size_t n, json_t *calls)
{
    static const char *const opening[] = {"{", "\"name\"", ":", "\""};
    size_t at = skip(text, n, 0, "[ \t\r\n");
    for (int i = 0; i < 4; i++)
        if (!(at = behind(text, n, at, opening[i]))) return;
    const char *name = text + at, *quote = memchr(name, '"', n - at);
    if (!quote || !is_offered(offered, name, (size_t)(quote - name)) || json_array_size(calls) == SRV_TOOLS) return;
    const size_t comma = behind(text, n, (size_t)(quote - text) + 1, ",");
    size_t key = comma ? behind(text, n, comma, "\"parameters\"") : 0;
    if (comma && !key) key = behind(text, n, comma, "\"arguments\"");
    at = key ? behind(text, n, key, ":") : 0;
    at = at ? skip(text, n, at, space) : n;
    json_t *call = json_pack("{s:s%, s:s%}", "name", name, (size_t)(quote - name), "arguments", text + at, n - at);
    if (call) json_array_append_new(calls, call);
}

json_t *srv_calls_read_cut(const json_t *offered, const char *text, size_t n)
{
    json_t *calls = json_array();
    const size_t at = calls ? read_all(offered, text, n, calls) : n;
    if (at < n) add_beginning(offered, text + at, n - at, calls);
    return unless_empty(calls);
}

/* ---- in a conversation ------------------------------------------------------------------------------- */

void srv_call_write(FILE *f, const char *name, const char *arguments)
{
    json_t *word = json_string(name);
    fputs("{\"name\": ", f);
    if (word) json_dumpf(word, f, JSON_ENCODE_ANY);
    fprintf(f, ", \"parameters\": %s}", arguments && *arguments ? arguments : "{}");
    json_decref(word);
}

void srv_output_write(FILE *f, const char *name, const char *output)
{
    fprintf(f, "%s returned: %s", name ? name : "the tool", output);
}
