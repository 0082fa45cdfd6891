"""Puts a scene together."""

from __future__ import annotations

import random

from ..spec import NATURAL_COLOR, Scene
from . import accessories as acc
from .actions import ACTION, FLIGHT_PUFFS, GUITAR_NOTES
from .animals_a import ANIMALS_A
from .animals_b import ANIMALS_B
from .backgrounds import place
from .brush import Brush, ellipse
from .palette import PROPS, coat
from .rig import Animal, Figure, arm, arm_shadow, body_path, head, paw, torso

ANIMAL: dict[str, Animal] = {**ANIMALS_A, **ANIMALS_B}


CLOSE = ("standing", "waving", "reading", "sleeping")  # no props far out: draw larger


def draw_scene(b: Brush, scene: Scene) -> None:
    """Everything random comes from the seed alone, in streams of their own."""
    place(b, scene.background, random.Random(f"place/{scene.seed}"))
    rng = random.Random(f"pose/{scene.seed}")
    dx, dy = rng.uniform(-7, 7), rng.uniform(-4, 3)
    scale, tilt = rng.uniform(0.88, 0.98), rng.uniform(-2.5, 2.5)
    nod, gaze = rng.uniform(-4, 4), (rng.uniform(-1, 1), rng.uniform(-0.6, 0.8))
    action = ACTION[scene.action]
    animal = ANIMAL[scene.animal]
    color = coat(scene.animal, scene.color, NATURAL_COLOR[scene.animal])
    f = Figure(b, animal.rig, color, scene.action, gaze)
    scale *= animal.rig.fit * (1.09 if scene.action in CLOSE else 1.0)
    with b.at(dx, dy + 3, tilt, scale, (128, 222)):
        shadow = (46, 38, 84)
        lifted = action.lift > 0
        b.soft(ellipse(132, 231, 44 if lifted else 58, 7 if lifted else 9), shadow, 5, 0.22 if lifted else 0.36)
        with b.at(0, -action.lift):
            figure(f, animal, scene, nod)


def figure(f: Figure, animal: Animal, scene: Scene, nod: float) -> None:
    b, action = f.b, ACTION[scene.action]
    worn = scene.accessory
    tint = PROPS[scene.accessory_color] if scene.accessory_color else (0, 0, 0)

    def props() -> random.Random:
        return random.Random(f"props/{scene.seed}")

    def wear(layer: dict[str, acc.Wear]) -> None:
        if worn in layer:
            layer[worn](f, tint)

    if scene.action == "flying":
        FLIGHT_PUFFS(f, props())
    action.behind(f, props())
    if not animal.rig.shell:
        wear(acc.BACK)
    animal.back(f)
    if animal.rig.shell:
        wear(acc.BACK)
    torso(f, animal)
    wear(acc.BODY)
    left, right = action.hands
    hands = (left, (right[0], right[1] + f.reach * action.to_mouth))
    with b.clip(body_path(f.rig)):
        for side, hand in zip((-1, 1), hands, strict=True):
            arm_shadow(f, side, hand)
    for side, hand in zip((-1, 1), hands, strict=True):
        arm(f, side, hand)
    wear(acc.NECK)
    if scene.action == "sleeping":
        nod = 5 + nod * 0.4
    with b.at(0, 0, nod, 1, (f.rig.hx, f.rig.neck)):
        animal.behind(f)
        head(f, animal)
        animal.face(f)
        wear(acc.HEAD)
    action.front(f, props())
    if scene.action == "guitar":
        GUITAR_NOTES(f, props())
    for i in action.grip:
        paw(f, hands[i])
