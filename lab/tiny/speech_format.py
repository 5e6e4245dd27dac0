"""What the two GGUF files hold: metadata and the shape of every tensor. FORMAT: src/tensors.def.

Shapes are in torch's order. export_gguf.py checks what it writes against these lists.
"""

import vocab

LLM = dict(width=256, layers=4, heads=4, heads_kv=2, ff=688, context=1024, eps=1e-5, theta=10000.0)
SPEECH = dict(
    mels=80, n_fft=400, window=80000,
    enc=dict(context=250, width=256, layers=4, heads=4, ff=1024, eps=1e-5),
    stack=5, adaptor=512,
    dec=dict(upsample=25, width=256, layers=2, heads=4, ff=688, eps=1e-5, theta=10000.0, units=200),
    voc=dict(embedding=128, channels=128, rates=[5, 4, 4, 2, 2], kernels=[11, 8, 8, 4, 4],
             res_kernels=[3, 7], res_dilations=[1, 3, 5], duration_hidden=128, duration_kernel=3))

BEGIN, HEAD, NEXT = "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"
END_OF_TURN = "<|eot_id|>"
# The space before the text makes its first word a whole-word token.
TEMPLATE = ("{{ bos_token }}{% for m in messages %}" + HEAD + "{{ m['role'] }}" + NEXT +
            "{{ ' ' + (m['content'] | trim) }}" + END_OF_TURN + "{% endfor %}"
            "{% if add_generation_prompt %}" + HEAD + "assistant" + NEXT + "{% endif %}")


def llm_shapes(c=LLM):
    d, ff, kv = c["width"], c["ff"], c["width"] // c["heads"] * c["heads_kv"]
    shapes = {"token_embd.weight": (vocab.SIZE, d)}
    for n in range(c["layers"]):
        for name, shape in (("attn_norm", (d,)), ("attn_q", (d, d)), ("attn_k", (kv, d)), ("attn_v", (kv, d)),
                            ("attn_output", (d, d)), ("ffn_norm", (d,)), ("ffn_gate", (ff, d)),
                            ("ffn_up", (ff, d)), ("ffn_down", (d, ff))):
            shapes[f"blk.{n}.{name}.weight"] = shape
    return {**shapes, "output_norm.weight": (d,), "output.weight": (vocab.SIZE, d)}


def layer(shapes, prefix, weight, bias=None):
    shapes[prefix + ".weight"] = weight
    if bias:
        shapes[prefix + ".bias"] = (bias,)


