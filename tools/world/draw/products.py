"""Studio shots of articles with an optional promotional sticker in a corner."""

from __future__ import annotations

import random
from collections.abc import Callable

from .._skia import skia
from ..spec import Product
from .backgrounds import FULL, gradient, spot
from .brush import Brush, P, argb, ellipse, poly, ring, rrect, smooth, star
from .palette import BASE, PROPS, RGB, WHITE, dark, light, luma, mix
from .text import text_at, text_path

Shape = Callable[[Brush, RGB], None]
PLAIN: dict[str, tuple[RGB, RGB]] = {
    "light_grey": ((246, 247, 249), (214, 217, 224)),
    "cream": ((255, 250, 238), (240, 224, 196)),
    "plain_pink": ((255, 232, 238), (248, 190, 208)),
    "plain_blue": ((226, 243, 255), (166, 208, 244)),
    "plain_green": ((232, 249, 232), (176, 224, 184)),
}


def backdrop(b: Brush, name: str, rng: random.Random) -> None:
    if name == "white":
        b.fill(FULL, WHITE)
    elif name in PLAIN:
        inner, outer = PLAIN[name]
        spot(b, inner, outer, 108, 90, 220)
    elif name == "gradient":
        b.shader(FULL, skia.GradientShader.MakeLinear([(0, 0), (256, 256)], [argb((255, 214, 186)), argb((232, 178, 224)), argb((150, 166, 240))], [0, 0.5, 1]))
    else:
        gradient(b, (250, 243, 232), (234, 220, 200), 0, 160)
        b.shader(P("M-20 164 H276 V280 H-20 Z"), skia.GradientShader.MakeLinear([(0, 164), (0, 256)], [argb((214, 158, 104)), argb((184, 122, 74))]))
        b.line(P("M-20 164 H276"), (238, 190, 138), 2.5, 0.9)
        for y in (186, 214):
            b.line(poly([(-20, y), (276, y)], close=False), (150, 96, 58), 1.6, 0.6)
        for i in range(10):
            x, y = (i * 53 + rng.uniform(0, 30)) % 256, 172 + (i * 29) % 80
            b.line(smooth([(x - 26, y), (x, y + 1.6), (x + 26, y)], close=False), (160, 102, 62), 1.2, 0.4)


def shadow(b: Brush, w: float, y: float = 212, x: float = 128) -> None:
    b.soft(ellipse(x + 7, y, w * 1.08, 11), (50, 40, 70), 8, 0.26)
    b.soft(ellipse(x + 2, y - 1, w * 0.92, 5.5), (50, 40, 70), 3, 0.4)


def metal(c: RGB) -> RGB:
    return (244, 206, 110) if luma(c) < 225 else (226, 190, 110)


def accent(c: RGB) -> RGB:
    return mix(c, WHITE, 0.7) if luma(c) < 190 else dark(c, 1.4)


def gloss(b: Brush, path: object, text: str, alpha: float = 0.5) -> None:
    with b.clip(path):
        b.soft(P(text), WHITE, 3, alpha)


def bag(b: Brush, c: RGB) -> None:
    shadow(b, 66)
    handle = P("M92 112 C92 48 164 48 164 112")
    b.line(handle, dark(c, 2.2), 11, 0.9)
    b.line(handle, dark(c, 0.8), 8)
    b.line(P("M95 104 C97 54 158 54 161 104"), light(c), 2, 0.6)
    shape = P("M74 106 C74 101 78 98 84 98 H172 C178 98 182 101 183 106 L194 196 C195 206 189 212 180 212 H76 C67 212 61 206 62 196 Z")
    b.blob(shape, c)
    with b.clip(shape):
        flap = P("M60 90 H196 V140 C180 160 150 162 128 162 C106 162 76 160 60 140 Z")
        b.soft(P("M60 96 H196 V146 C180 166 150 168 128 168 C106 168 76 166 60 146 Z"), dark(c, 1.6), 3, 0.45)
        b.volume(flap, mix(c, light(c), 0.35))
        b.line(flap, dark(c, 1.7), 1.6, 0.7)
        seam = P("M60 134 C80 152 106 155 128 155 C150 155 176 152 196 134")
        b.c.drawPath(seam, dashed(light(c, 1.0)))
    for x in (92, 164):
        b.blob(ellipse(x, 112, 7), metal(c), line=1.3)
    b.blob(rrect(115, 150, 26, 21, 6), metal(c), line=1.5)
    b.blob(rrect(122, 157, 12, 8, 3), dark(metal(c), 1.2), line=1.0)
    gloss(b, shape, "M78 108 L92 104 L84 196 L72 196 Z", 0.4)


