/* licence: which terms of which weights were accepted, one name per line in CONFIG/llama-omni/accepted-licences. */
#ifndef OM_LICENCE_H
#define OM_LICENCE_H

#include <stdbool.h>

/* OK and *accepted; ERR_IO, ERR_LIMIT (the file is no list of names). */
int om_licence_accepted(const char *licence, bool *accepted);
/* Remembers it. ERR_IO, ERR_MEMORY. */
int om_licence_accept(const char *licence);

#endif
