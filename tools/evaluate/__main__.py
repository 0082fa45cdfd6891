"""Measures a model on the fixed held-out prompts and edits.

    python -m tools.evaluate --model models/inkling-tiny --program build/bin/inkling
    python -m tools.evaluate --backend diffusers --count 50 --json out/evaluate.json

Prints the scores with their bars; the exit status is 1 if a bar is missed. Nothing is chosen or repeated: each
prompt is run once with the seed in its list.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from tools.train import scorer as scoring
from . import backends, lists, metrics


def named_result(scorer, rows: list[dict], images: list[np.ndarray]) -> list[dict]:
    found = metrics.read_attributes(scorer, torch.from_numpy(np.stack(images)))
    return [dict(prompt=r["prompt"], right=all(f[k] == v for k, v in r["expect"].items()),
                 wrong={k: f[k] for k, v in r["expect"].items() if f[k] != v}) for r, f in zip(rows, found)]


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--count", type=int, default=lists.COUNT, help="how many of the prompts and of the edits")
    p.add_argument("--tasks", nargs="+", choices=["generate", "edit", "named"], default=["named", "generate", "edit"])
    p.add_argument("--json", type=Path, help="write the result here")
    p.add_argument("--save", type=Path, help="keep the pictures in this folder")
    backends.add_options(p)
    a = p.parse_args()
    from PIL import Image
    from tools import world

    backend, scorer = backends.make(a), scoring.load(a.scorer)
    scores, report = {}, {"model": str(a.model), "backend": a.backend, "count": a.count}
    start = time.time()

    def keep(kind: str, rows: list[dict], images: list[np.ndarray]) -> None:
        if a.save:
            a.save.mkdir(parents=True, exist_ok=True)
            for r, image in zip(rows, images):
                Image.fromarray(image).save(a.save / f"{kind}-{r['id']:03d}.png")

    if "named" in a.tasks:
        rows = lists.read("named")
        plain, changes = [r for r in rows if "before" not in r], [r for r in rows if "before" in r]
        images = backend.generate([r["prompt"] for r in plain], [r["seed"] for r in plain])
        images += backend.edit([world.render(lists.scene_of(r["before"])) for r in changes],
                               [r["prompt"] for r in changes], [r["seed"] for r in changes])
        keep("named", rows, images)
        report["named"] = named_result(scorer, plain + changes, images)
        for r in report["named"]:
            print("right" if r["right"] else f"WRONG {r['wrong']}", r["prompt"])
    if "generate" in a.tasks:
        rows = lists.read("prompts")[:a.count]
        images = backend.generate([r["prompt"] for r in rows], [r["seed"] for r in rows])
        keep("prompt", rows, images)
        scores |= metrics.score_prompts(scorer, torch.from_numpy(np.stack(images)), [lists.scene_of(r["scene"]) for r in rows])
    if "edit" in a.tasks:
        rows = lists.read("edits")[:a.count]
        edits = [lists.edit_of(r) for r in rows]
        drawn = [world.render_edit(e) for e in edits]
        images = backend.edit([d[0] for d in drawn], [r["prompt"] for r in rows], [r["seed"] for r in rows])
        keep("edit", rows, images)
        stack = [torch.from_numpy(np.stack(x)) for x in (images, [d[0] for d in drawn], [np.asarray(d[2], bool) for d in drawn])]
        scores |= metrics.score_edits(scorer, *stack, edits)
    report |= {"scores": scores, "bars": metrics.BARS, "seconds": round(time.time() - start, 1)}
    print(metrics.table(scores))
    print(f"{report['seconds']} s")
    if a.json:
        a.json.parent.mkdir(parents=True, exist_ok=True)
        a.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    missed = [k for k, v in metrics.BARS.items() if k in scores and scores[k] < v]
    sys.exit(1 if missed or not all(r["right"] for r in report.get("named", [])) else 0)


if __name__ == "__main__":
    main()
