"""Stage 1: let the LLM understand the encoder.  Adaptor and LLM learn, the encoder rests.

    python3 train_stage1.py BUILD_DIR MINUTES [--heard]

Samples are conversations of one or two turns, spoken or typed.  The loss is the
cross entropy of the answers plus a word CTC on the adaptor's rows.  The encoder
runs anew for every sample, so no two are alike; during the first part of the
time batches are only as long as their longest utterance, then always 5 s.  With
--heard the encoder's rows come from what encode_ahead.py has written so far.
"""
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

import curves
import dialogue
import features
import flat
import listen
import model
import train_encoder as listening
import vocab

PROCESSES, BATCH, PEAK, WARMUP = 2, 32, 7e-4, 60
SECOND_TURN, TYPED_BATCH = 0.27, 0.08
WORD_LOSS = 0.3
FULL_FROM = 0.65              # share of the time after which input is padded to 5 s
SAVE_SECONDS, EVAL_STEPS = 100, 250


class Batch:
    """Conversations whose last turn is spoken (or all of it typed, for a few).

    `index` names the utterances; an earlier turn that was spoken is another
    utterance of the same batch, so nothing is encoded twice.  `fate` is the same in
    all processes, so that they do batches of the same length and none has to wait.
    """

    def __init__(self, rng, fate, data, index, answers, sampler):
        self.index = index if fate.random() >= TYPED_BATCH else []
        double = fate.random() < SECOND_TURN
        spoken = [(i, answers[data.questions[row]]) for i, row in enumerate(self.index)]
        self.samples = []
        for i in range(len(index)):
            typed = (None, sampler.question())
            turns = [spoken[i] if spoken else typed]
            if double:
                earlier = spoken and rng.random() < 0.6
                turns.insert(0, rng.choice(spoken) if earlier else (None, sampler.question()))
            self.samples.append(turns)


class Heard:
    """Encoder rows that encode_ahead.py has written; more appear while we train."""

    def __init__(self, build):
        self.build, self.known, self.items = build, set(), []

    def refresh(self):
        for path in sorted(glob.glob(f"{self.build}/heard/*-states.npy")):
            if path in self.known:
                continue
            self.known.add(path)
            states = np.load(path, mmap_mode="r")
            rows = np.load(path.replace("-states.npy", "-rows.npy"))
            self.items += [(states, k, int(row)) for k, row in enumerate(rows)]

    def draw(self, rng, count):
        """(utterance rows, their states [count][positions][width])"""
        picked = rng.sample(self.items, count)
        states = np.stack([s[k] for s, k, _ in picked]).astype(np.float32)
        return [row for _, _, row in picked], torch.from_numpy(states)


def sample_rows(llm, spoken, turns):
    """Input rows of one conversation, and its target ids (-100: nothing to say)."""
    rows, target = [], []
    for i, (index, (question, answer, _)) in enumerate(turns):
        head, reply = vocab.turn_head(i == 0), dialogue.answer_ids(answer)
        asked = (llm.embed(torch.tensor(vocab.text_ids(question))) if index is None
                 else spoken[index])
        rows += [llm.embed(torch.tensor(head)), asked,
                 llm.embed(torch.tensor(vocab.TURN_TAIL + reply))]
        target += [-100] * (len(head) + len(asked) + len(vocab.TURN_TAIL) - 1) + reply + [-100]
    return torch.cat(rows), target


@torch.no_grad()
def listen_to(encoder, data, index, frames, rng):
    mel, _ = data.collate(index, frames)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return encoder(listening.mask(listening.warp(mel, rng), rng))


