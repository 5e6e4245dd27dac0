"""Unit vocoder, written from the specification in plain numpy (float64), the whole utterance at once.

    python3 vocoder_oracle.py OUT_DIR    writes vocoder-*.gguf: hyper-parameters, toy weights, and one
                                         stream per file: units, expected durations and samples
"""

import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lab", "tiny"))
import gguf_write  # noqa: E402

gguf_write.TENSOR_TYPES[np.dtype("uint16")] = 30     # bf16, as bits
PREFIX = "omni-speech."
PUBLIC = dict(rates=[5, 4, 4, 2, 2], kernels=[11, 8, 8, 4, 4], dil=[1, 3, 5], embd=128,
              dur_hidden=128, dur_kernel=3)

# name: shape, number of units in the stream, type of the convolutions in the file
CASES = {
    "small":   (dict(rates=[5, 4, 2], kernels=[11, 8, 4], res=[3, 7, 11], dil=[1, 3, 5], embd=12, channels=32,
                     K=40, dur_hidden=10, dur_kernel=3), 57, "f32"),
    "bf16":    (dict(rates=[4, 2], kernels=[8, 4], res=[3, 5], dil=[1, 3], embd=9, channels=44,
                     K=25, dur_hidden=16, dur_kernel=3), 33, "bf16"),
    "f16":     (dict(rates=[2, 3], kernels=[4, 5], res=[3, 7], dil=[1, 2], embd=16, channels=32,
                     K=25, dur_hidden=16, dur_kernel=3), 20, "f16"),
    "tight":   (dict(rates=[3, 2], kernels=[3, 6], res=[3], dil=[1], embd=5, channels=12,
                     K=9, dur_hidden=7, dur_kernel=5), 1, "f32"),
    "slow":    (dict(rates=[1, 2], kernels=[3, 4], res=[5, 3], dil=[2, 1, 4], embd=16, channels=72,
                     K=30, dur_hidden=33, dur_kernel=1), 2, "f32"),
    "steep":   (dict(rates=[7], kernels=[9], res=[1, 9], dil=[1, 2], embd=20, channels=150,
                     K=17, dur_hidden=16, dur_kernel=7), 25, "f32"),
    "deep":    (dict(rates=[2, 2, 2, 2], kernels=[4, 2, 6, 8], res=[3, 7], dil=[1, 3, 5], embd=8, channels=48,
                     K=50, dur_hidden=8, dur_kernel=3), 40, "f32"),
    "prime":   (dict(rates=[3, 1, 5], kernels=[13, 1, 7], res=[7, 3, 5, 1], dil=[3, 1], embd=11, channels=104,
                     K=50, dur_hidden=12, dur_kernel=3), 31, "f32"),
    "empty":   (dict(rates=[2, 2], kernels=[4, 4], res=[3], dil=[1], embd=4, channels=8,
                     K=5, dur_hidden=4, dur_kernel=3), 0, "f32"),
    "tiny":    (dict(PUBLIC, channels=128, res=[3, 7], K=100), 14, "f32"),
    "public":  (dict(PUBLIC, channels=512, res=[3, 7, 11], K=100), 6, "f16"),
    "public-bf16": (dict(PUBLIC, channels=512, res=[3, 7, 11], K=100), 2, "bf16"),
}
MARGIN = 2e-3       # how far every duration is from the next rounding


# ---- the model ---------------------------------------------------------------

def conv(x, w, b, dilation=1):
    """x [in][T], w [out][in][k] odd k: zero padding on both sides, same length."""
    k, T = w.shape[2], x.shape[1]
    pad = (k - 1) * dilation // 2
    x = np.pad(x, ((0, 0), (pad, pad)))
    return b[:, None] + sum(w[:, :, j] @ x[:, j * dilation:j * dilation + T] for j in range(k))


