/* load-person: see load-person.h. */
#include "load-person.h"

#include "load-event.h"
#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHUNK_SECONDS ((double)LOAD_CHUNK / LOAD_RATE)
enum { OPEN_SECONDS = 20, ANSWER_SECONDS = 30, MESSAGE_BYTES = 2048 };

typedef enum mood { THINKING, SPEAKING, WAITING, LISTENING } mood;

/* The answer that is heard, or was heard last. */
typedef struct answer {
    char response[80], item[80];
    double began;               /* arrival of its first sound; 0: none yet */
    double received;            /* seconds of sound */
    double held, resumed;       /* what had been played when playing (again) began, and when that was; 0: it waits for more */
    double dry;                 /* since when it waits after an underrun; 0: it does not */
    bool done;                  /* no more will come */
    bool stopped;               /* by the person: it sounds no longer */
    double interrupt_at;        /* share of what was received after which the person interrupts; 2: never */
} answer;

struct load_person {
    const load_plan *plan;
    load_tally *tally;
    load_socket *socket;        /* NULL: not connected */
    double connect_at;          /* when the socket is NULL */
    double opened;              /* when the connection was begun */
    bool gave_up, streaming;    /* streaming: the session is there, and the microphone on */
    uint32_t random;
    /* the microphone */
    double began;               /* time of sample 0 */
    uint64_t n_sent;
    mood mood;
    double speak_at;            /* THINKING */
    const load_question *question;
    size_t at;                  /* next sample of it */
    /* the question that was asked last, by the clock */
    double speech_from, speech_to;      /* its loud part */
    double stopped_at;          /* arrival of speech_stopped */
    bool asked;                 /* waits for its answer */
    bool interrupting;          /* was begun into an answer, and the server has not noticed yet */
    answer answer;
};

double load_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Between 0 and 1. */
static double draw(load_person *p)
{
    p->random = p->random * 1664525u + 1013904223u;
    return (double)(p->random >> 8) / (1 << 24);
}

static void measure(load_series *series, const load_tally *t, double now, double seconds)
{
    (void)load_series_add(series, now - t->began, seconds * 1e3);   /* out of memory: said already */
}

static void think(load_person *p, double now)
{
    p->mood = THINKING;
    p->asked = p->interrupting = false;
    p->speak_at = now + p->plan->think_seconds * (0.4 + 1.2 * draw(p));
}

/* ---- hearing the answer ----------------------------------------------------------------- */

/* Seconds of it that were played. */
static double heard(const answer *a, double now)
{
    const double there = a->received - a->held, played = now - a->resumed;
    return a->resumed == 0 ? a->held : a->held + (played < there ? played : there);
}

static bool sounds(const answer *a, double now)
{
    return a->began > 0 && !a->stopped && (!a->done || heard(a, now) < a->received);
}

/* It was used up before more came. */
static void run_dry(load_person *p, double now)
{
    answer *a = &p->answer;
    const double dry = a->resumed + a->received - a->held;
    if (a->resumed == 0 || a->done || now <= dry) return;
    p->tally->underruns++;
    a->dry = dry;
    a->held = a->received;
    a->resumed = 0;
}

/* It sounds no longer: heard to its end, or not. */
static void conclude(load_person *p, double now)
{
    answer *a = &p->answer;
    if (a->began == 0 || a->stopped) return;
    p->tally->finished += !sounds(a, now);
    run_dry(p, now);
    if (a->dry > 0) p->tally->underrun_seconds += now - a->dry;
    a->dry = 0;
    p->tally->heard_seconds += heard(a, now);
    a->stopped = true;
}

/* Sound has come, or its end: plays once enough of it waits. */
static void play(load_person *p, double now)
{
    answer *a = &p->answer;
    if (a->resumed > 0 || (!a->done && a->received - a->held < p->plan->buffer_seconds)) return;
    if (a->dry > 0) p->tally->underrun_seconds += now - a->dry;
    a->dry = 0;
    a->resumed = now;
}

