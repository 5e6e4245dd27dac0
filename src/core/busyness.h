/* busyness: which share of the last second or so was spent at work. Times in µs of any steady clock. */
#ifndef OM_BUSYNESS_H
#define OM_BUSYNESS_H

#include <stdint.h>

typedef struct om_busyness {
    int64_t from;           /* the half second that is being counted */
    int64_t busy, before;   /* µs of work in it, in the one before */
} om_busyness;              /* {0} is allowed */

void   om_busyness_add(om_busyness *b, int64_t from, int64_t to);    /* that was work; later than all before */
double om_busyness_share(om_busyness *b, int64_t now);              /* 0 ... 1 */

#endif
