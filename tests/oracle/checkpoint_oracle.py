"""Toy checkpoints in the public formats, and what the reference path makes of a question.

    python3 checkpoint_oracle.py OUT_DIR [NAME...]      all cases, or those named

Writes OUT_DIR/NAME/: hf/ (config.json, generation_config.json, tokenizer.json, tokenizer_config.json, safetensors),
whisper.pt and vocoder/ as the case has them, question.wav, expected/STAGE.npy for the stages of `omni probe`, and
case.json: the arguments of `omni convert` (paths from here) and what else a test must know. expected/ also has
token_margin.npy and duration_margin.npy, how far each decision is from the next in logits and in frames, and
token_scale.npy, the largest logit.

A decision that would be as good as a tie is not a test of anything: such weights are drawn again with the next seed.
"""

import os
import struct
import sys
from types import SimpleNamespace

import numpy as np
import torch

import checkpoint_files as files
import checkpoint_forward as forward
import checkpoint_weights as weights
import mel_oracle
from checkpoint_tokens import SPEECH, Tokenizer

TIE = 1e-4              # of the largest logit
TOKEN_TIE = 8e-3        # of the largest logit: tokens must also survive f16 and q8_0
DURATION_TIE = 3e-3     # of a frame
BLANKS = 0.6            # this share of the symbols

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
LLAMA3 = {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 64,
          "rope_type": "llama3"}

DEFAULTS = dict(
    seed=0,     # the first that is tried; the cases name the one that is found, to save time
    max_tokens=10, ends=False, merges=120, merge_pairs=False, spare_ids=0, generation=True, ends_in_config=True,
    explicit_head_dim=False, shards=4, dtype=F16, norms=None, whisper=None, embedded=True, legacy_whisper=False, views=False,
    legacy_vocoder=False, config_elsewhere=False, folded=False,
    width=64, heads=4, heads_kv=2, layers=2, ff=96, eps=1e-5, rope_theta=500000.0, rope_scaling=LLAMA3, tied=False,
    mels=128, context=40, enc_width=64, enc_heads=1, enc_layers=2, enc_ff=128, stack=5, hidden=48,
    upsample=25, dec_layers=2, dec_width=64, dec_heads=4, dec_ff=96, units=50,
    embd=32, channels=64, rates=[5, 4, 4, 2, 2], kernels=[11, 8, 8, 4, 4], res_kernels=[3, 7, 11], dilations=[1, 3, 5],
    dur_hidden=32, dur_kernel=3)

CASES = {
    # as published: everything but the vocoder in f16 shards
    "published": dict(seed=15),
    "whisper": dict(seed=18, dtype=F32, embedded=False, whisper=F16, heads_kv=4, rope_scaling=None, enc_heads=4, mels=80, stack=3,
                    upsample=8, units=100, ends="eot_id", rates=[5, 4, 2], kernels=[11, 8, 4], channels=32),
    # the file given with --whisper counts, not the copy inside
    "both": dict(dtype=BF16, whisper=F16, legacy_whisper=True, legacy_vocoder=True, rope_theta=10000.0, upsample=4,
                 config_elsewhere=True, enc_heads=2),
    "tied": dict(seed=31, tied=True, heads=6, heads_kv=2, width=96, rope_scaling={"rope_type": "linear", "factor": 4.0}, layers=3,
                 ends_in_config=False, dec_layers=3, upsample=12, enc_width=128, enc_heads=2, spare_ids=7),
    "pairs": dict(seed=102, dtype=BF16, merge_pairs=True, merges=60, shards=3, upsample=3, ends="eom_id", eps=1e-6, max_tokens=16,
                  context=33, stack=2, enc_layers=3),
    "one-file": dict(seed=21, dtype=F32, shards=1, heads_kv=1, rope_scaling=None, rope_theta=10000.0, whisper=F32, embedded=False,
                     views=True, enc_heads=8, dec_heads=2, dec_layers=1, units=33, embd=20, dur_kernel=5, generation=False),
    "mixed": dict(seed=7, norms=F32, stack=7, upsample=25, folded=True, res_kernels=[3, 7], dilations=[1, 3], rates=[8, 5],
                  kernels=[16, 11], channels=32, explicit_head_dim=True),
    "odd": dict(seed=352, width=80, heads=5, heads_kv=5, ff=72, dec_width=60, dec_heads=3, dec_ff=44, hidden=33, stack=4, upsample=10,
                dtype=F32, tied=True, rope_scaling=dict(LLAMA3, factor=32.0, low_freq_factor=2.0, high_freq_factor=16.0)),
    # rows of 256: all types of llama.cpp's quantiser divide them
    "wide": dict(seed=87, width=256, heads=4, heads_kv=2, ff=256, layers=2, dec_width=256, dec_heads=4, dec_ff=256, hidden=256,
                 dtype=BF16, norms=F32, max_tokens=8, upsample=8, whisper=F16, views=True, enc_heads=4),
}


