/*
 * json-bounds: JSON from clients, looked at before memory is spent on it. jansson bounds nesting only at 2048 levels, and the
 * number of values not at all: of {}, three bytes with its comma, it makes a quarter of a kilobyte.
 */
#ifndef SRV_JSON_BOUNDS_H
#define SRV_JSON_BOUNDS_H

#include <jansson.h>

/* What is above JSON_DEPTH or JSON_VALUES, in a few words; NULL: nothing. What is no JSON may be above neither. */
const char *srv_json_excess(const char *text, size_t n);
/* Reads it with jansson's flags; NULL after writing into why, in a few words, what is wrong with it. */
json_t *srv_json_load(const char *text, size_t n, size_t flags, char why[JSON_ERROR_TEXT_LENGTH]);

#endif
