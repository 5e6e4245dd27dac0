"""Draw the training curves: python3 plot_curves.py BUILD_DIR OUT.svg"""
import csv
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt


def read(path):
    """Columns of a csv file, as lists of (minutes, value)."""
    columns = {}
    with open(path) as f:
        for row in csv.DictReader(f):
            for name, text in row.items():
                if text not in ("", None):
                    columns.setdefault(name, []).append((float(row["seconds"]) / 60,
                                                         float(text)))
    return columns


def draw(axis, columns, names, title, percent=()):
    for name, label in names.items():
        if name in columns:
            x, y = zip(*columns[name])
            scale = 100 if name in percent else 1
            axis.plot(x, [scale * v for v in y], marker="o" if name in percent else None,
                      markersize=3, linewidth=1.3, label=label)
    axis.set_title(title, fontsize=10)
    axis.set_xlabel("minutes", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, frameon=False)


def main(build, out):
    encoder = read(f"{build}/curves/encoder.csv")
    stage1 = read(f"{build}/curves/stage1.csv")
    plt.rcParams.update({"svg.hashsalt": "tiny", "svg.fonttype": "none"})
    figure, axes = plt.subplots(2, 2, figsize=(9, 6))
    draw(axes[0][0], encoder, {"ce": "phone per frame", "phone_ctc": "phone CTC",
                               "word_ctc": "word CTC"}, "encoder: losses")
    draw(axes[0][1], encoder, {"wer_seen": "seen voices", "wer_unseen": "unseen voice"},
         "encoder: word errors, held-out questions (%)", ("wer_seen", "wer_unseen"))
    draw(axes[1][0], stage1, {"ce": "answer", "word_ctc": "word CTC"}, "stage 1: losses")
    draw(axes[1][1], stage1, {"exact_seen": "seen voices", "exact_unseen": "unseen voice"},
         "stage 1: exact answers, held-out questions (%)", ("exact_seen", "exact_unseen"))
    figure.tight_layout()
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:3])
