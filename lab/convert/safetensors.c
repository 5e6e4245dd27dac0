/* safetensors: the reader of one file. The folder is read in checkpoint-folder.c. */
#include "safetensors.h"

#include "base/memory.h"
#include "base/status.h"
#include "file-read.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Real headers have about 100 bytes per tensor; JSON that is made to can take forty times its size in memory. */
enum { MAX_HEADER = 8 << 20 };

typedef struct extent {
    uint64_t begin, end;
    const char *name;
} extent;

static const struct { const char *name; om_source_type type; } dtypes[] = {
    {"F32", OM_SOURCE_F32}, {"F16", OM_SOURCE_F16}, {"BF16", OM_SOURCE_BF16}, {"F64", OM_SOURCE_F64},
    {"I64", OM_SOURCE_I64}, {"I32", OM_SOURCE_I32}, {"U8", OM_SOURCE_U8},     {"BOOL", OM_SOURCE_BOOL},
};

static int bad(const om_source_file *f, const char *name, const char *why)
{
    return om_fail(OMNI_ERR_FORMAT, "%s: tensor %s: %s", f->path, name, why);
}

static int read_dtype(const om_source_file *f, const char *name, const json_t *v, om_source_type *type)
{
    const char *text = json_string_value(v);

    for (size_t i = 0; text && i < sizeof dtypes / sizeof *dtypes; i++) {
        if (strcmp(dtypes[i].name, text) == 0) {
            *type = dtypes[i].type;
            return OMNI_OK;
        }
    }
    return om_fail(OMNI_ERR_FORMAT, "%s: tensor %s: dtype: found %s, wanted F32, F16, BF16, F64, I64, I32, U8 or BOOL",
                   f->path, name, text ? text : "no string");
}

static int read_shape(const om_source_file *f, const json_t *v, om_source_tensor *t)
{
    if (!json_is_array(v) || json_array_size(v) > OM_SOURCE_MAX_DIMS)
        return bad(f, t->name, "shape: wanted an array of at most 8 whole numbers");
    t->n_dims = (int)json_array_size(v);
    for (int i = 0; i < t->n_dims; i++) {
        const json_t *n = json_array_get(v, (size_t)i);

        if (!json_is_integer(n) || json_integer_value(n) < 0)
            return bad(f, t->name, "shape: wanted whole numbers, none negative");
        t->shape[i] = json_integer_value(n);
    }
    om_source_contiguous(t);
    return OMNI_OK;
}

static int read_offsets(const om_source_file *f, const char *name, const json_t *v, extent *e)
{
    const json_t *a = json_array_get(v, 0), *b = json_array_get(v, 1);

    if (json_array_size(v) != 2 || !json_is_integer(a) || !json_is_integer(b) || json_integer_value(a) < 0 ||
        json_integer_value(b) < json_integer_value(a))
        return bad(f, name, "data_offsets: wanted [begin, end] with 0 <= begin <= end");
    *e = (extent){(uint64_t)json_integer_value(a), (uint64_t)json_integer_value(b), name};
    return OMNI_OK;
}

/* One entry of the header. data is where the data begins. */
static int read_entry(om_source *s, int file, const char *name, const json_t *v, uint64_t data, extent *e)
{
    const om_source_file *f = &s->files[file];
    om_source_tensor t = {.name = name, .file = file};
    int rc;

    if (!json_is_object(v) || json_object_size(v) != 3)
        return bad(f, name, "wanted an object of dtype, shape and data_offsets");
    rc = read_dtype(f, name, json_object_get(v, "dtype"), &t.type);
    if (!rc)
        rc = read_shape(f, json_object_get(v, "shape"), &t);
    if (!rc)
        rc = read_offsets(f, name, json_object_get(v, "data_offsets"), e);
    if (rc)
        return rc;
    if (e->end > f->size - data)
        return bad(f, name, "data_offsets: it reaches behind the end of the file; the file is cut short");
    t.offset = data + e->begin;
    rc = om_source_add(s, &t);
    if (rc)
        return rc;
    if ((uint64_t)om_source_count(&t) * om_source_type_size(t.type) != e->end - e->begin)
        return om_fail(OMNI_ERR_FORMAT, "%s: tensor %s: found %" PRIu64 " bytes of data, wanted %" PRIu64 " for its shape",
                       f->path, name, e->end - e->begin,
                       (uint64_t)om_source_count(&t) * om_source_type_size(t.type));
    return OMNI_OK;
}

