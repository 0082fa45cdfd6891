"""From a scene, product or edit to pixels."""

from __future__ import annotations

import numpy as np

from ._skia import skia
from .draw.brush import Brush
from .draw.products import draw_product
from .draw.scene import draw_scene
from .spec import Edit, Product, Scene


def render(item: Scene | Product, size: int = 256) -> np.ndarray:
    """The picture of an item, uint8 [size, size, 3] RGB; the same for the same item."""
    pixels = np.zeros((size, size, 4), np.uint8)
    surface = skia.Surface.MakeRasterDirect(skia.ImageInfo.Make(size, size, skia.kRGBA_8888_ColorType, skia.kPremul_AlphaType), pixels)
    with surface as canvas:
        canvas.scale(size / 256, size / 256)
        brush = Brush(canvas)
        if isinstance(item, Scene):
            draw_scene(brush, item)
        else:
            draw_product(brush, item)
    return np.ascontiguousarray(pixels[:, :, :3])


def _dilate(mask: np.ndarray, r: int) -> np.ndarray:
    out = mask
    for axis in (0, 1):
        grown = out.copy()
        for k in range(1, r + 1):
            lead = [slice(None)] * 2
            tail = [slice(None)] * 2
            lead[axis], tail[axis] = slice(k, None), slice(None, -k)
            grown[tuple(lead)] |= out[tuple(tail)]
            grown[tuple(tail)] |= out[tuple(lead)]
        out = grown
    return out


def render_edit(edit: Edit, size: int = 256) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Before, after, and a mask that is 255 where a change is expected."""
    before, after = render(edit.before, size), render(edit.after, size)
    changed = (before != after).any(axis=2)
    mask = _dilate(changed, max(1, round(size / 128)))
    return before, after, mask.astype(np.uint8) * 255
