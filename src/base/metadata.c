/*
 * metadata: typed, range-checked access to the key-value pairs of a GGUF file.
 *
 * gguf_get_* abort on a wrong type, so each type is looked at first.
 */
#include "base/weights.h"

#include "base/status.h"

#include "gguf.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { VALUE_MAX = 512, ITEM_MAX = 64, SHOWN_ITEMS = 8 };

static int64_t key_of(const om_weights *w, const char *key)
{
    return gguf_find_key(om_weights_gguf(w), key);
}

static int missing(const om_weights *w, const char *key)
{
    return om_fail(OMNI_ERR_MODEL, "%s: key %s is missing; convert the model again", om_weights_path(w), key);
}

static int wrong_type(const om_weights *w, const char *key, int64_t id, const char *wanted)
{
    const char *found = gguf_type_name(gguf_get_kv_type(om_weights_gguf(w), id));

    return om_fail(OMNI_ERR_MODEL, "%s: key %s: found type %s, wanted %s", om_weights_path(w), key, found,
                   wanted);
}

/* One element of an integer array, or the value itself; false for other types. */
static bool integer(enum gguf_type type, const void *data, size_t i, int64_t *out)
{
    const unsigned char *p = data;

    switch (type) {
    case GGUF_TYPE_UINT8:  { uint8_t  v; memcpy(&v, p + i * sizeof v, sizeof v); *out = v; return true; }
    case GGUF_TYPE_INT8:   { int8_t   v; memcpy(&v, p + i * sizeof v, sizeof v); *out = v; return true; }
    case GGUF_TYPE_UINT16: { uint16_t v; memcpy(&v, p + i * sizeof v, sizeof v); *out = v; return true; }
    case GGUF_TYPE_INT16:  { int16_t  v; memcpy(&v, p + i * sizeof v, sizeof v); *out = v; return true; }
    case GGUF_TYPE_UINT32: { uint32_t v; memcpy(&v, p + i * sizeof v, sizeof v); *out = v; return true; }
    case GGUF_TYPE_INT32:  { int32_t  v; memcpy(&v, p + i * sizeof v, sizeof v); *out = v; return true; }
    case GGUF_TYPE_INT64:  memcpy(out, p + i * sizeof *out, sizeof *out); return true;
    case GGUF_TYPE_UINT64: {
        uint64_t v;

        memcpy(&v, p + i * sizeof v, sizeof v);
        *out = v > INT64_MAX ? INT64_MAX : (int64_t)v;
        return true;
    }
    default:
        return false;
    }
}

static bool real(enum gguf_type type, const void *data, size_t i, double *out)
{
    const unsigned char *p = data;
    float f;

    if (type == GGUF_TYPE_FLOAT64) {
        memcpy(out, p + i * sizeof *out, sizeof *out);
        return true;
    }
    if (type != GGUF_TYPE_FLOAT32)
        return false;
    memcpy(&f, p + i * sizeof f, sizeof f);
    *out = (double)f;
    return true;
}

static bool is_scalar(enum gguf_type type)
{
    return type != GGUF_TYPE_STRING && type != GGUF_TYPE_ARRAY;
}

bool om_weights_has(const om_weights *w, const char *key)
{
    return key_of(w, key) >= 0;
}

int om_weights_u32(const om_weights *w, const char *key, uint32_t lo, uint32_t hi, int *out)
{
    const struct gguf_context *g = om_weights_gguf(w);
    int64_t id = key_of(w, key);
    enum gguf_type type;
    int64_t value;

    if (id < 0)
        return missing(w, key);
    type = gguf_get_kv_type(g, id);
    if (!is_scalar(type) || !integer(type, gguf_get_val_data(g, id), 0, &value))
        return wrong_type(w, key, id, "u32");
    if (value < (int64_t)lo || value > (int64_t)hi || value > INT32_MAX)
        return om_fail(OMNI_ERR_MODEL, "%s: key %s: found %" PRId64 ", wanted %" PRIu32 " to %" PRIu32,
                       om_weights_path(w), key, value, lo, hi);
    *out = (int)value;
    return OMNI_OK;
}

int om_weights_f32(const om_weights *w, const char *key, float lo, float hi, float *out)
{
    const struct gguf_context *g = om_weights_gguf(w);
    int64_t id = key_of(w, key);
    enum gguf_type type;
    double value;

    if (id < 0)
        return missing(w, key);
    type = gguf_get_kv_type(g, id);
    if (!is_scalar(type) || !real(type, gguf_get_val_data(g, id), 0, &value))
        return wrong_type(w, key, id, "f32");
    /* Written so that a NaN fails. */
    if (!(value >= (double)lo && value <= (double)hi))
        return om_fail(OMNI_ERR_MODEL, "%s: key %s: found %g, wanted %g to %g", om_weights_path(w), key,
                       value, (double)lo, (double)hi);
    *out = (float)value;
    return OMNI_OK;
}

int om_weights_bool(const om_weights *w, const char *key, bool *out)
{
    int64_t id = key_of(w, key);

    if (id < 0)
        return missing(w, key);
    if (gguf_get_kv_type(om_weights_gguf(w), id) != GGUF_TYPE_BOOL)
        return wrong_type(w, key, id, "bool");
    *out = gguf_get_val_bool(om_weights_gguf(w), id);
    return OMNI_OK;
}

