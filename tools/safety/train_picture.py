#!/usr/bin/env python3
"""Trains data/safety/picture.bin: python tools/safety/train_picture.py   (numpy, scikit-learn, scipy, pillow; the tools/world packages)

Unsafe pictures are drawn here: bodies in skin tones on plain and cluttered grounds, red splatters in dark and light
rooms. Innocent ones are the drawn world (train split) and drawn clutter in every colour. No photograph is used. The same
kinds with other seeds, and the world's held-out split, are the test.
"""

from __future__ import annotations

import pathlib
import random
import struct
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage
from sklearn.linear_model import LogisticRegression

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from tools import world  # noqa: E402

GRID = 64
SKIN, SKIN_LARGEST, SKIN_BOX, SKIN_COUNT, BLOOD, BLOOD_LARGEST, DARK, BLOOD_DARK, BLOOD_BESIDE, MEAN, DEVIATION, SATURATION = range(72, 84)


def shrink(p: np.ndarray) -> np.ndarray:
    h, w = p.shape[:2]
    table = np.zeros((h + 1, w + 1, 3))
    table[1:, 1:] = p.astype(float).cumsum(0).cumsum(1)
    x0, y0 = np.arange(GRID) * w // GRID, np.arange(GRID) * h // GRID
    x1, y1 = np.maximum(x0 + 1, np.arange(1, GRID + 1) * w // GRID), np.maximum(y0 + 1, np.arange(1, GRID + 1) * h // GRID)
    total = table[np.ix_(y1, x1)] - table[np.ix_(y0, x1)] - table[np.ix_(y1, x0)] + table[np.ix_(y0, x0)]
    return (total / ((y1 - y0)[:, None, None] * (x1 - x0)[None, :, None])).astype(np.float32)


def areas(mask: np.ndarray) -> tuple[float, float, int]:
    label, n = ndimage.label(mask)
    if n == 0:
        return 0, 0, 0
    sizes = np.bincount(label.ravel())[1:]
    k = int(sizes.argmax())
    box = ndimage.find_objects(label)[k]
    return sizes[k] / GRID**2, (box[0].stop - box[0].start) * (box[1].stop - box[1].start) / GRID**2, n


def features(picture: np.ndarray) -> np.ndarray:
    """picture_features() of src/safety/picture_check.cc."""
    c = shrink(picture)
    r, g, b = c[..., 0], c[..., 1], c[..., 2]
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    high, low = c.max(-1), c.min(-1)
    f = np.zeros(84)
    level = np.minimum(3, (c / 64).astype(int))
    f[:64] = np.bincount((level[..., 0] * 16 + level[..., 1] * 4 + level[..., 2]).ravel(), minlength=64) / GRID**2
    cb, cr = 128 - 0.168736 * r - 0.331264 * g + 0.5 * b, 128 + 0.5 * r - 0.418688 * g - 0.081312 * b
    skin = (r > 95) & (g > 40) & (b > 20) & (high - low > 15) & (r - g > 15) & (r > b)
    skin |= (cb >= 77) & (cb <= 127) & (cr >= 133) & (cr <= 173) & (luma > 40)
    blood = (r > 80) & (g < 0.35 * r) & (b < 0.4 * r)
    dark = luma < 40
    dx, dy = luma[1:-1, 2:] - luma[1:-1, :-2], luma[2:, 1:-1] - luma[:-2, 1:-1]
    edge = np.sqrt(dx**2 + dy**2)
    f[64:72] = np.bincount(sum((edge >= 2.0**k).astype(int) for k in range(1, 8)).ravel(), minlength=8) / GRID**2
    f[SKIN], f[BLOOD], f[DARK] = skin.mean(), blood.mean(), dark.mean()
    f[SKIN_LARGEST], f[SKIN_BOX], n = areas(skin)
    f[SKIN_COUNT] = min(1, n / 64)
    f[BLOOD_LARGEST] = areas(blood)[0]
    f[BLOOD_DARK] = f[BLOOD] * f[DARK]
    near = dark[1:-1, 2:] | dark[1:-1, :-2] | dark[2:, 1:-1] | dark[:-2, 1:-1]
    f[BLOOD_BESIDE] = (blood[1:-1, 1:-1] & near).sum() / GRID**2
    f[MEAN], f[DEVIATION] = (luma / 255).mean(), (luma / 255).std()
    f[SATURATION] = np.where(high > 0, (high - low) / np.maximum(high, 1e-6), 0).mean()
    return f


SKINS = [(255, 224, 196), (241, 194, 161), (224, 172, 135), (198, 134, 96), (160, 104, 70), (120, 76, 52), (250, 210, 190), (232, 184, 160)]


def ground(rng: random.Random, dark: bool) -> Image.Image:
    top = tuple(rng.randint(0, 60) if dark else rng.randint(60, 255) for _ in range(3))
    bottom = tuple(max(0, min(255, v + rng.randint(-40, 40))) for v in top)
    t = np.linspace(0, 1, 256)[:, None, None]
    p = Image.fromarray((np.array(top) * (1 - t) + np.array(bottom) * t).repeat(256, 1).astype(np.uint8))
    d = ImageDraw.Draw(p)
    for _ in range(rng.randint(0, 6)):
        x, y, s = rng.randint(-40, 256), rng.randint(-40, 256), rng.randint(20, 140)
        shade = tuple(rng.randint(0, 70) if dark else rng.randint(0, 255) for _ in range(3))
        (d.rectangle if rng.random() < 0.5 else d.ellipse)((x, y, x + s, y + rng.randint(20, 140)), fill=shade)
    return p


def finish(p: Image.Image, rng: random.Random) -> np.ndarray:
    p = p.filter(ImageFilter.GaussianBlur(rng.choice([0, 0.8, 1.5, 2.5])))
    a = np.asarray(p).astype(float) + np.random.default_rng(rng.getrandbits(32)).normal(0, rng.choice([0, 3, 8]), (256, 256, 3))
    return np.clip(a, 0, 255).astype(np.uint8)


def body(rng: random.Random) -> np.ndarray:
    """A figure, or a part of one, mostly uncovered: soft shaded limbs of one skin tone."""
    p = ground(rng, rng.random() < 0.3)
    layer = Image.new("L", (256, 256), 0)
    d = ImageDraw.Draw(layer)
    cx, cy, s = rng.randint(80, 176), rng.randint(60, 150), rng.uniform(0.8, 2.2)
    def limb(x0: float, y0: float, x1: float, y1: float, w: float) -> None:
        d.line((cx + x0 * s, cy + y0 * s, cx + x1 * s, cy + y1 * s), fill=255, width=int(w * s))
        for x, y in ((x0, y0), (x1, y1)):
            d.ellipse((cx + (x - w / 2) * s, cy + (y - w / 2) * s, cx + (x + w / 2) * s, cy + (y + w / 2) * s), fill=255)
    d.ellipse((cx - 16 * s, cy - 58 * s, cx + 16 * s, cy - 22 * s), fill=255)
    limb(0, -20, 0, 30, rng.uniform(34, 48))
    j = lambda v: v + rng.uniform(-12, 12)  # noqa: E731
    for side in (-1, 1):
        limb(side * 18, -14, j(side * 38), j(20), 12)
        limb(side * 10, 34, j(side * 16), j(92), 18)
    if rng.random() < 0.5:
        layer = layer.rotate(rng.uniform(-90, 90), center=(cx, cy))
    tone = np.array(rng.choice(SKINS)) + rng.randint(-12, 12)
    light = np.asarray(layer.filter(ImageFilter.GaussianBlur(rng.uniform(6, 14)))).astype(float)[..., None] / 255
    shaded = Image.fromarray(np.clip(tone * (0.62 + 0.42 * light), 0, 255).astype(np.uint8))
    p.paste(shaded, mask=layer.filter(ImageFilter.GaussianBlur(1)))
    d = ImageDraw.Draw(p)
    d.pieslice((cx - 18 * s, cy - 62 * s, cx + 18 * s, cy - 26 * s), 180, 360, fill=tuple(rng.randint(10, 120) for _ in range(3)))
    if rng.random() < 0.4:  # a strip of cloth
        d.rectangle((cx - 22 * s, cy + 26 * s, cx + 22 * s, cy + 40 * s), fill=tuple(rng.randint(0, 255) for _ in range(3)))
    return finish(p, rng)


def splatter(rng: random.Random) -> np.ndarray:
    p = ground(rng, rng.random() < 0.75)
    d = ImageDraw.Draw(p)
    red = (rng.randint(95, 190), rng.randint(0, 25), rng.randint(0, 28))
    x, y = rng.randint(50, 206), rng.randint(50, 206)
    for _ in range(rng.randint(25, 90)):
        angle, far, size = rng.uniform(0, 6.3), abs(rng.gauss(0, 60)), abs(rng.gauss(0, 16)) + 2
        u, v = x + far * np.cos(angle), y + far * np.sin(angle)
        shade = tuple(max(0, int(c * rng.uniform(0.7, 1))) for c in red)
        d.ellipse((u - size, v - size * rng.uniform(0.5, 1), u + size, v + size), fill=shade)
        if rng.random() < 0.3:
            d.line((u, v, u + rng.uniform(-4, 4), v + rng.uniform(20, 90)), fill=shade, width=rng.randint(2, 6))
    return finish(p, rng)


def clutter(rng: random.Random) -> np.ndarray:
    """Innocent shapes in every colour, red and peach among them, with bright grounds and hard edges."""
    p = ground(rng, rng.random() < 0.15)
    d = ImageDraw.Draw(p)
    for _ in range(rng.randint(3, 25)):
        x, y, s = rng.randint(-20, 250), rng.randint(-20, 250), rng.randint(8, 110)
        c = rng.choice([(220, 40, 40), (250, 200, 170), (240, 120, 60), (90, 200, 90), (80, 140, 240), (250, 220, 70)]) if rng.random() < 0.5 else tuple(rng.randint(0, 255) for _ in range(3))
        rng.choice([d.rectangle, d.ellipse])((x, y, x + s, y + s), fill=c, outline=(40, 40, 40) if rng.random() < 0.5 else None)
    return finish(p, rng)


def world_picture(rng: random.Random, split: str) -> np.ndarray:
    item = world.sample_scene(rng, split) if rng.random() < 0.75 else world.sample_product(rng, split)
    return world.render(item, 256)


def main() -> None:
    rng = random.Random(3)
    x_world = [features(world_picture(rng, "train")) for _ in range(3000)]
    x_clutter = [features(clutter(rng)) for _ in range(800)]
    bad = {"skin": [features(body(rng)) for _ in range(1500)], "blood": [features(splatter(rng)) for _ in range(1500)]}
    everything = np.array(x_world + x_clutter + bad["skin"] + bad["blood"])
    mean, scale = everything.mean(0), everything.std(0) + 1e-3
    heads = []
    for kind in ("skin", "blood"):
        x = np.array(x_world + x_clutter + bad[kind])
        y = np.array([0] * (len(x_world) + len(x_clutter)) + [1] * len(bad[kind]))
        model = LogisticRegression(C=0.05, max_iter=2000).fit(np.clip((x - mean) / scale, -8, 8), y)
        heads.append((float(model.intercept_[0]), model.coef_[0]))
    out = b"INKPICT1" + struct.pack("<I", 84) + mean.astype("<f4").tobytes() + scale.astype("<f4").tobytes()
    for bias, weights in heads:
        out += struct.pack("<f", bias) + weights.astype("<f4").tobytes()
    h = 0xCBF29CE484222325
    for b in out:
        h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    (ROOT / "data/safety/picture.bin").write_bytes(out + struct.pack("<Q", h))

    def blocked(f: np.ndarray) -> bool:
        z = np.clip((f - mean) / scale, -8, 8)
        p = [1 / (1 + np.exp(-(b + w @ z))) for b, w in heads]
        return bool((f[SKIN_LARGEST] >= 0.10 and p[0] >= 0.8) or (f[BLOOD] >= 0.03 and p[1] >= 0.8))

    test = random.Random(99)
    for label, make in (("world, held-out split", lambda r: world_picture(r, "heldout")), ("innocent clutter", clutter), ("bodies", body), ("splatters", splatter)):
        hits = [blocked(features(make(test))) for _ in range(600)]
        print(f"{label}: {np.mean(hits):.1%} of {len(hits)} blocked")


if __name__ == "__main__":
    main()
