"""What the world holds: ids, names in two languages, scenes, products, edits, splits."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field, replace
from typing import Any

N = dict[str, list[str]]


def _n(zh: str, en: str) -> N:
    return {"zh": zh.split("|"), "en": en.split("|")}


_ANIMALS: dict[str, tuple[str, N]] = {  # id -> natural colour, names
    "cat": ("orange", _n("小猫|小猫咪|猫咪|猫", "cat|kitten|kitty")),
    "dog": ("brown", _n("小狗|狗狗|小狗狗|狗", "dog|puppy")),
    "rabbit": ("white", _n("兔子|小兔子|小兔|兔宝宝", "rabbit|bunny")),
    "bear": ("brown", _n("小熊|熊|熊宝宝", "bear|teddy bear")),
    "panda": ("white", _n("熊猫|大熊猫|熊猫宝宝", "panda|giant panda|baby panda")),
    "elephant": ("grey", _n("大象|小象|小大象|象宝宝", "elephant|baby elephant")),
    "dinosaur": ("green", _n("恐龙|小恐龙|恐龙宝宝", "dinosaur|dino|baby dinosaur")),
    "frog": ("green", _n("青蛙|小青蛙", "frog|froggy")),
    "duck": ("yellow", _n("鸭子|小鸭子|小鸭", "duck|duckling")),
    "fox": ("orange", _n("狐狸|小狐狸", "fox|little fox")),
    "penguin": ("black", _n("企鹅|小企鹅", "penguin|baby penguin")),
    "owl": ("brown", _n("猫头鹰|小猫头鹰", "owl|owlet")),
    "lion": ("yellow", _n("狮子|小狮子", "lion|lion cub")),
    "tiger": ("orange", _n("老虎|小老虎", "tiger|tiger cub")),
    "monkey": ("brown", _n("猴子|小猴子|小猴", "monkey|little monkey")),
    "pig": ("pink", _n("小猪|猪|猪猪", "pig|piglet|piggy")),
    "sheep": ("white", _n("绵羊|小羊|小绵羊|羊", "sheep|lamb")),
    "giraffe": ("yellow", _n("长颈鹿|小长颈鹿", "giraffe|baby giraffe")),
    "turtle": ("green", _n("乌龟|小乌龟|海龟", "turtle|tortoise")),
    "mouse": ("grey", _n("老鼠|小老鼠|小鼠", "mouse|little mouse")),
    "cow": ("white", _n("奶牛|小奶牛|小牛|牛", "cow|calf")),
    "koala": ("grey", _n("考拉|小考拉|树袋熊", "koala|koala bear")),
    "hedgehog": ("brown", _n("刺猬|小刺猬", "hedgehog|little hedgehog")),
    "deer": ("brown", _n("小鹿|鹿|梅花鹿", "deer|fawn")),
}
_COLORS: dict[str, N] = {
    "red": _n("红色|大红色", "red"),
    "orange": _n("橙色|橘色|橘黄色", "orange"),
    "yellow": _n("黄色", "yellow"),
    "green": _n("绿色", "green"),
    "blue": _n("蓝色", "blue"),
    "purple": _n("紫色", "purple"),
    "pink": _n("粉色|粉红色", "pink"),
    "brown": _n("棕色|褐色", "brown"),
    "grey": _n("灰色", "grey|gray"),
    "white": _n("白色", "white"),
    "black": _n("黑色", "black"),
}
# id -> default colour, Chinese verb ("戴"/"穿"/"背"/"系"), names
_ACCESSORIES: dict[str, tuple[str, str, N]] = {
    "hat": ("red", "戴", _n("帽子|小帽子", "hat")),
    "glasses": ("black", "戴", _n("眼镜", "glasses|a pair of glasses")),
    "scarf": ("red", "围", _n("围巾", "scarf")),
    "skirt": ("pink", "穿", _n("裙子|小裙子", "skirt|dress")),
    "bow": ("pink", "戴", _n("蝴蝶结", "bow|hair bow")),
    "crown": ("yellow", "戴", _n("王冠|皇冠", "crown")),
    "necktie": ("blue", "打", _n("领带", "necktie|tie")),
    "backpack": ("blue", "背", _n("书包|背包|小书包", "backpack|school bag")),
    "headphones": ("purple", "戴", _n("耳机", "headphones")),
    "flower": ("pink", "戴", _n("小花|花朵|花", "flower")),
    "necklace": ("white", "戴", _n("项链|珍珠项链", "necklace|bead necklace")),
    "cape": ("red", "披", _n("披风|斗篷", "cape|cloak")),
}
ACCESSORY_COLORS = ["red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black"]
_ACTIONS: dict[str, N] = {
    "standing": _n("站着", "standing"),
    "waving": _n("挥手|招手|打招呼", "waving|waving hello"),
    "bubbles": _n("吹泡泡", "blowing bubbles|blowing soap bubbles"),
    "flying": _n("飞|飞翔", "flying|flying with wings"),
    "balloon": _n("拿着气球|玩气球|举着气球", "holding a balloon|playing with a balloon|carrying a balloon"),
    "reading": _n("看书|读书", "reading a book|reading"),
    "teaching": _n("讲课|上课|教书", "teaching|teaching at a blackboard|giving a lesson"),
    "ball": _n("玩球|玩皮球", "playing with a ball|playing ball"),
    "ice_cream": _n("吃冰淇淋|吃冰激凌", "eating ice cream|eating an ice cream"),
    "painting": _n("画画", "painting|painting a picture"),
    "sleeping": _n("睡觉|打瞌睡", "sleeping|taking a nap"),
    "guitar": _n("弹吉他", "playing the guitar|playing guitar"),
    "umbrella": _n("撑伞|打伞|撑着雨伞", "holding an umbrella|with an umbrella"),
}
_BACKGROUNDS: dict[str, N] = {
    "studio": _n("柔和的纯色背景|淡色背景", "soft pastel background|plain pastel background"),
    "white": _n("纯白背景|白色背景|白底", "plain white background|white background|pure white background"),
    "meadow": _n("草地|草原|绿草地", "meadow|grass field"),
    "beach": _n("海边|沙滩|海滩", "beach|seaside"),
    "night": _n("星空|夜空|夜晚", "starry night|night sky"),
    "forest": _n("森林|树林", "forest|woods"),
    "snow": _n("雪地|冰雪", "snow|snowy field"),
    "classroom": _n("教室|房间", "classroom|room"),
    "rainbow": _n("彩虹天空|彩虹", "rainbow sky|sky with a rainbow"),
}
_PRODUCTS: dict[str, N] = {
    "bag": _n("手提包|包|包包", "handbag|bag"),
    "shoe": _n("鞋子|运动鞋|鞋", "shoe|sneaker"),
    "mug": _n("杯子|马克杯", "mug|cup"),
    "bottle": _n("瓶子|水瓶", "bottle|water bottle"),
    "shirt": _n("T恤|衣服|T恤衫", "T-shirt|shirt"),
    "box": _n("礼盒|盒子", "gift box|box"),
    "teapot": _n("茶壶|壶", "teapot|tea pot"),
    "lamp": _n("台灯|灯", "lamp|table lamp"),
}
_PRODUCT_BACKGROUNDS: dict[str, N] = {
    "white": _BACKGROUNDS["white"],
    "light_grey": _n("浅灰色背景|浅灰背景", "light grey background|light gray background"),
    "cream": _n("米色背景|米黄色背景", "cream background|beige background"),
    "plain_pink": _n("粉色背景|粉红色背景", "pink background|plain pink background"),
    "plain_blue": _n("蓝色背景|天蓝色背景", "blue background|sky blue background"),
    "plain_green": _n("绿色背景|浅绿色背景", "green background|mint green background"),
    "wood": _n("木桌|木质桌面|木桌背景", "wooden table|wood table"),
    "gradient": _n("渐变背景|紫色渐变背景", "gradient background|purple gradient background"),
}
LABEL_TEXTS: list[str] = ["SALE", "NEW", "HOT", "-50%", "-30%", "BEST", "新品", "特价", "促销", "限时", "热卖", "包邮"]
LABEL_CORNERS: list[str] = ["top_right", "top_left", "bottom_right", "bottom_left"]
LABEL_COLORS: list[str] = ["red", "orange", "yellow", "green", "blue", "purple", "pink", "black"]
_CORNERS: dict[str, N] = {
    "top_right": _n("右上角|右上方", "top right|upper right"),
    "top_left": _n("左上角|左上方", "top left|upper left"),
    "bottom_right": _n("右下角|右下方", "bottom right|lower right"),
    "bottom_left": _n("左下角|左下方", "bottom left|lower left"),
}

ANIMALS, COLORS, ACCESSORIES = list(_ANIMALS), list(_COLORS), list(_ACCESSORIES)
ACTIONS, BACKGROUNDS = list(_ACTIONS), list(_BACKGROUNDS)
PRODUCTS, PRODUCT_BACKGROUNDS = list(_PRODUCTS), list(_PRODUCT_BACKGROUNDS)
NATURAL_COLOR: dict[str, str] = {k: v[0] for k, v in _ANIMALS.items()}
ACCESSORY_COLOR: dict[str, str] = {k: v[0] for k, v in _ACCESSORIES.items()}
ACCESSORY_VERB: dict[str, str] = {k: v[1] for k, v in _ACCESSORIES.items()}
NAMES: dict[str, N] = {
    **{k: v[1] for k, v in _ANIMALS.items()},
    **_COLORS,
    **{k: v[2] for k, v in _ACCESSORIES.items()},
    **_ACTIONS,
    **_PRODUCT_BACKGROUNDS,
    **_BACKGROUNDS,
    **_PRODUCTS,
    **_CORNERS,
}
# "white" is both a colour and a background; NAMES holds the colour, these the backgrounds
BACKGROUND_NAMES: dict[str, N] = {**_BACKGROUNDS, **_PRODUCT_BACKGROUNDS}
NAMES["white"] = _COLORS["white"]

STYLE_TAILS: dict[str, str] = {
    "zh": ", 卡通, 色彩鲜艳, 可爱友好, 儿童插画",
    "en": ", cartoon, colorful, friendly, children's illustration",
}


@dataclass(frozen=True)
class Scene:
    """An animal in a place; all jitter derives from the seed alone."""

    animal: str
    color: str
    accessory: str | None = None
    accessory_color: str | None = None
    action: str = "standing"
    background: str = "studio"
    seed: int = 0


@dataclass(frozen=True)
class Product:
    """A studio shot of one article, with or without a label in a corner."""

    kind: str
    color: str
    label: str | None = None
    label_corner: str = "top_right"
    label_color: str = "red"
    background: str = "white"
    seed: int = 0


@dataclass
class Edit:
    """Two items that differ by one or two operations."""

    before: Scene | Product
    after: Scene | Product
    ops: list[dict[str, Any]] = field(default_factory=list)


def _tenth(key: str) -> bool:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 10 == 0


def is_heldout(animal: str, color: str, accessory: str | None, action: str) -> bool:
    """Whether a combination belongs to the tenth that training never sees."""
    return _tenth(f"scene/{animal}/{color}/{accessory or '-'}/{action}")


def is_heldout_product(kind: str, color: str, label: str | None, corner: str) -> bool:
    """The same for products; the corner counts only where there is a label."""
    return _tenth(f"product/{kind}/{color}/{label or '-'}/{corner if label else '-'}")


def item_heldout(item: Scene | Product) -> bool:
    if isinstance(item, Scene):
        return is_heldout(item.animal, item.color, item.accessory, item.action)
    return is_heldout_product(item.kind, item.color, item.label, item.label_corner)


def _check(split: str) -> bool:
    if split not in ("train", "heldout"):
        raise ValueError(f"unknown split {split!r}")
    return split == "heldout"


def _scene(rng: random.Random) -> Scene:
    animal = rng.choice(ANIMALS)
    color = NATURAL_COLOR[animal] if rng.random() < 0.3 else rng.choice(COLORS)
    accessory = None if rng.random() < 0.35 else rng.choice(ACCESSORIES)
    accessory_color = accessory and _accessory_color(accessory, rng)
    action = "standing" if rng.random() < 0.25 else rng.choice(ACTIONS)
    background = "studio" if rng.random() < 0.35 else rng.choice(BACKGROUNDS)
    return Scene(animal, color, accessory, accessory_color, action, background, rng.getrandbits(31))


def _accessory_color(accessory: str, rng: random.Random) -> str:
    return ACCESSORY_COLOR[accessory] if rng.random() < 0.3 else rng.choice(ACCESSORY_COLORS)


def sample_scene(rng: random.Random, split: str = "train") -> Scene:
    """A random scene of a split."""
    want = _check(split)
    while True:
        scene = _scene(rng)
        if item_heldout(scene) == want:
            return scene


def sample_product(rng: random.Random, split: str = "train") -> Product:
    """A random product shot of a split."""
    want = _check(split)
    while True:
        label = rng.choice(LABEL_TEXTS) if rng.random() < 0.75 else None
        item = Product(
            rng.choice(PRODUCTS),
            rng.choice(COLORS),
            label,
            rng.choice(LABEL_CORNERS),
            rng.choice(LABEL_COLORS),
            rng.choice(PRODUCT_BACKGROUNDS),
            rng.getrandbits(31),
        )
        if item_heldout(item) == want:
            return item


def _other(rng: random.Random, pool: list[str], *not_these: str | None) -> str:
    return rng.choice([x for x in pool if x not in not_these])


def _apply_scene(s: Scene, op: str, rng: random.Random) -> tuple[Scene, dict[str, Any]]:
    if op == "recolor":
        color = _other(rng, COLORS, s.color)
        return replace(s, color=color), {"op": op, "what": s.animal, "from": s.color, "to": color}
    if op == "recolor_accessory":
        color = _other(rng, ACCESSORY_COLORS, s.accessory_color)
        detail = {"op": "recolor", "what": s.accessory, "from": s.accessory_color, "to": color}
        return replace(s, accessory_color=color), detail
    if op == "background":
        new = _other(rng, BACKGROUNDS, s.background, "studio")  # which of its tints would be open
        return replace(s, background=new), {"op": op, "from": s.background, "to": new}
    if op == "remove_accessory":
        detail = {"op": op, "accessory": s.accessory, "color": s.accessory_color}
        return replace(s, accessory=None, accessory_color=None), detail
    accessory = _other(rng, ACCESSORIES, s.accessory)
    color = _accessory_color(accessory, rng)
    detail = {"op": op, "accessory": accessory, "color": color}
    if op == "replace_accessory":
        detail |= {"from": s.accessory, "from_color": s.accessory_color}
    return replace(s, accessory=accessory, accessory_color=color), detail


def _apply_product(p: Product, op: str, rng: random.Random) -> tuple[Product, dict[str, Any]]:
    if op == "recolor":
        color = _other(rng, COLORS, p.color)
        return replace(p, color=color), {"op": op, "what": p.kind, "from": p.color, "to": color}
    if op == "background":
        new = "white" if p.background != "white" and rng.random() < 0.3 else _other(rng, PRODUCT_BACKGROUNDS, p.background)
        return replace(p, background=new), {"op": op, "from": p.background, "to": new}
    if op == "remove_label":
        detail = {"op": op, "corner": p.label_corner, "text": p.label}
        return replace(p, label=None), detail
    text = _other(rng, LABEL_TEXTS, p.label)
    detail = {"op": op, "corner": p.label_corner, "from": p.label, "to": text}
    return replace(p, label=text), detail


def _edit(rng: random.Random, split: str) -> Edit:
    if split == "heldout":  # a held-out result may start from any picture
        split = "heldout" if rng.random() < 0.25 else "train"
    if rng.random() < 0.55:
        before: Scene | Product = sample_scene(rng, split)
        assert isinstance(before, Scene)
        pool = ["recolor", "background"]
        pool += ["remove_accessory", "replace_accessory", "recolor_accessory"] if before.accessory else ["add_accessory", "add_accessory"]
    else:
        before = sample_product(rng, split)
        pool = ["recolor", "background"]
        pool += ["remove_label", "remove_label", "replace_label_text"] if before.label else []
    count = 2 if rng.random() < 0.3 else 1
    chosen: list[str] = []
    for op in rng.sample(pool, len(pool)):
        clash = any(op == c or (op in _EXCLUSIVE and c in _EXCLUSIVE) for c in chosen)
        if not clash and len(chosen) < count:
            chosen.append(op)
    after, ops = before, []
    for op in chosen:
        apply = _apply_scene if isinstance(before, Scene) else _apply_product
        after, detail = apply(after, op, rng)  # type: ignore[arg-type, operator]
        ops.append(detail)
    return Edit(before, after, ops)


_EXCLUSIVE = {"remove_accessory", "replace_accessory", "add_accessory", "recolor_accessory", "remove_label", "replace_label_text"}


def sample_edit(rng: random.Random, split: str = "train") -> Edit:
    """A random edit; in train neither picture is held out, in heldout the result is."""
    want = _check(split)
    while True:
        edit = _edit(rng, split)
        if want and item_heldout(edit.after):
            return edit
        if not want and not item_heldout(edit.before) and not item_heldout(edit.after):
            return edit
