/* hparams: reads hparams.def's keys and checks what connects them. */
#include "base/hparams.h"

#include "base/hparams.def"
#include "base/status.h"
#include "base/weights.h"

#include <stdint.h>
#include <string.h>

#define PREFIX OM_SPEECH_ARCHITECTURE "."

static int read_all(const om_weights *w, om_hparams *hp)
{
    int rc;

#define READ_U(key, field, lo, hi) \
    if ((rc = om_weights_u32(w, PREFIX key, lo, hi, &hp->field)) != OMNI_OK) return rc;
#define READ_F(key, field, lo, hi) \
    if ((rc = om_weights_f32(w, PREFIX key, lo, hi, &hp->field)) != OMNI_OK) return rc;
#define READ_S(key, field) \
    if ((rc = om_weights_str(w, PREFIX key, &hp->field)) != OMNI_OK) return rc;
#define READ_B(key, field) \
    if ((rc = om_weights_bool(w, PREFIX key, &hp->field)) != OMNI_OK) return rc;
#define READ_A(key, field, count, cap, lo, hi) \
    if ((rc = om_weights_i32s(w, PREFIX key, lo, hi, hp->field, cap, &hp->count)) != OMNI_OK) return rc;
#define READ_O(key, field, otherwise) \
    hp->field = otherwise; \
    if (om_weights_has(w, PREFIX key) && (rc = om_weights_str(w, PREFIX key, &hp->field)) != OMNI_OK) return rc;
    OM_HPARAMS(READ_U, READ_F, READ_S, READ_B, READ_A)
    OM_HPARAMS_OPTIONAL(READ_O)
#undef READ_O
#undef READ_U
#undef READ_F
#undef READ_S
#undef READ_B
#undef READ_A
    return OMNI_OK;
}

/* One line per law; the text names the keys and the numbers. */
#define LAW(holds, ...) \
    do { if (!(holds)) return om_fail(OMNI_ERR_MODEL, __VA_ARGS__); } while (0)

/* Whoever fills in the numbers by other means than read_all, the converter, is held to the table too. */
static int check_ranges(const om_hparams *hp, const char *file)
{
#define CHECK_U(key, field, lo, hi) \
    LAW(hp->field >= (lo) && hp->field <= (hi), "%s: " key ": found %d, wanted %d to %d", file, hp->field, lo, hi);
#define CHECK_F(key, field, lo, hi) \
    LAW(hp->field >= (lo) && hp->field <= (hi), "%s: " key ": found %g, wanted %g to %g", file, (double)hp->field, \
        (double)(lo), (double)(hi));
#define CHECK_NONE(key, field)
#define CHECK_A(key, field, count, cap, lo, hi) \
    LAW(hp->count >= 0 && hp->count <= (cap), "%s: " key ": found %d elements, wanted at most %d", file, hp->count, \
        (int)(cap)); \
    for (int i = 0; i < hp->count; i++) \
        LAW(hp->field[i] >= (lo) && hp->field[i] <= (hi), "%s: " key "[%d]: found %d, wanted %d to %d", file, i, \
            hp->field[i], lo, hi);
    OM_HPARAMS(CHECK_U, CHECK_F, CHECK_NONE, CHECK_NONE, CHECK_A)
#undef CHECK_U
#undef CHECK_F
#undef CHECK_NONE
#undef CHECK_A
    return OMNI_OK;
}

static int check_front(om_hparams *hp, const char *file)
{
    LAW(hp->audio.n_fft % 2 == 0, "%s: audio.n_fft is %d, wanted an even number", file, hp->audio.n_fft);
    LAW(hp->audio.hop <= hp->audio.n_fft, "%s: audio.hop is %d, wanted at most audio.n_fft (%d)", file,
        hp->audio.hop, hp->audio.n_fft);
    LAW(hp->audio.window_samples > hp->audio.n_fft,
        "%s: audio.window_samples is %d, wanted more than audio.n_fft (%d)", file, hp->audio.window_samples,
        hp->audio.n_fft);
    LAW(hp->audio.window_samples % hp->audio.hop == 0,
        "%s: audio.window_samples is %d, wanted a multiple of audio.hop (%d)", file, hp->audio.window_samples,
        hp->audio.hop);
    hp->audio.frames = hp->audio.window_samples / hp->audio.hop;
    LAW(hp->audio.frames == 2 * hp->enc.context,
        "%s: encoder.context is %d, wanted half of the window's %d frames (a convolution has stride 2)", file,
        hp->enc.context, hp->audio.frames);
    LAW(hp->enc.width % hp->enc.heads == 0,
        "%s: encoder.embedding_length is %d, wanted a multiple of encoder.head_count (%d)", file,
        hp->enc.width, hp->enc.heads);
    hp->adaptor.rows = hp->enc.context / hp->adaptor.stack;
    LAW(hp->adaptor.rows >= 1, "%s: adaptor.stack is %d, wanted at most encoder.context (%d)", file,
        hp->adaptor.stack, hp->enc.context);
    return OMNI_OK;
}

