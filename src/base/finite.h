/* finite: numbers that are none stop here. One of them among cached keys or values would spoil whatever looks at the cache
 * afterwards, also where it is masked: 0 * NaN is NaN. */
#ifndef OM_FINITE_H
#define OM_FINITE_H

#include "base/status.h"

#include <math.h>
#include <stddef.h>

/* OK, or ERR_BACKEND when not all of the n numbers that `whose` gave are finite. */
static inline int om_check_finite(const float *x, size_t n, const char *whose)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return om_fail(OMNI_ERR_BACKEND, "%s gave a number that is not finite (%zu of %zu)", whose, i, n);
    return OMNI_OK;
}

#endif