int om_weights_str(const om_weights *w, const char *key, const char **out)
{
    int64_t id = key_of(w, key);

    if (id < 0)
        return missing(w, key);
    if (gguf_get_kv_type(om_weights_gguf(w), id) != GGUF_TYPE_STRING)
        return wrong_type(w, key, id, "str");
    *out = gguf_get_val_str(om_weights_gguf(w), id);
    return OMNI_OK;
}

int om_weights_i32s(const om_weights *w, const char *key, int lo, int hi, int *out, int cap, int *n)
{
    const struct gguf_context *g = om_weights_gguf(w);
    int64_t id = key_of(w, key);
    enum gguf_type type;
    size_t count;

    if (id < 0)
        return missing(w, key);
    if (gguf_get_kv_type(g, id) != GGUF_TYPE_ARRAY)
        return wrong_type(w, key, id, "an array of i32");
    type = gguf_get_arr_type(g, id);
    count = gguf_get_arr_n(g, id);
    if (count > (size_t)cap)
        return om_fail(OMNI_ERR_MODEL, "%s: key %s: found %zu elements, wanted at most %d",
                       om_weights_path(w), key, count, cap);
    if (type == GGUF_TYPE_STRING || type == GGUF_TYPE_ARRAY)
        return om_fail(OMNI_ERR_MODEL, "%s: key %s: found an array of %s, wanted i32", om_weights_path(w),
                       key, gguf_type_name(type));
    for (size_t i = 0; i < count; i++) {
        int64_t value;

        if (!integer(type, gguf_get_arr_data(g, id), i, &value))
            return om_fail(OMNI_ERR_MODEL, "%s: key %s: found an array of %s, wanted i32", om_weights_path(w),
                           key, gguf_type_name(type));
        if (value < lo || value > hi)
            return om_fail(OMNI_ERR_MODEL, "%s: key %s[%zu]: found %" PRId64 ", wanted %d to %d",
                           om_weights_path(w), key, i, value, lo, hi);
        out[i] = (int)value;
    }
    *n = (int)count;
    return OMNI_OK;
}

/* ---- as text -------------------------------------------------------------- */

static void item_text(enum gguf_type type, const void *data, size_t i, char *text, size_t room)
{
    int64_t whole;
    double value;

    if (type == GGUF_TYPE_BOOL)
        snprintf(text, room, "%s", ((const int8_t *)data)[i] ? "true" : "false");
    else if (integer(type, data, i, &whole))
        snprintf(text, room, "%" PRId64, whole);
    else if (real(type, data, i, &value))
        snprintf(text, room, "%.9g", value);
    else
        snprintf(text, room, "?");
}

/* Cuts at room - 4 on a UTF-8 boundary and says so with "...". */
static void string_text(const char *s, char *text, size_t room)
{
    size_t n = strlen(s);

    if (n < room) {
        memcpy(text, s, n + 1);
        return;
    }
    n = room - 4;
    while (n > 0 && ((unsigned char)s[n] & 0xC0) == 0x80)
        n--;
    memcpy(text, s, n);
    memcpy(text + n, "...", 4);
}

static void array_text(const struct gguf_context *g, int64_t id, char *text, size_t room)
{
    enum gguf_type type = gguf_get_arr_type(g, id);
    size_t count = gguf_get_arr_n(g, id), at;

    at = (size_t)snprintf(text, room, "[");
    for (size_t i = 0; i < count && i < SHOWN_ITEMS; i++) {
        char item[ITEM_MAX];

        if (type == GGUF_TYPE_STRING)
            string_text(gguf_get_arr_str(g, id, i), item, sizeof item / 2);
        else
            item_text(type, gguf_get_arr_data(g, id), i, item, sizeof item);
        at += (size_t)snprintf(text + at, room - at, "%s%s", i ? ", " : "", item);
    }
    if (count > SHOWN_ITEMS)
        snprintf(text + at, room - at, ", ... %zu in all]", count);
    else
        snprintf(text + at, room - at, "]");
}

int om_weights_each_metadata(const om_weights *w,
                             int (*visit)(void *user, const char *key, const char *value), void *user)
{
    const struct gguf_context *g = om_weights_gguf(w);
    int64_t n = gguf_get_n_kv(g);

    for (int64_t id = 0; id < n; id++) {
        enum gguf_type type = gguf_get_kv_type(g, id);
        /* SHOWN_ITEMS items of ITEM_MAX and the rest fit: array_text never runs over. */
        char text[VALUE_MAX + SHOWN_ITEMS * ITEM_MAX];
        int rc;

        if (type == GGUF_TYPE_STRING)
            string_text(gguf_get_val_str(g, id), text, VALUE_MAX);
        else if (type == GGUF_TYPE_ARRAY)
            array_text(g, id, text, sizeof text);
        else
            item_text(type, gguf_get_val_data(g, id), 0, text, sizeof text);
        rc = visit(user, gguf_get_key(g, id), text);
        if (rc)
            return rc;
    }
    return 0;
}