def dashed(c: RGB) -> skia.Paint:
    return skia.Paint(
        AntiAlias=True,
        Color=argb(c, 0.9),
        Style=skia.Paint.kStroke_Style,
        StrokeWidth=1.8,
        StrokeCap=skia.Paint.kRound_Cap,
        PathEffect=skia.DashPathEffect.Make([5, 4], 0),
    )


def shoe(b: Brush, c: RGB) -> None:
    shadow(b, 88, 207)
    sole = P("M36 186 C34 200 40 207 52 207 H204 C220 207 226 198 222 186 Z")
    upper = P("M40 128 C44 116 54 114 60 122 C66 134 84 136 96 122 C100 116 108 116 114 122 C132 142 156 156 188 162 C212 166 224 176 222 190 H38 C34 170 36 146 40 128 Z")
    b.blob(upper, c)
    with b.clip(upper):
        b.volume(P("M34 110 H66 C72 140 70 170 60 192 H30 Z"), dark(c, 0.7), 0.6)
        b.volume(P("M178 150 C176 168 184 182 196 192 H240 V150 Z"), accent(c), 0.7)
        b.line(P("M178 152 C176 168 184 182 196 192"), dark(c, 1.6), 1.6, 0.7)
        b.line(P("M66 118 C74 142 72 170 60 192"), dark(c, 1.6), 1.6, 0.7)
        b.fill(P("M74 178 C100 180 130 166 146 150 L158 156 C140 178 106 192 74 190 Z"), accent(c))
    b.blob(P("M40 128 C44 116 54 114 60 122 C66 134 84 136 96 122 C92 118 84 112 72 112 C58 108 46 112 40 128 Z"), dark(c, 1.7), line=1.5)
    for i in range(4):
        x, y = 104 + i * 15.5, 125 + i * 10.5
        b.line(poly([(x - 9, y + 12), (x + 9, y - 1)], close=False), dark(c, 1.6), 7, 0.6)
        b.line(poly([(x - 9, y + 12), (x + 9, y - 1)], close=False), (252, 252, 255), 5)
    for s in (-1, 1):
        loop = smooth([(104, 121), (104 + s * 12 - 6, 106), (104 + s * 17 - 4, 112), (104, 121)], close=False)
        b.line(loop, (252, 252, 255), 4)
    b.blob(sole, (250, 249, 246))
    with b.clip(sole):
        b.line(P("M30 200 H230"), mix(c, WHITE, 0.25), 5, 0.8)
    gloss(b, upper, "M120 138 C140 156 162 164 186 168 L178 174 C154 168 132 158 114 144 Z", 0.35)


def mug(b: Brush, c: RGB) -> None:
    shadow(b, 58, 208, 124)
    handle = P("M166 122 C206 112 212 178 162 178")
    b.line(handle, dark(c, 2.0), 17, 0.9)
    b.line(handle, c, 14)
    b.line(P("M168 119 C198 112 204 146 194 160"), light(c), 3, 0.7, 0.6)
    shape = P("M62 96 C62 92 178 92 178 96 L170 194 C169 204 160 210 148 210 H92 C80 210 71 204 70 194 Z")
    b.blob(shape, c)
    rim = ellipse(120, 96, 58, 13)
    b.blob(rim, light(c, 0.6), line=1.6)
    b.blob(ellipse(120, 97, 50, 9.5), (126, 78, 54), line=1.2)
    b.soft(ellipse(112, 96, 22, 3.2), (196, 142, 100), 1.5, 0.8)
    heart = P("M120 172 C100 158 96 140 108 136 C114 134 119 138 120 143 C121 138 126 134 132 136 C144 140 140 158 120 172 Z")
    b.fill(heart, accent(c))
    gloss(b, shape, "M74 112 L88 110 L92 196 L80 196 Z", 0.6)
    for x in (104, 128):
        b.line(smooth([(x, 80), (x + 6, 68), (x - 2, 56), (x + 4, 44)], close=False), (226, 226, 236), 5, 0.5, 2)


