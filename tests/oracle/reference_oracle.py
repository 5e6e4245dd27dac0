"""The whole path in plain numpy (float64): samples to text tokens, units and sound, on toy models.

    python3 reference_oracle.py OUT_DIR

Writes for each model OUT_DIR/<n>/toy-F32.gguf (LLM) and OUT_DIR/<n>/toy-speech-F32.gguf, and OUT_DIR/<n>.gguf with
the samples and what every stage gives. Each decision (token, symbol, duration) is kept away from ties: a model whose
smallest margin is below MARGIN is drawn again with the next seed.
"""

import os
import sys

import numpy as np

import encoder_oracle
import mel_oracle
import speech_decoder_oracle
import toy
import vocoder_oracle
from gguf_write import Gguf

MARGIN = 3e-4       # of the largest logit; of a frame for durations
MODELS = 10
TOKENS = 12


class NearTie(Exception):
    pass


def decide(logits, what):
    """argmax of each row, each ahead of the second by MARGIN."""
    top = np.sort(logits, axis=-1)
    margin = (top[:, -1] - top[:, -2]).min() / np.abs(logits).max()
    if margin < MARGIN:
        raise NearTie(f"{what}: {margin:.1e}")
    return logits.argmax(axis=-1)


# ---- LLM ------------------------------------------------------------------------

