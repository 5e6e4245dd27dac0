"""How often is the answer's text exactly right?  All held-out test questions.

    python3 eval_text.py BUILD_DIR [seen unseen]

Writes BUILD_DIR/eval/NAME.tsv (question, expected, told) and prints shares by
kind and voice.  The encoder runs in float32 on the whole padded window.
"""
import collections
import os
import sys

import torch

import listen
import model


def load(build):
    state = torch.load(f"{build}/stage1.pt")
    encoder, net = model.Encoder(), listen.Talker()
    encoder.load_state_dict(state["encoder"])
    net.adaptor.load_state_dict(state["adaptor"])
    net.llm.load_state_dict(state["llm"])
    return encoder.eval(), net.eval()


def shares(rows, told, key):
    right, count = collections.Counter(), collections.Counter()
    for row, text in zip(rows, told):
        name = row[key].split("+")[0]
        count[name] += 1
        right[name] += text == row["answer"]
    return "  ".join(f"{n} {right[n]}/{count[n]}" for n in sorted(count))


def main(build, names):
    encoder, net = load(build)
    os.makedirs(f"{build}/eval", exist_ok=True)
    for name in names:
        rows = listen.test_rows(build, name)
        told = listen.answers_to(net, listen.test_states(build, encoder, rows))
        right = sum(t == r["answer"] for t, r in zip(told, rows))
        with open(f"{build}/eval/{name}.tsv", "w") as f:
            f.write("wav\tvoice\tquestion\texpected\ttold\n")
            for r, t in zip(rows, told):
                f.write("\t".join([r["wav"], r["voice"], r["question"], r["answer"], t]) + "\n")
        print(f"{name}: {right}/{len(rows)} = {right / len(rows):.1%} exactly right", flush=True)
        print("  by kind:  ", shares(rows, told, "kind"))
        print("  by voice: ", shares(rows, told, "voice"))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:] or ["seen", "unseen"])
