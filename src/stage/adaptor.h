/* adaptor: k encoder rows stacked, two linear layers, to LLM rows. Card in adaptor.c. */
#ifndef OM_ADAPTOR_H
#define OM_ADAPTOR_H

#include "base/graph.h"
#include "base/hparams.h"
#include "base/weights.h"

typedef struct om_adaptor_weights om_adaptor_weights;
typedef struct om_adaptor om_adaptor;

int  om_adaptor_load(const om_weights *w, const om_hparams *hp, om_device *dev, bool force_f32,
                     om_adaptor_weights **out);
void om_adaptor_unload(om_adaptor_weights *aw);
int  om_adaptor_new(const om_adaptor_weights *aw, om_device *dev, om_adaptor **out);
void om_adaptor_free(om_adaptor *ad);
/* All E rows at once, [E][C] to [R][D]; R = E / k, the remainder is discarded (spec §4). */
int  om_adaptor_run(om_adaptor *ad, const float *rows, float *out);

#endif
