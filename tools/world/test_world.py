"""Checks of the drawn world: same seed same picture, edits stay local, words fit."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from tools import world
from tools.world import Product, Scene

PHRASES = {
    "蓝色的小象在吹泡泡": Scene("elephant", "blue", action="bubbles"),
    "穿裙子的小猫咪": Scene("cat", "orange", "skirt", "pink"),
    "会飞的粉色恐龙": Scene("dinosaur", "pink", action="flying"),
    "戴眼镜的青蛙老师": Scene("frog", "green", "glasses", "black", "teaching"),
    "黄色的小鸭子戴着红色帽子": Scene("duck", "yellow", "hat", "red"),
    "a cute panda playing with a balloon": Scene("panda", "white", action="balloon"),
}

HELD = ["cat", "rabbit", "dinosaur", "duck", "cow", "hedgehog"]


@pytest.mark.parametrize("phrase", PHRASES)
def test_phrase_is_in_the_language(phrase: str) -> None:
    rng, lang = random.Random(5), "en" if phrase.isascii() else "zh"
    assert any(world.caption(PHRASES[phrase], rng, lang) == phrase for _ in range(200_000))


def test_edit_phrase_is_in_the_language() -> None:
    before = Product("mug", "red", "SALE", "top_right", "red", "wood", 1)
    ops = [{"op": "remove_label", "corner": "top_right", "text": "SALE"}, {"op": "background", "from": "wood", "to": "white"}]
    edit = world.Edit(before, replace(before, label=None, background="white"), ops)
    rng = random.Random(5)
    assert any(world.instruction(edit, rng, "zh") == "删除右上角促销标签,将背景改为纯白" for _ in range(200_000))


def test_render_is_deterministic() -> None:
    rng = random.Random(1)
    for _ in range(8):
        for item in (world.sample_scene(rng, "train"), world.sample_product(rng, "train")):
            first = world.render(item, 96)
            assert first.shape == (96, 96, 3) and first.dtype == np.uint8
            assert np.array_equal(first, world.render(item, 96))


def test_everything_can_be_drawn() -> None:
    for animal in world.ANIMALS:
        for i, accessory in enumerate(world.ACCESSORIES):
            item = Scene(animal, world.COLORS[i % 11], accessory, "blue", world.ACTIONS[(i + 1) % 13], world.BACKGROUNDS[i % 9], i)
            assert world.render(item, 48).std() > 5
    for kind in world.PRODUCTS:
        for i, text in enumerate(world.LABEL_TEXTS):
            corner, place = world.LABEL_CORNERS[i % 4], world.PRODUCT_BACKGROUNDS[i % 8]
            world.render(Product(kind, world.COLORS[i % 11], text, corner, "red", place, i), 48)


def test_edits_are_local() -> None:
    rng = random.Random(2)
    for _ in range(40):
        edit = world.sample_edit(rng, "train")
        before, after, mask = world.render_edit(edit, 96)
        assert mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 255} and mask.any()
        assert np.array_equal(before[mask == 0], after[mask == 0])
        if all(op["op"].endswith("label") for op in edit.ops):
            assert (mask > 0).mean() < 0.25
        if all(op["op"].endswith("accessory") for op in edit.ops):
            assert (mask > 0).mean() < 0.6


def test_labels_change_only_their_corner() -> None:
    for i, corner in enumerate(world.LABEL_CORNERS):
        item = Product("bag", "blue", "SALE", corner, "red", "white", i)
        ys, xs = np.nonzero((world.render(item) != world.render(replace(item, label=None))).any(axis=2))
        assert (ys.mean() < 128) == corner.startswith("top") and (xs.mean() < 128) == corner.endswith("left")


def test_captions_say_what_they_must() -> None:
    rng = random.Random(3)
    for _ in range(300):
        scene = world.sample_scene(rng, "train")
        for lang in ("zh", "en"):
            text = world.caption(scene, rng, lang)
            needed = [scene.animal] + [scene.accessory] * bool(scene.accessory)
            if scene.color != world.spec.NATURAL_COLOR[scene.animal]:
                needed.append(scene.color)
            if scene.accessory and scene.accessory_color != world.spec.ACCESSORY_COLOR[scene.accessory]:
                needed.append(str(scene.accessory_color))
            for key in needed:
                assert any(name in text for name in world.NAMES[key][lang]), (text, key)
            if scene.action == "bubbles":
                assert "泡泡" in text or "bubbles" in text
            if scene.background in ("beach", "snow", "white"):
                assert any(word in text for word in ("海", "沙滩", "雪", "白", "beach", "sea", "snow", "white")), text


def test_instructions_name_the_goal() -> None:
    rng = random.Random(4)
    for _ in range(300):
        edit = world.sample_edit(rng, "heldout")
        text = world.instruction(edit, rng, "zh")
        for op in edit.ops:
            if op["op"] == "recolor":
                assert any(name in text for name in world.NAMES[op["to"]]["zh"])
            if op["op"] == "replace_label_text":
                assert op["to"] in text
            if op["op"] == "remove_label":
                assert any(name in text for name in world.NAMES[op["corner"]]["zh"])


def test_splits_are_apart() -> None:
    rng = random.Random(6)
    for _ in range(300):
        assert not world.item_heldout(world.sample_scene(rng, "train"))
        assert world.item_heldout(world.sample_scene(rng, "heldout"))
        edit = world.sample_edit(rng, "train")
        assert not world.item_heldout(edit.before) and not world.item_heldout(edit.after)
        assert world.item_heldout(world.sample_edit(rng, "heldout").after)
    held = [a for a in world.ANIMALS if world.is_heldout(a, "blue", "hat", "ball")]
    assert held == HELD  # the split must never move
