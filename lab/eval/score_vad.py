#!/usr/bin/env python3
"""How well the voice activity detection does: a table over noises, signal-to-noise ratios and levels.

    score_vad.py BENCH_VAD WORK_DIR [-n 200] [--silence 500] [--threshold 0.5] [--levels -6 -21 -36] [--snr 20 10]

BENCH_VAD is build/test/bench/bench_vad (cmake --build build/test --target benches). The utterances are made once with flite and
espeak-ng and kept in WORK_DIR. Every condition is one long stream: noise throughout, the utterances 1.2 to 2.5 s apart.

miss      an utterance in which no speech was found
false     a start outside every utterance (100 ms before to 250 ms behind it), per utterance
late      from the true onset until the START event: median, 95th percentile, and the share beyond 60 ms. The true
          onset is the first 10 ms of the clean utterance that is within 20 dB of its loudest 10 ms
onset     the told position less the true onset, median and 5th percentile
end       the told end of speech less the true end (last 10 ms within 20 dB), median
split     utterances that were cut in two by a pause longer than the silence window
"""

import argparse
import os
import random
import subprocess
import tempfile
import wave

import numpy as np

RATE = 16000
FLITE = ["slt", "awb", "rms", "kal16"]
ESPEAK = ["en-us", "en-gb", "en-us+f2", "en-us+m3", "en-gb+f4", "en-us+f5"]
WORDS = """what is the weather like today please tell me about a small house near river can you say hello again where did
they go after dinner seven eleven forty people walk slowly music never stops how many apples are there in box open window
close door sing song yes no maybe thank you very much i would like some tea with milk and sugar""".split()


def read(path):
    with wave.open(path) as f:
        x = np.frombuffer(f.readframes(f.getnframes()), np.int16).astype(np.float32) / 32768
        if f.getframerate() != RATE:
            at = np.arange(int(len(x) * RATE / f.getframerate())) * (f.getframerate() / RATE)
            x = np.interp(at, np.arange(len(x)), x).astype(np.float32)
    return x


