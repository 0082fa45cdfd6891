"""Stage `vae`: the picture autoencoder."""

import csv
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import config as C
from . import nets
from .data import Feed, Pool
from .optim import Average, Optimizer, plateau

KL = 2e-4  # weight of the prior; small, so that the latents stay sharp but not arbitrary
EDGE = 0.5  # weight of the differences between neighbouring pixels, on three scales
COARSE = 0.25  # share of steps that also ask a half-size latent to decode to a half-size picture


class Pictures:
    """uint8 pictures (and their attributes) on the device, growing while they are being drawn."""

    CHUNK = 256

    def __init__(self, pool: Pool, device: torch.device):
        self.feed, self.pool, self.count = Feed(pool), pool, 0
        self.stage = {k: np.empty((self.CHUNK, *v.shape[1:]), v.dtype) for k, v in pool.arrays.items()}
        self.store = {k: torch.empty((self.feed.capacity, *v.shape[1:]), dtype=torch.from_numpy(v[:1]).dtype, device=device)
                      for k, v in pool.arrays.items()}

    def refresh(self) -> int:
        n = min(self.feed.available(), self.CHUNK, self.feed.capacity - self.count)
        if n:
            self.feed.take(self.stage, n)
            for k, v in self.stage.items():
                self.store[k][self.count:self.count + n] = torch.from_numpy(v[:n]).to(self.store[k].device)
            self.count += n
        return self.count

    def wait(self, count: int) -> None:
        while self.count < min(count, self.feed.capacity):
            self.refresh()
            time.sleep(0.01)


