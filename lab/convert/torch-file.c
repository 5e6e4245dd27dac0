/*
 * torch-file: container to pickle, pickle to storages, storages to places in the file.
 *
 * A storage is found once, a tensor is a window into it. Both containers end in the same list of places, which is
 * all that the arrays are made from.
 */
#include "torch-file.h"

#include "base/memory.h"
#include "base/status.h"
#include "file-read.h"
#include "pickle.h"
#include "printable.h"
#include "zip-read.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    LONGEST_NAME = 512,
    LONGEST_ROOT = 512,             /* of the folder in a zip container */
    DEEPEST      = 32,
    MOST_VISITS  = 1 << 22,         /* a few shared lists can unfold into more values than atoms */
    MOST_ARRAYS  = 1 << 17,
    LEGACY_PROTOCOL = 1001,
    CRC_MOST     = 1 << 28          /* bytes of a file whose numbers' checksums are looked at: reading it twice takes no time */
};

static const unsigned char legacy_magic[10] = {0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19};

typedef struct {
    const om_pickle_storage *storage;
    uint64_t offset;                /* bytes from the file's beginning; 0: not found yet */
} storage_place;

typedef struct {
    const char *path;
    int fd;
    uint64_t size;
    unsigned char *bytes;           /* the pickles */
    char *where;                    /* for messages of the pickle reader */
    om_pickle *pickle;
    storage_place *places;          /* [n_places], by key */
    size_t n_places;
} checkpoint;

/* ---- storages ------------------------------------------------------------------------ */

static int compare_keys(const char *a, size_t n_a, const char *b, size_t n_b)
{
    const int order = memcmp(a, b, n_a < n_b ? n_a : n_b);

    return order ? order : n_a < n_b ? -1 : n_a > n_b;
}

static int by_key(const void *a, const void *b)
{
    const om_pickle_storage *x = ((const storage_place *)a)->storage, *y = ((const storage_place *)b)->storage;

    return compare_keys(x->key, x->n_key, y->key, y->n_key);
}

static storage_place *find_place(const checkpoint *c, const char *key, size_t n_key)
{
    const om_pickle_storage wanted = {.key = key, .n_key = n_key};
    const storage_place place = {.storage = &wanted};

    return c->n_places ? bsearch(&place, c->places, c->n_places, sizeof place, by_key) : NULL;
}

/* Each storage of the pickle once; those that come several times must be the same each time. */
static int list_storages(checkpoint *c)
{
    size_t n = 0, kept = 0;

    for (const om_pickle_storage *s = om_pickle_storages(c->pickle); s; s = s->next)
        n++;
    c->places = om_calloc(n, sizeof *c->places);
    if (!c->places)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory for %zu storages", c->path, n);
    for (const om_pickle_storage *s = om_pickle_storages(c->pickle); s; s = s->next)
        c->places[c->n_places++].storage = s;
    if (n)
        qsort(c->places, n, sizeof *c->places, by_key);
    for (size_t i = 0; i < n; i++) {
        const om_pickle_storage *s = c->places[i].storage, *last = kept ? c->places[kept - 1].storage : NULL;

        if (!last || by_key(&c->places[kept - 1], &c->places[i]) != 0)
            c->places[kept++] = c->places[i];
        else if (s->type != last->type || s->count != last->count)
            return om_fail(OMNI_ERR_FORMAT, "%s: storage %s has two types or sizes; the file is damaged", c->path,
                           om_printable_of(s->key, s->n_key).text);
    }
    c->n_places = kept;
    return OMNI_OK;
}

/* false when the storage's size does not fit. */
static bool storage_bytes(const om_pickle_storage *s, uint64_t *out)
{
    return !__builtin_mul_overflow((uint64_t)s->count, (uint64_t)om_source_type_size(s->type), out);
}

/* ---- zip containers --------------------------------------------------------------------- */

/* The one entry ROOT/data.pkl. */
static const om_zip_entry *find_pickle(const om_zip *zip, size_t *n_root)
{
    const om_zip_entry *found = NULL;

    for (size_t i = 0; i < om_zip_count(zip); i++) {
        const om_zip_entry *e = om_zip_entry_at(zip, i);
        const char *slash = strchr(e->name, '/');

        if (!slash || strcmp(slash, "/data.pkl") != 0 || slash - e->name > LONGEST_ROOT)
            continue;
        if (found)
            return NULL;
        *n_root = (size_t)(slash - e->name);
        found = e;
    }
    return found;
}

