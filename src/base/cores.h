/* How many compute threads are worth starting here. */
#ifndef OM_CORES_H
#define OM_CORES_H

/* Physical cores that this process may run on, at most its CPU quota; at least 1. */
int om_cores(void);

#endif
