/* source: the list of arrays, and their elements as f32 whatever type and strides they have. */
#include "source.h"

#include "base/memory.h"
#include "base/status.h"
#include "file-read.h"
#include "lora.h"

#include "ggml.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 1 << 16 };      /* bytes read at a time when they need converting */

static const struct { const char *name; size_t size; } types[] = {
    [OM_SOURCE_F32] = {"F32", 4}, [OM_SOURCE_F16] = {"F16", 2}, [OM_SOURCE_BF16] = {"BF16", 2},
    [OM_SOURCE_F64] = {"F64", 8}, [OM_SOURCE_I64] = {"I64", 8}, [OM_SOURCE_I32] = {"I32", 4},
    [OM_SOURCE_U8] = {"U8", 1},   [OM_SOURCE_BOOL] = {"BOOL", 1},
};

size_t om_source_type_size(om_source_type type)
{
    return types[type].size;
}

const char *om_source_type_name(om_source_type type)
{
    return types[type].name;
}

/* ---- the list ------------------------------------------------------------------ */

om_source *om_source_new(void)
{
    om_source *s = om_calloc(1, sizeof *s);

    if (!s)
        om_fail(OMNI_ERR_MEMORY, "out of memory for a checkpoint's list of tensors");
    return s;
}

void om_source_free(om_source *s)
{
    if (!s)
        return;
    for (int i = 0; i < s->n_files; i++) {
        close(s->files[i].fd);
        om_free(s->files[i].path);
    }
    for (int i = 0; i < s->n_tensors; i++)
        om_free((char *)s->tensors[i].name);
    om_free(s->files);
    om_free(s->tensors);
    om_free(s);
}

/* Room for one more of n: the list grows whenever n is a power of two. NULL: out of memory. */
static void *grown(void *list, int n, size_t size)
{
    if (n & (n - 1))
        return list;
    return om_realloc(list, n ? (size_t)n * 2 : 1, size);
}

int om_source_add_file(om_source *s, const char *path, int fd, uint64_t size, int *index)
{
    char *copy = om_strdup(path);
    om_source_file *files = copy ? grown(s->files, s->n_files, sizeof *files) : NULL;

    if (!files) {
        om_free(copy);
        close(fd);
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory for the list of files", path);
    }
    s->files = files;
    s->files[s->n_files] = (om_source_file){.path = copy, .fd = fd, .size = size};
    *index = s->n_files++;
    return OMNI_OK;
}

/* false when a * b (neither negative) does not fit. */
static bool product(int64_t a, int64_t b, int64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

static int outside(const om_source *s, const om_source_tensor *t, const char *what)
{
    return om_fail(OMNI_ERR_FORMAT, "%s: tensor %s: %s; the file is damaged or cut short",
                   s->files[t->file].path, t->name, what);
}

/* The array lies within its file, and no view of few bytes pretends to be a large array. */
static int check_extent(const om_source *s, const om_source_tensor *t)
{
    const uint64_t size = s->files[t->file].size, each = types[t->type].size;
    int64_t count = 1, last = 0, step;

    if (t->n_dims < 0 || t->n_dims > OM_SOURCE_MAX_DIMS)
        return outside(s, t, "too many dimensions");
    for (int i = 0; i < t->n_dims; i++) {
        if (t->shape[i] < 0 || t->stride[i] < 0)
            return outside(s, t, "a negative size or stride");
        if (!product(count, t->shape[i], &count))
            return outside(s, t, "more elements than can be counted");
    }
    if (t->offset > size)
        return outside(s, t, "it begins behind the end of the file");
    if (count == 0)
        return OMNI_OK;
    for (int i = 0; i < t->n_dims; i++)
        if (!product(t->shape[i] - 1, t->stride[i], &step) || __builtin_add_overflow(last, step, &last))
            return outside(s, t, "its strides lead out of the file");
    if ((uint64_t)last >= (size - t->offset) / each)
        return outside(s, t, "it reaches behind the end of the file");
    if ((uint64_t)count > size / each)
        return outside(s, t, "more elements than the file has room for");
    return OMNI_OK;
}

int om_source_add(om_source *s, const om_source_tensor *t)
{
    om_source_tensor *tensors;
    char *name;
    int rc;

    if (t->file < 0 || t->file >= s->n_files)
        return om_fail(OMNI_ERR_ARG, "tensor %s: file %d of %d", t->name, t->file, s->n_files);
    rc = check_extent(s, t);
    if (rc)
        return rc;
    name = om_strdup(t->name);
    tensors = name ? grown(s->tensors, s->n_tensors, sizeof *tensors) : NULL;
    if (!tensors) {
        om_free(name);
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory for the list of tensors", s->files[t->file].path);
    }
    s->tensors = tensors;
    tensors[s->n_tensors] = *t;
    tensors[s->n_tensors++].name = name;
    return OMNI_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const om_source_tensor *)a)->name, ((const om_source_tensor *)b)->name);
}