static const om_zip_entry *find_below(const om_zip *zip, const char *root, size_t n_root, const char *folder,
                                      const char *name, size_t n_name)
{
    char path[LONGEST_ROOT + 128];

    if (n_name > 96 || memchr(name, '\0', n_name))
        return NULL;
    snprintf(path, sizeof path, "%.*s/%s%.*s", (int)n_root, root, folder, (int)n_name, name);
    return om_zip_find(zip, path);
}

static int check_order(const checkpoint *c, const om_zip_entry *e)
{
    char order[8] = "";
    int rc;

    if (!e)
        return OMNI_OK;     /* before 2.1 nobody wrote it */
    rc = e->size < sizeof order ? om_file_read(c->fd, c->path, e->offset, order, (size_t)e->size) : OMNI_OK;
    if (rc || strcmp(order, "little") == 0)
        return rc;
    return om_fail(OMNI_ERR_FORMAT, "%s: %s: found byte order \"%s\", wanted \"little\"; save the checkpoint again on"
                   " a little-endian machine", c->path, e->name, om_printable_of(order, strlen(order)).text);
}

static int read_bytes(checkpoint *c, uint64_t offset, uint64_t n, const char *name)
{
    const size_t n_where = strlen(c->path) + strlen(name) + 3;

    if (n > OM_PICKLE_LARGEST)
        return om_fail(OMNI_ERR_FORMAT, "%s: %s: %" PRIu64 " bytes of pickle, at most %zu are read; it is"
                       " damaged", c->path, name, n, OM_PICKLE_LARGEST);
    c->where = om_calloc(n_where, 1);
    c->bytes = om_calloc((size_t)n, 1);
    if (!c->where || !c->bytes)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", c->path);
    snprintf(c->where, n_where, "%s: %s", c->path, name);
    return om_file_read(c->fd, c->path, offset, c->bytes, (size_t)n);
}

static int find_in_zip(checkpoint *c, const om_zip *zip, const char *root, size_t n_root)
{
    int rc = OMNI_OK;

    for (size_t i = 0; !rc && i < c->n_places; i++) {
        const om_pickle_storage *s = c->places[i].storage;
        const om_zip_entry *e = find_below(zip, root, n_root, "data/", s->key, s->n_key);
        uint64_t bytes;

        if (!e || !storage_bytes(s, &bytes) || bytes > e->size)
            return om_fail(OMNI_ERR_FORMAT, "%s: storage %s of %" PRId64 " elements: found %s; the file is damaged or"
                           " cut short", c->path, om_printable_of(s->key, s->n_key).text, s->count,
                           e ? "fewer bytes" : "no entry of that name");
        c->places[i].offset = e->offset;
        rc = c->size <= CRC_MOST ? om_zip_check(c->fd, c->path, e) : OMNI_OK;
    }
    return rc;
}

/* locate: whether the storages are of interest, too. */
static int open_zip(checkpoint *c, bool locate)
{
    const om_zip_entry *pickle;
    om_zip *zip = NULL;
    size_t n_root = 0;
    int rc = om_zip_open(c->fd, c->size, c->path, &zip);

    if (rc)
        return rc;
    pickle = find_pickle(zip, &n_root);
    if (!pickle)
        rc = om_fail(OMNI_ERR_FORMAT, "%s: a ZIP container with no data.pkl, or several: no PyTorch checkpoint",
                     c->path);
    if (!rc)
        rc = check_order(c, find_below(zip, pickle->name, n_root, "", "byteorder", 9));
    if (!rc)
        rc = read_bytes(c, pickle->offset, pickle->size, pickle->name);
    if (!rc)
        rc = om_pickle_read(c->bytes, (size_t)pickle->size, c->where, &c->pickle);
    if (!rc && om_pickle_size(c->pickle) != pickle->size)
        rc = om_fail(OMNI_ERR_FORMAT, "%s: the pickle ends at byte %zu of %" PRIu64 "; the file is damaged", c->where,
                     om_pickle_size(c->pickle), pickle->size);
    if (!rc && locate)
        rc = list_storages(c);
    if (!rc && locate)
        rc = find_in_zip(c, zip, pickle->name, n_root);
    om_zip_free(zip);
    return rc;
}

