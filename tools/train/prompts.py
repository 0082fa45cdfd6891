"""Text and picture input in the fixed layout the training networks expect."""

from pathlib import Path

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from . import config as C
from . import templates as T


class Prompts:
    def __init__(self, tokenizer_dir: Path):
        self.tok = Tokenizer.from_file(str(Path(tokenizer_dir) / "tokenizer.json"))
        self.pad = self.tok.token_to_id("<|endoftext|>")
        self.t2i_prefix = self.tok.encode(T.T2I_PREFIX).ids
        picture = self.tok.encode(T.PICTURE).ids
        at = picture.index(self.tok.token_to_id("<|image_pad|>"))
        self.edit_prefix = self.tok.encode(T.EDIT_PREFIX).ids + picture[:at] + picture[at:at + 1] * C.VL_TOKENS + picture[at + 1:]
        self.suffix = self.tok.encode(T.SUFFIX).ids

    def body(self, prompt: str) -> list[int]:
        return self.tok.encode(prompt).ids + self.suffix

    def t2i(self, prompt: str) -> tuple[np.ndarray, int]:
        """Padded ids [prefix + TEXT_ROOM] and how many of them count after the dropped prefix."""
        return self._lay(self.t2i_prefix, self.body(prompt), T.T2I_DROP, C.TEXT_ROOM)

    def edit(self, prompt: str) -> tuple[np.ndarray, int]:
        return self._lay(self.edit_prefix, self.body(prompt), T.EDIT_DROP, C.EDIT_ROOM)

    def _lay(self, prefix: list[int], body: list[int], drop: int, room: int) -> tuple[np.ndarray, int]:
        ids = prefix + body
        if len(ids) > drop + room:
            raise ValueError(f"prompt needs {len(ids) - drop} tokens, the fixed layout has {room}")
        out = np.full(drop + room, self.pad, np.int16)
        out[:len(ids)] = ids
        return out, len(ids) - drop


def vl_picture(image: Image.Image) -> np.ndarray:
    """What the vision tower sees of a square picture: Lanczos to 384², then bicubic to 112²; uint8 [112, 112, 3]."""
    image = image.resize((384, 384), Image.LANCZOS).resize((C.VL_SIZE, C.VL_SIZE), Image.BICUBIC)
    return np.asarray(image)
