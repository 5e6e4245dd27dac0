"""The speech decoder: LLM states in, CTC symbols over units out.

    states [n][L] -> each repeated 25 times -> Linear -> causal Llama layers -> Linear [25 n][K + 1]

No norm before the output layer. Symbol K is the blank. Rotary embedding in the half-split layout.
"""

import torch
import torch.nn.functional as F
from torch import nn

CONFIG = dict(llm_width=256, width=256, layers=2, heads=4, ff=688, units=200, upsample=25,
              eps=1e-5, theta=10000.0)


class RMSNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)
        return x * scale.to(x.dtype) * self.weight.to(x.dtype)


def rotation(length, dim, theta):
    """cos and sin [length][dim], the angles of the first half repeated in the second."""
    frequency = theta ** (-torch.arange(0, dim, 2).float() / dim)
    angle = torch.outer(torch.arange(length).float(), frequency).repeat(1, 2)
    return angle.cos(), angle.sin()


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        width, ff = c["width"], c["ff"]
        self.heads = c["heads"]
        self.attn_norm = RMSNorm(width, c["eps"])
        self.attn_q = nn.Linear(width, width, bias=False)
        self.attn_k = nn.Linear(width, width, bias=False)
        self.attn_v = nn.Linear(width, width, bias=False)
        self.attn_out = nn.Linear(width, width, bias=False)
        self.ffn_norm = RMSNorm(width, c["eps"])
        self.ffn_gate = nn.Linear(width, ff, bias=False)
        self.ffn_up = nn.Linear(width, ff, bias=False)
        self.ffn_down = nn.Linear(ff, width, bias=False)

    def forward(self, x, cos, sin, mask, copies=1):
        """With copies, each row of x stands for so many equal ones: projected once, copied after."""
        batch, width = x.shape[0], x.shape[2]
        h = self.attn_norm(x)
        q, k, v = (f(h).repeat_interleave(copies, 1).view(batch, len(mask), self.heads, -1).transpose(1, 2)
                   for f in (self.attn_q, self.attn_k, self.attn_v))
        q = rotate(q * q.shape[-1] ** -0.5, cos.to(q.dtype), sin.to(q.dtype))
        k = rotate(k, cos.to(k.dtype), sin.to(k.dtype))
        score = q @ k.transpose(2, 3) + mask.to(q.dtype)
        mixed = (score.softmax(-1) @ v).transpose(1, 2).reshape(batch, len(mask), width)
        x = x.repeat_interleave(copies, 1) + self.attn_out(mixed)
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class SpeechDecoder(nn.Module):
    def __init__(self, config=CONFIG):
        super().__init__()
        c = self.config = dict(config)
        self.inp = nn.Linear(c["llm_width"], c["width"])
        self.blk = nn.ModuleList(Layer(c) for _ in range(c["layers"]))
        self.out = nn.Linear(c["width"], c["units"] + 1)

    def forward(self, states):
        """States [B][n][L] -> logits [B][25 n][K + 1]. Causal, so padding at the end does no harm."""
        copies = self.config["upsample"]
        x, length = self.inp(states), states.shape[1] * copies
        cos, sin = rotation(length, self.config["width"] // self.config["heads"], self.config["theta"])
        mask = torch.full((length, length), float("-inf")).triu(1)
        for n, layer in enumerate(self.blk):
            x = layer(x, cos, sin, mask, copies if n == 0 else 1)
        return self.out(x)

    @torch.no_grad()
    def units(self, states):
        """States [n][L] -> collapsed units (list)."""
        return collapse(self(states.unsqueeze(0))[0].argmax(-1).tolist(), self.config["units"])


def collapse(symbols, blank):
    """Drop each symbol equal to the one before it, then drop blanks."""
    return [a for a, before in zip(symbols, [None] + symbols[:-1]) if a != before and a != blank]


def load(path):
    saved = torch.load(path, map_location="cpu")
    model = SpeechDecoder(saved["config"])
    model.load_state_dict(saved["model"])
    return model.eval()
