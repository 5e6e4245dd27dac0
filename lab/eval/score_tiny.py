"""Scores of the bundled model as its users meet it: `omni ask` on held-out spoken questions.

    score_tiny.py OMNI MODEL TESTS.tsv [--count 150] [--seed 1] [--threads 2] [--voice] [--early] [--each]

TESTS.tsv: lines of wav, voice, kind, question, answer with a heading (the test sets of lab/tiny); paths from
the file's folder. Prints the share of exact texts, by voice and kind too; the word error rate of the speech
against the model's own text, as pocketsphinx hears it; with --voice the same judge on the source
voice saying the right answers (flite); time from the end of the question to the first audio event, and the
real-time factor (medians). --early measures with --early-audio. A question is a process of its own.
"""

import argparse
import csv
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tiny"))
import judge      # noqa: E402


def ask(omni, model, wav, out, options):
    """(text, stats) of one answer; its speech lies in out."""
    r = subprocess.run([omni, "ask", "-q", "--json", "-m", model, *options, wav, "-o", out], check=True,
                       capture_output=True)
    events = [json.loads(line) for line in r.stdout.decode().splitlines()]
    text = "".join(e["text"] for e in events if e["event"] == "text")
    return text.strip(), events[-1]["stats"]


def read_tests(path, count, seed):
    with open(path) as f:
        rows = list(csv.DictReader(f, delimiter="\t"))
    random.Random(seed).shuffle(rows)
    return rows[:count] if count else rows


def shares(rows, right, column):
    groups = defaultdict(list)
    for row, ok in zip(rows, right):
        groups[row[column]].append(ok)
    return "  ".join(f"{name} {sum(v)}/{len(v)}" for name, v in sorted(groups.items()))


def speech_report(paths, texts, of):
    spoken = [(p, t) for p, t in zip(paths, texts) if t]
    wer, whole, _ = judge.score(judge.listen([p for p, _ in spoken]), [t for _, t in spoken])
    print(f"{of}: WER {100 * wer:.1f} %, sentences right {100 * whole:.1f} % of {len(spoken)}", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("omni")
    p.add_argument("model")
    p.add_argument("tests")
    p.add_argument("--count", type=int, default=150, help="questions, 0: all")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--voice", action="store_true")
    p.add_argument("--early", action="store_true")
    p.add_argument("--each", action="store_true", help="print wrong answers")
    args = p.parse_args()
    rows = read_tests(args.tests, args.count, args.seed)
    folder = os.path.dirname(os.path.abspath(args.tests))
    options = ["-t", str(args.threads)] + (["--early-audio"] if args.early else [])
    with tempfile.TemporaryDirectory() as work:
        replies = [ask(args.omni, args.model, f"{folder}/{row['wav']}", f"{work}/{i}.wav", options)
                   for i, row in enumerate(rows)]
        right = [text == row["answer"] for (text, _), row in zip(replies, rows)]
        print(f"exact text {100 * sum(right) / len(right):.1f} % of {len(rows)}")
        for column in ("voice", "kind"):
            print(f"  by {column}: {shares(rows, right, column)}")
        if args.each:
            for (text, _), row, ok in zip(replies, rows, right):
                if not ok:
                    print(f"  {row['voice']}: {row['question']} -> {text} (wanted: {row['answer']})")
        speech_report([f"{work}/{i}.wav" for i in range(len(rows))], [text for text, _ in replies], "speech")
        if args.voice:
            import answers
            paths = []
            for i, row in enumerate(rows):
                paths.append(f"{work}/voice{i}.wav")
                answers.write_wav(paths[-1], answers.speak(row["answer"])[0])
            speech_report(paths, [row["answer"] for row in rows], "source voice")
    stats = [s for _, s in replies]
    print(f"first text {statistics.median(s['t_first_text'] for s in stats) / 1e3:.0f} ms, first audio "
          f"{statistics.median(s['t_first_audio'] for s in stats) / 1e3:.0f} ms "
          f"({'early' if args.early else 'exact'}), real-time factor {statistics.median(s['rtf'] for s in stats):.3f}; "
          f"medians, {args.threads} threads")


if __name__ == "__main__":
    main()
