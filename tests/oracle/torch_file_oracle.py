"""PyTorch checkpoints of every sort that torch.save makes, and what is in them.

    python3 torch_file_oracle.py OUT_DIR    writes CASE-CONTAINER-PROTOCOL.pt with .txt beside each, and the list "files"

A line of a .txt: array NAME TYPE N_DIMS SHAPE... VALUES... (as f32's bits; none for whole numbers), or number KEY VALUE.
"""

import argparse
import collections
import os
import sys
import warnings

import numpy as np
import torch

TYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64",
         torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL"}


def types():
    odd = torch.tensor([0.0, -0.0, 1.5, -2.25, 1e-7, 6e4, float("inf"), float("-inf"), 3.14159265])
    numbers = torch.arange(6).view(2, 3)
    return {"f32": odd, "f16": odd.half(), "bf16": odd.bfloat16(), "f64": odd.double(), "i64": numbers,
            "i32": numbers.int(), "u8": numbers.byte(), "bool": numbers > 2, "scalar": torch.tensor(2.5),
            "none": torch.zeros(0, 3), "wide": torch.arange(8.).view(1, 2, 1, 2, 1, 2, 1, 1)}


def views():
    base = torch.arange(60, dtype=torch.float32).view(3, 4, 5)
    return {"whole": base, "transposed": base.transpose(0, 2), "stepped": base[:, ::2, 1::3], "row": base[1],
            "last": base[2, 3, 4], "turned": base.half().permute(2, 0, 1), "one": base.bfloat16()[1:2, :, 3:],
            "spread": torch.ones(2, 1).expand(2, 3), "same": base}


def module():
    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 5), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2).half())
    state = net.state_dict()
    state["extra"] = torch.nn.Parameter(torch.randn(2, 2).t())
    return state


def nested():
    return {"lists": [torch.ones(1), [torch.zeros(2), {"deep": torch.arange(3.)}]], 7: torch.full((2,), 7.0),
            "tuple": (torch.ones(1), "text", None, True), "dotted.key": torch.ones(2),
            "args": argparse.Namespace(lr=0.5, layers=[1, 2], name="x", tensor=torch.ones(1)),
            "step": 500000, "minus": -3, "big": 2 ** 40, "negative": -2 ** 40, "flag": True, "ratio": 0.1,
            "np": {"f64": np.float64(0.1), "f32": np.float32(-1.5), "i64": np.int64(-5), "i32": np.int32(-70000),
                   "u8": np.uint8(200), "bool": np.bool_(True)},
            "empty": {}, "size": torch.Size([2, 3]), "ordered": collections.OrderedDict(a=torch.ones(3))}


def whisper():
    torch.manual_seed(2)
    names = {"encoder.conv1.weight": (8, 4, 3), "encoder.conv1.bias": (8,), "encoder.positional_embedding": (6, 8),
             "encoder.blocks.0.attn.query.weight": (8, 8), "decoder.token_embedding.weight": (11, 8)}
    dims = {"n_mels": 4, "n_audio_ctx": 6, "n_audio_state": 8, "n_audio_head": 2, "n_audio_layer": 1, "n_vocab": 11,
            "n_text_ctx": 4, "n_text_state": 8, "n_text_head": 2, "n_text_layer": 1}
    return {"dims": dims, "model_state_dict": {name: torch.randn(shape).half() for name, shape in names.items()}}


def vocoder():
    torch.manual_seed(3)
    norm = torch.nn.utils.weight_norm
    net = torch.nn.ModuleDict({"conv_pre": norm(torch.nn.Conv1d(4, 6, 7)), "dict": torch.nn.Embedding(5, 4),
                               "ups": torch.nn.ModuleList([norm(torch.nn.ConvTranspose1d(6, 3, 4, 2))])})
    return {"generator": net.state_dict()}


def arrays(value, name=""):
    """(name, tensor) of everything, as the reader names it."""
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if isinstance(value, torch.Tensor):
        yield name, value.detach()
    elif isinstance(value, dict) or (isinstance(value, (list, tuple)) and not isinstance(value, torch.Size)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from arrays(inner, f"{name}.{key}" if name else str(key))


def numbers(value, name=""):
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (bool, int, float, np.generic)):
        yield name, float(value)


def describe(value, path):
    with open(path, "w", encoding="utf-8") as f:
        for name, t in sorted(arrays(value)):
            print("array", name, TYPES[t.dtype], t.dim(), *t.shape, end="", file=f)
            if t.is_floating_point():
                for bits in t.float().contiguous().view(-1).numpy().view(np.uint32):
                    print(f" {bits:x}", end="", file=f)
            print(file=f)
        for name, v in numbers(value):
            print("number", name, v.hex(), file=f)


def main(out_dir):
    warnings.simplefilter("ignore")
    os.makedirs(out_dir, exist_ok=True)
    files = []
    for case in (types, views, module, nested, whisper, vocoder):
        for container in ("zip", "legacy"):
            for protocol in (2, 3, 4, 5):
                name = f"{case.__name__}-{container}-{protocol}"
                value = case()
                torch.save(value, os.path.join(out_dir, name + ".pt"), pickle_protocol=protocol,
                           _use_new_zipfile_serialization=container == "zip")
                describe(value, os.path.join(out_dir, name + ".txt"))
                files.append(name)
    torch.save(torch.nn.Linear(2, 2), os.path.join(out_dir, "program.pt"))      # names a class: to be refused
    torch.jit.script(torch.nn.Linear(2, 2)).save(os.path.join(out_dir, "script.pt"))
    torch.save(torch.ones(2), os.path.join(out_dir, "nameless.pt"))
    torch.save({"step": 1}, os.path.join(out_dir, "numbers.pt"))
    with open(os.path.join(out_dir, "files"), "w", encoding="utf-8") as f:
        f.write("\n".join(files) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
