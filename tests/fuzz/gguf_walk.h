/* Everything a program does with an opened file: metadata, hyper-parameters, every tensor. */
#ifndef GGUF_WALK_H
#define GGUF_WALK_H

#include "base/hparams.h"
#include "base/weights.h"

#include <stdlib.h>
#include <string.h>

static inline int count_text(void *user, const char *key, const char *value)
{
    *(size_t *)user += strlen(key) + strlen(value);
    return 0;
}

static inline void walk_file(const char *path)
{
    enum { MOST = 1 << 16 };    /* elements of a tensor worth converting */
    om_weights *w = NULL;
    om_hparams hp;
    size_t letters = 0;

    if (om_weights_open(path, &w) != 0)
        return;
    om_weights_each_metadata(w, count_text, &letters);
    om_hparams_read(w, &hp);
    for (int64_t i = 0; i < om_weights_tensor_count(w); i++) {
        const om_tensor_desc *t = om_weights_tensor(w, i), *found = NULL;
        int64_t shape[4], n = 1;

        if (t->offset > om_weights_file_bytes(w) || t->bytes > om_weights_file_bytes(w) - t->offset)
            abort();            /* the promise of om_weights_open */
        for (int d = 0; d < t->n_dims; d++) {
            shape[d] = t->ne[t->n_dims - 1 - d];
            n *= shape[d];
        }
        if (om_weights_need(w, t->name, t->n_dims, shape, &found) != 0 || found != t)
            abort();
        if (n <= MOST) {
            float *x = malloc((size_t)n * sizeof *x);

            if (x)
                om_weights_read_f32(w, t, x);
            free(x);
        }
    }
    om_weights_free(w);
}

#endif
