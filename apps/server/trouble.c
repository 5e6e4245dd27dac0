/* trouble: see trouble.h. */
#include "trouble.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Bytes of the character at s, 0: it is none in UTF-8. */
static size_t character(const unsigned char *s)
{
    const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
    const size_t n = *s < 0x80 ? 1 : *s >= 0xF0 ? 4 : *s >= 0xE0 ? 3 : 2;
    if (n == 1) return 1;
    if (*s < 0xC0 || *s >= 0xF8) return 0;
    unsigned code = *s & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80) return 0;
        code = code << 6 | (s[i] & 0x3F);
    }
    return code < least[n] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000) ? 0 : n;
}

/* What clients wrote is quoted in part, perhaps to the middle of a character; JSON has whole ones only. */
static void mend(char *text)
{
    while (*text) {
        const size_t n = character((const unsigned char *)text);
        if (n == 0) *text = '?';
        text += n ? n : 1;
    }
}

bool srv_trouble_set(srv_trouble *t, const char *code, const char *param, const char *format, ...)
{
    va_list args;
    t->code = code;
    snprintf(t->param, sizeof t->param, "%s", param ? param : "");
    va_start(args, format);
    vsnprintf(t->message, sizeof t->message, format, args);
    va_end(args);
    mend(t->param);
    mend(t->message);
    return false;
}

static const char *type_name(json_type type)
{
    switch (type) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a decimal";
    case JSON_NULL: return "null";
    default: return "a boolean";
    }
}

const char *srv_json_kind(const json_t *value)
{
    return value ? type_name(json_typeof(value)) : "nothing";
}

json_t *srv_member(const json_t *object, const char *path, const char *name, json_type type, srv_trouble *t)
{
    char whole[160];
    snprintf(whole, sizeof whole, "%s%s%s", path, *path ? "." : "", name);
    json_t *value = json_object_get(object, name);
    if (!value) {
        srv_trouble_set(t, "missing_required_parameter", whole, "Missing required parameter: '%s'.", whole);
        return NULL;
    }
    if (json_typeof(value) == type) return value;
    srv_trouble_set(t, "invalid_type", whole, "Invalid type for '%s': expected %s, but got %s instead.", whole,
                    type_name(type), srv_json_kind(value));
    return NULL;
}

bool srv_number_ok(const json_t *value, const char *path, bool whole, double low, double high, srv_trouble *t)
{
    if (whole ? !json_is_integer(value) : !json_is_number(value))
        return srv_trouble_set(t, "invalid_type", path, "Invalid type for '%s': expected %s, but got %s instead.", path,
                               whole ? "an integer" : "a decimal", srv_json_kind(value));
    const double v = json_number_value(value);
    const char *kind = whole ? "integer" : "decimal";
    if (v < low)
        return srv_trouble_set(t, whole ? "integer_below_min_value" : "decimal_below_min_value", path,
                               "Invalid '%s': %s below minimum value. Expected a value >= %.10g, but got %.10g instead.",
                               path, kind, low, v);
    if (v > high)
        return srv_trouble_set(t, whole ? "integer_above_max_value" : "decimal_above_max_value", path,
                               "Invalid '%s': %s above maximum value. Expected a value <= %.10g, but got %.10g instead.",
                               path, kind, high, v);
    return true;
}
