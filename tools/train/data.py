"""Drawing pictures in background processes into shared memory, while the trainers already read what is there.

Only combinations of the world's `train` split are drawn; texts are tokenised by the same processes.
"""

import mmap
import multiprocessing as mp
import os
import random
import signal
import time
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
    """Rings of slots, one block for each drawing process; `size` items are drawn in all.

    A process waits while its block is full, so the memory held does not depend on how much is drawn.
    """

    arrays: dict[str, np.ndarray]
    size: int
    slots: int  # per process
    done: np.ndarray  # [workers] items drawn
    taken: np.ndarray  # [workers] items the trainer has copied out

    @property
    def workers(self) -> int:
        return len(self.done)

    def share(self, worker: int) -> int:
        return (worker + 1) * self.size // self.workers - worker * self.size // self.workers

    def slot(self, worker: int) -> int | None:
        """Where this process may draw its next item; None while its block is full."""
        done = int(self.done[worker])
        return worker * self.slots + done % self.slots if done - self.taken[worker] < self.slots else None


def make_pool(fields: dict[str, tuple[tuple[int, ...], type]], size: int, workers: int, slots: int) -> Pool:
    arrays = {k: shared((workers * slots, *shape), dtype) for k, (shape, dtype) in fields.items()}
    return Pool(arrays, size, slots, shared((workers,), np.int64), shared((workers,), np.int64))


class Feed:
    """Follows a pool (or the blocks of it that belong to one rank): copies finished items out."""

    def __init__(self, pool: Pool, rank: int = 0, world: int = 1):
        self.pool = pool
        self.mine = range(rank, pool.workers, world)
        self.capacity = sum(pool.share(w) for w in self.mine)

    def available(self) -> int:
        return int(sum(self.pool.done[w] - self.pool.taken[w] for w in self.mine))

    def take(self, out: dict[str, np.ndarray], count: int) -> None:
        """Copy exactly `count` items into the leading places of `out`; that many must be available."""
        at = 0
        for w in sorted(self.mine, key=lambda w: self.pool.taken[w] - self.pool.done[w]):  # fullest block first
            while at < count and self.pool.taken[w] < self.pool.done[w]:
                first = int(self.pool.taken[w]) % self.pool.slots
                n = min(count - at, int(self.pool.done[w] - self.pool.taken[w]), self.pool.slots - first)
                for k, v in self.pool.arrays.items():
                    out[k][at:at + n] = v[w * self.pool.slots + first:w * self.pool.slots + first + n]
                self.pool.taken[w] += n
                at += n
        assert at == count


def picture_pool(size: int, workers: int, readers: int) -> list[Pool]:
    """One pool for each reader: the trainers of a stage do not wait for each other."""
    names = attribute_names()
    return [make_pool({"image": ((C.SIZE, C.SIZE, 3), np.uint8), "attrs": ((len(names),), np.int16)}, size, workers, 256)
            for _ in range(readers)]


def scene_pool(size: int, workers: int) -> Pool:
    from . import templates as T

    return make_pool({
        "image": ((C.SIZE, C.SIZE, 3), np.uint8),
        "ids": ((PHRASINGS, T.T2I_DROP + C.TEXT_ROOM), np.int16),
        "length": ((PHRASINGS,), np.int16),
    }, size, workers, 512)


def edit_pool(size: int, workers: int) -> Pool:
    from . import templates as T

    return make_pool({
        "before": ((C.SIZE, C.SIZE, 3), np.uint8),
        "after": ((C.SIZE, C.SIZE, 3), np.uint8),
        "vl": ((C.VL_SIZE, C.VL_SIZE, 3), np.uint8),
        "ids": ((PHRASINGS, T.EDIT_DROP + C.EDIT_ROOM), np.int16),
        "length": ((PHRASINGS,), np.int16),
    }, size, workers, 512)


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

    def __init__(self, pools: dict[str, list[Pool]], worker: int, seed: int):
        from tools import world
        from .prompts import Prompts

        self.world, self.pools, self.worker = world, pools, worker
        self.rng = random.Random(f"{seed}/{worker}")
        self.names = attribute_names()
        self.prompts = Prompts(TOKENIZER) if {"scenes", "edits"} & set(pools) else None

    def run(self) -> None:
        """Turn by turn, keeping the pools at the same share of what is to be drawn; a full one is passed over."""
        while True:
            open_ = [k for k, p in self.pools.items() if p[0].done[self.worker] < p[0].share(self.worker)]
            if not open_:
                return
            open_.sort(key=lambda k: self.pools[k][0].done[self.worker] / self.pools[k][0].share(self.worker))
            for kind in open_:
                slots = [p.slot(self.worker) for p in self.pools[kind]]
                if all(s is not None for s in slots):
                    self.place(kind, slots)
                    break
            else:
                time.sleep(0.01)

    def place(self, kind: str, slots: list[int]) -> None:
        first = self.pools[kind][0]
        getattr(self, kind)(first.arrays, slots[0])
        for pool, slot in zip(self.pools[kind][1:], slots[1:]):
            for k, v in first.arrays.items():
                pool.arrays[k][slot] = v[slots[0]]
        for pool in self.pools[kind]:
            pool.done[self.worker] += 1

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
    os.nice(15)
    Draw(pools, worker, seed).run()


def start(pools: dict[str, list[Pool]], workers: int, seed: int) -> list[mp.Process]:
    """Fork the drawing processes; call before CUDA is touched."""
    context = mp.get_context("fork")
    processes = [context.Process(target=_entry, args=(pools, w, seed), daemon=True) for w in range(workers)]
    for p in processes:
        p.start()
    return processes
