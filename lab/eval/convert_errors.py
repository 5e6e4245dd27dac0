"""How far each stage of a converted model is from the reference path, for each type: a Markdown table.

    OMNI=build/omni OMNI_BUILD_DIR=build OMNI_SOURCE_DIR=. OMNI_ORACLE_DIR=build/oracle python3 lab/eval/convert_errors.py

The checkpoints and what the reference path makes of them are those of tests/oracle/checkpoint_oracle.py. Errors are the
largest difference in parts of the largest value, the worst case of all checkpoints. A stage is compared as far as it
had the same tokens before it; the wave is the vocoder's own, from the reference's units.
"""

import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "e2e"))
import checkpoint  # noqa: E402
from program import remove, scratch  # noqa: E402

TYPES = ["f32", "bf16", "f16", "q8_0"]


def same(found, wanted):
    """How many of the first are equal."""
    n = min(len(found), len(wanted))
    differ = np.flatnonzero(found[:n] != wanted[:n])
    return int(differ[0]) if len(differ) else n


def measure(name, kind, folder):
    """Errors by stage; decisions as (equal, of)."""
    model = f"{folder}/{name}-{kind}"
    r = checkpoint.convert(name, model, "--llm-type", kind, "--speech-type", kind)
    assert r.returncode == 0, r.stderr.decode()
    exact = ["--type", "f32"] if kind == "f32" else []

    def got(stage, *options):
        return checkpoint.probe(name, model, stage, folder, *exact, *options)

    def wanted(stage):
        return checkpoint.expected(name, stage)
    row = {stage: checkpoint.relative(got(stage), wanted(stage)) for stage in ("mel", "encoder", "adaptor")}
    tokens = wanted("tokens")
    n = same(got("tokens"), tokens)
    row["tokens"] = (n, len(tokens))
    states = min(n + 1, len(tokens))        # the state that predicted the first different token is comparable
    row["hidden"] = checkpoint.relative(got("hidden")[:states], wanted("hidden")[:states])
    positions = len(wanted("symbols")) // len(tokens) * states
    row["ctc"] = checkpoint.relative(got("ctc")[:positions], wanted("ctc")[:positions])
    row["symbols"] = (int((got("symbols")[:positions] == wanted("symbols")[:positions]).sum()), positions)
    np.save(f"{folder}/units.npy", wanted("units"))
    wave = got("vocoder", "--units", f"{folder}/units.npy")
    row["wave"] = checkpoint.relative(wave, wanted("wave")) if len(wave) == len(wanted("wave")) else None
    return row


def cell(values):
    if isinstance(values[0], tuple):
        return f"{sum(v[0] for v in values)} of {sum(v[1] for v in values)}"
    known = [v for v in values if v is not None]
    return (f"{max(known):.1e}" if known else "-") + (f" ({len(values) - len(known)} of other length)" if len(known) < len(values) else "")


def main():
    folder = scratch("errors")
    stages = ["mel", "encoder", "adaptor", "tokens", "hidden", "ctc", "symbols", "wave"]
    print("| type | " + " | ".join(stages) + " |\n|" + "---|" * (len(stages) + 1))
    for kind in TYPES:
        rows = [measure(name, kind, folder) for name in checkpoint.names()]
        if "--each" in sys.argv:
            for name, row in zip(checkpoint.names(), rows):
                print(f"| {kind} {name} | " + " | ".join(cell([row[s]]) for s in stages) + " |")
        print(f"| {kind} | " + " | ".join(cell([row[s] for row in rows]) for s in stages) + " |", flush=True)
    remove(folder)


if __name__ == "__main__":
    main()
