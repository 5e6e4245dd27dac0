/*
 * pickle: the stack machine, with the instructions of protocols 2 to 5 that build plain values.
 *
 * Values never move and are never freed before all are, so that sharing and even cycles need no counting. Text is
 * not copied: it points into the caller's bytes.
 */
#include "pickle-machine.h"

#include "base/memory.h"
#include "base/status.h"

#include <stdlib.h>
#include <string.h>

enum {
    BLOCK       = 1 << 16,
    MOST_STACK  = 1 << 20,
    MOST_MARKS  = 1 << 10,
    MOST_MEMO   = 1 << 22,
    LONGEST_NAME = 256
};

static const size_t MOST_MEMORY = (size_t)256 << 20;

struct om_pickle_block {
    om_pickle_block *next;
    size_t used, size;
    _Alignas(16) unsigned char bytes[];
};

int om_pickle_odd(const om_pickle *p, const char *what)
{
    return om_fail(OMNI_ERR_FORMAT, "%s: byte %zu: found %s; the file is damaged or not a checkpoint of arrays",
                   p->where, p->op, what);
}

/* ---- memory -------------------------------------------------------------------------- */

int om_pickle_alloc(om_pickle *p, size_t size, void **out)
{
    om_pickle_block *b = p->blocks;

    size = (size + 15) & ~(size_t)15;
    if (size > MOST_MEMORY - p->used)
        return om_fail(OMNI_ERR_FORMAT, "%s: byte %zu: the pickle builds more than %zu MB of values; it is refused",
                       p->where, p->op, MOST_MEMORY >> 20);
    if (!b || size > b->size - b->used) {
        const size_t room = size > BLOCK ? size : BLOCK;

        b = om_calloc(1, sizeof *b + room);
        if (!b)
            return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", p->where);
        b->size = room;
        b->next = p->blocks;
        p->blocks = b;
    }
    *out = b->bytes + b->used;
    b->used += size;
    p->used += size;
    return OMNI_OK;
}

int om_pickle_make(om_pickle *p, om_pickle_kind kind, om_pickle_value **out)
{
    void *v = NULL;
    int rc = om_pickle_alloc(p, sizeof **out, &v);

    if (rc)
        return rc;
    *out = v;
    (*out)->kind = kind;
    return OMNI_OK;
}

/* Room for n more of a list of values' parts; the old place is given up. */
static int reserve(om_pickle *p, void *list, size_t n, size_t *room, size_t size, size_t more)
{
    size_t wanted = *room ? *room : 4;
    void *grown = NULL, *old;
    int rc;

    if (more <= *room - n)
        return OMNI_OK;
    while (wanted - n < more)
        wanted *= 2;
    rc = om_pickle_alloc(p, wanted * size, &grown);
    if (rc)
        return rc;
    memcpy(&old, list, sizeof old);
    if (n)
        memcpy(grown, old, n * size);
    memcpy(list, &grown, sizeof grown);
    *room = wanted;
    return OMNI_OK;
}

int om_pickle_append(om_pickle *p, om_pickle_value *list, const om_pickle_value *item)
{
    int rc = reserve(p, &list->list.items, list->list.n, &list->list.room, sizeof *list->list.items, 1);

    if (!rc)
        list->list.items[list->list.n++] = item;
    return rc;
}

int om_pickle_set(om_pickle *p, om_pickle_value *dict, const om_pickle_value *key, const om_pickle_value *value)
{
    int rc = reserve(p, &dict->dict.pairs, dict->dict.n, &dict->dict.room, sizeof *dict->dict.pairs, 1);

    if (!rc)
        dict->dict.pairs[dict->dict.n++] = (om_pickle_pair){key, value};
    return rc;
}

/* A list of the machine's own, at most `most` long. */
static int grow(om_pickle *p, void *list, size_t *room, size_t wanted, size_t most, size_t size, const char *what)
{
    size_t now = *room ? *room : 64;
    void *old, *grown;

    if (wanted <= *room)
        return OMNI_OK;
    if (wanted > most)
        return om_pickle_odd(p, what);
    while (now < wanted)
        now *= 2;
    memcpy(&old, list, sizeof old);
    grown = om_realloc(old, now, size);
    if (!grown)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", p->where);
    memset((unsigned char *)grown + *room * size, 0, (now - *room) * size);
    memcpy(list, &grown, sizeof grown);
    *room = now;
    return OMNI_OK;
}