def bottle(b: Brush, c: RGB) -> None:
    shadow(b, 42, 216)
    cap = rrect(109, 40, 38, 26, 6)
    b.blob(cap, accent(c))
    for x in (116, 124, 132, 140):
        b.line(poly([(x, 45), (x, 61)], close=False), dark(accent(c), 1.2), 1.6, 0.5)
    shape = P("M112 64 H144 V76 C144 84 170 88 170 112 V200 C170 211 163 217 152 217 H104 C93 217 86 211 86 200 V112 C86 88 112 84 112 76 Z")
    b.blob(shape, c)
    with b.clip(shape):
        b.volume(P("M80 124 H176 V180 H80 Z"), (255, 251, 244), 0.6)
        b.line(P("M80 124 H176 M80 180 H176"), dark(c, 1.3), 1.8, 0.7)
        drop = P("M128 134 C138 148 142 156 138 164 C134 172 122 172 118 164 C114 156 118 148 128 134 Z")
        b.blob(drop, c if luma(c) < 225 else (150, 200, 240), line=1.3)
    gloss(b, shape, "M94 100 C98 94 104 92 108 92 L104 208 L94 206 Z", 0.6)
    gloss(b, shape, "M158 108 L163 110 V200 L158 204 Z", 0.3)


def shirt(b: Brush, c: RGB) -> None:
    b.soft(P("M70 70 L186 70 L228 120 L196 140 L184 126 V216 H80 V126 L64 140 L36 120 Z"), (50, 40, 70), 8, 0.3)
    shape = P("M98 54 C108 68 148 68 158 54 L184 62 C198 68 214 96 224 116 L194 138 L180 118 C180 150 182 184 184 206 C160 214 96 214 72 206 C74 184 76 150 76 118 L62 138 L32 116 C42 96 58 68 72 62 Z")
    b.blob(P("M98 54 C110 46 146 46 158 54 C148 68 108 68 98 54 Z"), dark(c, 1.9), line=1.2)
    b.blob(shape, c)
    b.line(P("M96 57 C108 74 148 74 160 57"), dark(c, 1.4), 1.8, 0.7)
    for text in ("M76 118 C78 106 76 96 72 88", "M180 118 C178 106 180 96 184 88", "M92 204 C94 188 92 176 96 164", "M164 204 C162 190 166 178 160 168"):
        b.line(P(text), dark(c, 1.3), 2.4, 0.55, 0.8)
    b.line(P("M40 110 L68 130 M216 110 L188 130 M74 199 C98 206 158 206 182 199"), dark(c, 1.2), 1.4, 0.6)
    b.blob(star(128, 126, 26, 5, 0.5), accent(c), line=1.4)
    gloss(b, shape, "M84 72 C96 80 96 110 90 150 L80 150 V84 Z", 0.4)


def box(b: Brush, c: RGB) -> None:
    shadow(b, 72, 212)
    ribbon = (255, 236, 160) if luma(c) < 215 and c != BASE["yellow"] else (240, 96, 112)
    body = rrect(64, 116, 128, 96, 7)
    b.blob(body, c)
    with b.clip(body):
        b.volume(P("M114 110 H142 V220 H114 Z"), ribbon, 0.7)
        b.soft(P("M56 112 H200 V124 H56 Z"), dark(c, 1.9), 3, 0.5)
    lid = rrect(55, 92, 146, 30, 7)
    b.blob(lid, mix(c, light(c), 0.4))
    with b.clip(lid):
        b.volume(P("M112 88 H144 V126 H112 Z"), ribbon, 0.7)
    for m in (1, -1):
        with b.at(128, 90, 0, 1, (0, 0), sx=m):
            b.blob(P("M2 2 C14 -34 48 -50 58 -30 C64 -12 34 0 2 4 Z"), ribbon)
            b.blob(P("M12 -3 C22 -22 40 -30 46 -22 C48 -12 30 -4 12 -3 Z"), dark(ribbon, 1.1), line=1.1)
            b.blob(P("M2 4 C14 10 26 20 40 20 L34 32 C22 30 8 18 2 4 Z"), dark(ribbon, 0.3), line=1.4)
    b.blob(ellipse(128, 90, 11, 10), ribbon)
    gloss(b, body, "M70 126 H82 V204 H70 Z", 0.4)