def to_float(pixels: Tensor) -> Tensor:
    """uint8 [B, H, W, 3] -> [-1, 1] [B, 3, H, W]"""
    return (pixels.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def to_pixels(x: Tensor) -> Tensor:
    return ((x.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Per picture, both in [-1, 1]."""
    return 10 * torch.log10(4 / (a.float() - b.float()).pow(2).flatten(1).mean(1).clamp_min(1e-8))


def edge_loss(a: Tensor, b: Tensor) -> Tensor:
    loss = 0.0
    d = a - b
    for level in range(3):
        loss = loss + (d[..., 1:] - d[..., :-1]).abs().mean() + (d[..., 1:, :] - d[..., :-1, :]).abs().mean()
        if level < 2:
            d = F.avg_pool2d(d, 2)
    return loss / 6


class Objective(torch.nn.Module):
    def __init__(self, vae: nets.Vae):
        super().__init__()
        self.vae = vae

    def forward(self, x: Tensor, noise: Tensor, coarse: bool) -> tuple[Tensor, Tensor, Tensor]:
        mean, logvar = self.vae.moments(x)
        mean, logvar = mean.float(), logvar.float()
        z = mean + noise * torch.exp(0.5 * logvar)
        y = self.vae.decode_raw(z).float()
        pixel = (y - x).abs().mean()
        kl = 0.5 * (mean.pow(2) + logvar.exp() - 1 - logvar).mean()
        loss = pixel + EDGE * edge_loss(y, x) + KL * kl
        if coarse:
            half = F.avg_pool2d(x, 2)
            loss = loss + 0.25 * (self.vae.decode_raw(F.avg_pool2d(z, 2)).float() - half).abs().mean()
        return loss, pixel, kl


@torch.no_grad()
def measure_latents(vae: nets.Vae, images: Tensor) -> None:
    """Per-channel mean and deviation of the latents, so that the DiT sees unit Gaussians."""
    total, square, n = 0.0, 0.0, 0
    for part in images.split(128):
        mean = vae.moments(to_float(part))[0].double()
        total, square, n = total + mean.sum((0, 2, 3)), square + mean.pow(2).sum((0, 2, 3)), n + mean[:, 0].numel()
    mean = total / n
    vae.latents_mean.copy_(mean)
    vae.latents_std.copy_((square / n - mean.pow(2)).clamp_min(1e-8).sqrt())


def train(pool: Pool, heldout: Tensor, out: Path, seconds: float, batch: int = 48, device: str = "cuda",
          lr: float = 2e-3) -> nets.Vae:
    """heldout: uint8 pictures [N, 256, 256, 3] of combinations that are never trained on."""
    torch.manual_seed(0)
    torch._dynamo.config.recompile_limit = 64
    cuda = device.startswith("cuda")
    device = torch.device(device)
    vae = nets.Vae(**C.VAE).to(device, memory_format=torch.channels_last)
    objective = Objective(vae)
    step_fn = torch.compile(objective, dynamic=False) if cuda else objective
    optimizer = Optimizer(vae, lr=lr, adam_lr=lr, weight_decay=0.0)
    average = Average(vae, 0.999)
    pictures = Pictures(pool, device)
    pictures.wait(8 * batch)
    heldout = heldout.to(device)
    log = csv.writer(open(out / "vae.csv", "w", buffering=1))
    log.writerow(["seconds", "step", "loss", "pixel", "kl", "pictures", "heldout_psnr", "heldout_worst", "latent_std"])
    start, step, last = time.time(), 0, 0.0
    while True:
        progress = (time.time() - start) / seconds
        if progress >= 1:
            break
        if step % 4 == 0:
            pictures.refresh()
        index = torch.randint(pictures.count, (batch,), device=device)
        x = to_float(pictures.store["image"][index])
        noise = torch.randn(batch, C.VAE["z_dim"], C.LATENT, C.LATENT, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=cuda):
            loss, pixel, kl = step_fn(x, noise, step % round(1 / COARSE) == 0)
        loss.backward()
        optimizer.clip(1.0)
        optimizer.step(plateau(progress, decay=0.5))
        optimizer.zero_grad()
        average.update()
        step += 1
        if step in (10, 100) or time.time() - start - last > 20:
            last = time.time() - start
            quality, worst, spread, _ = evaluate(vae, average, heldout)
            row = [f"{last:.1f}", step, f"{loss.item():.5f}", f"{pixel.item():.5f}", f"{kl.item():.3f}", pictures.count,
                   f"{quality:.2f}", f"{worst:.2f}", f"{spread:.3f}"]
            log.writerow(row)
            print("vae", *row, flush=True)
    average.swap()
    measure_latents(vae, pictures.store["image"][:8192 if cuda else 64])
    quality, worst, spread, y = evaluate(vae, None, heldout)
    log.writerow([f"{time.time() - start:.1f}", step, "", "", "", pictures.count, f"{quality:.2f}", f"{worst:.2f}", f"{spread:.3f}"])
    print(f"vae: {step} steps, held-out PSNR {quality:.2f} dB, worst {worst:.2f} dB, deviation of a latent sample {spread:.3f}",
          flush=True)
    torch.save({k: v.half().cpu() if v.dim() > 1 else v.cpu() for k, v in vae.state_dict().items()}, out / "vae.pt")
    sheet(heldout[:16], y[:16], out / "vae.png")
    return vae


@torch.no_grad()
def evaluate(vae: nets.Vae, average: Average | None, heldout: Tensor) -> tuple[float, float, float, Tensor]:
    if average:
        average.swap()
    values, spread, pictures = [], [], []
    for part in heldout.split(32):
        x = to_float(part)
        mean, logvar = vae.moments(x)
        y = vae.decode_raw(mean)
        y = to_pixels(y)
        values.append(psnr(to_float(y), x))
        spread.append((0.5 * logvar).exp().mean())
        pictures.append(y)
    if average:
        average.swap()
    values = torch.cat(values)
    return values.mean().item(), values.min().item(), torch.stack(spread).mean().item(), torch.cat(pictures)


def sheet(originals: Tensor, copies: Tensor, path: Path) -> None:
    """Rows of originals, each above its reconstruction."""
    from PIL import Image

    rows = []
    for a in range(0, len(originals), 8):
        rows += [torch.cat(list(originals[a:a + 8]), 1), torch.cat(list(copies[a:a + 8]), 1)]
    Image.fromarray(torch.cat([r for r in rows if r.shape == rows[0].shape]).cpu().numpy()).save(path)