def conv_transposed(x, w, b, stride):
    """x [in][T], w [in][out][k]: out[n] sums in[m] w[j] over m * stride - pad + j = n; length T * stride."""
    k, T = w.shape[2], x.shape[1]
    pad = (k - stride) // 2
    full = np.zeros((w.shape[1], (T - 1) * stride + k))
    for m in range(T):
        full[:, m * stride:m * stride + k] += np.tensordot(x[:, m], w, axes=1)
    return b[:, None] + full[:, pad:pad + T * stride]


def leaky(x, slope):
    return np.where(x > 0, x, slope * x)


def layer_norm(x, gain, shift):
    """x [C][T], over channels."""
    mean = x.mean(axis=0, keepdims=True)
    var = ((x - mean) ** 2).mean(axis=0, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5) * gain[:, None] + shift[:, None]


def log_durations(t, units):
    x = t["voc.embd"][units].T
    for i in ("1", "2"):
        x = conv(x, t[f"voc.dur.conv{i}.weight"], t[f"voc.dur.conv{i}.bias"])
        x = layer_norm(np.maximum(x, 0), t[f"voc.dur.ln{i}.weight"], t[f"voc.dur.ln{i}.bias"])
    return (t["voc.dur.proj.weight"] @ x + t["voc.dur.proj.bias"][:, None])[0]


def durations(d):
    return np.maximum(1, np.rint(np.exp(d) - 1).astype(int))       # rint: half to even


def generator(hp, t, x):
    """x [embd][frames] to the argument of the last tanh, [samples]."""
    x = conv(x, t["voc.conv_pre.weight"], t["voc.conv_pre.bias"])
    for i, rate in enumerate(hp["rates"]):
        x = conv_transposed(leaky(x, 0.1), t[f"voc.up.{i}.weight"], t[f"voc.up.{i}.bias"], rate)
        total = 0
        for j in range(len(hp["res"])):
            r, block = x, f"voc.res.{i * len(hp['res']) + j}"
            for d, dilation in enumerate(hp["dil"]):
                y = conv(leaky(r, 0.1), t[f"{block}.a.{d}.weight"], t[f"{block}.a.{d}.bias"], dilation)
                r = r + conv(leaky(y, 0.1), t[f"{block}.b.{d}.weight"], t[f"{block}.b.{d}.bias"])
            total = total + r
        x = total / len(hp["res"])
    return conv(leaky(x, 0.01), t["voc.conv_post.weight"], t["voc.conv_post.bias"])[0]


# ---- toy weights -------------------------------------------------------------

def bf16_bits(x):
    """Round to nearest even, as uint16."""
    u = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16)


