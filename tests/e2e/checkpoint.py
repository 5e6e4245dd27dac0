"""The toy checkpoints of tests/oracle/checkpoint_oracle.py: converting them, asking what came out, comparing."""

import json
import os
import shutil
import sys

import numpy as np

from program import SOURCE, run

sys.path.insert(0, f"{SOURCE}/tests/oracle")        # for checkpoint_tokens

CASES = os.path.join(os.environ["OMNI_ORACLE_DIR"], "checkpoint")
STAGES = "mel encoder adaptor prompt tokens hidden ctc symbols units durations wave".split()
DECISIONS = ("prompt", "tokens", "symbols", "units", "durations")


def names():
    return sorted(n for n in os.listdir(CASES) if os.path.isfile(f"{CASES}/{n}/case.json"))


def case(name):
    with open(f"{CASES}/{name}/case.json", encoding="utf-8") as f:
        return json.load(f)


def expected(name, stage):
    return np.load(f"{CASES}/{name}/expected/{stage}.npy", allow_pickle=False)


def arguments(name, folder=None):
    """Of omni convert, for the case's own folder or a copy of it."""
    folder = folder or f"{CASES}/{name}"
    return [a if a.startswith("--") else f"{folder}/{a}" for a in case(name)["convert"]]


def copy(name, to):
    """The checkpoint without the expected numbers, to be changed."""
    shutil.copytree(f"{CASES}/{name}", to, ignore=shutil.ignore_patterns("expected"))
    return to


def convert(name, out, *options, folder=None, **kwargs):
    return run("convert", *arguments(name, folder), "-o", out, *options, **kwargs)


def probe(name, model, stage, scratch, *options):
    out = f"{scratch}/{stage}.npy"
    question = [] if stage == "vocoder" else ["-n", str(case(name)["max_tokens"]), f"{CASES}/{name}/question.wav"]
    r = run("probe", "-m", model, "--stage", stage, *question, "-o", out, *options)
    assert r.returncode == 0, (name, stage, r.stderr.decode())
    return np.load(out, allow_pickle=False)


def relative(found, wanted):
    """The largest difference as a part of the largest value."""
    return float(np.abs(found - wanted).max() / np.abs(wanted).max()) if wanted.size else 0.0
