/* The speech file: every tensor of tensors.def, random; tables that have a formula, exact. */
#include "synth-file.h"

#include "speech-layout.h"

#include "base/memory.h"
#include "base/status.h"
#include "stage/mel.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Whisper's sinusoids: half sines, half cosines, wavelengths from 2 pi to 20000 pi. */
static void fill_positions(float *x, const om_hparams *hp)
{
    const int half = hp->enc.width / 2;

    for (int t = 0; t < hp->enc.context; t++) {
        for (int c = 0; c < half; c++) {
            const double angle = t * exp(-log(10000.0) / (half > 1 ? half - 1 : 1) * c);
            float *row = x + (size_t)t * (size_t)hp->enc.width;

            row[c] = (float)sin(angle);
            row[half + c] = (float)cos(angle);
        }
    }
}

/* Deviation that keeps a unit signal near unit size: 1 / sqrt(what one output sums up). */
static double deviation(const char *name, om_tensor_kind kind, int n_dims, const int64_t *shape, const om_hparams *hp)
{
    double sum = (double)shape[n_dims - 1];

    if (kind == OM_KIND_CONV)
        sum = (double)(shape[1] * shape[2]);
    if (kind == OM_KIND_UPC)               /* about kernel / rate taps meet in one sample */
        sum = (double)shape[0] * (double)shape[2] / (double)hp->voc.rates[name[strlen("voc.up.")] - '0'];
    if (strncmp(name, "voc.res.", 8) == 0)
        sum *= 4;                       /* residual branches add up over the layers */
    if (strcmp(name, "voc.embd") == 0)
        sum = 1;
    if (strcmp(name, "voc.dur.proj.weight") == 0)
        sum *= 9;
    /* Sharp and strong attention in the speech decoder makes the positions of a token differ, as they do
     * in a trained model: otherwise each token would give one unit. */
    if (strncmp(name, "dec.blk.", 8) == 0 && (strstr(name, "attn_q") || strstr(name, "attn_k")))
        sum /= 16;
    if (strncmp(name, "dec.blk.", 8) == 0 && strstr(name, "attn_out"))
        sum /= 9;
    return 1.0 / sqrt(sum);
}

typedef struct target {
    om_synth_file *file;
    const om_hparams *hp;
} target;

static int add_tensor(void *user, const om_speech_tensor *t)
{
    om_synth_file *f = ((target *)user)->file;
    const om_hparams *hp = ((target *)user)->hp;
    const size_t n = strlen(t->name);
    float *table;

    if (strcmp(t->name, "mel.filters") == 0) {
        table = om_synth_table(f, t->name, t->n_dims, t->shape);
        if (table)
            om_mel_filters(hp->audio.sample_rate, hp->audio.n_fft, hp->audio.n_mels, table);
    } else if (strcmp(t->name, "enc.pos") == 0) {
        table = om_synth_table(f, t->name, t->n_dims, t->shape);
        if (table)
            fill_positions(table, hp);
    } else if (strcmp(t->name, "voc.dur.proj.bias") == 0) {
        om_synth_constant(f, t->name, t->shape[0], 0.85f);    /* about 1.7 frames per unit, as real speech has */
    } else if (t->n_dims == 1) {
        const bool bias = n > 5 && strcmp(t->name + n - 5, ".bias") == 0;

        om_synth_constant(f, t->name, t->shape[0], bias ? 0.0f : 1.0f);
    } else {
        const enum ggml_type type = t->kind == OM_KIND_F32 ? GGML_TYPE_F32
            : t->kind == OM_KIND_MAT ? om_synth_matrix_type(f, t->shape[t->n_dims - 1]) : om_synth_conv_type(f);

        om_synth_noise(f, t->name, type, t->n_dims, t->shape, deviation(t->name, t->kind, t->n_dims, t->shape, hp));
    }
    return OMNI_OK;
}

int om_synth_speech(const om_synth_shape *shape, const char *type, uint64_t seed, const om_synth_sink *sink,
                    uint64_t *bytes)
{
    om_synth_file *f = NULL;
    int rc = om_synth_file_new(type, &f);

    if (rc)
        return rc;
    om_speech_set_metadata(om_synth_file_metadata(f), shape->name, &shape->speech);
    om_speech_each(&shape->speech, add_tensor, &(target){.file = f, .hp = &shape->speech});
    rc = om_synth_file_write(f, seed, sink, bytes);
    om_synth_file_free(f);
    return rc;
}