/* ---- the stack ------------------------------------------------------------------------- */

static int push(om_pickle *p, om_pickle_value *v)
{
    int rc = grow(p, &p->stack, &p->stack_room, p->n_stack + 1, MOST_STACK, sizeof *p->stack, "too deep a stack");

    if (!rc)
        p->stack[p->n_stack++] = v;
    return rc;
}

/* Values above the last mark. */
static size_t height(const om_pickle *p)
{
    return p->n_stack - (p->n_marks ? p->marks[p->n_marks - 1] : 0);
}

static om_pickle_value **top(const om_pickle *p, size_t n)
{
    return p->stack + p->n_stack - n;
}

static int need(const om_pickle *p, size_t n)
{
    return height(p) >= n ? OMNI_OK : om_pickle_odd(p, "an instruction that wants more values than there are");
}

/* Takes the last mark away; the *n values above it stay where they are, on top. */
static int unmark(om_pickle *p, size_t *n)
{
    if (p->n_marks == 0)
        return om_pickle_odd(p, "the end of a group that never began");
    *n = height(p);
    p->n_marks--;
    return OMNI_OK;
}

/* ---- bytes -------------------------------------------------------------------------------- */

static int take(om_pickle *p, size_t n, const unsigned char **out)
{
    if (n > p->n - p->at)
        return om_pickle_odd(p, "the end of the pickle within an instruction");
    *out = p->bytes + p->at;
    p->at += n;
    return OMNI_OK;
}

/* An unsigned number of n bytes, lowest first. */
static int take_number(om_pickle *p, size_t n, uint64_t *out)
{
    const unsigned char *b = NULL;
    int rc = take(p, n, &b);

    *out = 0;
    while (!rc && n-- > 0)
        *out = *out << 8 | b[n];
    return rc;
}

/* ---- instructions: plain values ----------------------------------------------------------- */

static int push_new(om_pickle *p, om_pickle_kind kind, int64_t integer)
{
    om_pickle_value *v = NULL;
    int rc = om_pickle_make(p, kind, &v);

    if (rc)
        return rc;
    if (kind == OM_PICKLE_BOOL || kind == OM_PICKLE_INT)
        v->integer = integer;
    return push(p, v);
}

/* Bytes behind their length, which has n_length bytes. */
static int push_text(om_pickle *p, om_pickle_kind kind, size_t n_length)
{
    const unsigned char *bytes = NULL;
    om_pickle_value *v = NULL;
    uint64_t n = 0;
    int rc = take_number(p, n_length, &n);

    if (!rc && n > p->n)
        rc = om_pickle_odd(p, "text longer than the pickle");
    if (!rc)
        rc = take(p, (size_t)n, &bytes);
    if (!rc)
        rc = om_pickle_make(p, kind, &v);
    if (rc)
        return rc;
    v->text.bytes = (const char *)bytes;
    v->text.n = (size_t)n;
    return push(p, v);
}

/* A whole number in two's complement behind its length. */
static int push_long(om_pickle *p, size_t n_length)
{
    int rc = push_text(p, OM_PICKLE_LONG, n_length);
    om_pickle_value *v = NULL;
    uint64_t number = 0;

    if (rc)
        return rc;
    v = *top(p, 1);
    if (v->text.n > 8)
        return OMNI_OK;
    if (v->text.n && v->text.bytes[v->text.n - 1] & 0x80)
        number = ~(uint64_t)0;
    for (size_t i = v->text.n; i-- > 0;)
        number = number << 8 | (unsigned char)v->text.bytes[i];
    v->kind = OM_PICKLE_INT;
    v->integer = (int64_t)number;
    return OMNI_OK;
}

static int push_real(om_pickle *p)
{
    const unsigned char *b = NULL;
    uint64_t raw = 0;
    int rc = take(p, 8, &b);

    for (int i = 0; !rc && i < 8; i++)
        raw = raw << 8 | b[i];
    if (!rc)
        rc = push_new(p, OM_PICKLE_FLOAT, 0);
    if (!rc)
        memcpy(&(*top(p, 1))->real, &raw, sizeof raw);
    return rc;
}

static int push_integer(om_pickle *p, size_t n)
{
    uint64_t v = 0;
    int rc = take_number(p, n, &v);

    return rc ? rc : push_new(p, OM_PICKLE_INT, n == 4 ? (int32_t)(uint32_t)v : (int64_t)v);
}

