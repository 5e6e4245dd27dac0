"""Stage 2: train the speech decoder to say, in units, what the LLM is about to write.

    train_speech_decoder.py WORK --states NAME [NAME ...] --minutes M --out FILE.pt [--start FILE.pt [--fold]]

Each NAME is a file WORK/states/NAME.npz made by states.py from the frozen LLM: for every answer the
n + 1 final-norm states that predict its words and <|eot_id|>. CTC loss against the answer's units. All
kinds of answers are drawn with moderate balance, since repeats are many and facts are few. Resumes a
killed run. Curve: WORK/curves/FILE.csv.

The decoder can be taught to speak before the LLM is ready, on `ideal` states (see states.py). --start
with --fold then begins from it: a linear map from the LLM's states to the ideal ones, by least squares,
is folded into the input layer.
"""

import argparse
import glob
import json
import math
import os
import random
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

import curves
import speech_decoder
from answers import Answers
from judge import distance
from states import ideal_states
from units import Units, merge

BATCH, POOL = 16, 16
WARMUP = 60
VARIED = {"add", "sub", "mul", "count", "rcap", "mdays", "legs", "sound", "colour", "unit", "first"}
SEED = 23


class States:
    """Rows of (text, kind, states) from several files."""

    def __init__(self, work, names):
        self.rows = []
        for name in names:
            saved = np.load(f"{work}/states/{name}.npz", allow_pickle=False)
            values, starts = saved["states"], saved["starts"]
            for i, (text, kind) in enumerate(zip(saved["texts"], saved["kinds"])):
                self.rows.append((str(text), str(kind), values[starts[i]:starts[i + 1]]))


def answer_units(work):
    answers, units = Answers(work), Units(work)
    found = {row["text"]: merge(units.get(n))[0].astype(np.int64) for n, row in enumerate(answers.index)}
    for extra in sorted(glob.glob(f"{work}/units/*.json")):        # first_words.py, fresh_repeats.py
        with open(extra) as f:
            found.update((text, np.array(u)) for text, u in json.load(f).items() if text not in found)
    return found


def weights(rows):
    """Chance of each row: kinds by the square root of their size, the rows of a kind alike.

    Kinds that begin with all sorts of words count double, see first_words.py.
    """
    size = {}
    for _, kind, _ in rows:
        size[kind] = size.get(kind, 0) + 1
    p = np.array([size[kind] ** -0.5 * (2 if kind in VARIED else 1) for _, kind, _ in rows])
    return p / p.sum()


def batches(rows, p, rng):
    """Batches of rows of about equal length, for ever."""
    while True:
        drawn = rng.choice(len(rows), BATCH * POOL, p=p)
        drawn = sorted(drawn, key=lambda i: (len(rows[i][2]), rng.random()))
        for k in rng.permutation(POOL):
            yield [rows[i] for i in drawn[k * BATCH:(k + 1) * BATCH]]


def loss_of(model, batch, units, noise):
    """CTC loss for each target unit. Padding states come after the true ones: causal, so harmless."""
    longest = max(len(s) for _, _, s in batch)
    states = torch.zeros(len(batch), longest, batch[0][2].shape[1])
    for row, (_, _, s) in zip(states, batch):
        row[:len(s)] = torch.from_numpy(s.astype(np.float32))
    states = states + noise * torch.randn_like(states) * states.pow(2).mean().sqrt()
    targets = [torch.from_numpy(units[text]) for text, _, _ in batch]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(states)
    up = model.config["upsample"]
    total = F.ctc_loss(logits.float().log_softmax(-1).transpose(0, 1), torch.cat(targets),
                       torch.tensor([up * len(s) for _, _, s in batch]),
                       torch.tensor([len(t) for t in targets]), blank=model.config["units"],
                       reduction="sum", zero_infinity=True)
    return total / sum(len(t) for t in targets)


def unit_errors(model, rows, units):
    """Wrong units per true unit, by kind: repeats, and the rest; "" where there are none."""
    wrong, count = [0, 0], [0, 0]
    for text, kind, s in rows:
        said = model.units(torch.from_numpy(s.astype(np.float32)))
        fact = int(kind != "repeat")
        wrong[fact] += distance(list(units[text]), said)
        count[fact] += len(units[text])
    return [round(w / c, 4) if c else "" for w, c in zip(wrong, count)]


