"""The judge: Debian's pocketsphinx listens, knowing the domain's words, and counts wrong ones.

    judge.py MANIFEST.tsv [--each]

Each line of the manifest: path of a 16 kHz mono WAV, a tab, the text it should say. Prints the word
error rate and the share of sentences understood without error; with --each also every sentence.
"""

import argparse
import os
import subprocess
import tempfile
import wave

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = "/usr/share/pocketsphinx/model/en-us/en-us"
PAD = bytes(2 * 2400)      # 0.15 s of silence on both sides, which the recogniser wants


def padded_raw(path, to):
    with wave.open(path) as w:
        if (w.getframerate(), w.getnchannels(), w.getsampwidth()) != (16000, 1, 2):
            raise ValueError(f"{path} is not 16 kHz mono 16-bit")
        sound = w.readframes(w.getnframes())
    with open(to, "wb") as f:
        f.write(PAD + sound + PAD)


def listen(paths):
    """What is heard in each WAV file. Every file starts from the same state, so order does not matter."""
    with tempfile.TemporaryDirectory() as folder:
        for i, path in enumerate(paths):
            padded_raw(path, f"{folder}/{i}.raw")
        with open(f"{folder}/list", "w") as f:
            f.writelines(f"{i}\n" for i in range(len(paths)))
        subprocess.run(
            ["pocketsphinx_batch", "-adcin", "yes", "-cepdir", folder, "-cepext", ".raw",
             "-ctl", f"{folder}/list", "-hyp", f"{folder}/heard", "-hmm", MODEL,
             "-dict", f"{HERE}/judge/domain.dict", "-lm", f"{HERE}/judge/domain.lm",
             "-lw", "6.5", "-cmn", "batch", "-dither", "no", "-logfn", os.devnull],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        heard = {}
        with open(f"{folder}/heard") as f:
            for line in f:      # "words of the sentence (number score)"
                words, _, tail = line.strip().rpartition("(")
                heard[int(tail.split()[0])] = words.strip()
    return [heard.get(i, "") for i in range(len(paths))]


def distance(a, b):
    """Least number of words to change, drop or add to turn list a into list b."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def score(heard, texts):
    """(word error rate, share of sentences right, errors of each sentence)"""
    errors = [distance(t.split(), h.split()) for h, t in zip(heard, texts)]
    words = sum(len(t.split()) for t in texts)
    return sum(errors) / words, sum(e == 0 for e in errors) / len(errors), errors


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("manifest")
    parser.add_argument("--each", action="store_true")
    args = parser.parse_args()
    with open(args.manifest) as f:
        paths, texts = zip(*(line.rstrip("\n").split("\t") for line in f if line.strip()))
    heard = listen(paths)
    wer, right, errors = score(heard, texts)
    if args.each:
        for e, h, t in zip(errors, heard, texts):
            print(f"{e}\t{t}\t{h}")
    print(f"WER {100 * wer:.1f} %  sentences right {100 * right:.1f} %  of {len(texts)}")


if __name__ == "__main__":
    main()
