"""Training checkpoints from the two GGUF files, so that training can go on from a model that was shipped.

    import_gguf.py MODEL_DIR WORK

The inverse of export_gguf.py: writes stage1.pt, lm.pt, encoder.pt, decoder.pt and vocoder.pt into WORK. What a
GGUF file does not hold (training heads, optimiser state) starts anew: train_encoder.py, train_stage1.py and
train_speech_decoder.py --start take it from there.
"""

import os
import re
import struct
import sys

import numpy as np
import torch

import model
import speech_decoder
import vocab
import vocoder
from trained_tensors import ADAPTOR_NAMES, DECODER_NAMES, ENCODER_NAMES, LLM_NAMES, VOCODER_NAMES, renamed

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY = 8, 9


class Reader:
    """The tensors of a GGUF file that gguf_write.py wrote (f32 and f16)."""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.data = f.read()
        magic, version, tensors, pairs = struct.unpack_from("<4sIQQ", self.data)
        if magic != b"GGUF" or version != 3:
            raise ValueError(f"{path} is not a GGUF file of version 3")
        self.at = 24
        for _ in range(pairs):
            self.text()
            self.skip(self.number("I"))
        infos = [self.info() for _ in range(tensors)]
        start = -(-self.at // 32) * 32
        self.tensors = {}
        for name, shape, kind, offset in infos:
            flat = np.frombuffer(self.data, [np.float32, np.float16][kind], int(np.prod(shape)), start + offset)
            self.tensors[name] = flat.reshape(shape[::-1]).astype(np.float32)

    def number(self, code):
        value, = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def text(self):
        n = self.number("Q")
        self.at += n
        return self.data[self.at - n:self.at].decode()

    def skip(self, kind):
        if kind == STRING:
            self.text()
        elif kind == ARRAY:
            inner, count = self.number("I"), self.number("Q")
            for _ in range(count):
                self.skip(inner)
        else:
            self.at += SIZES[kind]

    def info(self):
        name = self.text()
        shape = [self.number("Q") for _ in range(self.number("I"))]
        return name, shape, self.number("I"), self.number("Q")


def half_split(weight, heads):
    """Rows of a q or k matrix back from llama.cpp's interleaved order."""
    rows, width = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, width).swapaxes(1, 2).reshape(rows, width)


def state(net, names, tensors):
    """net's state dict, each tensor looked up under the name that the exporter gives it."""
    exported = {own: next(iter(renamed({own: torch.zeros(1)}, names))) for own in net.state_dict()}
    return {own: torch.from_numpy(tensors[name].copy()) for own, name in exported.items()}


def main(folder, work):
    os.makedirs(work, exist_ok=True)
    llm, speech = Reader(f"{folder}/tiny-F16.gguf").tensors, Reader(f"{folder}/tiny-speech-F16.gguf").tensors
    for name in llm:
        if re.search(r"attn_[qk]\.", name):
            llm[name] = half_split(llm[name], llm[name].shape[0] // 64)
    mouth, voice = speech_decoder.SpeechDecoder(), vocoder.Vocoder()
    encoder, adaptor = (state(net, names, speech) for net, names in
                        ((model.Encoder(), ENCODER_NAMES), (model.Adaptor(), ADAPTOR_NAMES)))
    llama = state(model.Llama(vocab.SIZE), LLM_NAMES, llm)
    torch.save(dict(encoder=encoder, adaptor=adaptor, llm=llama), f"{work}/stage1.pt")
    torch.save(llama, f"{work}/lm.pt")
    torch.save(dict(encoder=encoder, adaptor=adaptor), f"{work}/encoder.pt")
    torch.save(dict(model=state(mouth, DECODER_NAMES, speech), config=mouth.config), f"{work}/decoder.pt")
    torch.save(dict(model=state(voice, VOCODER_NAMES, speech), config=voice.config), f"{work}/vocoder.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
