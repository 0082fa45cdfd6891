"""Cat, dog, rabbit, bear, panda, elephant, dinosaur, frog, duck, fox, penguin, owl."""

from __future__ import annotations

from .brush import M, P, Path, ellipse, poly, smooth
from .palette import BEAK, CREAM, INK, WHITE, belly, dark, light, luma, mix, sock
from .rig import Animal, Figure, Rig, body_path, feet, under_chin

PINK = (255, 142, 156)


def nose(f: Figure, x: float, y: float, w: float, h: float, color: tuple[int, int, int] = (60, 44, 50)) -> None:
    """A rounded triangle with a glint."""
    path = Path()
    path.moveTo(x - w, y - h * 0.5)
    path.quadTo(x, y - h, x + w, y - h * 0.5)
    path.quadTo(x + w * 0.7, y + h * 0.5, x, y + h)
    path.quadTo(x - w * 0.7, y + h * 0.5, x - w, y - h * 0.5)
    path.close()
    f.b.volume(path, color)
    f.b.line(path, dark(color, 1.5), 1.1, 0.8)
    f.b.fill(ellipse(x - w * 0.32, y - h * 0.4, w * 0.28, h * 0.16), WHITE, 0.85)


def pair(f: Figure, text: str, color: tuple[int, int, int], depth: float = 1.0, line: float = 1.7) -> None:
    f.b.blob(P(text), color, depth, line)
    f.b.blob(M(text), color, depth, line)


def pair_fill(f: Figure, text: str, color: tuple[int, int, int], sigma: float = 1.2, alpha: float = 1.0) -> None:
    f.b.soft(P(text), color, sigma, alpha)
    f.b.soft(M(text), color, sigma, alpha)


def muzzle(f: Figure, y: float, rx: float, ry: float, color: tuple[int, int, int] | None = None) -> None:
    c = color or belly(f.color)
    f.b.soft(ellipse(f.rig.hx, y + 1.5, rx, ry), dark(f.color), 2.4, 0.35)
    f.b.soft(ellipse(f.rig.hx, y, rx, ry), c, 1.1)
    f.b.shine(f.rig.hx - rx * 0.4, y - ry * 0.45, rx * 0.3, ry * 0.2, -20, 0.6)


# -- cat ------------------------------------------------------------------
def cat_back(f: Figure) -> None:
    tail = smooth([(150, 212), (186, 212), (206, 192), (200, 166), (212, 154)], close=False)
    f.b.limb(tail, 15, f.color)
    tip = smooth([(201, 172), (203, 164), (212, 154)], close=False)
    f.b.line(tip, mix(f.belly, WHITE, 0.3), 11, 0.9)


def cat_behind(f: Figure) -> None:
    ear = "M82 100 C76 72 76 46 84 36 C92 36 116 54 124 70 Z"
    pair(f, ear, f.color)
    pair_fill(f, "M87 84 C84 66 84 54 88 47 C96 52 106 60 111 68 Z", f.inner, 1.6)


def cat_face(f: Figure) -> None:
    b = f.b
    for d in (-1, 0, 1):
        mark = smooth([(128 + d * 13, 64), (128 + d * 12, 72), (128 + d * 10, 80 - abs(d) * 3)], close=False)
        b.line(mark, f.mark, 5.2, 0.62)
    for s in (-1, 1):
        for k in (-1, 1):
            stripe = poly([(128 + s * 52, 116 + k * 6), (128 + s * 42, 117 + k * 4)], close=False)
            b.line(stripe, f.mark, 4, 0.5)
    muzzle(f, 131, 21, 13)
    f.eyes(13)
    f.blush()
    nose(f, 128, 123, 5.5, 4.5, PINK)
    f.smile(7.5, cat=True)
    for s in (-1, 1):
        for k in (-1, 0, 1):
            whisker = smooth([(128 + s * 30, 130 + k * 4), (128 + s * 48, 129 + k * 7), (128 + s * 66, 131 + k * 10)], close=False)
            b.line(whisker, mix(INK, f.color, 0.25), 1.3, 0.7)


