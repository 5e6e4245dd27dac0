"""Encode training utterances ahead of stage 1, each with an augmentation of its own.

    python3 encode_ahead.py BUILD_DIR RANK PROCESSES PASSES

Stage 1 spends most of its time in the frozen encoder.  These processes write what
it says, chunk by chunk, to BUILD_DIR/heard; `train_stage1.py --heard` reads the
chunks that are there, so both run at once.  Input is padded to 5 s, as in use.
"""
import os
import sys
import time

import numpy as np
import torch

import features
import model
import train_encoder as listening

CHUNK, BATCH, SEED = 512, 32, 77


def encode(encoder, data, rows, rng):
    """[len(rows)][positions][width] f16."""
    out = []
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        for at in range(0, len(rows), BATCH):
            mel, _ = data.collate(rows[at:at + BATCH], features.FRAMES)
            states = encoder(listening.mask(listening.warp(mel, rng), rng))
            out.append(states.float().numpy().astype(np.float16))
    return np.concatenate(out)


def save(path, rows, states):
    np.save(path + "-rows.npy", np.array(rows))
    np.save(path + "-part.npy", states)
    os.rename(path + "-part.npy", path + "-states.npy")     # appears whole or not at all


def main(build, rank, processes, passes):
    torch.set_num_threads(1)
    os.makedirs(f"{build}/heard", exist_ok=True)
    data, encoder = listening.Data(build), model.Encoder()
    encoder.load_state_dict(torch.load(f"{build}/encoder.pt")["encoder"])
    encoder.eval()
    start, done = time.time(), 0
    for turn in range(passes):
        order = np.random.default_rng(SEED + turn).permutation(len(data.rows))
        for number, at in enumerate(range(0, len(order), CHUNK)):
            path = f"{build}/heard/{turn}-{number:03d}"
            if number % processes != rank or os.path.exists(path + "-states.npy"):
                continue
            rows = order[at:at + CHUNK].tolist()
            rng = np.random.default_rng([SEED, turn, number])
            save(path, rows, encode(encoder, data, rows, rng))
            done += len(rows)
            print(f"pass {turn} chunk {number}  {done / (time.time() - start):.0f}/s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
