"""Muon for the matrices inside the networks, AdamW for everything else, and an average of the weights.

Muon (Jordan et al. 2024; scaling as in Moonshot's report, 2025) orthogonalises the momentum of each matrix. Matrices
of one shape are stacked so that a step costs a handful of batched products.
"""

import torch
from torch import Tensor, nn

# Not orthogonalised: tables, first and last layers, and the modulation, whose input spans only the few
# directions in which the time embedding varies.
ADAM_ONLY = ("embed_tokens", "img_in", "txt_in", "proj_out", "norm_out", "time_text_embed", "_mod.", "patch_embed",
             "embedding", "projection", "conv_in", "conv_out", "quant_conv", "logit_scale")


def orthogonalise(g: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz on a stack of matrices [N, r, c] with r <= c."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        y = x @ x.mT
        z = torch.baddbmm(y, y, y, beta=b, alpha=c)
        x = torch.baddbmm(x, z, x, beta=a)
    return x


class Optimizer:
    def __init__(self, module: nn.Module, lr: float, adam_lr: float, weight_decay: float = 0.0, momentum: float = 0.95,
                 betas: tuple[float, float] = (0.9, 0.95)):
        self.params = [p for p in module.parameters() if p.requires_grad]
        groups: dict[tuple, list[nn.Parameter]] = {}
        decay, plain = [], []
        for name, p in module.named_parameters():
            if not p.requires_grad:
                continue
            if p.dim() >= 2 and not any(k in name for k in ADAM_ONLY):
                groups.setdefault((p.shape[0], p[0].numel()), []).append(p)
            else:
                (decay if p.dim() >= 2 else plain).append(p)
        self.groups = []
        for (rows, cols), ps in groups.items():
            self.groups.append((ps, rows > cols, 0.2 * max(rows, cols) ** 0.5,
                                torch.zeros(len(ps), rows, cols, device=ps[0].device)))
        fused = self.params[0].is_cuda
        self.adam = torch.optim.AdamW([{"params": decay, "weight_decay": weight_decay},
                                       {"params": plain, "weight_decay": 0.0}], lr=adam_lr, betas=betas, fused=fused)
        self.lr, self.adam_lr, self.weight_decay, self.momentum = lr, adam_lr, weight_decay, momentum

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """One update with both learning rates multiplied by scale."""
        self.fill()
        for ps, tall, gain, momentum in self.groups:
            g = torch.stack([p.grad.reshape(momentum.shape[1:]) for p in ps])
            momentum.mul_(self.momentum).add_(g)
            u = g.add_(momentum, alpha=self.momentum)  # Nesterov
            u = orthogonalise(u.mT if tall else u)
            u = (u.mT if tall else u).float()
            lr = self.lr * scale
            if self.weight_decay:
                torch._foreach_mul_(ps, 1 - lr * self.weight_decay)
            torch._foreach_add_(ps, [v.view_as(p) for v, p in zip(u.unbind(0), ps)], alpha=-lr * gain)
        for group in self.adam.param_groups:
            group["lr"] = self.adam_lr * scale
        self.adam.step()

    def fill(self) -> None:
        """Zeros where no gradient arrived, as for the text half of the last block, whose output is not used."""
        for p in self.params:
            if p.grad is None:
                p.grad = torch.zeros_like(p)

    def zero_grad(self) -> None:
        for p in self.params:
            p.grad = None

    def clip(self, limit: float) -> Tensor:
        return torch.nn.utils.clip_grad_norm_(self.params, limit, foreach=True)


class Average:
    """Exponential average of the weights."""

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self.source = [p for p in module.parameters()]
        self.names = [n for n, _ in module.named_parameters()]
        self.values = [p.detach().clone().float() for p in self.source]
        self.steps = 0

    @torch.no_grad()
    def update(self) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.values, [p.detach() for p in self.source], 1 - decay)

    def state(self) -> dict[str, Tensor]:
        return dict(zip(self.names, self.values))

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the averaged and the trained weights; call again to undo."""
        for p, v in zip(self.source, self.values):
            held = p.detach().clone()
            p.copy_(v)
            v.copy_(held)


def plateau(progress: float, warm: float = 0.02, decay: float = 0.4) -> float:
    """Warm up, hold, then fall linearly to zero over the last part of the time."""
    if progress < warm:
        return max(progress / warm, 0.01)
    if progress > 1 - decay:
        return max((1 - progress) / decay, 0.0)
    return 1.0
