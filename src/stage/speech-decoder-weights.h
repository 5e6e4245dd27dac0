/* speech-decoder-weights: what the files of the speech decoder know of its weights. */
#ifndef OM_SPEECH_DECODER_WEIGHTS_H
#define OM_SPEECH_DECODER_WEIGHTS_H

#include "stage/speech-decoder.h"

/* One Llama layer, in the order of OM_TENSORS_DEC. Shapes in C order. */
typedef union om_dec_layer {
    struct {
        struct ggml_tensor *attn_norm;            /* [H] */
        struct ggml_tensor *q, *k, *v, *attn_out; /* [H][H], [Hkv][H] x 2, [H][H] */
        struct ggml_tensor *ffn_norm;             /* [H] */
        struct ggml_tensor *gate, *up, *down;     /* [FF][H] x 2, [H][FF] */
    } t;
    struct ggml_tensor *all[9];
} om_dec_layer;

struct om_speech_decoder_weights {
    int input, width, ff, layers, heads, heads_kv, block, symbols; /* D, H, FF, ..., L, K+1 */
    float eps, rope_base;
    bool packed;                                  /* matrices are laid out for speech-decoder-products */
    double *frequency;                            /* [hd/2] radians per position */
    om_pool pool;
    struct ggml_tensor *in, *in_bias;             /* [H][D], [H] */
    struct ggml_tensor *out, *out_bias;           /* [K+1][H], [K+1] */
    struct ggml_tensor *factors;                  /* [hd/2] unscaled / scaled frequency */
    om_dec_layer *blocks;                         /* [layers] */
};

#endif