# -- dog ------------------------------------------------------------------
def dog_back(f: Figure) -> None:
    f.b.limb(smooth([(156, 208), (182, 202), (196, 184), (194, 166)], close=False), 15, f.color)


def dog_face(f: Figure) -> None:
    b = f.b
    ear = "M86 68 C66 66 52 84 50 108 C48 130 56 146 68 144 C82 142 84 118 88 100 C92 86 96 76 86 68 Z"
    b.soft(ellipse(151, 103, 19, 21, 12), dark(f.color, 1.4), 1.2, 0.85)
    b.soft(P("M128 60 C136 60 138 70 136 84 C134 100 136 110 128 114 C120 110 122 100 120 84 C118 70 120 60 128 60 Z"), belly(f.color), 1.6, 0.9)
    muzzle(f, 131, 25, 17)
    pair(f, ear, dark(f.color, 1.15))
    f.eyes(11.5)
    f.blush(36, 130)
    nose(f, 128, 121, 8.5, 6.5)
    if not f.asleep and f.action not in ("bubbles", "ice_cream"):
        tongue = P("M122 137 C122 152 134 152 134 137 Z")
        b.blob(tongue, (255, 124, 132), line=1.2)
        b.line(poly([(128, 138), (128, 144)], close=False), (214, 84, 96), 1.2)
    b.line(poly([(128, 126), (128, 133)], close=False), INK, 1.8)
    if f.action in ("bubbles", "ice_cream"):
        f.smile(7)
    else:
        b.mouth(128, 133, 10, cat=True)


# -- rabbit ---------------------------------------------------------------
def rabbit_back(f: Figure) -> None:
    f.b.blob(ellipse(166, 210, 13), mix(f.color, WHITE, 0.6))


def rabbit_behind(f: Figure) -> None:
    ear = "M96 80 C80 50 78 20 92 10 C108 8 120 38 122 76 Z"
    pair(f, ear, f.color)
    pair_fill(f, "M99 68 C89 46 88 26 95 19 C104 22 112 44 113 68 Z", f.inner, 1.4)


def rabbit_face(f: Figure) -> None:
    muzzle(f, 131, 19, 12, mix(f.belly, WHITE, 0.4))
    f.eyes(12.5)
    f.blush(37, 127, 10)
    nose(f, 128, 122, 5, 4.2, PINK)
    if f.action not in ("bubbles", "ice_cream", "sleeping"):
        teeth = P("M123 131 H133 V140 Q133 142 131 142 H125 Q123 142 123 140 Z")
        f.b.fill(teeth, WHITE)
        f.b.line(teeth, INK, 1.2, 0.8)
        f.b.line(poly([(128, 132), (128, 141)], close=False), INK, 1.0, 0.7)
        f.b.mouth(128, 130, 8, cat=True)
    else:
        f.smile(7)


# -- bear and panda -------------------------------------------------------
def bear_behind(f: Figure) -> None:
    for s in (-1, 1):
        f.b.blob(ellipse(128 + s * 41, 68, 18.5), f.color)
        f.b.soft(ellipse(128 + s * 40, 70, 10.5), mix(f.belly, f.inner, 0.4), 1.6)


def bear_face(f: Figure) -> None:
    muzzle(f, 131, 23, 16)
    f.eyes(10.5)
    f.blush(38, 128)
    nose(f, 128, 123, 8, 5.5)
    f.b.line(poly([(128, 127), (128, 133)], close=False), INK, 1.8)
    f.smile(7)


def panda_dark(f: Figure) -> tuple[int, int, int]:
    return mix(dark(f.color, 3.0), (40, 36, 46), 0.55) if luma(f.color) < 235 else (62, 58, 68)


def panda_back(f: Figure) -> None:
    f.hand_color = f.foot_color = panda_dark(f)
    if luma(f.color) < 235:
        f.color = mix(f.color, WHITE, 0.18) if luma(f.color) > 90 else (150, 150, 164)
        f.belly = belly(f.color)


