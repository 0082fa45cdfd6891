"""Drawing pictures in background processes into shared memory, while the trainers already read what is there.

Only combinations of the world's `train` split are drawn; texts are tokenised by the same processes.
"""

import mmap
import multiprocessing as mp
import os
import random
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import config as C

PHRASINGS = 8  # captions or instructions drawn for each item, half Chinese and half English

TOKENIZER = Path("models/inkling-tiny/tokenizer")


def shared(shape: tuple[int, ...], dtype) -> np.ndarray:
    """An array that forked processes share."""
    count = int(np.prod(shape))
    memory = mmap.mmap(-1, max(count * np.dtype(dtype).itemsize, 1))
    return np.frombuffer(memory, dtype=dtype, count=count).reshape(shape)


def attribute_names() -> dict[str, list]:
    """What the scorer tells apart; None means absent."""
    from tools import world as w

    return {
        "animal": list(w.ANIMALS), "color": list(w.COLORS), "accessory": [*w.ACCESSORIES, None],
        "accessory_color": list(w.ACCESSORY_COLORS), "action": list(w.ACTIONS), "background": list(w.BACKGROUNDS),
        "product": list(w.PRODUCTS), "product_background": list(w.PRODUCT_BACKGROUNDS),
        "label": [*w.LABEL_TEXTS, None], "label_corner": list(w.LABEL_CORNERS), "label_color": list(w.LABEL_COLORS),
    }


def attributes(item) -> dict:
    """Attribute -> value of one item, leaving out what does not apply to it."""
    from tools import world as w

    if isinstance(item, w.Scene):
        out = dict(animal=item.animal, color=item.color, accessory=item.accessory, action=item.action,
                   background=item.background)
        if item.accessory:
            out["accessory_color"] = item.accessory_color
        return out
    out = dict(product=item.kind, color=item.color, product_background=item.background, label=item.label)
    if item.label:
        out |= dict(label_corner=item.label_corner, label_color=item.label_color)
    return out


def attribute_ids(item, names: dict[str, list]) -> list[int]:
    """Class index for each attribute, -1 where it does not apply."""
    values = attributes(item)
    return [names[a].index(values[a]) if a in values else -1 for a in names]


