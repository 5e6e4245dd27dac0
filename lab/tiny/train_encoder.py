"""Teach the encoder to hear: phones per frame, phones by CTC, words by CTC.

    python3 train_encoder.py BUILD_DIR MINUTES [START.pt]

Two processes of one thread each share every batch and add their gradients.
The word loss sits on an adaptor and aims at the LLM's (fixed) word embeddings,
so stage 1 starts with rows that the LLM can almost read.
Learning rate and padding follow the spent share of MINUTES.  The state is
saved every few minutes and taken up again when the script is restarted.  START.pt
(an encoder and an adaptor, say of import_gguf.py) is where a first start begins.
"""
import csv
import glob
import os
import random
import sys
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from scipy.io import wavfile
from torch import nn

import curves
import features
import flat
import model
import phones
import vocab

PROCESSES, BATCH, PEAK, WARMUP = 2, 32, 1.2e-3, 150
FULL_FROM = 0.84                # share of the time after which all input is padded to 5 s
WEIGHTS = (1.0, 0.5, 0.5)      # of the frame, phone and word losses
ROW_SCALE = 0.4
SAVE_SECONDS, EVAL_STEPS = 150, 400
PHONES = len(phones.PHONES)


class Listener(nn.Module):
    """Encoder and adaptor with the three heads that only training needs."""

    def __init__(self):
        super().__init__()
        self.encoder, self.adaptor = model.Encoder(), model.Adaptor()
        self.frame = nn.Linear(model.WIDTH, PHONES)
        self.phone = nn.Linear(model.WIDTH, PHONES)         # class 0 is the blank
        self.word = model.WordHead(model.embedding_table(vocab.SIZE)[vocab.FIRST_WORD:])

    def forward(self, mel):
        x = self.encoder(mel)
        return self.frame(x), self.phone(x), self.word(self.adaptor(x))