def teapot(b: Brush, c: RGB) -> None:
    shadow(b, 62, 210, 124)
    handle = P("M176 128 C222 116 224 184 172 186")
    b.line(handle, dark(c, 2.0), 14, 0.9)
    b.line(handle, c, 11)
    spout = P("M78 178 C52 170 50 140 30 128 C28 122 36 116 44 120 C66 128 74 136 90 140 Z")
    b.blob(spout, c)
    shape = P("M124 104 C170 104 190 134 188 160 C186 192 164 210 124 210 C84 210 62 192 60 160 C58 134 78 104 124 104 Z")
    b.blob(shape, c)
    b.blob(P("M86 110 C90 88 158 88 162 110 C146 118 102 118 86 110 Z"), mix(c, light(c), 0.4))
    b.blob(ellipse(124, 84, 11, 10), accent(c))
    for k in range(5):
        a = -1.57 + k * 1.2566
        import math

        b.fill(ellipse(124 + 15 * math.cos(a), 160 + 15 * math.sin(a), 11), accent(c), 0.95)
    b.fill(ellipse(124, 160, 9), metal(c))
    gloss(b, shape, "M78 138 C84 122 96 114 106 114 C92 126 84 146 84 170 C78 162 76 148 78 138 Z", 0.7)


def lamp(b: Brush, c: RGB) -> None:
    shadow(b, 46, 214)
    b.glow(128, 150, 74, (255, 236, 160), 0.55)
    b.blob(rrect(122, 120, 12, 84, 5), metal(c), line=1.4)
    b.blob(P("M88 212 C88 198 106 196 128 196 C150 196 168 198 168 212 C160 217 96 217 88 212 Z"), mix(c, dark(c), 0.5))
    b.line(P("M152 128 V150"), metal(c), 2)
    b.blob(ellipse(152, 154, 4), metal(c), line=1.1)
    b.blob(ellipse(128, 128, 60, 12), (255, 244, 196), line=1.4)
    shade = P("M98 46 C106 42 150 42 158 46 L190 126 C170 136 86 136 66 126 Z")
    b.blob(shade, c)
    with b.clip(shade):
        b.glow(128, 132, 60, (255, 240, 170), 0.75, 0.9)
        b.line(P("M66 122 C86 132 170 132 190 122"), light(c), 3.5, 0.9)
        b.line(P("M98 50 C110 54 146 54 158 50"), light(c), 2.5, 0.8)
    gloss(b, shade, "M100 50 L110 50 L86 124 L74 122 Z", 0.5)


SHAPES: dict[str, Shape] = {"bag": bag, "shoe": shoe, "mug": mug, "bottle": bottle, "shirt": shirt, "box": box, "teapot": teapot, "lamp": lamp}
CORNER = {"top_right": (208, 46), "top_left": (48, 46), "bottom_right": (208, 210), "bottom_left": (48, 210)}


def sticker(b: Brush, item: Product, rng: random.Random) -> None:
    """A badge; its form and tilt come from the seed."""
    c = PROPS[item.label_color]
    x, y = CORNER[item.label_corner]
    form, tilt = rng.randrange(3), rng.uniform(-10, 10)
    with b.at(x, y, tilt):
        if form == 0:
            path = star(0, 0, 41, 14, 0.86)
            inner = ellipse(0, 0, 30)
        elif form == 1:
            path, inner = ellipse(0, 0, 37), ellipse(0, 0, 31.5)
        else:
            path, inner = ring(0, 0, 35, 35, 12, 0.07), ellipse(0, 0, 30.5)
        with b.at(2.5, 3.5):
            b.soft(path, (40, 30, 60), 3.5, 0.35)
        b.blob(path, c, 0.9)
        b.line(inner, WHITE, 1.7, 0.9)
        box_ = text_path(str(item.label)).getBounds()
        em = min(50 / max(box_.width(), 0.1), 36)
        t = text_at(str(item.label), 0, 0, em)
        b.fill(t, (255, 255, 255) if luma(c) < 205 else (120, 52, 40))
        b.shine(-16, -20, 9, 4, -40, 0.35)


def draw_product(b: Brush, item: Product) -> None:
    backdrop(b, item.background, random.Random(f"place/{item.seed}"))
    rng = random.Random(f"pose/{item.seed}")
    dx, dy, scale, tilt = rng.uniform(-8, 8), rng.uniform(-4, 4), rng.uniform(0.82, 0.95), rng.uniform(-2, 2)
    with b.at(dx, dy, tilt, scale, (128, 150)):
        SHAPES[item.kind](b, BASE[item.color])
    if item.label:
        sticker(b, item, random.Random(f"label/{item.seed}"))
