/* worker: see worker.h. */
#include "worker.h"

#include "limits.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST_SEATS = 255, SLICE = 4096, FAILURES = 8 };

/* ms of one seat's commands, after which everybody else has a step. */
#define TURN_MS 2.0
/* How long nobody is let in after that; then somebody may try again. */
#define BROKEN_MS 30000.0


typedef enum kind { OPEN, LEAVE, PARAMS, TURNS, AUDIO, TEXT, ASK, CLEAR, TRIM, ADD, FORGET, FORGET_ADDED } kind;

typedef struct command {
    struct command *next;
    kind kind;
    unsigned tag;
    bool on;                        /* TURNS: turns is given */
    omni_session_params params;
    omni_turn_params turns;
    uint64_t n_samples;             /* TRIM */
    size_t n, done;                 /* AUDIO: samples, and how many went in */
    float *samples;
    char *text, *answer;            /* answer: ADD; PARAMS and OPEN: preamble and grammar */
    uint32_t turn;                  /* FORGET */
} command;

typedef struct added { unsigned tag; uint32_t turn; } added;

struct srv_seat {
    srv_worker *worker;
    bool taken;                     /* network thread's, under the lock */
    atomic_bool leaving;            /* nobody takes events any more: what waits is dropped */
    _Atomic(omni_session *) session;
    command *first, **last;         /* under the lock */
    size_t n_waiting, n_letters;    /* samples and bytes of text in them, under the lock */
    command *later;                 /* engine thread's: parameters for when the running turn has ended */
    int n_failures;                 /* under the lock */
    srv_failure failures[FAILURES];
    added *added;                   /* engine thread's */
    size_t n_added, cap_added;
};

struct srv_worker {
    omni_engine *engine;
    int n_seats, wake_fd;
    size_t most_waiting;            /* samples on their way, per seat */
    srv_seat seats[MOST_SEATS];
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t kicked;
    bool kick, stop;
    _Atomic double broken_until;    /* ms */
};

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* What a command with text takes: of many short ones most is not text. */
static size_t letters(const command *c)
{
    if (!c->text && !c->answer) return 0;
    return sizeof *c + (c->text ? strlen(c->text) : 0) + (c->answer ? strlen(c->answer) : 0);
}

static void free_command(command *c)
{
    if (!c) return;
    free(c->samples);
    free(c->text);
    free(c->answer);
    free(c);
}

/* ---- the engine thread ---------------------------------------------------------- */

static void tell_failure(srv_seat *seat, const command *c, int status)
{
    if (c->kind != TEXT && c->kind != ASK && c->kind != OPEN && c->kind != PARAMS) return;
    pthread_mutex_lock(&seat->worker->lock);
    if (seat->n_failures < FAILURES) {
        srv_failure *f = &seat->failures[seat->n_failures++];
        *f = (srv_failure){.tag = c->tag, .status = status};
        snprintf(f->text, sizeof f->text, "%s", omni_last_error());
    }
    pthread_mutex_unlock(&seat->worker->lock);
}

/* Lets in as much as there is room for: AGAIN when some is left. */
static int push(omni_session *session, command *c)
{
    while (c->done < c->n) {
        const size_t n = c->n - c->done < SLICE ? c->n - c->done : SLICE;
        const int rc = omni_session_push_audio(session, c->samples + c->done, n);
        if (rc == OMNI_ERR_LIMIT) return OMNI_AGAIN;
        c->done += n;               /* also what is not a number: it can not come from bytes */
    }
    return OMNI_OK;
}

static int open_session(srv_seat *seat, const command *c)
{
    omni_session *session = NULL;
    const int rc = omni_session_new(seat->worker->engine, &c->params, &session);
    atomic_store(&seat->session, session);
    return rc;
}

/* Of turns without a tag nothing is kept. */
static int add(srv_seat *seat, omni_session *session, const command *c)
{
    added a = {.tag = c->tag};
    const int rc = omni_session_add_turn(session, c->text, c->answer, &a.turn);
    if (rc != OMNI_OK || a.tag == 0) return rc;
    if (seat->n_added == seat->cap_added) {
        const size_t cap = seat->cap_added ? 2 * seat->cap_added : 16;
        added *bigger = realloc(seat->added, cap * sizeof *bigger);
        if (!bigger) return OMNI_ERR_MEMORY;
        seat->added = bigger;
        seat->cap_added = cap;
    }
    seat->added[seat->n_added++] = a;
    return OMNI_OK;
}

