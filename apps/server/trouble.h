/* trouble: an error for the client, in the protocol's own terms. */
#ifndef SRV_TROUBLE_H
#define SRV_TROUBLE_H

#include <jansson.h>

#include <stdbool.h>

typedef struct srv_trouble {
    const char *code;           /* NULL: null */
    char param[200];            /* "": null */
    char message[500];
} srv_trouble;

/* Fills *t; always false. param NULL or "": none. */
bool srv_trouble_set(srv_trouble *t, const char *code, const char *param, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
const char *srv_json_kind(const json_t *value);     /* "a string", "null", ... */

/* A member that must be there, of a type; NULL after filling *t. path is the parent's, "" at the top. */
json_t *srv_member(const json_t *object, const char *path, const char *name, json_type type, srv_trouble *t);
/* A whole number or a number within [low, high]; false after filling *t. */
bool srv_number_ok(const json_t *value, const char *path, bool whole, double low, double high, srv_trouble *t);

#endif