/* ---- legacy containers --------------------------------------------------------------------- */

static bool is_number(const om_pickle_value *v, int64_t wanted)
{
    return v && v->kind == OM_PICKLE_INT && v->integer == wanted;
}

/* The three pickles before the value: magic, protocol, machine. which: 0, 1, 2. */
static int check_preamble(const checkpoint *c, const om_pickle_value *v, int which)
{
    const om_pickle_value *little;

    if (which == 0 && (v->kind != OM_PICKLE_LONG || v->text.n != sizeof legacy_magic ||
                       memcmp(v->text.bytes, legacy_magic, sizeof legacy_magic) != 0))
        return om_fail(OMNI_ERR_FORMAT, "%s: a pickle, but not a PyTorch checkpoint (its magic number is missing)",
                       c->path);
    if (which == 1 && !is_number(v, LEGACY_PROTOCOL))
        return om_fail(OMNI_ERR_FORMAT, "%s: legacy container: wanted protocol %d; save it again with a newer"
                       " torch.save", c->path, LEGACY_PROTOCOL);
    little = which == 2 ? om_pickle_find(v, "little_endian", 13) : NULL;
    if (which == 2 && (!little || little->kind != OM_PICKLE_BOOL || !little->integer))
        return om_fail(OMNI_ERR_FORMAT, "%s: legacy container of a big-endian machine; save the checkpoint again on a"
                       " little-endian machine", c->path);
    return OMNI_OK;
}

/* Behind the pickles: per key of the list its count and elements, up to the end of the file. */
static int find_in_legacy(checkpoint *c, const om_pickle_value *keys, uint64_t at)
{
    if (keys->kind != OM_PICKLE_LIST || keys->list.n != c->n_places)
        return om_fail(OMNI_ERR_FORMAT, "%s: legacy container: the storages listed are not those used; the file is"
                       " damaged", c->path);
    for (size_t i = 0; i < keys->list.n; i++) {
        const om_pickle_value *key = keys->list.items[i];
        storage_place *place = key->kind == OM_PICKLE_TEXT ? find_place(c, key->text.bytes, key->text.n) : NULL;
        unsigned char count[8];
        uint64_t found = 0, bytes;
        int rc;

        if (!place || place->offset)
            return om_fail(OMNI_ERR_FORMAT, "%s: legacy container: storage number %zu is listed twice or not used; the"
                           " file is damaged", c->path, i);
        if (c->size - at < sizeof count)
            return om_fail(OMNI_ERR_FORMAT, "%s: the file is cut short", c->path);
        rc = om_file_read(c->fd, c->path, at, count, sizeof count);
        if (rc)
            return rc;
        for (int k = 7; k >= 0; k--)
            found = found << 8 | count[k];
        at += sizeof count;
        if (found != (uint64_t)place->storage->count || !storage_bytes(place->storage, &bytes) || bytes > c->size - at)
            return om_fail(OMNI_ERR_FORMAT, "%s: storage %s of %" PRId64 " elements: found %" PRIu64 " in %" PRIu64
                           " bytes; the file is damaged or cut short", c->path,
                           om_printable_of(key->text.bytes, key->text.n).text, place->storage->count, found,
                           c->size - at);
        place->offset = at;
        at += bytes;
    }
    if (at != c->size)
        return om_fail(OMNI_ERR_FORMAT, "%s: legacy container: it ends at byte %" PRIu64 " of %" PRIu64
                       "; the file is damaged", c->path, at, c->size);
    return OMNI_OK;
}