def rms_norm(x, weight, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def rotate_pairs(x, angle):
    """x [P][heads][hd]: components 2j and 2j + 1 turn together."""
    c, s = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
    out = np.empty_like(x)
    out[..., 0::2] = x[..., 0::2] * c - x[..., 1::2] * s
    out[..., 1::2] = x[..., 1::2] * c + x[..., 0::2] * s
    return out


def llm_states(x, c, w):
    """Embedding rows [P][D] -> final-norm rows [P][D]."""
    n, hd = len(x), c.width // c.heads
    f = c.base ** (-2.0 * np.arange(hd // 2) / hd) / w.get("rope_freqs.weight", 1.0)
    angle = np.arange(n)[:, None] * f
    future = np.triu(np.ones((n, n), bool), 1)
    for i in range(c.layers):
        def weight(name):
            return w[f"blk.{i}.{name}.weight"]
        h = rms_norm(x, weight("attn_norm"), c.eps)
        q = rotate_pairs((h @ weight("attn_q").T).reshape(n, c.heads, hd), angle)
        k = rotate_pairs((h @ weight("attn_k").T).reshape(n, c.kv, hd), angle)
        v = (h @ weight("attn_v").T).reshape(n, c.kv, hd)
        out = np.empty((n, c.heads, hd))
        for head in range(c.heads):
            group = head // (c.heads // c.kv)
            score = q[:, head] @ k[:, group].T / np.sqrt(hd)
            score[future] = -np.inf
            out[:, head] = encoder_oracle.softmax(score) @ v[:, group]
        x = x + out.reshape(n, -1) @ weight("attn_output").T
        h = rms_norm(x, weight("ffn_norm"), c.eps)
        gate = h @ weight("ffn_gate").T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ weight("ffn_up").T)) @ weight("ffn_down").T
    return rms_norm(x, w["output_norm.weight"], c.eps)


def prompt_ids(hp):
    """One -200 where the adaptor's rows go."""
    p = hp.prompt
    before = [toy.BEGIN] * p.add_bos + toy.tokenize(p.begin) + toy.tokenize(p.user)
    return before + [-200] + toy.tokenize(p.speech_suffix)


def answer(prompt, rows, c, w, stops, most):
    """Greedy: token ids [M] (the end token included) and the states [M][D] that predicted them."""
    table = w["token_embd.weight"]
    head = w.get("output.weight", table)
    at = prompt.index(-200)
    x = [*table[prompt[:at]], *rows, *table[prompt[at + 1:]]]
    ids, states = [], []
    while len(ids) < most and (not ids or ids[-1] not in stops):
        state = llm_states(np.array(x), c, w)[-1:]
        ids.append(int(decide(state @ head.T, "token")[0]))
        states.append(state[0])
        x.append(table[ids[-1]])
    return ids, np.array(states)


# ---- the turn -------------------------------------------------------------------

def collapse(symbols, blank):
    before = np.concatenate([[-1], symbols[:-1]])
    return symbols[(symbols != before) & (symbols != blank)]


def turn(samples, hp, w, c, lw, most):
    """Everything that a question gives, by stage name."""
    a, d = hp.audio, hp.dec
    got = {"mel": mel_oracle.log_mel(samples, w["mel.filters"], a.window_samples, a.n_fft, a.hop)}
    got["encoder"] = encoder_oracle.encoder(got["mel"].astype(np.float64), w, hp.enc.layers, hp.enc.heads, hp.enc.eps)
    got["adaptor"] = encoder_oracle.adaptor(got["encoder"], w, hp.adaptor.stack)
    got["prompt"] = prompt_ids(hp)
    got["tokens"], got["hidden"] = answer(got["prompt"], got["adaptor"], c, lw, hp.prompt.stop, most)
    shape = dict(L=d.upsample, width=d.width, heads=d.heads, kv=d.heads_kv, layers=d.layers,
                 rope=(d.rope_base, d.rope_factor, d.rope_low, d.rope_high, d.rope_original_context))
    got["ctc"] = speech_decoder_oracle.decode(got["hidden"], w, shape)
    got["symbols"] = decide(got["ctc"], "symbol")
    got["units"] = collapse(got["symbols"], d.units)
    if len(got["units"]) == 0:
        raise NearTie("no units")
    log_durations = vocoder_oracle.log_durations(w, got["units"])
    if np.abs((np.exp(log_durations) - 1) % 1 - 0.5).min() < MARGIN:
        raise NearTie("duration")
    got["durations"] = vocoder_oracle.durations(log_durations)
    frames = w["voc.embd"][np.repeat(got["units"], got["durations"])].T
    shape = dict(rates=hp.voc.rates, res=hp.voc.res_kernels, dil=hp.voc.dilations)
    got["wave"] = np.tanh(vocoder_oracle.generator(shape, w, frames))
    return got


def model(name, seed):
    """A model, a question and its answer; every second model meets an end token before the limit."""
    rng = np.random.default_rng([seed, int(name)])
    c, hp = toy.random_shape(rng)
    w, lw = toy.speech_weights(rng, hp), toy.llm_weights(rng, c)
    share = (0.4, 1.0, 1.3)[int(name) % 3]      # of the window: shorter, full, too long
    samples = mel_oracle.speechlike(rng, int(share * hp.audio.window_samples), hp.audio.sample_rate)
    w64, lw64 = ({k: x.astype(np.float64) for k, x in part.items()} for part in (w, lw))
    got = turn(samples, hp, w64, c, lw64, TOKENS)
    # Loud, not saturated: an error anywhere shows in the sound.
    w["voc.conv_post.weight"] *= np.float32(0.5 / np.arctanh(got["wave"]).std())
    w64["voc.conv_post.weight"] = w["voc.conv_post.weight"].astype(np.float64)
    if int(name) % 2:
        end = got["tokens"][5]
        if end in got["tokens"][:5]:
            raise NearTie("the end token would come early")
        hp.prompt.stop = [toy.END, end]
        hp.prompt.n_stop = 2
    got = turn(samples, hp, w64, c, lw64, TOKENS)
    assert len(got["tokens"]) == (6 if int(name) % 2 else TOKENS)
    return c, hp, w, lw, samples, got


def write(folder, c, hp, w, lw, samples, got):
    os.makedirs(folder, exist_ok=True)
    toy.write_llm(f"{folder}/toy-F32.gguf", c, lw)
    toy.write_speech(f"{folder}/toy-speech-F32.gguf", hp, w)
    g = Gguf(f"{folder}.gguf")
    g.add("general.architecture", "omni-test")
    g.add("test.max_tokens", TOKENS)
    g.tensor("samples", samples)
    for stage, x in got.items():
        g.tensor(stage, np.asarray(x, np.float32))
    g.close()


def main(out_dir):
    for number in range(MODELS):
        for seed in range(200):
            try:
                parts = model(str(number), seed)
                break
            except NearTie:
                continue
        else:
            raise SystemExit(f"model {number}: no seed without a near tie")
        write(f"{out_dir}/{number}", *parts)
        c, hp, got = parts[0], parts[1], parts[-1]
        print(f"{number}: seed {seed}, LLM {c.width}/{c.layers} heads {c.heads}/{c.kv}, lambda {hp.dec.upsample}, "
              f"{len(got['tokens'])} tokens, {len(got['units'])} units, {len(got['wave'])} samples", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
