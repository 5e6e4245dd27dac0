/* queue: see queue.h. Records are a ring; head counts what was pushed, tail what was released. */
#include "core/queue.h"

#include "base/memory.h"
#include "base/status.h"

#include <stdatomic.h>
#include <string.h>

enum { SMALL = 256 };   /* most texts fit without an allocation */

typedef struct record {
    omni_event event;
    void *heap;         /* payload too large for small, or NULL */
    size_t bytes;
    bool ends;          /* it has stats */
    omni_stats stats;
    char small[SMALL];
} record;

struct om_queue {
    size_t max_events, max_bytes;
    record *records;                    /* [max_events] */
    bool lent;                          /* consumer: the record at tail is in the caller's hands */
    bool has_stats;                     /* consumer */
    omni_stats stats;
    _Alignas(64) atomic_size_t head;    /* producer */
    _Alignas(64) atomic_size_t tail;    /* consumer */
    atomic_size_t pushed, released;     /* bytes ever; producer, consumer */
};

int om_queue_new(size_t max_events, size_t max_bytes, om_queue **out)
{
    om_queue *q = om_aligned(1, sizeof *q);

    if (!q)
        return om_fail(OMNI_ERR_MEMORY, "no memory for an event queue");
    q->records = om_calloc(max_events, sizeof *q->records);
    if (!q->records) {
        om_free(q);
        return om_fail(OMNI_ERR_MEMORY, "no memory for %zu events", max_events);
    }
    q->max_events = max_events;
    q->max_bytes = max_bytes;
    atomic_init(&q->head, 0);
    atomic_init(&q->tail, 0);
    atomic_init(&q->pushed, 0);
    atomic_init(&q->released, 0);
    *out = q;
    return OMNI_OK;
}

void om_queue_free(om_queue *q)
{
    if (!q)
        return;
    for (size_t i = 0; i < q->max_events; i++)
        om_free(q->records[i].heap);
    om_free(q->records);
    om_free(q);
}

bool om_queue_has_room(const om_queue *q, size_t n_events, size_t n_bytes)
{
    size_t events = atomic_load_explicit(&q->head, memory_order_relaxed) -
                    atomic_load_explicit(&q->tail, memory_order_acquire);
    size_t bytes = atomic_load_explicit(&q->pushed, memory_order_relaxed) -
                   atomic_load_explicit(&q->released, memory_order_acquire);

    return n_events <= q->max_events - events &&
           (bytes == 0 || (bytes <= q->max_bytes && n_bytes <= q->max_bytes - bytes));
}

/* Puts n bytes of payload into the record, a NUL behind them. */
static int store(record *r, const void *payload, size_t n)
{
    char *to = r->small;

    if (n + 1 > SMALL) {
        to = r->heap = om_calloc(n + 1, 1);
        if (!to)
            return om_fail(OMNI_ERR_MEMORY, "no memory for an event of %zu bytes", n);
    }
    if (n)
        memcpy(to, payload, n);
    to[n] = '\0';
    r->bytes = n;
    return OMNI_OK;
}

int om_queue_push(om_queue *q, const omni_event *event, const omni_stats *stats)
{
    size_t head = atomic_load_explicit(&q->head, memory_order_relaxed);
    record *r = &q->records[head % q->max_events];
    bool audio = event->type == OMNI_EVENT_AUDIO;
    size_t n = audio ? event->n_audio * sizeof(float) : event->n_text;
    int rc;

    if (!om_queue_has_room(q, 1, n))
        return OMNI_AGAIN;
    if (event->type == OMNI_EVENT_FAILED && n > SMALL - 1)
        n = SMALL - 1;
    r->event = *event;
    r->ends = stats != NULL;
    if (stats)
        r->stats = *stats;
    r->heap = NULL;
    rc = store(r, audio ? (const void *)event->audio : event->text, n);
    if (rc)
        return rc;
    if (audio)
        r->event.audio = r->heap ? r->heap : (void *)r->small;
    else
        r->event.text = r->heap ? r->heap : r->small;
    r->event.n_text = audio ? 0 : n;
    atomic_fetch_add_explicit(&q->pushed, n, memory_order_relaxed);
    atomic_store_explicit(&q->head, head + 1, memory_order_release);
    return OMNI_OK;
}

static void release(om_queue *q)
{
    size_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);
    record *r = &q->records[tail % q->max_events];
    size_t n = r->bytes;

    om_free(r->heap);
    r->heap = NULL;
    q->lent = false;
    atomic_fetch_add_explicit(&q->released, n, memory_order_release);
    atomic_store_explicit(&q->tail, tail + 1, memory_order_release);
}

int om_queue_pull(om_queue *q, omni_event *event)
{
    const record *r;
    size_t tail;

    if (q->lent)
        release(q);
    tail = atomic_load_explicit(&q->tail, memory_order_relaxed);
    if (tail == atomic_load_explicit(&q->head, memory_order_acquire))
        return OMNI_AGAIN;
    r = &q->records[tail % q->max_events];
    *event = r->event;
    q->lent = true;
    if (r->ends) {
        q->stats = r->stats;
        q->has_stats = true;
    }
    return OMNI_OK;
}

bool om_queue_stats(const om_queue *q, omni_stats *stats)
{
    if (q->has_stats)
        *stats = q->stats;
    return q->has_stats;
}
