"""Held-out spoken questions through the whole model; the judge listens to what it says.

    evaluate_speech.py WORK [--voices seen|unseen] [--count 150]

Prints the share of exact texts, the word error rate of the speech against the model's own text, against
the right answer, and, for comparison, of the original voice saying the right answers.
"""

import argparse
import os
import time

import numpy as np
import torch

import judge
import listen
from answers import RATE, read_wav, speak, write_wav
from machine import Machine


def run(machine, work, rows, folder):
    """[(reply text, its WAV, the original voice's WAV)] for test rows."""
    os.makedirs(folder, exist_ok=True)
    out, begun, seconds = [], time.time(), 0.0
    for i, row in enumerate(rows):
        wave = read_wav(f"{work}/test/{row['wav']}").astype(np.float32) / 32768
        text, states = machine.reply(machine.hear(wave))
        sound = machine.say(states)
        seconds += len(sound) / RATE
        said, true = f"{folder}/{i:03d}.wav", f"{folder}/{i:03d}-voice.wav"
        write_wav(said, sound)
        write_wav(true, speak(row["answer"])[0])
        out.append((text, said, true))
    print(f"{len(rows)} questions, {seconds:.0f} s of speech in {time.time() - begun:.0f} s")
    return out


def report(name, paths, texts, details=False):
    heard = judge.listen(paths)
    wer, right, errors = judge.score(heard, texts)
    print(f"{name}: WER {100 * wer:.1f} %, sentences right {100 * right:.1f} %", flush=True)
    if details:
        for e, text, h in zip(errors, texts, heard):
            if e:
                print(f"    {text}  ->  {h}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work")
    parser.add_argument("--voices", default="seen")
    parser.add_argument("--count", type=int, default=150)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = listen.test_rows(args.work, args.voices, args.count)
    done = run(Machine(args.work), args.work, rows, f"{args.work}/heard-{args.voices}")
    texts, answers = [d[0] for d in done], [r["answer"] for r in rows]
    exact = np.mean([t == a for t, a in zip(texts, answers)])
    print(f"exact text {100 * exact:.1f} %")
    report("speech against own text", [d[1] for d in done], texts, True)
    for kind in ("repeat", "fact"):
        pick = [i for i, r in enumerate(rows) if (r["kind"] == "repeat") == (kind == "repeat")]
        report(f"  of these, {kind}", [done[i][1] for i in pick], [texts[i] for i in pick])
    report("speech against right answer", [d[1] for d in done], answers)
    report("original voice, right answer", [d[2] for d in done], answers)


if __name__ == "__main__":
    main()
