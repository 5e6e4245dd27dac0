/* pickle-call: what the few known names mean. Nothing is called: each meaning makes a value from the arguments. */
#include "pickle-machine.h"

#include "base/memory.h"
#include "base/status.h"
#include "printable.h"

#include <string.h>

enum { LONGEST_SCALAR = 64 };

enum { CALL_DICT, CALL_TENSOR, CALL_PARAMETER, CALL_SIZE, CALL_DTYPE, CALL_SCALAR, CALL_ENCODE, STORAGE };

static const struct { const char *module, *name; int meaning; om_source_type type; } globals[] = {
#define X(module, name, meaning, type) {module, name, meaning, (om_source_type)(type)},
#include "pickle-globals.def"
#undef X
};

static bool same(const char *bytes, size_t n, const char *text)
{
    return n == strlen(text) && memcmp(bytes, text, n) == 0;
}

int om_pickle_global(om_pickle *p, const char *module, size_t n_module, const char *name, size_t n_name,
                     om_pickle_value **out)
{
    int rc;

    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++) {
        if (!same(module, n_module, globals[i].module) || !same(name, n_name, globals[i].name))
            continue;
        rc = om_pickle_make(p, OM_PICKLE_GLOBAL, out);
        if (!rc)
            (*out)->integer = (int64_t)i;
        return rc;
    }
    return om_fail(OMNI_ERR_FORMAT, "%s: byte %zu: the pickle names %s.%s, which arrays do not need; nothing was run,"
                   " the file is refused; if you trust it, save the state_dict() alone", p->where, p->op,
                   om_printable_of(module, n_module).text, om_printable_of(name, n_name).text);
}

/* ---- arguments ---------------------------------------------------------------------- */

static const om_pickle_value *arg(const om_pickle_value *args, size_t i, om_pickle_kind kind)
{
    return i < args->list.n && args->list.items[i]->kind == kind ? args->list.items[i] : NULL;
}

static int whole_number(const om_pickle_value *v, int64_t *out)
{
    if (v->kind != OM_PICKLE_INT || v->integer < 0)
        return 0;
    *out = v->integer;
    return 1;
}

/* ---- arrays -------------------------------------------------------------------------- */

/* ('storage', type, key, location, count[, None | (view's key, first, count)]) */
int om_pickle_persistent(om_pickle *p, const om_pickle_value *id, om_pickle_value **out)
{
    const om_pickle_value *type, *key, *view;
    om_pickle_storage *s;
    int rc;

    if (id->kind != OM_PICKLE_TUPLE || id->list.n < 5 || id->list.n > 6 ||
        !om_pickle_text_is(id->list.items[0], "storage"))
        return om_pickle_odd(p, "a persistent id that is no storage");
    type = arg(id, 1, OM_PICKLE_GLOBAL);
    key = arg(id, 2, OM_PICKLE_TEXT);
    if (!type || globals[type->integer].meaning != STORAGE || !key || key->text.n == 0)
        return om_pickle_odd(p, "a storage without type or key");
    rc = om_pickle_make(p, OM_PICKLE_STORAGE, out);
    if (rc)
        return rc;
    s = &(*out)->storage;
    s->type = globals[type->integer].type;
    s->next = p->storages;
    p->storages = s;
    s->key = key->text.bytes;
    s->n_key = key->text.n;
    if (!whole_number(id->list.items[4], &s->count))
        return om_pickle_odd(p, "a storage without a size");
    s->view_count = s->count;
    if (id->list.n == 5 || id->list.items[5]->kind == OM_PICKLE_NONE)
        return OMNI_OK;
    view = arg(id, 5, OM_PICKLE_TUPLE);
    if (!view || view->list.n != 3 || !whole_number(view->list.items[1], &s->view_first) ||
        !whole_number(view->list.items[2], &s->view_count) || s->view_first > s->count ||
        s->view_count > s->count - s->view_first)
        return om_pickle_odd(p, "a view that does not lie within its storage");
    return OMNI_OK;
}

