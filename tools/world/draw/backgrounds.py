"""The places; all of them light, soft and quieter than the figure."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from .._skia import skia
from .brush import Brush, P, argb, ellipse, poly, ring, rrect, smooth, star
from .palette import RGB, WHITE, mix

FULL = P("M-20 -20 H276 V276 H-20 Z")
STUDIO: list[tuple[RGB, RGB]] = [
    ((255, 243, 224), (252, 222, 190)),
    ((232, 244, 255), (194, 220, 246)),
    ((255, 234, 240), (250, 206, 222)),
    ((234, 248, 232), (200, 230, 200)),
    ((243, 236, 255), (216, 204, 244)),
]


def gradient(b: Brush, top: RGB, bottom: RGB, y0: float = 0, y1: float = 256) -> None:
    b.shader(FULL, skia.GradientShader.MakeLinear([(0, y0), (0, y1)], [argb(top), argb(bottom)]))


def spot(b: Brush, inner: RGB, outer: RGB, cx: float = 110, cy: float = 96, r: float = 210) -> None:
    b.shader(FULL, skia.GradientShader.MakeRadial((cx, cy), r, [argb(inner), argb(outer)]))


def cloud(b: Brush, x: float, y: float, k: float, alpha: float = 0.9) -> None:
    with b.at(x, y, 0, k):
        for dx, dy, r in ((-20, 3, 11), (-6, -6, 15), (12, -3, 13), (25, 4, 9), (0, 5, 14)):
            b.soft(ellipse(dx, dy, r * 1.1, r), WHITE, 1.5, alpha)


def studio(b: Brush, rng: random.Random) -> None:
    inner, outer = STUDIO[rng.randrange(len(STUDIO))]
    spot(b, inner, outer)
    b.glow(128, 232, 130, mix(outer, WHITE, 0.5), 0.6, 0.3)


def white(b: Brush, _rng: random.Random) -> None:
    b.fill(FULL, WHITE)


def grass(b: Brush, x: float, y: float, c: RGB) -> None:
    for dx, h in ((-6, 8), (-2.5, 13), (2, 12), (6, 7.5)):
        b.fill(P(f"M{x + dx * 0.5 - 1.7:.1f} {y:.1f} Q{x + dx * 0.7:.1f} {y - h * 0.6:.1f} {x + dx * 1.5:.1f} {y - h:.1f} Q{x + dx * 0.9 + 1.5:.1f} {y - h * 0.5:.1f} {x + dx * 0.5 + 1.7:.1f} {y:.1f} Z"), c, 0.85)


def meadow(b: Brush, rng: random.Random) -> None:
    gradient(b, (168, 218, 255), (232, 247, 255), 0, 170)
    b.glow(36, 34, 62, (255, 240, 170), 0.9)
    b.soft(ellipse(36, 34, 17), (255, 228, 120), 1.5)
    cloud(b, 92 + rng.uniform(-14, 14), 40, 0.9)
    cloud(b, 214 + rng.uniform(-10, 10), 58, 0.8)
    b.volume(P("M-20 176 C30 140 90 150 140 168 C190 150 230 150 276 170 V280 H-20 Z"), (158, 214, 128), 0.6)
    b.volume(P("M-20 200 C40 176 110 190 150 192 C200 184 240 190 276 196 V280 H-20 Z"), (126, 198, 104), 0.7)
    for i in range(9):
        x, y = (i * 61 + rng.uniform(0, 26)) % 256, 206 + (i * 17) % 46
        grass(b, x, y, (98, 178, 84))
    for i in range(7):
        x, y = (i * 83 + 14 + rng.uniform(0, 24)) % 256, 212 + (i * 19) % 38
        c = ((255, 255, 255), (255, 214, 110), (255, 170, 196))[i % 3]
        for k in range(5):
            a = k * math.pi * 0.4
            b.fill(ellipse(x + 3.4 * math.cos(a), y + 3.4 * math.sin(a), 2.8), c)
        b.fill(ellipse(x, y, 2.3), (255, 188, 60))


def beach(b: Brush, rng: random.Random) -> None:
    gradient(b, (150, 214, 255), (226, 246, 255), 0, 130)
    b.glow(216, 36, 60, (255, 244, 190), 0.9)
    b.soft(ellipse(216, 36, 17), (255, 232, 140), 1.5)
    cloud(b, 60 + rng.uniform(-14, 14), 44, 0.9)
    b.shader(P("M-20 126 H276 V190 H-20 Z"), skia.GradientShader.MakeLinear([(0, 126), (0, 190)], [argb((76, 172, 232)), argb((148, 224, 240))]))
    for i in range(7):
        x, y = (i * 71 + rng.uniform(0, 30)) % 250, 134 + (i * 13) % 38
        b.line(smooth([(x - 9, y), (x, y - 2), (x + 9, y)], close=False), WHITE, 2, 0.6)
    shore = P("M-20 186 C30 170 80 188 128 182 C176 176 226 190 276 178 V280 H-20 Z")
    b.line(P("M-20 184 C30 168 80 186 128 180 C176 174 226 188 276 176"), WHITE, 7, 0.85, 1)
    b.volume(shore, (250, 224, 170), 0.6)
    for i in range(10):
        b.fill(ellipse((i * 57 + rng.uniform(0, 20)) % 256, 200 + (i * 23) % 50, 1.4), (220, 180, 120), 0.7)
    b.blob(star(34 + rng.uniform(-6, 6), 228, 11, 5, 0.5), (255, 140, 110), line=1.3)
    x = 222 + rng.uniform(-6, 6)
    b.blob(P(f"M{x} 240 C{x - 16} 238 {x - 14} 222 {x} 220 C{x + 14} 222 {x + 16} 238 {x} 240 Z"), (255, 208, 214), line=1.3)
    for k in (-5, 0, 5):
        b.line(poly([(x, 238), (x + k, 224)], close=False), (226, 150, 164), 1.3, 0.8)


def night(b: Brush, rng: random.Random) -> None:
    gradient(b, (38, 44, 104), (120, 112, 190), 0, 220)
    b.glow(206, 46, 70, (255, 240, 190), 0.5)
    moon = ellipse(206, 46, 23)
    b.blob(moon, (255, 238, 178), 0.8, 0)
    for x, y, r in ((198, 40, 4), (212, 54, 5), (214, 38, 2.5)):
        b.soft(ellipse(x, y, r), (236, 206, 130), 0.8, 0.7)
    for i in range(26):
        x, y = (i * 67 + rng.uniform(0, 34)) % 256, (i * 41 + rng.uniform(0, 14)) % 176
        if i % 5 == 0:
            b.glow(x, y, 9, (255, 246, 200), 0.6)
            b.fill(star(x, y, 5.5, 4, 0.32), (255, 248, 214))
        else:
            b.fill(ellipse(x, y, 0.9 + (i % 3) * 0.5), (255, 250, 228), 0.9)
    b.volume(P("M-20 198 C30 170 90 176 130 190 C180 172 230 178 276 192 V280 H-20 Z"), (84, 92, 160), 0.6)
    b.volume(P("M-20 216 C50 198 110 208 150 208 C200 202 240 206 276 212 V280 H-20 Z"), (70, 78, 142), 0.6)


def tree(b: Brush, x: float, y: float, k: float, c: RGB) -> None:
    with b.at(x, y, 0, k):
        b.blob(P("M-7 0 C-5 -20 -5 -30 -4 -44 H4 C5 -30 5 -20 8 0 Z"), (164, 118, 84), line=0.9)
        b.blob(ring(0, -66, 30, 34, 9, 0.1, 0.3), c, line=0.9)
        b.glow(-9, -80, 18, (240, 255, 200), 0.35)


def pine(b: Brush, x: float, y: float, k: float, c: RGB, snow: bool = False) -> None:
    with b.at(x, y, 0, k):
        b.blob(P("M-6 0 V-18 H6 V0 Z"), (156, 112, 84), line=1.2)
        for i, w in enumerate((30, 24, 17)):
            top = -50 - i * 22
            b.blob(P(f"M0 {top} C{w * 0.4} {top + 16} {w * 0.8} {top + 28} {w} {top + 36} C{w * 0.4} {top + 42} {-w * 0.4} {top + 42} {-w} {top + 36} C{-w * 0.8} {top + 28} {-w * 0.4} {top + 16} 0 {top} Z"), c, line=0.8)
            if snow:
                b.soft(P(f"M0 {top} C{w * 0.3} {top + 10} {w * 0.5} {top + 18} {w * 0.6} {top + 22} C{w * 0.2} {top + 17} {-w * 0.2} {top + 24} {-w * 0.6} {top + 22} C{-w * 0.5} {top + 18} {-w * 0.3} {top + 10} 0 {top} Z"), WHITE, 0.8, 0.95)


def forest(b: Brush, rng: random.Random) -> None:
    gradient(b, (206, 238, 214), (240, 250, 224), 0, 190)
    for i in range(6):
        x = i * 52 + rng.uniform(-8, 8)
        b.soft(ring(x, 120, 36, 60, 8, 0.08, i), (168, 214, 172), 3, 0.9)
    b.volume(P("M-20 190 C60 176 180 178 276 190 V280 H-20 Z"), (134, 190, 112), 0.7)
    tree(b, 28 + rng.uniform(-5, 5), 204, 1.35, (98, 174, 104))
    tree(b, 228 + rng.uniform(-5, 5), 208, 1.45, (114, 184, 98))
    pine(b, 74 + rng.uniform(-4, 4), 188, 0.9, (88, 160, 118))
    pine(b, 184 + rng.uniform(-4, 4), 188, 0.85, (88, 160, 118))
    for i in range(6):
        grass(b, (i * 89 + rng.uniform(0, 24)) % 256, 214 + (i * 15) % 36, (100, 164, 88))
    for x in (40 + rng.uniform(-6, 6), 216 + rng.uniform(-6, 6)):
        b.blob(rrect(x - 4, 230, 8, 13, 3), (255, 244, 226), line=1.2)
        b.blob(P(f"M{x - 12} 232 C{x - 11} 216 {x + 11} 216 {x + 12} 232 C{x + 6} 235 {x - 6} 235 {x - 12} 232 Z"), (236, 92, 84), line=1.3)
        for dx, dy in ((-5, -6), (4, -8), (6, -3)):
            b.fill(ellipse(x + dx, 232 + dy, 1.8), WHITE)


def snow(b: Brush, rng: random.Random) -> None:
    gradient(b, (174, 208, 244), (232, 242, 255), 0, 190)
    b.volume(P("M-20 170 C30 140 90 152 128 168 C180 146 230 150 276 168 V280 H-20 Z"), (226, 238, 252), 0.4)
    pine(b, 34 + rng.uniform(-5, 5), 196, 1.15, (92, 164, 146), True)
    pine(b, 222 + rng.uniform(-5, 5), 200, 1.25, (92, 164, 146), True)
    b.volume(P("M-20 204 C50 184 110 196 150 196 C200 188 240 192 276 200 V280 H-20 Z"), (246, 250, 255), 0.35)
    for i in range(26):
        x, y = (i * 73 + rng.uniform(0, 30)) % 256, (i * 37 + rng.uniform(0, 16)) % 210
        b.soft(ellipse(x, y, 1.8 + (i % 3)), WHITE, 0.7, 0.95)


def classroom(b: Brush, rng: random.Random) -> None:
    gradient(b, (255, 240, 214), (252, 226, 190), 0, 196)
    b.volume(P("M-20 196 H276 V280 H-20 Z"), (222, 172, 122), 0.6)
    for x in (20, 78, 136, 194, 252):
        b.line(poly([(x, 198), (128 + (x - 128) * 1.5, 260)], close=False), (190, 138, 94), 1.8, 0.6)
    b.line(poly([(-20, 196), (276, 196)], close=False), (255, 250, 240), 6, 0.9)
    x = 16 + rng.uniform(-4, 4)
    b.blob(rrect(x, 34, 62, 78, 5), (255, 252, 246))
    b.shader(rrect(x + 6, 40, 50, 66, 3), skia.GradientShader.MakeLinear([(0, 40), (0, 106)], [argb((150, 212, 255)), argb((226, 246, 255))]))
    with b.clip(rrect(x + 6, 40, 50, 66, 3)):
        cloud(b, x + 30, 66, 0.6)
        b.fill(ellipse(x + 20, 112, 34, 18), (150, 210, 130))
    b.line(poly([(x + 31, 40), (x + 31, 106)], close=False), (255, 252, 246), 4)
    b.line(poly([(x + 6, 73), (x + 56, 73)], close=False), (255, 252, 246), 4)
    y = 92 + rng.uniform(-3, 3)
    b.blob(rrect(190, y, 60, 8, 2), (206, 150, 100), line=1.3)
    for i, c in enumerate(((236, 100, 96), (96, 164, 232), (255, 200, 84), (130, 196, 120), (170, 130, 220))):
        h = 26 + (i * 7) % 9
        b.blob(rrect(196 + i * 9, y - h, 8, h, 1.5), c, line=1.1)
    b.blob(ellipse(220, 40, 15), (255, 252, 246))
    b.line(poly([(220, 40), (220, 31)], close=False), (90, 70, 80), 2)
    b.line(poly([(220, 40), (226, 43)], close=False), (90, 70, 80), 2)


def rainbow(b: Brush, rng: random.Random) -> None:
    gradient(b, (150, 206, 255), (238, 246, 255), 0, 220)
    bands = ((246, 120, 120), (255, 178, 104), (255, 228, 128), (150, 214, 140), (126, 190, 246), (178, 150, 232))
    for i, c in enumerate(bands):
        b.line(ellipse(128, 196, 152 - i * 10, 152 - i * 10), c, 10.6, 0.8)
    for x, y, k in ((26, 178, 1.3), (232, 182, 1.25), (60, 44, 0.7), (212, 30, 0.7)):
        cloud(b, x + rng.uniform(-5, 5), y, k, 0.95)
    for i in range(9):
        x = i * 34 - 8 + rng.uniform(-3, 3)
        b.soft(ellipse(x, 234 + (i % 2) * 5, 30, 22), (236, 244, 255) if i % 2 else WHITE, 3, 0.95)
    b.soft(P("M-20 240 H276 V280 H-20 Z"), WHITE, 4)


HAZE: dict[str, tuple[RGB, float]] = {
    "meadow": ((255, 255, 240), 0.3),
    "beach": ((255, 252, 240), 0.3),
    "night": ((190, 170, 240), 0.32),
    "forest": ((255, 255, 236), 0.42),
    "snow": ((255, 255, 255), 0.4),
    "classroom": ((255, 252, 240), 0.4),
    "rainbow": ((255, 255, 255), 0.3),
}


def place(b: Brush, name: str, rng: random.Random) -> None:
    """A background, hazy in the middle so that the figure stands out."""
    PLACES[name](b, rng)
    if name in HAZE:
        color, alpha = HAZE[name]
        b.glow(128, 138, 150, color, alpha)


Place = Callable[[Brush, random.Random], None]
PLACES: dict[str, Place] = {
    "studio": studio,
    "white": white,
    "meadow": meadow,
    "beach": beach,
    "night": night,
    "forest": forest,
    "snow": snow,
    "classroom": classroom,
    "rainbow": rainbow,
}