@dataclass
class Pool:
    """Arrays of one kind of item and, for each drawing process, how many of its own items are done."""

    arrays: dict[str, np.ndarray]
    size: int
    workers: int
    done: np.ndarray  # [workers]

    def slots(self, worker: int) -> range:
        """Each process fills a block of its own, so that finished items can be copied in long runs."""
        return range(worker * self.size // self.workers, (worker + 1) * self.size // self.workers)


class Feed:
    """Follows a pool: hands over what has been drawn since the last call, a bounded amount at a time."""

    def __init__(self, pool: Pool, rank: int = 0, world: int = 1):
        self.pool = pool
        self.mine = range(rank, pool.workers, world)
        self.taken = dict.fromkeys(self.mine, 0)
        self.capacity = sum(len(pool.slots(w)) for w in self.mine)

    def fresh(self, limit: int) -> list[tuple[int, int]]:
        """Runs [a, b) of finished items, at most `limit` items in all."""
        runs = []
        for w in self.mine:
            count = min(int(self.pool.done[w]) - self.taken[w], limit)
            if count > 0:
                a = self.pool.slots(w).start + self.taken[w]
                runs.append((a, a + count))
                self.taken[w] += count
                limit -= count
        return runs


def picture_pool(size: int, workers: int) -> Pool:
    names = attribute_names()
    return Pool({"image": shared((size, C.SIZE, C.SIZE, 3), np.uint8), "attrs": shared((size, len(names)), np.int16)},
                size, workers, shared((workers,), np.int64))


def scene_pool(size: int, workers: int) -> Pool:
    from . import templates as T

    return Pool({
        "image": shared((size, C.SIZE, C.SIZE, 3), np.uint8),
        "ids": shared((size, PHRASINGS, T.T2I_DROP + C.TEXT_ROOM), np.int16),
        "length": shared((size, PHRASINGS), np.int16),
    }, size, workers, shared((workers,), np.int64))


def edit_pool(size: int, workers: int) -> Pool:
    from . import templates as T

    return Pool({
        "before": shared((size, C.SIZE, C.SIZE, 3), np.uint8),
        "after": shared((size, C.SIZE, C.SIZE, 3), np.uint8),
        "vl": shared((size, C.VL_SIZE, C.VL_SIZE, 3), np.uint8),
        "ids": shared((size, PHRASINGS, T.EDIT_DROP + C.EDIT_ROOM), np.int16),
        "length": shared((size, PHRASINGS), np.int16),
    }, size, workers, shared((workers,), np.int64))


def _phrase(make, lay, tries: int = 20):
    """A text that fits the fixed token room."""
    for _ in range(tries):
        try:
            return lay(make())
        except ValueError:
            continue
    raise ValueError("no phrasing fits the token room")


class Draw:
    """One drawing process: fills its slots of the pools turn by turn, in proportion to their sizes."""

    def __init__(self, pools: dict[str, Pool], worker: int, seed: int):
        from tools import world
        from .prompts import Prompts

        self.world, self.pools, self.worker = world, pools, worker
        self.rng = random.Random(f"{seed}/{worker}")
        self.names = attribute_names()
        self.prompts = Prompts(TOKENIZER) if {"scenes", "edits"} & set(pools) else None

    def run(self) -> None:
        order = {k: list(p.slots(self.worker)) for k, p in self.pools.items()}
        most = max(len(s) for s in order.values())
        for i in range(most):
            for kind, slots in order.items():
                # spread the shorter list evenly over the longer one
                a, b = i * len(slots) // most, (i + 1) * len(slots) // most
                for slot in slots[a:b]:
                    getattr(self, kind)(self.pools[kind].arrays, slot)
                    self.pools[kind].done[self.worker] += 1

    def pictures(self, out: dict[str, np.ndarray], slot: int) -> None:
        w, rng = self.world, self.rng
        item = w.sample_scene(rng, "train") if rng.random() < 0.6 else w.sample_product(rng, "train")
        out["image"][slot] = w.render(item, C.SIZE)
        out["attrs"][slot] = attribute_ids(item, self.names)

    def scenes(self, out: dict[str, np.ndarray], slot: int) -> None:
        w, rng = self.world, self.rng
        scene = w.sample_scene(rng, "train")
        out["image"][slot] = w.render(scene, C.SIZE)
        for k in range(PHRASINGS):
            lang = ("zh", "en")[k % 2]
            out["ids"][slot, k], out["length"][slot, k] = _phrase(lambda: w.caption(scene, rng, lang), self.prompts.t2i)

    def edits(self, out: dict[str, np.ndarray], slot: int) -> None:
        from PIL import Image
        from .prompts import vl_picture

        w, rng = self.world, self.rng
        edit = w.sample_edit(rng, "train")
        before, after, _ = w.render_edit(edit, C.SIZE)
        out["before"][slot], out["after"][slot] = before, after
        out["vl"][slot] = vl_picture(Image.fromarray(before))
        for k in range(PHRASINGS):
            lang = ("zh", "en")[k % 2]
            out["ids"][slot, k], out["length"][slot, k] = _phrase(lambda: w.instruction(edit, rng, lang), self.prompts.edit)


def _entry(pools, worker, seed):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)
    Draw(pools, worker, seed).run()


def start(pools: dict[str, Pool], workers: int, seed: int) -> list[mp.Process]:
    """Fork the drawing processes; call before CUDA is touched."""
    context = mp.get_context("fork")
    processes = [context.Process(target=_entry, args=(pools, w, seed), daemon=True) for w in range(workers)]
    for p in processes:
        p.start()
    return processes