def panda_coat(f: Figure) -> None:
    f.b.soft(P("M84 150 H172 V170 Q128 180 84 170 Z"), panda_dark(f), 1.5)


def panda_behind(f: Figure) -> None:
    for s in (-1, 1):
        f.b.blob(ellipse(128 + s * 42, 68, 18), panda_dark(f))


def panda_face(f: Figure) -> None:
    d = panda_dark(f)
    for s in (-1, 1):
        f.b.soft(ellipse(128 + s * 24, 109, 16, 20, s * 32), d, 1.3)
    f.eyes(10.5)
    f.blush(40, 130, 10)
    nose(f, 128, 125, 7, 5)
    f.b.line(poly([(128, 129), (128, 134)], close=False), INK, 1.8)
    f.smile(6.5, cat=True)


# -- elephant -------------------------------------------------------------
def elephant_behind(f: Figure) -> None:
    ear = "M92 82 C70 58 34 60 26 88 C18 118 34 148 60 148 C82 148 92 130 94 112 Z"
    pair(f, ear, f.color)
    pair_fill(f, "M84 92 C70 74 44 74 38 94 C34 116 44 136 62 136 C78 136 84 120 86 108 Z", f.inner, 3.5, 0.85)


def elephant_face(f: Figure) -> None:
    b = f.b
    for s in (-1, 1):
        tusk = smooth([(128 + s * 13, 134), (128 + s * 20, 146), (128 + s * 16, 150), (128 + s * 8, 140)])
        b.blob(tusk, CREAM, line=1.3)
    f.blush(38, 128)
    f.eyes(11.5)
    trunk = smooth([(128, 120), (128, 140), (127, 158), (116, 172), (102, 168), (98, 156)], close=False)
    b.limb(trunk, 23, f.color)
    b.soft(ellipse(128, 116, 14, 12), f.color, 2.5)
    for i, (x, y, w) in enumerate(((128, 132, 8), (127.5, 142, 8), (126, 152, 8))):
        fold = smooth([(x - w, y - 1), (x, y + 2), (x + w, y - 1 - i * 0.5)], close=False)
        b.line(fold, dark(f.color, 1.8), 1.6, 0.55)
    b.soft(ellipse(98, 154, 6, 3.6), f.inner, 0.8)
    if f.mouth_open:
        b.mouth(146, 143, 5)


# -- dinosaur -------------------------------------------------------------
SPIKE = (255, 176, 74)


def dino_spike(f: Figure) -> tuple[int, int, int]:
    r, g, _b = f.color
    return (94, 178, 120) if r > 200 and 100 < g < 225 and f.color[2] < 120 else SPIKE


def dino_back(f: Figure) -> None:
    b, c = f.b, dino_spike(f)
    for x, y, a in ((180, 190, 30), (197, 186, 10), (213, 174, 0)):
        with b.at(x, y, a):
            b.blob(poly([(-9, 4), (1, -15), (9, 5)]), c, line=1.5)
    tail = P("M140 184 C168 182 190 196 206 184 C216 176 222 164 228 164 C232 184 222 212 196 220 C174 226 150 222 136 220 Z")
    b.blob(tail, f.color)


def dino_coat(f: Figure) -> None:
    for y in (176, 190, 204):
        f.b.line(smooth([(104, y), (128, y + 5), (152, y)], close=False), dark(f.belly, 0.9), 2, 0.6)


def dino_behind(f: Figure) -> None:
    b, c = f.b, dino_spike(f)
    for x, y, a, k in ((78, 78, -48, 0.9), (100, 58, -22, 1.1), (128, 50, 0, 1.25), (156, 58, 22, 1.1), (178, 78, 48, 0.9)):
        with b.at(x, y, a, k):
            b.blob(P("M-14 16 C-10 0 -4 -12 0 -18 C4 -12 10 0 14 16 Z"), c, line=1.5)


