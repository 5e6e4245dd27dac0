/* The speech file: every tensor of tensors.def, random; tables that have a formula, exact. */
#include "synth-file.h"

#include "base/hparams.def"
#include "base/memory.h"
#include "base/status.h"
#include "stage/mel.h"
#include "tensors.def"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void set_metadata(struct gguf_context *g, const om_synth_shape *s)
{
    const om_hparams *hp = &s->speech;

    gguf_set_val_str(g, "general.architecture", OM_SPEECH_ARCHITECTURE);
    gguf_set_val_str(g, "general.name", s->name);
    gguf_set_val_u32(g, OM_SPEECH_ARCHITECTURE ".version", OM_SPEECH_VERSION);
#define SET_U(key, field, lo, hi) gguf_set_val_u32(g, OM_SPEECH_ARCHITECTURE "." key, (uint32_t)hp->field);
#define SET_F(key, field, lo, hi) gguf_set_val_f32(g, OM_SPEECH_ARCHITECTURE "." key, hp->field);
#define SET_S(key, field)         gguf_set_val_str(g, OM_SPEECH_ARCHITECTURE "." key, hp->field);
#define SET_B(key, field)         gguf_set_val_bool(g, OM_SPEECH_ARCHITECTURE "." key, hp->field);
#define SET_A(key, field, count, cap, lo, hi) \
    gguf_set_arr_data(g, OM_SPEECH_ARCHITECTURE "." key, GGUF_TYPE_INT32, hp->field, (size_t)hp->count);
#define SET_O(key, field, otherwise) \
    if (strcmp(hp->field, otherwise) != 0) gguf_set_val_str(g, OM_SPEECH_ARCHITECTURE "." key, hp->field);
    OM_HPARAMS(SET_U, SET_F, SET_S, SET_B, SET_A)
    OM_HPARAMS_OPTIONAL(SET_O)
#undef SET_O
#undef SET_U
#undef SET_F
#undef SET_S
#undef SET_B
#undef SET_A
}

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

enum { KIND_F32, KIND_MAT, KIND_CONV, KIND_UPC };

/* Deviation that keeps a unit signal near unit size: 1 / sqrt(what one output sums up). */
static double deviation(const char *name, int kind, int n_dims, const int64_t *shape, const om_hparams *hp)
{
    double sum = (double)shape[n_dims - 1];

    if (kind == KIND_CONV)
        sum = (double)(shape[1] * shape[2]);
    if (kind == KIND_UPC)               /* about kernel / rate taps meet in one sample */
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

static void add_tensor(om_synth_file *f, const om_hparams *hp, const char *name, int kind, int n_dims,
                       const int64_t *shape)
{
    const size_t n = strlen(name);
    float *table;

    if (strcmp(name, "mel.filters") == 0) {
        table = om_synth_table(f, name, n_dims, shape);
        if (table)
            om_mel_filters(hp->audio.sample_rate, hp->audio.n_fft, hp->audio.n_mels, table);
    } else if (strcmp(name, "enc.pos") == 0) {
        table = om_synth_table(f, name, n_dims, shape);
        if (table)
            fill_positions(table, hp);
    } else if (strcmp(name, "voc.dur.proj.bias") == 0) {
        om_synth_constant(f, name, shape[0], 0.85f);      /* about 1.7 frames per unit, as real speech has */
    } else if (n_dims == 1) {
        const bool bias = n > 5 && strcmp(name + n - 5, ".bias") == 0;

        om_synth_constant(f, name, shape[0], bias ? 0.0f : 1.0f);
    } else {
        const enum ggml_type type = kind == KIND_F32 ? GGML_TYPE_F32
            : kind == KIND_MAT ? om_synth_matrix_type(f, shape[n_dims - 1]) : om_synth_conv_type(f);

        om_synth_noise(f, name, type, n_dims, shape, deviation(name, kind, n_dims, shape, hp));
    }
}

static void add_tensors(om_synth_file *f, const om_hparams *hp)
{
    char name[64];
    int i = 0, j = 0;

#define NAMED(format) (snprintf(name, sizeof name, format, i, j), name)
#define ADD1(format, kind, a) \
    add_tensor(f, hp, NAMED(format), KIND_##kind, 1, (int64_t[]){a});
#define ADD2(format, kind, a, b) \
    add_tensor(f, hp, NAMED(format), KIND_##kind, 2, (int64_t[]){a, b});
#define ADD3(format, kind, a, b, c) \
    add_tensor(f, hp, NAMED(format), KIND_##kind, 3, (int64_t[]){a, b, c});
#if defined(__GNUC__)      /* most formats use neither or one of the two indices */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-extra-args"
#endif
    OM_TENSORS_ONCE(ADD1, ADD2, ADD3)
    for (i = 0; i < hp->enc.layers; i++) {
        OM_TENSORS_ENC(ADD1, ADD2, ADD3)
    }
    for (i = 0; i < hp->dec.layers; i++) {
        OM_TENSORS_DEC(ADD1, ADD2, ADD3)
    }
    for (i = 0; i < hp->voc.n_stages; i++) {
        OM_TENSORS_UP(ADD1, ADD2, ADD3)
    }
    for (i = 0; i < hp->voc.n_stages * hp->voc.n_res; i++) {
        for (j = 0; j < hp->voc.n_dil; j++) {
            OM_TENSORS_RES(ADD1, ADD2, ADD3)
        }
    }
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
}

int om_synth_speech(const om_synth_shape *shape, const char *type, uint64_t seed, const om_synth_sink *sink,
                    uint64_t *bytes)
{
    om_synth_file *f = NULL;
    int rc = om_synth_file_new(type, &f);

    if (rc)
        return rc;
    set_metadata(om_synth_file_metadata(f), shape);
    add_tensors(f, &shape->speech);
    rc = om_synth_file_write(f, seed, sink, bytes);
    om_synth_file_free(f);
    return rc;
}