def synthesise(folder, n):
    rng = random.Random(7)
    sounds = []
    os.makedirs(folder, exist_ok=True)
    for i in range(n):
        path = os.path.join(folder, f"{i:03}.wav")
        text = " ".join(rng.choice(WORDS) for _ in range(rng.randint(2, 9)))
        if not os.path.exists(path):
            if i % 2:
                command = ["espeak-ng", "-v", ESPEAK[i // 2 % len(ESPEAK)], "-s", str(rng.randint(130, 190)), "-w", path, text]
            else:
                command = ["flite", "-voice", FLITE[i // 2 % len(FLITE)], "-t", text, "-o", path]
            subprocess.run(command, check=True, capture_output=True)
        sounds.append(read(path))
    return sounds


def extent(x):
    """First and last sample of the speech, mean power between."""
    frames = x[:len(x) // 160 * 160].reshape(-1, 160)
    power = (frames ** 2).mean(1) + 1e-12
    loud = np.flatnonzero(power > power.max() * 10 ** -2)
    first, last = loud[0] * 160, (loud[-1] + 1) * 160
    return first, last, (x[first:last] ** 2).mean()


def white(rng, n, _):
    return rng.standard_normal(n).astype(np.float32)


def pink(rng, n, _):
    """Filtered in blocks of 2^18 samples."""
    out = np.empty(n, np.float32)
    for at in range(0, n, 1 << 18):
        spectrum = np.fft.rfft(rng.standard_normal(1 << 18))
        spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 100))
        out[at:at + (1 << 18)] = np.fft.irfft(spectrum)[:n - at]
    return out


def babble(rng, n, sounds):
    """Eight people who talk without a pause."""
    out = np.zeros(n, np.float32)
    for _ in range(8):
        at = -int(rng.integers(RATE))
        while at < n:
            x = sounds[rng.integers(len(sounds))]
            first, last, power = extent(x)
            x = x[first:last] / np.sqrt(power)
            begin, end = max(at, 0), min(at + len(x), n)
            if end > begin:
                out[begin:end] += x[begin - at:end - at]
            at += len(x)
    return out


NOISES = {"white": white, "pink": pink, "babble": babble}


def stream(sounds, rng):
    """All utterances at the same mean power, with gaps: samples and [(first, last)]."""
    parts, truth, at = [np.zeros(2 * RATE, np.float32)], [], 2 * RATE
    for x in sounds:
        first, last, power = extent(x)
        gap = np.zeros(int(rng.uniform(1.2, 2.5) * RATE), np.float32)
        parts += [x / np.sqrt(power), gap]
        truth.append((at + first, at + last))
        at += len(x) + len(gap)
    return np.concatenate(parts), truth


def detect(bench, x, threshold, silence):
    with tempfile.TemporaryFile() as f:
        f.write(x.astype(np.float32).tobytes())
        f.seek(0)
        out = subprocess.run([bench, str(threshold), str(silence)], stdin=f, check=True, capture_output=True, text=True).stdout
    return [(kind, int(at), int(heard)) for kind, at, heard in (line.split() for line in out.splitlines())]


def score(events, truth):
    starts = [(at, heard) for kind, at, heard in events if kind == "start"]
    stops = [at for kind, at, _ in events if kind == "stop"]
    stops += [10 ** 12] * (len(starts) - len(stops))
    late, onset, end, false, split, used = [], [], [], 0, 0, set()
    for (at, heard), stop in zip(starts, stops):
        hits = [i for i, (first, last) in enumerate(truth) if at < last + 4000 and stop > first - 1600 and heard > first - 1600]
        if not hits or at > truth[hits[0]][1] + 4000:
            false += 1
            continue
        if hits[0] in used:
            split += 1
        else:
            late.append((heard - truth[hits[0]][0]) / 16)
            onset.append((at - truth[hits[0]][0]) / 16)
        if at < truth[hits[0]][0] - 4800:
            false += 1          # it began in the noise and went on into the utterance
        used.update(hits)
        end.append((stop - truth[hits[-1]][1]) / 16)
    n = len(truth)
    return dict(miss=100 * (n - len(used)) / n, false=100 * false / n, late=np.median(late), late95=np.percentile(late, 95),
                beyond=100 * np.mean(np.array(late) > 60), onset=np.median(onset), onset5=np.percentile(onset, 5), end=np.median(end),
                split=100 * split / n)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bench")
    parser.add_argument("work")
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--silence", type=int, default=500)
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--levels", type=float, nargs="+", default=[-6, -16, -26, -36])
    parser.add_argument("--snr", type=float, nargs="+", default=[20, 10])
    parser.add_argument("--wav", nargs="*", help="use these recordings instead of making utterances")
    args = parser.parse_args()
    sounds = [read(path) for path in args.wav] if args.wav else synthesise(args.work, args.n)
    clean, truth = stream(sounds, np.random.default_rng(3))
    print(f"{len(sounds)} utterances, threshold {args.threshold:g}, silence {args.silence} ms; % and ms")
    print("noise    SNR level   miss  false   late    95%   >60  onset     5%    end  split")
    for name, noise in NOISES.items():
        hum = noise(np.random.default_rng(5), len(clean), sounds)
        hum /= np.sqrt((hum ** 2).mean())
        for snr in args.snr:
            x = clean + hum * 10 ** (-snr / 20)
            x /= np.abs(x).max()
            for level in args.levels:
                r = score(detect(args.bench, x * 10 ** (level / 20), args.threshold, args.silence), truth)
                print(f"{name:8} {snr:3.0f} {level:5.0f}  {r['miss']:5.1f}  {r['false']:5.1f}  {r['late']:5.0f}  {r['late95']:5.0f} "
                      f"{r['beyond']:5.1f}  {r['onset']:5.0f}  {r['onset5']:5.0f}  {r['end']:5.0f}  {r['split']:5.1f}", flush=True)


if __name__ == "__main__":
    main()
