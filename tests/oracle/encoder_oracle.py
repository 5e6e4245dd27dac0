"""Whisper encoder and speech adaptor, written from the specification in plain numpy (float64).

    python3 encoder_oracle.py OUT_DIR                  encoder-*.gguf: toy weights, input, expected rows
    python3 encoder_oracle.py --bench LAYERS TYPE OUT  random weights of the large-v3 shape, nothing expected
"""

import math
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lab", "tiny"))
import gguf_write  # noqa: E402

erf = np.vectorize(math.erf, otypes=[np.float64])


# ---- the model --------------------------------------------------------------

def gelu(x):
    return x * 0.5 * (1.0 + erf(x / math.sqrt(2.0)))


def layer_norm(x, weight, bias, eps):
    mean = x.mean(axis=-1, keepdims=True)
    var = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(var + eps) * weight + bias


def conv1d(x, weight, bias, stride):
    """x [T][in], weight [out][in][3], zero padding 1 -> [T / stride][out]."""
    padded = np.pad(x, ((1, 1), (0, 0)))
    taps = [padded[j:j + len(x):stride] @ weight[:, :, j].T for j in range(3)]
    return sum(taps) + bias


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def attention(x, w, p, heads):
    q = x @ w[p + "attn_q.weight"].T + w[p + "attn_q.bias"]
    k = x @ w[p + "attn_k.weight"].T                          # the key has no bias
    v = x @ w[p + "attn_v.weight"].T + w[p + "attn_v.bias"]
    d = x.shape[1] // heads
    out = np.empty_like(x)
    for h in range(heads):
        s = slice(h * d, (h + 1) * d)
        out[:, s] = softmax(q[:, s] @ k[:, s].T / math.sqrt(d)) @ v[:, s]
    return out @ w[p + "attn_out.weight"].T + w[p + "attn_out.bias"]


def encoder(mel, w, layers, heads, eps):
    """mel [F][n_mels] -> rows [F/2][C]; w: name -> float64 array as in the speech file."""
    x = gelu(conv1d(mel, w["enc.conv1.weight"], w["enc.conv1.bias"], 1))
    x = gelu(conv1d(x, w["enc.conv2.weight"], w["enc.conv2.bias"], 2))
    x = x + w["enc.pos"]
    for i in range(layers):
        p = f"enc.blk.{i}."
        x = x + attention(layer_norm(x, w[p + "attn_ln.weight"], w[p + "attn_ln.bias"], eps), w, p, heads)
        h = layer_norm(x, w[p + "mlp_ln.weight"], w[p + "mlp_ln.bias"], eps)
        h = gelu(h @ w[p + "mlp_up.weight"].T + w[p + "mlp_up.bias"])
        x = x + h @ w[p + "mlp_down.weight"].T + w[p + "mlp_down.bias"]
    return layer_norm(x, w["enc.ln_post.weight"], w["enc.ln_post.bias"], eps)


def adaptor(rows, w, stack):
    """rows [E][C] -> [E // stack][D]; what is left over is discarded."""
    n = len(rows) // stack
    x = rows[:n * stack].reshape(n, stack * rows.shape[1])
    h = np.maximum(0.0, x @ w["adaptor.1.weight"].T + w["adaptor.1.bias"])
    return h @ w["adaptor.2.weight"].T + w["adaptor.2.bias"]


# ---- random weights ---------------------------------------------------------

def shapes(c):
    """name -> shape of every encoder and adaptor tensor; matrices end in .weight and have 2 or 3 axes."""
    C, ff, n = c["width"], c["ff"], c["n_mels"]
    s = {"enc.conv1.weight": (C, n, 3), "enc.conv1.bias": (C,), "enc.conv2.weight": (C, C, 3),
         "enc.conv2.bias": (C,), "enc.pos": (c["context"], C), "enc.ln_post.weight": (C,),
         "enc.ln_post.bias": (C,)}
    for i in range(c["layers"]):
        p = f"enc.blk.{i}."
        for name in ("attn_ln.weight", "attn_ln.bias", "attn_q.bias", "attn_v.bias", "attn_out.bias",
                     "mlp_ln.weight", "mlp_ln.bias", "mlp_down.bias"):
            s[p + name] = (C,)
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            s[p + name + ".weight"] = (C, C)
        s[p + "mlp_up.weight"], s[p + "mlp_up.bias"] = (ff, C), (ff,)
        s[p + "mlp_down.weight"] = (C, ff)
    s["adaptor.1.weight"] = (c["hidden"], c["stack"] * C)
    s["adaptor.1.bias"] = (c["hidden"],)
    s["adaptor.2.weight"] = (c["llm_width"], c["hidden"])
    s["adaptor.2.bias"] = (c["llm_width"],)
    return s


def random_weights(c, rng):
    w = {}
    for name, shape in shapes(c).items():
        x = rng.standard_normal(shape, dtype=np.float32)
        if len(shape) > 1 and name != "enc.pos":
            gain = 1.6 if "attn_q" in name or "attn_k" in name else 1.0   # attention that chooses
            x *= np.float32(gain / math.sqrt(np.prod(shape[1:])))
        elif "ln" in name and name.endswith("weight"):
            x = 1.0 + np.float32(0.2) * x
        else:
            x *= np.float32(0.2)
        w[name] = x.astype(np.float32)
    return w


