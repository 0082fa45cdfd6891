"""Lion, tiger, monkey, pig, sheep, giraffe, turtle, mouse, cow, koala, hedgehog, deer."""

from __future__ import annotations

import math

from .animals_a import PINK, muzzle, nose, pair, pair_fill
from .brush import M, P, ellipse, poly, ring, smooth, star
from .palette import CREAM, INK, PEACH, WHITE, dark, light, luma, mix, sock
from .rig import Animal, Figure, Rig, body_path, feet, under_chin

HORN = (240, 214, 170)


# -- lion and tiger -------------------------------------------------------
def mane_color(f: Figure) -> tuple[int, int, int]:
    if luma(f.color) < 95:
        return mix(f.color, WHITE, 0.3)
    return mix(dark(f.color, 1.7), (176, 92, 44), 0.35)


def lion_back(f: Figure) -> None:
    f.b.limb(smooth([(154, 212), (182, 212), (200, 196), (204, 172)], close=False), 10, f.color)
    f.b.blob(P("M204 178 C190 172 192 152 206 144 C218 152 220 172 204 178 Z"), mane_color(f))


def lion_behind(f: Figure) -> None:
    b, m = f.b, mane_color(f)
    b.blob(ring(128, 104, 66, 60, 13, 0.13, 0.24), m)
    b.line(ring(128, 104, 56, 51, 13, 0.1, 0.0), dark(m, 1.2), 2.2, 0.35)
    for s in (-1, 1):
        b.blob(ellipse(128 + s * 44, 66, 14), f.color)
        b.soft(ellipse(128 + s * 44, 68, 8), f.inner, 1.4)


def lion_face(f: Figure) -> None:
    b = f.b
    tuft = P("M104 62 C108 72 112 78 118 80 C120 74 124 72 128 84 C132 72 136 74 138 80 C144 78 148 72 152 62 C140 50 116 50 104 62 Z")
    b.blob(tuft, mane_color(f), line=1.2)
    muzzle(f, 130, 21, 14)
    f.eyes(11.5)
    f.blush(36, 127)
    nose(f, 128, 121, 7.5, 5.5, (124, 70, 66))
    b.line(poly([(128, 126), (128, 131)], close=False), INK, 1.7)
    f.smile(7.5, cat=True)
    for s in (-1, 1):
        for x, y in ((12, 129), (16, 134)):
            b.fill(ellipse(128 + s * x, y, 1.1), dark(f.color, 1.8), 0.8)


def tiger_back(f: Figure) -> None:
    tail = [(150, 212), (184, 214), (206, 198), (204, 172), (214, 158)]
    f.b.limb(smooth(tail, close=False), 14, f.color)
    for x, y, a in ((178, 213, 90), (195, 206, 50), (205, 190, 10), (204, 174, -10)):
        with f.b.at(x, y, a):
            f.b.line(poly([(-5.5, 0), (5.5, 0)], close=False), f.mark, 4.5, 0.9)


def tiger_coat(f: Figure) -> None:
    for y in (172, 188, 203):
        for s in (-1, 1):
            stripe = poly([(128 + s * 42, y - 4), (128 + s * 42, y + 4), (128 + s * 20, y + 1)])
            f.b.fill(stripe, f.mark, 0.92)


def tiger_behind(f: Figure) -> None:
    for s in (-1, 1):
        f.b.blob(ellipse(128 + s * 40, 67, 17), f.color)
        f.b.soft(ellipse(128 + s * 40, 69, 9.5), mix(f.belly, WHITE, 0.5), 1.4)
        f.b.line(smooth([(128 + s * 30, 52), (128 + s * 40, 49), (128 + s * 51, 55)], close=False), f.mark, 4, 0.85)


def tiger_face(f: Figure) -> None:
    b, m = f.b, f.mark
    white = mix(f.belly, WHITE, 0.55)
    for d, y in ((0, 70), (0, 79)):
        b.fill(P(f"M{110 + d} {y - 3} C120 {y + 2} 136 {y + 2} {146 - d} {y - 3} C138 {y + 6} 118 {y + 6} {110 + d} {y - 3} Z"), m, 0.95)
    b.fill(P("M125 62 H131 L128 92 Z"), m, 0.95)
    for s in (-1, 1):
        for y, w in ((104, 13), (117, 15), (130, 12)):
            edge = 128 + s * 56
            b.fill(poly([(edge, y - 5), (edge, y + 4), (edge - s * w, y + 1)]), m, 0.95)
        b.soft(ellipse(128 + s * 23, 92, 10, 6), white, 1.6, 0.9)
    muzzle(f, 131, 24, 15, white)
    f.eyes(11.5)
    f.blush(36, 128, 8)
    nose(f, 128, 122, 7.5, 5.5, (236, 122, 132))
    b.line(poly([(128, 127), (128, 132)], close=False), INK, 1.7)
    f.smile(7.5, cat=True)


