/*
 * vad: where somebody speaks, in a stream of 16 kHz samples. The card is in vad.c.
 * Positions count samples since the last reset.
 */
#ifndef OM_VAD_H
#define OM_VAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct om_vad om_vad;

enum {
    OM_VAD_RATE = 16000,
    OM_VAD_TAIL_MS = 100        /* a pause is told so long after the last speech */
};

typedef struct om_vad_params {
    float threshold;            /* 0 ... 1, the speech probability that counts; 0.5 is usual */
    int   silence_ms;           /* silence that ends speech, at least OM_VAD_TAIL_MS */
} om_vad_params;

typedef enum om_vad_kind {
    OM_VAD_START,               /* at: the onset */
    OM_VAD_PAUSE,               /* at: where speech ended, OM_VAD_TAIL_MS ago */
    OM_VAD_RESUME,              /* it goes on after a pause; at: the new onset */
    OM_VAD_STOP                 /* silence_ms after the last pause's position; at: that position */
} om_vad_kind;

typedef struct om_vad_event {
    om_vad_kind kind;
    uint64_t at;                /* samples since reset */
} om_vad_event;

/* ERR_ARG, ERR_MEMORY. */
int  om_vad_new(const om_vad_params *params, om_vad **out);
void om_vad_free(om_vad *vad);
/* Forgets the stream, noise floor included. */
void om_vad_reset(om_vad *vad);
/* ERR_ARG. What was heard stays. */
int  om_vad_set(om_vad *vad, const om_vad_params *params);
/* Ends speech in progress without an event, and of its sound nothing is heard any more; the noise floor stays. */
void om_vad_stop(om_vad *vad);
/* Takes samples up to the next event, *taken of n. AGAIN: an event waits for pull, nothing was taken. */
int  om_vad_push(om_vad *vad, const float *x, size_t n, size_t *taken);
/* The event at the end of what was taken; AGAIN: none. */
int  om_vad_pull(om_vad *vad, om_vad_event *event);

bool om_vad_speaking(const om_vad *vad);        /* between START and STOP */
/* Position behind the last frame that was speech: it grows while somebody speaks. */
uint64_t om_vad_last_speech(const om_vad *vad);
/* At the last frame: 0 ... 1. */
float om_vad_probability(const om_vad *vad);

#endif