def dino_face(f: Figure) -> None:
    b = f.b
    snout = P("M84 128 C84 110 104 106 128 106 C152 106 172 110 172 128 C172 148 152 156 128 156 C104 156 84 148 84 128 Z")
    b.soft(snout, dark(f.color), 3, 0.5)
    b.blob(snout, light(f.color, 0.5), line=1.2)
    for s in (-1, 1):
        b.fill(ellipse(128 + s * 12, 119, 3.2, 4.2, s * 20), dark(f.color, 2.4))
        b.soft(ellipse(128 + s * 40, 80, 5, 4), dark(f.color, 1.0), 1, 0.5)
    b.soft(ellipse(128, 76, 5, 4), dark(f.color, 1.0), 1, 0.5)
    f.eyes(12, 29, 96)
    f.blush(40, 124)
    if f.asleep or f.action == "bubbles":
        f.smile(8)
        return
    grin = P("M100 132 C112 142 144 142 156 132 C152 150 104 150 100 132 Z")
    b.fill(grin, (150, 52, 60))
    with b.clip(grin):
        b.fill(ellipse(128, 152, 20, 9), (255, 128, 132))
        for i in range(5):
            x = 108 + i * 10
            b.fill(poly([(x - 4, 130), (x + 4, 130), (x, 143 if i in (0, 4) else 144)]), WHITE)
    b.line(grin, INK, 1.7)


# -- frog -----------------------------------------------------------------
def frog_behind(f: Figure) -> None:
    for s in (-1, 1):
        f.b.blob(ellipse(128 + s * 32, 70, 22), f.color)


def frog_face(f: Figure) -> None:
    b = f.b
    b.soft(ellipse(128, 138, 40, 15), f.belly, 3, 0.85)
    for s in (-1, 1):
        b.soft(ellipse(128 + s * 32, 74, 19, 17), f.color, 2)
        b.fill(ellipse(128 + s * 5, 111, 1.8, 2.2), dark(f.color, 2.2))
    f.eyes(14, 32, 70)
    f.blush(40, 120, 10)
    if f.action in ("bubbles",):
        f.smile(9)
    elif f.mouth_open or f.action == "ice_cream":
        grin = P("M92 122 C108 136 148 136 164 122 C160 152 96 152 92 122 Z")
        b.fill(grin, (150, 52, 60))
        with b.clip(grin):
            b.fill(ellipse(128, 150, 20, 11), (255, 128, 132))
        b.line(grin, INK, 2)
    else:
        b.line(smooth([(88, 119), (104, 131), (128, 135), (152, 131), (168, 119)], close=False), INK, 2.4)


# -- birds ----------------------------------------------------------------
def beak(f: Figure, y: float, w: float, h: float) -> None:
    b = f.b
    low = P(f"M{128 - w * 0.7} {y + 1} C{128 - w * 0.5} {y + h * 1.5} {128 + w * 0.5} {y + h * 1.5} {128 + w * 0.7} {y + 1} Z")
    if f.mouth_open or f.action in ("ice_cream", "bubbles"):
        b.blob(low, dark(BEAK, 1.2), line=1.4)
    top = P(f"M{128 - w} {y + 1} C{128 - w * 0.6} {y - h} {128 + w * 0.6} {y - h} {128 + w} {y + 1} C{128 + w * 0.6} {y + h * 0.7} {128 - w * 0.6} {y + h * 0.7} {128 - w} {y + 1} Z")
    b.blob(top, BEAK, line=1.5)
    b.shine(128 - w * 0.35, y - h * 0.25, w * 0.25, h * 0.14, -12, 0.8)


def duck_back(f: Figure) -> None:
    f.foot_color = BEAK
    f.b.blob(P("M150 196 C170 192 184 180 190 172 C198 190 186 214 156 216 Z"), f.color)


