/* json-fields: see the header. */
#include "json-fields.h"

#include "base/memory.h"
#include "base/status.h"
#include "file-read.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int read_text(const char *path, size_t max_bytes, char **text, size_t *n)
{
    uint64_t size = 0;
    int fd = -1, rc = om_file_open(path, &fd, &size);

    if (rc)
        return rc;
    if (size > max_bytes)
        rc = om_fail(OMNI_ERR_FORMAT, "%s: found %" PRIu64 " bytes, wanted at most %zu", path, size, max_bytes);
    *n = (size_t)size;
    *text = rc ? NULL : om_calloc(*n + 1, 1);
    if (!rc && !*text)
        rc = om_fail(OMNI_ERR_MEMORY, "%s: out of memory for %" PRIu64 " bytes", path, size);
    if (!rc)
        rc = om_file_read(fd, path, 0, *text, *n);
    close(fd);
    return rc;
}

int om_json_load(const char *path, size_t max_bytes, json_t **out)
{
    json_error_t error;
    char *text = NULL;
    size_t n = 0;
    int rc = read_text(path, max_bytes, &text, &n);

    if (!rc) {
        *out = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
        if (!*out)
            rc = om_fail(OMNI_ERR_FORMAT, "%s: line %d: %s", path, error.line, error.text);
    }
    om_free(text);
    return rc;
}

const json_t *om_json_field(om_json j, const char *key)
{
    const json_t *v = json_object_get(j.object, key);

    return json_is_null(v) ? NULL : v;
}

int om_json_odd(om_json j, const char *key, const char *wanted)
{
    const json_t *v = om_json_field(j, key);
    char *text = v ? json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    const int rc = om_fail(OMNI_ERR_MODEL, "%s: %s: found %.120s, wanted %s", j.name, key,
                           text ? text : "nothing", wanted);

    free(text);
    return rc;
}

static int integer(om_json j, const char *key, const json_t *v, json_int_t lo, json_int_t hi, int *out)
{
    char wanted[96];

    if (json_is_integer(v) && json_integer_value(v) >= lo && json_integer_value(v) <= hi) {
        *out = (int)json_integer_value(v);
        return OMNI_OK;
    }
    snprintf(wanted, sizeof wanted, "a whole number of %" JSON_INTEGER_FORMAT " to %" JSON_INTEGER_FORMAT, lo, hi);
    return om_json_odd(j, key, wanted);
}

int om_json_int(om_json j, const char *key, json_int_t lo, json_int_t hi, int *out)
{
    return integer(j, key, om_json_field(j, key), lo, hi, out);
}

int om_json_int_or(om_json j, const char *key, json_int_t lo, json_int_t hi, int otherwise, int *out)
{
    *out = otherwise;
    return om_json_field(j, key) ? om_json_int(j, key, lo, hi, out) : OMNI_OK;
}

int om_json_real(om_json j, const char *key, double lo, double hi, double *out)
{
    const json_t *v = om_json_field(j, key);
    char wanted[96];

    if (json_is_number(v) && json_number_value(v) >= lo && json_number_value(v) <= hi) {
        *out = json_number_value(v);
        return OMNI_OK;
    }
    snprintf(wanted, sizeof wanted, "a number of %g to %g", lo, hi);
    return om_json_odd(j, key, wanted);
}

int om_json_real_or(om_json j, const char *key, double lo, double hi, double otherwise, double *out)
{
    *out = otherwise;
    return om_json_field(j, key) ? om_json_real(j, key, lo, hi, out) : OMNI_OK;
}

int om_json_bool_or(om_json j, const char *key, bool otherwise, bool *out)
{
    const json_t *v = om_json_field(j, key);

    if (v && !json_is_boolean(v))
        return om_json_odd(j, key, "true or false");
    *out = v ? json_is_true(v) : otherwise;
    return OMNI_OK;
}

int om_json_text_or_null(om_json j, const char *key, const char **out)
{
    const json_t *v = om_json_field(j, key);

    if (v && !json_is_string(v))
        return om_json_odd(j, key, "a string");
    *out = v ? json_string_value(v) : NULL;
    return OMNI_OK;
}

int om_json_ints(om_json j, const char *key, json_int_t lo, json_int_t hi, int cap, int *out, int *n)
{
    const json_t *v = om_json_field(j, key);

    *n = 0;
    if (!v)
        return OMNI_OK;
    if (!json_is_array(v)) {
        *n = 1;
        return integer(j, key, v, lo, hi, out);
    }
    if (json_array_size(v) > (size_t)cap)
        return om_json_odd(j, key, "fewer numbers");
    for (size_t i = 0; i < json_array_size(v); i++) {
        const int rc = integer(j, key, json_array_get(v, i), lo, hi, &out[i]);

        if (rc)
            return rc;
    }
    *n = (int)json_array_size(v);
    return OMNI_OK;
}
