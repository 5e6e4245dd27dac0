/*
 * pickle: the values in a pickle of a PyTorch checkpoint, without running anything.
 *
 * A pickle is a program for a stack machine that may name and call any Python function. This reader has the
 * instructions that build plain values, and a closed list of names (pickle-globals.def) whose meaning it knows;
 * everything else is refused by name and byte. Values may share parts and even contain themselves, as in Python:
 * whoever walks them bounds the walk. Reading costs at most OM_PICKLE_LARGEST bytes and 256 MB of values.
 */
#ifndef OM_PICKLE_H
#define OM_PICKLE_H

#include "source.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OM_PICKLE_LARGEST ((size_t)32 << 20)    /* bytes of one pickle */

typedef enum om_pickle_kind {
    OM_PICKLE_NONE, OM_PICKLE_BOOL, OM_PICKLE_INT, OM_PICKLE_FLOAT,
    OM_PICKLE_LONG,                             /* an integer beyond 64 bits: its bytes, lowest first */
    OM_PICKLE_TEXT, OM_PICKLE_BYTES,
    OM_PICKLE_TUPLE, OM_PICKLE_LIST,
    OM_PICKLE_DICT,                             /* also OrderedDict, argparse.Namespace */
    OM_PICKLE_STORAGE, OM_PICKLE_TENSOR,
    OM_PICKLE_GLOBAL, OM_PICKLE_DTYPE           /* parts of numpy's numbers and of calls; never of use outside */
} om_pickle_kind;

typedef struct om_pickle_value om_pickle_value;

typedef struct om_pickle_pair { const om_pickle_value *key, *value; } om_pickle_pair;

/* An array in the making: elements of one type under a key, by which the container knows where they are. */
typedef struct om_pickle_storage {
    const struct om_pickle_storage *next;       /* the one made before this one, or NULL */
    om_source_type type;
    const char    *key;                         /* [n_key], not terminated */
    size_t         n_key;
    int64_t        count;                       /* elements */
    int64_t        view_first, view_count;      /* the part that tensors see; old files have others than all */
} om_pickle_storage;

typedef struct om_pickle_tensor {
    const om_pickle_storage *storage;
    int64_t first;                              /* element of the storage's view; not checked against it */
    int     n_dims;
    int64_t shape[OM_SOURCE_MAX_DIMS], stride[OM_SOURCE_MAX_DIMS];      /* none negative */
} om_pickle_tensor;

struct om_pickle_value {
    om_pickle_kind kind;
    union {
        int64_t integer;                                                /* BOOL, INT; GLOBAL, DTYPE: which */
        double  real;                                                   /* FLOAT */
        struct { const char *bytes; size_t n; } text;                   /* TEXT, BYTES, LONG; not terminated */
        struct { const om_pickle_value **items; size_t n, room; } list; /* TUPLE, LIST */
        struct { om_pickle_pair *pairs; size_t n, room; } dict;         /* in the order of the file; the last wins */
        om_pickle_storage storage;
        om_pickle_tensor  tensor;
    };
};

typedef struct om_pickle om_pickle;

/* Reads the pickle that begins at bytes; what comes behind its end is left alone, but a pickle that does not end
 * within n is refused. where begins every message ("large-v3.pt: archive/data.pkl"). bytes must outlive *out.
 * ERR_FORMAT, ERR_MEMORY. Free with om_pickle_free; NULL is fine. */
int  om_pickle_read(const void *bytes, size_t n, const char *where, om_pickle **out);
void om_pickle_free(om_pickle *p);

const om_pickle_value *om_pickle_root(const om_pickle *p);
size_t                 om_pickle_size(const om_pickle *p);      /* bytes read */
/* All storages, also those that no value leads to any more, as a list. NULL: none. */
const om_pickle_storage *om_pickle_storages(const om_pickle *p);

/* The value under a text key; NULL when there is none or the value is no dict. */
const om_pickle_value *om_pickle_find(const om_pickle_value *dict, const char *key, size_t n_key);
bool om_pickle_text_is(const om_pickle_value *v, const char *text);

#endif
