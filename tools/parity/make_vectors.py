#!/usr/bin/env python3
"""Writes reference vectors for single functions and for the tokenizer.

With the `dashscope` package installed, the published vocabulary is rebuilt from its rank file as well.
"""

import argparse
import json
import logging
import warnings
from pathlib import Path

import torch


def golden_ids():
    """Known ids of the published vocabulary."""
    import tokenizer as tiny

    edit = """151644 8948 198 74785 279 1376 4419 315 279 1946 2168 320 3423 11 6083 11 1379 11 10434 11 6171 11 4004 701
    1221 10339 1246 279 1196 594 1467 7600 1265 11596 476 5602 279 2168 13 19813 264 501 2168 429 20027 279 1196 594 8502
    1393 20337 28137 448 279 4024 1946 1380 8311 13 151645 198 151644 872 198"""
    t2i = """151644 8948 198 74785 279 2168 553 44193 279 1894 11 6083 11 1379 11 10434 11 12194 11 1467 11 27979 11871 315
    279 6171 323 4004 25 151645 198 151644 872 198"""
    rows = {
        tiny.T2I_TEMPLATE.split("{}")[0]: t2i,
        tiny.EDIT_TEMPLATE.split("{}")[0]: edit,
        tiny.T2I_TEMPLATE.split("{}")[1]: "151645 198 151644 77091 198",
        " ": "220",
        "Picture 1: <|vision_start|><|image_pad|><|vision_end|>": "24669 220 16 25 220 151652 151655 151653",
        "a cute panda": "64 18838 88222",
        "黄色的小鸭子戴着红色帽子": "106140 104006 105397 44729 111077 104165 109183",
        "Hello, world! It's 2026.": "9707 11 1879 0 1084 594 220 17 15 17 21 13",
        "  leading spaces\n\n\ttabs": "220 6388 12621 271 3244 3435",
        "“小熊”、3.14 RGB": "2073 30709 101330 854 5373 18 13 16 19 20978",
    }
    return {text: [int(i) for i in ids.split()] for text, ids in rows.items()}


def published_vocabulary(folder):
    """vocab.json + merges.txt from the rank file of the dashscope package; None without the package."""
    import base64

    try:
        import dashscope
    except ImportError:
        return None
    import tokenizer as tiny

    path = Path(dashscope.__file__).parent / "resources" / "qwen.tiktoken"
    if not path.exists():
        return None
    ranks = {}
    for line in path.read_text().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    table = tiny.byte_alphabet()
    written = lambda token: "".join(table[b] for b in token)  # noqa: E731
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) == 1:
            continue
        parts = [bytes([b]) for b in token]
        while len(parts) > 2:  # the two parts from which merging by rank builds this token
            pairs = [(ranks.get(a + b, rank), i) for i, (a, b) in enumerate(zip(parts, parts[1:]))]
            best, i = min(pairs)
            if best >= rank:
                break
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        if len(parts) != 2:
            raise RuntimeError(f"rank {rank} does not split into two parts")
        merges.append((written(parts[0]), written(parts[1])))
    tokens = tiny.TinyTokenizer.__new__(tiny.TinyTokenizer)
    tokens.vocab = {written(token): rank for token, rank in sorted(ranks.items(), key=lambda item: item[1])}
    tokens.merges, tokens.base = merges, len(ranks)
    tokens.special = {name: tokens.base + i for i, name in enumerate(tiny.SPECIALS)}
    tokens.rows = 152064
    tokens.save_classic(folder)
    tokens.save_fast(folder.with_name(folder.name + "-fast"))
    return tokens


def tokenizer_vectors(path, folder, vocab, merges, special, count):
    """Texts with the library's ids; rows where the second implementation differs go to `differing`."""
    import tokenizer as tiny
    import texts

    library = tiny.load(folder)
    second = texts.Second(vocab, merges, special)
    rows, differing = [], []
    for text in texts.make(count):
        ids = library(text).input_ids
        (rows if second(text) == ids else differing).append([text, *ids])

    def body(entries):
        return ",\n".join(json.dumps(e, separators=(",", ":"), ensure_ascii=False) for e in entries)

    path.write_text(
        '{"vectors":[\n' + body(rows) + '\n],\n"differing":[\n' + body(differing) + "\n]}\n", encoding="utf-8"
    )
    print(f"{path.name}: {len(rows)} texts, {len(differing)} on which the two implementations differ", flush=True)
    return len(differing)


def write_small(out, folder, count=1500):
    """The committed subset; the tokenizer is the one of a fixture checkpoint."""
    import vectors

    out.mkdir(parents=True, exist_ok=True)
    vectors.rng(out, full=False)
    vectors.sigmas(out)
    vectors.geometry(out, count=60)
    vectors.resampling(out, small=True)
    vectors.functions(out)
    tokenizer_vectors(out / "tokenizer.json", folder, *read_classic(folder), count)


def read_classic(folder):
    """Vocabulary, merges and special tokens of a folder with vocab.json and merges.txt."""
    vocab = json.loads((folder / "vocab.json").read_text())
    lines = (folder / "merges.txt").read_text().splitlines()
    merges = [tuple(line.split(" ")) for line in lines[1:]]
    return vocab, merges, json.loads((folder / "added_tokens.json").read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tokenizer", type=Path, help="folder with vocab.json and merges.txt (default: the tiny one)")
    parser.add_argument("--texts", type=int, default=10000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    warnings.filterwarnings("ignore")
    import transformers

    transformers.logging.set_verbosity_error()
    logging.getLogger("tqdm").setLevel(logging.ERROR)

    import tokenizer as tiny
    import vectors

    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    vectors.rng(out)
    vectors.sigmas(out)
    vectors.geometry(out)
    vectors.resampling(out)
    vectors.functions(out)

    folder = arguments.tokenizer
    if folder is None:
        folder = out / "tokenizer-tiny"
        tiny.TinyTokenizer().save_classic(folder)
    tokenizer_vectors(out / "tokenizer.json", folder, *read_classic(folder), arguments.texts)

    folder = out / "tokenizer-published"
    tokens = published_vocabulary(folder)
    if tokens is not None:
        library = tiny.load(folder)
        for text, ids in golden_ids().items():
            if library(text).input_ids != ids:
                raise RuntimeError(f"published vocabulary: {text!r} gives other ids")
        if len(tokens.vocab) != 151643 or len(tokens.merges) != 151387:
            raise RuntimeError("published vocabulary: unexpected size")
        tokenizer_vectors(out / "tokenizer-published.json", folder, tokens.vocab, tokens.merges, tokens.special,
                          arguments.texts)  # fmt: skip


if __name__ == "__main__":
    main()
