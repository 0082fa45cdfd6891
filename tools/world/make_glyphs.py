"""Subset the glyphs of the sticker texts into glyphs.json (run once, needs fontTools).

    python -m tools.world.make_glyphs NotoSansCJK-Bold.ttc

Noto Sans CJK is under the SIL Open Font License 1.1; the outlines written
here stay under it (see GLYPHS-LICENSE.txt).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from .spec import LABEL_TEXTS

EXTRA = "ABC123+=Zz"


def main(font_path: str) -> None:
    from fontTools.pens.svgPathPen import SVGPathPen
    from fontTools.ttLib import TTCollection

    fonts = TTCollection(font_path).fonts
    font = next(f for f in fonts if f["name"].getDebugName(4) == "Noto Sans CJK SC Bold")
    cmap, glyph_set = font.getBestCmap(), font.getGlyphSet()
    scale = 1000 / font["head"].unitsPerEm
    table = {}
    for char in sorted(set("".join(LABEL_TEXTS) + EXTRA)):
        glyph = glyph_set[cmap[ord(char)]]
        pen = SVGPathPen(glyph_set, ntos=lambda v: str(round(v * scale)) + " ")
        glyph.draw(pen)
        table[char] = [round(glyph.width * scale), " ".join(pen.getCommands().replace(",", " ").split())]
    text = json.dumps(table, ensure_ascii=False, indent=0)
    Path(__file__).with_name("glyphs.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
