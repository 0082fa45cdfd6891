"""Stage `tokenizer`: a Qwen2 byte-level BPE of about three thousand tokens.

Trained on captions and instructions of the drawn world plus the prompt templates. The templates are repeated so
often that each of their words becomes one token, as it is in the full vocabulary: that keeps the drop counts 34 and
64 valid, which the diffusers pipelines hard-code.
"""

import argparse
import json
import random
import re
import shutil
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from . import templates as T

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
VOCAB = 3072  # rows of the embedding table; base vocabulary + 22 added tokens
EXTRA = [  # everyday wording around the drawn world, so that free prompts split into few tokens
    "可爱的", "一只", "小动物", "卡通", "插画", "绘本", "风格", "高清", "细节", "温馨", "明亮", "色彩", "简洁", "扁平",
    "请", "帮我", "画", "把", "将", "改成", "改为", "变成", "换成", "删除", "去掉", "移除", "添加", "加上", "背景", "纯白",
    "纯色", "商品", "产品", "标签", "促销", "左上角", "右上角", "左下角", "右下角", "文字", "颜色", "帽子", "眼镜",
    " please", " draw", " picture", " photo", " image", " cartoon", " style", " children", " book", " illustration",
    " bright", " colorful", " simple", " background", " change", " remove", " delete", " replace", " add", " make",
    " turn", " into", " promotional", " label", " corner", " top", " bottom", " left", " right", " white", " pure",
]


def words(text: str, known: re.Pattern) -> list[str]:
    """Chinese is written without spaces; cut it at known words so that no token straddles two of them.

    Otherwise frequent neighbours ("colour + of + small") fuse into one token and unseen combinations split oddly.
    """
    if not any("\u4e00" <= c <= "\u9fff" for c in text):
        return [text]
    out = []
    for piece in known.split(text):
        out += [piece] if len(piece) <= 3 or known.fullmatch(piece) else re.findall(r"[\u4e00-\u9fff]|[^\u4e00-\u9fff]+", piece)
    return [w for w in out if w]


def corpus(count: int, seed: int):
    from tools import world

    chinese = {n for entry in world.NAMES.values() for n in entry.get("zh", [])} | {e for e in EXTRA if e[0] > "\u4e00"}
    known = re.compile("(" + "|".join(map(re.escape, sorted(chinese, key=len, reverse=True))) + ")")
    rng = random.Random(seed)
    for i in range(count):
        lang = "zh" if i % 2 else "en"
        yield from words(world.caption(world.sample_scene(rng, "train"), rng, lang), known)
        yield from words(world.instruction(world.sample_edit(rng, "train"), rng, lang), known)
    names = [n for entry in world.NAMES.values() for lang in entry.values() for n in lang]
    texts = list(world.LABEL_TEXTS)
    for _ in range(40):
        yield from names
        yield from (" " + n for n in names)
        yield from texts
        yield from EXTRA


def template_pieces() -> list[str]:
    """Fixed text without special tokens; these never reach the merge counts in real use either."""
    pieces = []
    for text in (T.T2I_PREFIX, T.EDIT_PREFIX, T.SUFFIX, T.PICTURE):
        for token in T.SPECIAL_TOKENS:
            text = text.replace(token, "\x00")
        pieces += [p for p in text.split("\x00") if p]
    return pieces


def train(out: Path, count: int = 40000, seed: int = 7) -> None:
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tok.decoder = decoders.ByteLevel()
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    added = T.SPECIAL_TOKENS + T.ADDED_TOKENS
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - len(added), min_frequency=2, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    texts = list(corpus(count, seed))
    for piece in template_pieces():
        texts += [piece] * (10 * count)
    tok.train_from_iterator(texts, trainer)
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in T.SPECIAL_TOKENS])
    tok.add_tokens([AddedToken(t, special=False, normalized=False) for t in T.ADDED_TOKENS])
    save(tok, out)


def save(tok: Tokenizer, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    tok.model.save(str(out))  # vocab.json, merges.txt
    tok.save(str(out / "tokenizer.json"))
    special = set(T.SPECIAL_TOKENS)
    config = {
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(tok.token_to_id(t)): {
                "content": t, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
                "special": t in special,
            }
            for t in T.SPECIAL_TOKENS + T.ADDED_TOKENS
        },
        "additional_special_tokens": T.SPECIAL_TOKENS[1:],
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 131072,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    added = {t: tok.token_to_id(t) for t in T.SPECIAL_TOKENS + T.ADDED_TOKENS}
    (out / "added_tokens.json").write_text(json.dumps(added, indent=2) + "\n")
    (out / "special_tokens_map.json").write_text(json.dumps({
        "additional_special_tokens": T.SPECIAL_TOKENS[1:], "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
    }, indent=2) + "\n")


def check(folder: Path) -> None:
    tok = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text, want in ((T.T2I_PREFIX, T.T2I_DROP), (T.EDIT_PREFIX, T.EDIT_DROP), (T.SUFFIX, T.SUFFIX_TOKENS),
                       (T.PICTURE, T.PICTURE_TEXT_TOKENS + 1)):
        ids = tok.encode(text).ids
        assert len(ids) == want, (want, len(ids), tok.encode(text).tokens)
    # The prefix must not merge with what follows it.
    for prompt in ("蓝色的小象在吹泡泡", "a cute panda", " ", "\n\nx", "删除右上角促销标签,将背景改为纯白"):
        assert tok.encode(T.t2i_text(prompt)).ids[:T.T2I_DROP] == tok.encode(T.T2I_PREFIX).ids
        assert tok.encode(T.edit_text(prompt)).ids[:T.EDIT_DROP] == tok.encode(T.EDIT_PREFIX).ids
    total = tok.get_vocab_size()
    assert total <= VOCAB, total
    merges = len((folder / "merges.txt").read_text().splitlines()) - 1
    assert merges + 256 + len(T.SPECIAL_TOKENS + T.ADDED_TOKENS) == total, (merges, total)
    print(f"tokenizer: {total} tokens, {merges} merges, prefixes {T.T2I_DROP} and {T.EDIT_DROP}")
    for prompt in ("蓝色的小象在吹泡泡", "黄色的小鸭子戴着红色帽子", "a cute panda playing with a balloon",
                   "删除右上角促销标签,将背景改为纯白"):
        e = tok.encode(prompt)
        print(f"  {len(e.ids):3d}  {prompt}  ->  {[tok.decode([i]) for i in e.ids]}")


def main(argv=None) -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--out", type=Path, default=Path("models/inkling-tiny/tokenizer"))
    p.add_argument("--count", type=int, default=40000)
    p.add_argument("--copy", type=Path, nargs="*", default=[])
    a = p.parse_args(argv)
    train(a.out, a.count)
    check(a.out)
    for target in a.copy:
        shutil.copytree(a.out, target, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