static int open_legacy(checkpoint *c, bool locate)
{
    const uint64_t n = c->size < OM_PICKLE_LARGEST ? c->size : OM_PICKLE_LARGEST;
    om_pickle *p = NULL;
    size_t at = 0;
    int rc = read_bytes(c, 0, n, "legacy container");

    for (int which = 0; !rc && which < 4; which++) {
        rc = om_pickle_read(c->bytes + at, (size_t)n - at, c->where, which < 3 ? &p : &c->pickle);
        if (rc)
            break;
        at += om_pickle_size(which < 3 ? p : c->pickle);
        if (which < 3) {
            rc = check_preamble(c, om_pickle_root(p), which);
            om_pickle_free(p);
        }
    }
    if (rc || !locate)
        return rc;
    rc = list_storages(c);
    if (!rc)
        rc = om_pickle_read(c->bytes + at, (size_t)n - at, c->where, &p);
    if (rc)
        return rc;
    rc = find_in_legacy(c, om_pickle_root(p), at + om_pickle_size(p));
    om_pickle_free(p);
    return rc;
}

/* ---- either ------------------------------------------------------------------------------------ */

static int not_ours(const checkpoint *c, const char *head)
{
    const char *what = "not a PyTorch checkpoint (it begins neither as a ZIP container nor as a pickle)";

    if (c->size == 0)
        what = "an empty file";
    else if (memcmp(head + 257, "ustar", 5) == 0)
        what = "a tar container of torch before 0.1.10, which is not read; load and save it with a newer torch";
    else if (strncmp(head, "version https://git-lfs", 23) == 0)
        what = "a Git LFS pointer, not the file itself; fetch it with git lfs pull";
    return om_fail(OMNI_ERR_FORMAT, "%s: %s", c->path, what);
}

static void close_checkpoint(checkpoint *c)
{
    if (c->fd >= 0)
        close(c->fd);
    om_pickle_free(c->pickle);
    om_free(c->bytes);
    om_free(c->where);
    om_free(c->places);
}

static int open_checkpoint(checkpoint *c, const char *path, bool locate)
{
    char head[512] = "";
    int rc;

    *c = (checkpoint){.path = path, .fd = -1};
    rc = om_file_open(path, &c->fd, &c->size);
    if (!rc)
        rc = om_file_read(c->fd, path, 0, head, c->size < sizeof head ? (size_t)c->size : sizeof head);
    if (rc)
        return rc;
    if (memcmp(head, "PK\3\4", 4) == 0)
        return open_zip(c, locate);
    if ((unsigned char)head[0] == 0x80)
        return open_legacy(c, locate);
    return not_ours(c, head);
}

/* ---- arrays -------------------------------------------------------------------------------------- */

typedef struct {
    const checkpoint *c;
    om_source *source;
    int file, n_added;
    long visits;
    size_t n_name;
    char name[LONGEST_NAME];        /* of the value being visited */
} collector;

static int bad_name(const collector *k, const char *what)
{
    return om_fail(OMNI_ERR_FORMAT, "%s: below \"%s\": found %s", k->c->path,
                   om_printable_of(k->name, k->n_name).text, what);
}

/* The window that the tensor is lies within its storage, and that within the file. */
static int add_tensor(collector *k, const om_pickle_tensor *t)
{
    const om_pickle_storage *s = t->storage;
    const storage_place *place = find_place(k->c, s->key, s->n_key);
    om_source_tensor out = {.name = k->name, .type = s->type, .n_dims = t->n_dims, .file = k->file};
    int64_t last = t->first, step;
    bool empty = false, inside = place != NULL;
    int rc;

    for (int i = 0; i < t->n_dims; i++) {
        out.shape[i] = t->shape[i];
        out.stride[i] = t->stride[i];
        empty = empty || t->shape[i] == 0;
    }
    for (int i = 0; i < t->n_dims && !empty && inside; i++)
        inside = !__builtin_mul_overflow(t->shape[i] - 1, t->stride[i], &step) &&
                 !__builtin_add_overflow(last, step, &last);
    inside = inside && (empty ? t->first <= s->view_count : last < s->view_count);
    if (!inside)
        return om_fail(OMNI_ERR_FORMAT, "%s: tensor %s reaches behind its storage of %" PRId64 " elements; the file is"
                       " damaged", k->c->path, om_printable_of(k->name, k->n_name).text, s->view_count);
    if (k->n_name == 0)
        return bad_name(k, "an array by itself, wanted a dict of arrays");
    out.offset = place->offset + (uint64_t)(s->view_first + t->first) * om_source_type_size(s->type);
    rc = om_source_add(k->source, &out);
    k->n_added += !rc;
    return rc;
}

