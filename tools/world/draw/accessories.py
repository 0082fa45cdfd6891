"""Twelve things to wear; each draws behind, on the body, or on the head."""

from __future__ import annotations

import math
from collections.abc import Callable

from .brush import P, Path, ellipse, poly, ring, smooth
from .palette import PROPS, RGB, WHITE, dark, light, luma, mix
from .rig import Figure, arm

Wear = Callable[[Figure, RGB], None]


def trim(c: RGB) -> RGB:
    return mix(c, WHITE, 0.62) if luma(c) < 215 else (255, 170, 182)


# -- head -----------------------------------------------------------------
def hat(f: Figure, c: RGB) -> None:
    b, r = f.b, f.rig
    x, y, k = r.hx, r.top + 7, r.hrx / 54
    with b.at(x, y, 0, k):
        b.soft(ellipse(0, 3, 46, 9), dark(f.color, 1.8), 3, 0.45)
        b.blob(P("M-30 0 C-33 -26 -22 -45 0 -45 C22 -45 33 -26 30 0 Z"), c)
        band = P("M-30.5 -4 C-14 2 14 2 30.5 -4 L30 -14 C14 -8 -14 -8 -30 -14 Z")
        b.blob(band, trim(c), line=1.0)
        brim = P("M-50 0 C-46 -8 -32 -6 0 -3 C32 -6 46 -8 50 0 C46 12 24 12 0 12 C-24 12 -46 12 -50 0 Z")
        b.blob(brim, c)


def crown(f: Figure, c: RGB) -> None:
    b, r = f.b, f.rig
    with b.at(r.hx, r.top + 4, 0, r.hrx / 54):
        b.soft(ellipse(0, 3, 32, 7), dark(f.color, 1.8), 2.5, 0.45)
        shape = P("M-30 4 L-36 -30 L-17 -15 L0 -38 L17 -15 L36 -30 L30 4 C12 10 -12 10 -30 4 Z")
        b.blob(shape, c, 1.2)
        b.line(smooth([(-31, -3), (0, 2), (31, -3)], close=False), light(c), 2, 0.8)
        for x, y, q in ((-36, -31, 4.5), (0, -39, 5.2), (36, -31, 4.5)):
            b.blob(ellipse(x, y, q), light(c, 0.6), line=1.2)
        gems = ((-17, -3, (236, 84, 96)), (0, -1, (90, 170, 240)), (17, -3, (120, 200, 110)))
        for x, y, g in gems:
            b.blob(ellipse(x, y, 4.4), g if abs(luma(g) - luma(c)) > 20 else trim(c), line=1.1)
            b.fill(ellipse(x - 1.3, y - 1.5, 1.3), WHITE, 0.9)


def glasses(f: Figure, c: RGB) -> None:
    b, r = f.b, f.rig
    rad = max(15.5, r.eye_r * 1.36)
    dx = max(r.eye_dx, rad + 2)
    b.line(smooth([(r.hx - dx + rad, r.eye_y - 3), (r.hx, r.eye_y - 7), (r.hx + dx - rad, r.eye_y - 3)], close=False), c, 3.6)
    for s in (-1, 1):
        x = r.hx + s * dx
        lens = ellipse(x, r.eye_y, rad)
        b.fill(lens, (214, 238, 255), 0.22)
        b.line(lens, dark(c, 1.6), 5.0, 0.8)
        b.line(lens, c, 3.6)
        b.line(smooth([(x - rad * 0.68, r.eye_y - rad * 0.2), (x - rad * 0.3, r.eye_y - rad * 0.68)], close=False), WHITE, 2.4, 0.85)
        b.line(poly([(x + s * rad, r.eye_y - 2), (x + s * (rad + 7), r.eye_y - 5)], close=False), c, 3.4)


def bow(f: Figure, c: RGB) -> None:
    b, r = f.b, f.rig
    x, y = r.ear
    with b.at(x - 4, y - 4, 22, 1.0):
        for s in (-1, 1):
            wing = P("M0 0 C8 -18 24 -22 30 -15 C34 -5 34 6 30 14 C24 20 8 16 0 0 Z") if s > 0 else P("M0 0 C-8 -18 -24 -22 -30 -15 C-34 -5 -34 6 -30 14 C-24 20 -8 16 0 0 Z")
            b.blob(wing, c)
            b.line(smooth([(s * 6, -1), (s * 14, -4), (s * 20, -4)], close=False), dark(c, 1.4), 1.8, 0.6)
            b.fill(ellipse(s * 21, 4, 2.6), trim(c), 0.9)
            b.fill(ellipse(s * 22, -10, 2.2), trim(c), 0.9)
        b.blob(ellipse(0, 0, 7.5, 8.5), light(c, 0.25))


