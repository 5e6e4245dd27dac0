"""Toy models: random shapes, random weights, the two files of a model.

The keys and tensors of the speech file come from src/base/hparams.def and src/tensors.def, so that what
is written here is what the loader asks for.
"""

import os
import re
import sys
from types import SimpleNamespace

import numpy as np

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(ROOT, "lab", "tiny"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from gguf_write import Gguf  # noqa: E402
import mel_oracle  # noqa: E402

# ---- the tables -----------------------------------------------------------------


def table(path, pattern):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return re.findall(pattern, f.read())


KEYS = table("src/base/hparams.def", r'\b([UFSBA])\("([a-z0-9_.]+)",\s*([a-z0-9_.]+)(?:,\s*(voc\.n_[a-z]+|prompt\.n_[a-z]+))?')


def tensor_table():
    """[(group, name pattern, kind, shape expression)]; group ONCE, ENC, DEC, UP or RES."""
    with open(os.path.join(ROOT, "src/tensors.def"), encoding="utf-8") as f:
        text = re.sub(r"\\\n", " ", f.read())
    rows = []
    for group, body in re.findall(r"#define OM_TENSORS_(\w+)\(T1, T2, T3\)([^\n]*)", text):
        for _, name, kind, shape in re.findall(r'T([123])\("([^"]+)",\s*(\w+),\s*(.*?)\)\s*(?=T[123]\(|$)', body):
            rows.append((group, name, kind, shape.replace("hp->", "hp.").replace("/", "//")))
    return rows


def speech_shapes(hp):
    """name -> shape of every tensor of the speech file."""
    voc, shapes = hp.voc, {}
    indices = {"ONCE": [()], "ENC": [(i,) for i in range(hp.enc.layers)], "DEC": [(i,) for i in range(hp.dec.layers)],
               "UP": [(i,) for i in range(voc.n_stages)],
               "RES": [(i, j) for i in range(voc.n_stages * voc.n_res) for j in range(voc.n_dil)]}
    for group, name, _, expression in tensor_table():
        for index in indices[group]:
            i = index[0] if index else 0
            shape = eval(f"({expression},)", {"hp": hp, "i": i})
            shapes[name % index if index else name] = tuple(int(n) for n in shape)
    return shapes


# ---- shapes ---------------------------------------------------------------------

WORDS = ("the what is a one two three red blue cat dog please answer question speech hello say again "
         "north south bird tree sun moon").split()
SPECIALS = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
BEGIN, END = 256, 257


def byte_characters():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    names = {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(rest)}}
    return [names[b] for b in range(256)]


VOCABULARY = byte_characters() + SPECIALS + ["user", "assistant"] + ["\u0120" + w for w in WORDS]
ID = {token: i for i, token in enumerate(VOCABULARY)}


def tokenize(text):
    """Specials, role names and words with their leading space are one token each."""
    ids = []
    for part in re.split(r"(<\|[a-z_]+\|>)", text):
        if part in SPECIALS:
            ids.append(ID[part])
        else:
            found = re.findall(r" ?[a-z]+", part)
            assert "".join(found) == part, part
            ids += [ID[w.replace(" ", "\u0120")] for w in found]
    return ids


