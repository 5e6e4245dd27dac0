/* memory: checked allocation, and the counter that makes one of them fail. */
#include "base/memory.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

static atomic_long torture_target;   /* 0 = off */
static atomic_long torture_seen;

void om_torture_arm(long n)
{
    atomic_store(&torture_seen, 0);
    atomic_store(&torture_target, n);
}

long om_torture_count(void)
{
    return atomic_load(&torture_seen);
}

int om_torture_hit(void)
{
    long now = atomic_fetch_add_explicit(&torture_seen, 1, memory_order_relaxed) + 1;

    return now == atomic_load_explicit(&torture_target, memory_order_relaxed);
}

int om_mul_ok(size_t a, size_t b, size_t *out)
{
    if (a != 0 && b > SIZE_MAX / a)
        return 0;
    *out = a * b;
    return 1;
}

void *om_calloc(size_t n, size_t size)
{
    size_t bytes;

    if (!om_mul_ok(n, size, &bytes) || om_torture_hit())
        return NULL;
    return calloc(1, bytes ? bytes : 1);
}

void *om_realloc(void *block, size_t n, size_t size)
{
    size_t bytes;

    if (!om_mul_ok(n, size, &bytes) || om_torture_hit())
        return NULL;
    return realloc(block, bytes ? bytes : 1);
}

void *om_aligned(size_t n, size_t size)
{
    size_t bytes;
    void *block;

    if (!om_mul_ok(n, size, &bytes) || bytes > SIZE_MAX - ALIGNMENT || om_torture_hit())
        return NULL;
    /* aligned_alloc wants a multiple of the alignment. */
    bytes = (bytes / ALIGNMENT + 1) * ALIGNMENT;
    block = aligned_alloc(ALIGNMENT, bytes);
    if (block)
        memset(block, 0, bytes);
    return block;
}

char *om_strdup(const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = om_calloc(n, 1);

    if (copy)
        memcpy(copy, text, n);
    return copy;
}

void om_free(void *block)
{
    free(block);
}