/* What clients do when the person speaks: stop playing, and tell the server how much was heard. */
static void stop_playing(load_person *p, double now)
{
    char text[512];
    answer *a = &p->answer;
    const double seconds = heard(a, now);
    conclude(p, now);
    const size_t n = load_say_truncate(text, sizeof text, a->item, (int)(seconds * 1e3));
    if (n) load_socket_send(p->socket, text, n);
}

static void first_sound(load_person *p, double now)
{
    answer *a = &p->answer;
    a->began = now;
    const bool interrupts = draw(p) < p->plan->interrupting;
    const double share = 0.2 + 0.6 * draw(p);
    a->interrupt_at = interrupts ? share : 2;
    if (!p->asked) return;
    if (now < p->speech_to) {           /* the server took a pause in the question for its end */
        p->tally->cut++;
        return;
    }
    measure(&p->tally->first, p->tally, now, now - p->speech_to);
    if (p->stopped_at > p->speech_to) measure(&p->tally->own, p->tally, now, now - p->stopped_at);
    p->asked = p->interrupting = false;
    p->mood = LISTENING;
}

static void on_audio(load_person *p, const load_event *e, double now)
{
    answer *a = &p->answer;
    if (e->n_bytes == 0 || strcmp(e->response, a->response) != 0 || a->stopped) return;
    if (a->began == 0) {
        memcpy(a->item, e->item, sizeof a->item);
        first_sound(p, now);
    }
    run_dry(p, now);
    a->received += (double)e->n_bytes / 2 / LOAD_RATE;
    play(p, now);
}

static void on_done(load_person *p, const load_event *e, double now)
{
    char word[96];
    answer *a = &p->answer;
    if (strcmp(e->response, a->response) != 0) return;
    a->done = true;
    if (a->began > 0) play(p, now);
    if (strcmp(e->status, "failed") == 0) {
        snprintf(word, sizeof word, "answer failed: %s", e->code);
        load_words_add(&p->tally->errors, word);
    }
    if (a->began > 0 || a->stopped || strcmp(e->status, "cancelled") == 0) return;
    p->tally->mute++;
    if (p->mood == WAITING) think(p, now);
}

static void on_speech_started(load_person *p, double now)
{
    if (sounds(&p->answer, now)) stop_playing(p, now);
    if (p->interrupting) measure(&p->tally->reaction, p->tally, now, now - p->speech_from);
    p->interrupting = false;
    const bool listens = p->mood == LISTENING;
    if (p->mood == THINKING || (listens && !p->asked)) p->tally->strays++;
    if (listens && p->asked) p->mood = WAITING;     /* the rest of a question that was cut */
    else if (listens) think(p, now);                /* the server took something for an interruption */
}

/* ---- events -------------------------------------------------------------------------------- */

static void on_created(load_person *p)
{
    char text[MESSAGE_BYTES];
    const size_t n = load_say_session(text, sizeof text, p->plan->silence_ms);
    load_socket_send(p->socket, text, n);
}

static void on_updated(load_person *p, double now)
{
    if (p->streaming) return;
    p->streaming = true;
    p->tally->opened++;
    p->began = now;
    p->n_sent = 0;
    p->stopped_at = 0;
    p->answer = (answer){.stopped = true};
    think(p, now);
    p->speak_at += p->plan->spread_seconds * draw(p);
}

static void on_error(load_person *p, const load_event *e)
{
    load_words_add(&p->tally->errors, e->code);
    snprintf(p->tally->words, sizeof p->tally->words, "%s: %s", *e->code ? e->code : "error", e->message);
}