/* (storage, first, shape, stride, ...); the rest is about training. */
static int make_tensor(om_pickle *p, const om_pickle_value *args, om_pickle_value **out)
{
    const om_pickle_value *storage = arg(args, 0, OM_PICKLE_STORAGE), *shape = arg(args, 2, OM_PICKLE_TUPLE),
                          *stride = arg(args, 3, OM_PICKLE_TUPLE);
    om_pickle_tensor *t;
    int rc;

    if (!storage || !shape || !stride || args->list.n > 7)
        return om_pickle_odd(p, "a tensor without storage, shape or stride");
    if (shape->list.n != stride->list.n || shape->list.n > OM_SOURCE_MAX_DIMS)
        return om_pickle_odd(p, "a tensor of too many dimensions, or of different numbers of sizes and strides");
    rc = om_pickle_make(p, OM_PICKLE_TENSOR, out);
    if (rc)
        return rc;
    t = &(*out)->tensor;
    t->storage = &storage->storage;
    t->n_dims = (int)shape->list.n;
    if (!whole_number(args->list.items[1], &t->first))
        return om_pickle_odd(p, "a tensor whose offset is no whole number");
    for (int i = 0; i < t->n_dims; i++)
        if (!whole_number(shape->list.items[i], &t->shape[i]) || !whole_number(stride->list.items[i], &t->stride[i]))
            return om_pickle_odd(p, "a tensor with a negative size or stride");
    return OMNI_OK;
}

/* ---- numpy's numbers -------------------------------------------------------------------- */

/* strchr finds the NUL at the end of its text too. */
static bool one_of(const char *set, char c)
{
    return c && strchr(set, c);
}

/* Kind and bytes of each in one number: 'f' << 8 | 8. */
static int make_dtype(om_pickle *p, const om_pickle_value *args, om_pickle_value **out)
{
    const om_pickle_value *name = arg(args, 0, OM_PICKLE_TEXT);
    int rc;

    if (!name || name->text.n != 2 || !one_of("fiub", name->text.bytes[0]) || !one_of("1248", name->text.bytes[1]))
        return om_pickle_odd(p, "a numpy type that is no number");
    rc = om_pickle_make(p, OM_PICKLE_DTYPE, out);
    if (!rc)
        (*out)->integer = name->text.bytes[0] << 8 | (name->text.bytes[1] - '0');
    return rc;
}

static int make_scalar(om_pickle *p, const om_pickle_value *args, om_pickle_value **out)
{
    const om_pickle_value *dtype = arg(args, 0, OM_PICKLE_DTYPE), *bytes = arg(args, 1, OM_PICKLE_BYTES);
    uint64_t raw = 0;
    uint32_t raw32;
    float single;
    unsigned size;
    char kind;
    int rc;

    if (!bytes)
        bytes = arg(args, 1, OM_PICKLE_TEXT);   /* Python 2 */
    if (!dtype || !bytes || bytes->text.n != (size_t)(dtype->integer & 0xFF))
        return om_pickle_odd(p, "a numpy number without type or value");
    kind = (char)(dtype->integer >> 8);
    size = (unsigned)bytes->text.n;
    for (unsigned i = size; i-- > 0;)
        raw = raw << 8 | (unsigned char)bytes->text.bytes[i];
    if (kind == 'f' && size < 4)
        return om_pickle_odd(p, "a numpy number of a type that is not known here");
    rc = om_pickle_make(p, kind == 'f' ? OM_PICKLE_FLOAT : kind == 'b' ? OM_PICKLE_BOOL : OM_PICKLE_INT, out);
    if (rc)
        return rc;
    if (kind == 'f' && size == 8) {
        memcpy(&(*out)->real, &raw, sizeof raw);
    } else if (kind == 'f') {
        raw32 = (uint32_t)raw;
        memcpy(&single, &raw32, sizeof single);
        (*out)->real = (double)single;
    } else if (kind == 'i' && size < 8 && raw >> (8 * size - 1)) {
        (*out)->integer = (int64_t)(raw | ~(uint64_t)0 << 8 * size);
    } else {
        (*out)->integer = (int64_t)raw;
    }
    return OMNI_OK;
}