def as_stored(x, kind):
    """What the file holds, and the value it stands for."""
    if kind == "bf16":
        bits = bf16_bits(x)
        return bits, (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    x = x.astype(np.float16 if kind == "f16" else np.float32)
    return x, x.astype(np.float64)


def draw(t, rng, name, *shape, fan):
    t[name + ".weight"] = rng.standard_normal(shape, dtype=np.float32) / np.sqrt(fan)
    t[name + ".bias"] = 0.1 * rng.standard_normal(shape[1] if name.startswith("voc.up") else shape[0])


def toy_duration(hp, rng):
    E, H, k = hp["embd"], hp["dur_hidden"], hp["dur_kernel"]
    t = {"voc.embd": rng.standard_normal((hp["K"], E))}
    draw(t, rng, "voc.dur.conv1", H, E, k, fan=E * k)
    draw(t, rng, "voc.dur.conv2", H, H, k, fan=H * k)
    for i in ("1", "2"):
        t[f"voc.dur.ln{i}.weight"] = 1 + 0.2 * rng.standard_normal(H)
        t[f"voc.dur.ln{i}.bias"] = 0.2 * rng.standard_normal(H)
    draw(t, rng, "voc.dur.proj", 1, H, fan=2 * H)
    t["voc.dur.proj.bias"] = np.array([1.3])
    return t


def toy_generator(hp, rng):
    C, t = hp["channels"], {}
    draw(t, rng, "voc.conv_pre", C, hp["embd"], 7, fan=hp["embd"] * 7)
    for i, (rate, kernel) in enumerate(zip(hp["rates"], hp["kernels"])):
        c = C >> (i + 1)
        draw(t, rng, f"voc.up.{i}", 2 * c, c, kernel, fan=2 * c * kernel / rate)
        for j, k in enumerate(hp["res"]):
            for d in range(len(hp["dil"])):
                for half in "ab":
                    draw(t, rng, f"voc.res.{i * len(hp['res']) + j}.{half}.{d}", c, c, k, fan=c * k)
    c = C >> len(hp["rates"])
    draw(t, rng, "voc.conv_post", 1, c, 7, fan=7 * c)
    return t


def is_conv(name):
    return name.endswith(".weight") and not name.startswith("voc.dur.ln") and name != "voc.dur.proj.weight"


def store(drawn, kind, stored, t):
    for key, x in drawn.items():
        stored[key], t[key] = as_stored(x, kind if is_conv(key) else "f32")


def write_case(path, name, hp, n_units, kind):
    stored, t = {}, {}
    for seed in range(100):
        rng = np.random.default_rng(sum(name.encode()) * 1000 + seed)
        store(toy_duration(hp, rng), kind, stored, t)
        units = rng.integers(0, hp["K"], n_units)
        d = log_durations(t, units) if n_units else np.zeros(0)
        n = durations(d)
        away = np.abs((np.exp(d) - 1) % 1 - 0.5)
        if n_units == 0 or away.min() > MARGIN:
            break
    else:
        raise SystemExit(f"{name}: no seed keeps the durations away from the roundings")
    store(toy_generator(hp, rng), kind, stored, t)
    wave = np.zeros(0)
    if n_units:
        x = t["voc.embd"][np.repeat(units, n)].T
        y = generator(hp, t, x)
        # A loud but not saturated wave, so that an error anywhere shows.
        key = "voc.conv_post.weight"
        stored[key], t[key] = as_stored(t[key] * 0.5 / y.std(), kind)
        key = "voc.conv_post.bias"
        stored[key], t[key] = as_stored(t[key] - generator(hp, t, x).mean(), "f32")
        y = generator(hp, t, x)
        wave = np.tanh(y)
        assert len(wave) == n.sum() * np.prod(hp["rates"]) and 0.2 < wave.std() < 0.7, (len(wave), wave.std())
    f = gguf_write.Gguf(path)
    f.add("general.architecture", "omni-speech")
    f.add(PREFIX + "decoder.unit_count", hp["K"])
    f.add(PREFIX + "vocoder.embedding_length", hp["embd"])
    f.add(PREFIX + "vocoder.initial_channels", hp["channels"])
    f.add(PREFIX + "vocoder.duration_hidden", hp["dur_hidden"])
    f.add(PREFIX + "vocoder.duration_kernel", hp["dur_kernel"])
    f.add_array(PREFIX + "vocoder.upsample_rates", hp["rates"], "i32")
    f.add_array(PREFIX + "vocoder.upsample_kernels", hp["kernels"], "i32")
    f.add_array(PREFIX + "vocoder.resblock_kernels", hp["res"], "i32")
    f.add_array(PREFIX + "vocoder.resblock_dilations", hp["dil"], "i32")
    for key, x in stored.items():
        f.tensor(key, x)
    # Tensors are never empty in a file: one element more, which is not used.
    for key, x in (("case.units", units), ("case.durations", n), ("case.wave", wave)):
        f.tensor(key, np.append(x, 0).astype(np.float32))
    f.close()
    print(f"{name}: {n_units} units, {n.sum()} frames, {len(wave)} samples")


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    for name, (hp, n_units, kind) in CASES.items():
        write_case(os.path.join(out, f"vocoder-{name}.gguf"), name, hp, n_units, kind)


if __name__ == "__main__":
    main()