static void hear(void *user, const char *text, size_t n)
{
    load_person *p = user;
    const double now = load_now();
    load_event e;
    load_event_read(text, n, &e);
    switch (e.type) {
    case LOAD_EV_CREATED: on_created(p); break;
    case LOAD_EV_UPDATED: on_updated(p, now); break;
    case LOAD_EV_SPEECH_STARTED: on_speech_started(p, now); break;
    case LOAD_EV_SPEECH_STOPPED: p->stopped_at = now; break;
    case LOAD_EV_RESPONSE:
        conclude(p, now);
        p->answer = (answer){.began = 0};
        memcpy(p->answer.response, e.response, sizeof e.response);
        break;
    case LOAD_EV_AUDIO: on_audio(p, &e, now); break;
    case LOAD_EV_DONE: on_done(p, &e, now); break;
    case LOAD_EV_ERROR: on_error(p, &e); break;
    case LOAD_EV_BROKEN: load_words_add(&p->tally->errors, "not an event"); break;
    case LOAD_EV_OTHER: break;
    }
}

/* ---- speaking ---------------------------------------------------------------------------------- */

/* The next question begins with the next sample. */
static void begin_speaking(load_person *p, bool interrupting)
{
    const double at = p->began + (double)p->n_sent / LOAD_RATE;
    p->question = &p->plan->questions[(int)(draw(p) * p->plan->n_questions)];
    p->at = 0;
    p->mood = SPEAKING;
    p->speech_from = at + (double)p->question->loud_from / LOAD_RATE;
    p->speech_to = at + (double)p->question->loud_to / LOAD_RATE;
    p->asked = true;
    p->interrupting = interrupting;
    p->tally->questions++;
    p->tally->interruptions += interrupting;
}

static void finish_speaking(load_person *p, double now)
{
    if (p->interrupting) p->tally->unheard++;
    p->interrupting = false;
    /* The answer to the first half of a question that was cut may sound already. */
    p->mood = p->asked && !sounds(&p->answer, now) ? WAITING : LISTENING;
}

/* What the person does at the beginning of a chunk. */
static void behave(load_person *p, double now)
{
    answer *a = &p->answer;
    if (p->mood == THINKING && now >= p->speak_at && !p->plan->ending) begin_speaking(p, false);
    if (p->mood == WAITING && now > p->speech_to + ANSWER_SECONDS) {
        p->tally->unanswered++;
        think(p, now);
    }
    if (!sounds(a, now)) conclude(p, now);      /* also while an interruption of it is spoken */
    if (p->mood != LISTENING) return;
    if (!sounds(a, now)) {
        think(p, now);
    } else if (!a->done && now > a->began + a->received + ANSWER_SECONDS) {
        load_words_add(&p->tally->errors, "answer without end");
        think(p, now);
    } else if (heard(a, now) > 0.2 && heard(a, now) > a->interrupt_at * a->received && !p->plan->ending) {
        begin_speaking(p, true);
    }
}

static void send_chunk(load_person *p, double now)
{
    int16_t samples[LOAD_CHUNK] = {0};
    char text[MESSAGE_BYTES];
    if (p->mood == SPEAKING) {
        const size_t left = p->question->n - p->at, n = left < LOAD_CHUNK ? left : LOAD_CHUNK;
        memcpy(samples, p->question->samples + p->at, n * sizeof *samples);
        p->at += n;
        if (p->at == p->question->n) finish_speaking(p, now);
    }
    const size_t n = load_say_audio(text, sizeof text, samples, LOAD_CHUNK);
    load_socket_send(p->socket, text, n);
    p->n_sent += LOAD_CHUNK;
    p->tally->chunks++;
}

/* Sends what the microphone has taken up by now; returns when it will have the next chunk. */
static double stream(load_person *p, double now)
{
    for (;;) {
        const double due = p->began + (double)p->n_sent / LOAD_RATE + CHUNK_SECONDS, behind = now - due;
        if (behind < 0) return due;
        if (behind > CHUNK_SECONDS) p->tally->late++;
        if (behind > p->tally->latest) p->tally->latest = behind;
        behave(p, now);
        send_chunk(p, now);
    }
}

/* ---- the connection ------------------------------------------------------------------------------ */

/* Answers that were on their way. */
static void count_lost(load_person *p, double now)
{
    if (p->streaming) conclude(p, now);
    if (p->streaming && p->asked) p->tally->unanswered++;
    p->streaming = p->asked = false;
}

