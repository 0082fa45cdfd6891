"""Draws the picture buttons of the children's page (web/assets/art) with the world's own figures, as flat SVG.

python tests/web/make_art.py     needs the packages of tools/world/requirements.txt
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as FilePath
from types import SimpleNamespace
from typing import Any

ROOT = FilePath(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from tools.world import spec  # noqa: E402
from tools.world._skia import skia  # noqa: E402
from tools.world.draw import accessories, actions, backgrounds, palette, scene  # noqa: E402
from tools.world.draw.brush import P, ellipse, ring, smooth  # noqa: E402
from tools.world.draw.palette import BLUSH, INK, RGB, WHITE, light, outline  # noqa: E402
from tools.world.draw.rig import Figure, Rig  # noqa: E402

OUT = ROOT / "web/assets/art"


def hexa(c: RGB | int) -> str:
    if isinstance(c, int):
        c = ((c >> 16) & 255, (c >> 8) & 255, c & 255)
    return "#%02x%02x%02x" % tuple(c)


def num(v: float) -> str:
    return f"{v:.1f}".removesuffix(".0")


def data(path: Any) -> str:
    """Path data; a conic becomes a cubic that passes through the same middle (exact enough for quarter circles)."""
    out = []
    for verb, pts in path:
        p = [(q.x(), q.y()) for q in pts]
        name = str(verb)
        if "Move" in name:
            out.append("M" + " ".join(num(v) for v in p[0]))
        elif "Line" in name:
            out.append("L" + " ".join(num(v) for v in p[-1]))
        elif "Quad" in name:
            out.append("Q" + " ".join(num(v) for q in p[1:] for v in q))
        elif "Conic" in name:
            k = 0.5523
            a = tuple(p[0][i] + (p[1][i] - p[0][i]) * k for i in (0, 1))
            b = tuple(p[2][i] + (p[1][i] - p[2][i]) * k for i in (0, 1))
            out.append("C" + " ".join(num(v) for q in (a, b, p[2]) for v in q))
        elif "Cubic" in name:
            out.append("C" + " ".join(num(v) for q in p[1:] for v in q))
        elif "Close" in name:
            out.append("Z")
    return "".join(out)


class SvgBrush:
    """The calls of tools.world.draw.brush.Brush, answered with flat shapes."""

    def __init__(self) -> None:
        self.items: list[str] = []
        self.defs: list[str] = []
        self.m = [skia.Matrix()]
        self.clips: list[str] = []
        self.box: list[float] | None = None
        self.c = SimpleNamespace(translate=lambda *_: None)

    def path(self, path: Any) -> tuple[str, float]:
        out = skia.Path()
        path.transform(self.m[-1], out)
        b = out.getBounds()
        if not self.clips:
            new = [b.left(), b.top(), b.right(), b.bottom()]
            old = self.box or new
            self.box = [min(old[0], new[0]), min(old[1], new[1]), max(old[2], new[2]), max(old[3], new[3])]
        return data(out), abs(self.m[-1].mapRadius(1))

    def emit(self, path: Any, attributes: str) -> None:
        d, _ = self.path(path)
        clip = f' clip-path="url(#{self.clips[-1]})"' if self.clips else ""
        self.items.append(f'<path d="{d}" {attributes}{clip}/>')

    def fill(self, path: Any, color: RGB, alpha: float = 1.0) -> None:
        opacity = f' opacity="{num(alpha)}"' if alpha < 0.95 else ""
        self.emit(path, f'fill="{hexa(color)}"{opacity}')

    def shader(self, path: Any, shader: Any) -> None:
        kind, points, colors = shader
        name = f"g{len(self.defs)}"
        stops = "".join(
            f'<stop offset="{num(i / (len(colors) - 1))}" stop-color="{hexa(c)}"' + (f' stop-opacity="{num((c >> 24) / 255)}"' if c >> 24 < 250 else "") + "/>"
            for i, c in enumerate(colors)
        )
        if kind == "linear":
            pts = [self.m[-1].mapXY(*p) for p in points]
            (a, b), (c, d) = ((q.x(), q.y()) for q in pts)
            self.defs.append(f'<linearGradient id="{name}" gradientUnits="userSpaceOnUse" x1="{num(a)}" y1="{num(b)}" x2="{num(c)}" y2="{num(d)}">{stops}</linearGradient>')
        else:
            self.defs.append(f'<radialGradient id="{name}">{stops}</radialGradient>')
        self.emit(path, f'fill="url(#{name})"')

    def soft(self, path: Any, color: RGB, sigma: float, alpha: float = 1.0) -> None:
        if sigma < 3.6:
            self.fill(path, color, alpha if sigma < 2.4 else alpha * 0.7)

    def line(self, path: Any, color: RGB, width: float, alpha: float = 1.0, blur: float = 0.0) -> None:
        k = self.m[-1].mapRadius(1)
        opacity = f' opacity="{num(alpha)}"' if alpha < 0.95 else ""
        self.emit(path, f'fill="none" stroke="{hexa(color)}" stroke-width="{num(width * k)}" stroke-linecap="round" stroke-linejoin="round"{opacity}')

    def glow(self, *_: Any, **__: Any) -> None:
        return None

    @contextmanager
    def clip(self, path: Any) -> Iterator[None]:
        d, _ = self.path(path)
        name = f"c{len(self.defs)}"
        self.defs.append(f'<clipPath id="{name}"><path d="{d}"/></clipPath>')
        self.clips.append(name)
        yield
        self.clips.pop()

    @contextmanager
    def at(self, dx: float = 0, dy: float = 0, deg: float = 0, scale: float = 1, about: tuple[float, float] = (0, 0), sx: float = 1) -> Iterator[None]:
        m = skia.Matrix.Concat(self.m[-1], skia.Matrix())
        m.preTranslate(dx + about[0], dy + about[1])
        m.preRotate(deg)
        m.preScale(scale * sx, scale)
        m.preTranslate(-about[0], -about[1])
        self.m.append(m)
        yield
        self.m.pop()

    def volume(self, path: Any, color: RGB, depth: float = 1.0) -> None:
        self.fill(path, color)

    def blob(self, path: Any, color: RGB, depth: float = 1.0, line: float = 1.7, rim: bool = True) -> None:
        d, k = self.path(path)
        clip = f' clip-path="url(#{self.clips[-1]})"' if self.clips else ""
        stroke = f' stroke="{hexa(outline(color))}" stroke-width="{num(line * 1.7 * k)}" stroke-linejoin="round"' if line else ""
        self.items.append(f'<path d="{d}" fill="{hexa(color)}"{stroke}{clip}/>')

    def limb(self, path: Any, width: float, color: RGB, line: float = 1.7) -> None:
        self.line(path, outline(color), width + line * 1.7)
        self.line(path, color, width - line)

    def shine(self, cx: float, cy: float, rx: float, ry: float, deg: float = -30, alpha: float = 0.55) -> None:
        self.fill(ellipse(cx, cy, rx, ry, deg), WHITE, alpha)

    def blush(self, cx: float, cy: float, r: float, color: RGB = BLUSH, alpha: float = 0.62) -> None:
        self.fill(ellipse(cx, cy, r, r * 0.7), color, 0.5)

    def eye(self, cx: float, cy: float, r: float, gaze: Any, iris: RGB = (96, 58, 40), white: float = 1.0) -> None:
        rx, ry = r * 0.9, r * 1.06
        if white:
            self.fill(ellipse(cx, cy, rx * 1.14 * white, ry * 1.14 * white), WHITE)
        self.fill(ellipse(cx, cy, rx, ry), (44, 28, 34))
        self.fill(ellipse(cx, cy + ry * 0.5, rx * 0.6, ry * 0.4), light(iris, 0.3), 0.8)
        self.fill(ellipse(cx - rx * 0.3, cy - ry * 0.38, rx * 0.38), WHITE)
        self.fill(ellipse(cx + rx * 0.38, cy + ry * 0.34, rx * 0.17), WHITE)

    def closed_eye(self, cx: float, cy: float, r: float) -> None:
        self.line(smooth([(cx - r, cy), (cx, cy + r * 0.6), (cx + r, cy)], close=False), INK, 3)

    def mouth(self, cx: float, cy: float, w: float, open_: bool = False, cat: bool = False) -> None:
        if open_:
            self.fill(P(f"M{cx - w} {cy}Q{cx} {cy + w * 0.3} {cx + w} {cy}C{cx + w} {cy + w * 1.4} {cx - w} {cy + w * 1.4} {cx - w} {cy}Z"), (150, 52, 60))
            self.fill(ellipse(cx, cy + w * 0.75, w * 0.5, w * 0.26), (255, 128, 132))
        elif cat:
            for s in (-1, 1):
                self.line(smooth([(cx, cy), (cx + s * w * 0.5, cy + w * 0.36), (cx + s * w, cy)], close=False), INK, 2.6)
        else:
            self.line(smooth([(cx - w, cy), (cx, cy + w * 0.5), (cx + w, cy)], close=False), INK, 2.6)

    def save(self, name: str, view: tuple[float, float, float, float] | None = None) -> None:
        if view is None:  # a square around what was drawn
            x0, y0, x1, y1 = self.box  # type: ignore[misc]
            side = max(x1 - x0, y1 - y0) * 1.1
            view = ((x0 + x1 - side) / 2, (y0 + y1 - side) / 2, side, side)
        used = "".join(self.items)
        defs = "".join(d for d in self.defs if f"#{d.split(chr(34))[1]})" in used)
        box = " ".join(num(v) for v in view)
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">' + (f"<defs>{defs}</defs>" if defs else "") + "".join(self.items) + "</svg>\n"
        (OUT / f"{name}.svg").write_text(svg)


class _Skia:
    """skia, but gradients stay readable."""

    GradientShader = SimpleNamespace(
        MakeLinear=lambda pts, colors, *_: ("linear", pts, colors),
        MakeRadial=lambda center, r, colors, *_: ("radial", (center, r), colors),
    )

    def __getattr__(self, name: str) -> Any:
        return getattr(skia, name)


def pose(b: SvgBrush, animal: str, action: str = "standing", accessory: str | None = None) -> None:
    color = spec.NATURAL_COLOR[animal]
    a = scene.ANIMAL[animal]
    f = Figure(b, a.rig, palette.coat(animal, color, color), action)  # type: ignore[arg-type]
    item = spec.Scene(animal, color, accessory, accessory and spec.ACCESSORY_COLOR[accessory], action, seed=4)
    with b.at(0, 0, 0, a.rig.fit, (128, 222)):
        scene.figure(f, a, item, 0)


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    actions.skia = backgrounds.skia = _Skia()  # type: ignore[assignment]
    for animal in spec.ANIMALS:
        b = SvgBrush()
        pose(b, animal)
        top = min(b.box[1], 40)  # type: ignore[index]
        b.save(f"animal-{animal}", (26, top - 6, 204, 204))
    for color in spec.COLORS:
        b = SvgBrush()
        b.blob(ring(64, 66, 46, 44, 7, 0.1, 0.4), palette.BASE[color], line=3)
        b.fill(ellipse(46, 46, 12, 7, -35), WHITE, 0.6)
        b.blob(ellipse(112, 104, 10), palette.BASE[color], line=3)
        b.save(f"color-{color}", (4, 4, 128, 128))
    rig = Rig()
    for accessory in spec.ACCESSORIES:
        b = SvgBrush()
        f = Figure(b, rig, (252, 244, 232))  # type: ignore[arg-type]
        for layer in (accessories.BACK, accessories.BODY, accessories.NECK, accessories.HEAD):
            if accessory in layer:
                layer[accessory](f, palette.PROPS[spec.ACCESSORY_COLOR[accessory]])
        b.save(f"accessory-{accessory}")
    cast = ["bear", "rabbit", "frog", "dinosaur", "penguin", "mouse", "owl", "dog", "pig", "cat", "panda", "fox", "duck"]
    for action, animal in zip(spec.ACTIONS, cast, strict=True):
        b = SvgBrush()
        pose(b, animal, action)
        b.save(f"action-{action}", (-2, -14, 264, 264) if action == "umbrella" else (4, -2, 250, 250))
    for place in spec.BACKGROUNDS:
        b = SvgBrush()
        backgrounds.place(b, place, random.Random("place/3"))  # type: ignore[arg-type]
        b.save(f"place-{place}", (0, 0, 256, 256))
    total = [p.stat().st_size for p in OUT.glob("*.svg")]
    print(f"{len(total)} files, {sum(total)} bytes, largest {max(total)}, mean {math.fsum(total) / len(total):.0f}")


if __name__ == "__main__":
    main()
