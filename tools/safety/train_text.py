#!/usr/bin/env python3
"""Trains data/safety/classifier.bin: python tools/safety/train_text.py   (numpy, scikit-learn, pypinyin; the tools/world packages)

Sentences are composed by sentences.py, word lists and the drawn world's captions; nothing is downloaded. Stops when one of
them stands in the test sets or is nearly one. Prints recall and false alarms on acts that were left out of training.
"""

from __future__ import annotations

import argparse
import pathlib
import random
import re
import struct
import sys
import unicodedata

import numpy as np
import scipy.sparse as sp
from pypinyin import lazy_pinyin
from sklearn.linear_model import LogisticRegression

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import sentences  # noqa: E402
from tools import world  # noqa: E402

BUCKETS, CATEGORY_BUCKETS = 1 << 17, 1 << 14
CATEGORIES = ["sexual", "horror", "violence", "drugs", "hate", "self_harm", "weapons"]


def is_han(c: str) -> bool:
    return "\u3400" <= c <= "\u4dbf" or "\u4e00" <= c <= "\u9fff"


def plain(text: str) -> str:
    """plain_text() of src/safety/normalize.cc, for texts without disguises."""
    text = unicodedata.normalize("NFKC", text).casefold()
    text = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.category(c).startswith("M"))
    text = re.sub(r"(?<=\w)[-'](?=\w)", "", text)
    text = "".join(c if c.isalnum() else " " for c in text)
    text = re.sub(r" +", " ", text).strip()
    text = re.sub(r"(?<=[\u3400-\u9fff]) (?=[\u3400-\u9fff])", "", text)
    return re.sub(r"(.)\1\1+", r"\1", text)


def hash_of(kind: int, text: str) -> int:
    h = 2166136261 ^ kind
    for c in text:
        h = (h ^ ord(c)) * 16777619 & 0xFFFFFFFF
    return h ^ h >> 15


def features(text: str) -> list[int]:
    """text_features() of src/safety/text_classifier.cc."""
    found: set[int] = set()
    words: list[str] = []
    for piece in re.findall(r"[\u3400-\u4dbf\u4e00-\u9fff]+|[^ \u3400-\u4dbf\u4e00-\u9fff]+", text):
        if is_han(piece[0]):
            found.update(hash_of(n, piece[i : i + n]) for n in range(2, 5) for i in range(len(piece) - n + 1))
        else:
            words.append(piece)
    for i, w in enumerate(words):
        found.add(hash_of(6, w))
        if i + 1 < len(words):
            found.add(hash_of(7, f"{w} {words[i + 1]}"))
        if i + 2 < len(words):
            found.add(hash_of(8, f"{w} {words[i + 1]} {words[i + 2]}"))
            found.add(hash_of(9, f"{w} {words[i + 2]}"))
    return sorted(found)


def matrix(texts: list[str], buckets: int) -> sp.csr_matrix:
    data, columns, starts = [], [], [0]
    for text in texts:
        f = features(text)
        data += [1 / np.sqrt(max(1, len(f)))] * len(f)
        columns += [x & (buckets - 1) for x in f]
        starts.append(len(columns))
    m = sp.csr_matrix((data, columns, starts), (len(texts), buckets))
    m.sum_duplicates()
    return m


def list_terms(name: str) -> list[tuple[str, str | None]]:
    """(term, category) of a list with severity 2 and 3; of allow.txt with None."""
    terms, category, severity = [], None, 3
    for line in (ROOT / "data/safety" / name).read_text().splitlines():
        if line.startswith("["):
            words = line.strip("[]").split()
            category, severity = (words[0], int(words[1])) if len(words) == 2 else (None, 3)
        elif line and not line.startswith("#") and severity > 1:
            terms += [(t.rstrip("=!"), category) for t in line.split("|")]
    return terms


Row = tuple[str, str | None, str]  # text, category or None, group that is left out together


def rows(rng: random.Random) -> list[Row]:
    out: list[Row] = []
    for lang in (0, 1):
        for category in [*CATEGORIES, None]:
            for act in sentences.acts(category, lang):
                for k in range(9):
                    out.append((sentences.compose(act, lang, rng, who=None if k else False), category, act))
        for text in sentences.SAFE_WHOLE[lang].split("|"):
            out += [(text, None, text), (text, None, text)]
        who = sentences.WHO_ZH if lang == 0 else sentences.WHO_EN
        where = sentences.WHERE_ZH if lang == 0 else sentences.WHERE_EN
        for w in who:  # actors and places alone are innocent
            out += [((w + p) if lang == 0 else f"{w} {p}".strip(), None, w) for p in where]
    for name in ("zh.txt", "en.txt", "allow.txt"):
        for term, category in list_terms(name):
            lang = 0 if any(map(is_han, term)) else 1
            out += [(term, category, term), (sentences.compose(term, lang, rng), category, term)]
    for lang, nouns in ((0, sentences.NOUNS_ZH), (1, sentences.NOUNS_EN)):
        out += [(n, None, n) for n in nouns]
        for _ in range(17000):
            text = sentences.innocent(rng, lang)
            out.append((text, None, text))
    for _ in range(2500):
        lang = rng.choice(["zh", "en"])
        scene = world.sample_scene(rng, "train") if rng.random() < 0.7 else world.sample_product(rng, "train")
        text = world.caption(scene, rng, lang)
        out.append((text, None, text))
    for _ in range(1500):
        text = world.instruction(world.sample_edit(rng, "train"), rng, rng.choice(["zh", "en"]))
        out.append((text, None, text))
    for text, category, group in list(out):
        if any(map(is_han, text)) and rng.random() < (0.8 if category else 0.3):
            out.append((" ".join(lazy_pinyin(text)), category, group))
    return [(plain(t), c, g) for t, c, g in out]


