/*
 * vocoder: units to samples, streaming, exact: the samples do not depend on how
 * units were cut into pushes. The card is in vocoder.c.
 */
#ifndef OM_VOCODER_H
#define OM_VOCODER_H

#include "base/graph.h"
#include "base/hparams.h"
#include "base/weights.h"

#include <stddef.h>
#include <stdint.h>

typedef struct om_vocoder_weights om_vocoder_weights;
typedef struct om_vocoder om_vocoder;

int  om_vocoder_load(const om_weights *w, const om_hparams *hp, om_device *dev, bool force_f32,
                     om_vocoder_weights **out);
void om_vocoder_unload(om_vocoder_weights *vw);
/* As om_vocoder_load. plain: ggml's operators also on a CPU, the yardstick of our own kernels. For tests
 * and benches. */
int  om_vocoder_load_with(const om_weights *w, const om_hparams *hp, om_device *dev, bool force_f32,
                          bool plain, om_vocoder_weights **out);
/* Samples of future that one exact sample needs (interval propagation; 6418 for the public vocoder). */
int  om_vocoder_lookahead(const om_hparams *hp);

int  om_vocoder_new(const om_vocoder_weights *vw, om_device *dev, int n_slots, om_vocoder **out);
/* As om_vocoder_new, with blocks of `block` frames. Samples do not depend on it (tests, benches). */
int  om_vocoder_new_with(const om_vocoder_weights *vw, om_device *dev, int n_slots, int block,
                         om_vocoder **out);
void om_vocoder_free(om_vocoder *voc);
void om_vocoder_reset(om_vocoder *voc, int slot);

/* Units [n] in [0, K); ERR_ARG otherwise. Copied; the slot's buffer grows to a stated ceiling (ERR_LIMIT). */
int  om_vocoder_push(om_vocoder *voc, int slot, const int32_t *units, size_t n);
int  om_vocoder_finish(om_vocoder *voc, int slot);      /* true end: flush */
/* One fixed block of frames for every slot that has one ready. OK: advanced; AGAIN: nothing ready, or
 * too many samples wait for pull. An error (a cancelled computation is one) stops its slot until it is reset, no
 * other. */
int  om_vocoder_run(om_vocoder *voc);
int  om_vocoder_status(const om_vocoder *voc, int slot);    /* the error that stopped the slot, or OK */
/* Takes up to cap finished samples; *n of them. AGAIN when there are none now.
 * After finish and enough runs, om_vocoder_drained tells that all were taken. */
int  om_vocoder_pull(om_vocoder *voc, int slot, float *out, size_t cap, size_t *n);
bool om_vocoder_drained(const om_vocoder *voc, int slot);

/* Durations of the units so far, those that are final: [*n] frames, borrowed until the next call on the
 * slot. NULL when there are none. */
const int32_t *om_vocoder_durations(const om_vocoder *voc, int slot, size_t *n);

/* Early, inexact: what pull would give, now and after enough runs, if the input ended here; for
 * --early-audio. Leaves the slot's exact stream untouched, so it starts where the next pull starts.
 * Fills out[cap], *n = as many as the units so far give. */
int  om_vocoder_early(om_vocoder *voc, int slot, float *out, size_t cap, size_t *n);

#endif