/* AGAIN: an instruction of another family. */
static int plain(om_pickle *p, unsigned char op)
{
    switch (op) {
    case 'N':  return push_new(p, OM_PICKLE_NONE, 0);
    case 0x88: return push_new(p, OM_PICKLE_BOOL, 1);
    case 0x89: return push_new(p, OM_PICKLE_BOOL, 0);
    case 'K':  return push_integer(p, 1);
    case 'M':  return push_integer(p, 2);
    case 'J':  return push_integer(p, 4);
    case 0x8A: return push_long(p, 1);
    case 0x8B: return push_long(p, 4);
    case 'G':  return push_real(p);
    case 'U':  case 0x8C: return push_text(p, OM_PICKLE_TEXT, 1);
    case 'T':  case 'X':  return push_text(p, OM_PICKLE_TEXT, 4);
    case 0x8D: return push_text(p, OM_PICKLE_TEXT, 8);
    case 'C':  return push_text(p, OM_PICKLE_BYTES, 1);
    case 'B':  return push_text(p, OM_PICKLE_BYTES, 4);
    case 0x8E: return push_text(p, OM_PICKLE_BYTES, 8);
    default:   return OMNI_AGAIN;
    }
}

/* ---- instructions: containers ----------------------------------------------------------------- */

/* The n values on top become a tuple. */
static int make_tuple(om_pickle *p, size_t n)
{
    om_pickle_value *v = NULL;
    int rc = om_pickle_make(p, OM_PICKLE_TUPLE, &v);

    if (!rc)
        rc = reserve(p, &v->list.items, 0, &v->list.room, sizeof *v->list.items, n);
    if (rc)
        return rc;
    for (size_t i = 0; i < n; i++)
        v->list.items[v->list.n++] = top(p, n)[i];
    p->n_stack -= n;
    return push(p, v);
}

/* The n values on top go into the list or dict below them. */
static int add_items(om_pickle *p, om_pickle_kind kind, size_t n)
{
    om_pickle_value *into = NULL;
    int rc = need(p, n + 1);

    if (rc)
        return rc;
    into = *top(p, n + 1);
    if (into->kind != kind || (kind == OM_PICKLE_DICT && n % 2))
        return om_pickle_odd(p, "items for something that is no list or dict");
    if (kind == OM_PICKLE_LIST)
        rc = reserve(p, &into->list.items, into->list.n, &into->list.room, sizeof *into->list.items, n);
    for (size_t i = 0; !rc && i < n; i += kind == OM_PICKLE_LIST ? 1 : 2)
        rc = kind == OM_PICKLE_LIST ? om_pickle_append(p, into, top(p, n)[i])
                                    : om_pickle_set(p, into, top(p, n)[i], top(p, n)[i + 1]);
    p->n_stack -= n;
    return rc;
}

static int container(om_pickle *p, unsigned char op)
{
    size_t n = 0;
    int rc;

    switch (op) {
    case ')':  return make_tuple(p, 0);
    case 0x85: case 0x86: case 0x87:
        n = (size_t)op - 0x84;
        rc = need(p, n);
        return rc ? rc : make_tuple(p, n);
    case 't':
        rc = unmark(p, &n);
        return rc ? rc : make_tuple(p, n);
    case ']':  return push_new(p, OM_PICKLE_LIST, 0);
    case 'a':  return add_items(p, OM_PICKLE_LIST, 1);
    case 'e':
        rc = unmark(p, &n);
        return rc ? rc : add_items(p, OM_PICKLE_LIST, n);
    case '}':  return push_new(p, OM_PICKLE_DICT, 0);
    case 's':  return add_items(p, OM_PICKLE_DICT, 2);
    case 'u':
        rc = unmark(p, &n);
        return rc ? rc : add_items(p, OM_PICKLE_DICT, n);
    default:   return OMNI_AGAIN;
    }
}

/* ---- instructions: stack and memo --------------------------------------------------------------- */

static int mark(om_pickle *p)
{
    int rc = grow(p, &p->marks, &p->marks_room, p->n_marks + 1, MOST_MARKS, sizeof *p->marks, "too many open groups");

    if (!rc)
        p->marks[p->n_marks++] = p->n_stack;
    return rc;
}