int om_source_finish(om_source *s)
{
    if (s->n_tensors)
        qsort(s->tensors, (size_t)s->n_tensors, sizeof *s->tensors, by_name);
    for (int i = 1; i < s->n_tensors; i++) {
        const om_source_tensor *a = &s->tensors[i - 1], *b = &s->tensors[i];

        if (strcmp(a->name, b->name) == 0)
            return om_fail(OMNI_ERR_FORMAT, "tensor %s is there twice: in %s and %s", a->name,
                           s->files[a->file].path, s->files[b->file].path);
    }
    return OMNI_OK;
}

/* Room for more more of n, by the rule of grown. */
static void *reserved(void *list, int n, int more, size_t size)
{
    size_t room = 1;

    while (room < (size_t)n + (size_t)more)
        room *= 2;
    return om_realloc(list, room, size);
}

static int make_room(om_source *s, const om_source *from)
{
    om_source_file *files = reserved(s->files, s->n_files, from->n_files, sizeof *files);
    om_source_tensor *tensors;

    if (files)
        s->files = files;
    tensors = files ? reserved(s->tensors, s->n_tensors, from->n_tensors, sizeof *tensors) : NULL;
    if (!tensors)
        return om_fail(OMNI_ERR_MEMORY, "out of memory for the list of tensors");
    s->tensors = tensors;
    return OMNI_OK;
}

int om_source_take_over(om_source *s, om_source *from)
{
    const int files = s->n_files, n = s->n_tensors;
    int added = 0, rc = make_room(s, from);

    for (int i = 0; !rc && i < from->n_files; i++)
        s->files[s->n_files++] = from->files[i];
    for (int i = 0; !rc && i < from->n_tensors; i++) {
        om_source_tensor *t = &from->tensors[i];
        const om_source_tensor *old = om_source_find(s, t->name);
        const int at = old ? (int)(old - s->tensors) : n + added++;

        t->file += files;
        if (old)
            om_free((char *)old->name);
        s->tensors[at] = *t;
    }
    if (!rc)
        from->n_files = from->n_tensors = 0;
    om_source_free(from);
    s->n_tensors = n + added;      /* before, om_source_find sees what is sorted alone */
    return rc ? rc : om_source_finish(s);
}

const om_source_tensor *om_source_find(const om_source *s, const char *name)
{
    const om_source_tensor key = {.name = name};

    return s->n_tensors ? bsearch(&key, s->tensors, (size_t)s->n_tensors, sizeof key, by_name) : NULL;
}

int64_t om_source_count(const om_source_tensor *t)
{
    int64_t n = 1;

    for (int i = 0; i < t->n_dims; i++)
        n *= t->shape[i];
    return n;
}

void om_source_contiguous(om_source_tensor *t)
{
    int64_t step = 1;

    for (int i = t->n_dims - 1; i >= 0; i--) {
        t->stride[i] = step;
        if (!product(step, t->shape[i] > 0 ? t->shape[i] : 1, &step))
            step = 0;       /* om_source_add refuses the shape */
    }
}

/* ---- elements ------------------------------------------------------------------- */

