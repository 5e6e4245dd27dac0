/* limits: the ceilings of limits.def as SRV_<name>. */
#ifndef SRV_LIMITS_H
#define SRV_LIMITS_H

enum {
#define LIMIT(name, value, unit, text) SRV_##name = (value),
#include "limits.def"
#undef LIMIT
    SRV_LIMITS_END = 0
};

#endif
