"""The phone set of flite and festival (US English), and words spelt in it."""
import json
import os
import subprocess
from functools import lru_cache

PHONES = ("pau aa ae ah ao aw ax axr ay b ch d dh eh el em en er ey f g hh ih iy jh "
          "k l m n ng nx ow oy p r s sh t th uh uw v w y z zh").split()
ID = {p: i for i, p in enumerate(PHONES)}


def phone_id(name):
    return ID.get(name, 0)


def spell(word):
    told = subprocess.run(["flite", "-voice", "kal", "-ps", "-t", word, "-o", "none"],
                          check=True, capture_output=True, text=True).stdout.split()
    return [p for p in told if p != "pau"]


def make_lexicon(path, words):
    """Ask flite once for the phones of every word."""
    if not os.path.exists(path):
        with open(path + ".part", "w") as f:
            json.dump({w: spell(w) for w in words}, f)
        os.rename(path + ".part", path)


@lru_cache(maxsize=1)
def lexicon(path):
    with open(path) as f:
        return json.load(f)


def targets(question, spoken, path):
    """Phone ids without pauses: as spoken if the synthesiser told, else by lexicon."""
    names = [p for p, _ in spoken] or [p for w in question.split() for p in lexicon(path)[w]]
    return [ID[p] for p in names if p in ID and p != "pau"]
