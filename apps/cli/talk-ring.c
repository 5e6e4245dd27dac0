/* The writer publishes what it copied by its count, the reader frees what it copied by its own. */
#include "talk-ring.h"

#include "options.h"
#include "report.h"

#include <stdlib.h>
#include <string.h>

int talk_ring_open(talk_ring *ring, size_t n)
{
    size_t size = 1;
    while (size < n) size *= 2;
    ring->samples = malloc(size * sizeof *ring->samples);
    if (!ring->samples) return cli_error("out of memory for %zu samples of sound", size);
    ring->size = size;
    atomic_init(&ring->written, 0);
    atomic_init(&ring->taken, 0);
    return CLI_OK;
}

void talk_ring_close(talk_ring *ring)
{
    free(ring->samples);
    ring->samples = NULL;
    ring->size = 0;
}

size_t talk_ring_filled(const talk_ring *ring)
{
    const size_t taken = atomic_load_explicit(&ring->taken, memory_order_acquire);
    return atomic_load_explicit(&ring->written, memory_order_acquire) - taken;
}

size_t talk_ring_write(talk_ring *ring, const float *samples, size_t n)
{
    const size_t at = atomic_load_explicit(&ring->written, memory_order_relaxed);
    const size_t room = ring->size - (at - atomic_load_explicit(&ring->taken, memory_order_acquire));
    if (n > room) n = room;
    const size_t start = at & (ring->size - 1), first = n < ring->size - start ? n : ring->size - start;
    memcpy(ring->samples + start, samples, first * sizeof *samples);
    memcpy(ring->samples, samples + first, (n - first) * sizeof *samples);
    atomic_store_explicit(&ring->written, at + n, memory_order_release);
    return n;
}

size_t talk_ring_read(talk_ring *ring, float *samples, size_t n)
{
    const size_t at = atomic_load_explicit(&ring->taken, memory_order_relaxed);
    const size_t there = atomic_load_explicit(&ring->written, memory_order_acquire) - at;
    if (n > there) n = there;
    const size_t start = at & (ring->size - 1), first = n < ring->size - start ? n : ring->size - start;
    memcpy(samples, ring->samples + start, first * sizeof *samples);
    memcpy(samples + first, ring->samples, (n - first) * sizeof *samples);
    atomic_store_explicit(&ring->taken, at + n, memory_order_release);
    return n;
}

size_t talk_ring_drop(talk_ring *ring)
{
    const size_t at = atomic_load_explicit(&ring->taken, memory_order_relaxed);
    const size_t end = atomic_load_explicit(&ring->written, memory_order_acquire);
    atomic_store_explicit(&ring->taken, end, memory_order_release);
    return end - at;
}
