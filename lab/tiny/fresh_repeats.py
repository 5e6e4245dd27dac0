"""More repeats for stage 2 than the domain lists: fresh word combinations, typed, with the LLM's own states.

    fresh_repeats.py WORK STAGE1.pt [COUNT]

The domain's 10000 repeats are too few combinations for the speech decoder to say any word after any other. Held-out
questions stay held out. Writes WORK/states/fresh.npz and WORK/units/fresh.json (text -> units).
"""

import json
import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import torch

import dialogue
import domain
import units
from answers import speak
from states import Writer, load_llm, parts

SEED = 26


def questions(count):
    rng, out = random.Random(SEED), {}
    known = {q[0] for q in domain.questions()}
    while len(out) < count:
        words = domain.RARE_WORDS if rng.random() < 0.3 else domain.REPEAT_WORDS
        if rng.random() < 0.2:
            words = domain.RARE_WORDS + domain.REPEAT_WORDS
        q = domain.repeat_question(rng, rng.choice((2, 3, 3, 4)), words)
        if q[0] not in known and not domain.is_held_out(q[0]):
            out[q[1]] = q
    return list(out.values())


@torch.no_grad()
def main(work, weights, count=7000):
    if os.path.exists(f"{work}/units/fresh.json"):
        return
    torch.set_num_threads(1)
    asked, book, found = questions(int(count)), units.CodeBook(work), {}
    with ThreadPoolExecutor(2) as pool:
        for q, (sound, _) in zip(asked, pool.map(speak, [q[1] for q in asked])):
            found[q[1]] = units.merge(book.frames(sound))[0].tolist()
    llm = load_llm(torch.load(weights)["llm"])
    writer = Writer(llm)
    for part in parts(asked):
        writer.add([llm.embed(torch.tensor(dialogue.text_example([q])[0])) for q in part], part)
    writer.save(f"{work}/states/fresh.npz")
    with open(f"{work}/units/fresh.json.tmp", "w") as f:
        json.dump(found, f)
    os.replace(f"{work}/units/fresh.json.tmp", f"{work}/units/fresh.json")


if __name__ == "__main__":
    main(*sys.argv[1:])
