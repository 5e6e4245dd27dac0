"""Choose a few held-out questions that the model answers right, for everybody to try.

    demo_questions.py WORK OUT_DIR

Two in slt's and one in awb's voice, which training knew, and one in rms's, which it never heard. Right
means: exact text, and the judge hears every word of the spoken answer. A model that answers none right gets the
first question of the kind, and a warning. Writes 1.wav ... and questions.txt.
"""

import os
import shutil
import sys
import tempfile

import numpy as np
import torch

import judge
import listen
from answers import read_wav, write_wav
from machine import Machine

SUMS, FACTS = ("mul", "sub", "add", "num"), ("cap", "opp", "colour", "seq", "sound", "legs", "unit")
WANTED = [("seen", "flite:slt", FACTS + SUMS), ("seen", "flite:awb", SUMS + FACTS),
          ("seen", "flite:slt", ("repeat",)), ("unseen", "flite:rms", FACTS + SUMS + ("repeat",))]
BYTES = 120000


def answers_right(machine, path, answer):
    text, states = machine.reply(machine.hear(read_wav(path).astype(np.float32) / 32768))
    if text != answer:
        return False
    with tempfile.NamedTemporaryFile(suffix=".wav") as f:
        write_wav(f.name, machine.say(states))
        return judge.listen([f.name])[0] == answer


def choose(machine, work, name, voice, kinds):
    """The first test row that is answered right, kinds tried in order; where none is, the first."""
    rows = [(r, f"{work}/test/{r['wav']}") for r in listen.test_rows(work, name) if r["voice"] == voice]
    fit = [(r, path) for kind in kinds for r, path in rows if r["kind"] == kind and os.path.getsize(path) <= BYTES]
    if not fit:
        raise SystemExit(f"no question in the voice {voice} of the kinds {' '.join(kinds)}")
    for row, path in fit:
        if answers_right(machine, path, row["answer"]):
            return row, path
    print(f"warning: no right answer to {voice} {' '.join(kinds)}", flush=True)
    return fit[0]


def main(work, out):
    torch.set_num_threads(1)
    machine = Machine(work)
    os.makedirs(out, exist_ok=True)
    lines = ["# file, voice, question (held out of training), expected answer; tabs between"]
    for i, (name, voice, kinds) in enumerate(WANTED, 1):
        row, path = choose(machine, work, name, voice, kinds)
        shutil.copyfile(path, f"{out}/{i}.wav")
        told = voice + (" (a voice training never heard)" if name == "unseen" else "")
        lines.append(f"{i}.wav\t{told}\t{row['question']}\t{row['answer']}")
        print(lines[-1], flush=True)
    with open(f"{out}/questions.txt", "w") as f:
        f.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
