"""The whole reference path in plain torch (float64), over the weights of a checkpoint by their public names.

Nothing is cached: the LLM reads its whole text for each token, and the speech decoder all positions so far.
"""

import math

import torch
import torch.nn.functional as F


# ---- sound to rows ---------------------------------------------------------------

def log_mel(samples, filters, window_samples):
    """[S] -> [n_mels][frames]: 25 ms windows every 10 ms at 16 kHz, 80 dB of range."""
    x = F.pad(samples[:window_samples], (0, max(0, window_samples - len(samples))))
    spectrum = torch.stft(x, 400, 160, window=torch.hann_window(400, dtype=x.dtype), center=True, pad_mode="reflect",
                          return_complex=True)
    log = (filters @ spectrum[:, :-1].abs() ** 2).clamp(min=1e-10).log10()
    return (torch.maximum(log, log.max() - 8.0) + 4.0) / 4.0


def attention(q, k, v, causal):
    """[heads][positions][head width] -> [positions][heads * head width]"""
    score = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if causal:
        score = score.masked_fill(torch.ones(score.shape[-2:], dtype=torch.bool).triu(1), -math.inf)
    return (score.softmax(-1) @ v).transpose(0, 1).flatten(1)


def split(x, heads):
    """[positions][heads * width] -> [heads][positions][width]"""
    return x.unflatten(-1, (heads, -1)).transpose(0, 1)


def whisper_encoder(mel, w, layers, heads):
    """[n_mels][frames] -> [frames / 2][width]"""
    x = F.gelu(F.conv1d(mel[None], w["conv1.weight"], w["conv1.bias"], padding=1))
    x = F.gelu(F.conv1d(x, w["conv2.weight"], w["conv2.bias"], stride=2, padding=1))
    x = x[0].T + w["positional_embedding"]
    width = x.shape[-1:]
    for i in range(layers):
        def p(name):
            return w.get(f"blocks.{i}.{name}")      # the key has no bias
        h = F.layer_norm(x, width, p("attn_ln.weight"), p("attn_ln.bias"))
        q, k, v = (split(F.linear(h, p(f"attn.{n}.weight"), p(f"attn.{n}.bias")), heads) for n in ("query", "key", "value"))
        x = x + F.linear(attention(q, k, v, False), p("attn.out.weight"), p("attn.out.bias"))
        h = F.layer_norm(x, width, p("mlp_ln.weight"), p("mlp_ln.bias"))
        h = F.gelu(F.linear(h, p("mlp.0.weight"), p("mlp.0.bias")))
        x = x + F.linear(h, p("mlp.2.weight"), p("mlp.2.bias"))
    return F.layer_norm(x, width, w["ln_post.weight"], w["ln_post.bias"])


def speech_projector(x, w, stack):
    """stack rows become one; what is left over at the end is dropped."""
    rows = len(x) // stack
    x = x[:rows * stack].reshape(rows, -1)
    return F.linear(F.relu(F.linear(x, w["linear1.weight"], w["linear1.bias"])), w["linear2.weight"], w["linear2.bias"])


# ---- Llama layers ------------------------------------------------------------------

def rms_norm(x, weight, eps):
    return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * weight


def inverse_frequencies(width, base, scaling):
    f = base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    if scaling is None:
        return f
    if scaling["rope_type"] == "linear":
        return f / scaling["factor"]
    low, high, original = scaling["low_freq_factor"], scaling["high_freq_factor"], scaling["original_max_position_embeddings"]
    wave = 2 * math.pi / f
    smooth = (original / wave - low) / (high - low)
    between = (1 - smooth) * f / scaling["factor"] + smooth * f
    return torch.where(wave < original / high, f, torch.where(wave > original / low, f / scaling["factor"], between))


def rotate(x, f):
    """Component j turns with component j + width / 2."""
    angle = torch.arange(x.shape[1], dtype=torch.float64)[:, None] * f
    c, s = angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)
    a, b = x.chunk(2, -1)
    return x * c + torch.cat([-b, a], -1) * s


