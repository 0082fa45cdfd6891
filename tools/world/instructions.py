"""Edit instructions: one clause for each operation."""

from __future__ import annotations

import random
from typing import Any

from .spec import ACCESSORY_COLOR, ACCESSORY_VERB, Edit, Scene
from .words import ZH_MEASURE, acc_en, color_zh, corner_name, pick, thing_zh

Op = dict[str, Any]
ZH_GROUND = {
    "white": ["纯白", "白色", "纯白色", "白底", "纯白背景"],
    "meadow": ["草地", "草原", "绿草地"],
    "beach": ["海边", "沙滩", "海滩"],
    "night": ["星空", "夜空", "有星星的夜空"],
    "forest": ["森林", "树林"],
    "snow": ["雪地", "冰天雪地"],
    "classroom": ["教室", "房间"],
    "rainbow": ["彩虹天空", "有彩虹的天空"],
    "light_grey": ["浅灰色", "浅灰"],
    "cream": ["米色", "米黄色"],
    "plain_pink": ["粉色", "粉红色", "纯粉色"],
    "plain_blue": ["蓝色", "天蓝色", "纯蓝色"],
    "plain_green": ["绿色", "浅绿色", "纯绿色"],
    "wood": ["木桌", "木质桌面"],
    "gradient": ["渐变色", "紫色渐变", "渐变"],
}
EN_GROUND = {
    "white": ["pure white", "plain white", "white"],
    "meadow": ["a meadow", "a green meadow", "a grass field"],
    "beach": ["a beach", "the seaside", "the beach"],
    "night": ["a starry night sky", "a night sky", "a night sky with stars"],
    "forest": ["a forest", "the woods"],
    "snow": ["a snowy field", "snow"],
    "classroom": ["a classroom", "a room"],
    "rainbow": ["a rainbow sky", "a sky with a rainbow"],
    "light_grey": ["light grey", "light gray"],
    "cream": ["cream", "beige"],
    "plain_pink": ["pink", "plain pink"],
    "plain_blue": ["blue", "sky blue", "plain blue"],
    "plain_green": ["green", "mint green", "plain green"],
    "wood": ["a wooden table", "a wood table"],
    "gradient": ["a gradient", "a purple gradient"],
}


def _subject(edit: Edit, lang: str, rng: random.Random) -> str:
    item = edit.before
    key = item.animal if isinstance(item, Scene) else item.kind
    if isinstance(item, Scene) and rng.random() < 0.15:
        return "小动物" if lang == "zh" else "animal"
    return pick(key, lang, rng)


def _maybe(color: str | None, accessory: str, rng: random.Random) -> str | None:
    """A colour that must be said unless it is the usual one."""
    return color if color != ACCESSORY_COLOR[accessory] or rng.random() < 0.4 else None


# -- Chinese --------------------------------------------------------------
def _recolor_zh(op: Op, edit: Edit, rng: random.Random) -> str:
    worn = op["what"] in ACCESSORY_VERB
    who, to = pick(op["what"], "zh", rng) if worn else _subject(edit, "zh", rng), color_zh(op["to"], rng)
    old = color_zh(op["from"], rng) + rng.choice(["的", ""]) if rng.random() < 0.2 else ""
    return rng.choice(
        [
            f"把{old}{who}变成{to}",
            f"将{old}{who}变成{to}",
            f"把{old}{who}改成{to}",
            f"将{who}的颜色改为{to}",
            f"把{who}的颜色换成{to}",
            f"把{who}染成{to}",
            f"让{who}变成{to}的",
            f"{who}改成{to}",
        ]
    )


def _background_zh(op: Op, rng: random.Random) -> str:
    place = rng.choice(ZH_GROUND[op["to"]])
    return rng.choice(
        [
            f"将背景改为{place}",
            f"把背景换成{place}",
            f"背景换成{place}",
            f"将背景换为{place}",
            f"把背景改成{place}",
            f"背景改为{place}",
            f"把背景变成{place}",
        ]
    )


def _remove_label_zh(op: Op, rng: random.Random) -> str:
    corner = corner_name(op["corner"], "zh", rng)
    label = rng.choice(["促销标签", "标签", "贴纸", "促销贴纸", f"“{op['text']}”标签", "的促销标签", "的标签"])
    return rng.choice([f"删除{corner}{label}", f"去掉{corner}{label}", f"把{corner}{label}去掉", f"移除{corner}{label}", f"将{corner}{label}删除"])


def _replace_text_zh(op: Op, rng: random.Random) -> str:
    corner = corner_name(op["corner"], "zh", rng) if rng.random() < 0.4 else ""
    what = rng.choice(["标签文字", "标签上的文字", "标签的文字", f"标签上的“{op['from']}”"])
    quote = rng.choice(["“{}”", "“{}”", "「{}」", "{}"]).format(op["to"])
    return rng.choice([f"把{corner}{what}改成{quote}", f"将{corner}{what}改为{quote}", f"把{corner}{what}换成{quote}", f"将{corner}{what}替换为{quote}"])


