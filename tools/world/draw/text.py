"""Short texts from the outlines in glyphs.json."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path as FilePath

from .._skia import skia
from .brush import Path, parse, transformed


@lru_cache(maxsize=1)
def _glyphs() -> dict[str, list]:
    file = FilePath(__file__).resolve().parent.parent / "glyphs.json"
    return json.loads(file.read_text(encoding="utf-8"))


@lru_cache(maxsize=64)
def text_path(text: str) -> Path:
    """The outline of a text in em units, centred on the origin."""
    out, x = Path(), 0.0
    for char in text:
        advance, data = _glyphs()[char]
        m = skia.Matrix().setAll(0.001, 0, x, 0, -0.001, 0, 0, 0, 1)
        out.addPath(transformed(parse(data), m))
        x += advance / 1000
    b = out.getBounds()
    return transformed(out, skia.Matrix.Translate(-b.centerX(), -b.centerY()))


@lru_cache(maxsize=256)
def text_at(text: str, cx: float, cy: float, em: float) -> Path:
    return transformed(text_path(text), skia.Matrix().setAll(em, 0, cx, 0, em, cy, 0, 0, 1))
