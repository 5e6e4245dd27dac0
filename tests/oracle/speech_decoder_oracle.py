"""Speech decoder, written from the specification in plain numpy (float64), the whole prefix at once.

    python3 speech_decoder_oracle.py OUT_DIR    writes speech-decoder-*.gguf: shapes, toy weights,
                                                LLM states, expected logits and symbols
"""

import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lab", "tiny"))
from gguf_write import TENSOR_TYPES, Gguf  # noqa: E402

# rope: base, factor, low, high, context (factor 1: no scaling)
NONE, STEEP = (10000.0, 1.0, 1.0, 4.0, 8192), (500.0, 8.0, 1.0, 4.0, 64)
REAL = (500000.0, 8.0, 1.0, 4.0, 8192)
# Seeds were searched so that no position is a near tie (checked below).
SHAPES = {
    "plain":    dict(input=48, width=64, heads=4, kv=4, ff=96, layers=2, L=25, units=30, tokens=7,
                     rope=NONE, seed=0),
    "grouped":  dict(input=40, width=96, heads=6, kv=2, ff=64, layers=3, L=5, units=101, tokens=33,
                     rope=STEEP, seed=1004),
    "onelayer": dict(input=24, width=30, heads=3, kv=3, ff=50, layers=1, L=3, units=15, tokens=50,
                     rope=STEEP, seed=2000),
    "wide":     dict(input=24, width=48, heads=2, kv=2, ff=40, layers=2, L=40, units=8, tokens=6,
                     rope=NONE, seed=5001),
    "single":   dict(input=32, width=32, heads=4, kv=1, ff=48, layers=2, L=1, units=9, tokens=70,
                     rope=NONE, seed=3000),
    "growing":  dict(input=32, width=64, heads=2, kv=1, ff=64, layers=2, L=25, units=40, tokens=70,
                     rope=STEEP, seed=4118),
    "real":     dict(input=128, width=256, heads=2, kv=2, ff=320, layers=2, L=25, units=1000, tokens=12,
                     rope=REAL, seed=6001),
    "tied":     dict(input=8, width=16, heads=1, kv=1, ff=16, layers=2, L=4, units=20, tokens=3,
                     rope=NONE, seed=0),
    "bf16":     dict(input=96, width=128, heads=4, kv=2, ff=160, layers=2, L=25, units=40, tokens=9,
                     rope=STEEP, seed=0),
}
TENSOR_TYPES[np.dtype("uint16")] = 30    # bf16, as its bits
MARGIN = 3e-4    # of the largest logit: how far the winning symbol is ahead at every position
EPS = 1e-5


def frequencies(head_dim, base, factor, low, high, context):
    """Radians per position; long waves are stretched (llama3 rule)."""
    f = base ** (-2.0 * np.arange(head_dim // 2) / head_dim)
    if factor == 1.0:
        return f
    wave = 2 * np.pi / f
    s = (context / wave - low) / (high - low)
    blend = (1 - s) * f / factor + s * f
    return np.where(wave < context / high, f, np.where(wave > context / low, f / factor, blend))


def rotate(x, angle):
    """x [P][heads][hd], angle [P][hd/2]; component f turns with f + hd/2."""
    half = x.shape[-1] // 2
    c, s = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * c - b * s, b * c + a * s], axis=-1)


def rms_norm(x, weight):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + EPS) * weight


def attention(q, k, v, heads, kv, angle):
    """Causal; query head h uses key-value head h // (heads / kv)."""
    n, hd = q.shape[0], q.shape[1] // heads
    q = rotate(q.reshape(n, heads, hd), angle)
    k = rotate(k.reshape(n, kv, hd), angle)
    v = v.reshape(n, kv, hd)
    future = np.triu(np.ones((n, n), bool), 1)
    out = np.empty((n, heads, hd))
    for h in range(heads):
        g = h // (heads // kv)
        score = q[:, h] @ k[:, g].T / np.sqrt(hd)
        score[future] = -np.inf
        p = np.exp(score - score.max(axis=1, keepdims=True))
        out[:, h] = p / p.sum(axis=1, keepdims=True) @ v[:, g]
    return out.reshape(n, heads * hd)


