"""Draw the speaking half's training curves: python3 plot_speech.py BUILD_DIR OUT.svg"""
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

from plot_curves import draw, read


def main(build, out):
    vocoder, decoder = (read(f"{build}/curves/{name}.csv") for name in ("vocoder", "decoder"))
    ideal = read(f"{build}/curves/decoder-ideal.csv")
    plt.rcParams["svg.hashsalt"] = "tiny"
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.2))
    draw(axes[0], vocoder, {"mel": "training segments", "test_mel": "unseen answers"},
         "vocoder: log-mel distance")
    errors = {"unit_errors_repeat": "repeats", "unit_errors_fact": "facts"}
    draw(axes[1], ideal, {"ctc": "CTC per unit", "unit_errors_repeat": "repeats"}, "speech decoder on ideal states")
    draw(axes[2], decoder, {"ctc": "CTC per unit", **errors}, "speech decoder on the LLM's states")
    figure.tight_layout()
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:3])
