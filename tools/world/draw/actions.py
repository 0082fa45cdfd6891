"""What the animal does: where its hands are, and the things behind and before it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from .._skia import skia
from .brush import P, Path, Point, argb, ellipse, poly, rrect, smooth, star
from .palette import WHITE, dark, light
from .rig import Figure
from .text import text_at

Draw = Callable[[Figure, random.Random], None]
WOOD = (206, 150, 96)


def nothing(_f: Figure, _rng: random.Random) -> None:
    return None


@dataclass(frozen=True)
class Action:
    """Hands are (left, right) as seen; a hand listed in `grip` is drawn over the prop."""

    hands: tuple[Point, Point] = ((88, 202), (168, 202))
    behind: Draw = nothing
    front: Draw = nothing
    grip: tuple[int, ...] = ()
    lift: float = 0
    to_mouth: float = 0  # 1: the right hand follows the height of the mouth


def bubble(f: Figure, x: float, y: float, r: float) -> None:
    b = f.b
    colors = [argb((255, 255, 255), 0.1), argb((196, 228, 255), 0.22), argb((150, 190, 255), 0.55), argb((240, 170, 240), 0.75)]
    grad = skia.GradientShader.MakeRadial((x - r * 0.15, y - r * 0.15), r * 1.18, colors, [0, 0.55, 0.84, 1])
    b.shader(ellipse(x, y, r), grad)
    b.line(ellipse(x, y, r), (150, 160, 236), 1.5, 0.75)
    b.line(smooth([(x - r * 0.62, y - r * 0.1), (x - r * 0.45, y - r * 0.48), (x - r * 0.08, y - r * 0.65)], close=False), WHITE, max(1.8, r * 0.18), 0.95)
    b.fill(ellipse(x + r * 0.4, y + r * 0.42, r * 0.12), WHITE, 0.9)


def bubbles_front(f: Figure, rng: random.Random) -> None:
    b = f.b
    mx, my = f.rig.mouth
    hx, hy = 172, 176 + f.reach
    wand = (min(max(mx + 30, 160), 168), my + 14)
    b.line(poly([(hx, hy + 6), wand], close=False), (214, 92, 140), 4.4)
    b.line(poly([(hx, hy + 6), wand], close=False), (255, 146, 186), 2.6)
    rx, ry = wand[0] + 3, wand[1] - 8
    b.fill(ellipse(rx, ry, 9.5), (206, 236, 255), 0.6)
    b.line(ellipse(rx, ry, 9.5), (214, 92, 140), 4.2)
    b.line(ellipse(rx, ry, 9.5), (255, 146, 186), 2.4)
    spots = ((194, 132, 11), (214, 108, 15), (226, 152, 10), (232, 72, 12), (206, 58, 18), (238, 122, 7), (196, 88, 8), (30, 70, 13), (48, 44, 8), (24, 112, 8), (222, 30, 9))
    for x, y, r in spots:
        bubble(f, x + rng.uniform(-3, 3), y + rng.uniform(-3, 3), r)


def wings(f: Figure, _rng: random.Random) -> None:
    b = f.b
    c = (250, 250, 255)
    for s in (-1, 1):
        with b.at(128, 172, 0, 1, (0, 0), sx=s):
            b.soft(P("M18 0 C40 -60 84 -84 108 -74 C120 -40 100 24 30 20 Z"), (120, 130, 180), 4, 0.28)
            for path in (
                "M20 8 C44 10 84 22 96 2 C86 -8 60 -10 20 -8 Z",
                "M20 2 C52 2 96 4 108 -22 C92 -32 60 -24 20 -14 Z",
                "M18 -4 C44 -52 82 -78 112 -72 C118 -46 92 -14 24 6 Z",
            ):
                b.blob(P(path), c, line=1.6)
            for k in (0.45, 0.7):
                b.line(smooth([(26, -8), (60 * k + 20, -34 * k - 12), (100 * k + 12, -62 * k)], close=False), (190, 198, 230), 1.8, 0.7)


def puffs(f: Figure, rng: random.Random) -> None:
    for x, y in ((44, 224), (206, 228), (128, 240)):
        x += rng.uniform(-6, 6)
        for dx, r in ((-12, 8), (0, 12), (12, 8)):
            f.b.soft(ellipse(x + dx, y - r * 0.3, r * 1.2, r * 0.8), WHITE, 2.2, 0.75)


BALLOONS = ((240, 84, 96), (84, 160, 240), (255, 190, 60), (170, 120, 230), (110, 196, 120))


def balloon_behind(f: Figure, rng: random.Random) -> None:
    b = f.b
    c = BALLOONS[rng.randrange(len(BALLOONS))]
    x, y = 214 + rng.uniform(-3, 3), 62 + rng.uniform(-3, 3)
    b.line(smooth([(190, 172), (196, 140), (206, 118), (x, y + 36)], close=False), (120, 108, 120), 1.8, 0.9)
    b.blob(P(f"M{x} {y + 33} L{x - 6} {y + 41} H{x + 6} Z"), c, line=1.3)
    b.blob(P(f"M{x} {y - 33} C{x + 20} {y - 33} {x + 28} {y - 16} {x + 28} {y - 2} C{x + 28} {y + 18} {x + 10} {y + 34} {x} {y + 34} C{x - 10} {y + 34} {x - 28} {y + 18} {x - 28} {y - 2} C{x - 28} {y - 16} {x - 20} {y - 33} {x} {y - 33} Z"), c, 1.2)
    b.shine(x - 11, y - 14, 5, 9, 24, 0.85)


def book(f: Figure, _rng: random.Random) -> None:
    b = f.b
    cover = (224, 84, 92)
    with b.at(128, 196):
        b.soft(rrect(-44, -16, 88, 42, 4), (60, 40, 60), 4, 0.3)
        b.blob(P("M-46 -18 L0 -12 L46 -18 V20 L0 27 L-46 20 Z"), cover)
        for s in (-1, 1):
            page = poly([(0, -14), (s * 14, -19), (s * 41, -19), (s * 41, 14), (s * 14, 15), (0, 21)])
            b.blob(page, (255, 253, 246), 0.5, 1.2)
        b.line(poly([(0, -13), (0, 21)], close=False), (190, 170, 160), 2, 0.8)
        for k in range(4):
            y = -10 + k * 6.5
            b.line(poly([(-34, y), (-10, y + 1)], close=False), (150, 160, 190), 2, 0.8)
            if k < 1 or k > 2:
                b.line(poly([(10, y + 1), (34, y)], close=False), (150, 160, 190), 2, 0.8)
        b.fill(star(22, 2, 7.5), (255, 188, 64))


def board(f: Figure, _rng: random.Random) -> None:
    b = f.b
    b.soft(rrect(12, 26, 232, 128, 6), (60, 50, 70), 5, 0.3)
    b.blob(rrect(10, 20, 236, 128, 7), WOOD)
    panel = rrect(18, 28, 220, 112, 4)
    b.volume(panel, (62, 124, 104), 0.6)
    b.line(panel, (34, 80, 68), 1.6, 0.8)
    chalk = (244, 250, 244)
    for char, x, y in (("A", 36, 50), ("B", 54, 74), ("C", 34, 98)):
        b.fill(text_at(char, x, y, 25), chalk, 0.95)
    for char, x, y in (("1", 204, 50), ("2", 220, 74), ("3", 204, 98)):
        b.fill(text_at(char, x, y, 25), chalk, 0.95)
    b.line(star(60, 44, 8), (255, 226, 120), 2, 0.9)
    b.line(ellipse(226, 44, 7), (255, 170, 190), 2, 0.9)
    b.blob(rrect(40, 140, 46, 7, 3), dark(WOOD), line=1.2)
    b.fill(rrect(46, 137, 14, 4.5, 2), WHITE)
    b.fill(rrect(64, 137, 12, 4.5, 2), (255, 210, 130))


def pointer(f: Figure, _rng: random.Random) -> None:
    stick = poly([(190, 176), (214, 118)], close=False)
    f.b.line(stick, (110, 70, 50), 5)
    f.b.line(stick, (214, 158, 100), 3)
    f.b.fill(ellipse(214, 117, 3.6), (240, 90, 90))


def ball(f: Figure, rng: random.Random) -> None:
    b = f.b
    x, y, r = 204 + rng.uniform(-2, 2), 202, 27
    b.soft(ellipse(x + 3, y + r, r * 0.95, 6), (50, 40, 70), 3, 0.4)
    disc = ellipse(x, y, r)
    b.blob(disc, (252, 250, 246))
    with b.clip(disc):
        tints = ((240, 88, 92), (84, 160, 240), (255, 196, 64))
        for i, c in enumerate(tints):
            a = math.radians(-100 + i * 120)
            path = Path()
            path.moveTo(x - 3, y - 5)
            for k in range(5):
                q = a + math.radians(k * 15)
                path.lineTo(x + 40 * math.cos(q), y + 40 * math.sin(q))
            path.close()
            b.fill(path, c, 0.95)
        grad = skia.GradientShader.MakeRadial((x - 9, y - 10), r * 1.55, [argb(WHITE, 0.35), argb(WHITE, 0), argb((60, 30, 80), 0.4)], [0, 0.45, 1])
        b.shader(disc, grad)
    b.fill(ellipse(x - 3, y - 5, 5), WHITE)
    b.line(disc, (110, 80, 100), 1.7, 0.8)
    b.shine(x - 11, y - 14, 6, 3.4, -35, 0.9)


def ice_cream(f: Figure, _rng: random.Random) -> None:
    b = f.b
    x, y = 178, 160 + f.reach
    cone = poly([(x - 13, y), (x + 13, y), (x + 1, y + 34)])
    b.blob(cone, (232, 176, 104))
    with b.clip(cone):
        for k in range(-4, 5):
            b.line(poly([(x + k * 8 - 16, y - 4), (x + k * 8 + 16, y + 36)], close=False), (190, 130, 70), 1.3, 0.7)
            b.line(poly([(x + k * 8 + 16, y - 4), (x + k * 8 - 16, y + 36)], close=False), (190, 130, 70), 1.3, 0.7)
    b.blob(ellipse(x, y - 8, 17, 15), (255, 166, 190))
    b.blob(ellipse(x - 1, y - 26, 13.5, 12.5), (255, 244, 214))
    b.blob(ellipse(x, y - 40, 5), (232, 62, 80), line=1.3)
    b.line(smooth([(x, y - 44), (x + 3, y - 50), (x + 7, y - 52)], close=False), (110, 150, 80), 1.8)
    for dx, dy, c in ((-8, -8, (110, 190, 240)), (6, -4, (255, 210, 90)), (0, -14, (150, 220, 130)), (9, -13, WHITE)):
        b.line(poly([(x + dx, y + dy), (x + dx + 2.5, y + dy + 2)], close=False), c, 2.2)
    b.shine(x - 7, y - 13, 3, 5, 30, 0.7)


def easel(f: Figure, _rng: random.Random) -> None:
    b = f.b
    for pts in ([(214, 60), (196, 232)], [(216, 60), (240, 232)], [(215, 70), (218, 226)]):
        b.line(poly(pts, close=False), dark(WOOD, 1.4), 6.5)
        b.line(poly(pts, close=False), WOOD, 4.5)
    sheet = rrect(182, 84, 66, 76, 3)
    b.soft(rrect(184, 88, 66, 76, 3), (60, 40, 60), 3, 0.3)
    b.blob(sheet, (255, 253, 248), 0.5)
    with b.clip(sheet):
        b.fill(rrect(186, 88, 58, 68, 2), (206, 234, 255))
        b.fill(ellipse(215, 166, 44, 28), (140, 208, 116))
        b.fill(ellipse(232, 103, 8.5), (255, 206, 74))
        b.fill(poly([(197, 132), (217, 132), (207, 116)]), (236, 96, 92))
        b.fill(rrect(200, 132, 14, 13, 1), (255, 240, 214))
    b.line(sheet, (150, 120, 100), 1.6, 0.8)
    b.blob(rrect(180, 159, 70, 7, 3), WOOD, line=1.3)


def brush_and_palette(f: Figure, _rng: random.Random) -> None:
    b = f.b
    stick = poly([(166, 186), (190, 160)], close=False)
    b.line(stick, (130, 84, 60), 5)
    b.line(stick, (226, 170, 110), 3.2)
    b.blob(ellipse(193, 156, 6, 4.4, -45), (236, 84, 92), line=1.2)
    plate = P("M52 192 C54 176 78 172 92 182 C104 192 100 210 84 212 C76 213 78 204 70 205 C58 208 50 204 52 192 Z")
    b.blob(plate, (232, 186, 132))
    for x, y, c in ((62, 190, (236, 84, 92)), (72, 184, (255, 204, 70)), (83, 186, (110, 190, 100)), (90, 196, (90, 160, 240))):
        b.blob(ellipse(x, y, 4.6), c, line=1.0)


def cushion(f: Figure, _rng: random.Random) -> None:
    b = f.b
    c = (172, 184, 246)
    b.soft(ellipse(130, 240, 78, 8), (50, 40, 80), 4, 0.4)
    for x in (52, 204):
        b.blob(ellipse(x, 226, 8, 7), (255, 214, 120), line=1.3)
    pillow = P("M52 226 C52 206 84 202 128 202 C172 202 204 206 204 226 C204 240 172 243 128 243 C84 243 52 240 52 226 Z")
    b.blob(pillow, c, 1.2)
    b.line(smooth([(56, 229), (90, 236), (128, 238), (166, 236), (200, 229)], close=False), dark(c, 1.4), 1.6, 0.55)
    for x, y in ((78, 218), (100, 212), (156, 212), (178, 218), (66, 224), (190, 224)):
        b.fill(star(x, y, 3.4), (255, 240, 190), 0.95)


def zzz(f: Figure, rng: random.Random) -> None:
    for x, y, em, a in ((190, 74, 20, -8), (208, 56, 26, 6), (228, 36, 32, -4)):
        dx, dy = rng.uniform(-2, 2), rng.uniform(-2, 2)
        with f.b.at(x + dx - 4, y + dy, a):
            z = text_at("Z", 0, 0, em)
            f.b.line(z, WHITE, 4.4, 0.95)
            f.b.fill(z, (112, 126, 220))


def guitar(f: Figure, _rng: random.Random) -> None:
    b = f.b
    with b.at(122, 198, -24):
        b.blob(P("M28 -4.5 H84 V4.5 H28 Z"), (132, 84, 60), line=1.5)
        b.blob(rrect(82, -8, 22, 16, 4), (110, 68, 52), line=1.5)
        for x in (87, 93, 99):
            for s in (-1, 1):
                b.fill(ellipse(x, s * 9.5, 2.2), (250, 222, 150))
        body = P("M-40 0 C-40 -26 -14 -30 -4 -20 C4 -14 8 -17 16 -18 C32 -20 38 -8 38 0 C38 8 32 20 16 18 C8 17 4 14 -4 20 C-14 30 -40 26 -40 0 Z")
        b.blob(body, (236, 158, 72))
        b.line(body, (250, 220, 160), 2, 0.5)
        b.blob(ellipse(6, 0, 9), (84, 50, 40), line=2)
        b.blob(rrect(-26, -8, 7, 16, 2), (110, 68, 52), line=1.1)
        for k in (-2.6, 0, 2.6):
            b.line(poly([(-22, k), (90, k * 0.8)], close=False), (255, 248, 226), 0.9, 0.9)


def notes(f: Figure, rng: random.Random) -> None:
    b = f.b
    for x, y, c in ((208, 100, (236, 96, 130)), (226, 66, (96, 150, 236)), (40, 92, (120, 186, 96))):
        x, y = x + rng.uniform(-3, 3), y + rng.uniform(-3, 3)
        b.line(poly([(x + 5, y), (x + 5, y - 22)], close=False), c, 3)
        b.line(smooth([(x + 5, y - 22), (x + 12, y - 18), (x + 13, y - 11)], close=False), c, 3)
        b.fill(ellipse(x, y, 6.4, 4.8, -20), c)


def umbrella(f: Figure, rng: random.Random) -> None:
    b = f.b
    c = BALLOONS[rng.randrange(len(BALLOONS))]
    top = (142, 8)
    b.line(poly([(188, 196), (150, 20)], close=False), (96, 80, 90), 5.5)
    b.line(poly([(188, 196), (150, 20)], close=False), (190, 176, 186), 2.6)
    with b.at(146, 52, 10, 1.0):
        shape = P("M-104 16 C-100 -30 -52 -54 0 -54 C52 -54 100 -30 104 16 C90 4 74 4 64 16 C52 2 32 2 22 16 C10 4 -10 4 -22 16 C-32 2 -52 2 -64 16 C-74 4 -90 4 -104 16 Z")
        b.blob(shape, c)
        with b.clip(shape):
            pale = light(c, 1.0)
            b.fill(P("M0 -54 C-16 -40 -22 -10 -22 20 H22 C22 -10 16 -40 0 -54 Z"), pale, 0.6)
            b.fill(P("M0 -54 C-50 -44 -64 -10 -64 20 H-110 V-54 Z"), pale, 0.35)
            for x in (-64, -22, 22, 64):
                b.line(P(f"M0 -54 Q{x * 0.9} -36 {x} 16"), dark(c, 1.4), 1.6, 0.6)
        b.blob(ellipse(0, -56, 4, 5), c, line=1.3)
    del top


def hook(f: Figure, _rng: random.Random) -> None:
    b = f.b
    path = smooth([(186, 184), (190, 204), (198, 208), (202, 200)], close=False)
    b.line(path, (96, 60, 44), 6)
    b.line(path, WOOD, 4)


def hello(f: Figure, _rng: random.Random) -> None:
    for pts in ([(214, 116), (220, 106)], [(221, 126), (231, 120)], [(223, 138), (234, 138)]):
        f.b.line(poly(pts, close=False), mix_ink(f), 3, 0.75)


def mix_ink(f: Figure) -> tuple[int, int, int]:
    return (255, 176, 80)


ACTION: dict[str, Action] = {
    "standing": Action(),
    "waving": Action(hands=((88, 202), (199, 138)), front=hello),
    "bubbles": Action(hands=((88, 202), (172, 178)), front=bubbles_front, grip=(1,), to_mouth=1),
    "flying": Action(hands=((74, 158), (182, 158)), behind=wings, lift=14),
    "balloon": Action(hands=((88, 202), (188, 172)), behind=balloon_behind),
    "reading": Action(hands=((88, 198), (168, 198)), front=book, grip=(0, 1)),
    "teaching": Action(hands=((88, 202), (190, 170)), behind=board, front=pointer, grip=(1,)),
    "ball": Action(hands=((80, 182), (180, 186)), front=ball, grip=(1,)),
    "ice_cream": Action(hands=((88, 202), (176, 186)), front=ice_cream, grip=(1,), to_mouth=1),
    "painting": Action(hands=((84, 200), (168, 184)), behind=easel, front=brush_and_palette, grip=(1,)),
    "sleeping": Action(hands=((108, 200), (148, 200)), behind=cushion, front=zzz, grip=(0, 1)),
    "guitar": Action(hands=((100, 196), (184, 172)), front=guitar, grip=(0, 1)),
    "umbrella": Action(hands=((88, 202), (184, 180)), behind=umbrella, front=hook, grip=(1,)),
}
GUITAR_NOTES = notes
FLIGHT_PUFFS = puffs