def encoder_shapes(c=SPEECH):
    e, s = c["enc"], {"mel.filters": (c["mels"], c["n_fft"] // 2 + 1)}
    d, ff = e["width"], e["ff"]
    layer(s, "enc.conv1", (d, c["mels"], 3), d)
    layer(s, "enc.conv2", (d, d, 3), d)
    s["enc.pos"] = (e["context"], d)
    for n in range(e["layers"]):
        p = f"enc.blk.{n}."
        layer(s, p + "attn_ln", (d,), d)
        for name, bias in (("attn_q", d), ("attn_k", None), ("attn_v", d), ("attn_out", d)):
            layer(s, p + name, (d, d), bias)
        layer(s, p + "mlp_ln", (d,), d)
        layer(s, p + "mlp_up", (ff, d), ff)
        layer(s, p + "mlp_down", (d, ff), d)
    layer(s, "enc.ln_post", (d,), d)
    layer(s, "adaptor.1", (c["adaptor"], c["stack"] * d), c["adaptor"])
    layer(s, "adaptor.2", (LLM["width"], c["adaptor"]), LLM["width"])
    return s


def decoder_shapes(c=SPEECH):
    s, (d, ff, units) = {}, (c["dec"][k] for k in ("width", "ff", "units"))
    layer(s, "dec.in", (d, LLM["width"]), d)
    for n in range(c["dec"]["layers"]):
        for name, shape in (("attn_norm", (d,)), ("attn_q", (d, d)), ("attn_k", (d, d)), ("attn_v", (d, d)),
                            ("attn_out", (d, d)), ("ffn_norm", (d,)), ("ffn_gate", (ff, d)),
                            ("ffn_up", (ff, d)), ("ffn_down", (d, ff))):
            layer(s, f"dec.blk.{n}.{name}", shape)
    layer(s, "dec.out", (units + 1, d), units + 1)
    return s


def vocoder_shapes(c=SPEECH):
    v, units = c["voc"], c["dec"]["units"]
    e, h, k, width = v["embedding"], v["duration_hidden"], v["duration_kernel"], v["channels"]
    s = {"voc.embd": (units, e)}
    layer(s, "voc.dur.conv1", (h, e, k), h)
    layer(s, "voc.dur.ln1", (h,), h)
    layer(s, "voc.dur.conv2", (h, h, k), h)
    layer(s, "voc.dur.ln2", (h,), h)
    layer(s, "voc.dur.proj", (1, h), 1)
    layer(s, "voc.conv_pre", (width, e, 7), width)
    per_stage = len(v["res_kernels"])
    for i, kernel in enumerate(v["kernels"]):
        layer(s, f"voc.up.{i}", (width, width // 2, kernel), width // 2)
        width //= 2
        for j, res in enumerate(v["res_kernels"]):
            for part in "ab":
                for n in range(len(v["res_dilations"])):
                    layer(s, f"voc.res.{i * per_stage + j}.{part}.{n}", (width, width, res), width)
    layer(s, "voc.conv_post", (1, width, 7), 1)
    return s


def llm_metadata(file, c=LLM):
    for key, v in (
            ("general.architecture", "llama"), ("general.name", "tiny"), ("general.license", "MIT"),
            ("general.file_type", 1), ("llama.context_length", c["context"]),
            ("llama.embedding_length", c["width"]), ("llama.block_count", c["layers"]),
            ("llama.feed_forward_length", c["ff"]), ("llama.attention.head_count", c["heads"]),
            ("llama.attention.head_count_kv", c["heads_kv"]),
            ("llama.attention.layer_norm_rms_epsilon", c["eps"]), ("llama.rope.freq_base", c["theta"]),
            ("llama.rope.dimension_count", c["width"] // c["heads"]), ("llama.vocab_size", vocab.SIZE),
            ("tokenizer.ggml.model", "gpt2"), ("tokenizer.ggml.pre", "llama-bpe"),
            ("tokenizer.ggml.bos_token_id", vocab.BEGIN), ("tokenizer.ggml.eos_token_id", vocab.EOT),
            ("tokenizer.ggml.eot_token_id", vocab.EOT), ("tokenizer.ggml.add_bos_token", True),
            ("tokenizer.chat_template", TEMPLATE)):
        file.add(key, v)
    tokens = vocab.tokens()
    control = set(vocab.SPECIALS)
    file.add_array("tokenizer.ggml.tokens", tokens, "str")
    file.add_array("tokenizer.ggml.token_type", [3 if t in control else 1 for t in tokens], "i32")
    # Whole words need no merging; the loader wants a list all the same.
    file.add_array("tokenizer.ggml.merges", ["\u0120 a"], "str")


def speech_metadata(file, c=SPEECH):
    e, d, v = c["enc"], c["dec"], c["voc"]
    file.add("general.architecture", "omni-speech")
    for key, value in (("name", "tiny-speech"), ("license", "MIT"), ("file_type", 1)):
        file.add("general." + key, value)
    for key, value in (
            ("version", 1), ("audio.sample_rate", 16000), ("audio.n_fft", c["n_fft"]), ("audio.hop", 160),
            ("audio.n_mels", c["mels"]), ("audio.window_samples", c["window"]),
            ("encoder.context", e["context"]), ("encoder.embedding_length", e["width"]),
            ("encoder.block_count", e["layers"]), ("encoder.head_count", e["heads"]),
            ("encoder.feed_forward_length", e["ff"]), ("encoder.layer_norm_epsilon", e["eps"]),
            ("adaptor.stack", c["stack"]), ("adaptor.hidden_length", c["adaptor"]),
            ("llm.embedding_length", LLM["width"]),
            ("decoder.upsample", d["upsample"]), ("decoder.block_count", d["layers"]),
            ("decoder.embedding_length", d["width"]), ("decoder.head_count", d["heads"]),
            ("decoder.head_count_kv", d["heads"]), ("decoder.feed_forward_length", d["ff"]),
            ("decoder.rms_epsilon", d["eps"]), ("decoder.rope_freq_base", d["theta"]),
            ("decoder.rope_scaling_factor", 1.0), ("decoder.rope_scaling_low_freq", 1.0),
            ("decoder.rope_scaling_high_freq", 4.0), ("decoder.rope_scaling_original_context", 8192),
            ("decoder.unit_count", d["units"]),
            ("vocoder.embedding_length", v["embedding"]), ("vocoder.initial_channels", v["channels"]),
            ("vocoder.duration_hidden", v["duration_hidden"]), ("vocoder.duration_kernel", v["duration_kernel"]),
            ("vocoder.sample_rate", 16000),
            ("prompt.begin", BEGIN), ("prompt.user", HEAD + "user" + NEXT),
            ("prompt.speech_suffix", END_OF_TURN + HEAD + "assistant" + NEXT),
            ("prompt.text_prefix", " "),      # words of the vocabulary carry their space in front
            ("prompt.text_form", "words"),    # and there are neither capitals nor punctuation
            ("prompt.text_suffix", END_OF_TURN + HEAD + "assistant" + NEXT),
            ("prompt.turn_end", END_OF_TURN), ("prompt.add_bos", False)):
        file.add("omni-speech." + key, value)
    for key, items in (
            ("vocoder.upsample_rates", v["rates"]), ("vocoder.upsample_kernels", v["kernels"]),
            ("vocoder.resblock_kernels", v["res_kernels"]), ("vocoder.resblock_dilations", v["res_dilations"]),
            ("prompt.stop_ids", [vocab.EOT, vocab.END])):
        file.add_array("omni-speech." + key, items, "i32")
