"""Speak the questions: training utterances in chunks, and two test sets.

    python3 synth.py BUILD_DIR

Training chunks are pickles BUILD_DIR/utt/NNN.pkl, each a list of dicts
(wave, phones, question, answer, kind, voice).  Chunks that exist are skipped,
so an interrupted run can simply be started again.
"""
import os
import pickle
import random
import sys
import time
from multiprocessing import Pool

from scipy.io import wavfile

import domain
import voices

# Utterances per question; kinds that are not named, whose words are rarer, get OTHER_TIMES.
TIMES = {"chat": 24, "repeat": 1.4, "add": 2, "sub": 2, "mul": 2, "num": 3, "count": 3}
OTHER_TIMES = 5
LONGEST = 4.6                           # seconds; leaves room for lead silence
CHUNK = 120


def training_plan():
    """[(voice, style, question triple)], sorted into chunks of one voice each."""
    rng = random.Random(7)
    plan = []
    for q in domain.questions():
        if domain.is_held_out(q[0]):
            continue
        times = TIMES.get(q[2], OTHER_TIMES)
        times = int(times) + (rng.random() < times % 1)
        for _ in range(times):
            plan.append((voices.choose_voice(rng), voices.style(rng, rng.random() < 0.25), q))
    groups = {}
    for job in plan:
        voice = job[0]
        groups.setdefault(voice if voice[0] == "festival" else "any", []).append(job)
    chunks = []
    for jobs in groups.values():
        rng.shuffle(jobs)
        chunks += [jobs[i:i + CHUNK] for i in range(0, len(jobs), CHUNK)]
    rng.shuffle(chunks)
    return chunks


def speak(jobs):
    """Render jobs that may mix voices; keeps their order."""
    if len({voice for voice, _, _ in jobs}) == 1:
        parts = voices.render(jobs[0][0], [q[0] for _, _, q in jobs], [s for _, s, _ in jobs])
    else:
        parts = [voices.render(v, [q[0]], [s])[0] for v, s, q in jobs]
    return [dict(wave=wave, phones=phones, voice=":".join(v), question=q[0], answer=q[1],
                 kind=q[2]) for (v, _, q), (wave, phones) in zip(jobs, parts)
            if len(wave) < LONGEST * voices.RATE]


def make_chunk(task):
    path, jobs = task
    rows = speak(jobs)
    with open(path + ".part", "wb") as f:
        pickle.dump(rows, f, protocol=4)
    os.rename(path + ".part", path)
    return len(rows), sum(len(r["wave"]) for r in rows) / voices.RATE


def make_training(build, pool):
    folder = f"{build}/utt"
    os.makedirs(folder, exist_ok=True)
    tasks = [(f"{folder}/{i:03d}.pkl", jobs) for i, jobs in enumerate(training_plan())]
    total = sum(len(jobs) for _, jobs in tasks)
    todo = [t for t in tasks if not os.path.exists(t[0])]
    left = sum(len(jobs) for _, jobs in todo)
    print(f"training: {total} utterances, {left} to speak", flush=True)
    start, done, seconds = time.time(), 0, 0.0
    for i, (n, s) in enumerate(pool.imap_unordered(make_chunk, todo)):
        done, seconds = done + n, seconds + s
        if i % 10 == 9:
            rate = done / (time.time() - start)
            print(f"  {done}/{left}  {rate:.0f}/s  {seconds / 3600:.2f} h of speech  "
                  f"{(left - done) / rate:.0f} s left", flush=True)


def make_test(build, name, jobs):
    """Clean held-out questions as wav files with a manifest."""
    folder = f"{build}/test/{name}"
    manifest = f"{build}/test/{name}.tsv"
    if os.path.exists(manifest):
        return
    os.makedirs(folder, exist_ok=True)
    rows = []
    for i, (voice, plain, q) in enumerate(jobs):
        wave, _ = voices.render(voice, [q[0]], [plain])[0]
        path = f"{folder}/{i:04d}.wav"
        wavfile.write(path, voices.RATE, wave)
        rows.append("\t".join([f"{name}/{i:04d}.wav", ":".join(voice), q[2], q[0], q[1]]))
    with open(manifest + ".part", "w") as f:
        f.write("wav\tvoice\tkind\tquestion\tanswer\n" + "\n".join(rows) + "\n")
    os.rename(manifest + ".part", manifest)
    print(f"test/{name}: {len(rows)} utterances", flush=True)


def make_tests(build):
    held = [q for q in domain.questions() if domain.is_held_out(q[0])]
    random.Random(11).shuffle(held)
    family = voices.seen_voices()
    make_test(build, "unseen", [(voices.UNSEEN, (1.0, 1.0), q) for q in held[:360]])
    make_test(build, "seen", [(family[i % len(family)], (1.0, 1.0), q)
                              for i, q in enumerate(held)])


if __name__ == "__main__":
    build = sys.argv[1]
    with Pool(2) as pool:
        tests = pool.apply_async(make_tests, (build,))
        make_training(build, pool)
        tests.get()
