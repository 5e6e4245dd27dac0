/* load-event: the Realtime protocol's events (GA dialect) as far as a load generator needs them. load-event.c
 * alone reads JSON, with jansson. */
#ifndef LOAD_EVENT_H
#define LOAD_EVENT_H

#include <stddef.h>
#include <stdint.h>

typedef enum load_event_type {
    LOAD_EV_BROKEN,             /* not an object with a type */
    LOAD_EV_OTHER,
    LOAD_EV_CREATED,            /* the session */
    LOAD_EV_UPDATED,
    LOAD_EV_SPEECH_STARTED,
    LOAD_EV_SPEECH_STOPPED,
    LOAD_EV_RESPONSE,           /* an answer begins */
    LOAD_EV_AUDIO,
    LOAD_EV_DONE,               /* an answer has ended */
    LOAD_EV_ERROR
} load_event_type;

typedef struct load_event {
    load_event_type type;
    char response[80];          /* RESPONSE, AUDIO, DONE */
    char item[80];              /* AUDIO */
    char status[24];            /* DONE: completed, cancelled, incomplete, failed */
    char code[64];              /* ERROR; DONE that failed */
    char message[256];
    size_t n_bytes;             /* AUDIO: of sound, once decoded */
} load_event;

void load_event_read(const char *text, size_t n, load_event *event);

/* The message of an HTTP error's body, else its first line. */
void load_error_text(const char *body, char *out, size_t size);

/* What a client says; each fills out and returns its length, 0: too long. */
size_t load_say_session(char *out, size_t size, int silence_ms);
size_t load_say_audio(char *out, size_t size, const int16_t *samples, size_t n);
size_t load_say_truncate(char *out, size_t size, const char *item, int heard_ms);

#endif