/* n elements that stand step apart in bytes. */
static void to_f32(om_source_type type, const unsigned char *bytes, int64_t n, int64_t step, float *out)
{
    if (step == 1 && type == OM_SOURCE_F16) {
        ggml_fp16_to_fp32_row((const ggml_fp16_t *)(const void *)bytes, out, n);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        const unsigned char *at = bytes + (size_t)(i * step) * types[type].size;
        uint32_t wide;
        uint16_t half;
        double d;

        switch (type) {
        case OM_SOURCE_F16:
            memcpy(&half, at, sizeof half);
            out[i] = ggml_fp16_to_fp32(half);
            break;
        case OM_SOURCE_BF16:
            memcpy(&half, at, sizeof half);
            wide = (uint32_t)half << 16;
            memcpy(&out[i], &wide, sizeof wide);
            break;
        case OM_SOURCE_F64:
            memcpy(&d, at, sizeof d);
            out[i] = (float)d;
            break;
        default:
            memcpy(&out[i], at, sizeof out[i]);
        }
    }
}

/* n elements from one byte on, step elements apart. */
static int read_run(const om_source_file *file, om_source_type type, uint64_t at, int64_t n, int64_t step,
                    float *out)
{
    _Alignas(16) unsigned char block[BLOCK];
    const int64_t each = (int64_t)types[type].size;
    int64_t per_block = step == 0 ? 1 : (BLOCK / each - 1) / step + 1;
    int rc = OMNI_OK;

    if (type == OM_SOURCE_F32 && step == 1)
        return om_file_read(file->fd, file->path, at, out, (size_t)n * sizeof *out);
    for (int64_t done = 0; !rc && done < n; done += per_block) {
        const int64_t m = n - done < per_block ? n - done : per_block;

        rc = om_file_read(file->fd, file->path, at + (uint64_t)(done * step * each), block,
                          (size_t)(((m - 1) * step + 1) * each));
        if (!rc)
            to_f32(type, block, m, step, out + done);
    }
    return rc;
}

static bool is_contiguous(const om_source_tensor *t)
{
    int64_t step = 1;

    for (int i = t->n_dims - 1; i >= 0; step *= t->shape[i--])
        if (t->shape[i] != 1 && t->stride[i] != step)
            return false;
    return true;
}

/* Along the last dimension, one run at a time. */
static int read_strided(const om_source *s, const om_source_tensor *t, int64_t first, int64_t n, float *out)
{
    const int64_t width = t->shape[t->n_dims - 1], step = t->stride[t->n_dims - 1];
    int rc = OMNI_OK;

    while (!rc && n > 0) {
        const int64_t column = first % width, m = n < width - column ? n : width - column;
        int64_t row = first / width, element = column * step;

        for (int i = t->n_dims - 2; i >= 0; row /= t->shape[i--])
            element += row % t->shape[i] * t->stride[i];
        rc = read_run(&s->files[t->file], t->type, t->offset + (uint64_t)element * types[t->type].size, m,
                      step, out);
        first += m;
        out += m;
        n -= m;
    }
    return rc;
}

int om_source_read(const om_source *s, const om_source_tensor *t, int64_t first, int64_t n, float *out)
{
    const int64_t count = om_source_count(t);
    int rc;

    if (t->type > OM_SOURCE_F64)
        return om_fail(OMNI_ERR_ARG, "%s: tensor %s: found %s, wanted floating point", s->files[t->file].path,
                       t->name, types[t->type].name);
    if (first < 0 || n < 0 || first > count || n > count - first)
        return om_fail(OMNI_ERR_ARG, "%s: tensor %s: elements %" PRId64 " and %" PRId64 " more of %" PRId64,
                       s->files[t->file].path, t->name, first, n, count);
    if (n == 0)
        return OMNI_OK;
    rc = is_contiguous(t) ? read_run(&s->files[t->file], t->type, t->offset + (uint64_t)first * types[t->type].size, n, 1, out)
                          : read_strided(s, t, first, n, out);
    return rc || !t->lora ? rc : om_lora_add(t->lora, first, n, out);
}