/* Adds a part to the name; text of n bytes, or the number. */
static int descend(collector *k, const char *text, size_t n, int64_t number)
{
    char digits[24];

    if (!text) {
        n = (size_t)snprintf(digits, sizeof digits, "%" PRId64, number);
        text = digits;
    }
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F)
            return bad_name(k, "a key with control characters");
    if (n > sizeof k->name - 2 - k->n_name)
        return bad_name(k, "a key that makes too long a name");
    if (k->n_name)
        k->name[k->n_name++] = '.';
    memcpy(k->name + k->n_name, text, n);
    k->n_name += n;
    k->name[k->n_name] = '\0';
    return OMNI_OK;
}

static int collect(collector *k, const om_pickle_value *v, int depth)
{
    const size_t n_name = k->n_name;
    const bool is_dict = v->kind == OM_PICKLE_DICT;
    int rc = OMNI_OK;

    if (++k->visits > MOST_VISITS || k->n_added > MOST_ARRAYS)
        return bad_name(k, "more values than a checkpoint can have");
    if (v->kind == OM_PICKLE_TENSOR)
        return add_tensor(k, &v->tensor);
    if (!is_dict && v->kind != OM_PICKLE_LIST && v->kind != OM_PICKLE_TUPLE)
        return OMNI_OK;
    if (depth == DEEPEST)
        return bad_name(k, "values that are nested too deeply, or within themselves");
    for (size_t i = 0, n = is_dict ? v->dict.n : v->list.n; !rc && i < n; i++) {
        const om_pickle_value *key = is_dict ? v->dict.pairs[i].key : NULL;

        if (!key)
            rc = descend(k, NULL, 0, (int64_t)i);
        else if (key->kind == OM_PICKLE_TEXT)
            rc = descend(k, key->text.bytes, key->text.n, 0);
        else if (key->kind == OM_PICKLE_INT)
            rc = descend(k, NULL, 0, key->integer);
        else
            rc = bad_name(k, "a key that is neither text nor number");
        if (!rc)
            rc = collect(k, is_dict ? v->dict.pairs[i].value : v->list.items[i], depth + 1);
        k->n_name = n_name;
        k->name[n_name] = '\0';
    }
    return rc;
}

int om_torch_open(om_source *s, const char *path)
{
    checkpoint c;
    collector k = {.c = &c, .source = s};
    int rc = open_checkpoint(&c, path, true);

    if (!rc) {
        rc = om_source_add_file(s, path, c.fd, c.size, &k.file);
        c.fd = -1;
    }
    if (!rc)
        rc = collect(&k, om_pickle_root(c.pickle), 0);
    if (!rc && k.n_added == 0)
        rc = om_fail(OMNI_ERR_FORMAT, "%s: a checkpoint without a single array", path);
    close_checkpoint(&c);
    return rc;
}

/* ---- numbers -------------------------------------------------------------------------------------- */

/* Keys may contain dots themselves: the longest that fits is tried first. */
static const om_pickle_value *walk(const om_pickle_value *dict, const char *key)
{
    const om_pickle_value *v = om_pickle_find(dict, key, strlen(key));

    for (size_t n = strlen(key); !v && n-- > 0;) {
        const om_pickle_value *part = key[n] == '.' ? om_pickle_find(dict, key, n) : NULL;

        if (part)
            v = walk(part, key + n + 1);
    }
    return v;
}

int om_torch_number(const char *path, const char *key, double *out)
{
    const om_pickle_value *v = NULL;
    checkpoint c;
    int rc = open_checkpoint(&c, path, false);

    if (!rc)
        v = walk(om_pickle_root(c.pickle), key);
    if (!rc && v && v->kind == OM_PICKLE_FLOAT)
        *out = v->real;
    else if (!rc && v && (v->kind == OM_PICKLE_INT || v->kind == OM_PICKLE_BOOL))
        *out = (double)v->integer;
    else if (!rc)
        rc = om_fail(OMNI_ERR_FORMAT, "%s: %s: found %s, wanted a number", path, key,
                     v ? "something else" : "nothing of that name");
    close_checkpoint(&c);
    return rc;
}
