"""The voice of the answers: synthesise answer texts with flite, keep sound and phone times.

    answers.py WORK [--repeats 3500] [--test 150]

Writes WORK/answers/sound.npy (int16, all answers end to end) and WORK/answers/index.json
(text, kind, split, place in sound.npy, phones with their end in samples).

The voice is flite's slt, its melody nearly flat: fewer pitches to learn for units and vocoder.
A test answer is spoken only in reply to held-out questions, so no later step ever trains on it.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import wave
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import domain

RATE = 16000
HOP = 320                      # one unit frame, 20 ms
LEAD, TAIL = 1280, 1920        # silence kept around the words, in samples
FLITE = ["flite", "-voice", "slt", "--setf", "int_f0_target_mean=172",
         "--setf", "int_f0_target_stddev=4"]
SEED = 20


def read_wav(path):
    with wave.open(path) as w:
        assert (w.getframerate(), w.getnchannels(), w.getsampwidth()) == (RATE, 1, 2), path
        return np.frombuffer(w.readframes(w.getnframes()), dtype="<i2")


def write_wav(path, sound):
    """Takes int16, or float in [-1, 1]."""
    if sound.dtype != np.int16:
        sound = np.clip(np.round(sound * 32767), -32768, 32767).astype(np.int16)
    with wave.open(path, "wb") as w:
        w.setnchannels(1)
        w.setsampwidth(2)
        w.setframerate(RATE)
        w.writeframes(sound.tobytes())


def speak(text):
    """Return (int16 sound, [[phone, end sample], ...]), silence at both ends cut to LEAD and TAIL."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as f:
        said = subprocess.run(FLITE + ["-psdur", "-t", text, "-o", f.name],
                              check=True, capture_output=True, text=True).stdout
        sound = read_wav(f.name)
    phones = [(p, int(float(t) * RATE)) for p, t in re.findall(r"(\S+):([\d.]+)", said)]
    begin = phones[0][1] if phones[0][0] == "pau" else 0
    end = phones[-2][1] if phones[-1][0] == "pau" else phones[-1][1]
    first = max(0, begin - LEAD)
    last = min(len(sound), end + TAIL)
    last = first + (last - first) // HOP * HOP
    phones = [[p, min(t, last) - first] for p, t in phones if t > first]
    phones[-1][1] = last - first
    return sound[first:last], phones


def balanced(texts, how_many, rng):
    """Take texts in rounds over their words, so that rare words are not left out."""
    by_word = {}
    for text in rng.sample(texts, len(texts)):
        for word in text.split():
            by_word.setdefault(word, []).append(text)
    chosen = {}
    while len(chosen) < min(how_many, len(texts)):
        for word in sorted(by_word):
            while by_word[word]:
                text = by_word[word].pop()
                if text not in chosen:
                    chosen[text] = True
                    break
    return list(chosen)[:how_many]


def plan(repeats, test):
    """Return [(text, kind, split)]: all trained facts, balanced repeats, and test answers."""
    rng = random.Random(SEED)
    train, held = {}, {}
    for question, answer, kind in domain.questions():
        (held if domain.is_held_out(question) else train).setdefault(answer, kind)
    facts = [a for a in train if train[a] != "repeat"]
    said = balanced(sorted(a for a in train if train[a] == "repeat"), repeats, rng)
    unseen = sorted(a for a in held if a not in train)
    tests = rng.sample(unseen, min(test, len(unseen)))
    return ([(a, train[a], "train") for a in facts + said] +
            [(a, held[a], "test") for a in tests])


def synthesise(rows, workers):
    begun = time.time()
    sounds, index, at = [], [], 0
    with ThreadPoolExecutor(workers) as pool:
        spoken = pool.map(speak, [r[0] for r in rows])
        for n, ((text, kind, split), (sound, phones)) in enumerate(zip(rows, spoken), 1):
            sounds.append(sound)
            index.append(dict(text=text, kind=kind, split=split, at=at, samples=len(sound),
                              phones=phones))
            at += len(sound)
            if n % 500 == 0:
                rate = n / (time.time() - begun)
                print(f"answers {n}/{len(rows)}  {rate:.1f}/s  {(len(rows) - n) / rate:.0f} s left",
                      flush=True)
    return np.concatenate(sounds), index


class Answers:
    """What synthesise() left on disk, read back."""

    def __init__(self, work):
        self.sound = np.load(f"{work}/answers/sound.npy", mmap_mode="r")
        with open(f"{work}/answers/index.json") as f:
            self.index = json.load(f)

    def get(self, n):
        row = self.index[n]
        return np.asarray(self.sound[row["at"]:row["at"] + row["samples"]])

    def split(self, name):
        return [n for n, row in enumerate(self.index) if row["split"] == name]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work")
    parser.add_argument("--repeats", type=int, default=3500)
    parser.add_argument("--test", type=int, default=150)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    folder = f"{args.work}/answers"
    if os.path.exists(f"{folder}/index.json"):
        sys.exit(0)
    os.makedirs(folder, exist_ok=True)
    rows = plan(args.repeats, args.test)
    sound, index = synthesise(rows, args.workers)
    np.save(f"{folder}/sound.npy", sound)
    with open(f"{folder}/index.json.tmp", "w") as f:
        json.dump(index, f)
    os.replace(f"{folder}/index.json.tmp", f"{folder}/index.json")
    kinds = {}
    for row in index:
        kinds[row["kind"]] = kinds.get(row["kind"], 0) + 1
    print(f"{len(index)} answers, {len(sound) / RATE / 3600:.2f} h, kinds {kinds}")


if __name__ == "__main__":
    main()