static int check_decoder(const om_hparams *hp, const char *file)
{
    LAW(hp->dec.width % hp->dec.heads == 0,
        "%s: decoder.embedding_length is %d, wanted a multiple of decoder.head_count (%d)", file,
        hp->dec.width, hp->dec.heads);
    LAW(hp->dec.width / hp->dec.heads % 2 == 0,
        "%s: decoder heads are %d wide, wanted an even width for the rotation", file,
        hp->dec.width / hp->dec.heads);
    LAW(hp->dec.heads % hp->dec.heads_kv == 0,
        "%s: decoder.head_count is %d, wanted a multiple of decoder.head_count_kv (%d)", file, hp->dec.heads,
        hp->dec.heads_kv);
    /* The lookups of attention and the logits of one token: a small file must not ask for gigabytes. */
    LAW(hp->dec.heads / hp->dec.heads_kv * (2 * hp->dec.upsample - 1) <= 1 << 16,
        "%s: decoder.upsample is %d, wanted less with %d heads for each of decoder.head_count_kv", file,
        hp->dec.upsample, hp->dec.heads / hp->dec.heads_kv);
    LAW((int64_t)hp->dec.upsample * (hp->dec.units + 1) <= 1 << 24,
        "%s: decoder.upsample (%d) times decoder.unit_count (%d) is more than 2^24", file, hp->dec.upsample,
        hp->dec.units);
    /* not <, so that the formula's division by (high - low) is safe */
    LAW(hp->dec.rope_factor <= 1.0f || hp->dec.rope_high > hp->dec.rope_low,
        "%s: decoder.rope_scaling_high_freq is %g, wanted more than decoder.rope_scaling_low_freq (%g)", file,
        (double)hp->dec.rope_high, (double)hp->dec.rope_low);
    return OMNI_OK;
}

static int check_vocoder(om_hparams *hp, const char *file)
{
    int hop = 1;

    LAW(hp->voc.n_stages >= 1, "%s: vocoder.upsample_rates is empty", file);
    LAW(hp->voc.n_kernels == hp->voc.n_stages,
        "%s: vocoder.upsample_kernels has %d elements, wanted %d as upsample_rates", file, hp->voc.n_kernels,
        hp->voc.n_stages);
    LAW(hp->voc.n_res >= 1 && hp->voc.n_dil >= 1,
        "%s: vocoder.resblock_kernels or vocoder.resblock_dilations is empty", file);
    LAW(hp->voc.channels >> hp->voc.n_stages << hp->voc.n_stages == hp->voc.channels,
        "%s: vocoder.initial_channels is %d, wanted a multiple of 2^%d (halved by each stage)", file,
        hp->voc.channels, hp->voc.n_stages);
    for (int i = 0; i < hp->voc.n_stages; i++) {
        int k = hp->voc.kernels[i], r = hp->voc.rates[i];

        LAW(k >= r && (k - r) % 2 == 0,
            "%s: vocoder.upsample_kernels[%d] is %d, wanted upsample_rates[%d] (%d) plus an even number",
            file, i, k, i, r);
        hop *= r;
        LAW(hop <= 1 << 16, "%s: vocoder.upsample_rates multiply to more than 65536 samples per frame", file);
    }
    for (int i = 0; i < hp->voc.n_res; i++)
        LAW(hp->voc.res_kernels[i] % 2 == 1, "%s: vocoder.resblock_kernels[%d] is %d, wanted an odd number",
            file, i, hp->voc.res_kernels[i]);
    LAW(hp->voc.dur_kernel % 2 == 1, "%s: vocoder.duration_kernel is %d, wanted an odd number", file,
        hp->voc.dur_kernel);
    hp->voc.hop = hop;
    return OMNI_OK;
}

int om_hparams_check(om_hparams *hp, const char *file)
{
    int rc = check_ranges(hp, file);

    if (!rc)
        rc = check_front(hp, file);
    if (!rc)
        rc = check_decoder(hp, file);
    if (!rc)
        rc = check_vocoder(hp, file);
    return rc;
}

int om_hparams_read(const om_weights *w, om_hparams *hp)
{
    const char *architecture;
    om_hparams found;
    int version, rc;

    memset(&found, 0, sizeof found);
    rc = om_weights_str(w, "general.architecture", &architecture);
    if (rc)
        return rc;
    if (strcmp(architecture, OM_SPEECH_ARCHITECTURE) != 0)
        return om_fail(OMNI_ERR_MODEL,
                       "%s: general.architecture is \"%s\", wanted \"%s\"; this is not a speech file",
                       om_weights_path(w), architecture, OM_SPEECH_ARCHITECTURE);
    rc = om_weights_u32(w, PREFIX "version", OM_SPEECH_VERSION, OM_SPEECH_VERSION, &version);
    if (!rc)
        rc = read_all(w, &found);
    if (!rc)
        rc = om_hparams_check(&found, om_weights_path(w));
    if (rc)
        return rc;
    *hp = found;
    return OMNI_OK;
}
