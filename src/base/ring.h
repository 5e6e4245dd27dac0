/* Single-producer single-consumer ring of floats; both sides wait-free. */
#ifndef OM_RING_H
#define OM_RING_H

#include <stddef.h>

typedef struct om_ring om_ring;

int    om_ring_new(size_t capacity, om_ring **out);        /* OMNI_OK or ERR_MEMORY */
void   om_ring_free(om_ring *ring);
size_t om_ring_room(const om_ring *ring);                  /* producer */
int    om_ring_push(om_ring *ring, const float *x, size_t n); /* all or ERR_LIMIT */
size_t om_ring_size(const om_ring *ring);                  /* consumer */
size_t om_ring_pull(om_ring *ring, float *x, size_t n);    /* takes up to n */
size_t om_ring_drop(om_ring *ring, size_t n);              /* discards up to n */

#endif
