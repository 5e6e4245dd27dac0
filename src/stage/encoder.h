/* encoder: log-mel frames to encoder rows (Whisper). The card is in encoder.c. */
#ifndef OM_ENCODER_H
#define OM_ENCODER_H

#include "base/graph.h"
#include "base/hparams.h"
#include "base/weights.h"

typedef struct om_encoder_weights om_encoder_weights; /* shared, immutable */
typedef struct om_encoder om_encoder;                 /* one job at a time */

int  om_encoder_load(const om_weights *w, const om_hparams *hp, om_device *dev, bool force_f32,
                     om_encoder_weights **out);
void om_encoder_unload(om_encoder_weights *ew);

int  om_encoder_new(const om_encoder_weights *ew, om_device *dev, om_encoder **out);
void om_encoder_free(om_encoder *enc);
void om_encoder_reset(om_encoder *enc);                 /* drops the job */
/* Plain ggml operators only, as on every backend but the CPU. Default false. Between jobs. */
void om_encoder_set_plain(om_encoder *enc, bool plain);
/* Bounds a slice to so many operations (CPU; at least half a layer is done). The rows do not depend on it. Default
 * om_device_slice. */
void om_encoder_set_slice(om_encoder *enc, double flops);
int  om_encoder_push(om_encoder *enc, const float *mel);  /* [F][n_mels]; AGAIN while a job runs */
/* One bounded slice (a few layers): OK when rows are ready, AGAIN when more
 * slices are needed; ERR_STATE without a job or when aborted, ERR_MEMORY, ERR_BACKEND: the job is dropped. */
int  om_encoder_run(om_encoder *enc);
int  om_encoder_pull(om_encoder *enc, float *rows);       /* [E][C]; AGAIN until ready */

#endif
