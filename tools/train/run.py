"""Trains the shipped models from nothing.

    python -m tools.train.run --all                 everything, about 25 minutes on one H200
    python -m tools.train.run --stages vae scorer   some of it; later stages read --work

Stages: tokenizer, vae, scorer, dit, export. Pictures are drawn while the training runs. Checkpoints, logs (CSV) and
sample sheets go to --work; `export` writes models/. SIGTERM ends a DiT run early with a checkpoint; a number written to
the file `seconds` in --work becomes the length of the DiT run, so that its final decay ends when the time does.
"""

import argparse
import json
import multiprocessing as mp
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from . import config as C
from . import data

STAGES = ["tokenizer", "vae", "scorer", "dit", "export"]
SEED = 20260


def arguments(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--stages", nargs="+", choices=STAGES, default=[])
    p.add_argument("--all", action="store_true")
    p.add_argument("--work", type=Path, default=Path("out/train"))
    p.add_argument("--models", type=Path, default=Path("models"))
    p.add_argument("--device", default="cuda")
    p.add_argument("--gpus", type=int, default=1)
    p.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 3))
    p.add_argument("--vae-minutes", type=float, default=4.7)
    p.add_argument("--scorer-minutes", type=float, default=3.3)
    p.add_argument("--dit-minutes", type=float, default=15.0)
    p.add_argument("--pictures", type=int, default=60000, help="drawn for the vae and the scorer")
    p.add_argument("--scenes", type=int, default=160000, help="drawn for the dit")
    p.add_argument("--edits", type=int, default=100000, help="pairs drawn for the dit")
    p.add_argument("--vae-batch", type=int, default=48)
    p.add_argument("--scorer-batch", type=int, default=512)
    p.add_argument("--batch", type=int, nargs=2, default=(256, 160), metavar=("GENERATE", "EDIT"), help="per GPU")
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--adam-lr", type=float, default=1e-3)
    p.add_argument("--decay", type=float, default=0.4, help="last share of the DiT's time in which the rate falls to zero")
    p.add_argument("--resume", type=Path, help="folder with dit.*.pt to start from")
    p.add_argument("--probe", type=int, default=200, help="held-out prompts and edits sampled at each checkpoint")
    p.add_argument("--probe-every", type=float, default=290.0)
    p.add_argument("--max-steps", type=int, default=10 ** 9)
    p.add_argument("--heldout", type=int, default=1024, help="held-out pictures for the vae and the scorer")
    a = p.parse_args(argv)
    if a.all:
        a.stages = STAGES
    if not a.stages:
        p.error("name --stages or --all")
    return a


def draw_heldout(index: int):
    from tools import world

    rng = random.Random(f"heldout/{index}")
    item = world.sample_scene(rng, "heldout") if rng.random() < 0.6 else world.sample_product(rng, "heldout")
    return world.render(item, C.SIZE), data.attribute_ids(item, data.attribute_names())


def fork(target, *args) -> mp.Process:
    process = mp.get_context("fork").Process(target=target, args=args)
    process.start()
    return process


def join(processes: list[mp.Process]) -> None:
    """Wait for all; pass SIGTERM on; fail if one failed."""
    signal.signal(signal.SIGTERM, lambda *_: [p.terminate() for p in processes if p.is_alive()])
    while any(p.is_alive() for p in processes):
        time.sleep(0.2)
        if any(p.exitcode not in (None, 0) for p in processes):
            for p in processes:
                p.kill()
    if any(p.exitcode for p in processes):
        sys.exit("a stage failed")


def pictures_stages(a, tokenizer: Path) -> None:
    began = time.time()
    with mp.get_context("fork").Pool(a.workers) as heldout_pool:
        drawn = heldout_pool.map(draw_heldout, range(a.heldout), chunksize=8)
    images = torch.from_numpy(np.stack([d[0] for d in drawn]))
    attrs = torch.tensor([d[1] for d in drawn])
    print(f"drew {a.heldout} held-out pictures in {time.time() - began:.1f} s", flush=True)
    stages = [s for s in ("vae", "scorer") if s in a.stages]
    pools = dict(zip(stages, data.picture_pool(a.pictures, a.workers, len(stages))))
    drawing = data.start({"pictures": list(pools.values())}, a.workers, SEED)
    jobs = []
    if "vae" in stages:
        from . import vae

        jobs.append(fork(vae.train, pools["vae"], images[:256], a.work, a.vae_minutes * 60, a.vae_batch, a.device))
    if "scorer" in stages:
        jobs.append(fork(run_scorer, a, pools["scorer"], images, attrs, tokenizer))
    join(jobs)
    for p in drawing:
        p.kill()


def run_scorer(a, pool, images, attrs, tokenizer: Path) -> None:
    from . import scorer

    device = "cuda:1" if a.device == "cuda" and a.gpus > 1 else a.device
    trained = scorer.train(pool, (images, attrs), tokenizer, a.work, a.scorer_minutes * 60, a.scorer_batch, device)
    scorer.save(trained.cpu(), tokenizer, a.work / "inkling-scorer")


def dit_stage(a, tokenizer: Path) -> None:
    from . import dit

    pools = {"scenes": data.scene_pool(a.scenes, a.workers), "edits": data.edit_pool(a.edits, a.workers)}
    drawing = data.start({k: [p] for k, p in pools.items()}, a.workers, SEED + int(time.time()) if a.resume else SEED)
    warmed = dit.warm(C.vocab_size(tokenizer), tuple(a.batch)) if a.device == "cuda" else None
    vae_state = torch.load(a.work / "vae.pt", map_location="cpu")
    jobs = [fork(dit.train, rank, a.gpus, pools, vae_state, tokenizer, a.work / "inkling-scorer", a.work, a.dit_minutes * 60,
                 tuple(a.batch), a.device, a.lr, a.adam_lr, a.resume, a.decay, a.probe, a.probe_every, a.max_steps, warmed)
            for rank in range(a.gpus)]
    join(jobs)
    for p in drawing:
        p.kill()


def export_stage(a, tokenizer: Path) -> None:
    import shutil
    from . import dit, export, nets

    vae = nets.Vae(**C.VAE).eval()
    vae.load_state_dict({k: v.float() for k, v in torch.load(a.work / "vae.pt", map_location="cpu").items()})
    model = dit.Model(C.vocab_size(tokenizer)).eval()
    dit.load(model, a.work, "dit")
    about = json.loads((Path(__file__).parent / "inkling.json").read_text())
    export.export(a.models / "inkling-tiny", vae, model.te, model.dit, about)
    shutil.copytree(a.work / "inkling-scorer", a.models / "inkling-scorer", dirs_exist_ok=True)


def main(argv=None) -> None:
    a = arguments(argv)
    torch.set_num_threads(max(1, min(4, os.cpu_count() or 1)))
    a.work.mkdir(parents=True, exist_ok=True)
    tokenizer = a.models / "inkling-tiny" / "tokenizer"
    data.TOKENIZER = tokenizer
    if "tokenizer" in a.stages:
        from . import tokenizer as stage

        stage.main(["--out", str(tokenizer)])
    if {"vae", "scorer"} & set(a.stages):
        pictures_stages(a, tokenizer)
    if "dit" in a.stages:
        dit_stage(a, tokenizer)
    if "export" in a.stages:
        export_stage(a, tokenizer)


if __name__ == "__main__":
    main()
