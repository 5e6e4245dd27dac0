/* talk-ring: samples from one thread to another without locks. One thread writes, one reads. */
#ifndef CLI_TALK_RING_H
#define CLI_TALK_RING_H

#include <stdatomic.h>
#include <stddef.h>

typedef struct talk_ring {
    float *samples;             /* [size], size a power of two */
    size_t size;
    _Alignas(64) atomic_size_t written;   /* counts for ever, wraps around */
    _Alignas(64) atomic_size_t taken;
} talk_ring;

/* Room for at least n samples: CLI_OK, or CLI_FAILED after an error line. */
int    talk_ring_open(talk_ring *ring, size_t n);
void   talk_ring_close(talk_ring *ring);                 /* {0} is allowed */
size_t talk_ring_filled(const talk_ring *ring);          /* either thread */
size_t talk_ring_write(talk_ring *ring, const float *samples, size_t n);  /* takes what fits: how many */
size_t talk_ring_read(talk_ring *ring, float *samples, size_t n);         /* gives what is there: how many */
size_t talk_ring_drop(talk_ring *ring);                  /* the reader throws everything away: how many */

#endif
