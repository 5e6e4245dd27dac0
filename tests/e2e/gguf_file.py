"""The tensors of a GGUF file of f32, f16 or bf16, as float32 arrays."""

import struct

import numpy as np

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}     # of metadata values, by their type
TEXT, LIST = 8, 9
F32, F16, BF16 = 0, 1, 30


class Bytes:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, form):
        value, = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return value

    def text(self):
        n = self.number("Q")
        self.at += n
        return self.data[self.at - n:self.at].decode()

    def skip(self, kind):
        if kind == TEXT:
            self.text()
        elif kind == LIST:
            inner = self.number("I")
            for _ in range(self.number("Q")):
                self.skip(inner)
        else:
            self.at += SIZES[kind]


def numbers(data, kind, at, count):
    if kind == F32:
        return np.frombuffer(data, "<f4", count, at)
    if kind == F16:
        return np.frombuffer(data, "<f2", count, at).astype(np.float32)
    assert kind == BF16, kind
    return (np.frombuffer(data, "<u2", count, at).astype(np.uint32) << 16).view(np.float32)


def tensors(path):
    """{name: array}, shapes slowest first."""
    with open(path, "rb") as f:
        b = Bytes(f.read())
    assert b.number("I") == 0x46554747 and b.number("I") == 3
    n_tensors, n_values = b.number("Q"), b.number("Q")
    for _ in range(n_values):
        b.text()
        b.skip(b.number("I"))
    about = []
    for _ in range(n_tensors):
        name = b.text()
        shape = [b.number("Q") for _ in range(b.number("I"))][::-1]
        about.append((name, shape, b.number("I"), b.number("Q")))
    start = (b.at + 31) // 32 * 32
    return {name: numbers(b.data, kind, start + at, int(np.prod(shape))).reshape(shape) for name, shape, kind, at in about}
