/*
 * load-person: one simulated person in conversation with a server, in real time.
 *
 *   thinking ──► speaking ──► waiting ──► listening ──┬──► thinking ...
 *                   ▲      (300 ms of silence          └──► speaking: interrupts the answer
 *                   └───────  and the answer)
 *
 * The microphone is never off: 20 ms of question or of silence go out every 20 ms. The answer's sound is played as it
 * comes: once buffer_seconds of it are there, or all, one second of it takes a second; when it is used up before more has
 * come, that is an underrun, and as much is waited for again.
 */
#ifndef LOAD_PERSON_H
#define LOAD_PERSON_H

#include "load-socket.h"
#include "load-tally.h"

#include <stdbool.h>
#include <stdint.h>

enum { LOAD_RATE = 24000, LOAD_CHUNK = 480 };

/* A recorded question. */
typedef struct load_question {
    int16_t *samples;           /* [n] at LOAD_RATE */
    size_t n, loud_from, loud_to;   /* the first loud sample, and the one after the last */
} load_question;

/* What all persons share; borrowed. */
typedef struct load_plan {
    const load_server *server;
    const load_question *questions;
    int n_questions;
    int silence_ms;
    double buffer_seconds;
    double spread_seconds;      /* the first question comes up to so much later */
    double think_seconds;       /* pause before a question, drawn between 0.4 and 1.6 of it */
    double interrupting;        /* share of answers that are interrupted */
    bool ending;                /* no new questions */
} load_plan;

typedef struct load_person load_person;

/* start: when to connect, on the monotonic clock. NULL: out of memory. plan and tally are borrowed. */
load_person *load_person_new(const load_plan *plan, load_tally *tally, double start, unsigned seed);
void         load_person_free(load_person *person);         /* NULL is allowed; hangs up */

/* Does what is due; returns when something will be. */
double load_person_tick(load_person *person, double now);
/* The socket to poll, -1: none now. */
int    load_person_fd(const load_person *person);
short  load_person_events(const load_person *person);
void   load_person_ready(load_person *person, short revents);

bool   load_person_gave_up(const load_person *person);      /* refused for good */
bool   load_person_at_rest(const load_person *person);      /* no question is on its way and no answer sounds */
/* The end of the measurement: counts what is still on its way, and says goodbye to the server. */
void   load_person_leave(load_person *person);

double load_now(void);                                      /* seconds, monotonic */

#endif