# -- monkey ---------------------------------------------------------------
def monkey_back(f: Figure) -> None:
    f.cheek = (255, 120, 130)
    tail = smooth([(152, 212), (184, 216), (206, 200), (208, 176), (196, 164), (186, 174), (194, 184)], close=False)
    f.b.limb(tail, 9, f.color)


def monkey_behind(f: Figure) -> None:
    for s in (-1, 1):
        f.b.blob(ellipse(128 + s * 58, 106, 19, 20), f.color)
        f.b.soft(ellipse(128 + s * 58, 107, 11, 12), PEACH, 1.4)


def monkey_face(f: Figure) -> None:
    b = f.b
    mask = P("M128 92 C120 76 92 76 88 100 C86 110 90 116 86 126 C82 146 110 151 128 151 C146 151 174 146 170 126 C166 116 170 110 168 100 C164 76 136 76 128 92 Z")
    b.soft(mask, dark(f.color), 2.5, 0.5)
    b.volume(mask, PEACH, 0.55)
    b.line(mask, dark(PEACH, 1.2), 1.2, 0.5)
    for a in (-22, 8):
        with b.at(128, 64, a):
            b.blob(P("M-5 4 C-7 -6 -2 -14 5 -17 C4 -10 7 -4 5 4 Z"), f.color, line=1.4)
    b.soft(ellipse(128, 70, 12, 7), f.color, 2)
    f.eyes(11.5, 20, 106)
    f.blush(34, 128)
    for s in (-1, 1):
        b.fill(ellipse(128 + s * 4, 122, 1.9, 1.6), dark(PEACH, 2.2))
    if f.mouth_open or f.asleep or f.action in ("bubbles", "ice_cream"):
        f.smile(9)
    else:
        b.line(smooth([(108, 130), (118, 138), (128, 140), (138, 138), (148, 130)], close=False), INK, 2.1)


# -- pig ------------------------------------------------------------------
def pig_back(f: Figure) -> None:
    curl = smooth([(160, 200), (172, 196), (180, 204), (174, 210), (170, 202), (180, 194), (190, 196)], close=False)
    f.b.limb(curl, 6, f.color)


def pig_behind(f: Figure) -> None:
    pair(f, "M84 92 C70 78 64 60 68 46 C88 44 108 54 118 68 Z", f.color)


def pig_face(f: Figure) -> None:
    b = f.b
    pair(f, "M70 50 C86 46 106 56 114 68 C104 76 94 82 88 90 C74 82 68 66 70 50 Z", mix(f.color, dark(f.color), 0.4))
    f.eyes(11.5, 25, 104)
    f.blush(40, 124, 11)
    snout = ellipse(128, 124, 20, 14.5)
    b.soft(ellipse(128, 127, 21, 15), dark(f.color), 2.5, 0.5)
    b.blob(snout, mix(light(f.color, 0.4), (255, 150, 170), 0.28), line=1.8)
    for s in (-1, 1):
        b.fill(ellipse(128 + s * 7.5, 124, 3.4, 5.4), dark(mix(f.color, (230, 110, 130), 0.4), 1.9))
    if f.mouth_open or f.asleep or f.action in ("bubbles", "ice_cream"):
        f.smile(5.5)
    else:
        b.mouth(128, 142, 7)


# -- sheep ----------------------------------------------------------------
def sheep_face_color(f: Figure) -> tuple[int, int, int]:
    return PEACH


def sheep_back(f: Figure) -> None:
    f.cheek = (255, 120, 130)
    f.hand_color = f.foot_color = mix(PEACH, (220, 170, 140), 0.4)


def sheep_torso(f: Figure) -> None:
    b = f.b
    wool = ring(128, 186, 42, 34, 11, 0.16, 0.2)
    b.blob(wool, f.color)
    with b.clip(wool):
        for x, y in ((106, 178), (128, 172), (150, 178), (114, 194), (140, 194), (128, 208), (100, 200), (156, 200)):
            curl = smooth([(x - 7, y), (x - 3, y + 6), (x + 4, y + 5), (x + 5, y - 1)], close=False)
            b.line(curl, dark(f.color, 0.9), 2, 0.55)
        under_chin(f)
    feet(f, ANIMALS_B["sheep"])