static int forget_added(srv_seat *seat, omni_session *session, unsigned tag)
{
    size_t i = 0;
    while (i < seat->n_added && seat->added[i].tag != tag) i++;
    if (i == seat->n_added) return OMNI_OK;
    const int rc = omni_session_forget_turn(session, seat->added[i].turn);
    if (rc != OMNI_ERR_STATE) seat->added[i] = seat->added[--seat->n_added];
    return rc;
}

/* Parameters never hold up what comes behind them: while a turn runs the last ones wait beside the queue. */
static int put_params(srv_seat *seat, omni_session *session, command *c)
{
    const int rc = omni_session_set_params(session, &c->params);
    if (seat->later != c) free_command(seat->later);
    seat->later = rc == OMNI_ERR_STATE ? c : NULL;
    return rc == OMNI_ERR_STATE ? OMNI_OK : rc;
}

/* Before every step, so that no turn comes between. true: they were taken. */
static bool try_later(srv_seat *seat)
{
    command *c = seat->later;
    omni_session *session = atomic_load(&seat->session);
    if (!c || !session) return false;
    const int rc = put_params(seat, session, c);
    if (seat->later) return false;
    if (rc < 0) tell_failure(seat, c, rc);
    free_command(c);
    return true;
}

static int leave(srv_seat *seat)
{
    free_command(seat->later);
    seat->later = NULL;
    free(seat->added);
    seat->added = NULL;
    seat->n_added = seat->cap_added = 0;
    omni_session_free(atomic_load(&seat->session));
    atomic_store(&seat->session, NULL);
    atomic_store(&seat->leaving, false);
    pthread_mutex_lock(&seat->worker->lock);
    seat->taken = false;
    seat->n_failures = 0;
    pthread_mutex_unlock(&seat->worker->lock);
    return OMNI_OK;
}

/* OK, a failure, or AGAIN: it has to wait. */
static int carry_out(srv_seat *seat, command *c)
{
    omni_session *session = atomic_load(&seat->session);
    int rc = OMNI_OK;
    if (c->kind == OPEN) return open_session(seat, c);
    if (c->kind == LEAVE) return leave(seat);
    if (!session) return OMNI_ERR_STATE;
    if (seat->later && (c->kind == TEXT || c->kind == ASK)) return OMNI_AGAIN;      /* they are for this question */
    switch (c->kind) {
    case AUDIO: return push(session, c);
    case PARAMS: return put_params(seat, session, c);
    case TURNS: rc = omni_session_set_turns(session, c->on ? &c->turns : NULL); break;
    case TEXT: rc = omni_session_push_text(session, c->text); break;
    case ASK: rc = omni_session_end_input(session); break;
    case CLEAR: rc = omni_session_clear_input(session); break;
    case ADD: rc = add(seat, session, c); break;
    case FORGET: rc = omni_session_forget_turn(session, c->turn); break;
    case FORGET_ADDED: rc = forget_added(seat, session, c->tag); break;
    default: omni_session_trim(session, c->n_samples, NULL); return OMNI_OK;      /* TRIM */
    }
    return rc == OMNI_ERR_STATE ? OMNI_AGAIN : rc;
}

/* The first command is done with, or (AGAIN) has let some samples in; false: it has to wait. */
static bool take_out(srv_seat *seat, const command *c, size_t before, int rc)
{
    srv_worker *w = seat->worker;
    pthread_mutex_lock(&w->lock);
    seat->n_waiting -= c->done - before;
    if (rc != OMNI_AGAIN) {
        seat->n_letters -= letters(c);
        seat->first = c->next;
        if (!seat->first) seat->last = &seat->first;
    }
    pthread_mutex_unlock(&w->lock);
    return rc != OMNI_AGAIN || c->done != before;
}

/* true: something was done. Not all of it when it takes long; but nothing comes between parameters and their question. */
static bool serve_seat(srv_seat *seat)
{
    srv_worker *w = seat->worker;
    bool worked = try_later(seat), params = worked;
    const double until = now_ms() + TURN_MS;
    while (params || !worked || now_ms() < until) {
        pthread_mutex_lock(&w->lock);
        command *c = seat->first;
        pthread_mutex_unlock(&w->lock);
        if (!c) return worked;
        const size_t before = c->done;
        const bool drop = atomic_load(&seat->leaving) && c->kind != LEAVE;
        if (drop) c->done = c->n;
        params = c->kind == PARAMS;
        const int rc = drop ? OMNI_OK : carry_out(seat, c);
        worked |= take_out(seat, c, before, rc);
        if (rc == OMNI_AGAIN) return worked;
        if (rc < 0) tell_failure(seat, c, rc);
        if (c != seat->later) free_command(c);
    }
    return worked;
}

static void wake_network(const srv_worker *w)
{
    const uint64_t one = 1;
    if (write(w->wake_fd, &one, sizeof one) < 0) return;    /* full: it is awake */
}

