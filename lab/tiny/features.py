"""Whisper's log-mel spectrogram (80 bands, 5 s window) and noisy copies of speech.

    python3 features.py BUILD_DIR COPIES

writes BUILD_DIR/feat/C-NNN.npz for every utterance chunk and augmented copy C.
"""
import glob
import os
import pickle
import random
import sys
import time
from functools import lru_cache
from multiprocessing import Pool

import numpy as np
import torch
from scipy.fft import rfft
from scipy.signal import fftconvolve, resample_poly

import domain
import phones
import vocab

RATE, WINDOW, N_FFT, HOP, N_MELS = 16000, 80000, 400, 160, 80
FRAMES = WINDOW // HOP                  # 500 mel frames, 250 encoder frames


@lru_cache(maxsize=1)
def mel_filters():
    """80 x 201 Slaney filterbank, the operation order of the specification, 2.4."""
    min_log_hz, f_sp, logstep = 1000.0, 200.0 / 3, np.log(6.4) / 27
    min_log_mel = min_log_hz / f_sp
    top = min_log_mel + np.log(8000 / 1000) / logstep
    m = np.arange(N_MELS + 2) * (top / (N_MELS + 1))
    m[-1] = top
    p = np.where(m < min_log_mel, f_sp * m, 1000 * np.exp(logstep * (m - min_log_mel)))
    f = 40.0 * np.arange(N_FFT // 2 + 1)
    lower = (f - p[:-2, None]) / (p[1:-1] - p[:-2])[:, None]
    upper = (p[2:, None] - f) / (p[2:] - p[1:-1])[:, None]
    a = np.maximum(0, np.minimum(lower, upper)).astype(np.float32)
    return torch.from_numpy((a.astype(np.float64) * (2 / (p[2:] - p[:-2]))[:, None])
                            .astype(np.float32))


HANN = (0.5 * (1 - np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT))).astype(np.float32)


