"""Stage 1: let the LLM understand the encoder.  Adaptor and LLM learn, the encoder rests.

    python3 train_stage1.py BUILD_DIR MINUTES [--heard]

Samples are conversations of one or two turns, spoken or typed.  The loss is the
cross entropy of the answers plus a word CTC on the adaptor's rows.  The encoder
runs anew for every sample, so no two are alike; during the first part of the
time batches are only as long as their longest utterance, then always 5 s.  With
--heard the encoder's rows come from what encode_ahead.py has written so far.
"""
import glob
import random
import sys

import numpy as np
import torch
import torch.nn.functional as F

import dialogue
import flat
import listen
import model
import paired
import train_encoder as listening
import vocab

PEAK, WARMUP = 7e-4, 60
SECOND_TURN, TYPED_BATCH = 0.27, 0.08


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


def exact_share(net, states, rows):
    net.eval()
    told = listen.answers_to(net, states)
    net.train()
    return sum(t == r["answer"] for t, r in zip(told, rows)) / len(rows)


class Run(paired.Run):
    NAME, PORT, SEED = "stage1", 29518, 3000
    LOSSES, WEIGHTS, TEST = ("ce", "word_ctc"), (1.0, 0.3), "exact"
    FULL_FROM, SAVE_SECONDS, EVAL_STEPS = 0.65, 100, 250

    def __init__(self, rank, build, seconds, heard_ahead):
        super().__init__(rank, build, seconds)
        self.ahead = Heard(build) if heard_ahead else None
        torch.manual_seed(9)
        heard = torch.load(f"{build}/encoder.pt")
        self.net, self.word = listen.Talker(drop=0.08), model.WordHead(
            model.embedding_table(vocab.SIZE)[vocab.FIRST_WORD:])
        self.net.adaptor.load_state_dict(heard["adaptor"])
        self.net.llm.load_state_dict(torch.load(f"{build}/lm.pt"))
        self.word.load_state_dict(heard["word"])
        self.learner = torch.nn.ModuleDict({"net": self.net, "word": self.word})
        self.opt = flat.FlatAdamW(self.learner, betas=(0.9, 0.98), decay=0.03,
                                  scales={"net.adaptor.linear2": 0.4})
        self.resume()
        self.encoder = model.Encoder()
        self.encoder.load_state_dict(heard["encoder"])
        self.data = listening.Data(build)
        self.answers = {q[0]: q for q in dialogue.training_questions()}
        self.rng = random.Random(self.step * 2 + rank)
        self.np_rng = np.random.default_rng(self.step * 2 + rank)
        self.sampler = dialogue.Sampler(self.step * 2 + rank)
        self.tests = listen.test_rows(build, ["seen", "unseen"][rank], 160)
        self.test_states = listen.test_states(build, self.encoder, self.tests)

    def export(self):
        self.write("stage1.pt", dict(encoder=self.encoder.state_dict(), adaptor=self.net.adaptor.state_dict(),
                                     llm=self.net.llm.state_dict()))

    def room(self, longest):
        return longest // 10 * 10 + self.np_rng.integers(2, 8) * 10

    def rate_at(self, progress):
        return PEAK * min(1.0, (self.step + 1) / WARMUP) * min(1.0, 0.02 + 0.98 * (1 - progress) / 0.7)

    def hear(self, index, progress):
        """(utterances of this process, their encoder rows)"""
        mine = index[self.rank::paired.PROCESSES]
        if not self.ahead:
            frames = self.frames(index, progress)
            return mine, listen_to(self.encoder, self.data, mine, frames, self.np_rng)
        if self.step % 20 == 0 or not self.ahead.items:
            self.ahead.refresh()
        return self.ahead.draw(self.rng, len(mine))

    def losses(self, index, progress):
        mine, states = self.hear(index, progress)
        batch = Batch(self.rng, random.Random(self.step), self.data, mine, self.answers, self.sampler)
        return losses(self.net, self.word, self.data, batch, states)

    def test(self):
        return exact_share(self.net, self.test_states, self.tests)


if __name__ == "__main__":
    paired.train(Run, sys.argv[1], float(sys.argv[2]) * 60, "--heard" in sys.argv)
