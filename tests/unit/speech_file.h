/*
 * The metadata of a small valid speech file, from hparams.def, with one key
 * changed, left out or given another type.
 */
#ifndef SPEECH_FILE_H
#define SPEECH_FILE_H

#include "base/hparams.def"
#include "base/hparams.h"
#include "unit/gguf_bytes.h"

static inline void small_hparams(om_hparams *hp)
{
    memset(hp, 0, sizeof *hp);
    hp->audio.sample_rate = 16000;
    hp->audio.n_fft = 400;
    hp->audio.hop = 160;
    hp->audio.n_mels = 16;
    hp->audio.window_samples = 3200;
    hp->enc.context = 10;
    hp->enc.width = 8;
    hp->enc.layers = 2;
    hp->enc.heads = 2;
    hp->enc.ff = 16;
    hp->enc.eps = 1e-5f;
    hp->adaptor.stack = 3;
    hp->adaptor.hidden = 12;
    hp->llm.width = 8;
    hp->dec.upsample = 4;
    hp->dec.layers = 2;
    hp->dec.width = 8;
    hp->dec.heads = 2;
    hp->dec.heads_kv = 1;
    hp->dec.ff = 16;
    hp->dec.units = 20;
    hp->dec.eps = 1e-5f;
    hp->dec.rope_base = 10000.0f;
    hp->dec.rope_factor = 1.0f;
    hp->dec.rope_low = 1.0f;
    hp->dec.rope_high = 4.0f;
    hp->dec.rope_original_context = 8192;
    hp->voc.embd = 8;
    hp->voc.channels = 16;
    hp->voc.n_stages = hp->voc.n_kernels = 2;
    hp->voc.rates[0] = 5;
    hp->voc.rates[1] = 4;
    hp->voc.kernels[0] = 11;
    hp->voc.kernels[1] = 8;
    hp->voc.n_res = 2;
    hp->voc.res_kernels[0] = 3;
    hp->voc.res_kernels[1] = 7;
    hp->voc.n_dil = 2;
    hp->voc.dilations[0] = 1;
    hp->voc.dilations[1] = 3;
    hp->voc.dur_hidden = 8;
    hp->voc.dur_kernel = 3;
    hp->voc.sample_rate = 16000;
    hp->prompt.begin = "begin";
    hp->prompt.user = "user";
    hp->prompt.speech_suffix = "speech";
    hp->prompt.text_suffix = "text";
    hp->prompt.turn_end = "end";
    hp->prompt.add_bos = true;
    hp->prompt.n_stop = 1;
    hp->prompt.stop[0] = 2;
}

/* What to do to one key (without "omni-speech."): leave it out, or give it the string "wrong". */
typedef enum { KEY_OMIT, KEY_WRONG_TYPE } key_harm;

static inline void speech_metadata(gguf_bytes *f, const om_hparams *hp, const char *harmed, key_harm harm)
{
    uint64_t pairs = 0;

#define WRITE(key, call) \
    if (!harmed || strcmp(harmed, key) != 0) { call; pairs++; } \
    else if (harm == KEY_WRONG_TYPE) { gguf_key(f, "omni-speech." key, G_U8); gguf_raw(f, "", 1); pairs++; }
#define WRITE_U(key, field, lo, hi) WRITE(key, gguf_u32(f, "omni-speech." key, (uint32_t)hp->field))
#define WRITE_F(key, field, lo, hi) WRITE(key, gguf_f32(f, "omni-speech." key, hp->field))
#define WRITE_S(key, field) WRITE(key, gguf_str(f, "omni-speech." key, hp->field))
#define WRITE_B(key, field) WRITE(key, gguf_bool(f, "omni-speech." key, hp->field))
#define WRITE_A(key, field, count, cap, lo, hi) \
    WRITE(key, gguf_i32s(f, "omni-speech." key, hp->field, (size_t)hp->count))
    gguf_begin(f, 3, 0, 0);
    gguf_str(f, "general.architecture", OM_SPEECH_ARCHITECTURE);
    gguf_u32(f, "omni-speech.version", OM_SPEECH_VERSION);
    pairs += 2;
    OM_HPARAMS(WRITE_U, WRITE_F, WRITE_S, WRITE_B, WRITE_A)
#undef WRITE
#undef WRITE_U
#undef WRITE_F
#undef WRITE_S
#undef WRITE_B
#undef WRITE_A
    memcpy(f->bytes + 16, &pairs, sizeof pairs);
}

#endif
