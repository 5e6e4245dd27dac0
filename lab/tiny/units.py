"""The alphabet of the mouth: 200 units, one for each 20 ms of answer speech.

    units.py WORK

A frame is described by the cepstra of the 110 ms around it, seen through a linear discriminant
analysis that spreads the phones (their first, middle and last third apart) and shrinks what varies
within a phone. The phone times come free of charge from flite. In that space k-means finds the
units. A frame changes unit only when that pays a small toll, which removes flicker, so that the
sequence after merging repeats is short and follows from the text.

Writes WORK/units/units.npz: frames (uint8, all answers end to end), starts, and the code book.
"""

import argparse
import os
import sys
import time

import numpy as np
from scipy.fftpack import dct

from answers import HOP, RATE, Answers

K = 200
BANDS, CEPSTRA, BEFORE, AFTER = 40, 16, 4, 5     # cepstra every 10 ms, from -40 ms to +50 ms
DIMENSIONS = 40
TOLL = 6.0                                       # cost of a change, in squared distance
SEED = 21


def mel_bank(bands=BANDS, n_fft=512):
    def mel(hz):
        return 2595 * np.log10(1 + hz / 700)
    edges = 700 * (10 ** (np.linspace(mel(60), mel(7800), bands + 2) / 2595) - 1)
    hz = np.arange(n_fft // 2 + 1) * RATE / n_fft
    up = (hz - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - hz) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(up, down)).astype(np.float32)


BANK = mel_bank()
WINDOW = np.hamming(400).astype(np.float32)


def cepstra(sound):
    """int16 sound -> [2 frames][CEPSTRA], centred in the middle of each 10 ms."""
    steps = len(sound) // 160
    x = np.pad(sound.astype(np.float32), (120, 400))
    x = np.concatenate([x[:1], x[1:] - 0.97 * x[:-1]])
    index = np.arange(steps)[:, None] * 160 + np.arange(400)
    power = np.abs(np.fft.rfft(x[index] * WINDOW, 512)) ** 2
    # The floor hides differences between silences that no ear hears.
    return dct(np.log(power @ BANK.T + 1e4), norm="ortho")[:, :CEPSTRA].astype(np.float32)


def spliced(sound):
    """int16 sound -> [frames][(BEFORE + AFTER + 1) * CEPSTRA], one row for each 20 ms."""
    frames = len(sound) // HOP
    c = np.pad(cepstra(sound), ((BEFORE, AFTER + 1), (0, 0)), mode="edge")
    index = 2 * np.arange(frames)[:, None] + np.arange(BEFORE + AFTER + 1)
    return c[index].reshape(frames, -1)


