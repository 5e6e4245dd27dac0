"""From training checkpoints to tensors under their names in the GGUF files."""

import re

import numpy as np
import torch

import features
from machine import load_listener

LLM_NAMES = [(r"^model\.embed_tokens\.", "token_embd."), (r"^model\.norm\.", "output_norm."),
             (r"^lm_head\.", "output."), (r"^model\.layers\.", "blk."), (r"\.self_attn\.o_proj\.", ".attn_output."),
             (r"\.self_attn\.([qkv])_proj\.", r".attn_\1."), (r"\.mlp\.(\w+)_proj\.", r".ffn_\1."),
             (r"\.input_layernorm\.", ".attn_norm."), (r"\.post_attention_layernorm\.", ".ffn_norm.")]
ENCODER_NAMES = [(r"^positional_embedding$", "pos"), (r"^blocks\.", "blk."), (r"\.attn\.query\.", ".attn_q."),
                 (r"\.attn\.key\.", ".attn_k."), (r"\.attn\.value\.", ".attn_v."), (r"\.attn\.out\.", ".attn_out."),
                 (r"\.mlp\.0\.", ".mlp_up."), (r"\.mlp\.2\.", ".mlp_down."), (r"^", "enc.")]
ADAPTOR_NAMES = [(r"^linear(\d)\.", r"adaptor.\1.")]
DECODER_NAMES = [(r"^inp\.", "in."), (r"^", "dec.")]
VOCODER_NAMES = [(r"^embd\.weight$", "embd"), (r"^", "voc.")]


def renamed(weights, names):
    out = {}
    for name, tensor in weights.items():
        for pattern, replacement in names:
            name = re.sub(pattern, replacement, name, count=1)
        out[name] = tensor.detach().float().numpy()
    return out


def llm(work, interleaved):
    """The Llama's tensors; q and k rows go to the interleaved order of llama.cpp."""
    tensors = renamed(load_listener(work)[2].state_dict(), LLM_NAMES)
    for name in tensors:
        if re.search(r"attn_[qk]\.", name):
            tensors[name] = interleaved(tensors[name], tensors[name].shape[0] // 64)
    return tensors


def speech(work):
    encoder, adaptor, _ = load_listener(work)
    return {"mel.filters": features.mel_filters().numpy().astype(np.float32),
            **renamed(encoder.state_dict(), ENCODER_NAMES),
            **renamed(adaptor.state_dict(), ADAPTOR_NAMES),
            **renamed(torch.load(f"{work}/decoder.pt")["model"], DECODER_NAMES),
            **renamed(torch.load(f"{work}/vocoder.pt")["model"], VOCODER_NAMES)}
