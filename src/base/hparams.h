/*
 * hparams.h - every number of a speech file, read once and checked.
 *
 * Keys and ranges are in hparams.def; nothing about a model is a constant in code.
 * Letters (MODEL.md): F mel frames, E encoder positions, C encoder width, k stack,
 * R speech rows, D LLM width, M answer tokens, L = lambda, H decoder width,
 * K units (blank = K), U units of an answer.
 */
#ifndef OM_HPARAMS_H
#define OM_HPARAMS_H

#include <stdbool.h>

struct om_weights;

enum { OM_MAX_STAGES = 8, OM_MAX_KERNELS = 8, OM_MAX_DILATIONS = 8, OM_MAX_STOPS = 16 };

typedef struct om_hparams {
    struct { int sample_rate, n_fft, hop, n_mels, window_samples; int frames; /* window/hop */ } audio;
    struct { int context, width, layers, heads, ff; float eps; } enc;
    struct { int stack, hidden, rows; /* context / stack */ } adaptor;
    struct { int width; } llm;
    struct {
        int upsample, layers, width, heads, heads_kv, ff, units;
        float eps, rope_base, rope_factor, rope_low, rope_high;
        int rope_original_context;
    } dec;
    struct {
        int embd, channels, dur_hidden, dur_kernel, sample_rate;
        int n_stages, rates[OM_MAX_STAGES], n_kernels, kernels[OM_MAX_STAGES]; /* n_kernels = n_stages */
        int n_res, res_kernels[OM_MAX_KERNELS];
        int n_dil, dilations[OM_MAX_DILATIONS];
        int hop;            /* product of rates: samples per frame */
    } voc;
    struct {
        const char *begin, *user, *speech_suffix, *text_prefix, *text_form, *text_suffix, *turn_end, *tools; /* borrowed from the weights */
        bool add_bos;
        int n_stop, stop[OM_MAX_STOPS];
    } prompt;
} om_hparams;

#define OM_SPEECH_ARCHITECTURE "omni-speech"
enum { OM_SPEECH_VERSION = 1 };

/* Reads and cross-checks (e.g. frames = 2 * context, heads divide widths, kernel - rate even).
 * ERR_MODEL naming file, key, found and wanted. */
int om_hparams_read(const struct om_weights *w, om_hparams *hp);

/* The ranges, the cross-checks, and the numbers that follow from others (frames, rows, hop). file is
 * named in the message. For writers of files; strings are not looked at. ERR_MODEL. */
int om_hparams_check(om_hparams *hp, const char *file);

#endif
