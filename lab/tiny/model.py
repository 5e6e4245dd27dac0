"""The tiny model's listening half: Whisper encoder, adaptor, Llama.

Parameter names follow Whisper (encoder) and Hugging Face Llama (llm), so a
state dict is what the exporter writes.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn

MELS, WIDTH, LAYERS, HEADS, FF = 80, 256, 4, 4, 1024
POSITIONS, GROUP, ADAPTOR_FF = 250, 5, 512
KV_HEADS, HEAD_DIM, LLM_FF, THETA, EPS = 2, 64, 688, 10000.0, 1e-5
POSITION_SCALE = 0.15       # sound leaves the conv stem far weaker than 1


def erf_gelu(x):
    """GELU by its formula: the built-in backward misbehaves after bf16 convolutions."""
    return x * 0.5 * (1.0 + torch.erf(x * math.sqrt(0.5)))


def sinusoids(length, channels):
    scale = math.log(10000) / (channels // 2 - 1)
    t = torch.arange(length)[:, None] * torch.exp(-scale * torch.arange(channels // 2))
    return torch.cat([t.sin(), t.cos()], dim=1)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH, bias=False)
        self.value = nn.Linear(WIDTH, WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = (f(x).view(b, t, HEADS, -1).transpose(1, 2)
                   for f in (self.query, self.key, self.value))
        w = (q * HEAD_DIM ** -0.5) @ k.transpose(2, 3)
        return self.out((w.softmax(-1) @ v).transpose(1, 2).reshape(b, t, WIDTH))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn_ln, self.attn = nn.LayerNorm(WIDTH), Attention()
        self.mlp_ln = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, FF), nn.GELU(), nn.Linear(FF, WIDTH))

    def forward(self, x):
        x = x + self.attn(self.attn_ln(x))
        return x + self.mlp(self.mlp_ln(x))


class Encoder(nn.Module):
    """(batch, frames, 80) log-mel to (batch, frames / 2, 256)."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(MELS, WIDTH, 3, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.register_buffer("positional_embedding",
                             sinusoids(POSITIONS, WIDTH) * POSITION_SCALE)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.ln_post = nn.LayerNorm(WIDTH)
        self.start_balanced()

    def start_balanced(self):
        """Louder sound than positions, quiet residual branches at the start."""
        with torch.no_grad():
            self.conv1.weight *= 3.0
            self.conv2.weight *= 2.5
            for block in self.blocks:
                block.attn.out.weight *= 0.5
                block.mlp[2].weight *= 0.5

    def forward(self, mel):
        x = erf_gelu(self.conv1(mel.transpose(1, 2)).float().contiguous())
        x = erf_gelu(self.conv2(x).float().contiguous()).transpose(1, 2)
        x = x + self.positional_embedding[:x.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.ln_post(x)


class Adaptor(nn.Module):
    """Five encoder frames in, one LLM row out."""

    def __init__(self):
        super().__init__()
        self.linear1 = nn.Linear(GROUP * WIDTH, ADAPTOR_FF)
        self.linear2 = nn.Linear(ADAPTOR_FF, WIDTH)

    def forward(self, x):
        b, t, _ = x.shape
        x = x[:, :t // GROUP * GROUP].reshape(b, t // GROUP, GROUP * WIDTH)
        return self.linear2(F.relu(self.linear1(x)))


class WordHead(nn.Module):
    """Word logits of adaptor rows: how much of each word's LLM embedding is in them.

    Class 0 is the CTC blank, class 1 + i is word i.
    """

    def __init__(self, table):
        super().__init__()
        self.register_buffer("table", F.normalize(table, dim=1))
        self.gain = nn.Parameter(torch.tensor(2.0))
        self.blank = nn.Linear(WIDTH, 1)

    def forward(self, rows):
        return torch.cat([self.blank(rows), self.gain * F.linear(rows, self.table)], dim=-1)


class RMSNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * self.weight


def rotary(length, start=0):
    freq = THETA ** (-torch.arange(0, HEAD_DIM, 2).float() / HEAD_DIM)
    angle = torch.arange(start, start + length).float()[:, None] * freq
    angle = torch.cat([angle, angle], dim=1)
    return angle.cos(), angle.sin()


def rotate(x, cos, sin):
    """Half-split (NeoX) pairing."""
    half = HEAD_DIM // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sin


class LlamaAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj = nn.Linear(WIDTH, HEADS * HEAD_DIM, bias=False)
        self.k_proj = nn.Linear(WIDTH, KV_HEADS * HEAD_DIM, bias=False)
        self.v_proj = nn.Linear(WIDTH, KV_HEADS * HEAD_DIM, bias=False)
        self.o_proj = nn.Linear(HEADS * HEAD_DIM, WIDTH, bias=False)

    def forward(self, x, cos, sin, mask, past):
        b, t, _ = x.shape
        q, k, v = (f(x).view(b, t, -1, HEAD_DIM).transpose(1, 2)
                   for f in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if past is not None:
            if "k" in past:
                k, v = torch.cat([past["k"], k], 2), torch.cat([past["v"], v], 2)
            past["k"], past["v"] = k, v
        k, v = (y.repeat_interleave(HEADS // KV_HEADS, dim=1) for y in (k, v))
        w = (q @ k.transpose(2, 3)) * HEAD_DIM ** -0.5 + mask
        y = w.softmax(-1).to(v.dtype) @ v
        return self.o_proj(y.transpose(1, 2).reshape(b, t, -1))


class LlamaMLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_proj = nn.Linear(WIDTH, LLM_FF, bias=False)
        self.up_proj = nn.Linear(WIDTH, LLM_FF, bias=False)
        self.down_proj = nn.Linear(LLM_FF, WIDTH, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class LlamaLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_layernorm, self.self_attn = RMSNorm(), LlamaAttention()
        self.post_attention_layernorm, self.mlp = RMSNorm(), LlamaMLP()

    def forward(self, x, cos, sin, mask, past, drop):
        x = x + F.dropout(self.self_attn(self.input_layernorm(x), cos, sin, mask, past),
                          drop, self.training)
        return x + F.dropout(self.mlp(self.post_attention_layernorm(x)), drop, self.training)


def embedding_table(vocab_size):
    """The fixed, random input embeddings of all tokens.

    Random rows of 256 values are nearly orthogonal, and as they never change
    the encoder's word loss can aim at them before the LLM exists.
    """
    return torch.randn(vocab_size, WIDTH, generator=torch.Generator().manual_seed(17)) * 0.5


class Llama(nn.Module):
    """Rows (batch, length, 256) to final-norm states; `lm_head` gives logits."""

    def __init__(self, vocab_size, drop=0.0):
        super().__init__()
        self.drop = drop
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(vocab_size, WIDTH)
        self.model.layers = nn.ModuleList(LlamaLayer() for _ in range(LAYERS))
        self.model.norm = RMSNorm()
        self.lm_head = nn.Linear(WIDTH, vocab_size, bias=False)
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02 if p.shape[0] == vocab_size else WIDTH ** -0.5)
        self.model.embed_tokens.weight = nn.Parameter(embedding_table(vocab_size),
                                                      requires_grad=False)

    def embed(self, ids):
        return self.model.embed_tokens(ids)

    def forward(self, rows, hidden_keys=None, positions=None, past=None):
        """`hidden_keys` (batch, length) is True where a row is padding.

        `positions` are only needed with `past`, a list of one dict per layer.
        """
        t = rows.shape[1]
        start = 0 if positions is None else positions
        cos, sin = rotary(t, start)
        mask = torch.full((t, start + t), float("-inf")).triu(start + 1)
        if hidden_keys is not None:
            mask = mask + torch.zeros(hidden_keys.shape).masked_fill(
                hidden_keys, -1e9)[:, None, None, :]
        x = rows
        for i, layer in enumerate(self.model.layers):
            x = layer(x, cos, sin, mask, None if past is None else past[i], self.drop)
        return self.model.norm(x)