def decode(states, w, shape):
    """LLM states [M][D] -> logits [M*L][K+1]."""
    x = np.repeat(states, shape["L"], axis=0) @ w["dec.in.weight"].T + w["dec.in.bias"]
    angle = np.arange(len(x))[:, None] * frequencies(shape["width"] // shape["heads"], *shape["rope"])
    for i in range(shape["layers"]):
        b = {k.split(".", 3)[3]: t for k, t in w.items() if k.startswith(f"dec.blk.{i}.")}
        h = rms_norm(x, b["attn_norm.weight"])
        q, k, v = (h @ b[f"attn_{n}.weight"].T for n in "qkv")
        x = x + attention(q, k, v, shape["heads"], shape["kv"], angle) @ b["attn_out.weight"].T
        h = rms_norm(x, b["ffn_norm.weight"])
        gate = h @ b["ffn_gate.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ b["ffn_up.weight"].T)) @ b["ffn_down.weight"].T
    return x @ w["dec.out.weight"].T + w["dec.out.bias"]      # no norm before it


def toy_weights(rng, s):
    kv_width = s["width"] // s["heads"] * s["kv"]

    def matrix(rows, columns, gain=1.0):
        return (gain * rng.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float32)

    def vector(n, middle):
        return (middle + 0.2 * rng.standard_normal(n)).astype(np.float32)

    w = {"dec.in.weight": matrix(s["width"], s["input"]), "dec.in.bias": vector(s["width"], 0.0)}
    for i in range(s["layers"]):
        p = f"dec.blk.{i}."
        w[p + "attn_norm.weight"] = vector(s["width"], 1.0)
        w[p + "attn_q.weight"] = matrix(s["width"], s["width"], 2.0)     # gain: attention that is not flat
        w[p + "attn_k.weight"] = matrix(kv_width, s["width"], 2.0)
        w[p + "attn_v.weight"] = matrix(kv_width, s["width"])
        w[p + "attn_out.weight"] = matrix(s["width"], s["width"])
        w[p + "ffn_norm.weight"] = vector(s["width"], 1.0)
        w[p + "ffn_gate.weight"] = matrix(s["ff"], s["width"])
        w[p + "ffn_up.weight"] = matrix(s["ff"], s["width"])
        w[p + "ffn_down.weight"] = matrix(s["width"], s["ff"])
    w["dec.out.weight"] = matrix(s["units"] + 1, s["width"])
    w["dec.out.bias"] = vector(s["units"] + 1, 0.0)
    return w


def bf16_bits(x):
    return (x.view(np.uint32) >> 16).astype(np.uint16)


def make(name, s):
    """Weights as stored, states, logits."""
    rng = np.random.default_rng(s["seed"])
    w = toy_weights(rng, s)
    if name == "bf16":      # matrices of numbers that bf16 holds exactly
        w = {k: (t.view(np.uint32) & 0xFFFF0000).view(np.float32) if t.ndim == 2 else t for k, t in w.items()}
    if name == "tied":      # five equal largest logits: the lowest index must win
        w["dec.out.weight"][:] = 0
        w["dec.out.bias"][:] = np.where(np.isin(np.arange(s["units"] + 1), (7, 8, 15, 16, 20)), 1.5, -1)
    states = rng.standard_normal((s["tokens"], s["input"])).astype(np.float32)
    logits = decode(states.astype(np.float64), {k: t.astype(np.float64) for k, t in w.items()}, s)
    top = np.sort(logits, axis=1)
    margin = (top[:, -1] - top[:, -2]).min() / np.abs(logits).max()
    if name != "tied" and margin < MARGIN:
        raise SystemExit(f"{name}: a near tie (margin {margin:.1e}, wanted {MARGIN:.0e}): take another seed")
    if name == "bf16":
        w = {k: bf16_bits(t) if t.ndim == 2 else t for k, t in w.items()}
    return w, states, logits


def check_frequencies():
    """The specification's check values for the published model."""
    f = frequencies(128, *REAL)
    for j, want in ((1, 0.8146172338565447), (28, 0.003211445994752591), (29, 0.002166570763503359),
                    (31, 0.0008567514129196321), (34, 0.0001785078127679964), (35, 9.556212353964683e-05),
                    (63, 3.068925988914511e-07)):
        assert abs(f[j] / want - 1) < 1e-12, (j, f[j], want)


def main(out_dir):
    os.makedirs(out_dir, exist_ok=True)
    check_frequencies()
    for name, s in SHAPES.items():
        w, states, logits = make(name, s)
        g = Gguf(os.path.join(out_dir, f"speech-decoder-{name}.gguf"))
        for key in ("input", "width", "heads", "kv", "ff", "layers", "L", "units", "tokens"):
            g.add(f"test.{key}", s[key])
        for key, v in zip(("base", "factor", "low", "high"), s["rope"]):
            g.add(f"test.rope_{key}", v)
        g.add("test.rope_context", s["rope"][4])
        g.add("test.seed", s["seed"])
        for key, t in w.items():
            g.tensor(key, t)
        g.tensor("test.states", states)
        g.tensor("test.logits", logits.astype(np.float32))
        g.tensor("test.symbols", logits.argmax(axis=1).astype(np.float32))    # lowest index on ties
        g.close()
        print(f"{name}: {len(logits)} positions")


if __name__ == "__main__":
    main(sys.argv[1])