class NearTie(Exception):
    pass


def margins(logits):
    """How far the largest of each row is ahead of the second."""
    top = logits.topk(2, -1).values
    return top[..., 0] - top[..., 1]


def require(margin, least, what):
    if margin.min() < least:
        raise NearTie(f"{what}: {margin.min():.1e}")


# ---- the path --------------------------------------------------------------------

def hear(samples, w, case):
    """mel [frames][n_mels], encoder rows, the projector's rows"""
    filters = torch.from_numpy(mel_oracle.filterbank(16000, 400, case.mels)).double()
    mel = forward.log_mel(samples, filters, 320 * case.context)
    encoder = forward.whisper_encoder(mel, w.encoder, case.enc_layers, case.enc_heads)
    return {"mel": mel.T, "encoder": encoder, "adaptor": forward.speech_projector(encoder, w.projector, case.stack)}


def answer(prompt, rows, w, case, config, ends):
    """Greedy tokens (the end token included), the states that predict them, and their margins."""
    table, at = w.llm["model.embed_tokens.weight"], prompt.index(SPEECH)
    head = table if case.tied else w.llm["lm_head.weight"]
    x = torch.cat([table[prompt[:at]], rows, table[prompt[at + 1:]]])
    tokens, states, ahead, scale = [], [], [], []
    while len(tokens) < case.max_tokens and (not tokens or tokens[-1] not in ends):
        states.append(forward.llm(x, w.llm, config)[-1])
        logits = head @ states[-1]
        ahead.append(margins(logits))
        scale.append(logits.abs().max())
        require(ahead[-1], TOKEN_TIE * scale[-1], "token")
        tokens.append(int(logits.argmax()))
        x = torch.cat([x, table[tokens[-1:]]])
    return {"tokens": tokens, "hidden": torch.stack(states), "token_margin": torch.stack(ahead), "token_scale": torch.stack(scale)}


def say(states, w, case, config):
    """CTC logits, symbols, units: the whole text again for each token, which never changes what came before."""
    before = []
    for n in range(1, len(states) + 1):
        ctc = forward.speech_generator(states[:n], w.generator, config)
        symbols = ctc.argmax(-1).tolist()
        assert symbols[:len(before)] == before, "a longer text changed an earlier symbol"
        before = symbols
    return {"ctc": ctc, "symbols": symbols, "units": forward.collapse(symbols, case.units)}


def speak(units, w, vocoder):
    embedded = w.vocoder["dict.weight"][units]
    frames = forward.log_durations(embedded, w.vocoder).exp() - 1
    durations = frames.round().long().clamp(min=1)
    loud = forward.generator(embedded.repeat_interleave(durations, 0), w.vocoder, vocoder)
    return {"durations": durations, "wave": loud.tanh(), "loud": loud,
            "duration_margin": (frames.remainder(1) - 0.5).abs()}


