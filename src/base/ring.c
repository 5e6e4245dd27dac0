/*
 * ring: single-producer single-consumer floats between two threads.
 *
 * head and tail count all floats ever pushed and taken; they wrap around with
 * size_t, differences stay right. The buffer is a power of two so that a
 * wrapped counter still maps to the right place; the capacity is exact.
 */
#include "base/ring.h"

#include "base/memory.h"
#include "base/status.h"

#include <stdatomic.h>
#include <string.h>

struct om_ring {
    size_t capacity, mask;
    float *data;                        /* [mask + 1] */
    _Alignas(64) atomic_size_t head;    /* written by the producer */
    _Alignas(64) atomic_size_t tail;    /* written by the consumer */
};

int om_ring_new(size_t capacity, om_ring **out)
{
    size_t size = 1;
    om_ring *ring;

    if (capacity == 0 || capacity > ((size_t)1 << 40))
        return om_fail(OMNI_ERR_ARG, "ring of %zu floats: wanted 1 to 2^40", capacity);
    while (size < capacity)
        size *= 2;
    ring = om_aligned(1, sizeof *ring);
    if (!ring)
        return om_fail(OMNI_ERR_MEMORY, "ring: out of memory");
    ring->data = om_aligned(size, sizeof(float));
    if (!ring->data) {
        om_free(ring);
        return om_fail(OMNI_ERR_MEMORY, "ring: no memory for %zu floats", capacity);
    }
    ring->capacity = capacity;
    ring->mask = size - 1;
    atomic_init(&ring->head, 0);
    atomic_init(&ring->tail, 0);
    *out = ring;
    return OMNI_OK;
}

void om_ring_free(om_ring *ring)
{
    if (!ring)
        return;
    om_free(ring->data);
    om_free(ring);
}

size_t om_ring_room(const om_ring *ring)
{
    size_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);

    return ring->capacity - (head - tail);
}

int om_ring_push(om_ring *ring, const float *x, size_t n)
{
    size_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    size_t at = head & ring->mask;
    size_t first = ring->mask + 1 - at;     /* floats before the buffer wraps */

    if (n > om_ring_room(ring))
        return OMNI_ERR_LIMIT;      /* the caller knows what to say */
    if (first > n)
        first = n;
    if (n) {
        memcpy(ring->data + at, x, first * sizeof *x);
        memcpy(ring->data, x + first, (n - first) * sizeof *x);
    }
    atomic_store_explicit(&ring->head, head + n, memory_order_release);
    return OMNI_OK;
}

size_t om_ring_size(const om_ring *ring)
{
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    size_t head = atomic_load_explicit(&ring->head, memory_order_acquire);

    return head - tail;
}

size_t om_ring_pull(om_ring *ring, float *x, size_t n)
{
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    size_t have = om_ring_size(ring);
    size_t at = tail & ring->mask;
    size_t first = ring->mask + 1 - at;

    if (n > have)
        n = have;
    if (first > n)
        first = n;
    if (n) {
        memcpy(x, ring->data + at, first * sizeof *x);
        memcpy(x + first, ring->data, (n - first) * sizeof *x);
    }
    atomic_store_explicit(&ring->tail, tail + n, memory_order_release);
    return n;
}

size_t om_ring_drop(om_ring *ring, size_t n)
{
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    size_t have = om_ring_size(ring);

    if (n > have)
        n = have;
    atomic_store_explicit(&ring->tail, tail + n, memory_order_release);
    return n;
}