/* Is it of use to try again? As the published clients judge. */
static bool for_good(const load_person *p, const load_ending *e)
{
    const int c = e->code;
    if (e->how == LOAD_REFUSED) return c >= 300 && c < 500 && c != 408 && c != 429;
    if (e->how == LOAD_CLOSED) return c >= 3000 || c == 1000 || c == 1002 || c == 1003 || (c >= 1007 && c <= 1010);
    return e->how == LOAD_UNREACHABLE && p->tally->opened == 0;
}

static void hung_up(load_person *p, double now)
{
    const load_ending *e = load_socket_ending(p->socket);
    char word[160], why[128];
    count_lost(p, now);
    if (e->how == LOAD_REFUSED) {
        load_error_text(e->text, why, sizeof why);
        snprintf(word, sizeof word, "%d", e->code);
        load_words_add(&p->tally->refused, word);
        snprintf(p->tally->words, sizeof p->tally->words, "HTTP status %d: %s", e->code, why);
    } else if (e->how == LOAD_CLOSED) {
        snprintf(word, sizeof word, "closed by the server: %d", e->code);
        load_words_add(&p->tally->errors, word);
        if (!*p->tally->words) snprintf(p->tally->words, sizeof p->tally->words, "close %d %.900s", e->code, e->text);
    } else {
        snprintf(word, sizeof word, "%s: %.100s", e->how == LOAD_LOST ? "lost" : "unreachable", e->text);
        load_words_add(&p->tally->errors, word);
        snprintf(p->tally->words, sizeof p->tally->words, "%s", e->text);
    }
    p->gave_up = for_good(p, e);
    p->connect_at = now + (e->retry_after ? e->retry_after : 1);
    load_socket_close(p->socket);
    p->socket = NULL;
}

static double connect_now(load_person *p, double now)
{
    p->socket = load_socket_open(p->plan->server, hear, p);
    p->opened = now;
    p->streaming = false;
    if (p->socket) return load_socket_phase(p->socket) == LOAD_OVER ? now : now + OPEN_SECONDS;
    p->gave_up = true;
    cli_error("out of memory for a connection");
    return now + OPEN_SECONDS;
}

load_person *load_person_new(const load_plan *plan, load_tally *tally, double start, unsigned seed)
{
    load_person *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->plan = plan;
    p->tally = tally;
    p->connect_at = start;
    p->random = seed * 2654435761u + 1;
    for (int i = 0; i < 4; i++) draw(p);    /* neighbours begin alike */
    return p;
}

void load_person_free(load_person *p)
{
    if (p) load_socket_close(p->socket);
    free(p);
}

double load_person_tick(load_person *p, double now)
{
    if (p->gave_up) return now + OPEN_SECONDS;
    if (!p->socket) {
        if (now < p->connect_at) return p->connect_at;
        return p->plan->ending ? now + 1 : connect_now(p, now);
    }
    const double due = p->streaming ? stream(p, now) : p->opened + OPEN_SECONDS;
    if (!p->streaming && now >= due) load_socket_abandon(p->socket, "no session within 20 s");
    if (load_socket_phase(p->socket) != LOAD_OVER) return due;
    hung_up(p, now);
    return p->connect_at;
}

int load_person_fd(const load_person *p)
{
    return p->socket ? load_socket_fd(p->socket) : -1;
}

short load_person_events(const load_person *p)
{
    return p->socket ? load_socket_events(p->socket) : 0;
}

void load_person_ready(load_person *p, short revents)
{
    if (p->socket) load_socket_ready(p->socket, revents);
}

bool load_person_gave_up(const load_person *p)
{
    return p->gave_up;
}

bool load_person_at_rest(const load_person *p)
{
    return !p->streaming || p->mood == THINKING;
}

void load_person_leave(load_person *p)
{
    count_lost(p, load_now());
    if (p->socket) load_socket_goodbye(p->socket);
}
