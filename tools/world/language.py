"""Captions and edit instructions in Chinese and English.

A caption names everything that is not the default (natural colour, no
accessory, standing, soft studio backdrop) and sometimes the defaults too, so
what it leaves out is never in contradiction with the picture.
"""

from __future__ import annotations

import random
from typing import Any

from .instructions import instruct_en, instruct_zh
from .spec import (
    ACCESSORY_COLOR,
    BACKGROUND_NAMES,
    NATURAL_COLOR,
    STYLE_TAILS,
    Edit,
    Product,
    Scene,
)
from .words import acc_en, acc_zh, article, color_zh, corner_name, pick

STYLE_SHARE = 0.3

ZH_ACTION: dict[str, list[str]] = {
    "standing": ["站着", "站在那里"],
    "waving": ["在挥手", "在招手", "在打招呼", "正在挥手", "挥着手"],
    "bubbles": ["在吹泡泡", "吹泡泡", "正在吹泡泡"],
    "flying": ["在飞", "长着翅膀在飞", "在飞翔", "正在飞翔"],
    "balloon": ["拿着气球", "举着气球", "在玩气球", "拿着一个气球"],
    "reading": ["在看书", "在读书", "正在看书", "捧着一本书在看"],
    "teaching": ["在讲课", "在黑板前讲课", "在上课", "在当老师", "在黑板前当老师"],
    "ball": ["在玩球", "在玩皮球", "正在玩球", "在拍皮球"],
    "ice_cream": ["在吃冰淇淋", "吃冰淇淋", "正在吃冰激凌", "拿着冰淇淋吃"],
    "painting": ["在画画", "正在画画", "在画板前画画"],
    "sleeping": ["在睡觉", "睡着了", "正在睡觉", "在打瞌睡"],
    "guitar": ["在弹吉他", "弹吉他", "正在弹吉他", "抱着吉他弹"],
    "umbrella": ["打着伞", "撑着雨伞", "在打伞", "撑着一把伞"],
}
ZH_ADJ: dict[str, list[str]] = {
    "waving": ["挥手的", "打招呼的"],
    "bubbles": ["吹泡泡的"],
    "flying": ["会飞的", "长翅膀的", "飞翔的"],
    "balloon": ["拿气球的", "拿着气球的"],
    "reading": ["看书的", "爱看书的"],
    "ball": ["玩球的", "玩皮球的"],
    "ice_cream": ["吃冰淇淋的"],
    "painting": ["画画的"],
    "sleeping": ["睡觉的", "睡着的"],
    "guitar": ["弹吉他的"],
    "umbrella": ["打伞的", "撑伞的"],
}
ZH_PLACE: dict[str, list[str]] = {
    "meadow": ["在草地上", "在绿绿的草地上", "在草原上"],
    "beach": ["在海边", "在沙滩上", "在海滩上"],
    "night": ["在星空下", "在夜空下", "在夜晚的星空下"],
    "forest": ["在森林里", "在树林里"],
    "snow": ["在雪地里", "在雪地上"],
    "classroom": ["在教室里", "在房间里"],
    "rainbow": ["在彩虹下", "在彩虹天空下", "在有彩虹的天空中"],
}
EN_ACTION: dict[str, list[str]] = {
    "standing": ["standing", "standing still"],
    "waving": ["waving", "waving hello", "saying hello"],
    "bubbles": ["blowing bubbles", "blowing soap bubbles"],
    "flying": ["flying", "flying with wings", "flying on white wings"],
    "balloon": ["holding a balloon", "playing with a balloon", "carrying a balloon"],
    "reading": ["reading a book", "reading", "reading a picture book"],
    "teaching": ["teaching at a blackboard", "teaching", "giving a lesson", "being a teacher"],
    "ball": ["playing with a ball", "playing ball", "playing with a beach ball"],
    "ice_cream": ["eating ice cream", "eating an ice cream", "eating an ice cream cone"],
    "painting": ["painting", "painting a picture", "painting at an easel"],
    "sleeping": ["sleeping", "taking a nap", "sleeping on a cushion"],
    "guitar": ["playing the guitar", "playing guitar", "playing a guitar"],
    "umbrella": ["holding an umbrella", "under an umbrella", "carrying an umbrella"],
}
EN_PLACE: dict[str, list[str]] = {
    "meadow": ["on a meadow", "in a meadow", "on the grass", "in a green field"],
    "beach": ["at the beach", "on the beach", "by the sea"],
    "night": ["under the starry sky", "under a night sky with stars", "at night under the stars"],
    "forest": ["in the forest", "in the woods", "among the trees"],
    "snow": ["in the snow", "on a snowy field"],
    "classroom": ["in a classroom", "in a room"],
    "rainbow": ["under a rainbow", "in front of a rainbow sky", "with a rainbow in the sky"],
}


