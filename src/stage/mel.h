/* mel: samples to log-mel frames. The card is in mel.c. Spec §2 of MODEL.md. */
#ifndef OM_MEL_H
#define OM_MEL_H

#include "base/hparams.h"

#include <stddef.h>

typedef struct om_mel om_mel;

/* filters: [n_mels][n_fft/2+1], copied. ERR_MEMORY; ERR_MODEL: n_fft odd or above 4096, or
 * frames != window / hop. */
int  om_mel_new(const om_hparams *hp, const float *filters, om_mel **out);
void om_mel_free(om_mel *mel);
void om_mel_reset(om_mel *mel);
/* Appends samples; frames are computed as they come. Beyond the window nothing is taken:
 * *taken < n (taken may be NULL). ERR_STATE after finish. */
int  om_mel_push(om_mel *mel, const float *x, size_t n, size_t *taken);
/* Pads with zeros to the window; afterwards pull works. */
int  om_mel_finish(om_mel *mel);
/* [F][n_mels] normalised log-mel (needs the maximum over the window, hence only
 * after finish): OK, or AGAIN before finish. */
int  om_mel_pull(om_mel *mel, float *out);
/* Slaney filterbank, bit-exact with librosa (spec §2.4): out [n_mels][n_fft/2+1]. */
void om_mel_filters(int sample_rate, int n_fft, int n_mels, float *out);

#endif