def llama_layer(x, w, prefix, heads, heads_kv, eps, base, scaling):
    def p(name):
        return w[f"{prefix}{name}.weight"]
    h = rms_norm(x, p("input_layernorm"), eps)
    q, k, v = (split(h @ p(f"self_attn.{n}_proj").T, n_heads) for n, n_heads in
               (("q", heads), ("k", heads_kv), ("v", heads_kv)))
    f = inverse_frequencies(q.shape[-1], base, scaling)
    q, k = rotate(q, f), rotate(k, f)
    k, v = (part.repeat_interleave(heads // heads_kv, 0) for part in (k, v))
    x = x + attention(q, k, v, True) @ p("self_attn.o_proj").T
    h = rms_norm(x, p("post_attention_layernorm"), eps)
    return x + (F.silu(h @ p("mlp.gate_proj").T) * (h @ p("mlp.up_proj").T)) @ p("mlp.down_proj").T


def llm(x, w, c):
    """Embedding rows [P][D] -> the final norm's rows [P][D]."""
    for i in range(c["num_hidden_layers"]):
        x = llama_layer(x, w, f"model.layers.{i}.", c["num_attention_heads"], c["num_key_value_heads"], c["rms_norm_eps"],
                        c["rope_theta"], c["rope_scaling"])
    return rms_norm(x, w["model.norm.weight"], c["rms_norm_eps"])


def speech_generator(states, w, c):
    """[M][D] -> CTC logits [upsample * M][units + 1]"""
    layers, _, heads, _ = (int(n) for n in c["ctc_decoder_config"].strip("()").split(","))
    x = states.repeat_interleave(c["ctc_upsample_factor"], 0)
    x = F.linear(x, w["input_proj.weight"], w["input_proj.bias"])
    for i in range(layers):
        x = llama_layer(x, w, f"layers.{i}.", heads, heads, c["rms_norm_eps"], c["rope_theta"], c["rope_scaling"])
    return F.linear(x, w["output_proj.weight"], w["output_proj.bias"])


def collapse(symbols, blank):
    """Repeats go, then blanks."""
    return [s for before, s in zip([-1, *symbols], symbols) if s != before and s != blank]


# ---- vocoder -----------------------------------------------------------------------

def weight(w, name):
    """Weight norm along the first axis, which for transposed convolutions is the input's."""
    if name + ".weight" in w:
        return w[name + ".weight"]
    return torch._weight_norm(w[name + ".weight_v"], w[name + ".weight_g"], 0)


def log_durations(x, w):
    """Unit embeddings [U][width] -> [U]: the logarithm of one more than the frames."""
    for n in (1, 2):
        k = w[f"dur_predictor.conv{n}.0.weight"]
        x = F.relu(F.conv1d(x.T[None], k, w[f"dur_predictor.conv{n}.0.bias"], padding=(k.shape[-1] - 1) // 2))[0].T
        x = F.layer_norm(x, x.shape[-1:], w[f"dur_predictor.ln{n}.weight"], w[f"dur_predictor.ln{n}.bias"])
    return F.linear(x, w["dur_predictor.proj.weight"], w["dur_predictor.proj.bias"])[:, 0]


def residual_block(x, w, i, kernel, dilations):
    for j, d in enumerate(dilations):
        y = F.conv1d(F.leaky_relu(x, 0.1), weight(w, f"resblocks.{i}.convs1.{j}"), w[f"resblocks.{i}.convs1.{j}.bias"],
                     dilation=d, padding=(kernel - 1) * d // 2)
        x = x + F.conv1d(F.leaky_relu(y, 0.1), weight(w, f"resblocks.{i}.convs2.{j}"), w[f"resblocks.{i}.convs2.{j}.bias"],
                         padding=(kernel - 1) // 2)
    return x


def generator(frames, w, c):
    """[T][width] -> what tanh makes the wave of, [T * hop]"""
    x = F.conv1d(frames.T[None], weight(w, "conv_pre"), w["conv_pre.bias"], padding=3)
    kernels, dilations = c["resblock_kernel_sizes"], c["resblock_dilation_sizes"]
    for i, (rate, size) in enumerate(zip(c["upsample_rates"], c["upsample_kernel_sizes"])):
        x = F.conv_transpose1d(F.leaky_relu(x, 0.1), weight(w, f"ups.{i}"), w[f"ups.{i}.bias"], stride=rate,
                               padding=(size - rate) // 2)
        x = sum(residual_block(x, w, i * len(kernels) + j, kernels[j], dilations[j]) for j in range(len(kernels))) / len(kernels)
    return F.conv1d(F.leaky_relu(x), weight(w, "conv_post"), w["conv_post.bias"], padding=3)[0, 0]