def spoken_rows(net, word, data, index, states):
    """Adaptor rows of the utterances, and the word loss on them."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rows = net.adaptor(F.dropout(states, 0.08))
    rows = rows.float()
    return rows, listening.ctc(word(rows), [data.rows[i][4] for i in index])


def losses(net, word, data, batch, states):
    """(answer loss, word loss) of one batch; states of its spoken questions, or None."""
    spoken, word_loss = [], torch.zeros(())
    if batch.index:
        spoken, word_loss = spoken_rows(net, word, data, batch.index, states)
    made = [sample_rows(net.llm, spoken, turns) for turns in batch.samples]
    longest = max(len(t) for _, t in made)
    rows = torch.stack([F.pad(r, (0, 0, 0, longest - len(r))) for r, _ in made])
    target = torch.tensor([t + [-100] * (longest - len(t)) for _, t in made])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = net.llm(rows)
        known = target >= 0
        logits = net.llm.lm_head(x[known])
    return F.cross_entropy(logits.float(), target[known], label_smoothing=0.02), word_loss


def rate_at(progress, step):
    return PEAK * min(1.0, (step + 1) / WARMUP) * min(1.0, 0.02 + 0.98 * (1 - progress) / 0.7)


def export(build, net, encoder):
    out = dict(encoder=encoder, adaptor=net.adaptor.state_dict(), llm=net.llm.state_dict())
    torch.save(out, f"{build}/stage1.pt.part")
    os.rename(f"{build}/stage1.pt.part", f"{build}/stage1.pt")


def exact_share(net, states, rows):
    net.eval()
    told = listen.answers_to(net, states)
    net.train()
    return sum(t == r["answer"] for t, r in zip(told, rows)) / len(rows)


class Run:
    """One process of the training."""

    def __init__(self, rank, build, seconds, heard_ahead):
        self.rank, self.build, self.seconds = rank, build, seconds
        self.ahead = Heard(build) if heard_ahead else None
        torch.manual_seed(9)
        heard = torch.load(f"{build}/encoder.pt")
        self.net, self.word = listen.Talker(drop=0.08), model.WordHead(
            model.embedding_table(vocab.SIZE)[vocab.FIRST_WORD:])
        self.net.adaptor.load_state_dict(heard["adaptor"])
        self.net.llm.load_state_dict(torch.load(f"{build}/lm.pt"))
        self.word.load_state_dict(heard["word"])
        self.heard = heard["encoder"]
        both = torch.nn.ModuleDict({"net": self.net, "word": self.word})
        self.both, self.opt = both, flat.FlatAdamW(both, betas=(0.9, 0.98), decay=0.03,
                                                 scales={"net.adaptor.linear2": 0.4})
        self.step, self.elapsed = 0, 0.0
        self.resume()
        self.encoder = model.Encoder()
        self.encoder.load_state_dict(self.heard)
        self.data = listening.Data(build)
        self.answers = {q[0]: q for q in dialogue.training_questions()}
        self.rng = random.Random(self.step * 2 + rank)
        self.np_rng = np.random.default_rng(self.step * 2 + rank)
        self.sampler = dialogue.Sampler(self.step * 2 + rank)
        self.test = listen.test_rows(build, ["seen", "unseen"][rank], 160)
        self.test_states = listen.test_states(build, self.encoder, self.test)

    def state_path(self):
        return f"{self.build}/stage1-state.pt"

    def resume(self):
        if os.path.exists(self.state_path()):
            state = torch.load(self.state_path())
            self.both.load_state_dict(state["both"])
            self.opt.load(state["opt"])
            self.step, self.elapsed = state["step"], state["elapsed"]

    def save(self):
        torch.save(dict(both=self.both.state_dict(), opt=self.opt.state(), step=self.step,
                        elapsed=self.elapsed), self.state_path() + ".part")
        os.rename(self.state_path() + ".part", self.state_path())
        export(self.build, self.net, self.heard)

    def frames(self, index, progress):
        """Mel frames of this batch: its longest utterance, later the whole window."""
        if progress >= FULL_FROM:
            return features.FRAMES
        longest = max(self.data.rows[i][1] for i in index)
        return min(features.FRAMES, longest // 10 * 10 + self.np_rng.integers(2, 8) * 10)

    def hear(self, index, progress):
        """(utterances of this process, their encoder rows)"""
        mine = index[self.rank::PROCESSES]
        if not self.ahead:
            frames = self.frames(index, progress)
            return mine, listen_to(self.encoder, self.data, mine, frames, self.np_rng)
        if self.step % 20 == 0 or not self.ahead.items:
            self.ahead.refresh()
        return self.ahead.draw(self.rng, len(mine))

    def train_step(self, index):
        progress = min(1.0, self.elapsed / self.seconds)
        mine, states = self.hear(index, progress)
        batch = Batch(self.rng, random.Random(self.step), self.data, mine, self.answers,
                      self.sampler)
        said, heard = losses(self.net, self.word, self.data, batch, states)
        self.opt.zero()
        (said + WORD_LOSS * heard).backward()
        dist.all_reduce(self.opt.grad)
        self.opt.grad /= PROCESSES
        self.opt.step(rate_at(progress, self.step), clip=1.0)
        self.step += 1
        return np.array([float(said), float(heard)])

    def shared_clock(self, now):
        clock = torch.tensor([now if self.rank == 0 else 0.0], dtype=torch.float64)
        dist.all_reduce(clock)
        self.elapsed = float(clock)

    def test_both(self):
        """Exact answers, seen and unseen voices; each process tests one."""
        shares = torch.zeros(2)
        shares[self.rank] = exact_share(self.net, self.test_states, self.test)
        dist.all_reduce(shares)
        return {"exact_seen": round(float(shares[0]), 4),
                "exact_unseen": round(float(shares[1]), 4)}

    def go(self):
        log = curves.Log(f"{self.build}/curves/stage1.csv",
                         ["step", "seconds", "rate", "ce", "word_ctc", "exact_seen",
                          "exact_unseen"], self.step > 0) if self.rank == 0 else None
        if log:
            print(f"{len(self.data.rows)} spoken questions, from step {self.step}", flush=True)
        start = time.time() - self.elapsed
        saved, first, mean, began = time.time(), self.step, None, time.time()
        for index in self.data.batches(3000 + self.step):
            part = self.train_step(index)
            mean = part if mean is None else 0.97 * mean + 0.03 * part
            self.shared_clock(time.time() - start)
            over = self.elapsed >= self.seconds
            tested = self.test_both() if self.step % EVAL_STEPS == 0 or over else {}
            if log and (self.step % 50 == 0 or over):
                rate = (self.step - first) * BATCH / (time.time() - began)
                log.add(step=self.step, seconds=round(self.elapsed), rate=round(rate, 1),
                        ce=round(mean[0], 3), word_ctc=round(mean[1], 3), **tested)
            if self.rank == 0 and (over or time.time() - saved > SAVE_SECONDS):
                self.save()
                saved = time.time()
            if over:
                break


def worker(rank, build, seconds, heard_ahead):
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29518")
    dist.init_process_group("gloo", rank=rank, world_size=PROCESSES)
    Run(rank, build, seconds, heard_ahead).go()
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(worker, (sys.argv[1], float(sys.argv[2]) * 60, "--heard" in sys.argv),
             nprocs=PROCESSES)