def sheep_behind(f: Figure) -> None:
    b = f.b
    b.blob(ring(128, 102, 58, 50, 13, 0.14, 0.1), f.color)
    pair(f, "M82 104 C66 96 46 100 40 112 C46 126 68 126 84 118 Z", sheep_face_color(f))
    pair_fill(f, "M76 108 C64 103 52 106 47 112 C54 120 66 120 77 115 Z", (255, 176, 180), 1.4)


def sheep_face(f: Figure) -> None:
    b = f.b
    b.blob(ring(128, 73, 38, 22, 9, 0.2, 0.35), f.color)
    with b.clip(ring(128, 73, 38, 22, 9, 0.2, 0.35)):
        for x, y in ((108, 70), (124, 64), (142, 70), (130, 80)):
            b.line(smooth([(x - 6, y), (x - 2, y + 5), (x + 4, y + 4), (x + 5, y - 1)], close=False), dark(f.color, 0.9), 2, 0.55)
    f.eyes(11, 20, 110)
    f.blush(30, 128, 8)
    nose(f, 128, 126, 5.5, 4.5, PINK)
    f.smile(6, cat=True)


# -- giraffe --------------------------------------------------------------
def giraffe_patches(f: Figure, spots: tuple[tuple[float, float, float], ...]) -> None:
    m = mix(dark(f.color, 1.9), (150, 84, 40), 0.3) if luma(f.color) > 95 else f.mark
    for x, y, r in spots:
        f.b.fill(ring(x, y, r, r * 0.9, 5, 0.02, x), m, 0.9)


def giraffe_back(f: Figure) -> None:
    f.foot_color = sock(f.color)
    f.b.limb(smooth([(154, 206), (180, 204), (192, 190)], close=False), 6, f.color)
    f.b.blob(ellipse(194, 185, 6, 9, 20), sock(f.color))


def giraffe_torso(f: Figure) -> None:
    b = f.b
    shape = P("M114 96 C112 130 110 150 100 168 C90 186 88 206 98 216 C108 226 148 226 158 216 C168 206 166 186 156 168 C146 150 144 130 142 96 Z")
    b.blob(shape, f.color)
    with b.clip(shape):
        b.soft(ellipse(128, 204, 20, 18), f.belly, 2.5, 0.9)
        giraffe_patches(f, ((118, 122, 6), (136, 132, 7), (120, 146, 7), (140, 156, 7), (106, 172, 8), (126, 170, 7), (150, 180, 8), (100, 194, 7), (158, 204, 7)))
        b.soft(ellipse(128, 104, 26, 10), dark(f.color, 1.6), 4, 0.5)
    feet(f, ANIMALS_B["giraffe"])


def giraffe_behind(f: Figure) -> None:
    b = f.b
    for s in (-1, 1):
        horn = smooth([(128 + s * 15, 48), (128 + s * 19, 26)], close=False)
        b.limb(horn, 7, f.color)
        b.blob(ellipse(128 + s * 19.5, 22, 7), sock(f.color), line=1.4)
    pair(f, "M96 66 C82 50 64 48 56 54 C58 68 78 80 98 78 Z", f.color)
    pair_fill(f, "M90 66 C80 58 70 55 64 57 C68 65 80 72 90 73 Z", f.inner, 1.2)


def giraffe_face(f: Figure) -> None:
    b = f.b
    giraffe_patches(f, ((128, 50, 6), (108, 58, 5), (148, 58, 5)))
    mz = ellipse(128, 96, 25, 17)
    b.soft(ellipse(128, 98, 26, 17), dark(f.color), 2.5, 0.5)
    b.blob(mz, mix(f.belly, CREAM, 0.4), line=1.3)
    f.eyes(10.5, 19, 73)
    f.blush(31, 88, 7)
    for s in (-1, 1):
        b.fill(ellipse(128 + s * 9, 91, 2.2, 3, s * 20), dark(f.color, 2.4))
    f.smile(8)


# -- turtle ---------------------------------------------------------------
def shell_color(f: Figure) -> tuple[int, int, int]:
    g = f.color
    return (190, 132, 82) if not (g[0] > g[1] + 20 and luma(g) < 190) else (96, 158, 112)


