"""Train the unit vocoder on the answers and their units.

    train_vocoder.py WORK [--minutes 55]

One thread. The learning rate decays over the wall clock given, pauses not counted; a killed run
goes on from its last checkpoint. Writes WORK/vocoder.pt and WORK/curves/vocoder.csv.
"""

import argparse
import math
import os
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

import curves
import vocoder
from answers import HOP, Answers
from spectral_loss import SpectralLoss
from units import Units, merge

FRAMES, BATCH, DURATION_BATCH = 50, 4, 12
LEARNING_RATE, LAST_RATE, WARMUP = 1.5e-3, 2e-5, 100
SEED = 22


class Data:
    def __init__(self, work, seed):
        self.answers, self.units = Answers(work), Units(work)
        self.train, self.test = self.answers.split("train"), self.answers.split("test")
        self.rng = np.random.default_rng(seed)

    def segment(self, n, first=None):
        """FRAMES frames of an answer and their sound; a short answer is filled up with its last silence."""
        frames = self.units.get(n).astype(np.int64)
        sound = self.answers.get(n).astype(np.float32) / 32768
        if first is None:      # the true beginning and end have their own zero padding to learn
            first = int(np.clip(self.rng.integers(-8, max(1, len(frames) - FRAMES + 9)), 0,
                                max(0, len(frames) - FRAMES)))
        frames, sound = frames[first:first + FRAMES], sound[first * HOP:(first + FRAMES) * HOP]
        missing = FRAMES - len(frames)
        return np.pad(frames, (0, missing), mode="edge"), np.pad(sound, (0, missing * HOP))

    def batch(self):
        rows = [self.segment(n) for n in self.rng.choice(self.train, BATCH)]
        return tuple(torch.from_numpy(np.stack(part)) for part in zip(*rows))

    def durations(self, rows=None):
        """Units [B][U], frames for each [B][U], mask [B][U]."""
        rows = self.rng.choice(self.train, DURATION_BATCH) if rows is None else rows
        merged = [merge(self.units.get(n)) for n in rows]
        longest = max(len(u) for u, _ in merged)
        units, frames = np.zeros((2, len(merged), longest), np.int64)
        mask = np.zeros((len(merged), longest), np.float32)
        for i, (u, d) in enumerate(merged):
            units[i, :len(u)], frames[i, :len(u)], mask[i, :len(u)] = u, d, 1
        return torch.from_numpy(units), torch.from_numpy(frames), torch.from_numpy(mask)


def duration_loss(model, units, frames, mask):
    guess = model.dur(model.embd(units), mask)
    return (F.mse_loss(guess, torch.log(frames.float() + 1), reduction="none") * mask).sum() / mask.sum()


@torch.no_grad()
def test(model, data, loss):
    """Mel distance of resynthesis, and frames per answer with predicted against true durations."""
    mel = [loss(model.generate(torch.from_numpy(f)[None]), torch.from_numpy(s)[None])[1]
           for f, s in (data.segment(n, 10) for n in data.test[:24])]
    merged = [merge(data.units.get(n)) for n in data.test]
    ratio = [int(model.durations(torch.from_numpy(u.astype(np.int64))).sum()) / d.sum() for u, d in merged]
    return float(np.mean(mel)), float(np.mean(ratio))


def save(path, model, optimiser, step, spent):
    torch.save(dict(model=model.state_dict(), config=model.config, optimiser=optimiser.state_dict(),
                    step=step, spent=spent), path + ".tmp")
    os.replace(path + ".tmp", path)


def rate(step, spent, seconds):
    cosine = 0.5 + 0.5 * math.cos(math.pi * min(1, spent / seconds))
    return (LAST_RATE + (LEARNING_RATE - LAST_RATE) * cosine) * min(1, (step + 1) / WARMUP)


def train_step(model, optimiser, data, loss):
    frames, sound = data.batch()
    spectral, mel = loss(model.generate(frames), sound)
    duration = duration_loss(model, *data.durations())
    optimiser.zero_grad(set_to_none=True)
    (spectral + 0.3 * duration).backward()
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0))
    if math.isfinite(norm):
        optimiser.step()
    return float(spectral.detach()), mel, float(duration.detach())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work")
    parser.add_argument("--minutes", type=float, default=55)
    args = parser.parse_args()
    torch.set_num_threads(1)
    path, seconds = f"{args.work}/vocoder.pt", args.minutes * 60
    torch.manual_seed(SEED)
    model, step, spent = vocoder.Vocoder(), 0, 0.0
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3, (0.8, 0.99), weight_decay=0.01)
    if os.path.exists(path):
        saved = torch.load(path)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        step, spent = saved["step"], saved["spent"]
        if spent >= seconds:
            sys.exit(0)
    data, loss = Data(args.work, SEED + step), SpectralLoss()
    print(f"{sum(p.numel() for p in model.parameters())} parameters, from step {step}", flush=True)
    curve = curves.Log(f"{args.work}/curves/vocoder.csv", ["step", "seconds", "loss", "mel", "duration",
                                                           "test_mel", "test_length"], step > 0)
    last, seen = time.time(), []
    while spent < seconds:
        for group in optimiser.param_groups:
            group["lr"] = rate(step, spent, seconds)
        seen.append(train_step(model, optimiser, data, loss))
        step += 1
        now = time.time()
        spent, last = spent + now - last, now
        if step % 200 == 0 or spent >= seconds:
            spectral, mel, duration = np.mean(seen, axis=0)
            test_mel, ratio = test(model, data, loss)
            curve.add(step=step, seconds=round(spent), loss=round(spectral, 4), mel=round(mel, 4),
                      duration=round(duration, 4), test_mel=round(test_mel, 4), test_length=round(ratio, 3))
            print(f"    {step / spent:.2f} steps/s  {(seconds - spent) / 60:.1f} min left", flush=True)
            save(path, model, optimiser, step, spent)
            seen = []


if __name__ == "__main__":
    main()
