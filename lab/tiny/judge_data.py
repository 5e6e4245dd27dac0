"""Make the judge's dictionary and language model: judge/domain.dict and judge/domain.lm.

    judge_data.py

Pronunciations come from the dictionary of Debian's pocketsphinx-en-us; a word it lacks gets flite's.
The language model is a bigram model over all answers of the domain, each answer once, with absolute
discounting and back-off to word frequency. So the judge knows which sentences there can be, as a
listener of this little world would; its figures compare only with its figures for the true voice.
"""

import math
import os
import re
import subprocess
from collections import Counter

import domain

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "judge")
SPHINX = "/usr/share/pocketsphinx/model/en-us/cmudict-en-us.dict"
DISCOUNT = 0.5
FLITE_TO_SPHINX = {"ax": "ah", "axr": "er", "ix": "ih", "ux": "uw", "el": "ah l", "em": "ah m", "en": "ah n",
                   "nx": "n", "dx": "d", "hv": "hh"}


def flite_phones(word):
    said = subprocess.run(["flite", "-voice", "slt", "-ps", "-t", word, "-o", "none"],
                          check=True, capture_output=True, text=True).stdout
    phones = [FLITE_TO_SPHINX.get(p, p) for p in said.split() if p != "pau"]
    return " ".join(phones).upper()


def dictionary(words):
    known = {}
    with open(SPHINX) as f:
        for line in f:
            head, phones = line.strip().split(" ", 1)
            known.setdefault(re.sub(r"\(\d+\)$", "", head), []).append(phones)
    lines, missing = [], []
    for word in words:
        if word not in known:
            missing.append(word)
        for i, phones in enumerate(known.get(word) or [flite_phones(word)]):
            lines.append(f"{word}({i + 1}) {phones}" if i else f"{word} {phones}")
    return lines, missing


def bigrams(sentences):
    """An ARPA file's lines."""
    pairs, singles, heads = Counter(), Counter(), Counter()
    for sentence in sentences:
        words = ["<s>"] + sentence.split() + ["</s>"]
        singles.update(words[1:])
        heads.update(words[:-1])
        pairs.update(zip(words, words[1:]))
    followers = Counter(a for a, _ in pairs)
    total = sum(singles.values())
    p = {w: n / total for w, n in singles.items()}
    seen = Counter()
    for a, b in pairs:
        seen[a] += p[b]
    lines = ["\\data\\", f"ngram 1={len(p) + 1}", f"ngram 2={len(pairs)}", "", "\\1-grams:"]
    for w in sorted(list(p) + ["<s>"]):
        rest = DISCOUNT * followers[w] / heads[w] if heads[w] else 1
        backoff = math.log10(max(rest, 1e-9) / max(1 - seen[w], 1e-9)) if heads[w] else 0
        lines.append(f"{math.log10(p[w]) if w in p else -99:.4f}\t{w}\t{min(backoff, 0.5):.4f}")
    lines += ["", "\\2-grams:"]
    lines += [f"{math.log10((n - DISCOUNT) / heads[a]):.4f}\t{a}\t{b}" for (a, b), n in sorted(pairs.items())]
    return lines + ["", "\\end\\"]


def write(name, lines):
    with open(f"{HERE}/{name}", "w") as f:
        f.write("\n".join(lines) + "\n")


def main():
    answers = sorted({a for _, a, _ in domain.questions()})
    words = sorted({w for a in answers for w in a.split()})
    lines, missing = dictionary(words)
    os.makedirs(HERE, exist_ok=True)
    write("domain.dict", lines)
    write("domain.lm", bigrams(answers))
    print(f"{len(words)} words, {len(missing)} not in pocketsphinx's dictionary: {' '.join(missing)}")


if __name__ == "__main__":
    main()