def headphones(f: Figure, c: RGB) -> None:
    b, r = f.b, f.rig
    rx = r.hrx * max(1.0, min(r.phones, 1.2)) + 3
    top = r.top - 10
    arc = Path()
    arc.moveTo(r.hx - rx, r.hy)
    arc.cubicTo(r.hx - rx, top - 6, r.hx - rx * 0.5, top, r.hx, top)
    arc.cubicTo(r.hx + rx * 0.5, top, r.hx + rx, top - 6, r.hx + rx, r.hy)
    b.line(arc, dark(c, 1.9), 9.5, 0.9)
    b.line(arc, c, 7.5)
    b.line(arc, light(c), 2.2, 0.7)
    for s in (-1, 1):
        b.blob(ellipse(r.hx + s * rx, r.hy + 4, 13, 19), c)
        b.blob(ellipse(r.hx + s * (rx - 3), r.hy + 4, 7, 12), trim(c), line=1.1)


def flower(f: Figure, c: RGB) -> None:
    b, r = f.b, f.rig
    x, y = r.ear
    with b.at(x - 6, y - 4, 10):
        for a in (200, 250):
            q = math.radians(a - 70)
            b.blob(ellipse(16 * math.cos(q), 16 * math.sin(q), 11, 5.5, a - 70), (116, 190, 100), line=1.2)
        for i in range(5):
            a = math.radians(-90 + i * 72)
            b.blob(ellipse(12 * math.cos(a), 12 * math.sin(a), 10), c, line=1.3)
        b.blob(ellipse(0, 0, 7), (255, 208, 70) if c != PROPS["yellow"] else (250, 150, 70), line=1.2)


# -- body -----------------------------------------------------------------
def scarf(f: Figure, c: RGB) -> None:
    b, r = f.b, f.rig
    with b.at(r.hx, r.neck, 0, r.neck_w / 30):
        tail = P("M12 0 L30 2 L32 42 L13 44 Z")
        b.blob(tail, c)
        with b.clip(tail):
            for y in (16, 30):
                b.line(poly([(8, y), (38, y)], close=False), trim(c), 5, 0.9)
        for k in range(5):
            b.line(poly([(15 + k * 3.8, 43), (15 + k * 3.8, 49)], close=False), dark(c), 1.8)
        wrap = P("M-40 -5 C-20 6 20 6 40 -5 C46 2 44 12 36 16 C16 23 -16 23 -36 16 C-44 12 -46 2 -40 -5 Z")
        b.blob(wrap, c)
        with b.clip(wrap):
            for x in (-30, -10, 10, 30):
                b.line(poly([(x, -6), (x * 0.85, 24)], close=False), trim(c), 5, 0.85)


def necktie(f: Figure, c: RGB) -> None:
    b, r = f.b, f.rig
    with b.at(r.hx, r.neck + 2, 0, min(1.0, r.neck_w / 28)):
        for s in (-1, 1):
            collar = poly([(0, 2), (s * 24, -6), (s * 21, 10), (s * 7, 9)])
            b.blob(collar, (250, 250, 252), line=1.2)
        blade = P("M-7 8 H7 L13 44 L0 56 L-13 44 Z")
        b.blob(blade, c)
        with b.clip(blade):
            for y in (16, 30, 44):
                b.line(poly([(-18, y + 8), (18, y - 8)], close=False), trim(c), 4, 0.85)
        b.blob(P("M-8 0 H8 L6 12 H-6 Z"), light(c, 0.2), line=1.5)


def necklace(f: Figure, c: RGB) -> None:
    b, r = f.b, f.rig
    n, w = 9, r.neck_w + 3
    for i in range(n):
        t = -1 + 2 * i / (n - 1)
        x, y = r.hx + w * math.sin(t * 1.35) / math.sin(1.35), r.neck + 1 + 19 * math.cos(t * 1.5)
        q = 5.8 - 1.4 * abs(t)
        b.blob(ellipse(x, y, q), c, line=1.3, rim=False)
        b.fill(ellipse(x - q * 0.35, y - q * 0.38, q * 0.28), WHITE, 0.95)
    gem = P(f"M{r.hx} {r.neck + 44} C{r.hx - 13} {r.neck + 34} {r.hx - 9} {r.neck + 23} {r.hx} {r.neck + 29} C{r.hx + 9} {r.neck + 23} {r.hx + 13} {r.neck + 34} {r.hx} {r.neck + 44} Z")
    b.blob(gem, (255, 208, 84) if luma(c) > 120 and c != PROPS["yellow"] else (244, 96, 110), line=1.3)