def _say_color(s: Scene, rng: random.Random) -> bool:
    return s.color != NATURAL_COLOR[s.animal] or rng.random() < 0.3


def _say_acc_color(s: Scene, rng: random.Random) -> str | None:
    if s.accessory is None or s.accessory_color is None:
        return None
    if s.accessory_color != ACCESSORY_COLOR[s.accessory] or rng.random() < 0.4:
        return s.accessory_color
    return None


# -- Chinese --------------------------------------------------------------
def _zh_place(s: Scene, rng: random.Random) -> tuple[str, str]:
    """(before the verb, at the end)"""
    if s.background == "studio":
        return ("", ",柔和的纯色背景") if rng.random() < 0.08 else ("", "")
    if s.background == "white":
        return "", rng.choice([",白色背景", ",纯白背景", ",背景是纯白色", ",白底"])
    place = rng.choice(ZH_PLACE[s.background])
    if rng.random() < 0.3:
        return "", rng.choice([",背景是", ",背景为"]) + pick(s.background, "zh", rng)
    return place, ""


def _zh_animal(s: Scene, rng: random.Random) -> str:
    name = pick(s.animal, "zh", rng)
    if s.action == "teaching" and rng.random() < 0.4:
        return name + "老师"
    return name


def _caption_zh(s: Scene, rng: random.Random) -> str:
    animal = _zh_animal(s, rng)
    teacher = animal.endswith("老师")
    color = color_zh(s.color, rng) if _say_color(s, rng) else ""
    wear = acc_zh(s.accessory, _say_acc_color(s, rng), rng) if s.accessory else ("", "", "")
    front, tail = _zh_place(s, rng)
    adjective, verb = "", ""
    if s.action != "standing" and not teacher:
        if s.action in ZH_ADJ and rng.random() < 0.4:
            adjective = rng.choice(ZH_ADJ[s.action])
        else:
            verb = rng.choice(ZH_ACTION[s.action])
    elif s.action == "standing" and (front or rng.random() < 0.08):
        verb = "" if rng.random() < 0.6 else "站着"
    cute = rng.choice(["可爱的", "可爱的", "萌萌的", "开心的"]) if rng.random() < 0.22 else ""
    count = rng.choice(["一只", "一只", "一个"]) if rng.random() < 0.35 else ""
    worn_first = bool(wear[0]) and rng.random() < 0.6
    descr = [adjective, cute]
    if color:
        crowded = bool(adjective) + bool(cute) + worn_first
        descr.append(color + ("的" if rng.random() < (0.7, 0.4, 0.2, 0.1)[crowded] else ""))
    if worn_first:
        descr.insert(0 if rng.random() < 0.6 else len(descr), wear[0] + "的")
    # an adjective that ends a list of "的" before the noun reads well in any order
    head = count + "".join(descr) + animal
    parts = head
    if wear[0] and not worn_first:
        parts += wear[1]
        if verb or front:
            parts += rng.choice(["", ","])
    if front and verb.startswith("在") and rng.random() < 0.8:
        verb = verb[1:]  # one 在 is enough
    return parts + front + verb + tail


