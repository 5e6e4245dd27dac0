/*
 * ear: the input of a session with turn taking: the latest samples, the voice activity detection, and the question
 * that is being collected. Knows nothing of turns. Positions are on the session's input clock.
 */
#ifndef OM_EAR_H
#define OM_EAR_H

#include "omni.h"

#include "stage/vad.h"

typedef struct om_ear {
    omni_turn_params params;
    om_vad *vad;            /* NULL: manual */
    float *history;         /* [n_history] the latest samples, a ring */
    float *question;        /* [n_window] */
    size_t n_history, n_window;
    uint64_t clock;         /* samples heard */
    uint64_t base;          /* clock at the detection's zero */
    uint64_t asked;         /* what lies before it belonged to a question */
    uint64_t answered;      /* up to here an answer was being heard */
    /* the question: from the first segment that was not asked */
    bool collecting;
    uint64_t begin, end;    /* end: of the last segment that ended or paused */
    size_t n_collected;     /* samples in question */
    int n_segments;         /* ended, not asked */
    /* the segment in progress */
    bool heard_onset;       /* there is one */
    bool told;              /* SPEECH_STARTED was given */
    uint64_t onset, from;   /* its first speech; its first sample */
    uint64_t speech_end;
} om_ear;

void om_ear_free(om_ear *ear);                          /* {0} is allowed */
/* On (params->enabled), off, or other parameters; clock: of the next sample. ERR_ARG, ERR_MEMORY: nothing changed. */
int  om_ear_set(om_ear *ear, const omni_turn_params *params, size_t window, uint64_t clock);
/* Drops the question and speech in progress. The noise floor stays. */
void om_ear_clear(om_ear *ear, uint64_t clock);
/* Takes samples up to the next event of the detection; how many. */
size_t om_ear_hear(om_ear *ear, const float *x, size_t n);
bool om_ear_event(om_ear *ear, om_vad_event *event);    /* at: on the input clock */
void om_ear_start(om_ear *ear, uint64_t onset);         /* a segment starts */
void om_ear_pause(om_ear *ear, uint64_t speech_end);    /* it may have ended there */
/* The segment ended: part of the question, or, when it was not told, forgotten. */
void om_ear_stop(om_ear *ear);
/* For an end of input: the segment in progress, if it was told, ends now (true: it was); when there is none that
 * waits, all since the last question does. */
bool om_ear_close(om_ear *ear);
/* Samples of the question, [*n], and how many there would be without the window's limit. */
const float *om_ear_question(const om_ear *ear, size_t *n, uint64_t *n_in_all);
void om_ear_taken(om_ear *ear);                         /* the question was asked */

#endif
