"""Colours and the shades derived from them (light from the top left)."""

from __future__ import annotations

import colorsys
from functools import lru_cache

RGB = tuple[int, int, int]

BASE: dict[str, RGB] = {
    "red": (233, 80, 76),
    "orange": (249, 148, 58),
    "yellow": (255, 209, 66),
    "green": (106, 190, 96),
    "blue": (86, 156, 236),
    "purple": (158, 116, 222),
    "pink": (250, 146, 182),
    "brown": (166, 112, 76),
    "grey": (158, 165, 178),
    "white": (251, 249, 246),
    "black": (72, 72, 86),
}
# the look of an animal in its own natural colour
NATURAL: dict[str, RGB] = {
    "cat": (252, 168, 86),
    "dog": (196, 140, 92),
    "lion": (248, 192, 92),
    "giraffe": (252, 206, 104),
    "deer": (200, 138, 88),
    "hedgehog": (150, 106, 78),
    "owl": (168, 120, 84),
    "monkey": (158, 104, 72),
    "dinosaur": (116, 196, 110),
    "frog": (124, 206, 88),
    "turtle": (134, 200, 108),
    "elephant": (160, 176, 200),
    "mouse": (176, 180, 192),
    "pig": (252, 172, 188),
    "fox": (244, 134, 58),
    "penguin": (66, 76, 104),
}
PROPS: dict[str, RGB] = {**BASE, "white": (248, 246, 250), "black": (62, 62, 74)}
INK: RGB = (64, 46, 52)
BLUSH: RGB = (255, 120, 130)
CREAM: RGB = (255, 246, 230)
PEACH: RGB = (255, 222, 190)
BEAK: RGB = (255, 164, 52)
ROSE: RGB = (255, 166, 176)
WHITE: RGB = (255, 255, 255)


def mix(a: RGB, b: RGB, t: float) -> RGB:
    return (
        round(a[0] + (b[0] - a[0]) * t),
        round(a[1] + (b[1] - a[1]) * t),
        round(a[2] + (b[2] - a[2]) * t),
    )


def luma(c: RGB) -> float:
    return 0.3 * c[0] + 0.59 * c[1] + 0.11 * c[2]


def _turn(h: float, goal: float, step: float) -> float:
    d = (goal - h + 0.5) % 1.0 - 0.5
    return (h + max(-step, min(step, d))) % 1.0


def _hsv(c: RGB) -> tuple[float, float, float]:
    return colorsys.rgb_to_hsv(c[0] / 255, c[1] / 255, c[2] / 255)


def _rgb(h: float, s: float, v: float) -> RGB:
    r, g, b = colorsys.hsv_to_rgb(h, max(0.0, min(1.0, s)), max(0.0, min(1.0, v)))
    return (round(r * 255), round(g * 255), round(b * 255))


@lru_cache(maxsize=4096)
def dark(c: RGB, amount: float = 1.0) -> RGB:
    """The shaded side: darker, a little richer, its hue turned away from yellow."""
    h, s, v = _hsv(c)
    if s < 0.1:
        h, s = 0.68, s + 0.1 * amount
    else:
        goal = 0.0 if h < 0.17 or h > 0.9 else 0.7
        h, s = _turn(h, goal, 0.035 * amount), s + 0.12 * amount * s
    return _rgb(h, s, v * (1 - 0.22 * amount))


@lru_cache(maxsize=4096)
def light(c: RGB, amount: float = 1.0) -> RGB:
    """The lit side: brighter, warmer."""
    h, s, v = _hsv(c)
    if s >= 0.1:
        h = _turn(h, 0.14, 0.015 * amount)
    return _rgb(h, s * (1 - 0.3 * amount), v + (1 - v) * 0.55 * amount)


@lru_cache(maxsize=4096)
def outline(c: RGB) -> RGB:
    """The colour of the line around a fill."""
    return mix(dark(c, 1.9), INK, 0.3 if luma(c) < 200 else 0.12)


@lru_cache(maxsize=4096)
def belly(c: RGB) -> RGB:
    """The lighter front of a body."""
    if luma(c) > 235:
        return (255, 241, 226)
    if luma(c) < 90:
        return mix(c, (225, 225, 238), 0.72)
    return mix(c, CREAM, 0.66)


@lru_cache(maxsize=4096)
def marking(c: RGB) -> RGB:
    """Stripes and patches on a coat: dark on light coats, light on dark ones."""
    if luma(c) < 95:
        return mix(c, WHITE, 0.42)
    if luma(c) > 235:
        return (78, 72, 84)
    return mix(dark(c, 2.2), INK, 0.35)


@lru_cache(maxsize=4096)
def sock(c: RGB) -> RGB:
    """Dark tips of ears, feet and tails."""
    if luma(c) < 95:
        return mix(c, INK, 0.55)
    return mix(dark(c, 1.3), (76, 50, 46), 0.66)


@lru_cache(maxsize=4096)
def cheek(c: RGB) -> RGB:
    """Blush that stays rosy on any coat."""
    warm = c[0] >= c[2] and c[0] >= c[1]
    return BLUSH if warm or luma(c) > 225 else mix((255, 128, 160), c, 0.12)


def coat(animal: str, color: str, natural: str) -> RGB:
    """The body colour of an animal that is said to be of a colour."""
    return NATURAL.get(animal, BASE[color]) if color == natural else BASE[color]
