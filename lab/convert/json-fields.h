/* json-fields: JSON files of foreign checkpoints, field by field; every complaint names the file and the field. */
#ifndef OM_JSON_FIELDS_H
#define OM_JSON_FIELDS_H

#include <jansson.h>
#include <stdbool.h>

/* An object of a file; name is how messages call it: "config.json", or "config.json: rope_scaling". */
typedef struct om_json {
    const char   *name;
    const json_t *object;
} om_json;

/* The file's text, at most max_bytes, as one JSON value; keys that come twice are refused. ERR_IO (also when
 * there is no such file), ERR_FORMAT, ERR_MEMORY. Free with json_decref. */
int om_json_load(const char *path, size_t max_bytes, json_t **out);

/* Fields. A field that is null counts as missing. Required ones: ERR_MODEL when missing or of another type or
 * outside [lo, hi]. The _or forms take a value for a missing field and complain of odd ones alike. */
int om_json_int(om_json j, const char *key, json_int_t lo, json_int_t hi, int *out);
int om_json_int_or(om_json j, const char *key, json_int_t lo, json_int_t hi, int otherwise, int *out);
int om_json_real(om_json j, const char *key, double lo, double hi, double *out);
int om_json_real_or(om_json j, const char *key, double lo, double hi, double otherwise, double *out);
int om_json_bool_or(om_json j, const char *key, bool otherwise, bool *out);
/* Borrowed from the object; NULL when missing. */
int om_json_text_or_null(om_json j, const char *key, const char **out);
/* An integer or an array of at most cap integers; *n = 0 when missing. */
int om_json_ints(om_json j, const char *key, json_int_t lo, json_int_t hi, int cap, int *out, int *n);
/* NULL when missing or null. */
const json_t *om_json_field(om_json j, const char *key);
/* ERR_MODEL "FILE: KEY: found ..., wanted WANTED". */
int om_json_odd(om_json j, const char *key, const char *wanted);

#endif
