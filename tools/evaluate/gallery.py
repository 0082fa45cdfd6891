"""A sheet of pictures in the order of the lists: nothing is picked.

    python -m tools.evaluate.gallery --out out/gallery.png [--backend diffusers] [--rows 3] [--from FOLDER]

First the prompts that must come out right, then held-out prompts, then edits as pairs (before above after).
With --from, pictures kept by `tools.evaluate --save` are used instead of making new ones.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from . import backends, lists

COLUMNS = 8


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, default=Path("out/gallery.png"))
    p.add_argument("--rows", type=int, default=3, help="rows of prompts, and of edit pairs")
    p.add_argument("--from", dest="folder", type=Path)
    backends.add_options(p)
    a = p.parse_args()
    from tools import world

    named = lists.read("named")
    prompts = [("named", r) for r in named if "before" not in r]
    prompts = (prompts + [("prompt", r) for r in lists.read("prompts")])[:a.rows * COLUMNS]
    edits = [("named", r) for r in named if "before" in r]
    edits = (edits + [("edit", r) for r in lists.read("edits")])[:a.rows * COLUMNS]
    before = [world.render(lists.scene_of(r["before"])) for _, r in edits]
    if a.folder:
        made, changed = ([np.asarray(Image.open(a.folder / f"{kind}-{r['id']:03d}.png")) for kind, r in rows]
                         for rows in (prompts, edits))
    else:
        backend = backends.make(a)
        made = backend.generate([r["prompt"] for _, r in prompts], [r["seed"] for _, r in prompts])
        changed = backend.edit(before, [r["prompt"] for _, r in edits], [r["seed"] for _, r in edits])
    lines = [made[i:i + COLUMNS] for i in range(0, len(made), COLUMNS)]
    for i in range(0, len(changed), COLUMNS):
        lines += [before[i:i + COLUMNS], changed[i:i + COLUMNS]]
    a.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate([np.concatenate(line, 1) for line in lines])).save(a.out, optimize=True)
    for kind, r in prompts + edits:
        print(f"{kind}-{r['id']:03d}  {r['prompt']}")


if __name__ == "__main__":
    main()
