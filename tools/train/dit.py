"""Stage `dit`: the diffusion transformer and the text encoder, trained together on generating and editing."""

import csv
import math
import multiprocessing as mp
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from . import config as C
from . import nets
from . import templates as T
from .data import PHRASINGS, Feed, Pool, shared
from .optim import Average, Optimizer, plateau
from .vae import to_float, to_pixels

EXACT = 0.5  # share of samples at one of the noise levels the default schedule visits
UNGUIDED = 0.04  # share of generation samples whose text is the recommended empty prompt, a single blank


class Model(nn.Module):
    def __init__(self, vocab: int):
        super().__init__()
        self.te = nets.TextEncoder(C.TEXT, C.VISION, vocab)
        self.dit = nets.Dit(**C.DIT)
        self.initialise()

    def initialise(self) -> None:
        for name, p in self.named_parameters():
            if "embed_tokens" in name:
                nn.init.normal_(p, std=0.5)
            elif p.dim() >= 2:
                fan = p[0].numel()
                nn.init.normal_(p, std=fan ** -0.5)
                if "_mod." in name or "proj_out" in name or "norm_out" in name:
                    nn.init.zeros_(p)
                elif any(k in name for k in ("o_proj", "down_proj", "attn.proj", "to_out", "to_add_out", "net.2")):
                    p.data.mul_(0.3)
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def velocity(self, x: Tensor, ids: Tensor, length: Tensor, sigma: Tensor, vl: Tensor | None = None) -> Tensor:
        """x holds the noise tokens and, for editing, those of the reference; ids and length as prompts.py lays them."""
        text = self.te(ids, vl)
        mask = torch.arange(text.shape[1], device=text.device)[None] < length[:, None]
        return self.dit(x, text, mask, sigma, 1 if vl is None else 2)

    @torch.no_grad()
    def sample(self, ids: Tensor, length: Tensor, noise: Tensor, vl: Tensor | None = None,
               reference: Tensor | None = None, steps: int = C.STEPS) -> Tensor:
        """Packed noise [B, 256, 64] -> packed clean latents by Euler steps, without guidance."""
        text = self.te(ids, vl)
        mask = torch.arange(text.shape[1], device=text.device)[None] < length[:, None]
        x, sigmas = noise.float(), nets.schedule(steps).tolist()
        for a, b in zip(sigmas, sigmas[1:]):
            tokens = x if reference is None else torch.cat((x, reference), dim=1)
            v = self.dit(tokens, text, mask, torch.full((len(x),), a, device=x.device), 1 if reference is None else 2)
            x = x + (b - a) * v.float()
        return x


# How often each level of the default schedule is drawn: detail is settled at the late ones; the last step is tiny.
LEVEL_SHARE = (1.0, 1.0, 1.0, 1.0, 1.25, 1.5, 2.0, 0.3)


def draw_sigma(n: int, levels: Tensor) -> Tensor:
    s = torch.rand(n, device=levels.device)
    shift = math.exp(C.SCHEDULER["base_shift"])
    smooth = shift * s / (1 + (shift - 1) * s)
    share = torch.tensor(LEVEL_SHARE, device=levels.device).cumsum(0)
    exact = levels[torch.searchsorted(share / share[-1], torch.rand(n, device=levels.device)).clamp_max(len(levels) - 1)]
    return torch.where(torch.rand(n, device=levels.device) < EXACT, exact, smooth)


def velocity_loss(v: Tensor, target: Tensor, sigma: Tensor) -> Tensor:
    """Near the clean end most of the noise is not predictable and hardly matters: an error in v moves the picture by
    the noise level times that error."""
    weight = (sigma / 0.2).clamp(max=1.0)
    return ((v.float() - target).pow(2).mean((1, 2)) * weight).mean()