# -- English --------------------------------------------------------------
def _caption_en(s: Scene, rng: random.Random) -> str:
    name = pick(s.animal, "en", rng)
    words: list[str] = []
    if rng.random() < 0.35:
        words.append(rng.choice(["cute", "cute", "adorable", "happy", "sweet"]))
    if rng.random() < 0.12 and not name.startswith(("little", "baby")):
        words.append("little")
    if _say_color(s, rng):
        words.append(pick(s.color, "en", rng))
    teacher = s.action == "teaching" and rng.random() < 0.35
    flying = s.action == "flying" and rng.random() < 0.35
    if flying:
        words.insert(rng.randrange(len(words) + 1), rng.choice(["flying", "winged"]))
    words.append(name + (" teacher" if teacher else ""))
    text = " ".join(words)
    text = (article(text) if rng.random() < 0.85 else "") + text
    clauses = []
    if s.accessory:
        thing = acc_en(s.accessory, _say_acc_color(s, rng), rng)
        clauses.append(rng.choice(["wearing ", "with ", "in "] if s.accessory not in ("backpack", "flower", "bow") else ["wearing ", "with "]) + thing)
    if s.action != "standing" and not teacher and not flying:
        verb = rng.choice(EN_ACTION[s.action])
        clauses.insert(rng.randrange(len(clauses) + 1), verb)
    elif s.action == "standing" and rng.random() < 0.08:
        clauses.append("standing")
    text += " " + rng.choice([" and ", ", ", " "]).join(clauses) if len(clauses) > 1 else (" " + clauses[0] if clauses else "")
    if s.background == "white":
        text += rng.choice([", white background", " on a white background", ", plain white background", " on a pure white background"])
    elif s.background == "studio":
        text += ", soft pastel background" if rng.random() < 0.08 else ""
    elif rng.random() < 0.75:
        text += " " + rng.choice(EN_PLACE[s.background])
    else:
        text += ", " + pick(s.background, "en", rng) + " background"
    return text


# -- products -------------------------------------------------------------
def _product_zh(p: Product, rng: random.Random) -> str:
    text = rng.choice(["一个", "", "一件"]) + color_zh(p.color, rng) + rng.choice(["的", ""]) + pick(p.kind, "zh", rng)
    text += rng.choice([",", ",放在"]) if p.background == "wood" else ","
    place = rng.choice(BACKGROUND_NAMES[p.background]["zh"])
    text += "木桌上" if text.endswith("放在") else place
    if p.label:
        text += f",{corner_name(p.label_corner, 'zh', rng)}有{color_zh(p.label_color, rng)}的“{p.label}”标签"
    return text + rng.choice(["", ",商品图", ",产品摄影"])


def _product_en(p: Product, rng: random.Random) -> str:
    noun = f"{pick(p.color, 'en', rng)} {pick(p.kind, 'en', rng)}"
    text = rng.choice(["", "product photo of "]) + article(noun) + noun
    text += rng.choice([", ", " on a "]) + rng.choice(BACKGROUND_NAMES[p.background]["en"])
    if p.label:
        label = pick(p.label_color, "en", rng)
        text += f", with {article(label)}{label} \"{p.label}\" label in the {corner_name(p.label_corner, 'en', rng)} corner"
    return text


def _wide(text: str, rng: random.Random) -> str:
    """Chinese text with either kind of comma."""
    return text.replace(",", "，") if rng.random() < 0.4 else text


def caption(scene: Scene | Product, rng: random.Random, lang: str | None = None) -> str:
    """A description of an item, short or long; lang None picks one of the two."""
    lang = lang or rng.choice(["zh", "en"])
    if isinstance(scene, Product):
        return _wide(_product_zh(scene, rng), rng) if lang == "zh" else _product_en(scene, rng)
    text = _wide(_caption_zh(scene, rng), rng) if lang == "zh" else _caption_en(scene, rng)
    if rng.random() < STYLE_SHARE:
        text += STYLE_TAILS[lang]
    return text


def instruction(edit: Edit, rng: random.Random, lang: str | None = None) -> str:
    """What to say to have an edit done; lang None picks one of the two."""
    lang = lang or rng.choice(["zh", "en"])
    say = instruct_zh if lang == "zh" else instruct_en
    ops: list[dict[str, Any]] = list(edit.ops)
    texts = [say(op, edit, rng) for op in ops]
    if lang == "zh":
        text = rng.choice([",", ",", ",并", ",然后", ",同时"]).join(texts)
        return _wide(text, rng) + rng.choice(["", "", "。"])
    text = rng.choice([" and ", ", then ", ", and "]).join(texts)
    return text[0].upper() + text[1:] + rng.choice(["", "."]) if rng.random() < 0.6 else text


