"""python -m tools.world sheet --out X.png [--kind ...] | stats"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from . import spec
from .language import caption, instruction
from .render import render, render_edit
from .spec import Product, Scene

Cell = tuple[np.ndarray, str]


def _animals() -> list[Cell]:
    return [(render(Scene(a, spec.NATURAL_COLOR[a], seed=i), 256), a) for i, a in enumerate(spec.ANIMALS)]


def _recolored() -> list[Cell]:
    return [(render(Scene(a, spec.COLORS[i % 11], seed=i + 50), 256), f"{spec.COLORS[i % 11]} {a}") for i, a in enumerate(spec.ANIMALS)]


def _accessories() -> list[Cell]:
    cells = []
    for i, w in enumerate(spec.ACCESSORIES):
        for k, a in enumerate((spec.ANIMALS[(2 * i) % 24], spec.ANIMALS[(2 * i + 13) % 24])):
            c = spec.ACCESSORY_COLOR[w] if k == 0 else spec.ACCESSORY_COLORS[(i * 2) % 9]
            cells.append((render(Scene(a, spec.NATURAL_COLOR[a], w, c, seed=i), 256), f"{c} {w}, {a}"))
    return cells


def _actions() -> list[Cell]:
    cells = []
    for i, act in enumerate(spec.ACTIONS):
        for a in (spec.ANIMALS[(2 * i) % 24], spec.ANIMALS[(2 * i + 9) % 24]):
            cells.append((render(Scene(a, spec.NATURAL_COLOR[a], action=act, seed=i), 256), f"{act}, {a}"))
    return cells


def _backgrounds() -> list[Cell]:
    return [(render(Scene(spec.ANIMALS[(5 * i) % 24], spec.COLORS[i], background=p, seed=i), 256), p) for i, p in enumerate(spec.BACKGROUNDS)]


def _products() -> list[Cell]:
    cells = []
    for i in range(24):
        text = spec.LABEL_TEXTS[i % 12]
        corner = spec.LABEL_CORNERS[(i + i // 8) % 4]
        place = spec.PRODUCT_BACKGROUNDS[(i * 3 + i // 8) % 8]
        item = Product(spec.PRODUCTS[i % 8], spec.COLORS[(i * 4) % 11], text if i % 5 else None, corner, spec.LABEL_COLORS[(i * 3) % 8], place, i)
        cells.append((render(item, 256), f"{item.color} {item.kind}, {place}"))
    return cells


def _edits(rng: random.Random) -> list[Cell]:
    cells = []
    for _ in range(8):
        edit = spec.sample_edit(rng, "train")
        before, after, mask = render_edit(edit, 256)
        text = instruction(edit, rng, "en")
        cells += [(before, "before"), (after, text), (np.repeat(mask[:, :, None], 3, 2), "mask")]
    return cells


def _random(rng: random.Random) -> list[Cell]:
    cells = []
    for _ in range(24):
        s = spec.sample_scene(rng, "train")
        cells.append((render(s, 256), caption(s, rng, "en")))
    return cells


def sheet(kind: str, seed: int) -> Image.Image:
    """A labelled contact sheet."""
    rng = random.Random(seed)
    makers = {
        "animals": _animals,
        "recolored": _recolored,
        "accessories": _accessories,
        "actions": _actions,
        "backgrounds": _backgrounds,
        "products": _products,
        "edits": lambda: _edits(rng),
        "random": lambda: _random(rng),
    }
    return compose(makers[kind]())


def compose(cells: Sequence[Cell], columns: int = 6) -> Image.Image:
    size, gap = 256, 18
    rows = (len(cells) + columns - 1) // columns
    out = Image.new("RGB", (columns * size, rows * (size + gap)), "white")
    pen = ImageDraw.Draw(out)
    for i, (pixels, text) in enumerate(cells):
        x, y = i % columns * size, i // columns * (size + gap)
        out.paste(Image.fromarray(pixels), (x, y))
        shown = text if text.isascii() else text.encode("ascii", "replace").decode()
        pen.text((x + 4, y + size + 3), shown[:42], fill=(40, 40, 40))
    return out


def stats() -> None:
    rng = random.Random(0)
    combos = [(a, c, w, k) for a in spec.ANIMALS for c in spec.COLORS for w in [None, *spec.ACCESSORIES] for k in spec.ACTIONS]
    held = sum(spec.is_heldout(*combo) for combo in combos)
    lists = ("ANIMALS", "COLORS", "ACCESSORIES", "ACTIONS", "BACKGROUNDS", "PRODUCTS", "PRODUCT_BACKGROUNDS", "LABEL_TEXTS")
    print(", ".join(f"{len(getattr(spec, name))} {name.lower()}" for name in lists))
    print(f"{len(combos)} combinations of animal, colour, accessory, action; held out {held / len(combos):.1%}")
    for name, sample in (("scenes", spec.sample_scene), ("products", spec.sample_product)):
        items = [sample(rng, "train") for _ in range(120)]
        start = time.process_time()
        for item in items:
            render(item)
        print(f"{name}: {len(items) / (time.process_time() - start):.0f} pictures/s/core at 256x256")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.world")
    sub = parser.add_subparsers(dest="command", required=True)
    one = sub.add_parser("sheet", help="draw a contact sheet")
    one.add_argument("--out", type=Path, required=True)
    kinds = ["animals", "recolored", "accessories", "actions", "backgrounds", "products", "edits", "random"]
    one.add_argument("--kind", choices=kinds, default="random")
    one.add_argument("--seed", type=int, default=0)
    sub.add_parser("stats", help="counts, held-out share, speed")
    args = parser.parse_args()
    if args.command == "sheet":
        sheet(args.kind, args.seed).save(args.out)
    else:
        stats()


if __name__ == "__main__":
    main()