class Latents:
    """Encoded pictures on the device. The trainer calls `pump` between its steps: a thread of its own would fight it
    for the interpreter and, through unpinned copies, for the driver (measured: three times slower steps)."""

    CHUNK = 64  # pictures encoded at once

    def __init__(self, pools: dict[str, Pool], vae: nets.Vae, device: torch.device, rank: int, world: int):
        self.device, cuda = device, device.type == "cuda"
        self.encode = torch.compile(vae.encode, dynamic=False) if cuda else vae.encode
        self.feeds = {k: Feed(p, rank, world) for k, p in pools.items()}
        self.count = dict.fromkeys(pools, 0)
        self.store, self.stages, self.turn = {}, {}, 0
        for k, feed in self.feeds.items():
            items = self.items(k)
            self.store[k] = {}
            self.stages[k] = [({n: torch.empty((items, *v.shape[1:]), dtype=torch.from_numpy(v[:1]).dtype, pin_memory=cuda)
                                for n, v in pools[k].arrays.items()}, torch.cuda.Event() if cuda else None) for _ in range(4)]
            for name, v in pools[k].arrays.items():
                encoded = name in ("image", "before", "after")
                shape = (C.DIT["out_channels"], C.LATENT, C.LATENT) if encoded else v.shape[1:]
                dtype = torch.bfloat16 if encoded else torch.from_numpy(v[:1]).dtype
                self.store[k][name] = torch.empty((feed.capacity, *shape), dtype=dtype, device=device)

    def items(self, kind: str) -> int:
        return self.CHUNK if kind == "scenes" else self.CHUNK // 2

    @torch.no_grad()
    def pump(self) -> bool:
        """Encode one chunk of each kind if it has been drawn."""
        any_ = False
        for kind, feed in self.feeds.items():
            n, at = self.items(kind), self.count[kind]
            if at + n > feed.capacity or feed.available() < n:
                continue
            any_ = True
            self.turn += 1
            stage, event = self.stages[kind][self.turn % 4]
            if event:
                event.synchronize()
            feed.take({k: v.numpy() for k, v in stage.items()}, n)
            here = {k: v.to(self.device, non_blocking=True) for k, v in stage.items()}
            if event:
                event.record()
            pictures = [k for k in here if k in ("image", "before", "after")]
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
                latents = self.encode(to_float(torch.cat([here[k] for k in pictures])))
            for k, z in zip(pictures, latents.chunk(len(pictures))):
                here[k] = z
            for k, v in here.items():
                self.store[kind][k][at:at + n] = v
            self.count[kind] = at + n
        return any_

    def wait(self, scenes: int, edits: int) -> None:
        while any(self.count[k] < min(n, self.feeds[k].capacity - self.items(k)) for k, n in (("scenes", scenes), ("edits", edits))):
            if not self.pump():
                time.sleep(0.01)

    def batch(self, kind: str, n: int, names: list[str]) -> dict[str, Tensor]:
        index = torch.randint(self.count[kind], (n,), device=self.device)
        pick = torch.randint(PHRASINGS, (n,), device=self.device)
        store = self.store[kind]
        out = {k: store[k][index] for k in names}
        out["ids"], out["length"] = store["ids"][index, pick].long(), store["length"][index, pick].long()
        return out


COMPILED = ("dit", "text", "vision")


class Random:
    """Stands in for Latents where only shapes matter."""

    def batch(self, kind: str, n: int, names: list[str]) -> dict[str, Tensor]:
        size = T.T2I_DROP + C.TEXT_ROOM if kind == "scenes" else T.EDIT_DROP + C.EDIT_ROOM
        out = {k: torch.randn(n, C.DIT["out_channels"], C.LATENT, C.LATENT, device="cuda", dtype=torch.bfloat16) for k in names}
        if "vl" in names:
            out["vl"] = torch.randint(0, 255, (n, C.VL_SIZE, C.VL_SIZE, 3), device="cuda", dtype=torch.uint8)
        return out | dict(ids=torch.randint(0, 2000, (n, size), device="cuda"),
                          length=torch.randint(30, C.TEXT_ROOM, (n,), device="cuda"))


def _warm(index: int, part: str, task: str, vocab: int, sizes: tuple[int, int], done: np.ndarray) -> None:
    try:
        C.DIT["num_layers"] = C.TEXT["num_hidden_layers"] = C.VISION["depth"] = 1
        torch._dynamo.config.recompile_limit = 64
        torch.backends.cuda.matmul.allow_tf32 = True
        device = torch.device("cuda", 0)
        torch.cuda.set_device(device)
        nets.choose_attention(device)
        blank = torch.zeros(T.T2I_DROP + C.TEXT_ROOM).long(), 6
        trainer = Trainer(Model(vocab).to(device), Random(), blank, sizes, device, (part,))
        with torch.autocast("cuda", torch.bfloat16):
            loss = getattr(trainer, task)()
        loss.backward()
        torch.cuda.synchronize()
        done[index] = 1
    finally:
        done[index] = done[index] or -1