/* Text of code points below 256, as UTF-8, to bytes: how protocol 2 writes bytes. */
static int make_bytes(om_pickle *p, const om_pickle_value *args, om_pickle_value **out)
{
    const om_pickle_value *text = arg(args, 0, OM_PICKLE_TEXT);
    void *bytes = NULL;
    size_t n = 0;
    int rc;

    if (!text || args->list.n != 2 || !om_pickle_text_is(args->list.items[1], "latin1") ||
        text->text.n > LONGEST_SCALAR)
        return om_pickle_odd(p, "encoded text that is no numpy number");
    rc = om_pickle_make(p, OM_PICKLE_BYTES, out);
    if (!rc)
        rc = om_pickle_alloc(p, LONGEST_SCALAR, &bytes);
    if (rc)
        return rc;
    for (size_t i = 0; i < text->text.n; i++) {
        const unsigned char c = (unsigned char)text->text.bytes[i];

        if (c < 0x80) {
            ((unsigned char *)bytes)[n++] = c;
        } else if ((c == 0xC2 || c == 0xC3) && i + 1 < text->text.n) {
            ((unsigned char *)bytes)[n++] = (unsigned char)(c << 6 | (text->text.bytes[++i] & 0x3F));
        } else {
            return om_pickle_odd(p, "encoded text that is not latin1");
        }
    }
    (*out)->text.bytes = bytes;
    (*out)->text.n = n;
    return OMNI_OK;
}

/* ---- the rest ------------------------------------------------------------------------------ */

/* (), or ([(key, value), ...],) as Python 2 wrote it. */
static int make_dict(om_pickle *p, const om_pickle_value *args, om_pickle_value **out)
{
    const om_pickle_value *pairs = arg(args, 0, OM_PICKLE_LIST);
    int rc = om_pickle_make(p, OM_PICKLE_DICT, out);

    if (!rc && args->list.n > (pairs ? 1u : 0u))
        rc = om_pickle_odd(p, "a dict made from something unknown");
    for (size_t i = 0; !rc && pairs && i < pairs->list.n; i++) {
        const om_pickle_value *pair = pairs->list.items[i];

        if ((pair->kind != OM_PICKLE_TUPLE && pair->kind != OM_PICKLE_LIST) || pair->list.n != 2)
            return om_pickle_odd(p, "a dict made from something unknown");
        rc = om_pickle_set(p, *out, pair->list.items[0], pair->list.items[1]);
    }
    return rc;
}

/* A tensor, or a tuple, that stands for itself: the first argument. */
static int pass_on(om_pickle *p, const om_pickle_value *args, om_pickle_kind kind, om_pickle_value **out)
{
    const om_pickle_value *v = arg(args, 0, kind);

    if (!v)
        return om_pickle_odd(p, "a parameter without its tensor, or a size without its numbers");
    *out = (om_pickle_value *)v;
    return OMNI_OK;
}

int om_pickle_call(om_pickle *p, const om_pickle_value *function, const om_pickle_value *args,
                   om_pickle_value **out)
{
    if (function->kind != OM_PICKLE_GLOBAL || args->kind != OM_PICKLE_TUPLE)
        return om_pickle_odd(p, "a call of something that is no function");
    switch (globals[function->integer].meaning) {
    case CALL_DICT:      return make_dict(p, args, out);
    case CALL_TENSOR:    return make_tensor(p, args, out);
    case CALL_PARAMETER: return pass_on(p, args, OM_PICKLE_TENSOR, out);
    case CALL_SIZE:      return pass_on(p, args, OM_PICKLE_TUPLE, out);
    case CALL_DTYPE:     return make_dtype(p, args, out);
    case CALL_SCALAR:    return make_scalar(p, args, out);
    case CALL_ENCODE:    return make_bytes(p, args, out);
    default:             return om_pickle_odd(p, "a call of a storage's type");
    }
}

/* The state of an object: a namespace's fields; a state_dict's _metadata, of no use; a numpy type's byte order. */
int om_pickle_build(om_pickle *p, om_pickle_value *object, const om_pickle_value *state)
{
    const om_pickle_value *order;
    int rc = OMNI_OK;

    if (object->kind == OM_PICKLE_DICT && state->kind == OM_PICKLE_DICT) {
        for (size_t i = 0, n = state->dict.n; !rc && i < n; i++)
            if (!om_pickle_text_is(state->dict.pairs[i].key, "_metadata"))
                rc = om_pickle_set(p, object, state->dict.pairs[i].key, state->dict.pairs[i].value);
        return rc;
    }
    if (object->kind != OM_PICKLE_DTYPE || state->kind != OM_PICKLE_TUPLE)
        return om_pickle_odd(p, "a state for something that has none");
    order = arg(state, 1, OM_PICKLE_TEXT);
    if (!order || order->text.n != 1 || !one_of("<|=", order->text.bytes[0]))
        return om_pickle_odd(p, "a numpy type whose lowest byte does not come first");
    return OMNI_OK;
}