def random_shape(rng):
    """A model's numbers: llm and hp (fields named as in om_hparams)."""
    def pick(*choices):
        return choices[rng.integers(len(choices))]

    def space(**fields):
        return SimpleNamespace(**fields)

    hop, stack = pick(80, 100, 160), pick(1, 2, 3, 5, 7)
    context = int(rng.integers(11, 40))
    head, heads, kv = pick(8, 16, 32), *pick((4, 4), (4, 2), (6, 2), (4, 1), (2, 2))
    llm = space(width=head * heads, heads=heads, kv=kv, layers=pick(1, 2, 3), ff=pick(40, 64, 96), base=pick(500.0, 10000.0),
                eps=pick(1e-5, 1e-6), factors=pick(False, True), tied=pick(False, True))
    audio = space(sample_rate=pick(8000, 16000), n_fft=pick(256, 400), hop=hop, n_mels=pick(13, 40, 80),
                  window_samples=2 * context * hop, frames=2 * context)
    width = pick(24, 32, 64)
    enc = space(context=context, width=width, layers=pick(1, 2, 3), heads=pick(1, 2, 4), ff=pick(48, 96), eps=pick(1e-5, 1e-6))
    dhead, dheads, dkv = pick(8, 10, 16), *pick((4, 4), (4, 2), (6, 2), (3, 1), (2, 2))
    scaled = pick(False, True)
    dec = space(upsample=pick(2, 3, 8, 25), layers=pick(1, 2, 3), width=dhead * dheads, heads=dheads, heads_kv=dkv, ff=pick(40, 96),
                units=pick(17, 50, 100), eps=1e-5, rope_base=pick(500.0, 10000.0), rope_factor=8.0 if scaled else 1.0,
                rope_low=1.0, rope_high=4.0, rope_original_context=64 if scaled else 8192)
    rates, kernels = pick(([5, 4], [11, 8]), ([4, 2, 2], [8, 4, 4]), ([3, 2], [3, 4]), ([5, 4, 2], [11, 8, 4]), ([8], [16]))
    res, dil = pick(([3, 7], [1, 3]), ([3], [1, 3, 5]), ([3, 7, 11], [1, 3, 5]), ([5, 3], [2]))
    voc = space(embd=pick(8, 20, 32), channels=pick(16, 24, 48), rates=rates, kernels=kernels, n_stages=len(rates),
                n_kernels=len(rates), res_kernels=res, n_res=len(res), dilations=dil, n_dil=len(dil), dur_hidden=pick(8, 24),
                dur_kernel=pick(3, 5), sample_rate=pick(8000, 16000), hop=int(np.prod(rates)))
    answer = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>"
    prompt = space(begin="<|begin_of_text|><|start_header_id|> please answer the speech<|eot_id|>",
                   user="<|start_header_id|>user<|end_header_id|>", speech_suffix=" answer the question" + answer,
                   text_suffix=answer, turn_end="<|eot_id|>", add_bos=bool(rng.integers(2)), stop=[END], n_stop=1)
    hp = space(audio=audio, enc=enc, adaptor=space(stack=stack, hidden=pick(16, 33, 48), rows=context // stack),
               llm=space(width=llm.width), dec=dec, voc=voc, prompt=prompt)
    return llm, hp


def field(hp, path):
    for name in path.split("."):
        hp = getattr(hp, name)
    return hp


# ---- weights --------------------------------------------------------------------

def draw(rng, name, shape):
    """Signals stay near unit size, norms differ from one, attention is not flat."""
    x = rng.standard_normal(shape)
    if len(shape) == 1:
        return ((1.0 if "weight" in name else 0.0) + 0.2 * x).astype(np.float32)
    gain = 1.0
    if re.search(r"attn_[qk]\.", name):
        gain = 3.0 if name.startswith("dec") else 2.0
    fan = shape[0] * shape[2] / 2 if name.startswith("voc.up.") else np.prod(shape[1:])
    return (gain * x / np.sqrt(fan)).astype(np.float32)


def speech_weights(rng, hp):
    w = {name: draw(rng, name, shape) for name, shape in speech_shapes(hp).items()}
    w["mel.filters"] = mel_oracle.filterbank(hp.audio.sample_rate, hp.audio.n_fft, hp.audio.n_mels)
    w["enc.pos"] *= np.float32(0.3 * np.sqrt(hp.enc.width))
    w["voc.embd"] *= np.float32(np.sqrt(hp.voc.embd))
    w["voc.dur.proj.bias"] += np.float32(1.1)       # exp(1.1) - 1: about two frames a unit
    return w


def llm_shapes(c):
    d, kv = c.width, c.width // c.heads * c.kv
    shapes = {"token_embd.weight": (len(VOCABULARY), d)}
    for i in range(c.layers):
        for name, shape in (("attn_norm", (d,)), ("attn_q", (d, d)), ("attn_k", (kv, d)), ("attn_v", (kv, d)),
                            ("attn_output", (d, d)), ("ffn_norm", (d,)), ("ffn_gate", (c.ff, d)), ("ffn_up", (c.ff, d)),
                            ("ffn_down", (d, c.ff))):
            shapes[f"blk.{i}.{name}.weight"] = shape
    shapes["output_norm.weight"] = (d,)
    if not c.tied:
        shapes["output.weight"] = (len(VOCABULARY), d)
    return shapes


def llm_weights(rng, c):
    w = {name: draw(rng, name, shape) for name, shape in llm_shapes(c).items()}
    w["token_embd.weight"] *= np.float32(np.sqrt(c.width))      # unit size, like the adaptor's rows
    if c.factors:
        w["rope_freqs.weight"] = np.exp(rng.uniform(0, 1, c.width // c.heads // 2)).astype(np.float32)
    return w


# ---- files ----------------------------------------------------------------------

def write_llm(path, c, w, vocabulary=VOCABULARY, context=512):
    """What a larger vocabulary has beyond the toy's is found in any text, as it stands."""
    g = Gguf(path)
    for key, v in (("general.architecture", "llama"), ("general.name", "toy"), ("llama.context_length", context),
                   ("llama.embedding_length", c.width), ("llama.block_count", c.layers), ("llama.feed_forward_length", c.ff),
                   ("llama.attention.head_count", c.heads), ("llama.attention.head_count_kv", c.kv),
                   ("llama.attention.layer_norm_rms_epsilon", c.eps), ("llama.rope.freq_base", c.base),
                   ("llama.rope.dimension_count", c.width // c.heads), ("llama.vocab_size", len(vocabulary)),
                   ("tokenizer.ggml.model", "gpt2"), ("tokenizer.ggml.pre", "llama-bpe"),
                   ("tokenizer.ggml.bos_token_id", BEGIN), ("tokenizer.ggml.eos_token_id", END)):
        g.add(key, v)
    kinds = [3 if t in SPECIALS else 1 for t in VOCABULARY] + [4] * (len(vocabulary) - len(VOCABULARY))
    g.add_array("tokenizer.ggml.tokens", vocabulary, "str")
    g.add_array("tokenizer.ggml.token_type", kinds, "i32")
    g.add_array("tokenizer.ggml.merges", ["\u0120 a"], "str")
    for name, x in w.items():
        g.tensor(name, x)
    g.close()


def write_speech(path, hp, w, optional=()):
    """optional: (key, text) of strings that may be missing."""
    g = Gguf(path)
    g.add("general.architecture", "omni-speech")
    g.add("omni-speech.version", 1)
    for kind, key, path_, _ in KEYS:
        value = field(hp, path_)
        if kind == "A":
            g.add_array("omni-speech." + key, value, "i32")
        else:
            g.add("omni-speech." + key, {"U": int, "F": float, "S": str, "B": bool}[kind](value))
    for key, text in optional:
        g.add("omni-speech." + key, text)
    for name, x in w.items():
        g.tensor(name, x)
    g.close()
