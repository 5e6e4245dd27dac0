/*
 * worker: the engine thread. It owns one engine, steps all its sessions, and carries out what the
 * network thread asks for, in order for each seat. JSON, sockets and clients are unknown here.
 *
 *   network thread                          engine thread
 *   srv_seat_audio, _text, _ask, ... ──►  commands, first in first out ──► omni_session_*
 *   srv_seat_event  ◄── the session's own bounded queue ◄── omni_engine_step
 *   srv_seat_failure ◄── what could not be done
 *
 * The receiver sets the pace: events that nobody takes stay in the session's queue, and its answer waits.
 */
#ifndef SRV_WORKER_H
#define SRV_WORKER_H

#include <omni.h>

typedef struct srv_worker srv_worker;
typedef struct srv_seat   srv_seat;         /* a slot of the engine, taken */

/* Starts the thread. It writes to the eventfd wake_fd when there may be something to take.
 * NULL after a failure; omni_last_error() tells. model is borrowed until stop. */
srv_worker *srv_worker_start(const omni_model *model, const omni_engine_params *params, int wake_fd);
void        srv_worker_stop(srv_worker *worker);                /* ends all turns, frees all; NULL is allowed */
bool        srv_worker_alive(const srv_worker *worker);         /* false: three turns in a row failed in its backend, half a minute ago at most */

/* A free seat for one conversation, NULL: all are taken. The texts of params are copied. */
srv_seat *srv_seat_take(srv_worker *worker, const omni_session_params *params);
void      srv_seat_leave(srv_seat *seat);                       /* NULL is allowed; its turn is cancelled */
int       srv_worker_free_seats(const srv_worker *worker);

/* Commands; tag comes back in a failure. false: no memory, or (audio) too much is on its way; nothing was queued.
 * They wait for a running turn where the library demands it; params do that beside the others, and the last ones count. A
 * question that was queued behind them has them. */
bool srv_seat_params(srv_seat *seat, const omni_session_params *params);
bool srv_seat_turns(srv_seat *seat, const omni_turn_params *turns);    /* NULL: manual */
bool srv_seat_audio(srv_seat *seat, const float *samples, size_t n);
bool srv_seat_text(srv_seat *seat, const char *utf8, unsigned tag);
bool srv_seat_ask(srv_seat *seat, unsigned tag);                       /* the question is complete */
bool srv_seat_clear(srv_seat *seat);
bool srv_seat_trim(srv_seat *seat, uint64_t n_samples);
/* A past turn into the history; what the library refuses is not told. tag: for forget_added; 0: never. */
bool srv_seat_add(srv_seat *seat, const char *question, const char *answer, unsigned tag);
/* A turn out of the history: by the number that its events have, or by the tag it was added with. */
bool srv_seat_forget(srv_seat *seat, uint32_t turn);
bool srv_seat_forget_added(srv_seat *seat, unsigned tag);
/* The turn whose BEGIN was seen, at once. */
void srv_seat_cancel(srv_seat *seat);

/* What is on its way: samples, and bytes of text. */
void srv_seat_waiting(srv_seat *seat, size_t *samples, size_t *bytes);

/* The next event, borrowed until the next call; false: none now. */
bool srv_seat_event(srv_seat *seat, omni_event *event);
bool srv_seat_stats(srv_seat *seat, omni_stats *stats);

/* A question that could not be asked, or (tag 0) parameters that could not be taken: those before are kept. text is the library's line. false: none. */
typedef struct srv_failure {
    unsigned tag;
    int status;
    char text[256];
} srv_failure;
bool srv_seat_failure(srv_seat *seat, srv_failure *failure);

/* The network thread took events: there may be room for more. */
void srv_worker_kick(srv_worker *worker);

#endif
