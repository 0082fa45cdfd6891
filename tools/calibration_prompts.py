#!/usr/bin/env python3
"""Writes data/calibration/prompts.jsonl: prompts of the world's train split, none of them in tools/evaluate's lists.

python -m tools.calibration_prompts
"""

import json
import random
from pathlib import Path

from tools import world

ROOT = Path(__file__).resolve().parent.parent
COUNT = 64


def main() -> None:
    held_out = {json.loads(line).get("prompt") for name in ("prompts", "named") for line in (ROOT / f"tools/evaluate/{name}.jsonl").read_text().splitlines()}
    rng = random.Random(4242)
    rows: list[dict] = []
    while len(rows) < COUNT:
        lang = ("zh", "en")[len(rows) % 2]
        prompt = world.caption(world.sample_scene(rng, "train"), rng, lang)
        if prompt not in held_out and all(r["prompt"] != prompt for r in rows):
            rows.append(dict(prompt=prompt, seed=500000 + len(rows)))
    path = ROOT / "data/calibration/prompts.jsonl"
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))


if __name__ == "__main__":
    main()
