/* printable: names out of foreign files in messages, where they must not steer the reader's terminal. */
#ifndef OM_PRINTABLE_H
#define OM_PRINTABLE_H

#include <stddef.h>

typedef struct { char text[96]; } om_printable;

/* At most 92 bytes of the name, "..." after a longer one; control characters become '?'. */
om_printable om_printable_of(const void *bytes, size_t n);

#endif
