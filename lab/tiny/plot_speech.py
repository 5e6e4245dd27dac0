"""Draw the speaking half's training curves: python3 plot_speech.py BUILD_DIR OUT.svg"""
import os
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

from plot_curves import draw, read


ERRORS = {"unit_errors_repeat": "repeats", "unit_errors_fact": "facts"}
PANELS = (("vocoder", "vocoder: log-mel distance", {"mel": "training segments", "test_mel": "unseen answers"}),
          ("decoder-ideal", "speech decoder on ideal states", {"ctc": "CTC per unit", "unit_errors_repeat": "repeats"}),
          ("decoder", "speech decoder on the LLM's states", {"ctc": "CTC per unit", **ERRORS}))


def main(build, out):
    """One panel for each step that has left a curve: training may have begun from a shipped model."""
    panels = [(f"{build}/curves/{name}.csv", title, lines) for name, title, lines in PANELS]
    panels = [p for p in panels if os.path.exists(p[0])]
    plt.rcParams["svg.hashsalt"] = "tiny"
    figure, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 3.2), squeeze=False)
    for axis, (path, title, lines) in zip(axes[0], panels):
        draw(axis, read(path), lines, title)
    figure.tight_layout()
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:3])
