"""Teach the encoder to hear: phones per frame, phones by CTC, words by CTC.

    python3 train_encoder.py BUILD_DIR MINUTES [START.pt]

The word loss sits on an adaptor and aims at the LLM's (fixed) word embeddings,
so stage 1 starts with rows that the LLM can almost read.
START.pt (an encoder and an adaptor, say of import_gguf.py) is where a first start
begins.
"""
import csv
import glob
import random
import sys

import numpy as np
import torch
import torch.nn.functional as F
from scipy.io import wavfile
from torch import nn

import features
import flat
import model
import paired
import phones
import vocab
from judge import distance
from paired import BATCH

PEAK, WARMUP = 1.2e-3, 150
ROW_SCALE = 0.4
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
            span = min(BATCH * 24, len(order) // BATCH * BATCH)
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


def word_error_rate(net, test):
    mels, truth = test
    wrong = total = 0
    net.eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        best = torch.cat([net(m)[2].argmax(-1) for m in mels.split(24)])
    net.train()
    for path, words in zip(best, truth):
        heard = [vocab.WORDS[i - 1] for i in path.unique_consecutive().tolist() if i]
        wrong, total = wrong + distance(heard, words), total + len(words)
    return wrong / total


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


class Run(paired.Run):
    NAME, PORT, SEED = "encoder", 29517, 1000
    LOSSES, WEIGHTS, TEST = ("ce", "phone_ctc", "word_ctc"), (1.0, 0.5, 0.5), "wer"
    FULL_FROM, SAVE_SECONDS, EVAL_STEPS = 0.84, 150, 400

    def __init__(self, rank, build, seconds, start):
        super().__init__(rank, build, seconds)
        torch.manual_seed(3)
        self.learner = Listener()
        if start:
            self.begin_from(torch.load(start))
        self.opt = flat.FlatAdamW(self.learner, betas=(0.9, 0.98), decay=0.01)
        self.resume()
        self.data = Data(build)
        self.spoken = load_test(build, ["seen", "unseen"][rank], 160)
        self.rng = np.random.default_rng(100 * self.step + rank)

    def begin_from(self, heard):
        """Encoder and adaptor as export() left them; the heads learn anew."""
        self.learner.encoder.load_state_dict(heard["encoder"])
        self.learner.adaptor.load_state_dict(heard["adaptor"])
        with torch.no_grad():
            for p in self.learner.adaptor.linear2.parameters():
                p /= ROW_SCALE

    def export(self):
        net = self.learner
        adaptor, word = quieter_rows(net.adaptor.state_dict(), net.word.state_dict())
        self.write("encoder.pt", dict(encoder=net.encoder.state_dict(), adaptor=adaptor, word=word))

    def room(self, longest):
        return (longest + 29) // 10 * 10

    def rate_at(self, progress):
        """Warm up, hold, then fall linearly to 2 % over the last 75 % of the time."""
        return PEAK * min(1.0, (self.step + 1) / WARMUP) * min(1.0, 0.02 + 0.98 * (1 - progress) / 0.75)

    def losses(self, index, progress):
        mine, frames = index[self.rank::paired.PROCESSES], self.frames(index, progress)
        return losses(self.learner, self.data, mine, frames, self.rng)

    def test(self):
        return word_error_rate(self.learner, self.spoken)


if __name__ == "__main__":
    paired.train(Run, sys.argv[1], float(sys.argv[2]) * 60, *(sys.argv[3:] or [""]))
