"""Conversations as token ids: what the LLM sees and which tokens it must say.

A turn is (rows or ids of the question, answer text).  A conversation becomes a
list of pieces; a piece is either a list of ids or a marker for speech rows.
"""
import random

import domain
import vocab


def training_questions():
    return [q for q in domain.questions() if not domain.is_held_out(q[0])]


def answer_ids(answer):
    return vocab.text_ids(answer) + [vocab.EOT]


def text_example(turns):
    """Ids of a typed conversation, and a flag per id: is it said by the assistant?"""
    ids, said = [], []
    for i, (question, answer, _) in enumerate(turns):
        prompt = vocab.turn_head(i == 0) + vocab.text_ids(question) + vocab.TURN_TAIL
        reply = answer_ids(answer)
        ids += prompt + reply
        said += [False] * len(prompt) + [True] * len(reply)
    return ids, said


class Sampler:
    """Endless training conversations; common kinds do not drown the rare ones."""

    WEIGHT = {"repeat": 1.0, "chat": 12.0}          # facts: FACT
    FACT, FRESH, SECOND_TURN = 2.0, 0.35, 0.28
    RARE = 0.35                                     # of the fresh repeats

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.pool = training_questions()
        self.weights = [self.WEIGHT.get(k, self.FACT) for _, _, k in self.pool]
        total = 0.0
        self.sums = [total := total + w for w in self.weights]

    def question(self):
        if self.rng.random() < self.FRESH:
            return self.fresh_repeat()
        return self.rng.choices(self.pool, cum_weights=self.sums)[0]

    def fresh_repeat(self):
        while True:
            words = domain.RARE_WORDS if self.rng.random() < self.RARE else domain.REPEAT_WORDS
            q = domain.repeat_question(self.rng, self.rng.choice((2, 3, 3, 4)), words)
            if not domain.is_held_out(q[0]):
                return q

    def conversations(self, count):
        """A batch: all of one turn or all of two, so that little is padding."""
        turns = 2 if self.rng.random() < self.SECOND_TURN else 1
        return [[self.question() for _ in range(turns)] for _ in range(count)]
