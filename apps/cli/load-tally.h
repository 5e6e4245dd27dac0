/* load-tally: what a load generator counts, and the percentiles of it. */
#ifndef LOAD_TALLY_H
#define LOAD_TALLY_H

#include <stddef.h>

/* Times, each with its moment. */
typedef struct load_series {
    double *at, *ms;            /* [n]: seconds since the beginning; milliseconds */
    size_t n, room;
} load_series;

typedef struct load_quantiles {
    int n;
    double p50, p95, p99, most, mean;   /* nearest rank; 0 when n is */
} load_quantiles;

/* How often each of a few words was seen. */
enum { LOAD_WORDS = 24 };
typedef struct load_words {
    struct { char word[72]; int n; } list[LOAD_WORDS];  /* the last one takes those that find no place */
    int n;
} load_words;

typedef struct load_tally {
    double began;               /* on the monotonic clock */
    load_series first;          /* last loud sample sent, to the first sound of the answer */
    load_series own;            /* speech_stopped, to the first sound: the server's part */
    load_series reaction;       /* first loud sample of an interruption, to speech_started */
    load_words errors;          /* by code; lost connections and answers that failed among them */
    load_words refused;         /* by HTTP status */
    int opened;                 /* sessions that were greeted */
    int questions, interruptions;
    int finished;               /* answers heard to their end */
    int mute;                   /* answers without sound */
    int cut;                    /* answers that began while the question was still spoken */
    int unheard;                /* interruptions the server did not notice */
    int strays;                 /* speech_started though nobody spoke */
    int unanswered;             /* questions without an answer in 30 s, or to the end */
    int underruns;              /* pauses inside answers because sound came too late */
    double underrun_seconds, heard_seconds;
    long chunks;                /* of 20 ms, sent */
    long late;                  /* ... more than 20 ms after their time: the generator's own fault */
    double latest;              /* seconds */
    char words[1024];           /* why the last conversation that was given up could not be held */
} load_tally;

int  load_series_add(load_series *series, double at, double ms);    /* CLI_OK, or CLI_FAILED after an error line */
double *load_series_sorted(const load_series *series);              /* [n], free() it; NULL when empty or out of memory */
load_quantiles load_series_quantiles(const load_series *series);
void load_words_add(load_words *words, const char *word);
int  load_words_sum(const load_words *words);
void load_tally_free(load_tally *tally);

#endif