# ---- stored types -----------------------------------------------------------

class Encoded:
    """Bytes of a ggml type that numpy lacks, shaped for gguf_write."""

    def __init__(self, shape, number, raw):
        self.shape, self.dtype, self.raw, self.nbytes = shape, number, raw, len(raw)

    def tobytes(self):
        return self.raw


BF16, Q8_0 = 30, 8
gguf_write.TENSOR_TYPES.update({BF16: BF16, Q8_0: Q8_0})


def to_bf16(x):
    """(what is stored, its value): round to nearest even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    half = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return Encoded(x.shape, BF16, half.tobytes()), (half.astype(np.uint32) << 16).view(np.float32)


def to_q8_0(x):
    """Blocks of 32 along the last axis: f16 scale, 32 signed bytes."""
    blocks = x.reshape(-1, 32)
    scale = (np.abs(blocks).max(axis=1) / 127).astype(np.float16)
    d = np.where(scale == 0, 1, scale).astype(np.float32)
    q = np.rint(blocks / d[:, None]).clip(-127, 127).astype(np.int8)
    raw = np.concatenate([scale.view(np.uint8).reshape(-1, 2), q.view(np.uint8)], axis=1)
    value = q.astype(np.float32) * scale.astype(np.float32)[:, None]
    return Encoded(x.shape, Q8_0, raw.tobytes()), value.reshape(x.shape)


def stored(name, x, kind):
    """(what to write, the f32 it stands for). Norms, biases and tables stay f32."""
    if kind == "f32" or x.ndim == 1 or name == "enc.pos":
        return x, x
    if kind == "mixed":
        kind = ("bf16", "f16", "q8_0", "f32")[sum(name.encode()) % 4]
    if kind == "q8_0" and x.ndim == 3:
        kind = "f16"                         # convolutions are not quantised
    if kind == "f16":
        half = x.astype(np.float16)
        return half, half.astype(np.float32)
    return to_bf16(x) if kind == "bf16" else to_q8_0(x)


# ---- files ------------------------------------------------------------------

CASES = [
    # n_mels width heads layers ff  context stack hidden llm   type
    ("a", (20, 32, 4, 2, 64, 23, 5, 24, 40), "f32"),       # remainder of 3 rows
    ("b", (80, 64, 1, 1, 96, 50, 3, 33, 17), "f32"),       # one head, odd adaptor sizes
    ("c", (128, 128, 2, 3, 256, 131, 4, 64, 96), "f32"),   # heads of 64, two blocks of keys and a bit
    ("d", (7, 48, 3, 4, 80, 9, 10, 8, 8), "f32"),          # fewer rows than the stack: no row at all
    ("e", (80, 128, 2, 2, 256, 131, 5, 64, 96), "f16"),
    ("f", (80, 128, 2, 2, 256, 131, 5, 64, 96), "bf16"),
    ("g", (80, 128, 2, 2, 256, 131, 5, 64, 96), "q8_0"),
    ("h", (80, 192, 3, 2, 320, 64, 5, 64, 96), "bf16"),    # keys fill one block exactly
    ("i", (80, 96, 3, 2, 160, 40, 5, 64, 96), "bf16"),     # heads of 32
    ("j", (80, 128, 2, 3, 256, 70, 5, 64, 96), "mixed"),   # matrices of several types
]
KEYS = ("n_mels", "width", "heads", "layers", "ff", "context", "stack", "hidden", "llm_width")


def write(path, c, kind, rng, expect):
    f = gguf_write.Gguf(path)
    f.add("general.architecture", "omni-test")
    f.add("test.type", kind)
    for key in KEYS:
        f.add(f"test.{key}", c[key])
    f.add("test.eps", c["eps"])
    w = {}
    for name, x in random_weights(c, rng).items():
        data, value = stored(name, x, kind)
        f.tensors.append((name, data))
        w[name] = value.astype(np.float64) if expect else None
    mel = rng.standard_normal((2 * c["context"], c["n_mels"])).astype(np.float32)
    f.tensor("in.mel", mel)
    if expect:
        rows = encoder(mel.astype(np.float64), w, c["layers"], c["heads"], c["eps"])
        f.tensor("out.encoder", rows.astype(np.float32))
        out = adaptor(rows, w, c["stack"])
        if len(out):
            f.tensor("out.adaptor", out.astype(np.float32))
    f.close()


def main(out_dir):
    os.makedirs(out_dir, exist_ok=True)
    for i, (name, numbers, kind) in enumerate(CASES):
        c = dict(zip(KEYS, numbers), eps=1e-5)
        write(os.path.join(out_dir, f"encoder-{name}.gguf"), c, kind, np.random.default_rng(100 + i), True)


def bench(layers, kind, path):
    c = dict(zip(KEYS, (128, 1280, 20, layers, 5120, 1500, 5, 2048, 4096)), eps=1e-5)
    write(path, c, kind, np.random.default_rng(1), False)


if __name__ == "__main__":
    if sys.argv[1] == "--bench":
        bench(int(sys.argv[2]), sys.argv[3], sys.argv[4])
    else:
        main(sys.argv[1])