def duck_face(f: Figure) -> None:
    b = f.b
    for a, k in ((-24, 0.85), (0, 1.1), (24, 0.85)):
        with b.at(128, 64, a, k):
            b.blob(P("M-6 2 C-8 -8 -4 -18 0 -22 C4 -18 8 -8 6 2 Z"), f.color, line=1.5)
    b.soft(ellipse(128, 68, 16, 8), f.color, 2)
    f.eyes(12)
    f.blush(38, 126)
    y, w = 126, 27
    if f.mouth_open or f.action in ("ice_cream", "bubbles"):
        b.blob(P("M108 130 C112 150 144 150 148 130 Z"), dark(BEAK, 1.3), line=1.4)
    bill = P(f"M{128 - w} {y + 3} C{128 - w} {y - 3} 116 {y - 12} 128 {y - 12} C140 {y - 12} {128 + w} {y - 3} {128 + w} {y + 3} C{128 + w} {y + 13} 142 {y + 13} 128 {y + 11} C114 {y + 13} {128 - w} {y + 13} {128 - w} {y + 3} Z")
    b.blob(bill, BEAK, line=1.6)
    b.line(smooth([(106, 131), (128, 134), (150, 131)], close=False), dark(BEAK, 1.6), 1.6, 0.8)
    for s in (-1, 1):
        b.fill(ellipse(128 + s * 6, 121, 1.4, 2), dark(BEAK, 1.8))
    b.shine(116, 120, 6, 2.6, -20, 0.8)


def penguin_back(f: Figure) -> None:
    f.foot_color = BEAK
    f.belly = (255, 252, 246) if luma(f.color) < 235 else (255, 240, 222)


def penguin_torso(f: Figure) -> None:
    b = f.b
    shape = body_path(f.rig)
    b.blob(shape, f.color)
    with b.clip(shape):
        b.soft(ellipse(128, 194, 29, 38), f.belly, 1.4)
        under_chin(f)
    feet(f, ANIMALS_A["penguin"])


def penguin_face(f: Figure) -> None:
    b = f.b
    mask = P("M128 92 C120 76 90 78 86 106 C84 134 106 148 128 148 C150 148 172 134 170 106 C166 78 136 76 128 92 Z")
    b.soft(mask, f.belly, 1.2)
    f.eyes(11.5, 21, 108)
    f.blush(33, 127)
    beak(f, 125, 11, 8)


def owl_behind(f: Figure) -> None:
    pair(f, "M76 96 C66 72 66 52 70 42 C86 46 104 54 116 66 Z", f.color)


def owl_coat(f: Figure) -> None:
    for row, y in enumerate((178, 189, 200)):
        for k in range(-2, 3):
            x = 128 + k * 12 + (6 if row % 2 else 0)
            if abs(x - 128) < 25:
                f.b.line(smooth([(x - 5, y), (x, y + 5), (x + 5, y)], close=False), mix(f.color, f.mark, 0.35), 2, 0.75)


def owl_back(f: Figure) -> None:
    f.foot_color = BEAK


def owl_face(f: Figure) -> None:
    b = f.b
    f.b.soft(P("M128 88 C118 66 96 60 84 66 C100 70 112 80 128 104 C144 80 156 70 172 66 C160 60 138 66 128 88 Z"), dark(f.color, 1.3), 1.2, 0.9)
    for s in (-1, 1):
        b.soft(ellipse(128 + s * 24, 108, 26, 27), dark(f.color), 2, 0.5)
        b.soft(ellipse(128 + s * 24, 108, 25, 26), f.belly, 1.2)
    f.eyes(17, 23, 106)
    f.blush(34, 134, 8)
    bill = P("M128 114 C136 116 137 124 128 138 C119 124 120 116 128 114 Z")
    b.blob(bill, BEAK, line=1.4)
    if f.mouth_open:
        b.mouth(128, 138, 4)


# -- fox ------------------------------------------------------------------
FOX_HEAD = "M128 62 C156 62 174 78 180 102 C184 116 196 124 198 130 C186 132 176 138 164 144 C150 152 140 155 128 155 C116 155 106 152 92 144 C80 138 70 132 58 130 C60 124 72 116 76 102 C82 78 100 62 128 62 Z"


