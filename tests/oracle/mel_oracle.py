"""Log-mel front end, written from the specification in plain numpy (float64).

    python3 mel_oracle.py OUT_DIR    writes mel-*.gguf: parameters, filters, samples, expected frames
"""

import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lab", "tiny"))
from gguf_write import Gguf  # noqa: E402


def hz_to_mel(f):
    f = np.asarray(f, dtype=np.float64)
    f_sp, logstep = 200.0 / 3, np.log(6.4) / 27.0
    linear = f / f_sp
    return np.where(f < 1000, linear, 1000 / f_sp + np.log(np.maximum(f, 1000) / 1000.0) / logstep)


def mel_to_hz(m):
    m = np.asarray(m, dtype=np.float64)
    f_sp, logstep = 200.0 / 3, np.log(6.4) / 27.0
    corner = 1000 / f_sp
    return np.where(m < corner, f_sp * m, 1000.0 * np.exp(logstep * (np.maximum(m, corner) - corner)))


def filterbank(sample_rate, n_fft, n_mels):
    """Slaney scale, Slaney area normalisation: [n_mels][n_fft/2+1] float32."""
    top = hz_to_mel(sample_rate / 2)
    points = np.arange(n_mels + 2) * (top / (n_mels + 1))
    points[-1] = top
    p = mel_to_hz(points)
    f = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    out = np.zeros((n_mels, n_fft // 2 + 1), np.float32)
    for i in range(n_mels):
        lower = -(p[i] - f) / (p[i + 1] - p[i])
        upper = (p[i + 2] - f) / (p[i + 2] - p[i + 1])
        a = np.maximum(0, np.minimum(lower, upper)).astype(np.float32)
        out[i] = (a.astype(np.float64) * (2.0 / (p[i + 2] - p[i]))).astype(np.float32)
    return out


def log_mel(samples, filters, window_samples, n_fft, hop):
    """[S] -> [F][n_mels]: pad or trim, centred STFT with reflection, mel, log, floor, scale."""
    x = np.zeros(window_samples)
    n = min(len(samples), window_samples)
    x[:n] = samples[:n]
    x = np.pad(x, n_fft // 2, mode="reflect")
    hann = (0.5 * (1 - np.cos(2 * np.pi * np.arange(n_fft) / n_fft))).astype(np.float32)
    frames = window_samples // hop       # the one after these is dropped
    cut = np.stack([x[hop * t:hop * t + n_fft] for t in range(frames)])
    power = np.abs(np.fft.rfft(cut * hann.astype(np.float64), axis=1)) ** 2
    mel = power @ filters.astype(np.float64).T
    log = np.log10(np.maximum(mel, 1e-10))
    log = np.maximum(log, log.max() - 8.0)
    return ((log + 4.0) / 4.0).astype(np.float32)


def speechlike(rng, n, sample_rate):
    """Harmonics of a gliding pitch under a formant-like slope, pauses, a little noise: 80 dB of range."""
    t = np.arange(n) / sample_rate
    pitch = 110 + 30 * np.sin(2 * np.pi * 1.3 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    voice = sum(np.sin(h * phase) / h ** 2.5 for h in range(1, 30))
    gate = (np.sin(2 * np.pi * 2.1 * t) > -0.4).astype(np.float64)
    return (0.3 * voice * gate + 1e-4 * rng.standard_normal(n)).astype(np.float32)


def signals(rng, window, sample_rate):
    """(name, samples): the cases that tell implementations apart."""
    loud = speechlike(rng, window, sample_rate)
    yield "full", loud                                         # reflection at both ends matters
    yield "short", loud[: window // 3 + 7]                     # zero tail
    yield "over", np.concatenate([loud, loud[: window // 5]])  # more than the window
    yield "noise", (0.1 * rng.standard_normal(window // 2)).astype(np.float32)
    tone = 0.5 * np.sin(2 * np.pi * 997.0 * np.arange(window) / sample_rate)
    yield "tone", tone.astype(np.float32)                      # the worst dynamic range
    yield "few", loud[:5]                                      # less than half a frame
    yield "silence", np.zeros(window // 4, np.float32)
    late = np.zeros(window, np.float32)
    late[-3:] = [0.5, -0.25, 0.125]                            # only the reflected end sounds
    yield "late", late


SHAPES = [  # sample_rate, n_fft, hop, n_mels, window_samples
    ("large", 16000, 400, 160, 128, 48000),
    ("small", 16000, 400, 160, 80, 80000),
    ("odd", 8000, 250, 75, 20, 9000),      # n_fft / 2 odd, hop not dividing n_fft
    ("ragged", 16000, 512, 200, 40, 16100),  # window not a multiple of the hop
]


def main(out_dir):
    os.makedirs(out_dir, exist_ok=True)
    for shape, rate, n_fft, hop, n_mels, window in SHAPES:
        rng = np.random.default_rng(len(shape) * 1000 + n_mels)
        filters = filterbank(rate, n_fft, n_mels)
        f = Gguf(os.path.join(out_dir, f"mel-{shape}.gguf"))
        f.add("general.architecture", "omni-test")
        for key, v in (("sample_rate", rate), ("n_fft", n_fft), ("hop", hop), ("n_mels", n_mels),
                       ("window_samples", window)):
            f.add(f"test.{key}", v)
        f.tensor("filters", filters)
        names = []
        for name, samples in signals(rng, window, rate):
            names.append(name)
            f.tensor(f"{name}.samples", samples)
            f.tensor(f"{name}.frames", log_mel(samples, filters, window, n_fft, hop))
        f.add("test.cases", ",".join(names))
        f.close()


if __name__ == "__main__":
    main(sys.argv[1])
