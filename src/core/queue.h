/*
 * queue: events from the engine's thread to one consumer thread. Bounded in events and in bytes:
 * when it is full the producer waits, so the receiver sets the pace.
 */
#ifndef OM_QUEUE_H
#define OM_QUEUE_H

#include "omni.h"

typedef struct om_queue om_queue;

int  om_queue_new(size_t max_events, size_t max_bytes, om_queue **out);   /* ERR_MEMORY */
void om_queue_free(om_queue *q);
/* Producer: copies text, audio, and stats, which only the last event of a turn has, else NULL. AGAIN: full. ERR_MEMORY. A payload larger than max_bytes passes when the
 * queue holds no other; FAILED needs no memory (its text may be shortened). */
int  om_queue_push(om_queue *q, const omni_event *event, const omni_stats *stats);
/* Producer: is there room for so many more events with so many bytes in all? */
bool om_queue_has_room(const om_queue *q, size_t n_events, size_t n_bytes);
/* Consumer: the next event, borrowed until the next call; AGAIN: none. */
int  om_queue_pull(om_queue *q, omni_event *event);
/* Consumer: the stats of the turn whose last event was pulled last; false: none was. */
bool om_queue_stats(const om_queue *q, omni_stats *stats);

#endif
