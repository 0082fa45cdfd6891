"""Draws data/pictures.webp, data/backgrounds.png and data/labels.png: 56 pictures of the drawn world and where
their background and their label are.

    pip install numpy pillow skia-python==144.1
    python tests/editing/make_pictures.py

An 8 x 7 sheet of 128 x 128 tiles: 28 scenes, 28 products. White in backgrounds.png is what changes when the same item
is drawn on two other backgrounds (shadows too), in labels.png what changes without the label; labels.tsv holds tile and corner.
"""

import pathlib
import random
import sys
from dataclasses import replace

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from tools import world  # noqa: E402
from tools.world import spec  # noqa: E402

SIZE, COLUMNS, ROWS = 128, 8, 7


def main() -> None:
    rng = random.Random(20261125)
    sheet = np.zeros((ROWS * SIZE, COLUMNS * SIZE, 3), np.uint8)
    truth = np.zeros((ROWS * SIZE, COLUMNS * SIZE), np.uint8)
    labels = np.zeros_like(truth)
    corners = []
    for i in range(COLUMNS * ROWS):
        item = spec.sample_scene(rng, "train") if i < 28 else spec.sample_product(rng, "train")
        places = spec.BACKGROUNDS if i < 28 else spec.PRODUCT_BACKGROUNDS
        picture = world.render(item, SIZE)
        changed = np.zeros((SIZE, SIZE), bool)
        for place in places:
            changed |= (world.render(replace(item, background=place), SIZE) != picture).any(axis=2)
        y, x = i // COLUMNS * SIZE, i % COLUMNS * SIZE
        sheet[y : y + SIZE, x : x + SIZE] = picture
        truth[y : y + SIZE, x : x + SIZE] = changed * 255
        if i >= 28 and item.label:
            bare = world.render(replace(item, label=None), SIZE)
            labels[y : y + SIZE, x : x + SIZE] = (bare != picture).any(axis=2) * 255
            corners.append(f"{i}\t{item.label_corner.replace('_', ' ')}\n")
    data = ROOT / "tests/editing/data"
    Image.fromarray(sheet).save(data / "pictures.webp", quality=95, method=6)
    Image.fromarray(truth).convert("1").save(data / "backgrounds.png", optimize=True)
    Image.fromarray(labels).convert("1").save(data / "labels.png", optimize=True)
    (data / "labels.tsv").write_text("# tile, corner\n" + "".join(corners))


main()