# ---- weights that make a test ----------------------------------------------------

def used(w):
    """Every part in float64, by the names inside it."""
    def part(tensors, prefix=""):
        return {n[len(prefix):]: t.double() for n, t in tensors.items() if n.startswith(prefix)}
    return SimpleNamespace(llm=part(w.hf), projector=part(w.hf, "model.speech_projector."),
                           generator=part(w.hf, "speech_generator."), vocoder=part(w.vocoder),
                           encoder=part(w.whisper) if w.whisper else part(w.hf, "model.speech_encoder."))


def draw(rng, case, vocab):
    hf = weights.llm_weights(rng, case, vocab)
    if case.embedded:
        encoder = weights.encoder_weights(rng, case, case.dtype)
        hf.update({"model.speech_encoder." + n: t for n, t in encoder.items()})
    hf.update(weights.draw_all(rng, weights.projector_shapes(case), case.dtype, "model.speech_projector."))
    hf.update(weights.draw_all(rng, weights.decoder_shapes(case), case.dtype, "speech_generator."))
    if case.norms:      # some parts in another type
        hf.update({n: t.to(case.norms) * 1.0009765 for n, t in hf.items() if t.dim() == 1})
    whisper = weights.encoder_weights(rng, case, case.whisper) if case.whisper else None
    return SimpleNamespace(hf=hf, whisper=whisper, vocoder=weights.vocoder_weights(rng, case))


def end_early(w, tokens, case, end):
    """Makes the sixth token the end: its row of the output matrix changes places with the end token's."""
    x = tokens[5] if len(tokens) > 5 else tokens[0]
    if x in tokens[:5]:
        raise NearTie("the end token would come early")
    head = w.hf["lm_head.weight"]
    head[[x, end]] = head[[end, x]]


def balance_blanks(w, states, case, config):
    """Raises the blank's bias until it wins about BLANKS of the positions; no position is left near the border."""
    ctc = forward.speech_generator(states, used(w).generator, config)
    lack = (ctc[:, :-1].max(-1).values - ctc[:, -1]).sort().values
    bias = w.hf["speech_generator.output_proj.bias"]
    near = lack[int((BLANKS - 0.1) * len(lack)):int((BLANKS + 0.1) * len(lack))]
    widest = int(near.diff().argmax())
    bias[-1] += ((near[widest] + near[widest + 1]) / 2).to(bias.dtype)


def fold_half(w):
    """Every second convolution of the vocoder as after removing weight norm."""
    for name in sorted(n[:-9] for n in w.vocoder if n.endswith(".weight_v"))[::2]:
        folded = torch._weight_norm(w.vocoder.pop(name + ".weight_v"), w.vocoder.pop(name + ".weight_g"), 0)
        w.vocoder[name + ".weight"] = folded


