/*
 * weights: reads the directory of a GGUF file, checks it, and serves tensors.
 *
 * The order of the checks is what keeps hostile files harmless: first the fixed
 * header with bounded counts, then ggml's own parser (which checks lengths, names and
 * types), then our arithmetic over every tensor, all before a byte of data is used.
 */
#include "base/weights.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/status.h"

#include "ggml.h"
#include "gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAX_ENTRIES = 1 << 16,      /* tensors, metadata pairs; the parser is quadratic in them */
    WINDOW      = 1 << 16,      /* read-ahead while parsing */
    SLICE       = 1 << 16       /* elements converted at a time; a multiple of every block size */
};

struct om_weights {
    char *path;
    int fd;
    uint64_t bytes;
    struct gguf_context *gguf;
    om_tensor_desc *tensors;    /* [n_tensors] */
    int64_t n_tensors;
};

/* ---- reading -------------------------------------------------------------- */

/* All n bytes at offset, or ERR_IO. */
static int read_at(const om_weights *w, void *dst, uint64_t offset, size_t n)
{
    unsigned char *p = dst;

    while (n > 0) {
        /* Linux moves at most 2 GB per call. */
        size_t want = n < ((size_t)1 << 30) ? n : (size_t)1 << 30;
        ssize_t got = -1;

        errno = EIO;
        if (!om_torture_hit())
            got = pread(w->fd, p, want, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return om_fail(OMNI_ERR_IO, "%s: reading at byte %llu: %s", w->path,
                           (unsigned long long)offset, strerror(errno));
        if (got == 0)
            return om_fail(OMNI_ERR_IO, "%s: the file became shorter while it was read (byte %llu)", w->path,
                           (unsigned long long)offset);
        p += got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return OMNI_OK;
}

/* ggml's parser reads a few bytes at a time; this serves them from a window. */
typedef struct {
    const om_weights *w;
    unsigned char *window;      /* [WINDOW] */
    uint64_t start;
    size_t filled;
    int status;
} parse_source;

static size_t parse_read(void *user, void *dst, uint64_t offset, size_t n)
{
    parse_source *src = user;
    unsigned char *out = dst;
    size_t done = 0;

    while (done < n && src->status == OMNI_OK) {
        uint64_t at = offset + done;

        if (at >= src->w->bytes)
            break;
        if (at < src->start || at >= src->start + src->filled) {
            uint64_t left = src->w->bytes - at;

            src->start = at;
            src->filled = left < WINDOW ? (size_t)left : WINDOW;
            src->status = read_at(src->w, src->window, at, src->filled);
            if (src->status)
                break;
        }
        size_t from = (size_t)(at - src->start);
        size_t take = src->filled - from;

        if (take > n - done)
            take = n - done;
        memcpy(out + done, src->window + from, take);
        done += take;
    }
    return done;
}

/* ---- opening -------------------------------------------------------------- */

static int open_file(om_weights *w)
{
    struct stat st;

    /* Non-blocking, so that a FIFO is refused instead of waited for. */
    w->fd = open(w->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (w->fd < 0 || om_torture_hit())
        return om_fail(OMNI_ERR_IO, "%s: %s", w->path, w->fd < 0 ? strerror(errno) : "could not be opened");
    if (fstat(w->fd, &st) != 0)
        return om_fail(OMNI_ERR_IO, "%s: %s", w->path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return om_fail(OMNI_ERR_IO, "%s: found a %s, wanted a GGUF file", w->path,
                       S_ISDIR(st.st_mode) ? "directory" : "special file");
    w->bytes = (uint64_t)st.st_size;
    return OMNI_OK;
}

static uint64_t little_endian_u64(const unsigned char *p)
{
    uint64_t v = 0;

    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

/* magic[4], version u32, tensors u64, pairs u64 */
static int check_header(const om_weights *w)
{
    unsigned char head[24];
    uint64_t tensors, pairs;
    int rc;

    if (w->bytes < sizeof head)
        return om_fail(OMNI_ERR_FORMAT,
                       "%s: %llu bytes is too short for a GGUF file; download or convert it again", w->path,
                       (unsigned long long)w->bytes);
    rc = read_at(w, head, 0, sizeof head);
    if (rc)
        return rc;
    if (memcmp(head, "GGUF", 4) != 0)
        return om_fail(OMNI_ERR_FORMAT, "%s: not a GGUF file (it does not begin with \"GGUF\")", w->path);
    tensors = little_endian_u64(head + 8);
    pairs = little_endian_u64(head + 16);
    if (tensors > MAX_ENTRIES || pairs > MAX_ENTRIES)
        return om_fail(OMNI_ERR_FORMAT,
                       "%s: header claims %llu tensors and %llu metadata pairs, at most %d are accepted;"
                       " the file is corrupt",
                       w->path, (unsigned long long)tensors, (unsigned long long)pairs, MAX_ENTRIES);
    return OMNI_OK;
}

static int parse(om_weights *w)
{
    parse_source src = { w, om_calloc(WINDOW, 1), 0, 0, OMNI_OK };
    struct gguf_init_params params = { true, NULL };

    if (!src.window)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", w->path);
    om_log_capture();
    w->gguf = gguf_init_from_callback(parse_read, &src, WINDOW, w->bytes, params);
    om_free(src.window);
    if (src.status)
        return src.status;
    if (!w->gguf) {
        const char *why = strstr(om_log_error(), ": ");   /* without ggml's function name */

        return om_fail(OMNI_ERR_FORMAT, "%s: corrupt or truncated GGUF file%s; download or convert it again",
                       w->path, why ? why : "");
    }
    return OMNI_OK;
}

/* Bytes of a tensor of this shape, or 0 when they do not fit any file. */
static uint64_t tensor_bytes(enum ggml_type type, const int64_t ne[4])
{
    uint64_t elements = 1;

    if (ggml_blck_size(type) <= 0 || ne[0] % ggml_blck_size(type) != 0)
        return 0;
    for (int i = 0; i < 4; i++) {
        if (ne[i] <= 0 || elements > (uint64_t)INT64_MAX / (uint64_t)ne[i])
            return 0;
        elements *= (uint64_t)ne[i];
    }
    elements /= (uint64_t)ggml_blck_size(type);
    if (elements > (uint64_t)INT64_MAX / ggml_type_size(type))
        return 0;
    return elements * ggml_type_size(type);
}

static int check_tensors(om_weights *w)
{
    uint64_t data = gguf_get_data_offset(w->gguf);

    w->n_tensors = gguf_get_n_tensors(w->gguf);
    w->tensors = om_calloc((size_t)w->n_tensors, sizeof *w->tensors);
    if (!w->tensors)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", w->path);
    for (int64_t i = 0; i < w->n_tensors; i++) {
        om_tensor_desc *t = &w->tensors[i];
        const int64_t *ne = gguf_get_tensor_ne(w->gguf, i);
        enum ggml_type type = gguf_get_tensor_type(w->gguf, i);
        uint64_t offset = gguf_get_tensor_offset(w->gguf, i);

        t->name = gguf_get_tensor_name(w->gguf, i);
        t->type = (int)type;
        memcpy(t->ne, ne, sizeof t->ne);
        t->n_dims = 4;
        while (t->n_dims > 1 && t->ne[t->n_dims - 1] == 1)
            t->n_dims--;
        t->bytes = tensor_bytes(type, ne);
        if (t->bytes == 0)
            return om_fail(OMNI_ERR_FORMAT, "%s: tensor %s: impossible shape %lld x %lld x %lld x %lld",
                           w->path, t->name, (long long)ne[0], (long long)ne[1], (long long)ne[2],
                           (long long)ne[3]);
        if (data > w->bytes || offset > w->bytes - data || t->bytes > w->bytes - data - offset)
            return om_fail(OMNI_ERR_FORMAT, "%s: truncated: tensor %s ends at byte %llu, the file has %llu;"
                           " download or convert it again", w->path, t->name,
                           (unsigned long long)(data + offset + t->bytes), (unsigned long long)w->bytes);
        t->offset = data + offset;
    }
    return OMNI_OK;
}

int om_weights_open(const char *path, om_weights **out)
{
    om_weights *w;
    int rc;

    if (!path || !*path || !out)
        return om_fail(OMNI_ERR_ARG, "om_weights_open: no path");
    w = om_calloc(1, sizeof *w);
    if (!w)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", path);
    w->fd = -1;
    w->path = om_strdup(path);
    rc = w->path ? OMNI_OK : om_fail(OMNI_ERR_MEMORY, "%s: out of memory", path);
    if (!rc)
        rc = open_file(w);
    if (!rc)
        rc = check_header(w);
    if (!rc)
        rc = parse(w);
    if (!rc)
        rc = check_tensors(w);
    if (rc) {
        om_weights_free(w);
        return rc;
    }
    *out = w;
    return OMNI_OK;
}

void om_weights_free(om_weights *w)
{
    if (!w)
        return;
    if (w->gguf)
        gguf_free(w->gguf);
    if (w->fd >= 0)
        close(w->fd);
    om_free(w->tensors);
    om_free(w->path);
    om_free(w);
}

const char *om_weights_path(const om_weights *w)
{
    return w->path;
}

uint64_t om_weights_file_bytes(const om_weights *w)
{
    return w->bytes;
}

const void *om_weights_gguf(const om_weights *w)
{
    return w->gguf;
}

/* ---- tensors -------------------------------------------------------------- */

int64_t om_weights_tensor_count(const om_weights *w)
{
    return w->n_tensors;
}

const om_tensor_desc *om_weights_tensor(const om_weights *w, int64_t i)
{
    return i >= 0 && i < w->n_tensors ? &w->tensors[i] : NULL;
}

const om_tensor_desc *om_weights_find(const om_weights *w, const char *name)
{
    int64_t i = gguf_find_tensor(w->gguf, name);

    return i >= 0 ? &w->tensors[i] : NULL;
}

/* "[384, 80, 3]" */
static const char *shape_text(char *text, size_t room, int n_dims, const int64_t *shape)
{
    size_t at = 0;

    for (int i = 0; i < n_dims && at < room; i++) {
        int n = snprintf(text + at, room - at, "%s%lld", i ? ", " : "[", (long long)shape[i]);

        at += n > 0 ? (size_t)n : 0;
    }
    if (at < room)
        snprintf(text + at, room - at, "]");
    return text;
}

int om_weights_need(const om_weights *w, const char *name, int n_dims, const int64_t *shape,
                    const om_tensor_desc **out)
{
    const om_tensor_desc *t = om_weights_find(w, name);
    int64_t found[4];
    char wanted_text[96], found_text[96];
    bool same;

    if (n_dims < 1 || n_dims > 4)
        return om_fail(OMNI_ERR_ARG, "%s: %d dimensions asked for", name, n_dims);
    if (!t)
        return om_fail(OMNI_ERR_MODEL, "%s: tensor %s is missing, wanted shape %s; convert the model again",
                       w->path, name, shape_text(wanted_text, sizeof wanted_text, n_dims, shape));
    same = t->n_dims <= n_dims;
    for (int i = 0; i < n_dims && same; i++)
        same = t->ne[n_dims - 1 - i] == shape[i];
    if (!same) {
        for (int i = 0; i < t->n_dims; i++)
            found[i] = t->ne[t->n_dims - 1 - i];
        return om_fail(
            OMNI_ERR_MODEL,
            "%s: tensor %s: found shape %s, wanted %s; metadata and tensors do not belong together", w->path,
            name, shape_text(found_text, sizeof found_text, t->n_dims, found),
            shape_text(wanted_text, sizeof wanted_text, n_dims, shape));
    }
    *out = t;
    return OMNI_OK;
}

int om_weights_read(const om_weights *w, const om_tensor_desc *t, void *dst)
{
    return read_at(w, dst, t->offset, (size_t)t->bytes);
}

int om_weights_read_f32(const om_weights *w, const om_tensor_desc *t, float *dst)
{
    enum ggml_type type = (enum ggml_type)t->type;
    const struct ggml_type_traits *traits = ggml_get_type_traits(type);
    int64_t left = t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
    uint64_t offset = t->offset;
    void *raw;
    int rc = OMNI_OK;

    if (type == GGML_TYPE_F32)
        return om_weights_read(w, t, dst);
    if (!traits->to_float)
        return om_fail(OMNI_ERR_MODEL, "%s: tensor %s: type %s can not be converted to f32", w->path, t->name,
                       ggml_type_name(type));
    raw = om_aligned(ggml_row_size(type, SLICE), 1);
    if (!raw)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", w->path);
    while (left > 0 && !rc) {
        int64_t n = left < SLICE ? left : SLICE;
        size_t bytes = ggml_row_size(type, n);

        rc = read_at(w, raw, offset, bytes);
        if (rc)
            break;
        traits->to_float(raw, dst, n);
        dst += n;
        left -= n;
        offset += bytes;
    }
    om_free(raw);
    return rc;
}