class Data:
    """All feature chunks in memory, one long mel array."""

    def __init__(self, build):
        self.mel, self.label, self.rows, self.questions = [], [], [], []
        start = 0
        for path in sorted(glob.glob(f"{build}/feat/*.npz")):
            z = np.load(path)
            self.mel.append(z["mel"])
            self.label.append(z["frame"])
            for n, pad, told, question in zip(z["frames"], z["pad"], z["phones"], z["question"]):
                spelt = [int(p) for p in str(told).split(",")]
                words = [i - vocab.FIRST_WORD + 1 for i in vocab.text_ids(str(question))]
                self.rows.append((start, int(n), float(pad), spelt, words))
                self.questions.append(str(question))
                start += int(n)
        self.mel = np.concatenate(self.mel)
        self.label = np.concatenate(self.label)

    def batches(self, seed):
        """Endless index lists of similar length."""
        rng = random.Random(seed)
        while True:
            order = list(range(len(self.rows)))
            rng.shuffle(order)
            span = BATCH * 24
            pool = []
            for i in range(0, len(order) - span + 1, span):
                part = sorted(order[i:i + span], key=lambda j: self.rows[j][1])
                pool += [part[k:k + BATCH] for k in range(0, span, BATCH)]
            rng.shuffle(pool)
            yield from pool

    def collate(self, index, frames):
        mel = np.empty((len(index), frames, features.N_MELS), np.float32)
        label = np.full((len(index), frames // 2), -1, np.int64)
        for b, i in enumerate(index):
            start, n, pad, _, _ = self.rows[i]
            n = min(n, frames)
            mel[b, :n], mel[b, n:] = self.mel[start:start + n], pad
            known = self.label[start // 2:(start + n) // 2]
            label[b, :n // 2] = known
            label[b, n // 2:n // 2 + 12] = -1 if known[0] < 0 else 0
        return torch.from_numpy(mel), torch.from_numpy(label)


def warp(mel, rng):
    """Stretch the frequency axis of every example by its own factor: another throat."""
    factor = torch.from_numpy(rng.uniform(0.95, 1.05, len(mel)).astype(np.float32))
    at = (torch.arange(features.N_MELS) * factor[:, None]).clamp(max=features.N_MELS - 1)
    hat = 1 - (at[:, None, :] - torch.arange(features.N_MELS)[None, :, None]).abs()
    return torch.bmm(mel, hat.clamp(min=0))


def mask(mel, rng):
    """Hide one band and one moment of every example."""
    for m in mel:
        hole = float(m.mean())
        w = rng.integers(0, 8)
        f = rng.integers(0, features.N_MELS - w)
        m[:, f:f + w] = hole
        w = rng.integers(0, 10)
        t = rng.integers(0, max(1, len(m) - w))
        m[t:t + w] = hole
    return mel


def ctc(logits, targets):
    logp = logits.float().log_softmax(-1).transpose(0, 1)
    lengths = torch.tensor([len(t) for t in targets])
    return F.ctc_loss(logp, torch.tensor(sum(targets, [])),
                      torch.full((len(targets),), len(logp)), lengths,
                      reduction="sum", zero_infinity=True) / lengths.sum()


def losses(net, data, index, frames, rng):
    mel, label = data.collate(index, frames)
    mel = mask(warp(mel, rng), rng)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        frame, phone, word = net(mel)
    known = label >= 0
    ce = (F.cross_entropy(frame.float()[known], label[known], label_smoothing=0.05)
          if known.any() else frame.float().sum() * 0)
    return ce, ctc(phone, [data.rows[i][3] for i in index]), \
        ctc(word, [data.rows[i][4] for i in index])


def load_test(build, name, count):
    with open(f"{build}/test/{name}.tsv") as f:
        rows = list(csv.DictReader(f, delimiter="\t"))
    rows = rows[:count]
    mels = []
    for r in rows:
        x = wavfile.read(f"{build}/test/{r['wav']}")[1].astype(np.float32) / 32768
        mels.append(features.log_mel(x).T)
    return torch.stack(mels), [r["question"].split() for r in rows]


def edits(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        last, row[0] = row[0], i + 1
        for j, y in enumerate(b):
            last, row[j + 1] = row[j + 1], min(last + (x != y), row[j] + 1, row[j + 1] + 1)
    return row[-1]


def word_error_rate(net, test):
    mels, truth = test
    wrong = total = 0
    net.eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        best = torch.cat([net(m)[2].argmax(-1) for m in mels.split(24)])
    net.train()
    for path, words in zip(best, truth):
        heard = [vocab.WORDS[i - 1] for i in path.unique_consecutive().tolist() if i]
        wrong, total = wrong + edits(heard, words), total + len(words)
    return wrong / total


def rate_at(progress, step):
    """Warm up, hold, then fall linearly to 2 % over the last 75 % of the time."""
    return PEAK * min(1.0, (step + 1) / WARMUP) * min(1.0, 0.02 + 0.98 * (1 - progress) / 0.75)


def quieter_rows(adaptor, word):
    """The same words at ROW_SCALE of the loudness.

    The word loss makes rows five times as long as the LLM's embeddings, and what
    its layers add would drown in them; for stage 1 they come down to about twice.
    """
    adaptor, word = dict(adaptor), dict(word)
    for name in ("linear2.weight", "linear2.bias"):
        adaptor[name] = adaptor[name] * ROW_SCALE
    for name in ("gain", "blank.weight"):
        word[name] = word[name] / ROW_SCALE
    return adaptor, word


def export(build, net):
    adaptor, word = quieter_rows(net.adaptor.state_dict(), net.word.state_dict())
    out = dict(encoder=net.encoder.state_dict(), adaptor=adaptor, word=word)
    torch.save(out, f"{build}/encoder.pt.part")
    os.rename(f"{build}/encoder.pt.part", f"{build}/encoder.pt")


class Run:
    """One process of the training."""

    def __init__(self, rank, build, seconds, start):
        self.rank, self.build, self.seconds = rank, build, seconds
        torch.manual_seed(3)
        self.net = Listener()
        if start:
            self.begin_from(torch.load(start))
        self.opt = flat.FlatAdamW(self.net, betas=(0.9, 0.98), decay=0.01)
        self.step, self.elapsed = 0, 0.0
        self.resume()
        self.data = Data(build)
        self.test = load_test(build, ["seen", "unseen"][rank], 160)
        self.rng = np.random.default_rng(100 * self.step + rank)

    def begin_from(self, heard):
        """Encoder and adaptor as export() left them; the heads learn anew."""
        self.net.encoder.load_state_dict(heard["encoder"])
        self.net.adaptor.load_state_dict(heard["adaptor"])
        with torch.no_grad():
            for p in self.net.adaptor.linear2.parameters():
                p /= ROW_SCALE

    def state_path(self):
        return f"{self.build}/encoder-state.pt"

    def resume(self):
        if os.path.exists(self.state_path()):
            state = torch.load(self.state_path())
            self.net.load_state_dict(state["net"])
            self.opt.load(state["opt"])
            self.step, self.elapsed = state["step"], state["elapsed"]

    def save(self):
        torch.save(dict(net=self.net.state_dict(), opt=self.opt.state(), step=self.step,
                        elapsed=self.elapsed), self.state_path() + ".part")
        os.rename(self.state_path() + ".part", self.state_path())
        export(self.build, self.net)

    def frames(self, index, progress):
        """Mel frames of this batch: its longest utterance, later the whole window."""
        if progress >= FULL_FROM:
            return features.FRAMES
        longest = max(self.data.rows[i][1] for i in index)
        return min(features.FRAMES, (longest + 29) // 10 * 10)

    def train_step(self, index):
        progress = min(1.0, self.elapsed / self.seconds)
        parts = losses(self.net, self.data, index[self.rank::PROCESSES],
                       self.frames(index, progress), self.rng)
        self.opt.zero()
        sum(w * p for w, p in zip(WEIGHTS, parts)).backward()
        dist.all_reduce(self.opt.grad)
        self.opt.grad /= PROCESSES
        self.opt.step(rate_at(progress, self.step), clip=1.0)
        self.step += 1
        return np.array([float(p) for p in parts])

    def shared_clock(self, now):
        """Both processes follow the first one's clock."""
        clock = torch.tensor([now if self.rank == 0 else 0.0], dtype=torch.float64)
        dist.all_reduce(clock)
        self.elapsed = float(clock)

    def test_both(self):
        """Word error rates, seen and unseen voices; each process tests one."""
        rates = torch.zeros(2)
        rates[self.rank] = word_error_rate(self.net, self.test)
        dist.all_reduce(rates)
        return {"wer_seen": round(float(rates[0]), 4), "wer_unseen": round(float(rates[1]), 4)}

    def go(self):
        log = curves.Log(f"{self.build}/curves/encoder.csv",
                         ["step", "seconds", "rate", "ce", "phone_ctc", "word_ctc", "wer_seen",
                          "wer_unseen"], self.step > 0) if self.rank == 0 else None
        if log:
            print(f"{len(self.data.rows)} examples, from step {self.step}", flush=True)
        start, began = time.time() - self.elapsed, time.time()
        saved, first, mean = time.time(), self.step, None
        for index in self.data.batches(1000 + self.step):
            part = self.train_step(index)
            mean = part if mean is None else 0.97 * mean + 0.03 * part
            self.shared_clock(time.time() - start)
            over = self.elapsed >= self.seconds
            tested = self.test_both() if self.step % EVAL_STEPS == 0 or over else {}
            if log and (self.step % 50 == 0 or over):
                rate = (self.step - first) * BATCH / (time.time() - began)
                log.add(step=self.step, seconds=round(self.elapsed), rate=round(rate, 1),
                        ce=round(mean[0], 3), phone_ctc=round(mean[1], 3),
                        word_ctc=round(mean[2], 3), **tested)
            if self.rank == 0 and (over or time.time() - saved > SAVE_SECONDS):
                self.save()
                saved = time.time()
            if over:
                break


def worker(rank, build, seconds, start):
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29517")
    dist.init_process_group("gloo", rank=rank, world_size=PROCESSES)
    Run(rank, build, seconds, start).go()
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(worker, (sys.argv[1], float(sys.argv[2]) * 60, *(sys.argv[3:] or [""])), nprocs=PROCESSES)