def turtle_back(f: Figure) -> None:
    b, s = f.b, shell_color(f)
    f.b.blob(P("M168 212 C182 212 194 216 200 224 C188 228 172 226 162 220 Z"), f.color)
    shell = ellipse(128, 184, 62, 47)
    b.blob(shell, s)
    with b.clip(shell):
        for i in range(9):
            a = math.pi * (0.9 + i * 0.15) + 0.0
            b.line(poly([(128 + 40 * math.cos(a), 184 + 30 * math.sin(a)), (128 + 66 * math.cos(a), 184 + 50 * math.sin(a))], close=False), dark(s, 1.8), 2.2, 0.7)
        b.line(ellipse(128, 184, 46, 34), dark(s, 1.8), 2.4, 0.7)
        b.line(ellipse(128, 184, 59, 44), light(s, 0.8), 5, 0.6)


def turtle_torso(f: Figure) -> None:
    b = f.b
    shape = body_path(f.rig)
    plate = mix((255, 232, 170), f.belly, 0.3)
    b.blob(shape, plate)
    with b.clip(shape):
        for y in (176, 192, 207):
            b.line(smooth([(88, y), (128, y + 4), (168, y)], close=False), dark(plate, 1.2), 2, 0.7)
        b.line(poly([(128, 150), (128, 226)], close=False), dark(plate, 1.2), 2, 0.7)
        under_chin(f, plate)
    feet(f, ANIMALS_B["turtle"])


def turtle_face(f: Figure) -> None:
    b = f.b
    for x, y, r in ((112, 70, 7), (132, 66, 6), (150, 74, 6), (124, 80, 4)):
        b.soft(ellipse(x, y, r, r * 0.75), dark(f.color), 1, 0.55)
    f.eyes(13, 24, 106)
    f.blush(38, 127, 10)
    for s in (-1, 1):
        b.fill(ellipse(128 + s * 4, 122, 1.5, 1.8), dark(f.color, 2.2))
    if f.mouth_open or f.asleep or f.action in ("bubbles", "ice_cream"):
        f.smile(8)
    else:
        b.mouth(128, 131, 12)


# -- mouse ----------------------------------------------------------------
def mouse_back(f: Figure) -> None:
    tail = smooth([(152, 214), (180, 220), (206, 210), (214, 190), (206, 174), (216, 162)], close=False)
    f.b.limb(tail, 5.5, (250, 172, 178))


def mouse_behind(f: Figure) -> None:
    for s in (-1, 1):
        f.b.blob(ellipse(128 + s * 48, 62, 32), f.color)
        f.b.soft(ellipse(128 + s * 47, 64, 22), mix(f.inner, (255, 170, 180), 0.6), 2.4)


def mouse_face(f: Figure) -> None:
    b = f.b
    muzzle(f, 132, 19, 14)
    f.eyes(11.5, 22, 108)
    f.blush(36, 128)
    b.blob(ellipse(128, 123, 6, 5), (250, 130, 146), line=1.2)
    b.shine(126, 121, 2, 1.4, 0, 0.9)
    if f.action not in ("bubbles", "ice_cream", "sleeping") and not f.mouth_open:
        teeth = P("M124 133 H132 V140 H124 Z")
        b.fill(teeth, WHITE)
        b.line(teeth, INK, 1.0, 0.7)
        b.mouth(128, 131, 7, cat=True)
    else:
        f.smile(6)
    for s in (-1, 1):
        for k in (-1, 1):
            b.line(smooth([(128 + s * 24, 130 + k * 3), (128 + s * 56, 129 + k * 8)], close=False), INK, 1.2, 0.6)


# -- cow ------------------------------------------------------------------
def cow_back(f: Figure) -> None:
    f.b.limb(smooth([(156, 208), (186, 208), (198, 188)], close=False), 5.5, f.color)
    f.b.blob(ellipse(200, 182, 7, 11, 15), f.mark)
    f.foot_color = mix((90, 80, 84), f.color, 0.15)


def cow_coat(f: Figure) -> None:
    for x, y, rx, ry in ((100, 180, 14, 18), (160, 204, 15, 14)):
        f.b.soft(ring(x, y, rx, ry, 6, 0.05, x), f.mark, 1.0)


