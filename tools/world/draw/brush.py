"""A soft brush over skia: volumes with light, shade, rim and a quiet outline.

All coordinates are in a square of 256 units; y grows downwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

from .._skia import skia
from .palette import BLUSH, INK, RGB, WHITE, dark, light, mix, outline

Path = skia.Path
Point = tuple[float, float]


def argb(c: RGB, alpha: float = 1.0) -> int:
    a = max(0, min(255, round(alpha * 255)))
    return (a << 24) | (c[0] << 16) | (c[1] << 8) | c[2]


_ARGS = {"M": 2, "L": 2, "C": 6, "Q": 4, "Z": 0, "H": 1, "V": 1}


def parse(text: str) -> Path:
    """A path from absolute SVG commands (M L H V C Q Z)."""
    tokens = text.replace(",", " ")
    for letter in _ARGS:
        tokens = tokens.replace(letter, f" {letter} ")
    parts, path, i, op, x, y = tokens.split(), Path(), 0, "M", 0.0, 0.0
    while i < len(parts):
        if parts[i] in _ARGS:
            op = parts[i]
            i += 1
        n = _ARGS[op]
        v = [float(t) for t in parts[i : i + n]]
        i += n
        if op == "Z":
            path.close()
            continue
        if op == "H":
            v = [v[0], y]
        elif op == "V":
            v = [x, v[0]]
        if op == "M":
            path.moveTo(*v)
            op = "L"
        elif n == 6:
            path.cubicTo(*v)
        elif n == 4:
            path.quadTo(*v)
        else:
            path.lineTo(*v)
        x, y = v[-2], v[-1]
    return path


@lru_cache(maxsize=4096)
def P(text: str) -> Path:
    """parse(), remembered; do not change the result."""
    return parse(text)


@lru_cache(maxsize=512)
def mirror_text(text: str) -> Path:
    return transformed(parse(text), skia.Matrix().setAll(-1, 0, 256, 0, 1, 0, 0, 0, 1))


def M(text: str) -> Path:
    """P() mirrored about the middle of the picture."""
    return mirror_text(text)


def transformed(path: Path, matrix: skia.Matrix) -> Path:
    out = Path()
    path.transform(matrix, out)
    return out


def ellipse(cx: float, cy: float, rx: float, ry: float | None = None, deg: float = 0.0) -> Path:
    ry = rx if ry is None else ry
    path = Path()
    path.addOval(skia.Rect(cx - rx, cy - ry, cx + rx, cy + ry))
    if deg:
        path = transformed(path, skia.Matrix().setRotate(deg, cx, cy))
    return path


def rrect(x: float, y: float, w: float, h: float, r: float) -> Path:
    path = Path()
    path.addRoundRect(skia.Rect(x, y, x + w, y + h), r, r)
    return path


def poly(points: Sequence[Point], close: bool = True) -> Path:
    path = Path()
    path.moveTo(*points[0])
    for p in points[1:]:
        path.lineTo(*p)
    if close:
        path.close()
    return path


def smooth(points: Sequence[Point], close: bool = True, tension: float = 1.0) -> Path:
    """A smooth curve through points (Catmull-Rom)."""
    n, path = len(points), Path()
    path.moveTo(*points[0])
    for i in range(n if close else n - 1):
        p0, p1, p2, p3 = (points[(i + k) % n] for k in (-1, 0, 1, 2))
        if not close:
            p0 = points[max(i - 1, 0)]
            p3 = points[min(i + 2, n - 1)]
        t = tension / 6
        path.cubicTo(
            p1[0] + (p2[0] - p0[0]) * t,
            p1[1] + (p2[1] - p0[1]) * t,
            p2[0] - (p3[0] - p1[0]) * t,
            p2[1] - (p3[1] - p1[1]) * t,
            p2[0],
            p2[1],
        )
    if close:
        path.close()
    return path


def ring(cx: float, cy: float, rx: float, ry: float, bumps: int, depth: float, phase: float = 0.0) -> Path:
    """A cloud-like closed outline with round bumps (wool, manes, bushes)."""
    path, step = Path(), 2 * math.pi / bumps
    for i in range(bumps + 1):
        a = phase + i * step
        x, y = cx + rx * math.cos(a), cy + ry * math.sin(a)
        if i == 0:
            path.moveTo(x, y)
            continue
        m = a - step / 2
        k = 1 + 2 * depth
        path.quadTo(cx + rx * k * math.cos(m), cy + ry * k * math.sin(m), x, y)
    path.close()
    return path


def star(cx: float, cy: float, r: float, points: int = 5, inner: float = 0.45, deg: float = -90) -> Path:
    pts = []
    for i in range(points * 2):
        a = math.radians(deg) + i * math.pi / points
        k = r if i % 2 == 0 else r * inner
        pts.append((cx + k * math.cos(a), cy + k * math.sin(a)))
    return poly(pts)


class Brush:
    """Draws on a skia canvas whose unit is 1/256 of the picture."""

    def __init__(self, canvas: skia.Canvas) -> None:
        self.c = canvas

    # -- plain marks ------------------------------------------------------
    def fill(self, path: Path, color: RGB, alpha: float = 1.0) -> None:
        self.c.drawPath(path, skia.Paint(AntiAlias=True, Color=argb(color, alpha)))

    def shader(self, path: Path, shader: skia.Shader) -> None:
        self.c.drawPath(path, skia.Paint(AntiAlias=True, Dither=True, Shader=shader))

    def soft(self, path: Path, color: RGB, sigma: float, alpha: float = 1.0) -> None:
        """A blurred fill."""
        blur = skia.MaskFilter.MakeBlur(skia.kNormal_BlurStyle, sigma)
        self.c.drawPath(path, skia.Paint(AntiAlias=True, Color=argb(color, alpha), MaskFilter=blur))

    def line(self, path: Path, color: RGB, width: float, alpha: float = 1.0, blur: float = 0.0) -> None:
        paint = skia.Paint(
            AntiAlias=True,
            Color=argb(color, alpha),
            Style=skia.Paint.kStroke_Style,
            StrokeWidth=width,
            StrokeCap=skia.Paint.kRound_Cap,
            StrokeJoin=skia.Paint.kRound_Join,
        )
        if blur:
            paint.setMaskFilter(skia.MaskFilter.MakeBlur(skia.kNormal_BlurStyle, blur))
        self.c.drawPath(path, paint)

    def glow(self, cx: float, cy: float, r: float, color: RGB, alpha: float, squash: float = 1.0) -> None:
        """A radial gradient that fades out: cheap softness."""
        self.c.save()
        self.c.translate(cx, cy)
        self.c.scale(1, squash)
        grad = skia.GradientShader.MakeRadial(
            (0, 0), r, [argb(color, alpha), argb(color, alpha * 0.55), argb(color, 0)], [0, 0.5, 1]
        )
        self.c.drawCircle(0, 0, r, skia.Paint(AntiAlias=True, Dither=True, Shader=grad))
        self.c.restore()

    # -- state ------------------------------------------------------------
    @contextmanager
    def clip(self, path: Path) -> Iterator[None]:
        self.c.save()
        self.c.clipPath(path, skia.ClipOp.kIntersect, True)
        yield
        self.c.restore()

    @contextmanager
    def at(self, dx: float = 0, dy: float = 0, deg: float = 0, scale: float = 1, about: Point = (0, 0), sx: float = 1) -> Iterator[None]:
        self.c.save()
        self.c.translate(dx + about[0], dy + about[1])
        if deg:
            self.c.rotate(deg)
        if scale != 1 or sx != 1:
            self.c.scale(scale * sx, scale)
        self.c.translate(-about[0], -about[1])
        yield
        self.c.restore()

    # -- volumes ----------------------------------------------------------
    def volume(self, path: Path, color: RGB, depth: float = 1.0) -> None:
        """Fill with a radial gradient lit from the top left."""
        b = path.getBounds()
        w, h = b.width(), b.height()
        colors = [argb(light(color, 0.8 * depth)), argb(color), argb(dark(color, 0.85 * depth))]
        grad = skia.GradientShader.MakeRadial(
            (b.left() + 0.33 * w, b.top() + 0.24 * h), 0.62 * math.hypot(w, h) + 0.1, colors, [0.0, 0.52, 1.0]
        )
        self.shader(path, grad)

    def blob(self, path: Path, color: RGB, depth: float = 1.0, line: float = 1.7, rim: bool = True) -> None:
        """A soft solid: gradient, inner shade, rim light, outline."""
        self.volume(path, color, depth)
        if rim:
            b = path.getBounds()
            size = min(b.width(), b.height())
            if size > 14:
                reach = min(9.0, size * 0.13)
                with self.clip(path):
                    self.c.translate(-reach * 0.35, -reach * 0.45)
                    self.line(path, dark(color, 1.25), reach, 0.5, reach * 0.5)
                    self.c.translate(reach * 0.75, reach * 0.95)
                    self.line(path, mix(light(color), WHITE, 0.6), reach * 0.5, 0.5, reach * 0.28)
                    if size > 34:  # light thrown back by the ground
                        self.c.translate(-reach * 0.62, -reach * 0.75)
                        self.line(path, mix(light(color), (206, 214, 255), 0.35), 2.2, 0.3, 1.0)
        if line:
            self.line(path, outline(color), line, 0.8)

    def limb(self, path: Path, width: float, color: RGB, line: float = 1.7) -> None:
        """A thick rounded stroke with the look of a solid (arms, tails, necks)."""
        self.line(path, outline(color), width + line, 0.85)
        b = path.getBounds()
        paint = skia.Paint(
            AntiAlias=True,
            Style=skia.Paint.kStroke_Style,
            StrokeWidth=width - line * 0.6,
            StrokeCap=skia.Paint.kRound_Cap,
            StrokeJoin=skia.Paint.kRound_Join,
            Dither=True,
            Shader=skia.GradientShader.MakeLinear(
                [(b.left() - width / 2, b.top() - width / 2), (b.right() + width / 2, b.bottom() + width / 2)],
                [argb(light(color, 0.7)), argb(color), argb(dark(color, 0.9))],
                [0, 0.45, 1],
            ),
        )
        self.c.drawPath(path, paint)

    def shine(self, cx: float, cy: float, rx: float, ry: float, deg: float = -30, alpha: float = 0.55) -> None:
        self.soft(ellipse(cx, cy, rx, ry, deg), WHITE, max(0.6, min(rx, ry) * 0.35), alpha)

    # -- faces ------------------------------------------------------------
    def blush(self, cx: float, cy: float, r: float, color: RGB = BLUSH, alpha: float = 0.62) -> None:
        self.glow(cx, cy, r * 1.3, color, alpha, 0.7)
        for k in (-1, 1):
            self.line(poly([(cx + k * 2.6 + 1, cy - 1.8), (cx + k * 2.6 - 1, cy + 1.8)], close=False), mix(color, WHITE, 0.5), 1.2, 0.7)

    def eye(self, cx: float, cy: float, r: float, gaze: Point, iris: RGB = (96, 58, 40), white: float = 1.0) -> None:
        """A big glossy eye; `white` > 1 leaves a wider rim of white."""
        rx, ry = r * 0.9, r * 1.06
        if white:
            k = 1.16 * white
            self.fill(ellipse(cx, cy, rx * k, ry * k), (255, 255, 255))
            self.line(ellipse(cx, cy, rx * k, ry * k), INK, 1.1, 0.45)
        gx, gy = cx + gaze[0] * r * 0.13, cy + gaze[1] * r * 0.13
        ball = ellipse(gx, gy, rx, ry)
        grad = skia.GradientShader.MakeLinear(
            [(gx, gy - ry), (gx, gy + ry)],
            [argb((36, 24, 30)), argb(mix((40, 26, 32), iris, 0.55)), argb(light(iris, 0.9))],
            [0, 0.5, 1],
        )
        self.shader(ball, grad)
        self.fill(ellipse(gx, gy - ry * 0.05, rx * 0.52, ry * 0.56), (22, 14, 22))
        self.line(ball, (44, 28, 34), 1.3)
        self.glow(gx + rx * 0.1, gy + ry * 0.62, rx * 0.6, light(iris, 1.0), 0.75, 0.7)
        self.fill(ellipse(gx - rx * 0.32, gy - ry * 0.38, rx * 0.36, ry * 0.36), WHITE)
        self.fill(ellipse(gx + rx * 0.38, gy + ry * 0.34, rx * 0.16, ry * 0.16), WHITE, 0.9)

    def closed_eye(self, cx: float, cy: float, r: float) -> None:
        lid = smooth([(cx - r, cy - r * 0.1), (cx, cy + r * 0.55), (cx + r, cy - r * 0.1)], close=False)
        self.line(lid, INK, 2.6)
        for k in (-0.8, 0.0, 0.8):
            x = cx + k * r
            y = cy + r * (0.5 - 0.5 * k * k)
            self.line(poly([(x, y), (x + k * 3, y + 3.4)], close=False), INK, 1.7)

    def mouth(self, cx: float, cy: float, w: float, open_: bool = False, cat: bool = False) -> None:
        if open_:
            shape = P_open(cx, cy, w)
            self.fill(shape, (150, 52, 60))
            with self.clip(shape):
                self.fill(ellipse(cx, cy + w * 0.95, w * 0.62, w * 0.5), (255, 128, 132))
            self.line(shape, INK, 1.6)
            return
        if cat:
            for s in (-1, 1):
                arc = smooth([(cx, cy), (cx + s * w * 0.5, cy + w * 0.36), (cx + s * w, cy - w * 0.02)], close=False)
                self.line(arc, INK, 2.0)
            return
        self.line(smooth([(cx - w, cy), (cx, cy + w * 0.5), (cx + w, cy)], close=False), INK, 2.1)


def P_open(cx: float, cy: float, w: float) -> Path:
    """A laughing mouth."""
    path = Path()
    path.moveTo(cx - w, cy)
    path.quadTo(cx, cy + w * 0.3, cx + w, cy)
    path.cubicTo(cx + w * 0.95, cy + w * 1.35, cx - w * 0.95, cy + w * 1.35, cx - w, cy)
    path.close()
    return path
