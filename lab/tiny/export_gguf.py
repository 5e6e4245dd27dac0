"""Write the tiny model's two files: tiny-F16.gguf (the LLM) and tiny-speech-F16.gguf (the rest).

    export_gguf.py WORK OUT_DIR [--random]

Matrices and convolutions become f16, norms, biases and tables stay f32. With --random no training is
needed: files of the right shapes, for trying loaders.
"""

import argparse
import os

import numpy as np

import speech_format as fmt
from gguf_write import Gguf

ALWAYS_F32 = {"mel.filters", "enc.pos", "voc.embd", "voc.dur.proj.weight"}


def stored(name, array):
    """The array in the type it has in the file."""
    small = array.ndim == 1 or name in ALWAYS_F32
    return array.astype(np.float32 if small else np.float16)


def write(path, metadata, shapes, tensors):
    missing, extra = sorted(set(shapes) - set(tensors)), sorted(set(tensors) - set(shapes))
    if missing or extra:
        raise ValueError(f"{path}: missing {missing}, extra {extra}")
    file = Gguf(path)
    metadata(file)
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != tuple(shape):
            raise ValueError(f"{name} is {tuple(tensors[name].shape)}, wanted {shape}")
        file.tensor(name, stored(name, tensors[name]))
    file.close()
    count = sum(int(np.prod(s)) for s in shapes.values())
    print(f"{path}: {len(shapes)} tensors, {count / 1e6:.2f} M numbers, {os.path.getsize(path) / 1e6:.2f} MB")


def interleaved(weight, heads):
    """Rows of a q or k matrix from half-split to interleaved rotation, as llama.cpp's llama wants."""
    rows, width = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, width).swapaxes(1, 2).reshape(rows, width)


def random_tensors(shapes, rng):
    """Weights that keep signals near unit size; norms near one, biases near nought."""
    out = {}
    for name, shape in shapes.items():
        if len(shape) == 1:
            centre = 1.0 if name.endswith(".weight") else 0.0
            out[name] = centre + 0.05 * rng.standard_normal(shape)
        else:
            out[name] = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    return {name: a.astype(np.float32) for name, a in out.items()}


def speech_shapes():
    return {**fmt.encoder_shapes(), **fmt.decoder_shapes(), **fmt.vocoder_shapes()}


def write_random(folder):
    rng = np.random.default_rng(1)
    write(f"{folder}/tiny-F16.gguf", fmt.llm_metadata, fmt.llm_shapes(), random_tensors(fmt.llm_shapes(), rng))
    tensors = random_tensors(speech_shapes(), rng)
    tensors["mel.filters"] = np.abs(tensors["mel.filters"])
    tensors["voc.dur.proj.bias"] += 1.1      # about two frames a unit
    write(f"{folder}/tiny-speech-F16.gguf", fmt.speech_metadata, speech_shapes(), tensors)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work")
    parser.add_argument("out")
    parser.add_argument("--random", action="store_true")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    if args.random:
        write_random(args.out)
        return
    from trained_tensors import llm, speech
    write(f"{args.out}/tiny-F16.gguf", fmt.llm_metadata, fmt.llm_shapes(), llm(args.work, interleaved))
    write(f"{args.out}/tiny-speech-F16.gguf", fmt.speech_metadata, speech_shapes(), speech(args.work))


if __name__ == "__main__":
    main()
