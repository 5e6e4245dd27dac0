/* A strict reader: everything the file claims is checked against what it holds. */
#include "npy.h"

#include "options.h"
#include "report.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PREFIX = 10, MAX_HEADER = 4096, MAX_VALUES = 1 << 24 };
static const char MAGIC[] = "\x93NUMPY";

int cli_npy_write(cli_output *out, const omni_array *array)
{
    char head[192];
    const char kind = array->is_int ? 'i' : 'f';
    const long long rows = array->shape[0], columns = array->n_dims == 2 ? array->shape[1] : 1;
    char *text = head + PREFIX;
    const size_t room = sizeof head - PREFIX;
    int n = snprintf(text, room, "{'descr': '<%c4', 'fortran_order': False, 'shape': (%lld,", kind, rows);
    n += array->n_dims == 1 ? snprintf(text + n, room - (size_t)n, "), }")
                            : snprintf(text + n, room - (size_t)n, " %lld), }", columns);
    n += PREFIX;
    const int end = (n + 1 + 63) / 64 * 64;     /* data starts at a multiple of 64 */
    memset(head + n, ' ', (size_t)(end - n));
    head[end - 1] = '\n';
    memcpy(head, MAGIC, 6);
    head[6] = 1;
    head[7] = 0;
    head[8] = (char)((end - PREFIX) & 255);
    head[9] = (char)((end - PREFIX) >> 8);
    if (cli_output_write(out, head, (size_t)end) != CLI_OK) return CLI_FAILED;
    const size_t count = (size_t)rows * (size_t)columns;
    return cli_output_write(out, array->data, count * 4);   /* little-endian machines only, as ggml is */
}

/* The text after 'key': in a header's dictionary, spaces skipped; NULL: not there. */
static const char *value_of(const char *header, const char *key)
{
    const char *at = strstr(header, key);
    if (!at) return NULL;
    at += strlen(key);
    while (*at == ' ') at++;
    if (*at++ != ':') return NULL;
    while (*at == ' ') at++;
    return at;
}

typedef struct layout {
    bool is_signed, big_endian;
    int  bytes;
    long long n;
} layout;

static bool parse_layout(const char *header, layout *l)
{
    const char *descr = value_of(header, "'descr'"), *order = value_of(header, "'fortran_order'"),
               *shape = value_of(header, "'shape'");
    char endian, kind, after;
    if (!descr || !order || !shape) return false;
    if (sscanf(descr, "'%c%c%d%c", &endian, &kind, &l->bytes, &after) != 4 || after != '\'') return false;
    if (!strchr("<>|", endian) || !strchr("iu", kind)) return false;
    if (l->bytes != 1 && l->bytes != 2 && l->bytes != 4 && l->bytes != 8) return false;
    if (endian == '|' && l->bytes != 1) return false;
    if (strncmp(order, "False", 5) != 0 && strncmp(order, "True", 4) != 0) return false;
    if (sscanf(shape, "(%lld %c", &l->n, &after) != 2 || after != ',') return false;
    const char *close = strchr(shape, ')');
    const char *comma = strchr(shape, ',');
    if (!close || !comma || strspn(comma + 1, " ") != (size_t)(close - comma - 1))
        return false; /* one axis */
    l->is_signed = kind == 'i';
    l->big_endian = endian == '>';
    return l->n >= 0;
}

/* One integer; false when it does not fit 32 bits. */
static bool integer_at(const unsigned char *at, const layout *l, int32_t *value)
{
    uint64_t raw = 0;
    for (int i = 0; i < l->bytes; i++)
        raw |= (uint64_t)at[l->big_endian ? l->bytes - 1 - i : i] << (8 * i);
    if (l->is_signed && l->bytes < 8 && raw >> (8 * l->bytes - 1)) raw |= ~(uint64_t)0 << (8 * l->bytes);
    if (!l->is_signed && raw > INT32_MAX) return false;
    const int64_t wide = (int64_t)raw;
    *value = (int32_t)wide;
    return wide >= INT32_MIN && wide <= INT32_MAX;
}

/* The header of an open file: CLI_OK and *l, the file placed at the data. */
static int read_header(FILE *file, const char *path, layout *l)
{
    unsigned char prefix[PREFIX + 2];
    char header[MAX_HEADER + 1];
    if (fread(prefix, 1, PREFIX, file) != PREFIX || memcmp(prefix, MAGIC, 6) != 0)
        return cli_error("%s: not an NPY file: it does not start with \\x93NUMPY; write it with numpy.save",
                         path);
    size_t n = (size_t)prefix[8] | (size_t)prefix[9] << 8;
    if (prefix[6] == 2 && fread(prefix + PREFIX, 1, 2, file) == 2)
        n |= (size_t)prefix[10] << 16 | (size_t)prefix[11] << 24;
    else if (prefix[6] != 1)
        return cli_error("%s: NPY version: found %d, wanted 1 or 2", path, prefix[6]);
    if (n > MAX_HEADER || fread(header, 1, n, file) != n)
        return cli_error("%s: truncated or overlong NPY header of %zu bytes", path, n);
    header[n] = 0;
    if (strlen(header) != n || !parse_layout(header, l))
        return cli_error("%s: found an array that is not a row of integers; wanted shape (n,) of int32",
                         path);
    if (l->n < 1 || l->n > MAX_VALUES)
        return cli_error("%s: found %lld values, wanted 1 to %d", path, l->n, MAX_VALUES);
    return CLI_OK;
}

static int read_values(FILE *file, const char *path, const layout *l, int32_t *values)
{
    unsigned char raw[8];
    for (long long i = 0; i < l->n; i++) {
        if (fread(raw, 1, (size_t)l->bytes, file) != (size_t)l->bytes)
            return cli_error("%s: truncated: found %lld of %lld values", path, i, l->n);
        if (!integer_at(raw, l, &values[i])) return cli_error("%s: value %lld does not fit 32 bits", path, i);
    }
    return fgetc(file) == EOF ? CLI_OK : cli_error("%s: bytes after the last of %lld values", path, l->n);
}

int cli_npy_read_integers(const char *path, int32_t **values, size_t *n)
{
    layout l = {.n = 0};
    FILE *file = fopen(path, "rb");
    if (!file) return cli_error("%s: can not be opened: %s", path, strerror(errno));
    int32_t *found = NULL;
    int rc = read_header(file, path, &l);
    if (rc == CLI_OK && !(found = calloc((size_t)l.n, sizeof *found)))
        rc = cli_error("%s: out of memory", path);
    if (rc == CLI_OK) rc = read_values(file, path, &l, found);
    fclose(file);
    if (rc != CLI_OK) {
        free(found);
        return rc;
    }
    *values = found;
    *n = (size_t)l.n;
    return CLI_OK;
}
