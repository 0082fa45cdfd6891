"""Writes data/world_edits.tsv: instructions of the drawn world and what they have to come out as.

    python3 tests/editing/make_world_edits.py

One line: instruction, tab, operations kind|target|value|region joined by " & "; alternatives are joined by "/".
Sampled until every template has been used many times.
"""

import pathlib
import random
import sys
import types

ROOT = pathlib.Path(__file__).resolve().parents[2]
package = types.ModuleType("world")  # the words alone: drawing needs skia
package.__path__ = [str(ROOT / "tools/world")]
sys.modules["world"] = package
from world import language, spec  # noqa: E402

PLACES = {
    "white": "white", "rainbow": "rainbow sky", "light_grey": "light grey", "plain_pink": "pink",
    "plain_blue": "blue/sky blue", "plain_green": "green/light green/mint green",
}


def expected(op: dict, edit: spec.Edit) -> str:
    item = edit.before
    who = item.animal if isinstance(item, spec.Scene) else item.kind
    kind = op["op"]
    if kind == "recolor":
        name = op["what"]
        names = [name, "animal"] if name == who and isinstance(item, spec.Scene) else [name]
        targets = [p + n for n in names for p in ("", op["from"] + " ")]
        return f"recolor|{'/'.join(targets)}|{op['to']}|-"
    if kind == "background":
        return f"background|background|{PLACES.get(op['to'], op['to'])}|background"
    if kind == "remove_label":
        targets = [n + t for n in ("label", "sticker") for t in ("", f' "{op["text"]}"')]
        return f"remove|{'/'.join(targets)}|-|{op['corner']}"
    if kind == "replace_label_text":
        return f"replace_text|label/sticker/{op['from']}|{op['to']}|{op['corner']}/text"
    thing = op["accessory"]
    things = f"{thing}/{op['color']} {thing}"
    if kind == "remove_accessory":
        return f"remove|{things}|-|-"
    if kind == "add_accessory":
        return f"add|-/{who}/animal|{things}|-"
    return f"replace|{op['from']}/{op['from_color']} {op['from']}|{things}|-"


def main() -> None:
    rng = random.Random(20261125)
    lines = {}
    while len(lines) < 3000:
        edit = spec.sample_edit(rng, "train")
        text = language.instruction(edit, rng)
        lines.setdefault(text, " & ".join(expected(op, edit) for op in edit.ops))
    out = ROOT / "tests/editing/data/world_edits.tsv"
    out.write_text("# made by make_world_edits.py\n" + "".join(f"{a}\t{b}\n" for a, b in lines.items()), encoding="utf-8")


main()
