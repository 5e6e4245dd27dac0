"""Checkpoints as they are published: safetensors shards with an index, Whisper's file, the vocoder's file."""

import json
import os

import numpy as np
import torch

NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


def raw(tensor):
    """The bytes of a tensor, row by row; numpy has no bfloat16."""
    tensor = tensor.contiguous()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy().tobytes()


def write_safetensors(path, tensors):
    """Length of the header, the header (JSON, padded to 8 bytes), the bytes of all tensors."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, t in tensors.items():
        size = t.numel() * t.element_size()
        header[name] = {"dtype": NAMES[t.dtype], "shape": list(t.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(np.uint64(len(text)).tobytes() + text)
        for t in tensors.values():
            f.write(raw(t))


def write_shards(folder, tensors, n):
    """n files of about the same size and their index; one file has none."""
    if n == 1:
        write_safetensors(f"{folder}/model.safetensors", tensors)
        return
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    shards, at = [{} for _ in range(n)], 0
    for name, t in tensors.items():
        shards[min(n - 1, at * n // total)][name] = t
        at += t.numel() * t.element_size()
    names = [f"model-{i + 1:05d}-of-{n:05d}.safetensors" for i in range(n)]
    for name, shard in zip(names, shards):
        write_safetensors(f"{folder}/{name}", shard)
    index = {"metadata": {"total_size": total},
             "weight_map": {t: name for name, shard in zip(names, shards) for t in sorted(shard)}}
    with open(f"{folder}/model.safetensors.index.json", "w", encoding="utf-8") as f:
        json.dump(index, f, indent=2)


def shared_and_strided(tensors):
    """The same values as views: vectors cut from one storage, matrices stored transposed."""
    vectors = {name: t for name, t in tensors.items() if t.dim() == 1}
    store = torch.cat(list(vectors.values()))
    out, at = {}, 0
    for name, t in tensors.items():
        if t.dim() == 1:
            out[name] = store[at:at + len(t)]
            at += len(t)
        else:
            out[name] = t.transpose(0, t.dim() - 1).contiguous().transpose(0, t.dim() - 1)
    return out


def write_whisper(path, encoder, dims, legacy, views):
    """large-v3.pt: sizes, and the weights of the encoder and of the text decoder."""
    width = dims["n_text_state"]
    decoder = {"token_embedding.weight": (dims["n_vocab"], width), "positional_embedding": (dims["n_text_ctx"], width),
               "blocks.0.attn.query.weight": (width, width), "blocks.0.cross_attn.key.weight": (width, width),
               "ln.weight": (width,), "ln.bias": (width,)}
    dtype = encoder["conv1.weight"].dtype
    state = {"decoder." + name: torch.full(shape, 0.25, dtype=dtype) for name, shape in decoder.items()}
    state.update({"encoder." + name: t for name, t in (shared_and_strided(encoder) if views else encoder).items()})
    torch.save({"dims": dims, "model_state_dict": state}, path, _use_new_zipfile_serialization=not legacy)


def write_vocoder(folder, config_folder, tensors, config, legacy):
    os.makedirs(folder, exist_ok=True)
    os.makedirs(config_folder, exist_ok=True)
    torch.save({"generator": tensors}, f"{folder}/g_00500000", _use_new_zipfile_serialization=not legacy)
    with open(f"{config_folder}/config.json", "w", encoding="utf-8") as f:
        json.dump(config, f, indent=4)


def write_json(path, content):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(content, f, indent=2)
