"""The unit vocoder: unit numbers in, 16 kHz sound out. CodeHiFiGAN with a duration predictor.

    units [U] -> embedding [U][E] -> repeat each row by its duration [T][E] -> generator -> [320 T]

The shape of the published vocoder with fewer channels. Trained without weight norm, so what is
trained is what is shipped.
"""

import torch
import torch.nn.functional as F
from torch import nn

CONFIG = dict(units=200, embedding=128, channels=128, rates=[5, 4, 4, 2, 2], kernels=[11, 8, 8, 4, 4],
              res_kernels=[3, 7], res_dilations=[1, 3, 5], duration_hidden=128, duration_kernel=3)


class ResBlock(nn.Module):
    def __init__(self, channels, kernel, dilations):
        super().__init__()
        self.a = nn.ModuleList(nn.Conv1d(channels, channels, kernel, dilation=d,
                                         padding=(kernel - 1) * d // 2) for d in dilations)
        self.b = nn.ModuleList(nn.Conv1d(channels, channels, kernel, padding=(kernel - 1) // 2)
                               for _ in dilations)

    def forward(self, x):
        for a, b in zip(self.a, self.b):
            y = a(F.leaky_relu(x, 0.1))
            x = x + b(F.leaky_relu(y, 0.1))
        return x


class Durations(nn.Module):
    """Embeddings [B][U][E] -> log(1 + frames) [B][U]. The activation comes before the norm."""

    def __init__(self, embedding, hidden, kernel):
        super().__init__()
        self.conv1 = nn.Conv1d(embedding, hidden, kernel, padding=kernel // 2)
        self.ln1 = nn.LayerNorm(hidden)
        self.conv2 = nn.Conv1d(hidden, hidden, kernel, padding=kernel // 2)
        self.ln2 = nn.LayerNorm(hidden)
        self.proj = nn.Linear(hidden, 1)

    def forward(self, x, mask=None):
        for conv, norm in ((self.conv1, self.ln1), (self.conv2, self.ln2)):
            if mask is not None:      # padding must look like the zeros beyond a true end
                x = x * mask.unsqueeze(-1)
            x = norm(F.relu(conv(x.transpose(1, 2))).transpose(1, 2))
        return self.proj(x).squeeze(-1)


class Vocoder(nn.Module):
    def __init__(self, config=CONFIG):
        super().__init__()
        c = self.config = dict(config)
        self.embd = nn.Embedding(c["units"], c["embedding"])
        self.dur = Durations(c["embedding"], c["duration_hidden"], c["duration_kernel"])
        self.conv_pre = nn.Conv1d(c["embedding"], c["channels"], 7, padding=3)
        self.up, self.res = nn.ModuleList(), nn.ModuleList()
        width = c["channels"]
        for rate, kernel in zip(c["rates"], c["kernels"]):
            self.up.append(nn.ConvTranspose1d(width, width // 2, kernel, rate, (kernel - rate) // 2))
            width //= 2
            self.res.extend(ResBlock(width, k, c["res_dilations"]) for k in c["res_kernels"])
        self.conv_post = nn.Conv1d(width, 1, 7, padding=3)

    def generate(self, frames):
        """One unit per 20 ms frame, [B][T] -> sound [B][320 T]."""
        x = self.conv_pre(self.embd(frames).transpose(1, 2))
        per_stage = len(self.config["res_kernels"])
        for i, up in enumerate(self.up):
            x = up(F.leaky_relu(x, 0.1))
            blocks = self.res[i * per_stage:(i + 1) * per_stage]
            x = sum(block(x) for block in blocks) / per_stage
        return torch.tanh(self.conv_post(F.leaky_relu(x, 0.01))).squeeze(1)

    def durations(self, units):
        """Units [U] -> frames for each [U]; torch.round rounds halves to even."""
        d = self.dur(self.embd(units).unsqueeze(0)).squeeze(0)
        return torch.clamp(torch.round(torch.exp(d) - 1), min=1).long()

    @torch.no_grad()
    def speak(self, units):
        """Collapsed units (list) -> float sound (numpy)."""
        units = torch.as_tensor(units, dtype=torch.long)
        frames = torch.repeat_interleave(units, self.durations(units))
        return self.generate(frames.unsqueeze(0)).squeeze(0).numpy()


def load(path):
    saved = torch.load(path, map_location="cpu")
    model = Vocoder(saved["config"])
    model.load_state_dict(saved["model"])
    return model.eval()