def _accessory_zh(op: Op, edit: Edit, rng: random.Random) -> str:
    kind, who = op["accessory"], _subject(edit, "zh", rng)
    verb = ACCESSORY_VERB[kind]
    if op["op"] == "remove_accessory":
        color = op["color"] if rng.random() < 0.2 else None
        thing = thing_zh(kind, color, rng)
        off = {"戴": "摘掉", "穿": "脱掉", "围": "摘掉", "打": "摘掉", "背": "拿掉", "披": "脱掉"}[verb]
        return rng.choice([f"去掉{thing}", f"把{thing}去掉", f"移除{thing}", f"删除{who}的{thing}", f"{off}{who}的{thing}", f"把{who}的{thing}{off}", f"不要{thing}"])
    thing = thing_zh(kind, _maybe(op["color"], kind, rng), rng)
    some = ZH_MEASURE[kind] + thing if rng.random() < 0.4 else thing
    if op["op"] == "add_accessory":
        return rng.choice([f"给{who}{verb}上{some}", f"让{who}{verb}上{some}", f"给{who}加上{some}", f"为{who}{verb}上{some}", f"添加{some}", f"给{who}加{some}"])
    old = thing_zh(op["from"], op["from_color"] if rng.random() < 0.2 else None, rng)
    return rng.choice([f"把{old}换成{some}", f"将{old}换成{some}", f"把{who}的{old}换成{some}", f"将{old}替换为{some}", f"把{old}改成{some}"])


def instruct_zh(op: Op, edit: Edit, rng: random.Random) -> str:
    kind = op["op"]
    if kind == "recolor":
        return _recolor_zh(op, edit, rng)
    if kind == "background":
        return _background_zh(op, rng)
    if kind == "remove_label":
        return _remove_label_zh(op, rng)
    if kind == "replace_label_text":
        return _replace_text_zh(op, rng)
    return _accessory_zh(op, edit, rng)


# -- English --------------------------------------------------------------
def _bare(accessory: str, rng: random.Random) -> str:
    return pick(accessory, "en", rng).removeprefix("a pair of ")


def _recolor_en(op: Op, edit: Edit, rng: random.Random) -> str:
    worn = op["what"] in ACCESSORY_VERB
    who = _bare(op["what"], rng) if worn else _subject(edit, "en", rng)
    to = pick(op["to"], "en", rng)
    old = pick(op["from"], "en", rng) + " " if rng.random() < 0.2 else ""
    return rng.choice(
        [
            f"make the {old}{who} {to}",
            f"turn the {old}{who} {to}",
            f"change the {who} to {to}",
            f"change the color of the {who} to {to}",
            f"change the {who}'s color to {to}",
            f"recolor the {old}{who} {to}",
            f"paint the {who} {to}",
        ]
    )


def _background_en(op: Op, rng: random.Random) -> str:
    place = rng.choice(EN_GROUND[op["to"]])
    return rng.choice(
        [
            f"change the background to {place}",
            f"make the background {place}",
            f"replace the background with {place}",
            f"set the background to {place}",
            f"turn the background into {place}",
        ]
    )


def _label_en(op: Op, rng: random.Random) -> str:
    corner = corner_name(op["corner"], "en", rng)
    if op["op"] == "remove_label":
        label = rng.choice(["promotional label", "label", "sticker", "promo sticker", "sale label", f"\"{op['text']}\" label"])
        verb = rng.choice(["remove", "delete", "erase", "take away"])
        return f"{verb} the {label} " + rng.choice([f"in the {corner} corner", f"at the {corner}", f"from the {corner} corner"])
    where = f" in the {corner} corner" if rng.random() < 0.4 else ""
    quote = rng.choice(['"{}"', '"{}"', "'{}'", "{}"]).format(op["to"])
    what = rng.choice(["the label text", "the text on the label", "the text of the sticker", "the label"])
    return rng.choice([f"change {what}{where} to {quote}", f"replace {what}{where} with {quote}", f"make {what}{where} say {quote}"])


def _accessory_en(op: Op, edit: Edit, rng: random.Random) -> str:
    kind, who = op["accessory"], _subject(edit, "en", rng)
    if op["op"] == "remove_accessory":
        bare = acc_en(kind, op["color"] if rng.random() < 0.2 else None, rng)
        the = "the " + bare.removeprefix("an ").removeprefix("a ")
        return rng.choice([f"remove {the}", f"take off {the}", f"delete {the}", f"take {the} off the {who}", f"remove {the} from the {who}"])
    thing = acc_en(kind, _maybe(op["color"], kind, rng), rng)
    if op["op"] == "add_accessory":
        return rng.choice([f"add {thing}", f"give the {who} {thing}", f"put {thing} on the {who}", f"add {thing} to the {who}", f"make the {who} wear {thing}", f"let the {who} wear {thing}"])
    bare = acc_en(op["from"], op["from_color"] if rng.random() < 0.2 else None, rng)
    old = "the " + bare.removeprefix("an ").removeprefix("a ")
    return rng.choice([f"replace {old} with {thing}", f"change {old} to {thing}", f"swap {old} for {thing}", f"change {old} into {thing}"])


def instruct_en(op: Op, edit: Edit, rng: random.Random) -> str:
    kind = op["op"]
    if kind == "recolor":
        return _recolor_en(op, edit, rng)
    if kind == "background":
        return _background_en(op, rng)
    if kind in ("remove_label", "replace_label_text"):
        return _label_en(op, rng)
    return _accessory_en(op, edit, rng)