static int put(om_pickle *p, uint64_t i)
{
    int rc = need(p, 1);

    /* Writers count from 0 on: a higher number than instructions so far is an attack on memory. */
    if (!rc && i > p->at)
        rc = om_pickle_odd(p, "a memo number larger than the pickle");
    if (!rc)
        rc = grow(p, &p->memo, &p->memo_room, (size_t)i + 1, MOST_MEMO, sizeof *p->memo, "too many memos");
    if (!rc)
        p->memo[i] = *top(p, 1);
    return rc;
}

static int get(om_pickle *p, uint64_t i)
{
    if (i >= p->memo_room || !p->memo[i])
        return om_pickle_odd(p, "a memo that was never made");
    return push(p, p->memo[i]);
}

/* MEMOIZE counts by itself. Writers use it or the numbered ones, not both. */
static int memoize(om_pickle *p)
{
    return put(p, p->n_memo++);
}

static int stack_and_memo(om_pickle *p, unsigned char op)
{
    uint64_t i = 0;
    size_t n = 0;
    int rc;

    switch (op) {
    case '(':  return mark(p);
    case '0':
        if (height(p) == 0)
            return unmark(p, &n);
        p->n_stack--;
        return OMNI_OK;
    case '1':
        rc = unmark(p, &n);
        p->n_stack -= rc ? 0 : n;
        return rc;
    case '2':
        rc = need(p, 1);
        return rc ? rc : push(p, *top(p, 1));
    case 'q': case 'r':
        rc = take_number(p, op == 'q' ? 1 : 4, &i);
        return rc ? rc : put(p, i);
    case 'h': case 'j':
        rc = take_number(p, op == 'h' ? 1 : 4, &i);
        return rc ? rc : get(p, i);
    case 0x94: return memoize(p);
    case 0x95:
        rc = take_number(p, 8, &i);
        return rc || i <= p->n - p->at ? rc : om_pickle_odd(p, "a frame longer than the pickle");
    default:   return OMNI_AGAIN;
    }
}

/* ---- instructions: names and calls ----------------------------------------------------------------- */

static int take_line(om_pickle *p, const char **line, size_t *n)
{
    const unsigned char *start = p->bytes + p->at, *end;
    const size_t left = p->n - p->at;

    end = memchr(start, '\n', left < LONGEST_NAME ? left : LONGEST_NAME);
    if (!end)
        return om_pickle_odd(p, "a name that does not end");
    *line = (const char *)start;
    *n = (size_t)(end - start);
    p->at += *n + 1;
    return OMNI_OK;
}

static int named(om_pickle *p, unsigned char op)
{
    const om_pickle_value *name, *module;
    const char *m = NULL, *g = NULL;
    size_t n_m = 0, n_g = 0;
    om_pickle_value *v = NULL;
    int rc;

    if (op == 'c') {
        rc = take_line(p, &m, &n_m);
        if (!rc)
            rc = take_line(p, &g, &n_g);
    } else {
        rc = need(p, 2);
        if (rc)
            return rc;
        module = *top(p, 2);
        name = *top(p, 1);
        if (module->kind != OM_PICKLE_TEXT || name->kind != OM_PICKLE_TEXT)
            return om_pickle_odd(p, "a name that is no text");
        m = module->text.bytes, n_m = module->text.n;
        g = name->text.bytes, n_g = name->text.n;
        p->n_stack -= 2;
    }
    if (!rc)
        rc = om_pickle_global(p, m, n_m, g, n_g, &v);
    return rc ? rc : push(p, v);
}

static int naming(om_pickle *p, unsigned char op)
{
    om_pickle_value *v = NULL;
    int rc;

    switch (op) {
    case 'c': case 0x93:
        return named(p, op);
    case 'R': case 0x81:
        rc = need(p, 2);
        if (!rc)
            rc = om_pickle_call(p, *top(p, 2), *top(p, 1), &v);
        if (rc)
            return rc;
        p->n_stack -= 2;
        return push(p, v);
    case 'Q':
        rc = need(p, 1);
        if (!rc)
            rc = om_pickle_persistent(p, *top(p, 1), &v);
        if (!rc)
            *top(p, 1) = v;
        return rc;
    case 'b':
        rc = need(p, 2);
        if (!rc)
            rc = om_pickle_build(p, *top(p, 2), *top(p, 1));
        p->n_stack -= rc ? 0 : 1;
        return rc;
    default:
        return OMNI_AGAIN;
    }
}