def power_mel(wave):
    """80 x 500 mel power of float samples in [-1, 1], zero-padded to 5 s.

    Centred frames with reflected edges; frames that see only padding stay zero.
    """
    x = np.zeros(WINDOW, np.float32)
    n = min(len(wave), WINDOW)
    x[:n] = wave[:n]
    x = np.pad(x, N_FFT // 2, mode="reflect")
    busy = min(FRAMES, (n + N_FFT // 2) // HOP + 1)
    cut = np.lib.stride_tricks.sliding_window_view(x, N_FFT)[:busy * HOP:HOP]
    spec = rfft(cut * HANN, axis=1)
    power = torch.zeros(N_MELS, FRAMES)
    power[:, :busy] = mel_filters() @ torch.from_numpy(spec.real ** 2 + spec.imag ** 2).T
    return power


def compress(power):
    logs = power.clamp(min=1e-10).log10()
    return (torch.maximum(logs, logs.max() - 8.0) + 4.0) / 4.0


def log_mel(wave):
    """What the model hears: 80 x 500 float32."""
    return compress(power_mel(wave))


def reverb(x, rng):
    seconds = rng.uniform(0.08, 0.35)
    n = int(seconds * RATE)
    tail = np.random.default_rng(rng.getrandbits(32)).standard_normal(n)
    tail *= np.exp(-6.9 * np.arange(n) / n) * rng.uniform(0.01, 0.06)
    tail[0] = 1.0
    return fftconvolve(x, tail)[:len(x) + n // 2]


def add_noise(x, rng):
    """White to brownish noise, 12 to 40 dB below the speech."""
    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(len(x) + 1)
    noise = noise[1:] + rng.uniform(0, 0.97) * noise[:-1]
    level = np.sqrt((x ** 2).mean() / (noise ** 2).mean() + 1e-12)
    return x + noise * level * 10 ** (-rng.uniform(12, 40) / 20)


def augment(wave, spoken, rng):
    """A changed voice in a changed room; phone times follow."""
    x = wave.astype(np.float32) / 32768
    scale = 1.0
    if rng.random() < 0.6:              # shifts formants and pitch together
        down = rng.randint(16, 25)
        x, scale = resample_poly(x, 20, down), 20 / down
    lead = int(rng.uniform(0, 0.5) * RATE) if rng.random() < 0.6 else 0
    tail = int(rng.uniform(0, 0.8) * RATE) if rng.random() < 0.5 else 0
    room = max(0, WINDOW - 1600 - len(x))
    lead, tail = min(lead, room), min(tail, max(0, room - lead))
    x = np.concatenate([np.zeros(lead), x, np.zeros(tail)])
    if rng.random() < 0.3:
        x = reverb(x, rng)
    if rng.random() < 0.65:
        x = add_noise(x, rng)
    x *= rng.uniform(0.1, 1.0) / (np.abs(x).max() + 1e-6)
    return x, [(p, end * scale + lead / RATE) for p, end in spoken]


def colour(power, rng):
    """A random microphone: a smooth gain curve over the mel bands."""
    band = torch.linspace(0, 1, N_MELS)
    db = rng.uniform(-8, 8) * (band - 0.5)
    db += rng.uniform(0, 4) * torch.cos(rng.uniform(2, 9) * band + rng.uniform(0, 6.3))
    return power * (10 ** (db / 10))[:, None]


def frame_phones(spoken, frames):
    """Phone id of every encoder frame (20 ms), or -1 where nobody knows."""
    if not spoken:
        return np.full(frames, -1, np.int8)
    ends = np.array([end for _, end in spoken])
    ids = np.array([phones.phone_id(p) for p, _ in spoken] + [0], np.int8)
    return ids[np.searchsorted(ends, np.arange(frames) * 0.02, side="right")]


def example(row, rng, lexicon):
    x, spoken = augment(row["wave"], row["phones"], rng)
    if len(x) > WINDOW:
        return None
    power = power_mel(x)
    mel = compress(colour(power, rng) if rng.random() < 0.6 else power)
    frames = min(FRAMES, (len(x) + N_FFT // 2) // HOP + 2)
    frames += frames % 2
    return dict(mel=mel[:, :frames].T.numpy().astype(np.float16),
                pad=float(mel.min()), frame=frame_phones(spoken, frames // 2),
                phones=phones.targets(row["question"], spoken, lexicon),
                words=vocab.text_ids(row["question"]))


def make_chunk(task):
    source, path, seed, lexicon = task
    torch.set_num_threads(1)
    rng = random.Random(seed)
    with open(source, "rb") as f:
        rows = pickle.load(f)
    done = [(r, e) for r in rows if (e := example(r, rng, lexicon))]
    with open(path + ".part", "wb") as f:
        np.savez(f, mel=np.concatenate([e["mel"] for _, e in done]),
                 frames=[len(e["mel"]) for _, e in done],
                 pad=np.array([e["pad"] for _, e in done], np.float32),
                 frame=np.concatenate([e["frame"] for _, e in done]),
                 phones=np.array([",".join(map(str, e["phones"])) for _, e in done]),
                 question=np.array([r["question"] for r, _ in done]),
                 answer=np.array([r["answer"] for r, _ in done]),
                 voice=np.array([r["voice"] for r, _ in done]))
    os.rename(path + ".part", path)
    return len(done)


def main(build, copies):
    os.makedirs(f"{build}/feat", exist_ok=True)
    lexicon = f"{build}/lexicon.json"
    phones.make_lexicon(lexicon, domain.words())
    tasks = []
    for copy in range(copies):
        for source in sorted(glob.glob(f"{build}/utt/*.pkl")):
            name = os.path.basename(source)[:-4]
            path = f"{build}/feat/{copy}-{name}.npz"
            if not os.path.exists(path):
                tasks.append((source, path, f"{copy}/{name}", lexicon))
    start, total = time.time(), 0
    with Pool(2) as pool:
        for i, n in enumerate(pool.imap_unordered(make_chunk, tasks)):
            total += n
            if i % 20 == 19:
                spent = time.time() - start
                print(f"  {i + 1}/{len(tasks)} chunks  {total / spent:.0f}/s  "
                      f"{spent / (i + 1) * (len(tasks) - i - 1):.0f} s left", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