static int by_begin(const void *a, const void *b)
{
    const extent *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* The data is covered once, without holes. */
static int check_cover(const om_source_file *f, extent *e, size_t n, uint64_t bytes)
{
    uint64_t at = 0;

    if (n)
        qsort(e, n, sizeof *e, by_begin);
    for (size_t i = 0; i < n; i++) {
        if (e[i].begin < at)
            return bad(f, e[i].name, "data_offsets: it overlaps another tensor");
        if (e[i].begin > at)
            return bad(f, e[i].name, "data_offsets: a hole is before it");
        at = e[i].end;
    }
    if (at != bytes)
        return om_fail(OMNI_ERR_FORMAT, "%s: found %" PRIu64 " bytes of data, wanted %" PRIu64, f->path, bytes, at);
    return OMNI_OK;
}

static int read_header(om_source *s, int file, json_t *root, uint64_t data)
{
    extent *e = om_calloc(json_object_size(root) + 1, sizeof *e);
    const char *name;
    json_t *v;
    size_t n = 0;
    int rc = OMNI_OK;

    if (!e)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory for the header", s->files[file].path);
    json_object_foreach(root, name, v) {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        rc = read_entry(s, file, name, v, data, &e[n++]);
        if (rc)
            break;
    }
    if (!rc)
        rc = check_cover(&s->files[file], e, n, s->files[file].size - data);
    om_free(e);
    return rc;
}

/* The header's text. */
static int load_header(const om_source_file *f, uint64_t n, json_t **root)
{
    json_error_t error;
    char *text = om_calloc((size_t)n + 1, 1);
    int rc;

    if (!text)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory for a header of %" PRIu64 " bytes", f->path, n);
    rc = om_file_read(f->fd, f->path, 8, text, (size_t)n);
    if (rc) {
        om_free(text);
        return rc;
    }
    *root = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, &error);
    om_free(text);
    if (!*root)
        return om_fail(OMNI_ERR_FORMAT, "%s: header: %s", f->path, error.text);
    if (!json_is_object(*root)) {
        json_decref(*root);
        return om_fail(OMNI_ERR_FORMAT, "%s: header: wanted a JSON object", f->path);
    }
    return OMNI_OK;
}

int om_safetensors_open(om_source *s, const char *path)
{
    unsigned char raw[8];
    uint64_t n = 0, size = 0;
    json_t *root = NULL;
    int fd = -1, file, rc = om_file_open(path, &fd, &size);

    if (!rc)
        rc = om_source_add_file(s, path, fd, size, &file);
    if (rc)
        return rc;
    if (size < sizeof raw)
        return om_fail(OMNI_ERR_FORMAT, "%s: found %" PRIu64 " bytes, too few for a safetensors file", path, size);
    rc = om_file_read(fd, path, 0, raw, sizeof raw);
    if (rc)
        return rc;
    if (memcmp(raw, "version ", sizeof raw) == 0)
        return om_fail(OMNI_ERR_FORMAT, "%s: a Git LFS pointer, not the file itself; fetch it with git lfs pull", path);
    for (int i = 7; i >= 0; i--)
        n = n << 8 | raw[i];
    if (n > MAX_HEADER || n > size - 8)
        return om_fail(OMNI_ERR_FORMAT, "%s: header of %" PRIu64 " bytes, wanted at most %" PRIu64
                       "; it is not a safetensors file or was cut short", path, n,
                       size - 8 < MAX_HEADER ? size - 8 : (uint64_t)MAX_HEADER);
    rc = load_header(&s->files[file], n, &root);
    if (rc)
        return rc;
    rc = read_header(s, file, root, 8 + n);
    json_decref(root);
    return rc;
}