def cow_behind(f: Figure) -> None:
    pair(f, "M98 72 C84 66 78 52 84 38 C90 44 98 54 112 60 Z", HORN)
    pair(f, "M82 92 C66 80 46 82 40 92 C46 108 68 112 84 106 Z", f.color)
    pair_fill(f, "M76 94 C66 87 54 88 48 93 C54 101 66 103 76 101 Z", f.inner, 1.3)


def cow_face(f: Figure) -> None:
    b = f.b
    b.soft(P("M134 60 C160 60 182 76 184 104 C184 122 170 128 158 124 C142 120 138 104 140 90 C142 78 130 72 134 60 Z"), f.mark, 1.1)
    b.soft(P("M74 96 C74 84 82 74 90 70 C98 76 96 88 88 94 C84 98 78 100 74 96 Z"), f.mark, 1.1)
    mz = ellipse(128, 134, 36, 19)
    b.soft(ellipse(128, 136, 36, 19), dark(f.color, 1.3), 2.5, 0.5)
    b.blob(mz, (255, 190, 190), line=1.5)
    f.eyes(11, 24, 104)
    for s in (-1, 1):
        b.fill(ellipse(128 + s * 15, 129, 3.6, 4.8, s * -15), (204, 110, 118))
    f.blush(43, 122, 7)
    if f.mouth_open or f.asleep or f.action in ("bubbles", "ice_cream"):
        f.smile(7)
    else:
        b.mouth(128, 140, 9)


# -- koala ----------------------------------------------------------------
def koala_behind(f: Figure) -> None:
    b = f.b
    for s in (-1, 1):
        x = 128 + s * 56
        b.blob(ring(x, 80, 28, 28, 11, 0.09, 0.3), f.color)
        b.soft(ring(x, 84, 17, 18, 9, 0.12, 0.1), mix(f.belly, WHITE, 0.6), 1.5)
        b.soft(ellipse(x - s * 2, 84, 9, 11), f.inner, 2.5, 0.8)


def koala_face(f: Figure) -> None:
    b = f.b
    b.soft(ellipse(128, 142, 26, 9), f.belly, 3, 0.8)
    f.eyes(10.5, 27, 106)
    f.blush(40, 128)
    n = ellipse(128, 116, 11.5, 17)
    b.blob(n, (70, 62, 74), line=1.4)
    b.shine(124, 107, 3.4, 5, 10, 0.7)
    f.smile(6)


# -- hedgehog -------------------------------------------------------------
def hedge_back(f: Figure) -> None:
    f.cheek = (255, 120, 130)
    f.hand_color = f.foot_color = mix(PEACH, (214, 160, 120), 0.3)
    quills = star(128, 184, 55, 21, 0.83, -84)
    f.b.blob(quills, f.color)


def hedge_torso(f: Figure) -> None:
    b = f.b
    shape = body_path(f.rig)
    b.blob(shape, PEACH)
    with b.clip(shape):
        b.soft(ellipse(128, 196, 22, 24), CREAM, 4, 0.8)
        under_chin(f, PEACH)
    feet(f, ANIMALS_B["hedgehog"])


def hedge_behind(f: Figure) -> None:
    b = f.b
    b.blob(star(128, 96, 72, 25, 0.82, -90), f.color)
    b.fill(star(128, 95, 65, 23, 0.84, -82), light(f.color, 0.7), 0.5)
    b.blob(star(128, 95, 58, 21, 0.85, -90), dark(f.color, 0.5), line=1.2)


def hedge_face(f: Figure) -> None:
    b = f.b
    face = P("M128 84 C116 70 92 74 84 94 C78 110 84 136 104 146 C118 152 138 152 152 146 C172 136 178 110 172 94 C164 74 140 70 128 84 Z")
    b.blob(face, PEACH, 0.6, 1.4)
    for s in (-1, 1):
        b.blob(ellipse(128 + s * 44, 76, 10), mix(f.color, PEACH, 0.3), line=1.4)
        b.soft(ellipse(128 + s * 44, 77, 5.5), (255, 176, 170), 1.2)
    f.eyes(11.5, 20, 108)
    f.blush(33, 128)
    b.blob(ellipse(128, 124, 7.5, 6), (62, 48, 54), line=1.0)
    b.shine(125.5, 121.5, 2.6, 1.6, -15, 0.9)
    f.smile(6)


# -- deer -----------------------------------------------------------------
ANTLER = "M108 68 C104 54 100 46 90 42 M102 52 C96 54 88 54 82 50 M104 56 C106 44 104 34 98 26 M92 43 C84 38 80 32 80 24"