/* ---- the machine ------------------------------------------------------------------------------------- */

static const struct { unsigned char op; const char *name; } refused[] = {
    {'F', "FLOAT"},   {'I', "INT"},     {'L', "LONG"},    {'S', "STRING"},   {'V', "UNICODE"},  {'P', "PERSID"},
    {'g', "GET"},     {'p', "PUT"},     {'i', "INST"},    {'o', "OBJ"},      {'d', "DICT"},     {'l', "LIST"},
    {0x80, "PROTO"},  {0x82, "EXT1"},   {0x83, "EXT2"},   {0x84, "EXT4"},    {0x8F, "EMPTY_SET"},
    {0x90, "ADDITEMS"}, {0x91, "FROZENSET"}, {0x92, "NEWOBJ_EX"}, {0x96, "BYTEARRAY8"}, {0x97, "NEXT_BUFFER"},
    {0x98, "READONLY_BUFFER"},
};

static int refuse(const om_pickle *p, unsigned char op)
{
    const char *name = "which is unknown";

    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (refused[i].op == op)
            name = refused[i].name;
    return om_fail(OMNI_ERR_FORMAT, "%s: byte %zu: pickle instruction 0x%02X (%s) has no place in a checkpoint of"
                   " arrays; the file is refused", p->where, p->op, op, name);
}

static int run(om_pickle *p)
{
    const unsigned char *op = NULL;
    int rc = take(p, 2, &op);

    if (rc)
        return rc;
    if (op[0] != 0x80 || op[1] < 2 || op[1] > 5)
        return om_pickle_odd(p, "no pickle of protocol 2 to 5");
    for (;;) {
        p->op = p->at;
        rc = take(p, 1, &op);
        if (rc)
            return rc;
        if (*op == '.')
            break;
        rc = plain(p, *op);
        if (rc == OMNI_AGAIN)
            rc = container(p, *op);
        if (rc == OMNI_AGAIN)
            rc = stack_and_memo(p, *op);
        if (rc == OMNI_AGAIN)
            rc = naming(p, *op);
        if (rc == OMNI_AGAIN)
            rc = refuse(p, *op);
        if (rc)
            return rc;
    }
    if (p->n_stack != 1 || p->n_marks)
        return om_pickle_odd(p, "the end of the pickle with something unfinished");
    p->root = p->stack[0];
    return OMNI_OK;
}

int om_pickle_read(const void *bytes, size_t n, const char *where, om_pickle **out)
{
    om_pickle *p = om_calloc(1, sizeof *p);
    int rc;

    if (!p)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", where);
    p->bytes = bytes;
    p->n = n < OM_PICKLE_LARGEST ? n : OM_PICKLE_LARGEST;
    p->where = where;
    rc = run(p);
    om_free(p->stack);
    om_free(p->marks);
    om_free(p->memo);
    p->stack = p->memo = NULL;
    p->marks = NULL;
    if (rc) {
        om_pickle_free(p);
        return rc;
    }
    *out = p;
    return OMNI_OK;
}

void om_pickle_free(om_pickle *p)
{
    while (p && p->blocks) {
        om_pickle_block *next = p->blocks->next;

        om_free(p->blocks);
        p->blocks = next;
    }
    om_free(p);
}

/* ---- looking --------------------------------------------------------------------------------------------- */

const om_pickle_value *om_pickle_root(const om_pickle *p)
{
    return p->root;
}

size_t om_pickle_size(const om_pickle *p)
{
    return p->at;
}

const om_pickle_storage *om_pickle_storages(const om_pickle *p)
{
    return p->storages;
}

const om_pickle_value *om_pickle_find(const om_pickle_value *dict, const char *key, size_t n_key)
{
    for (size_t i = dict->kind == OM_PICKLE_DICT ? dict->dict.n : 0; i-- > 0;) {
        const om_pickle_value *k = dict->dict.pairs[i].key;

        if (k->kind == OM_PICKLE_TEXT && k->text.n == n_key && memcmp(k->text.bytes, key, n_key) == 0)
            return dict->dict.pairs[i].value;
    }
    return NULL;
}

bool om_pickle_text_is(const om_pickle_value *v, const char *text)
{
    return v->kind == OM_PICKLE_TEXT && v->text.n == strlen(text) && memcmp(v->text.bytes, text, v->text.n) == 0;
}
