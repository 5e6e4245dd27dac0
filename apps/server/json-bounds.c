/* json-bounds: see json-bounds.h. */
#include "json-bounds.h"

#include "limits.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Where a string ends whose first letter is at text[i]; n: it does not. */
static size_t string_end(const char *text, size_t n, size_t i)
{
    for (; i < n && text[i] != '"'; i++)
        if (text[i] == '\\') i++;
    return i;
}

/* A bracket opens a value, and behind each comma is another. */
const char *srv_json_excess(const char *text, size_t n)
{
    int depth = 0, values = 0;
    for (size_t i = 0; i < n; i++) {
        const bool opens = text[i] == '{' || text[i] == '[';
        if (text[i] == '"') i = string_end(text, n, i + 1);
        else if (text[i] == '}' || text[i] == ']') depth--;
        else if ((opens || text[i] == ',') && ++values > SRV_JSON_VALUES) return "it has too many values";
        if (opens && ++depth > SRV_JSON_DEPTH) return "it is nested too deeply";
    }
    return NULL;
}

json_t *srv_json_load(const char *text, size_t n, size_t flags, char why[JSON_ERROR_TEXT_LENGTH])
{
    json_error_t error = {.text = ""};
    const char *excess = n == 0 ? "it is empty" : srv_json_excess(text, n);
    json_t *json = excess ? NULL : json_loadb(text, n, flags, &error);
    if (!json) snprintf(why, JSON_ERROR_TEXT_LENGTH, "%s", excess ? excess : error.text);
    return json;
}