/* Sleeps until there is a command, room in a queue, or the end; false at the end. */
static bool wait_for_work(srv_worker *w, bool idle)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += 1;
    pthread_mutex_lock(&w->lock);
    while (idle && !w->kick && !w->stop)
        if (pthread_cond_timedwait(&w->kicked, &w->lock, &until)) break;
    w->kick = false;
    const bool go_on = !w->stop;
    pthread_mutex_unlock(&w->lock);
    return go_on;
}

static void *run(void *user)
{
    srv_worker *w = user;
    bool idle = false;
    while (wait_for_work(w, idle)) {
        bool worked = false;
        for (int i = 0; i < w->n_seats; i++) worked |= serve_seat(&w->seats[i]);
        const int rc = omni_engine_step(w->engine);
        if (rc < 0) {
            fprintf(stderr, "omni: the engine is broken: %s\n", omni_last_error());
            atomic_store(&w->broken_until, now_ms() + BROKEN_MS);
        }
        worked |= rc != OMNI_AGAIN;
        if (worked) wake_network(w);
        idle = !worked;
    }
    for (int i = 0; i < w->n_seats; i++) leave(&w->seats[i]);
    return NULL;
}

/* ---- start, stop ------------------------------------------------------------------ */

srv_worker *srv_worker_start(const omni_model *model, const omni_engine_params *params, int wake_fd)
{
    srv_worker *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->wake_fd = wake_fd;
    w->n_seats = params->n_slots;
    w->most_waiting = (size_t)SRV_ENGINE_SECONDS * (size_t)omni_model_get_info(model)->sample_rate_in;
    for (int i = 0; i < w->n_seats; i++) w->seats[i].worker = w, w->seats[i].last = &w->seats[i].first;
    if (omni_engine_new(model, params, &w->engine) != OMNI_OK) {
        free(w);
        return NULL;
    }
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&w->kicked, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&w->lock, NULL);
    sigset_t all, before;           /* signals are the network thread's */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int rc = pthread_create(&w->thread, NULL, run, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0) return w;
    omni_engine_free(w->engine);
    free(w);
    return NULL;
}

void srv_worker_stop(srv_worker *w)
{
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->kicked);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    for (int i = 0; i < w->n_seats; i++) {
        for (command *c = w->seats[i].first, *next; c; c = next) {
            next = c->next;
            free_command(c);
        }
    }
    omni_engine_free(w->engine);
    pthread_cond_destroy(&w->kicked);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

bool srv_worker_alive(const srv_worker *w)
{
    return now_ms() >= atomic_load(&w->broken_until);
}

void srv_worker_kick(srv_worker *w)
{
    pthread_mutex_lock(&w->lock);
    w->kick = true;
    pthread_cond_signal(&w->kicked);
    pthread_mutex_unlock(&w->lock);
}

/* ---- the network thread's side ----------------------------------------------------- */

static bool queue(srv_seat *seat, command *c)
{
    srv_worker *w = seat->worker;
    pthread_mutex_lock(&w->lock);
    c->next = NULL;
    *seat->last = c;
    seat->last = &c->next;
    seat->n_waiting += c->n;
    seat->n_letters += letters(c);
    w->kick = true;
    pthread_cond_signal(&w->kicked);
    pthread_mutex_unlock(&w->lock);
    return true;
}

static bool queue_kind(srv_seat *seat, kind what, unsigned tag)
{
    command *c = calloc(1, sizeof *c);
    if (!c) return false;
    c->kind = what;
    c->tag = tag;
    return queue(seat, c);
}

/* With texts of its own: the caller's may be gone when it is carried out. */
static command *new_params(kind what, const omni_session_params *params)
{
    command *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->kind = what;
    c->params = *params;
    if (params->preamble) c->params.preamble = c->text = strdup(params->preamble);
    if (params->grammar) c->params.grammar = c->answer = strdup(params->grammar);
    if (!c->text == !params->preamble && !c->answer == !params->grammar) return c;
    free_command(c);
    return NULL;
}

srv_seat *srv_seat_take(srv_worker *w, const omni_session_params *params)
{
    srv_seat *seat = NULL;
    command *c = new_params(OPEN, params);
    if (!c) return NULL;
    pthread_mutex_lock(&w->lock);
    for (int i = 0; i < w->n_seats && !seat; i++)
        if (!w->seats[i].taken) seat = &w->seats[i];
    if (seat) seat->taken = true;
    pthread_mutex_unlock(&w->lock);
    if (!seat) {
        free_command(c);
        return NULL;
    }
    queue(seat, c);
    return seat;
}

