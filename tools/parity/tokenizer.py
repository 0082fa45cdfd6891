"""A small Qwen2-style tokenizer for the tiny checkpoints.

The pipelines drop a fixed number of template tokens (34 for text-to-image, 64 for edit).  In the published
vocabulary every pre-tokenizer piece of both templates is one token, so a small vocabulary keeps those counts as soon
as every template piece merges into a single token.  The trainer sees the template words with a high weight and then
learns merges from a short multilingual text, so ordinary prompts exercise multi-step merging.
"""

import collections
import json
import unicodedata
from pathlib import Path

import regex

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

T2I_TEMPLATE = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
EDIT_TEMPLATE = (
    "<|im_start|>system\nDescribe the key features of the input image (color, shape, size, texture, objects, "
    "background), then explain how the user's text instruction should alter or modify the image. Generate a new image "
    "that meets the user's requirements while maintaining consistency with the original input where appropriate."
    "<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
T2I_DROP, EDIT_DROP = 34, 64

# The order of the published vocabulary; here they follow directly after the learned entries.
SPECIALS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>",
    "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>",
]  # fmt: skip
FLAGGED_SPECIAL = 14  # the tool_call and code entries are added tokens without the "special" flag

CORPUS = """
A small red circle on a blue background. A cute panda eats bamboo in the forest, detailed fur, soft light, high quality.
Two yellow ducks swim on a quiet lake; the water reflects the evening sky and the green mountains behind the trees.
Replace the background with a sunny beach, keep the person unchanged, and add the text "Hello World" to the sign.
Make the cat wear a tiny hat. Remove the watermark from the picture. Turn the photo into a watercolor painting.
Put the object of Picture 1 next to the person of Picture 2 and use the style of Picture 3. It's what we'll do, isn't it?
The quick brown fox jumps over the lazy dog. They're here, I've seen them and you'd better believe that I'm right.
一只可爱的小熊猫在竹林里吃竹子，阳光明媚，画面清晰。黄色的小鸭子戴着红色帽子，在湖面上游泳。
把背景换成海滩，保持人物不变，在招牌上写上“你好，世界”。一张山水画，远处有白云和红色的太阳。
把图一的物体放到图二的人物旁边，使用图三的风格。这是一个测试句子，包含数字和标点符号：一二三、四五六！
Ein kleines Mädchen mit grünem Hut. Une école près de la forêt. El niño comió una manzana. Привет, мир! Добрый день.
こんにちは、世界。きれいな花の写真です。안녕하세요 세계. مرحبا بالعالم. नमस्ते दुनिया 🐼🎨✨
def main():\n    return 0\n\n\tif x == 1:\n\t\tprint("ok")\n
"""


def byte_alphabet():
    """GPT-2's reversible map from bytes to printable characters."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {}, 0
    for byte in range(256):
        if byte in keep:
            table[byte] = chr(byte)
        else:
            table[byte] = chr(256 + extra)
            extra += 1
    return table


def _pieces(text):
    table = byte_alphabet()
    cut = regex.compile("|".join(regex.escape(s) for s in SPECIALS))
    pattern = regex.compile(PATTERN)
    for span in cut.split(unicodedata.normalize("NFC", text)):
        for piece in pattern.findall(span):
            yield tuple(table[b] for b in piece.encode())


def train(learned=1000):
    """Plain BPE training; ties are broken by the pair itself, so the result is the same everywhere."""
    words = collections.Counter()
    for piece in _pieces(CORPUS):
        words[piece] += 1
    for template in (T2I_TEMPLATE, EDIT_TEMPLATE, "Picture 1: Picture 2: Picture 3: "):
        for piece in _pieces(template.replace("{}", "")):
            words[piece] += 1000
    words = {w: n for w, n in words.items()}
    table = byte_alphabet()
    vocab = [table[b] for b in sorted(table, key=lambda b: ord(table[b]))]
    merges = []
    while len(merges) < learned:
        pairs = collections.Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        joined = best[0] + best[1]
        if joined not in vocab:
            vocab.append(joined)
        fresh = {}
        for word, count in words.items():
            out, i = [], 0
            while i < len(word):
                if i + 1 < len(word) and (word[i], word[i + 1]) == best:
                    out.append(joined)
                    i += 2
                else:
                    out.append(word[i])
                    i += 1
            key = tuple(out)
            fresh[key] = fresh.get(key, 0) + count
        words = fresh
    return {token: i for i, token in enumerate(vocab)}, merges


class TinyTokenizer:
    """Vocabulary, merges and special ids, and writers for both published folder styles."""

    def __init__(self, learned=1000):
        self.vocab, self.merges = train(learned)
        self.base = len(self.vocab)
        self.special = {name: self.base + i for i, name in enumerate(SPECIALS)}
        self.rows = -(-(self.base + len(SPECIALS) + 1) // 64) * 64  # a few unused rows, as in the published models

    def tokenizer_config(self):
        def entry(i):
            return {
                "content": SPECIALS[i], "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
                "special": i < FLAGGED_SPECIAL,
            }  # fmt: skip

        return {
            "add_bos_token": False,
            "add_prefix_space": False,
            "added_tokens_decoder": {str(self.base + i): entry(i) for i in range(len(SPECIALS))},
            "additional_special_tokens": SPECIALS[1:FLAGGED_SPECIAL],
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

    def save_classic(self, folder):
        """vocab.json + merges.txt + added_tokens.json + tokenizer_config.json."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vocab.json").write_text(json.dumps(self.vocab, ensure_ascii=False))
        lines = ["#version: 0.2"] + [f"{a} {b}" for a, b in self.merges]
        (folder / "merges.txt").write_text("\n".join(lines) + "\n")
        (folder / "added_tokens.json").write_text(json.dumps(self.special, indent=2) + "\n")
        (folder / "tokenizer_config.json").write_text(json.dumps(self.tokenizer_config(), indent=2) + "\n")

    def save_fast(self, folder, string_merges=False):
        """tokenizer.json (+ tokenizer_config.json), as newer libraries write it."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = self.tokenizer_config()
        added = [{"id": int(i), **e} for i, e in config.pop("added_tokens_decoder").items()]
        document = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": {"type": "NFC"},
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False},
                    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
                ],
            },
            "post_processor": {
                "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False,
            },
            "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
            "model": {
                "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                "vocab": self.vocab,
                "merges": [f"{a} {b}" if string_merges else [a, b] for a, b in self.merges],
            },
        }  # fmt: skip
        (folder / "tokenizer.json").write_text(json.dumps(document, ensure_ascii=False))
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def load(folder):
    """The reference tokenizer on a folder of either style, with both template counts checked."""
    from transformers import Qwen2Tokenizer

    tokenizer = Qwen2Tokenizer.from_pretrained(folder, padding_side="right")
    for template, drop in ((T2I_TEMPLATE, T2I_DROP), (EDIT_TEMPLATE, EDIT_DROP)):
        count = len(tokenizer(template.split("{}")[0]).input_ids)
        if count != drop:
            raise RuntimeError(f"template prefix has {count} tokens instead of {drop}")
        tail = len(tokenizer(template.split("{}")[1]).input_ids)
        if tail != 5:
            raise RuntimeError(f"template suffix has {tail} tokens instead of 5")
    return tokenizer