def skirt(f: Figure, c: RGB) -> None:
    b, r = f.b, f.rig
    y0 = r.by - 6
    w0, w1 = r.brx * 0.98, r.brx + 19
    path = Path()
    path.moveTo(r.bx - w0, y0)
    path.cubicTo(r.bx - w0 - 4, y0 + 12, r.bx - w1 - 2, y0 + 22, r.bx - w1, y0 + 32)
    n = 6
    for i in range(n):
        xa = r.bx - w1 + (2 * w1) * (i + 0.5) / n
        xb = r.bx - w1 + (2 * w1) * (i + 1) / n
        path.quadTo(xa, y0 + 44, xb, y0 + 32)
    path.cubicTo(r.bx + w1 + 2, y0 + 22, r.bx + w0 + 4, y0 + 12, r.bx + w0, y0)
    path.quadTo(r.bx, y0 + 9, r.bx - w0, y0)
    path.close()
    b.soft(ellipse(r.bx, y0 + 38, w1 * 0.8, 7), dark(f.color, 1.8), 3, 0.4)
    b.blob(path, c)
    with b.clip(path):
        for i in range(1, n):
            x = r.bx - w1 + 2 * w1 * i / n
            b.line(smooth([(r.bx + (x - r.bx) * 0.62, y0 + 6), (x, y0 + 34)], close=False), dark(c, 1.3), 2.4, 0.5)
        for i in range(n):
            x = r.bx - w1 + 2 * w1 * (i + 0.5) / n
            b.fill(ellipse(r.bx + (x - r.bx) * 0.9, y0 + 25, 2.6), trim(c), 0.95)
    band = smooth([(r.bx - w0, y0), (r.bx, y0 + 8), (r.bx + w0, y0)], close=False)
    b.line(band, dark(c, 1.5), 8, 0.9)
    b.line(band, light(c, 0.35), 6)


def cape_back(f: Figure, c: RGB) -> None:
    b, r = f.b, f.rig
    y = r.neck - 4
    path = P(f"M{r.bx - 28} {y} C{r.bx - 48} {y + 20} {r.bx - 70} 190 {r.bx - 74} 216 C{r.bx - 56} 226 {r.bx - 44} 214 {r.bx - 28} 222 C{r.bx - 10} 228 {r.bx + 10} 228 {r.bx + 28} 222 C{r.bx + 44} 214 {r.bx + 56} 226 {r.bx + 74} 216 C{r.bx + 70} 190 {r.bx + 48} {y + 20} {r.bx + 28} {y} Z")
    b.blob(path, c)
    for s in (-1, 1):
        fold = smooth([(r.bx + s * 34, y + 16), (r.bx + s * 50, 186), (r.bx + s * 53, 214)], close=False)
        b.line(fold, dark(c, 1.5), 3, 0.5, 0.8)


def cape_front(f: Figure, c: RGB) -> None:
    b, r = f.b, f.rig
    with b.at(r.hx, r.neck, 0, r.neck_w / 30):
        collar = P("M-36 -5 C-16 7 16 7 36 -5 L38 6 C16 18 -16 18 -38 6 Z")
        b.blob(collar, c)
        b.blob(ellipse(0, 10, 7), (255, 210, 90) if c != PROPS["yellow"] else (240, 100, 100), line=1.4)


def pack_back(f: Figure, c: RGB) -> None:
    b, r = f.b, f.rig
    w = r.brx + 17
    b.blob(P(f"M{r.bx - w} 170 C{r.bx - w} 148 {r.bx - w + 14} 144 {r.bx} 144 C{r.bx + w - 14} 144 {r.bx + w} 148 {r.bx + w} 170 V204 C{r.bx + w} 214 {r.bx + w - 8} 216 {r.bx} 216 C{r.bx - w + 8} 216 {r.bx - w} 214 {r.bx - w} 204 Z"), c)
    for s in (-1, 1):
        b.blob(ellipse(r.bx + s * (w + 1), 196, 8, 13), light(c, 0.4), line=1.4)


def pack_front(f: Figure, c: RGB) -> None:
    b, r = f.b, f.rig
    for s in (-1, 1):
        x = r.bx + s * r.brx * 0.56
        strap = smooth([(x - s * 2, r.by - 34), (x + s * 3, r.by - 16), (x + s * 8, r.by + 8), (x + s * 14, r.by + 20)], close=False)
        b.line(strap, dark(c, 1.7), 10.5, 0.85)
        b.line(strap, c, 8.5)
        b.line(strap, light(c, 0.8), 2, 0.6)
        b.blob(P(f"M{x - 4 + s * 3} {r.by - 12} h9 v7 h-9 Z".replace("h9", f"H{x + 5 + s * 3}").replace("v7", f"V{r.by - 4}").replace("h-9", f"H{x - 4 + s * 3}")), (250, 214, 110), line=1.1)


BACK: dict[str, Wear] = {"cape": cape_back, "backpack": pack_back}
BODY: dict[str, Wear] = {"skirt": skirt, "backpack": pack_front}
NECK: dict[str, Wear] = {"scarf": scarf, "necktie": necktie, "necklace": necklace, "cape": cape_front}
HEAD: dict[str, Wear] = {"hat": hat, "crown": crown, "glasses": glasses, "bow": bow, "headphones": headphones, "flower": flower}
__all__ = ["BACK", "BODY", "HEAD", "NECK", "arm", "ring"]
