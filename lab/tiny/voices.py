"""The synthetic speakers, and how each synthesiser is asked for one utterance.

A voice is (engine, name).  `render(voice, texts, styles)` returns for every
text its 16 kHz int16 samples and, where the synthesiser tells, the phones with
their end times in seconds ([] for espeak-ng).
"""
import os
import random
import subprocess
import tempfile

import numpy as np
from scipy.io import wavfile
from scipy.signal import resample_poly

RATE = 16000
UNSEEN = ("flite", "rms")             # for tests only, in no training step

# Share of each voice in the training utterances.
FLITE = {"slt": 15, "awb": 18, "kal16": 15, "kal": 4}
FESTIVAL = {"kal_diphone": 8, "ked_diphone": 12, "cmu_us_slt_arctic_hts": 8}
ESPEAK_SHARE = 22

ESPEAK_ACCENTS = ["en-us", "en-us", "en-us", "en-us-nyc", "en-gb", "en-gb-x-rp",
                  "en-gb-scotland", "en-gb-x-gbcwmd"]
ESPEAK_SPEAKERS = ["", "+m1", "+m2", "+m3", "+m4", "+m6", "+m7", "+m8", "+f1", "+f2",
                   "+f3", "+f4", "+f5", "+Andy", "+Annie", "+Michael", "+Alex",
                   "+linda", "+steph", "+adam", "+paul", "+boris", "+max"]

F0 = {"slt": 170, "awb": 120, "kal16": 105, "kal": 105, "rms": 100,
      "kal_diphone": 105, "ked_diphone": 110}


def choose_voice(rng):
    """A training voice at random, weighted by its share."""
    names = [("flite", n) for n in FLITE] + [("festival", n) for n in FESTIVAL]
    shares = [*FLITE.values(), *FESTIVAL.values()]
    pick = rng.choices(names + [("espeak", "")], shares + [ESPEAK_SHARE])[0]
    return pick if pick[1] else espeak_voice(rng)


def espeak_voice(rng):
    return "espeak", rng.choice(ESPEAK_ACCENTS) + rng.choice(ESPEAK_SPEAKERS)


def seen_voices():
    """Families of training voices, for spreading the test sentences evenly."""
    return ([("flite", n) for n in FLITE] + [("festival", n) for n in FESTIVAL]
            + [("espeak", "en-us" + s) for s in ("", "+m3", "+f2")])


def style(rng, plain=False):
    """Pitch factor and duration stretch of one utterance."""
    if plain:
        return 1.0, 1.0
    return rng.uniform(0.80, 1.25), rng.uniform(0.85, 1.20)


def read_wave(path):
    rate, x = wavfile.read(path)
    if rate == RATE:
        return x
    common = np.gcd(rate, RATE)
    y = resample_poly(x.astype(np.float32), RATE // common, rate // common)
    return np.clip(np.round(y), -32768, 32767).astype(np.int16)


def parse_psdur(text):
    pairs = (item.rsplit(":", 1) for item in text.split())
    return [(phone, float(end)) for phone, end in pairs]


def render_flite(name, texts, styles, folder):
    path = os.path.join(folder, "flite.wav")
    for text, (pitch, stretch) in zip(texts, styles):
        told = subprocess.run(
            ["flite", "-voice", name, "-psdur", "--setf", f"duration_stretch={stretch:.3f}",
             "--setf", f"int_f0_target_mean={F0[name] * pitch:.1f}", "-t", text, "-o", path],
            check=True, capture_output=True, text=True).stdout
        yield read_wave(path), parse_psdur(told)


def render_espeak(name, texts, styles, folder):
    path = os.path.join(folder, "espeak.wav")
    for text, (pitch, stretch) in zip(texts, styles):
        subprocess.run(["espeak-ng", "-v", name, "-s", str(round(165 / stretch)),
                        "-p", str(round(50 + 120 * (pitch - 1))), "-w", path, text],
                       check=True, capture_output=True)
        yield read_wave(path), []


def festival_style(name, pitch, stretch):
    if name.endswith("hts"):       # half tones, speed, and vocal tract (all-pass) warp
        tones = (pitch - 1) * 16
        alpha = 0.55 + (stretch - 1) * 0.25
        return (f"(set! hts_engine_params (append base '((\"-fm\" {tones:.2f})"
                f" (\"-r\" {1 / stretch:.3f}) (\"-a\" {alpha:.3f}))))")
    f0 = F0[name] * pitch
    return (f"(Parameter.set 'Duration_Stretch {stretch:.3f})"
            f"(set! int_lr_params '((target_f0_mean {f0:.1f}) (target_f0_std 16)"
            " (model_f0_mean 170) (model_f0_std 34)))")


def render_festival(name, texts, styles, folder):
    lines = [f"(voice_{name})", "(set! base hts_engine_params)" if name.endswith("hts") else ""]
    for i, (text, (pitch, stretch)) in enumerate(zip(texts, styles)):
        plain = (pitch, stretch) == (1.0, 1.0)
        lines += ["" if plain else festival_style(name, pitch, stretch),
                  f'(set! u (Utterance Text "{text}"))', "(utt.synth u)",
                  f'(utt.save.segs u "{folder}/{i}.lab")',
                  f"(utt.save.wave u \"{folder}/{i}.wav\" 'riff)"]
    script = os.path.join(folder, "all.scm")
    with open(script, "w") as f:
        f.write("\n".join(lines))
    subprocess.run(["festival", "-b", script], check=True, capture_output=True)
    for i in range(len(texts)):
        yield read_wave(f"{folder}/{i}.wav"), read_segments(f"{folder}/{i}.lab")


def read_segments(path):
    with open(path) as f:
        rows = [line.split() for line in f if line.strip() and line[0] != "#"]
    return [(row[2], float(row[0])) for row in rows]


RENDER = {"flite": render_flite, "espeak": render_espeak, "festival": render_festival}


def render(voice, texts, styles):
    engine, name = voice
    with tempfile.TemporaryDirectory() as folder:
        return list(RENDER[engine](name, texts, styles, folder))


if __name__ == "__main__":
    import sys
    import time
    rng = random.Random(1)
    line = "tell me the number before seventy two"
    for v in [*seen_voices(), UNSEEN]:
        t = time.time()
        n = 8
        done = render(v, [line] * n, [style(rng, i == 0) for i in range(n)])
        print(v, f"{(time.time() - t) / n * 1000:.0f} ms each", len(done[0][0]) / RATE,
              [round(len(d[0]) / RATE, 2) for d in done],
              round(done[1][1][-1][1], 2) if done[0][1] else "-", [int(np.abs(d[0]).max()) for d in done[:3]])
        if len(sys.argv) > 1:
            wavfile.write(f"{sys.argv[1]}/{v[1]}.wav", RATE, done[1][0])
