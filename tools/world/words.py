"""Small pieces of both languages that captions and instructions share."""

from __future__ import annotations

import random

from .spec import ACCESSORY_VERB, NAMES

ZH_MEASURE = {
    "hat": "一顶",
    "glasses": "一副",
    "scarf": "一条",
    "skirt": "一条",
    "bow": "一个",
    "crown": "一顶",
    "necktie": "一条",
    "backpack": "一个",
    "headphones": "一副",
    "flower": "一朵",
    "necklace": "一条",
    "cape": "一件",
}
ZH_VERBS = {"scarf": ["围", "戴", "系"], "necktie": ["打", "系", "戴"], "bow": ["戴", "扎"], "skirt": ["穿"], "cape": ["披"], "backpack": ["背"], "flower": ["戴"]}


def pick(key: str, lang: str, rng: random.Random) -> str:
    """A name of an id; the canonical one half of the time."""
    names = NAMES[key][lang]
    return names[0] if rng.random() < 0.5 else rng.choice(names)


def color_zh(color: str, rng: random.Random) -> str:
    return pick(color, "zh", rng)


def corner_name(corner: str, lang: str, rng: random.Random) -> str:
    return pick(corner, lang, rng)


def article(noun: str) -> str:
    if noun.startswith(("a ", "an ")):
        return ""
    return "an " if noun[0].lower() in "aeiou" else "a "


def thing_zh(accessory: str, color: str | None, rng: random.Random) -> str:
    """红色帽子 / 红色的帽子 / 帽子"""
    name = pick(accessory, "zh", rng)
    return color_zh(color, rng) + rng.choice(["", "", "的"]) + name if color else name


def acc_zh(accessory: str, color: str | None, rng: random.Random) -> tuple[str, str, str]:
    """(attributive 戴着红色帽子, predicative, bare thing); both verbs fit."""
    verb = rng.choice(ZH_VERBS.get(accessory, [ACCESSORY_VERB[accessory]]))
    thing = thing_zh(accessory, color, rng)
    on_head = rng.random() < 0.12
    measure = ZH_MEASURE[accessory] if rng.random() < 0.25 else ""
    attributive = verb + rng.choice(["", "着", "着"]) + thing
    predicative = verb + "着" + measure + thing
    if on_head and accessory in ("hat", "crown", "bow", "flower"):
        predicative = "头上戴着" + measure + thing
    return attributive, predicative, thing


def acc_en(accessory: str, color: str | None, rng: random.Random) -> str:
    """a red hat / blue glasses / headphones"""
    name = pick(accessory, "en", rng)
    pair = name.startswith("a pair of ")
    if color:
        shade = pick(color, "en", rng)
        name = f"a pair of {shade} {name[10:]}" if pair else f"{shade} {name}"
    if pair or accessory in ("glasses", "headphones"):
        return name
    return article(name) + name
