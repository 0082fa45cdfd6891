"""The fixed lists of held-out prompts and edits, as plain JSON lines.

    python -m tools.evaluate.lists      writes prompts.jsonl, edits.jsonl and named.jsonl beside this file
"""

import json
import random
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).parent
COUNT = 200

# Prompts that must come out right, with what the scorer should find.
NAMED = [
    ("蓝色的小象在吹泡泡", dict(animal="elephant", color="blue", action="bubbles")),
    ("穿裙子的小猫咪", dict(animal="cat", accessory="skirt")),
    ("会飞的粉色恐龙", dict(animal="dinosaur", color="pink", action="flying")),
    ("戴眼镜的青蛙老师", dict(animal="frog", accessory="glasses", action="teaching")),
    ("黄色的小鸭子戴着红色帽子", dict(animal="duck", color="yellow", accessory="hat", accessory_color="red")),
    ("a cute panda playing with a balloon", dict(animal="panda", action="balloon")),
]
NAMED_EDIT = "删除右上角促销标签,将背景改为纯白"


def scene_of(fields: dict):
    from tools import world

    return (world.Scene if "animal" in fields else world.Product)(**fields)


def edit_of(row: dict):
    from tools import world

    return world.Edit(scene_of(row["before"]), scene_of(row["after"]), row["ops"])


def write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))


def read(name: str) -> list[dict]:
    return [json.loads(line) for line in (HERE / f"{name}.jsonl").read_text().splitlines()]


def main() -> None:
    from tools import world
    from tools.train.data import attributes

    rng = random.Random(20260)
    rows = []
    for i in range(COUNT):
        lang = ("zh", "en")[i % 2]
        scene = world.sample_scene(rng, "heldout")
        rows.append(dict(id=i, lang=lang, prompt=world.caption(scene, rng, lang), seed=1000 + i, scene=asdict(scene)))
    write(HERE / "prompts.jsonl", rows)
    rows = []
    for i in range(COUNT):
        lang = ("zh", "en")[i % 2]
        edit = world.sample_edit(rng, "heldout")
        rows.append(dict(id=i, lang=lang, prompt=world.instruction(edit, rng, lang), seed=2000 + i,
                         before=asdict(edit.before), after=asdict(edit.after), ops=edit.ops))
    write(HERE / "edits.jsonl", rows)
    named = [dict(id=i, prompt=p, seed=10 + i, expect=e) for i, (p, e) in enumerate(NAMED)]
    before = world.Product("bag", "red", "促销", "top_right", "orange", "wood", 77)
    after = world.Product("bag", "red", None, "top_right", "orange", "white", 77)
    named.append(dict(id=len(NAMED), prompt=NAMED_EDIT, seed=20, before=asdict(before), after=asdict(after),
                      ops=[{"op": "remove_label", "corner": "top_right", "text": "促销"},
                           {"op": "background", "from": "wood", "to": "white"}],
                      expect={k: "none" if v is None else v for k, v in attributes(after).items() if k != "color"}))
    write(HERE / "named.jsonl", named)


if __name__ == "__main__":
    main()
