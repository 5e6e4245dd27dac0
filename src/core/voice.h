/*
 * voice: the second half of an answering step: CTC symbols to units, units to the vocoder, samples to
 * AUDIO events. Omega (packet_samples) only groups samples into events.
 */
#ifndef OM_VOICE_H
#define OM_VOICE_H

#include "omni.h"

typedef struct om_voice {
    int32_t *unit_token;    /* [n_units] the answer token that each unit came with */
    int32_t *durations;     /* [n_durations] frames of the units that were settled when the turn ended */
    size_t n_units, n_durations, cap_units;
    float *held;            /* [n_held] samples waiting for a packet to fill */
    size_t n_held, cap_held;
    float *seam;            /* [n_seam] early samples that the exact ones fade in over; made on demand */
    size_t n_seam;
    uint64_t seam_at;       /* where the seam starts, 0 = no early audio was given */
    uint64_t n_exact;       /* samples taken from the vocoder */
    uint64_t n_posted;      /* samples given out in events */
    int32_t previous;       /* CTC symbol, carried over blocks */
    bool finished;          /* the vocoder knows the true end */
    bool early_done;
} om_voice;

void om_voice_free(om_voice *v);                        /* {0} is allowed */
void om_voice_reset(om_voice *v);

/* The symbols [lambda] of answer token number `token`. */
int  om_voice_symbols(omni_session *s, const int32_t *symbols, int token);
int  om_voice_finish(omni_session *s);
/* Moves samples from the vocoder into events. AGAIN: the queue is full. */
int  om_voice_collect(omni_session *s);
size_t om_voice_packet(const omni_session *s);          /* samples of the smallest packet but the last */
bool om_voice_done(const omni_session *s);              /* finished and everything given out */
void om_voice_keep_durations(omni_session *s);
/* How many answer tokens had begun to sound within the first n_samples. */
int  om_voice_tokens_heard(const omni_session *s, uint64_t n_samples);

#endif
