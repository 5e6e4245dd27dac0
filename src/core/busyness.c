/* busyness: see busyness.h. Counted by halves of a second: this one and the one before. */
#include "core/busyness.h"

enum { HALF = 500000 };

static void turn_to(om_busyness *b, int64_t now)
{
    int64_t gone = now - b->from;

    if (gone < HALF)
        return;
    b->before = gone < 2 * HALF ? b->busy : 0;
    b->busy = 0;
    b->from = gone < 2 * HALF ? b->from + HALF : now;
}

void om_busyness_add(om_busyness *b, int64_t from, int64_t to)
{
    while (from < to) {
        int64_t end;

        turn_to(b, from);
        end = b->from + HALF < to ? b->from + HALF : to;
        b->busy += end - from;
        from = end;
    }
}

double om_busyness_share(om_busyness *b, int64_t now)
{
    turn_to(b, now);
    return (double)(b->before + b->busy) / (double)(HALF + now - b->from);
}
