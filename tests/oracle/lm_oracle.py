"""Language model files that must be refused, and one that must not.

    python3 lm_oracle.py OUT_DIR

Writes OUT_DIR/good.gguf and OUT_DIR/bad-<what>.gguf, each with one thing wrong.
"""

import os
import sys
from types import SimpleNamespace

import numpy as np

import toy


class Bent:
    """A toy LLM file with one key or tensor changed; None leaves it out."""

    def __init__(self, path, keys=None, tensors=None):
        self.keys, self.tensors = keys or {}, tensors or {}
        self.file = REAL_GGUF(path)

    def add(self, key, value):
        value = self.keys.get(key, value)
        if value is not None:
            self.file.add(key, value)

    def add_array(self, key, items, kind):
        items = self.keys.get(key, items)
        if items is not None:
            self.file.add_array(key, items, kind)

    def tensor(self, name, x):
        change = self.tensors.get(name, lambda y: y)
        if change is not None:
            self.file.tensor(name, change(x))

    def close(self):
        self.file.close()


REAL_GGUF = toy.Gguf
BAD = {
    "architecture": ({"general.architecture": "nosuch"}, {}),
    "no-architecture": ({"general.architecture": None}, {}),
    "speech": ({"general.architecture": "omni-speech"}, {}),
    "no-width": ({"llama.embedding_length": None}, {}),
    "other-width": ({"llama.embedding_length": 32}, {}),
    "no-heads": ({"llama.attention.head_count": None}, {}),
    "heads": ({"llama.attention.head_count": 7}, {}),
    "no-layers": ({"llama.block_count": None}, {}),
    "too-many-layers": ({"llama.block_count": 3}, {}),
    "no-tokenizer": ({"tokenizer.ggml.model": None, "tokenizer.ggml.tokens": None}, {}),
    "tokenizer": ({"tokenizer.ggml.model": "nosuch"}, {}),
    "few-tokens": ({"tokenizer.ggml.tokens": toy.VOCABULARY[:100], "tokenizer.ggml.token_type": [1] * 100}, {}),
    "no-norm": ({}, {"output_norm.weight": None}),
    "narrow-norm": ({}, {"output_norm.weight": lambda x: x[:32]}),
    "tensor-shape": ({}, {"blk.0.attn_q.weight": lambda x: x[:32]}),
    "no-embedding": ({}, {"token_embd.weight": None}),
}


def main(folder):
    rng = np.random.default_rng(3)
    llm = SimpleNamespace(width=64, heads=4, kv=2, layers=2, ff=96, base=10000.0, eps=1e-5, factors=False, tied=False)
    weights = toy.llm_weights(rng, llm)
    os.makedirs(folder, exist_ok=True)
    toy.write_llm(os.path.join(folder, "good.gguf"), llm, weights)
    for what, (keys, tensors) in BAD.items():
        toy.Gguf = lambda path, k=keys, t=tensors: Bent(path, k, t)
        toy.write_llm(os.path.join(folder, f"bad-{what}.gguf"), llm, weights)
    toy.Gguf = REAL_GGUF


if __name__ == "__main__":
    main(sys.argv[1])