def phone_thirds(phones, frames, names):
    """Class of each frame: phone number times three, plus its third."""
    labels, start = np.zeros(frames, int), 0
    for name, end in phones:
        number = names.setdefault(name, len(names))
        first, last = round(start / HOP), min(round(end / HOP), frames)
        for t in range(first, last):
            labels[t] = 3 * number + min(2, 3 * (t - first) // max(1, last - first))
        start = end
    return labels


def discriminants(x, labels):
    """Mean and projection to DIMENSIONS in which every class has about unit spread."""
    mean = x.mean(0)
    within = np.zeros((x.shape[1], x.shape[1]))
    between = np.zeros_like(within)
    for label in np.unique(labels):
        rows = x[labels == label]
        centre = rows.mean(0)
        within += (rows - centre).T @ (rows - centre)
        between += len(rows) * np.outer(centre - mean, centre - mean)
    within = within / len(x) + 1e-2 * np.eye(len(within)) * np.trace(within) / len(x) / len(within)
    values, vectors = np.linalg.eigh(within)
    whiten = vectors / np.sqrt(values)
    values, vectors = np.linalg.eigh(whiten.T @ (between / len(x)) @ whiten)
    return mean, (whiten @ vectors[:, ::-1][:, :DIMENSIONS]).astype(np.float32)


def squared(x, centres):
    return (x ** 2).sum(1)[:, None] - 2 * x @ centres.T + (centres ** 2).sum(1)


def k_means(x, k, rng, rounds=40):
    """k-means++ seeding, then Lloyd's rounds; an empty cluster takes the worst-served point."""
    centres = x[rng.integers(len(x))][None]
    nearest = squared(x, centres)[:, 0]
    while len(centres) < k:
        p = np.maximum(nearest, 0).astype(np.float64)
        new = x[rng.choice(len(x), p=p / p.sum())][None]
        centres = np.concatenate([centres, new])
        nearest = np.minimum(nearest, squared(x, new)[:, 0])
    for _ in range(rounds):
        d = squared(x, centres)
        owner, worst = d.argmin(1), np.argsort(-d.min(1))
        for j in range(k):
            mine = owner == j
            centres[j] = x[mine].mean(0) if mine.any() else x[worst[j]]
    return centres


def assign(x, centres, toll=TOLL):
    """The cheapest path of units: distance of each frame plus the toll for each change."""
    cost = np.maximum(squared(x, centres), 0)
    stay = np.empty(cost.shape, bool)
    best = np.empty(len(cost), int)
    total = cost[0].copy()
    for t in range(1, len(cost)):
        best[t] = total.argmin()
        change = total[best[t]] + toll
        stay[t] = total <= change
        total = np.minimum(total, change) + cost[t]
    path = np.empty(len(cost), np.uint8)
    path[-1] = total.argmin()
    for t in range(len(cost) - 1, 0, -1):
        path[t - 1] = path[t] if stay[t, path[t]] else best[t]
    return path


def merge(frames):
    """Frames -> (units without repeats, their durations)."""
    starts = np.flatnonzero(np.r_[True, frames[1:] != frames[:-1]])
    return frames[starts], np.diff(np.r_[starts, len(frames)])


class CodeBook:
    """The units' definition, for sounds that were not there when it was made."""

    def __init__(self, work):
        saved = np.load(f"{work}/units/units.npz")
        self.mean, self.projection, self.centres = saved["mean"], saved["projection"], saved["centres"]

    def frames(self, sound):
        return assign((spliced(sound) - self.mean) @ self.projection, self.centres)


class Units:
    """Units of every answer, as written by main()."""

    def __init__(self, work):
        saved = np.load(f"{work}/units/units.npz")
        self.frames, self.starts = saved["frames"], saved["starts"]

    def get(self, n):
        return self.frames[self.starts[n]:self.starts[n + 1]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work")
    args = parser.parse_args()
    path = f"{args.work}/units/units.npz"
    if os.path.exists(path):
        sys.exit(0)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    begun, rng = time.time(), np.random.default_rng(SEED)
    answers, names = Answers(args.work), {}

    learn = rng.permutation(answers.split("train"))[:1200]
    x = [spliced(answers.get(n)) for n in learn]
    y = [phone_thirds(answers.index[n]["phones"], len(f), names) for n, f in zip(learn, x)]
    x, y = np.concatenate(x), np.concatenate(y)
    mean, projection = discriminants(x, y)
    print(f"discriminants from {len(x)} frames, {len(np.unique(y))} classes, {time.time() - begun:.0f} s")
    some = rng.permutation(len(x))[:40000]
    centres = k_means((x[some] - mean) @ projection, K, rng)
    print(f"code book, {time.time() - begun:.0f} s", flush=True)

    rows = [assign((spliced(answers.get(n)) - mean) @ projection, centres)
            for n in range(len(answers.index))]
    merged = np.array([len(merge(r)[0]) for r in rows])
    words = np.array([len(row["text"].split()) for row in answers.index])
    np.savez(path, frames=np.concatenate(rows), starts=np.cumsum([0] + [len(r) for r in rows]),
             centres=centres, mean=mean, projection=projection)
    print(f"{len(rows)} answers, {np.mean([len(r) for r in rows]):.1f} frames, {merged.mean():.1f} units; "
          f"units per state: mean {np.mean(merged / (words + 1)):.1f}, most {np.max(merged / (words + 1)):.1f} "
          f"of 25; {time.time() - begun:.0f} s")


if __name__ == "__main__":
    main()
