/* pickle-machine: what pickle.c (instructions) and pickle-call.c (names) share; nobody else includes it. */
#ifndef OM_PICKLE_MACHINE_H
#define OM_PICKLE_MACHINE_H

#include "pickle.h"

typedef struct om_pickle_block om_pickle_block;

struct om_pickle {
    const unsigned char *bytes;
    size_t n, at, op;                   /* at: next byte; op: where the present instruction began */
    const char *where;
    om_pickle_block *blocks;            /* all values and lists; freed at once */
    size_t used;                        /* bytes in blocks */
    om_pickle_value **stack;
    size_t n_stack, stack_room;
    size_t *marks;                      /* heights of the stack; nothing below the last is touched */
    size_t n_marks, marks_room;
    om_pickle_value **memo;             /* [memo_room], NULL: never put */
    size_t memo_room, n_memo;           /* n_memo: how often MEMOIZE counted */
    om_pickle_value *root;
    const om_pickle_storage *storages;
};

/* Zeroed memory for size bytes that lives as long as p. ERR_MEMORY; ERR_FORMAT beyond the limit. */
int om_pickle_alloc(om_pickle *p, size_t size, void **out);
int om_pickle_make(om_pickle *p, om_pickle_kind kind, om_pickle_value **out);
/* Adds to a LIST or TUPLE, or a DICT. */
int om_pickle_append(om_pickle *p, om_pickle_value *list, const om_pickle_value *item);
int om_pickle_set(om_pickle *p, om_pickle_value *dict, const om_pickle_value *key, const om_pickle_value *value);

/* ERR_FORMAT "WHERE: byte N: found WHAT". */
int om_pickle_odd(const om_pickle *p, const char *what);

/* Instructions that name things. All ERR_FORMAT, ERR_MEMORY. */
int om_pickle_global(om_pickle *p, const char *module, size_t n_module, const char *name, size_t n_name,
                     om_pickle_value **out);
int om_pickle_call(om_pickle *p, const om_pickle_value *function, const om_pickle_value *args,
                   om_pickle_value **out);
int om_pickle_persistent(om_pickle *p, const om_pickle_value *id, om_pickle_value **out);
int om_pickle_build(om_pickle *p, om_pickle_value *object, const om_pickle_value *state);

#endif