def fox_back(f: Figure) -> None:
    tail = P("M146 212 C166 216 178 204 184 188 C188 170 196 152 214 148 C232 162 232 196 214 212 C196 228 164 230 146 220 Z")
    f.b.blob(tail, f.color)
    with f.b.clip(tail):
        f.b.soft(P("M186 172 L196 164 L202 172 L210 164 L216 174 L226 168 L236 180 L236 140 L180 140 Z"), mix(f.belly, WHITE, 0.55), 1.3)
    f.foot_color = f.hand_color = sock(f.color)


def fox_behind(f: Figure) -> None:
    pair(f, "M78 98 C66 66 66 38 74 24 C92 34 112 52 122 70 Z", f.color)
    f.b.soft(P("M69 48 C68 36 70 28 74 24 C80 27 86 32 92 38 Z"), sock(f.color), 1)
    f.b.soft(M("M69 48 C68 36 70 28 74 24 C80 27 86 32 92 38 Z"), sock(f.color), 1)
    pair_fill(f, "M83 84 C76 66 76 52 79 44 C90 50 102 60 109 70 Z", mix(f.belly, CREAM, 0.5), 1.6)


def fox_face(f: Figure) -> None:
    b = f.b
    cheek = "M60 130 C72 126 82 112 98 112 C114 112 122 124 128 130 V155 C112 155 100 150 90 144 C80 138 70 134 60 130 Z"
    white = mix(f.belly, WHITE, 0.6)
    pair_fill(f, cheek, white, 1.2)
    b.fill(ellipse(128, 140, 8, 12), white)
    f.eyes(11.5, 24, 106)
    f.blush(40, 127)
    nose(f, 128, 129, 6.5, 5)
    f.smile(6, cat=True) if not f.mouth_open else b.mouth(128, 136, 6, open_=True)


ANIMALS_A: dict[str, Animal] = {
    "cat": Animal(rig=Rig(arm_w=17), back=cat_back, behind=cat_behind, face=cat_face),
    "dog": Animal(back=dog_back, face=dog_face, rig=Rig(hrx=52, phones=0.98)),
    "rabbit": Animal(back=rabbit_back, behind=rabbit_behind, face=rabbit_face, rig=Rig(hy=110, hry=43, top=68, hrx=52, fit=0.95)),
    "bear": Animal(behind=bear_behind, face=bear_face, rig=Rig(brx=40)),
    "panda": Animal(back=panda_back, coat=panda_coat, behind=panda_behind, face=panda_face, rig=Rig(brx=41, hrx=56)),
    "elephant": Animal(behind=elephant_behind, face=elephant_face, rig=Rig(hrx=48, brx=42, foot=(18, 11), arm_w=20, eye_dx=25, mouth=(146, 143))),
    "dinosaur": Animal(back=dino_back, coat=dino_coat, behind=dino_behind, face=dino_face, rig=Rig(mouth=(128, 136), eye_dx=29, eye_y=96, arm_w=16)),
    "frog": Animal(behind=frog_behind, face=frog_face, webbed=True, rig=Rig(hy=112, hry=40, hrx=58, eye_dx=32, eye_y=70, top=40, ear=(136, 70), mouth=(128, 128))),
    "duck": Animal(back=duck_back, face=duck_face, webbed=True, rig=Rig(wings=True, hrx=50, brx=40, mouth=(128, 138), arm_w=22)),
    "fox": Animal(back=fox_back, behind=fox_behind, face=fox_face, head=P(FOX_HEAD), rig=Rig(fit=0.96, mouth=(128, 138))),
    "penguin": Animal(back=penguin_back, torso=penguin_torso, face=penguin_face, webbed=True, rig=Rig(wings=True, hrx=52, brx=42, mouth=(128, 132), eye_dx=21)),
    "owl": Animal(back=owl_back, coat=owl_coat, behind=owl_behind, face=owl_face, webbed=True, rig=Rig(wings=True, hrx=54, brx=42, iris=(236, 160, 40), arm_w=24, mouth=(128, 138), eye_r=17)),
}