void srv_seat_leave(srv_seat *seat)
{
    if (!seat) return;
    omni_session *session = atomic_load(&seat->session);
    if (session) omni_session_cancel(session);
    atomic_store(&seat->leaving, true);
    while (!queue_kind(seat, LEAVE, 0)) usleep(1000);
}

int srv_worker_free_seats(const srv_worker *worker)
{
    srv_worker *w = (srv_worker *)(uintptr_t)worker;
    int n = 0;
    pthread_mutex_lock(&w->lock);
    for (int i = 0; i < w->n_seats; i++) n += !w->seats[i].taken;
    pthread_mutex_unlock(&w->lock);
    return n;
}

bool srv_seat_params(srv_seat *seat, const omni_session_params *params)
{
    command *c = new_params(PARAMS, params);
    return c && queue(seat, c);
}

bool srv_seat_turns(srv_seat *seat, const omni_turn_params *turns)
{
    command *c = calloc(1, sizeof *c);
    if (!c) return false;
    c->kind = TURNS;
    c->on = turns != NULL;
    if (turns) c->turns = *turns;
    return queue(seat, c);
}

bool srv_seat_audio(srv_seat *seat, const float *samples, size_t n)
{
    if (n == 0) return true;
    pthread_mutex_lock(&seat->worker->lock);
    const bool fits = n <= seat->worker->most_waiting - seat->n_waiting;
    pthread_mutex_unlock(&seat->worker->lock);
    command *c = fits ? calloc(1, sizeof *c) : NULL;
    if (c) c->samples = malloc(n * sizeof *samples);
    if (!c || !c->samples) {
        free(c);
        return false;
    }
    memcpy(c->samples, samples, n * sizeof *samples);
    c->kind = AUDIO;
    c->n = n;
    return queue(seat, c);
}

bool srv_seat_text(srv_seat *seat, const char *utf8, unsigned tag)
{
    command *c = calloc(1, sizeof *c);
    if (c) c->text = strdup(utf8);
    if (!c || !c->text) {
        free(c);
        return false;
    }
    c->kind = TEXT;
    c->tag = tag;
    return queue(seat, c);
}

bool srv_seat_ask(srv_seat *seat, unsigned tag)
{
    return queue_kind(seat, ASK, tag);
}

bool srv_seat_clear(srv_seat *seat)
{
    return queue_kind(seat, CLEAR, 0);
}

bool srv_seat_add(srv_seat *seat, const char *question, const char *answer, unsigned tag)
{
    command *c = calloc(1, sizeof *c);
    if (c) c->text = strdup(question);
    if (c) c->answer = strdup(answer);
    if (!c || !c->text || !c->answer) {
        free_command(c);
        return false;
    }
    c->kind = ADD;
    c->tag = tag;
    return queue(seat, c);
}

bool srv_seat_forget(srv_seat *seat, uint32_t turn)
{
    command *c = calloc(1, sizeof *c);
    if (!c) return false;
    c->kind = FORGET;
    c->turn = turn;
    return queue(seat, c);
}

bool srv_seat_forget_added(srv_seat *seat, unsigned tag)
{
    return queue_kind(seat, FORGET_ADDED, tag);
}

bool srv_seat_trim(srv_seat *seat, uint64_t n_samples)
{
    command *c = calloc(1, sizeof *c);
    if (!c) return false;
    c->kind = TRIM;
    c->n_samples = n_samples;
    return queue(seat, c);
}

void srv_seat_cancel(srv_seat *seat)
{
    omni_session *session = atomic_load(&seat->session);
    if (session) omni_session_cancel(session);
    srv_worker_kick(seat->worker);
}

void srv_seat_waiting(srv_seat *seat, size_t *samples, size_t *bytes)
{
    pthread_mutex_lock(&seat->worker->lock);
    *samples = seat->n_waiting;
    *bytes = seat->n_letters;
    pthread_mutex_unlock(&seat->worker->lock);
}

bool srv_seat_event(srv_seat *seat, omni_event *event)
{
    omni_session *session = atomic_load(&seat->session);
    return session && omni_session_next_event(session, event) == OMNI_OK;
}

bool srv_seat_stats(srv_seat *seat, omni_stats *stats)
{
    omni_session *session = atomic_load(&seat->session);
    return session && omni_session_get_stats(session, stats) == OMNI_OK;
}

bool srv_seat_failure(srv_seat *seat, srv_failure *failure)
{
    pthread_mutex_lock(&seat->worker->lock);
    const bool any = seat->n_failures > 0;
    if (any) {
        *failure = seat->failures[0];
        memmove(seat->failures, seat->failures + 1, (size_t)--seat->n_failures * sizeof *failure);
    }
    pthread_mutex_unlock(&seat->worker->lock);
    return any;
}
