/*
 * vocoder-duration: how many frames a unit lasts, streaming.
 *
 * takes   embeddings of units, one at a time, [embd] f32
 * gives   durations in frames, dur_kernel - 1 units later (2 for a kernel of 3): each of the
 *         two convolutions over the units waits for half a kernel
 * easy to get wrong: the activation comes before the norm; zero padding only at the true ends,
 *         at the input of each convolution; round half to even; at least one frame
 *
 * Always f32 on the CPU: it is 0.1 MMAC per unit, and rounding decides durations.
 */
#ifndef OM_VOCODER_DURATION_H
#define OM_VOCODER_DURATION_H

#include "base/hparams.h"
#include "base/weights.h"
#include "stage/vocoder-conv.h"

#include <stdint.h>

/* Frames of one unit at most: 80 s at 50 frames per second. Guards against weights that answer infinity. */
enum { OM_VOC_MAX_DURATION = 4096 };

typedef struct om_voc_duration {
    om_voc_packed conv[2];
    float *gain[2], *shift[2];      /* [hidden] of the norms */
    float *proj, proj_bias;         /* [hidden] */
    int embd, hidden, kernel;
} om_voc_duration;

typedef struct om_voc_duration_state {
    float *window[2];       /* [kernel][channels of conv's input, padded], oldest row first */
    float *row;             /* [hidden, padded]: between the two */
    int64_t seen, end;      /* units (and the zeros after them) taken; units in all, INT64_MAX until known */
} om_voc_duration_state;

int  om_voc_duration_load(const om_weights *w, const om_hparams *hp, om_voc_duration *d);
void om_voc_duration_unload(om_voc_duration *d);

int  om_voc_duration_state_new(const om_voc_duration *d, om_voc_duration_state *s);
void om_voc_duration_state_free(om_voc_duration_state *s);
void om_voc_duration_state_reset(const om_voc_duration *d, om_voc_duration_state *s);
void om_voc_duration_state_copy(const om_voc_duration *d, om_voc_duration_state *to,
                                const om_voc_duration_state *from);

/* Takes the next unit's embedding, NULL once s->end is set and reached. Returns the duration of
 * the unit that became final, or 0 when none did. */
int  om_voc_duration_step(const om_voc_duration *d, om_voc_duration_state *s, const float *embedding);

/* A tensor of the file as f32; *out is the caller's, om_free. */
int  om_voc_read(const om_weights *w, const char *name, int n_dims, const int64_t *shape, float **out);

#endif