def deer_behind(f: Figure) -> None:
    b = f.b
    horn = (150, 104, 74) if luma(f.color) > 95 else (206, 166, 124)
    for path in (P(ANTLER), M(ANTLER)):
        b.line(path, dark(horn, 1.5), 8.5, 0.9)
        b.line(path, horn, 6.2)
    pair(f, "M84 90 C68 70 48 68 38 76 C42 94 62 108 86 106 Z", f.color)
    pair_fill(f, "M76 90 C66 80 54 77 47 80 C52 91 64 98 76 99 Z", f.inner, 1.3)


def deer_back(f: Figure) -> None:
    f.b.blob(P("M158 206 C166 192 178 188 184 192 C186 204 176 216 162 216 Z"), f.color)
    f.foot_color = sock(f.color)


def deer_coat(f: Figure) -> None:
    for x, y, r in ((100, 176, 4), (97, 192, 4.5), (106, 206, 3.5), (156, 176, 4), (159, 192, 4.5), (150, 206, 3.5)):
        f.b.soft(ellipse(x, y, r), mix(f.belly, WHITE, 0.5), 0.6, 0.95)


def deer_face(f: Figure) -> None:
    b = f.b
    for x, y, r in ((112, 72, 4), (128, 68, 4.5), (144, 72, 4), (120, 82, 3.4), (136, 82, 3.4)):
        b.soft(ellipse(x, y, r), mix(f.belly, WHITE, 0.5), 0.6, 0.95)
    muzzle(f, 132, 24, 16)
    f.eyes(12.5, 26, 106)
    f.blush(40, 126)
    nose(f, 128, 124, 7.5, 5.5)
    f.smile(6.5, cat=True)


ANIMALS_B: dict[str, Animal] = {
    "lion": Animal(back=lion_back, behind=lion_behind, face=lion_face, rig=Rig(hrx=48, hry=43, hy=107, mouth=(128, 130), top=60, phones=1.22)),
    "tiger": Animal(back=tiger_back, coat=tiger_coat, behind=tiger_behind, face=tiger_face),
    "monkey": Animal(back=monkey_back, behind=monkey_behind, face=monkey_face, rig=Rig(hrx=50, mouth=(128, 132), eye_dx=20, arm_w=15, phones=1.1)),
    "pig": Animal(back=pig_back, behind=pig_behind, face=pig_face, rig=Rig(brx=42, mouth=(128, 142), eye_y=104, eye_dx=25)),
    "sheep": Animal(head_color=sheep_face_color, back=sheep_back, torso=sheep_torso, behind=sheep_behind, face=sheep_face, rig=Rig(hrx=42, hry=41, hy=108, mouth=(128, 131), eye_y=110, eye_dx=20, arm_w=14, phones=1.3, top=58)),
    "giraffe": Animal(back=giraffe_back, torso=giraffe_torso, behind=giraffe_behind, face=giraffe_face, rig=Rig(fit=0.95, hy=76, hrx=39, hry=36, eye_y=73, eye_dx=19, eye_r=10.5, mouth=(128, 102), top=44, ear=(156, 50), neck=132, neck_w=22, arm_w=14, shoulder=(27, 176), by=190, brx=34, bry=34)),
    "turtle": Animal(back=turtle_back, torso=turtle_torso, face=turtle_face, rig=Rig(shell=True, hrx=50, brx=39, eye_dx=24, mouth=(128, 130))),
    "mouse": Animal(back=mouse_back, behind=mouse_behind, face=mouse_face, rig=Rig(hrx=49, hry=44, brx=35, arm_w=14, eye_y=108, eye_dx=22)),
    "cow": Animal(back=cow_back, coat=cow_coat, behind=cow_behind, face=cow_face, rig=Rig(mouth=(128, 140), brx=40, eye_y=104)),
    "koala": Animal(behind=koala_behind, face=koala_face, rig=Rig(mouth=(128, 139), eye_dx=27, eye_r=10.5, phones=1.05)),
    "hedgehog": Animal(back=hedge_back, torso=hedge_torso, behind=hedge_behind, face=hedge_face, rig=Rig(shell=True, hrx=46, hry=43, arm_w=13, eye_y=108, eye_dx=20, mouth=(128, 134), top=56, phones=1.3)),
    "deer": Animal(back=deer_back, coat=deer_coat, behind=deer_behind, face=deer_face, rig=Rig(fit=0.96, hrx=50, brx=35, arm_w=14, eye_dx=26)),
}

