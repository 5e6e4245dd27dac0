"""More sentences for the speech decoder's schooling: any word may come first.

    first_words.py WORK [COUNT]

All 25 positions of the first LLM state look alike to a causal decoder that sees nothing but them, so it
can say the first word only once the second state is there, from memory. Answers teach that poorly: most
begin with "you" or "the". Here other words take the first place of known answers. These sentences mean
nothing; on ideal states (states.py) that does not matter.

Writes WORK/states/first.npz and WORK/units/first.json (text -> units).
"""

import json
import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import domain
import units
from answers import Answers, speak
from states import Writer, ideal_states

SEED = 25


def sentences(work, count):
    """Known fact answers with another first word, numbers in every second one."""
    rng = random.Random(SEED)
    known = [row["text"].split() for row in Answers(work).index
             if row["split"] == "train" and row["kind"] != "repeat"]
    every = sorted({w for words in known for w in words})
    counted = [w for w in [*domain.ONES, *domain.TENS] if w]
    out = set()
    while len(out) < count:
        first = rng.choice(counted if rng.random() < 0.5 else every)
        out.add(" ".join([first] + rng.choice(known)[1:6]))
    return sorted(out)


def main(work, count=2400):
    if os.path.exists(f"{work}/units/first.json"):
        return
    texts, book, found, writer = sentences(work, int(count)), units.CodeBook(work), {}, Writer()
    with ThreadPoolExecutor(2) as pool:
        for text, (sound, _) in zip(texts, pool.map(speak, texts)):
            found[text] = units.merge(book.frames(sound))[0].tolist()
            writer.keep(text, "first", ideal_states(text))
    writer.save(f"{work}/states/first.npz")
    with open(f"{work}/units/first.json.tmp", "w") as f:
        json.dump(found, f)
    os.replace(f"{work}/units/first.json.tmp", f"{work}/units/first.json")


if __name__ == "__main__":
    main(*sys.argv[1:])
