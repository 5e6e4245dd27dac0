"""AdamW over one long vector: cheap to average between processes, clip and store."""
import torch


class FlatAdamW:
    """All parameters of `net` become views of one tensor.

    Matrices decay, vectors (biases, norms) do not.  A step whose gradient is
    not finite is skipped: bf16 on the CPU now and then produces one.
    `scales` gives parameters whose name starts with a key their own rate factor.
    """

    def __init__(self, net, betas=(0.9, 0.98), decay=0.01, scales=()):
        named = [(n, p) for n, p in net.named_parameters() if p.requires_grad]
        total = sum(p.numel() for _, p in named)
        self.value, self.grad = torch.empty(total), torch.zeros(total)
        self.m, self.v = torch.zeros(total), torch.zeros(total)
        self.decay, self.factor = torch.zeros(total), torch.ones(total)
        self.betas, self.count, at = betas, 0, 0
        for name, p in named:
            part = slice(at, at + p.numel())
            self.value[part] = p.data.reshape(-1)
            p.data = self.value[part].view(p.shape)
            p.grad = self.grad[part].view(p.shape)
            self.decay[part] = decay if p.dim() > 1 else 0.0
            for key, factor in dict(scales).items():
                if name.startswith(key):
                    self.factor[part] = factor
            at += p.numel()

    def zero(self):
        self.grad.zero_()

    def step(self, rate, clip):
        """One update; returns the gradient's norm before clipping."""
        norm = float(self.grad.norm())
        if not norm < 1e4:
            return float("nan")
        if norm > clip:
            self.grad *= clip / norm
        self.count += 1
        b1, b2 = self.betas
        self.m.mul_(b1).add_(self.grad, alpha=1 - b1)
        self.v.mul_(b2).addcmul_(self.grad, self.grad, value=1 - b2)
        scale = (self.v / (1 - b2 ** self.count)).sqrt_().add_(1e-8)
        update = (self.m / (1 - b1 ** self.count)).div_(scale)
        update.addcmul_(self.decay, self.value)
        self.value.addcmul_(update, self.factor, value=-rate)
        return norm

    def state(self):
        return dict(m=self.m, v=self.v, count=self.count)

    def load(self, state):
        """Call after loading the parameters themselves."""
        self.m.copy_(state["m"])
        self.v.copy_(state["v"])
        self.count = state["count"]