def test_texts() -> set[str]:
    lines = [line for f in ("block.tsv", "pass.tsv") for line in (ROOT / "tests/safety/data" / f).read_text().splitlines()]
    return {plain(line.split("\t")[3]) for line in lines if line and not line.startswith("#")}


def disjoint(data: list[Row]) -> list[Row]:
    """Without the sentences that share most of their 3-grams with a test sentence (composed by chance, as captions are)."""
    def grams(t: str) -> frozenset[str]:
        t = t.replace(" ", "")
        return frozenset(t[i : i + 3] for i in range(max(1, len(t) - 2)))

    tests = sorted(test_texts())
    # Terms of the lists and single words may equal a one-word test sentence: a list's job, not the classifier's.
    listed = {plain(t) for n in ("zh.txt", "en.txt", "allow.txt") for t, _ in list_terms(n)}
    by_gram: dict[str, set[int]] = {}
    sets = [grams(t) for t in tests]
    for i, s in enumerate(sets):
        for g in s:
            by_gram.setdefault(g, set()).add(i)
    kept = []
    for row in data:
        mine = grams(row[0])
        near = {i for g in mine for i in by_gram.get(g, ())}
        if plain(row[2]) not in listed and any(len(sets[i]) > 3 and len(mine & sets[i]) > 0.8 * len(mine | sets[i]) for i in near):
            continue
        kept.append(row)
    return kept


def fit(x: sp.csr_matrix, y: np.ndarray) -> LogisticRegression:
    return LogisticRegression(C=40, max_iter=200).fit(x, y)


def left_out(data: list[Row], x: sp.csr_matrix, y: np.ndarray) -> None:
    """Recall and false alarms on acts and sentences that training did not see, five folds."""
    fold = np.array([hash_of(77, g) % 5 for _, _, g in data])
    p = np.zeros(len(y))
    for k in range(5):
        p[fold == k] = fit(x[fold != k], y[fold != k]).predict_proba(x[fold == k])[:, 1]
    for t in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        print(f"threshold {t}: recall {np.mean(p[y == 1] >= t):.3f}, false alarms {np.mean(p[y == 0] >= t):.4f}")


def quantise(w: np.ndarray) -> tuple[float, np.ndarray]:
    scale = float(np.abs(w).max() / 127)
    return scale, np.round(w / scale).astype(np.int8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folds", action="store_true", help="also print what is found of left-out acts")
    args = parser.parse_args()
    rng = random.Random(1)
    data = rows(rng)
    data = list(dict.fromkeys(data))
    tests = test_texts()
    kept = disjoint([r for r in data if r[0] not in tests])
    print(f"{len(kept)} sentences, {len(data) - len(kept)} dropped because they are, or are nearly, a test sentence")
    data = kept
    assert not tests & {t for t, _, _ in data}
    y = np.array([c is not None for _, c, _ in data], dtype=int)
    x = matrix([t for t, _, _ in data], BUCKETS)
    print(f"{y.sum()} unsafe, {len(y) - y.sum()} safe")
    if args.folds:
        left_out(data, x, y)
    model = fit(x, y)
    unsafe = [r for r in data if r[1]]
    kinds = LogisticRegression(C=20, max_iter=300).fit(matrix([t for t, _, _ in unsafe], CATEGORY_BUCKETS), [CATEGORIES.index(c) for _, c, _ in unsafe])
    scale, weights = quantise(model.coef_[0])
    kind_scale, kind_weights = quantise(kinds.coef_)
    out = b"INKTEXT1" + struct.pack("<IIIfff", BUCKETS, CATEGORY_BUCKETS, len(CATEGORIES), float(model.intercept_[0]), scale, kind_scale)
    for c in CATEGORIES:
        out += bytes([len(c)]) + c.encode()
    out += kinds.intercept_.astype("<f4").tobytes() + weights.tobytes() + kind_weights.tobytes()
    h = 0xCBF29CE484222325
    for b in out:
        h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    (ROOT / "data/safety/classifier.bin").write_bytes(out + struct.pack("<Q", h))
    print(f"data/safety/classifier.bin: {len(out) + 8} bytes")
    # For the test that the program computes the same probability as this script.
    with open(ROOT / "tests/safety/data/classifier.tsv", "w") as file:
        file.write("# made by tools/safety/train_text.py: text, probability with quantised weights\n")
        for text, _, _ in rng.sample(data, 60):
            f = features(text)
            s = float(model.intercept_[0]) + scale * sum(int(weights[i & (BUCKETS - 1)]) for i in f) / np.sqrt(max(1, len(f)))
            if len(text) <= 60 and len(f) >= 4:  # kLeastFeatures
                file.write(f"{text}\t{1 / (1 + np.exp(-s)):.5f}\n")


if __name__ == "__main__":
    main()
