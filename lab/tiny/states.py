"""What the frozen LLM thinks just before each word: the inputs of stage 2.

    states.py WORK ideal - NAME               no LLM: the next word itself, as its embedding row
    states.py WORK typed STAGE1.pt NAME N     every fact question and N repeat questions, typed
    states.py WORK spoken STAGE1.pt NAME N    N drawn from the spoken ones (and a few typed), as the
                                              encoder heard them: WORK/heard of encode_ahead.py

For each question the final-norm states that predict the answer's words and <|eot_id|>, n + 1 of them,
computed in fp32; every fourth question is a second turn. Questions that the LLM would answer in other
words are left out, for their states mean another text. Writes WORK/states/NAME.npz, and -test.npz of
held-out questions whose answer has been spoken.
"""

import glob
import os
import random
import sys

import numpy as np
import torch

import dialogue
import domain
import listen
import model
import train_stage1
import vocab
from answers import Answers

SECOND_TURN, TYPED, BATCH = 0.25, 0.15, 48
TESTS = 240
SEED = 24


def ideal_states(text):
    """States of a listener that thinks of nothing but the next word, [n + 1][256], of unit size."""
    return 2 * model.embedding_table(vocab.SIZE)[dialogue.answer_ids(text)]


class Writer:
    def __init__(self, llm=None):
        self.llm, self.texts, self.kinds, self.states, self.left_out = llm, [], [], [], 0

    @torch.no_grad()
    def add(self, rows, questions):
        """Rows [length][256] of whole conversations, and the (question, answer, kind) each ends with."""
        out = self.llm(torch.nn.utils.rnn.pad_sequence(rows, True))      # causal: padding is never seen
        for o, r, (_, text, kind) in zip(out, rows, questions):
            ids = torch.tensor(dialogue.answer_ids(text))
            states = o[len(r) - len(ids) - 1:len(r) - 1]                  # position p predicts token p + 1
            if (self.llm.lm_head(states).argmax(-1) != ids).any():
                self.left_out += 1
                continue
            self.keep(text, kind, states)

    def keep(self, text, kind, states):
        self.texts.append(text)
        self.kinds.append(kind)
        self.states.append(states.numpy().astype(np.float16))

    def save(self, path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        none = np.zeros((0, model.WIDTH), np.float16)      # an LLM of little training may know no answer
        np.savez(path + ".tmp.npz", texts=np.array(self.texts), kinds=np.array(self.kinds),
                 states=np.concatenate([none, *self.states]), starts=np.cumsum([0] + [len(s) for s in self.states]))
        os.replace(path + ".tmp.npz", path)
        print(f"{path}: {len(self.texts)} answers, {self.left_out} left out", flush=True)


def load_llm(weights):
    llm = model.Llama(vocab.SIZE)
    llm.load_state_dict(weights)
    return llm.eval()


def parts(items):
    for at in range(0, len(items), BATCH):
        yield items[at:at + BATCH]


def ideal(work, path):
    for split, end in (("train", ""), ("test", "-test")):
        writer = Writer()
        for row in Answers(work).index:
            if row["split"] == split:
                writer.keep(row["text"], row["kind"], ideal_states(row["text"]))
        writer.save(f"{path}{end}.npz")


def typed(llm, questions, rng, path):
    writer, earlier = Writer(llm), dialogue.training_questions()
    for part in parts(questions):
        turns = [[rng.choice(earlier), q] if rng.random() < SECOND_TURN else [q] for q in part]
        rows = [llm.embed(torch.tensor(dialogue.text_example(t)[0])).detach() for t in turns]
        writer.add(rows, part)
    writer.save(path)


class Speech:
    """Training questions as the encoder heard them."""

    def __init__(self, work, questions):
        by_text = {q[0]: q for q in questions}
        asked = [str(q) for path in sorted(glob.glob(f"{work}/feat/*.npz")) for q in np.load(path)["question"]]
        self.heard = train_stage1.Heard(work)
        self.heard.refresh()
        self.heard.items = [i for i in self.heard.items if asked[i[2]] in by_text]
        self.triple = lambda row: by_text[asked[row]]

    def draw(self, rng, count):
        rows, states = self.heard.draw(rng, count)
        return [self.triple(r) for r in rows], states


def spoken_batch(llm, adaptor, speech, questions, rng):
    """Rows of BATCH conversations, most of which end with a spoken question, and those questions."""
    triples, states = speech.draw(rng, BATCH)
    heard, samples = adaptor(states), []

    def turn():
        i = rng.randrange(BATCH)
        return (None, rng.choice(questions)) if rng.random() < 0.5 else (i, triples[i])

    for i in range(BATCH):
        last = (None, rng.choice(questions)) if rng.random() < TYPED else (i, triples[i])
        samples.append([turn(), last] if rng.random() < SECOND_TURN else [last])
    return [train_stage1.sample_rows(llm, heard, s)[0] for s in samples], [s[-1][1] for s in samples]


@torch.no_grad()
def spoken(work, stage1, questions, rng, path, count):
    saved = torch.load(stage1)
    llm, adaptor = load_llm(saved["llm"]), model.Adaptor()
    adaptor.load_state_dict(saved["adaptor"])
    writer, speech = Writer(llm), Speech(work, questions)
    for _ in range(0, count, BATCH):
        writer.add(*spoken_batch(llm, adaptor, speech, questions, rng))
    writer.save(path)


@torch.no_grad()
def spoken_test(work, stage1, known, path):
    """Held-out questions in the test voices."""
    saved = torch.load(stage1)
    llm, adaptor, encoder = load_llm(saved["llm"]), model.Adaptor(), model.Encoder()
    adaptor.load_state_dict(saved["adaptor"])
    encoder.load_state_dict(saved["encoder"])
    rows = [r for r in listen.test_rows(work, "seen") if r["answer"] in known][:TESTS]
    heard = adaptor(listen.test_states(work, encoder, rows))
    triples = [(r["question"], r["answer"], r["kind"]) for r in rows]
    writer = Writer(llm)
    writer.add([train_stage1.sample_rows(llm, heard, [(i, t)])[0] for i, t in enumerate(triples)], triples)
    writer.save(path)


def main(work, mode, weights, name, count=0):
    torch.set_num_threads(1)
    if mode == "ideal":
        return ideal(work, f"{work}/states/{name}")
    rng = random.Random(SEED)
    known = {row["text"] for row in Answers(work).index}
    questions = [q for q in domain.questions() if q[1] in known]
    rng.shuffle(questions)
    train = [q for q in questions if not domain.is_held_out(q[0])]
    if mode == "spoken":
        spoken_test(work, weights, known, f"{work}/states/{name}-test.npz")
        spoken(work, weights, train, rng, f"{work}/states/{name}.npz", int(count))
        return
    saved = torch.load(weights)
    llm, held = load_llm(saved.get("llm", saved)), [q for q in questions if domain.is_held_out(q[0])]
    typed(llm, held[:TESTS], rng, f"{work}/states/{name}-test.npz")
    repeats = [q for q in train if q[2] == "repeat"][:int(count)]
    typed(llm, [q for q in train if q[2] != "repeat"] + repeats, rng, f"{work}/states/{name}.npz")


if __name__ == "__main__":
    main(*sys.argv[1:])
