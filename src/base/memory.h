/* Allocation with overflow checks and a switch that makes the n-th one fail. */
#ifndef OM_MEMORY_H
#define OM_MEMORY_H

#include <stddef.h>

/* n * size bytes, zeroed; NULL on overflow or exhaustion. Free with om_free. */
void *om_calloc(size_t n, size_t size);
/* As realloc for n * size bytes; the old block stays valid on failure. */
void *om_realloc(void *block, size_t n, size_t size);
void *om_aligned(size_t n, size_t size);   /* zeroed, 64-byte aligned; om_free */
char *om_strdup(const char *text);
void  om_free(void *block);

/* false when a * b does not fit; *out is untouched then. */
int om_mul_ok(size_t a, size_t b, size_t *out);

/* Torture tests: the n-th allocation (or file read) from now fails once; n = 0
 * switches this off. om_torture_count() tells how many there were since. */
void   om_torture_arm(long n);
long   om_torture_count(void);
int    om_torture_hit(void);   /* counts one fallible operation; 1 = fail it */

#endif
