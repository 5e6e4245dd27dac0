/* mapped: see the header. */
#include "mapped.h"

#include "base/memory.h"
#include "base/status.h"
#include "sources.def"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- origins ------------------------------------------------------------------- */

int om_origin_new(om_source *source, om_origin *out)
{
    *out = (om_origin){.source = source, .used = om_calloc((size_t)source->n_tensors + 1, sizeof(bool))};
    if (out->used)
        return OMNI_OK;
    om_origin_free(out);
    return om_fail(OMNI_ERR_MEMORY, "out of memory for a checkpoint's list of tensors");
}

void om_origin_free(om_origin *o)
{
    om_source_free(o->source);
    om_free(o->used);
    *o = (om_origin){.source = NULL};
}

static void shape_text(char *text, size_t room, int n_dims, const int64_t *shape)
{
    size_t at = 0;

    text[0] = '\0';
    for (int i = 0; i < n_dims && at < room; i++)
        at += (size_t)snprintf(text + at, room - at, "[%" PRId64 "]", shape[i]);
}

int om_origin_take(om_origin *o, const char *name, int n_dims, const int64_t *shape, const om_source_tensor **out)
{
    const om_source_tensor *t = om_source_find(o->source, name);
    const char *where = o->source->n_files ? o->source->files[t ? t->file : 0].path : "checkpoint";
    char found[128], wanted[128];

    if (!t)
        return om_fail(OMNI_ERR_MODEL, "%s: tensor %s is missing from the checkpoint", where, name);
    if (t->n_dims != n_dims || memcmp(t->shape, shape, (size_t)n_dims * sizeof *shape) != 0) {
        shape_text(found, sizeof found, t->n_dims, t->shape);
        shape_text(wanted, sizeof wanted, n_dims, shape);
        return om_fail(OMNI_ERR_MODEL, "%s: tensor %s: found the shape %s, wanted %s; does the configuration belong to it?",
                       where, name, found, wanted);
    }
    if (t->type > OM_SOURCE_F64)
        return om_fail(OMNI_ERR_MODEL, "%s: tensor %s: found %s, wanted floating point", where, name,
                       om_source_type_name(t->type));
    o->used[t - o->source->tensors] = true;
    *out = t;
    return OMNI_OK;
}

void om_origin_skip(om_origin *o, const char *prefix)
{
    for (int i = 0; i < o->source->n_tensors; i++)
        if (strncmp(o->source->tensors[i].name, prefix, strlen(prefix)) == 0)
            o->used[i] = true;
}

static bool is_ignored(const char *name)
{
    const size_t n = strlen(name), m = strlen(OM_SOURCES_IGNORED_ENDING);

#define IGNORED(prefix) if (strncmp(name, prefix, sizeof prefix - 1) == 0) return true;
    OM_SOURCES_IGNORED(IGNORED)
#undef IGNORED
    return n > m && strcmp(name + n - m, OM_SOURCES_IGNORED_ENDING) == 0;
}

int om_origin_left(const om_origin *o, const om_source_tensor **first)
{
    int n = 0;

    for (int i = 0; i < o->source->n_tensors; i++) {
        if (o->used[i] || is_ignored(o->source->tensors[i].name))
            continue;
        if (n++ == 0)
            *first = &o->source->tensors[i];
    }
    return n;
}

/* ---- the list --------------------------------------------------------------------- */

int om_mapped_list_new(int cap, om_mapped_list *out)
{
    *out = (om_mapped_list){.items = om_calloc((size_t)cap, sizeof *out->items), .cap = cap};
    return out->items ? OMNI_OK : om_fail(OMNI_ERR_MEMORY, "out of memory for %d tensors", cap);
}

void om_mapped_list_free(om_mapped_list *l)
{
    for (int i = 0; i < l->n; i++)
        om_free(l->items[i].table);
    om_free(l->items);
    *l = (om_mapped_list){.items = NULL};
}

om_mapped *om_mapped_add(om_mapped_list *l)
{
    if (l->n == l->cap) {
        om_fail(OMNI_ERR_LIMIT, "more than %d tensors", l->cap);
        return NULL;
    }
    return &l->items[l->n++];
}

/* Tables first, then file by file from front to back: disks like it, and who reads along finds it in memory. */
static int by_place(const void *a, const void *b)
{
    const om_mapped *x = a, *y = b;

    if (x->table || y->table)
        return !x->table ? 1 : !y->table ? -1 : strcmp(x->name, y->name);
    if (x->source != y->source)
        return strcmp(x->source->files[0].path, y->source->files[0].path);
    if (x->tensor->file != y->tensor->file)
        return x->tensor->file < y->tensor->file ? -1 : 1;
    if (x->tensor->offset != y->tensor->offset)
        return x->tensor->offset < y->tensor->offset ? -1 : 1;
    return strcmp(x->name, y->name);
}

int om_mapped_put(om_mapped_list *l, om_gguf_out *out)
{
    int rc = OMNI_OK;

    if (l->n)
        qsort(l->items, (size_t)l->n, sizeof *l->items, by_place);
    for (int i = 0; !rc && i < l->n; i++) {
        const om_mapped *m = &l->items[i];

        rc = om_gguf_out_add(out, m->name, m->type, m->n_dims, m->shape,
                             (om_feed){.read = om_mapped_read, .from = m, .name = om_mapped_name});
    }
    return rc;
}

/* ---- reading ------------------------------------------------------------------------ */

/* Row r of ours is which row of theirs: pairs (2j, 2j + 1) of a head are its elements j and j + half. */
static int64_t rotary_row(const om_mapped *m, int64_t r)
{
    const int64_t head = m->shape[0] / m->heads, half = head / 2, inside = r % head;

    return r - inside + inside % 2 * half + inside / 2;
}

static int read_rotary(const om_mapped *m, int64_t first, int64_t n, float *out)
{
    const int64_t width = m->n_dims > 1 ? m->shape[1] : 1;
    int rc = OMNI_OK;

    while (!rc && n > 0) {
        const int64_t column = first % width, some = n < width - column ? n : width - column;

        rc = om_source_read(m->source, m->tensor, rotary_row(m, first / width) * width + column, some, out);
        first += some;
        out += some;
        n -= some;
    }
    return rc;
}

int om_mapped_read(const void *mapped, int64_t first, int64_t n, float *out)
{
    const om_mapped *m = mapped;

    if (m->table) {
        memcpy(out, m->table + first, (size_t)n * sizeof *out);
        return OMNI_OK;
    }
    if (m->how == OM_HOW_QUERY || m->how == OM_HOW_KEY)
        return read_rotary(m, first, n, out);
    return om_source_read(m->source, m->tensor, first, n, out);
}

void om_mapped_name(const void *mapped, char *text, size_t room)
{
    const om_mapped *m = mapped;

    if (m->tensor)
        snprintf(text, room, "%s: tensor %s", m->source->files[m->tensor->file].path, m->tensor->name);
    else
        snprintf(text, room, "tensor %s", m->name);
}