def warm(vocab: int, sizes: tuple[int, int]) -> np.ndarray:
    """Compile the kinds of layers in processes of their own, side by side; the trainer then finds them in the cache on
    disk. Returns flags that turn non-zero as they finish. Call before CUDA is touched."""
    cases = [("dit", "generation_loss"), ("dit", "editing_loss"), ("text", "generation_loss"), ("text", "editing_loss"),
             ("vision", "editing_loss")]
    done = shared((len(cases),), np.int64)
    for i, (part, task) in enumerate(cases):
        mp.get_context("fork").Process(target=_warm, args=(i, part, task, vocab, sizes, done), daemon=True).start()
    return done


class Trainer:
    def __init__(self, model: Model, latents: Latents, blank: tuple[Tensor, int], sizes: tuple[int, int],
                 device: torch.device, compiled: tuple[str, ...] = ()):
        self.model, self.latents, self.sizes, self.device = model, latents, sizes, device
        self.blank_ids, self.blank_length = blank[0].to(device), blank[1]
        self.levels = nets.schedule()[:-1].to(device)
        # Layer by layer: one compilation serves all layers of a kind.
        parts = {"dit": model.dit.transformer_blocks, "text": model.te.model.language_model.layers,
                 "vision": model.te.model.visual.blocks}
        for part in compiled:
            for layer in parts[part]:
                layer.compile(dynamic=False)

    def _noised(self, clean: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        clean = nets.pack(clean.float())
        noise = torch.randn_like(clean)
        s = sigma[:, None, None]
        return (1 - s) * clean + s * noise, noise - clean

    def generation_loss(self) -> Tensor:
        n = self.sizes[0]
        b = self.latents.batch("scenes", n, ["image"])
        blank = torch.rand(n, device=self.device) < UNGUIDED
        ids = torch.where(blank[:, None], self.blank_ids, b["ids"])
        length = torch.where(blank, self.blank_length, b["length"])
        sigma = draw_sigma(n, self.levels)
        x, target = self._noised(b["image"], sigma)
        return velocity_loss(self.model.velocity(x, ids, length, sigma), target, sigma)

    def editing_loss(self) -> Tensor:
        n = self.sizes[1]
        b = self.latents.batch("edits", n, ["before", "after", "vl"])
        sigma = draw_sigma(n, self.levels)
        x, target = self._noised(b["after"], sigma)
        x = torch.cat((x, nets.pack(b["before"].float())), dim=1)
        return velocity_loss(self.model.velocity(x, b["ids"], b["length"], sigma, b["vl"]), target, sigma)


def save(average: Average, out: Path, name: str, parts: int = 4) -> None:
    """Averaged weights in half precision, split so that no file is large; each part is written whole or not at all."""
    state = [(k, v.half() if v.dim() > 1 else v.clone()) for k, v in average.state().items()]
    share = sum(v.numel() for _, v in state) / parts
    groups, filled = [{} for _ in range(parts)], 0
    for k, v in state:
        groups[min(int(filled / share), parts - 1)][k] = v.cpu()
        filled += v.numel()
    for i, group in enumerate(groups):
        torch.save(group, out / f"{name}.{i}.tmp")
        os.replace(out / f"{name}.{i}.tmp", out / f"{name}.{i}.pt")


def load(model: nn.Module, folder: Path, name: str) -> None:
    state = {}
    for part in sorted(folder.glob(f"{name}.*.pt")):
        state |= torch.load(part, map_location="cpu")
    model.load_state_dict({k: v.float() for k, v in state.items()}, strict=True)


class Probe:
    """Samples held-out prompts and edits while training and reads them with the scorer."""

    def __init__(self, vae: nets.Vae, tokenizer: Path, scorer_dir: Path | None, device: torch.device, count: int):
        from PIL import Image
        from tools import world
        from tools.evaluate import lists
        from .prompts import Prompts, vl_picture

        self.vae, self.device = vae, device
        self.model = Model(C.vocab_size(tokenizer)).to(device)  # never compiled: its batch sizes would each cost a compilation
        self.scorer = None
        if scorer_dir and (scorer_dir / "labels.json").exists():
            from . import scorer

            self.scorer = scorer.load(scorer_dir, str(device))
        prompts = Prompts(tokenizer)
        named = lists.read("named")
        rows = [r for r in named if "before" not in r] + lists.read("prompts")[:count]
        self.named = sum("before" not in r for r in named)
        self.scenes = [lists.scene_of(r["scene"]) for r in rows if "scene" in r]
        self.t2i = self._texts([prompts.t2i(r["prompt"]) for r in rows])
        rows = [r for r in named if "before" in r] + lists.read("edits")[:count]
        self.edits = [lists.edit_of(r) for r in rows]
        drawn = [world.render_edit(e, C.SIZE) for e in self.edits]
        self.before = torch.from_numpy(np.stack([d[0] for d in drawn])).to(device)
        self.masks = torch.from_numpy(np.stack([np.asarray(d[2], bool) for d in drawn])).to(device)
        self.vl = torch.from_numpy(np.stack([vl_picture(Image.fromarray(d[0])) for d in drawn])).to(device)
        self.edit = self._texts([prompts.edit(r["prompt"]) for r in rows])

    def _texts(self, laid) -> tuple[Tensor, Tensor]:
        ids = torch.stack([torch.from_numpy(i).long() for i, _ in laid]).to(self.device)
        return ids, torch.tensor([n for _, n in laid], device=self.device)

    @torch.no_grad()
    def run(self, average: Average, out: Path, label: str) -> dict[str, float]:
        from tools.evaluate import metrics

        torch._foreach_copy_(list(self.model.parameters()), average.values)

        generator = torch.Generator(self.device).manual_seed(5)

        def noise(n):
            return torch.randn(n, C.GRID ** 2, 64, device=self.device, generator=generator)

        def decode(x):
            return torch.cat([to_pixels(self.vae.decode(nets.unpack(p))) for p in x.split(64)])

        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            made = [self.model.sample(i, n, noise(len(i))) for i, n in zip(self.t2i[0].split(64), self.t2i[1].split(64))]
            reference = torch.cat([nets.pack(self.vae.encode(to_float(p))) for p in self.before.split(64)])
            changed = [self.model.sample(i, n, noise(len(i)), v, r) for i, n, v, r in zip(
                self.edit[0].split(64), self.edit[1].split(64), self.vl.split(64), reference.split(64))]
        made, changed = decode(torch.cat(made)), decode(torch.cat(changed))
        self.picture(made, changed, out / f"samples-{label}.png")
        if not self.scorer:
            return {}
        scores = metrics.score_prompts(self.scorer, made[self.named:], self.scenes)
        return scores | metrics.score_edits(self.scorer, changed, self.before, self.masks, self.edits)

    def picture(self, made: Tensor, changed: Tensor, path: Path) -> None:
        from PIL import Image

        rows = [torch.cat(list(made[a:a + 8]), 1) for a in range(0, min(len(made), 16), 8)]
        for a in range(0, min(len(changed), 16), 8):
            rows += [torch.cat(list(self.before[a:a + 8]), 1), torch.cat(list(changed[a:a + 8]), 1)]
        rows = [r for r in rows if r.shape == rows[0].shape]
        Image.fromarray(torch.cat(rows).cpu().numpy()).save(path)


def train(rank: int, world: int, pools: dict[str, Pool], vae_state: dict, tokenizer: Path, scorer_dir: Path | None, out: Path,
          seconds: float, sizes: tuple[int, int], device: str = "cuda", lr: float = 2e-3, adam_lr: float = 1e-3,
          resume: Path | None = None, decay: float = 0.4, probe_count: int = 200, probe_every: float = 150.0,
          max_steps: int = 10 ** 9, warmed: np.ndarray | None = None) -> None:
    cuda = device == "cuda"
    if world > 1:
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        os.environ.setdefault("MASTER_PORT", "29511")
        dist.init_process_group("nccl" if cuda else "gloo", rank=rank, world_size=world)
    dev = torch.device("cuda", rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(dev)
    torch._dynamo.config.recompile_limit = 64
    torch.backends.cuda.matmul.allow_tf32 = True
    begin = time.time()
    vae = nets.Vae(**C.VAE).to(dev, memory_format=torch.channels_last).eval().requires_grad_(False)
    vae.load_state_dict({k: v.float() for k, v in vae_state.items()})
    latents = Latents(pools, vae, dev, rank, world)
    attention = nets.choose_attention(dev) if cuda else "default"
    torch.manual_seed(2)
    model = Model(C.vocab_size(tokenizer)).to(dev)
    if resume:
        load(model, resume, "dit")
    from .prompts import Prompts

    ids, length = Prompts(tokenizer).t2i(" ")
    trainer = Trainer(model, latents, (torch.from_numpy(ids).long(), length), sizes, dev, COMPILED if cuda else ())
    optimizer = Optimizer(model, lr=lr, adam_lr=adam_lr, weight_decay=0.02)
    average = Average(model, 0.999)
    torch.manual_seed(100 + rank + (1000 if resume else 0))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    probe = log = None
    if rank == 0:
        probe = Probe(vae, tokenizer, scorer_dir, dev, probe_count)
        log = csv.writer(open(out / "dit.csv", "w", buffering=1))
        log.writerow(["seconds", "step", "samples", "generation_loss", "editing_loss", "gradient_norm", "scenes", "edits", "scores"])
    while warmed is not None and not warmed.all() and time.time() - begin < 90:
        if not latents.pump():
            time.sleep(0.02)
    print(f"dit: kernels {warmed} after {time.time() - begin:.1f} s", flush=True)
    latents.wait(8 * sizes[0], 8 * sizes[1])
    print(f"dit: rank {rank} ready after {time.time() - begin:.1f} s, {latents.count}, attention {attention}", flush=True)
    clock = torch.zeros(2, device=dev)  # progress, stop
    step, last_log, last_probe, mean = 0, 0.0, 0.0, torch.zeros(3, device=dev)
    start = time.time()
    progress, next_sync = 0.0, 0
    while step < max_steps:
        if step >= next_sync:  # all ranks follow the first one's clock
            if rank == 0 and (out / "seconds").exists():  # the run's length may be changed while it runs
                seconds = float((out / "seconds").read_text())
            clock[0], clock[1] = min((time.time() - start) / seconds, 1.0), float(stop.is_set())
            if world > 1:
                dist.broadcast(clock, 0)
            progress, halt = clock.tolist()
            next_sync = step + 10
            if progress >= 1 or halt:
                break
        with torch.autocast(dev.type, torch.bfloat16, enabled=cuda):
            a = trainer.generation_loss()
        (a * sizes[0] / sum(sizes)).backward()
        with torch.autocast(dev.type, torch.bfloat16, enabled=cuda):
            b = trainer.editing_loss()
        (b * sizes[1] / sum(sizes)).backward()
        optimizer.fill()
        if world > 1:
            average_gradients(optimizer.params, world)
        norm = optimizer.clip(1.0)
        optimizer.step(plateau(progress, warm=0.0, decay=decay) * min(1.0, (step + 1) / 300))
        optimizer.zero_grad()
        average.update()
        latents.pump()
        mean = mean * 0.98 + 0.02 * torch.stack((a.detach(), b.detach(), norm.detach()))
        step += 1
        now = time.time() - start
        if rank == 0 and (now - last_log > 10 or step in (1, 50)):
            last_log = now
            losses = (mean / (1 - 0.98 ** step)).tolist()
            row = [f"{now:.1f}", step, step * sum(sizes) * world, *(f"{v:.5f}" for v in losses), latents.count["scenes"], latents.count["edits"], ""]
            log.writerow(row)
            print("dit", *row, flush=True)
        if rank == 0 and now - last_probe > probe_every:
            last_probe = now
            report(probe, average, out, log, now, step)
    if rank == 0:
        report(probe, average, out, log, time.time() - start, step, final=True)
        print(f"dit: {step} steps of {sum(sizes) * world} samples in {time.time() - start:.0f} s", flush=True)
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()


def report(probe: Probe, average: Average, out: Path, log, now: float, step: int, final: bool = False) -> None:
    save(average, out, "dit")
    began = time.time()
    try:
        scores = probe.run(average, out, "final" if final else f"{now:05.0f}")
    except Exception as e:  # a look at the samples must never cost the run
        print("probe failed:", repr(e)[:500], flush=True)
        scores = {}
    log.writerow([f"{now:.1f}", step, "", "", "", "", "", "", " ".join(f"{k.replace(' ', '_')}={v:.4f}" for k, v in scores.items())])
    print(f"dit probe at {now:.0f} s ({time.time() - began:.1f} s):", " ".join(f"{k} {v:.3f}" for k, v in scores.items()), flush=True)


def average_gradients(params: list[nn.Parameter], world: int) -> None:
    grads = [p.grad for p in params]
    flat = torch.cat([g.flatten() for g in grads])
    dist.all_reduce(flat)
    flat /= world
    for g, part in zip(grads, flat.split([g.numel() for g in grads])):
        g.copy_(part.view_as(g))
