"""The generator at the public size in PyTorch, random weights: the peer of bench_vocoder.

    python3 vocoder_torch.py [threads [rounds [seconds of speech]]]

With one thread the clock is the process's own processor time, as in bench_vocoder.
"""

import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

RATES, KERNELS, RES, DILATIONS = (5, 4, 4, 2, 2), (11, 8, 8, 4, 4), (3, 7, 11), (1, 3, 5)


class ResBlock(nn.Module):
    def __init__(self, c, k):
        super().__init__()
        self.a = nn.ModuleList(nn.Conv1d(c, c, k, dilation=d, padding=(k - 1) * d // 2) for d in DILATIONS)
        self.b = nn.ModuleList(nn.Conv1d(c, c, k, padding=(k - 1) // 2) for _ in DILATIONS)

    def forward(self, x):
        for a, b in zip(self.a, self.b):
            x = x + b(F.leaky_relu(a(F.leaky_relu(x, 0.1)), 0.1))
        return x


class Generator(nn.Module):
    def __init__(self, embd=128, channels=512):
        super().__init__()
        self.pre = nn.Conv1d(embd, channels, 7, padding=3)
        self.up, self.res = nn.ModuleList(), nn.ModuleList()
        for i, (r, k) in enumerate(zip(RATES, KERNELS)):
            c = channels >> (i + 1)
            self.up.append(nn.ConvTranspose1d(2 * c, c, k, r, padding=(k - r) // 2))
            self.res.append(nn.ModuleList(ResBlock(c, k) for k in RES))
        self.post = nn.Conv1d(channels >> len(RATES), 1, 7, padding=3)

    def forward(self, x):
        x = self.pre(x)
        for up, res in zip(self.up, self.res):
            x = up(F.leaky_relu(x, 0.1))
            x = sum(r(x) for r in res) / len(RES)
        return torch.tanh(self.post(F.leaky_relu(x)))


def main():
    threads, rounds, seconds = (float(a) for a in (sys.argv[1:] + ["2", "5", "2"][len(sys.argv) - 1:])[:3])
    torch.set_num_threads(int(threads))
    clock = time.process_time if threads == 1 else time.perf_counter
    frames = int(seconds * 50)
    model, x, times = Generator().eval(), torch.randn(1, 128, frames), []
    with torch.inference_mode():
        model(x)
        for _ in range(int(rounds)):
            start = clock()
            model(x)
            times.append((clock() - start) / (frames * 0.02))
    times.sort()
    print(f"torch {torch.__version__} f32, {int(threads)} threads, {frames * 0.02:.2f} s of speech: "
          f"RTF median {times[len(times) // 2]:.4f}, best {times[0]:.4f}")


if __name__ == "__main__":
    main()
