"""How different two sounds are to the ear: spectra at four resolutions, plain and in mel bands.

There is no phase in it. Which phase is right cannot be known from the units, so the vocoder may
choose one.
"""

import torch
import torch.nn.functional as F

from units import mel_bank

SIZES = ((256, 32), (512, 48), (1024, 80), (2048, 120))     # window, mel bands; the hop is a quarter
FLOOR = 3e-3                                               # of a window's amplitude sum, about -80 dB


class SpectralLoss(torch.nn.Module):
    def __init__(self):
        super().__init__()
        for size, bands in SIZES:
            self.register_buffer(f"window{size}", torch.hann_window(size))
            self.register_buffer(f"bank{size}", torch.from_numpy(mel_bank(bands, size)))

    def magnitude(self, x, size):
        window = getattr(self, f"window{size}")
        z = torch.view_as_real(torch.stft(x, size, size // 4, window=window, return_complex=True))
        return (z.pow(2).sum(-1) + 1e-9).sqrt()

    def forward(self, said, true):
        total, mel_total = 0, 0
        for size, _ in SIZES:
            with torch.no_grad():
                b = self.magnitude(true, size)
            a, bank = self.magnitude(said, size), getattr(self, f"bank{size}")
            floor = FLOOR * size ** 0.5 / 32
            total = total + F.l1_loss((a + floor).log(), (b + floor).log())
            total = total + (a - b).pow(2).sum().sqrt() / b.pow(2).sum().sqrt()
            mel = F.l1_loss((bank @ a + floor).log(), (bank @ b + floor).log())
            total, mel_total = total + 2 * mel, mel_total + mel
        return total / len(SIZES), float(mel_total.detach()) / len(SIZES)
