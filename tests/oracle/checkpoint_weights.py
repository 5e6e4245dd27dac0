"""Configurations and random weights of toy checkpoints, by their public names.

Signals stay near unit size, norms differ from one, attention is not flat.
"""

import re

import numpy as np
import torch


# ---- configurations --------------------------------------------------------------

def llm_config(case, tokenizer):
    """config.json"""
    decoder = (case.dec_layers, case.dec_width, case.dec_heads, case.dec_ff)
    ends = [tokenizer.special(name) for name in ("end_of_text", "eom_id", "eot_id")]
    config = {
        "architectures": ["OmniSpeech2SLlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": tokenizer.special("begin_of_text"), "ctc_decoder_config": "(" + ",".join(map(str, decoder)) + ")",
        "ctc_loss_weight": 1.0, "ctc_upsample_factor": case.upsample, "eos_token_id": ends if case.ends_in_config else ends[2],
        "hidden_act": "silu", "hidden_size": case.width, "initializer_range": 0.02, "intermediate_size": case.ff,
        "max_position_embeddings": 4096, "mlp_bias": False, "model_type": "omni_speech2s_llama",
        "num_attention_heads": case.heads, "num_hidden_layers": case.layers, "num_key_value_heads": case.heads_kv,
        "pretraining_tp": 1, "rms_norm_eps": case.eps, "rope_scaling": case.rope_scaling, "rope_theta": case.rope_theta,
        "speech_encoder": "models/speech_encoder/large-v3.pt", "speech_encoder_ds_rate": case.stack,
        "speech_encoder_hidden_size": case.enc_width, "speech_encoder_type": "whisper", "speech_generator_type": "ctc",
        "speech_normalize": False, "speech_projector_type": "linear", "tie_word_embeddings": case.tied,
        "tokenizer_model_max_length": 2048, "tokenizer_padding_side": "right",
        "torch_dtype": str(case.dtype).replace("torch.", ""), "transformers_version": "4.43.4",
        "tune_speech_generator_only": True, "unit_vocab_size": case.units, "use_cache": True,
        "vocab_size": len(tokenizer) + case.spare_ids}
    if case.explicit_head_dim:
        config["head_dim"] = case.width // case.heads
    return config


def generation_config(case, config, tokenizer):
    """generation_config.json: what ends an answer counts here."""
    ends = [tokenizer.special(name) for name in ("end_of_text", "eom_id", "eot_id")]
    return {"_from_model_config": True, "bos_token_id": config["bos_token_id"], "do_sample": True, "eos_token_id": ends,
            "temperature": 0.6, "top_p": 0.9, "transformers_version": "4.43.4"}


def whisper_dims(case):
    return {"n_mels": case.mels, "n_audio_ctx": case.context, "n_audio_state": case.enc_width, "n_audio_head": case.enc_heads,
            "n_audio_layer": case.enc_layers, "n_vocab": 51, "n_text_ctx": 8, "n_text_state": 16, "n_text_head": 2,
            "n_text_layer": 1}


def vocoder_config(case):
    hop = int(np.prod(case.rates))
    return {
        "resblock": "1", "num_gpus": 0, "batch_size": 16, "learning_rate": 0.0002, "adam_b1": 0.8, "adam_b2": 0.99,
        "lr_decay": 0.999, "seed": 1234, "upsample_rates": case.rates, "upsample_kernel_sizes": case.kernels,
        "upsample_initial_channel": case.channels, "resblock_kernel_sizes": case.res_kernels,
        "resblock_dilation_sizes": [case.dilations] * len(case.res_kernels), "num_embeddings": case.units,
        "embedding_dim": case.embd, "model_in_dim": case.embd, "segment_size": 8960, "code_hop_size": hop, "f0": False,
        "num_mels": 80, "num_freq": 1025, "n_fft": 1024, "hop_size": 256, "win_size": 1024,
        "dur_prediction_weight": 1.0,
        "dur_predictor_params": {"encoder_embed_dim": case.embd, "var_pred_hidden_dim": case.dur_hidden,
                                 "var_pred_kernel_size": case.dur_kernel, "var_pred_dropout": 0.5},
        "sampling_rate": 16000, "fmin": 0, "fmax": 8000, "fmax_for_loss": None, "num_workers": 4,
        "dist_config": {"dist_backend": "nccl", "dist_url": "env://"}}


# ---- shapes ------------------------------------------------------------------------

def layer_shapes(prefix, width, kv, ff):
    return {prefix + name + ".weight": shape for name, shape in (
        ("input_layernorm", (width,)), ("mlp.down_proj", (width, ff)), ("mlp.gate_proj", (ff, width)),
        ("mlp.up_proj", (ff, width)), ("post_attention_layernorm", (width,)), ("self_attn.k_proj", (kv, width)),
        ("self_attn.o_proj", (width, width)), ("self_attn.q_proj", (width, width)), ("self_attn.v_proj", (kv, width)))}


def llm_shapes(case, vocab):
    shapes = {"model.embed_tokens.weight": (vocab, case.width)}
    for i in range(case.layers):
        shapes.update(layer_shapes(f"model.layers.{i}.", case.width, case.width // case.heads * case.heads_kv, case.ff))
    shapes["model.norm.weight"] = (case.width,)
    if not case.tied:
        shapes["lm_head.weight"] = (vocab, case.width)
    return shapes


def encoder_shapes(case):
    d = case.enc_width
    shapes = {"conv1.weight": (d, case.mels, 3), "conv1.bias": (d,), "conv2.weight": (d, d, 3), "conv2.bias": (d,),
              "positional_embedding": (case.context, d), "ln_post.weight": (d,), "ln_post.bias": (d,)}
    for i in range(case.enc_layers):
        for name, rows, columns in (("attn.query", d, d), ("attn.key", d, d), ("attn.value", d, d), ("attn.out", d, d),
                                    ("attn_ln", d, 0), ("mlp.0", case.enc_ff, d), ("mlp.2", d, case.enc_ff), ("mlp_ln", d, 0)):
            shapes[f"blocks.{i}.{name}.weight"] = (rows, columns) if columns else (rows,)
            if name != "attn.key":
                shapes[f"blocks.{i}.{name}.bias"] = (rows,)
    return shapes


def projector_shapes(case):
    return {"linear1.weight": (case.hidden, case.stack * case.enc_width), "linear1.bias": (case.hidden,),
            "linear2.weight": (case.width, case.hidden), "linear2.bias": (case.width,)}


def decoder_shapes(case):
    d = case.dec_width
    shapes = {"input_proj.weight": (d, case.width), "input_proj.bias": (d,),
              "output_proj.weight": (case.units + 1, d), "output_proj.bias": (case.units + 1,)}
    for i in range(case.dec_layers):
        shapes.update(layer_shapes(f"layers.{i}.", d, d, case.dec_ff))
    return shapes


def vocoder_shapes(case):
    shapes = {"dict.weight": (case.units, case.embd), "dur_predictor.proj.weight": (1, case.dur_hidden),
              "dur_predictor.proj.bias": (1,)}
    for n, width in ((1, case.embd), (2, case.dur_hidden)):
        shapes[f"dur_predictor.conv{n}.0.weight"] = (case.dur_hidden, width, case.dur_kernel)
        shapes[f"dur_predictor.conv{n}.0.bias"] = (case.dur_hidden,)
        shapes[f"dur_predictor.ln{n}.weight"] = shapes[f"dur_predictor.ln{n}.bias"] = (case.dur_hidden,)

    def normed(name, shape, biases):
        shapes.update({name + ".bias": (biases,), name + ".weight_g": (shape[0], 1, 1), name + ".weight_v": shape})
    normed("conv_pre", (case.channels, case.embd, 7), case.channels)
    for i, kernel in enumerate(case.kernels):
        a, b = case.channels >> i, case.channels >> (i + 1)
        normed(f"ups.{i}", (a, b, kernel), b)
        for j, size in enumerate(case.res_kernels):
            for d in range(len(case.dilations)):
                for half in ("convs1", "convs2"):
                    normed(f"resblocks.{i * len(case.res_kernels) + j}.{half}.{d}", (b, b, size), b)
    normed("conv_post", (1, case.channels >> len(case.kernels), 7), 1)
    return shapes


# ---- values ------------------------------------------------------------------------

def draw(rng, name, shape, dtype):
    x = rng.standard_normal(shape)
    if len(shape) == 1:
        x = (1.0 if "weight" in name else 0.0) + 0.2 * x
    else:
        fan = shape[0] * shape[2] / 2 if name.startswith("ups.") else np.prod(shape[1:])
        gain = 1.5 if re.search(r"(q_proj|k_proj|query|key)\.weight", name) else 1.0
        if name.startswith("layers.") and "o_proj" in name:
            gain = 2.0      # of the speech decoder: only attention tells the positions of a token apart
        x *= gain / np.sqrt(fan)
    return torch.from_numpy(np.asarray(x)).to(dtype)


def draw_all(rng, shapes, dtype, prefix=""):
    return {prefix + name: draw(rng, name, shape, dtype) for name, shape in shapes.items()}


def llm_weights(rng, case, vocab):
    w = draw_all(rng, llm_shapes(case, vocab), case.dtype)
    w["model.embed_tokens.weight"] *= case.width ** 0.5             # unit size, like the projector's rows
    # Random signs: else a tied model would answer with its last token for ever.
    w["model.norm.weight"] *= torch.from_numpy(rng.choice([-1.0, 1.0], case.width)).to(case.dtype)
    return w


def encoder_weights(rng, case, dtype):
    w = draw_all(rng, encoder_shapes(case), dtype)
    w["positional_embedding"] *= 0.3 * case.enc_width ** 0.5
    return w


def vocoder_weights(rng, case):
    w = draw_all(rng, vocoder_shapes(case), torch.float32)
    for name in [n for n in w if n.endswith("weight_g")]:
        v = w[name[:-1] + "v"]      # the gain that leaves v as it is, more or less
        length = v.flatten(1).norm(dim=1).reshape(w[name].shape)
        w[name] = length * torch.from_numpy(rng.uniform(0.7, 1.4, w[name].shape)).float()
        v *= torch.from_numpy(rng.uniform(0.3, 3.0, w[name].shape)).float()
    w["dict.weight"] *= case.embd ** 0.5
    w["dur_predictor.proj.bias"] += 1.1         # exp(1.1) - 1: about two frames a unit
    return w
