"""A toy model for the tests of sessions: no numbers to compare, but answers long enough to interrupt.

    python3 session_oracle.py OUT_DIR

Writes OUT_DIR/toy-F32.gguf and OUT_DIR/toy-speech-F32.gguf, whose answers run into the limit; and in OUT_DIR/brief the
same with more end tokens, so that answers end by themselves. The window is one second, a vocoder frame 20 ms.
"""

import os
import sys

import numpy as np

import toy


def shape():
    llm, hp = toy.random_shape(np.random.default_rng(5))
    for part, numbers in (
            (llm, dict(width=64, heads=4, kv=2, layers=2, ff=96, base=10000.0, factors=False, tied=False)),
            (hp.audio, dict(sample_rate=16000, n_fft=400, hop=160, n_mels=40, window_samples=16000, frames=100)),
            (hp.enc, dict(context=50, width=32, layers=2, heads=2, ff=48)),
            (hp.adaptor, dict(stack=5, hidden=48, rows=10)),
            (hp.llm, dict(width=64)),
            (hp.dec, dict(upsample=25, layers=2, width=32, heads=4, heads_kv=4, ff=48, units=50, rope_factor=1.0)),
            (hp.voc, dict(embd=16, channels=32, rates=[5, 4, 4, 2, 2], kernels=[11, 8, 8, 4, 4], n_stages=5, n_kernels=5,
                          res_kernels=[3, 7, 11], n_res=3, dilations=[1, 3, 5], n_dil=3, dur_hidden=16, dur_kernel=3,
                          sample_rate=16000, hop=320)),
            (hp.prompt, dict(add_bos=True, stop=[toy.END], n_stop=1))):
        for key, value in numbers.items():
            setattr(part, key, value)
    return llm, hp


def write(folder, llm, hp, weights, speech):
    os.makedirs(folder, exist_ok=True)
    toy.write_llm(os.path.join(folder, "toy-F32.gguf"), llm, weights)
    toy.write_speech(os.path.join(folder, "toy-speech-F32.gguf"), hp, speech)


def main(folder):
    llm, hp = shape()
    rng = np.random.default_rng(11)
    speech, weights = toy.speech_weights(rng, hp), toy.llm_weights(rng, llm)
    weights["output.weight"][toy.END] = 0       # its logit is never the largest
    write(folder, llm, hp, weights, speech)
    hp.prompt.stop = [toy.END, *[toy.ID[chr(c)] for c in range(ord("a"), ord("p"))]]
    hp.prompt.n_stop = len(hp.prompt.stop)
    write(os.path.join(folder, "brief"), llm, hp, weights, speech)


if __name__ == "__main__":
    main(sys.argv[1])