def rate(step, spent, seconds, peak):
    decay = 1 if spent < 0.3 * seconds else max(0.01, 1 - (spent / seconds - 0.3) / 0.7)
    return peak * decay * min(1, (step + 1) / WARMUP)


def save(path, model, optimiser, step, spent):
    torch.save(dict(model=model.state_dict(), config=model.config, optimiser=optimiser.state_dict(),
                    step=step, spent=spent), path + ".tmp")
    os.replace(path + ".tmp", path)


@torch.no_grad()
def fold_map(model, rows):
    """Make the input layer, taught on ideal states, accept the states of these rows."""
    s = torch.from_numpy(np.concatenate([r[2] for r in rows]).astype(np.float32))
    ideal = torch.cat([ideal_states(r[0]) for r in rows])
    s = torch.cat([s, torch.ones(len(s), 1)], 1)
    square = s.T @ s
    found = torch.linalg.solve(square + 1e-3 * square.diagonal().mean() * torch.eye(len(square)), s.T @ ideal)
    error = (s @ found - ideal).pow(2).mean() / ideal.pow(2).mean()
    model.inp.bias += model.inp.weight @ found[-1]
    model.inp.weight.copy_(model.inp.weight @ found[:-1].T)
    print(f"states to ideal states: {100 * error:.1f} % of the variance missed", flush=True)


def begin(args, path, rows):
    """Model, optimiser, step and seconds spent: from the last checkpoint, another file, or nothing."""
    torch.manual_seed(SEED)
    model = speech_decoder.SpeechDecoder()
    optimiser = torch.optim.AdamW(model.parameters(), args.rate, (0.9, 0.98), weight_decay=0.01)
    if os.path.exists(path):
        saved = torch.load(path)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        return model, optimiser, saved["step"], saved["spent"]
    if args.start:
        model.load_state_dict(torch.load(args.start)["model"])
        if args.fold:
            fold_map(model, random.Random(SEED).sample(rows, min(3000, len(rows))))
    return model, optimiser, 0, 0.0


def train_step(model, optimiser, batch, units, noise):
    loss = loss_of(model, batch, units, noise)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    if math.isfinite(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0))):
        optimiser.step()
    return float(loss.detach())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work")
    parser.add_argument("--states", nargs="+", required=True)
    parser.add_argument("--test", default=None, help="a states file of held-out questions")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--start", default=None)
    parser.add_argument("--fold", action="store_true", help="--start knows ideal states only")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--noise", type=float, default=0.05, help="added to the states, against their size")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    path, seconds = f"{args.work}/{args.out}", args.minutes * 60
    units = answer_units(args.work)
    rows = [r for r in States(args.work, args.states).rows if r[0] in units]
    if not rows:
        sys.exit(f"no answer is in {' '.join(args.states)}: the LLM that made them knows none and needs more training")
    model, optimiser, step, spent = begin(args, path, rows)
    if spent >= seconds:
        sys.exit(0)
    tests = [r for r in States(args.work, [args.test]).rows if r[0] in units][:120] if args.test else []
    source = batches(rows, weights(rows), np.random.default_rng(SEED + step))
    curve = curves.Log(f"{args.work}/curves/{os.path.splitext(args.out)[0]}.csv",
                       ["step", "seconds", "ctc", "unit_errors_repeat", "unit_errors_fact"], step > 0)
    print(f"{len(rows)} rows, {sum(p.numel() for p in model.parameters())} parameters, step {step}", flush=True)
    last, seen = time.time(), []
    while spent < seconds:
        for group in optimiser.param_groups:
            group["lr"] = rate(step, spent, seconds, args.rate)
        seen.append(train_step(model, optimiser, next(source), units, args.noise))
        step += 1
        now = time.time()
        spent, last = spent + now - last, now
        if step % 100 == 0 or spent >= seconds:
            repeat, fact = unit_errors(model, tests, units)
            curve.add(step=step, seconds=round(spent), ctc=round(np.mean(seen), 4),
                      unit_errors_repeat=repeat, unit_errors_fact=fact)
            print(f"    {BATCH * step / spent:.0f} answers/s  {(seconds - spent) / 60:.1f} min left", flush=True)
            save(path, model, optimiser, step, spent)
            seen, last = [], time.time()
    save(path, model, optimiser, step, spent)


if __name__ == "__main__":
    main()