def build(name, case, seed):
    """Weights, question and everything it gives."""
    rng = np.random.default_rng([seed, *name.encode()])
    tokenizer = Tokenizer(case.merges)
    config, vocoder = weights.llm_config(case, tokenizer), weights.vocoder_config(case)
    w = draw(rng, case, config["vocab_size"])
    if case.folded:
        fold_half(w)
    share = (0.4, 1.0, 1.3)[seed % 3]       # of the window: shorter, full, too long
    pcm = mel_oracle.speechlike(rng, int(share * 320 * case.context), 16000)
    pcm = (pcm * 32768).round().clip(-32768, 32767).astype("<i2")
    prompt = tokenizer.prompt()
    ends = [tokenizer.special(n) for n in ("end_of_text", "eom_id", "eot_id")]
    got = hear(torch.from_numpy(pcm / 32768.0), used(w), case)
    got["prompt"] = prompt
    got.update(answer(prompt, got["adaptor"], used(w), case, config, ends))
    if case.ends:
        end_early(w, got["tokens"], case, tokenizer.special(case.ends))
        got.update(answer(prompt, got["adaptor"], used(w), case, config, ends))
        assert len(got["tokens"]) == 6
    if len(set(got["tokens"])) < 4:
        raise NearTie("the answer says the same again and again")
    balance_blanks(w, got["hidden"], case, config)
    got.update(say(got["hidden"], used(w), case, config))
    require(margins(got["ctc"]), TIE * got["ctc"].abs().max(), "symbol")
    if len(set(got["units"])) < min(8, max(5, len(got["ctc"]) // 8)):
        raise NearTie("too few units")
    loudness = speak(got["units"], used(w), vocoder)["loud"].std().item()
    last = w.vocoder["conv_post.weight_g" if "conv_post.weight_g" in w.vocoder else "conv_post.weight"]
    last *= 0.5 / loudness          # loud, not saturated: an error anywhere shows
    got.update(speak(got["units"], used(w), vocoder))
    require(got["duration_margin"], DURATION_TIE, "duration")
    del got["loud"]
    return SimpleNamespace(w=w, tokenizer=tokenizer, config=config, vocoder=vocoder, pcm=pcm, got=got)


# ---- files -----------------------------------------------------------------------

def wav(pcm):
    data = pcm.tobytes()
    return (b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16) +
            b"data" + struct.pack("<I", len(data)) + data)


def write(folder, case, b):
    for part in ("hf", "expected"):
        os.makedirs(f"{folder}/{part}", exist_ok=True)
    arguments = ["--hf", "hf", "--vocoder", "vocoder/g_00500000"]
    files.write_json(f"{folder}/hf/config.json", b.config)
    if case.generation:
        files.write_json(f"{folder}/hf/generation_config.json", weights.generation_config(case, b.config, b.tokenizer))
    b.tokenizer.write(f"{folder}/hf", case.merge_pairs)
    files.write_shards(f"{folder}/hf", b.w.hf, case.shards)
    if case.whisper:
        files.write_whisper(f"{folder}/whisper.pt", b.w.whisper, weights.whisper_dims(case), case.legacy_whisper, case.views)
        arguments += ["--whisper", "whisper.pt"]
    if case.config_elsewhere:
        arguments += ["--vocoder-config", "vocoder-config/config.json"]
    files.write_vocoder(f"{folder}/vocoder", f"{folder}/vocoder-config" if case.config_elsewhere else f"{folder}/vocoder",
                        b.w.vocoder, b.vocoder, case.legacy_vocoder)
    with open(f"{folder}/question.wav", "wb") as f:
        f.write(wav(b.pcm))
    for stage, x in b.got.items():
        x = np.asarray(x)
        np.save(f"{folder}/expected/{stage}.npy", x.astype(np.int32 if x.dtype.kind in "iu" else np.float64))
    files.write_json(f"{folder}/case.json", {
        "convert": arguments, "max_tokens": case.max_tokens, "blank": case.units, "vocab_size": b.config["vocab_size"],
        "dtype": str(case.dtype).replace("torch.", "")})


def make(name, folder):
    case = SimpleNamespace(**dict(DEFAULTS, **CASES[name]))
    for seed in range(case.seed, case.seed + 500):
        try:
            b = build(name, case, seed)
            break
        except NearTie as tie:
            if os.environ.get("ORACLE_TALKS"):
                print(f"{name}: seed {seed}: {tie}", flush=True)
    else:
        raise SystemExit(f"{name}: no seed without a near tie")
    write(folder, case, b)
    got = b.got
    print(f"{name}: seed {seed}, {len(got['prompt'])} prompt ids, {len(got['tokens'])} tokens "
          f"({len(set(got['tokens']))} different), {len(got['units'])} units ({len(set(got['units']))} different), "
          f"{len(got['wave'])} samples", flush=True)


def main(out_dir, *names):
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    for name in names or CASES:
        make(name, f"{out_dir}/{name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
