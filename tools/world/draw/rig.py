"""The common chibi figure: where head, body, hands and feet of an animal are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .brush import Brush, Path, Point, ellipse
from .palette import RGB, WHITE, belly, cheek, dark, light, marking, mix


@dataclass(frozen=True)
class Rig:
    """Anchors in units of 1/256; the feet stand on y = 228."""

    hx: float = 128
    hy: float = 106
    hrx: float = 54
    hry: float = 46
    eye_dx: float = 23
    eye_y: float = 106
    eye_r: float = 12.4
    eye_white: float = 1.0
    iris: RGB = (110, 66, 44)
    mouth: Point = (128, 132)
    top: float = 62  # where a hat sits
    ear: Point = (170, 74)  # where a bow or a flower sits
    bx: float = 128
    by: float = 186
    brx: float = 37
    bry: float = 38
    neck: float = 153
    neck_w: float = 30
    shoulder: Point = (31, 168)  # offset from the middle, height
    foot_dx: float = 19
    foot: tuple[float, float] = (17.5, 11.5)
    arm_w: float = 18
    wings: bool = False  # arms are wings
    phones: float = 1.0  # how far out headphones sit
    fit: float = 1.0  # smaller for tall animals
    shell: bool = False  # capes and backpacks go over the back


@dataclass
class Figure:
    """One animal while it is being drawn."""

    b: Brush
    rig: Rig
    color: RGB
    action: str = "standing"
    gaze: Point = (0, 0)
    hand_color: RGB | None = None
    foot_color: RGB | None = None
    cheek: RGB | None = None
    belly: RGB = field(init=False)
    mark: RGB = field(init=False)
    deep: RGB = field(init=False)
    inner: RGB = field(init=False)

    def __post_init__(self) -> None:
        self.belly = belly(self.color)
        self.mark = marking(self.color)
        self.deep = dark(self.color, 1.3)
        self.inner = mix(light(self.color), (255, 158, 168), 0.72)

    @property
    def reach(self) -> float:
        """How much higher than usual the mouth is (things brought to it follow)."""
        return max(-36.0, min(0.0, self.rig.mouth[1] - 132))

    @property
    def asleep(self) -> bool:
        return self.action == "sleeping"

    @property
    def mouth_open(self) -> bool:
        return self.action in ("waving", "flying", "teaching", "balloon", "guitar", "ball")

    def eyes(self, r: float | None = None, dx: float | None = None, y: float | None = None) -> None:
        rig = self.rig
        r, dx, y = r or rig.eye_r, dx or rig.eye_dx, y or rig.eye_y
        for s in (-1, 1):
            if self.asleep:
                self.b.closed_eye(rig.hx + s * dx, y + r * 0.3, r * 0.95)
            else:
                self.b.eye(rig.hx + s * dx, y, r, self.gaze, rig.iris, rig.eye_white)

    def blush(self, dx: float = 38, y: float = 126, r: float = 9) -> None:
        for s in (-1, 1):
            self.b.blush(self.rig.hx + s * dx, y, r, self.cheek or cheek(self.color))

    def smile(self, w: float = 8, cat: bool = False) -> None:
        x, y = self.rig.mouth
        if self.asleep:
            self.b.mouth(x, y, w * 0.6)
        elif self.action == "bubbles":
            self.b.fill(ellipse(x, y + 2, w * 0.42, w * 0.5), (150, 52, 60))
        elif self.action == "ice_cream" or (self.mouth_open and not cat):
            self.b.mouth(x, y, w, open_=True)
        elif self.mouth_open:
            self.b.mouth(x, y, w, cat=True)
            self.b.mouth(x, y + w * 0.3, w * 0.78, open_=True)
        else:
            self.b.mouth(x, y, w, cat=cat)


Part = Callable[[Figure], None]


def nothing(_f: Figure) -> None:
    return None


@dataclass(frozen=True)
class Animal:
    """How one animal differs from the common figure."""

    rig: Rig = field(default_factory=Rig)
    back: Part = nothing  # tail, shell, spikes: behind the body
    torso: Part | None = None  # replaces the plain body
    coat: Part = nothing  # marks on the body
    behind: Part = nothing  # ears, mane: behind the head
    head: Path | None = None  # replaces the plain head outline
    face: Part = nothing
    head_color: Callable[[Figure], RGB] | None = None
    webbed: bool = False


def head_path(r: Rig, chub: float = 0.72) -> Path:
    """A round head with full cheeks."""
    top, bottom, c = r.hy - r.hry, r.hy + r.hry, r.hx
    path = Path()
    path.moveTo(c, top)
    path.cubicTo(c + r.hrx * 0.66, top, c + r.hrx, r.hy - r.hry * 0.42, c + r.hrx, r.hy + r.hry * 0.16)
    path.cubicTo(c + r.hrx, r.hy + r.hry * chub, c + r.hrx * 0.56, bottom, c, bottom)
    path.cubicTo(c - r.hrx * 0.56, bottom, c - r.hrx, r.hy + r.hry * chub, c - r.hrx, r.hy + r.hry * 0.16)
    path.cubicTo(c - r.hrx, r.hy - r.hry * 0.42, c - r.hrx * 0.66, top, c, top)
    path.close()
    return path


def body_path(r: Rig) -> Path:
    """A pear: narrower at the shoulders."""
    top, bottom, c = r.by - r.bry, r.by + r.bry, r.bx
    path = Path()
    path.moveTo(c, top)
    path.cubicTo(c + r.brx * 0.7, top, c + r.brx * 0.86, r.by - r.bry * 0.3, c + r.brx, r.by + r.bry * 0.3)
    path.cubicTo(c + r.brx * 1.06, bottom - r.bry * 0.12, c + r.brx * 0.6, bottom, c, bottom)
    path.cubicTo(c - r.brx * 0.6, bottom, c - r.brx * 1.06, bottom - r.bry * 0.12, c - r.brx, r.by + r.bry * 0.3)
    path.cubicTo(c - r.brx * 0.86, r.by - r.bry * 0.3, c - r.brx * 0.7, top, c, top)
    path.close()
    return path


def torso(f: Figure, a: Animal) -> None:
    """Feet and body with a lighter belly."""
    b, r = f.b, f.rig
    if a.torso:
        a.torso(f)
        return
    shape = body_path(r)
    b.blob(shape, f.color)
    with b.clip(shape):
        patch = ellipse(r.bx, r.by + 8, r.brx * 0.62, r.bry * 0.72)
        b.soft(patch, f.belly, 2.2, 0.95)
        a.coat(f)
        under_chin(f)
    feet(f, a)


def under_chin(f: Figure, color: RGB | None = None) -> None:
    """The soft shadow of the head on the chest; call it inside a clip."""
    f.b.soft(ellipse(f.rig.hx + 2, f.rig.neck - 5, 36, 12), dark(color or f.color, 1.8), 4.5, 0.55)


def head(f: Figure, a: Animal) -> None:
    """The head with a glow where the light falls."""
    shape = a.head or head_path(f.rig)
    color = a.head_color(f) if a.head_color else f.color
    f.b.blob(shape, color)
    with f.b.clip(shape):
        r = f.rig
        f.b.glow(r.hx - r.hrx * 0.36, r.hy - r.hry * 0.62, r.hrx * 0.62, WHITE, 0.3, 0.62)


def feet(f: Figure, a: Animal) -> None:
    b, r = f.b, f.rig
    color = f.foot_color or f.color
    for s in (-1, 1):
        x, y = r.bx + s * r.foot_dx, 219
        if a.webbed:
            foot = Path()
            foot.moveTo(x - s * 7, y - 8)
            foot.cubicTo(x + s * 4, y - 10, x + s * 12, y - 4, x + s * 17, y + 5)
            foot.quadTo(x + s * 13, y + 10, x + s * 8, y + 7)
            foot.quadTo(x + s * 3, y + 12, x - s * 1, y + 8)
            foot.quadTo(x - s * 7, y + 11, x - s * 11, y + 5)
            foot.quadTo(x - s * 12, y - 4, x - s * 7, y - 8)
            foot.close()
            b.blob(foot, color)
        else:
            b.blob(ellipse(x + s * 2, y - 1, *r.foot), color)
            for k in (-1, 0, 1):
                b.line(_toe(x + s * 2 + k * 6, y + 4.5 - abs(k)), dark(color, 1.8), 1.6, 0.6)


def _toe(x: float, y: float) -> Path:
    path = Path()
    path.moveTo(x, y)
    path.lineTo(x, y + 3.6)
    return path


def arm_shadow(f: Figure, side: int, hand: Point) -> None:
    """What an arm throws on the body; call it inside a clip."""
    r = f.rig
    path = Path()
    path.moveTo(r.bx + side * r.shoulder[0] + 1.5, r.shoulder[1] + 2.5)
    path.lineTo(hand[0] + 1.5, hand[1] + 2.5)
    f.b.line(path, dark(f.color, 2.0), r.arm_w + (6 if r.wings else 2), 0.4, 3)


def arm(f: Figure, side: int, hand: Point) -> None:
    """An arm (or a wing) from the shoulder to a hand."""
    b, r = f.b, f.rig
    sx, sy = r.bx + side * r.shoulder[0], r.shoulder[1]
    hx, hy = hand
    dx, dy = hx - sx, hy - sy
    bend = 0.18 * side * (1 if dy > -4 else -1)
    mx, my = (sx + hx) / 2 + dy * bend, (sy + hy) / 2 - dx * bend + 3
    if r.wings:
        n = max(1.0, (dx * dx + dy * dy) ** 0.5)
        ux, uy = dx / n, dy / n
        wx, wy = -uy * r.arm_w * 0.72, ux * r.arm_w * 0.72
        tip = (hx + ux * 7, hy + uy * 7)
        path = Path()
        path.moveTo(sx - wx * 0.5 - ux * 4, sy - wy * 0.5 - uy * 4)
        path.cubicTo(sx - wx * 1.3 + dx * 0.4, sy - wy * 1.3 + dy * 0.4, hx - wx, hy - wy, *tip)
        path.cubicTo(hx + wx, hy + wy, sx + wx * 1.3 + dx * 0.4, sy + wy * 1.3 + dy * 0.4, sx + wx * 0.5 - ux * 4, sy + wy * 0.5 - uy * 4)
        path.close()
        b.blob(path, f.hand_color or f.color)
        return
    path = Path()
    path.moveTo(sx, sy)
    path.quadTo(mx, my, hx, hy)
    b.limb(path, r.arm_w, f.hand_color or f.color)
    if hy < sy - 20:  # a raised hand shows its palm
        palm = mix(light(f.hand_color or f.color), (255, 170, 176), 0.6)
        b.soft(ellipse(hx, hy, r.arm_w * 0.28), palm, 0.8, 0.9)


def paw(f: Figure, hand: Point) -> None:
    """A hand drawn over what it holds."""
    if not f.rig.wings:
        f.b.blob(ellipse(*hand, f.rig.arm_w * 0.53), f.hand_color or f.color, line=1.5)
    else:
        f.b.blob(ellipse(hand[0], hand[1], f.rig.arm_w * 0.42, f.rig.arm_w * 0.5), f.hand_color or f.color, line=1.5)
