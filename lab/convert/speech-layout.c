/* speech-layout: see the header. */
#include "speech-layout.h"

#include "base/hparams.def"
#include "tensors.def"

#include <stdio.h>
#include <string.h>

void om_speech_set_metadata(struct gguf_context *g, const char *name, const om_hparams *hp)
{
    gguf_set_val_str(g, "general.architecture", OM_SPEECH_ARCHITECTURE);
    gguf_set_val_str(g, "general.name", name);
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

typedef struct walk {
    int (*visit)(void *user, const om_speech_tensor *t);
    void *user;
    int i, j, rc;
} walk;

static void visit(walk *w, const char *format, const char *name, om_tensor_kind kind, int n_dims, const int64_t *shape)
{
    om_speech_tensor t = {.format = format, .name = name, .i = w->i, .j = w->j, .kind = kind, .n_dims = n_dims};

    memcpy(t.shape, shape, (size_t)n_dims * sizeof *shape);
    if (!w->rc)
        w->rc = w->visit(w->user, &t);
}

int om_speech_each(const om_hparams *hp, int (*visitor)(void *user, const om_speech_tensor *t), void *user)
{
    walk w = {.visit = visitor, .user = user};
    char name[64];
    int i = 0, j = 0;

#define VISIT(format, kind, n_dims, ...) \
    snprintf(name, sizeof name, format, i, j); \
    w.i = i, w.j = j; \
    visit(&w, format, name, OM_KIND_##kind, n_dims, (int64_t[]){__VA_ARGS__});
#define VISIT1(format, kind, a)       VISIT(format, kind, 1, a)
#define VISIT2(format, kind, a, b)    VISIT(format, kind, 2, a, b)
#define VISIT3(format, kind, a, b, c) VISIT(format, kind, 3, a, b, c)
#if defined(__GNUC__)      /* most formats use neither or one of the two indices */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-extra-args"
#endif
    OM_TENSORS_ONCE(VISIT1, VISIT2, VISIT3)
    for (i = 0; i < hp->enc.layers; i++) {
        OM_TENSORS_ENC(VISIT1, VISIT2, VISIT3)
    }
    for (i = 0; i < hp->dec.layers; i++) {
        OM_TENSORS_DEC(VISIT1, VISIT2, VISIT3)
    }
    for (i = 0; i < hp->voc.n_stages; i++) {
        OM_TENSORS_UP(VISIT1, VISIT2, VISIT3)
    }
    for (i = 0; i < hp->voc.n_stages * hp->voc.n_res; i++) {
        for (j = 0; j < hp->voc.n_dil; j++) {
            OM_TENSORS_RES(VISIT1, VISIT2, VISIT3)
        }
    }
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
    return w.rc;
}
