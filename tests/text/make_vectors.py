#!/usr/bin/env python3
"""Writes tokenizer vectors: JSON lines {"text", "ids", "plain"}, `plain` (ids without added tokens) only where
it differs. The reference is the fast Qwen2 tokenizer of transformers.

  make_vectors.py --tokenizer DIR --count 10000 --out vectors.jsonl
  make_vectors.py --train DIR [--vocab 1500]     first trains a small tokenizer into DIR
"""
import argparse
import json
import os
import random
import unicodedata

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
            "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>",
            "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>"]
EN = ("a cute panda wearing red hat sitting on the snowy hill under blue sky it's don't we'll they've I'M YOU'RE he'd "
      "l'eau naïve café résumé \"quoted\" 3.14 1,024 e-mail http://x.org/a?b=1 #tag @me 50% foo_bar C++ -- ... !?").split()
ZH = "一只可爱的小熊猫戴着红色帽子坐在雪山上，蓝天白云。画面风格：水彩、卡通；“你好”！数量为３个？𠮷𰻞鱻"
OTHER = ["こんにちは", "カタカナ", "ｶﾞｷﾞ", "한국어 텍스트", "각", "Привет мир", "שלום", "مرحبا بالعالم", "हिन्दी", "ไทย",
         "ქართული", "İstanbul", "ǅungla", "ﬁne ﬆ", "Ångström", "e\u0301te\u0301", "A\u030a\u0323", "\u1100\u1161\u11a8", "ệ ẹ\u0302", "\u0958",
         "\u2126 \u212b", "\u0344", "\u0f73\u0f72", "\u1e9b\u0323", "\U0001d15e", "\ufb1d", "\uf900", "\U0002f800", "a\u0300\u0316\u0301", "\u0316\u0300",
         "\U0002ebf0\U0002ee5d", "a\U00010d4a", "\U00010d40\U0001ccf3", "x\ua7cd"]
EMOJI = ["😀", "🐼", "👩‍👩‍👧", "👍🏽", "🇨🇳", "❤️", "1️⃣", "☃", "🫠", "🏴\U000e0067\U000e0062\U000e007f"]
DIGITS = ["٣٤٥", "१२३", "Ⅷ", "½", "²", "①", "〇", "三", "𝟘𝟙", "௰", "１２３", "൰", "0123456789"]
SPACES = [chr(c) for c in [9, 10, 11, 12, 13, 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F,
                           0x205F, 0x3000]]
ODD = [chr(c) for c in [0, 1, 7, 8, 0x1B, 0x1C, 0x1F, 0x7F, 0x80, 0x9F, 0xAD, 0x200B, 0x200D, 0x200E, 0x202E, 0x2060,
                        0xFEFF, 0xFFFD, 0xFFFE, 0xFFFF, 0x10FFFF, 0xE000, 0x180E]]
CONTRACTIONS = ["'s", "'S", "'t", "'re", "'RE", "'vE", "'m", "'ll", "'Ll", "'d", "'ſ", "'l", "'r", "'v", "''", "'\n", "’s"]
PIECES = ["<|", "|>", "<|im_start", "im_end|>", "<|im_end|>", "<|image_pad|>", "<|vision_start|>", "< |im_end|>", "<|IM_END|>",
          "<tool_call>", "</tool_call>", "<|endoftext|>", "<<|im_start|>>", "<|im_start|><|im_start|>", "<|fim_prefix|>"]


def any_char(rng):
    while True:
        c = rng.choice([rng.randrange(0x80), rng.randrange(0x800), rng.randrange(0x10000), rng.randrange(0x32000)])
        # Marks newer than the normalization tables of either side may be ordered differently.
        if not 0xD800 <= c < 0xE000 and not (unicodedata.category(chr(c)) == "Cn" and c > 0x2FF):
            return chr(c)


def make_text(rng):
    kinds = [lambda: rng.choice(EN), lambda: " " + rng.choice(EN), lambda: "".join(rng.choices(ZH, k=rng.randint(1, 8))),
             lambda: rng.choice(OTHER), lambda: rng.choice(EMOJI), lambda: rng.choice(DIGITS),
             lambda: "".join(rng.choices(SPACES, k=rng.randint(1, 4))), lambda: " " * rng.randint(1, 6),
             lambda: "".join(rng.choices(" \n\r\t", k=rng.randint(1, 6))), lambda: rng.choice(ODD),
             lambda: rng.choice(EN) + rng.choice(CONTRACTIONS), lambda: rng.choice(CONTRACTIONS), lambda: rng.choice(PIECES),
             lambda: "".join(any_char(rng) for _ in range(rng.randint(1, 4))),
             lambda: chr(rng.randint(0x300, 0x36F)) * rng.randint(1, 2) + chr(rng.randint(0x300, 0x36F)),
             lambda: rng.choice("aeiouAEIOUcnsz가") + chr(rng.randint(0x300, 0x345)),
             lambda: "".join(rng.choices("!?.,;:()[]{}*&^%$#@-_=+/\\|~`\"'<>", k=rng.randint(1, 5)))]
    style = rng.sample(kinds, rng.randint(1, 6))
    return "".join(rng.choice(style)() for _ in range(rng.randint(1, 8)))


def train(directory, vocab):
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX
    os.makedirs(directory, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    rng = random.Random(1)
    trainer = trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
                                  show_progress=False)
    tokenizer.train_from_iterator([make_text(rng) for _ in range(20000)], trainer)
    tokenizer.model.save(directory)
    decoder = {str(vocab + i): {"content": s, "lstrip": False, "normalized": False, "rstrip": False,
                                "single_word": False, "special": i < 14} for i, s in enumerate(SPECIALS)}
    with open(os.path.join(directory, "tokenizer_config.json"), "w") as f:
        json.dump({"tokenizer_class": "Qwen2Tokenizer", "pad_token": "<|endoftext|>", "eos_token": "<|im_end|>",
                   "unk_token": None, "added_tokens_decoder": decoder}, f, indent=0)


def load(directory):
    """transformers' tokenizer, and the same without added tokens."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer
    full = AutoTokenizer.from_pretrained(directory)
    state = json.loads(full.backend_tokenizer.to_str())
    state["added_tokens"] = []
    return full, Tokenizer.from_str(json.dumps(state))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer")
    parser.add_argument("--train")
    parser.add_argument("--vocab", type=int, default=1500)
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out")
    args = parser.parse_args()
    if args.train:
        train(args.train, args.vocab)
    directory = args.tokenizer or args.train
    full, plain = load(directory)
    rng = random.Random(args.seed)
    seen = set()
    with open(args.out or os.path.join(directory, "vectors.jsonl"), "w", encoding="utf-8") as f:
        while len(seen) < args.count:
            text = make_text(rng)
            if text in seen:
                continue
            seen.add(text)
            row = {"text": text, "ids": full(text).input_ids}
            plain_ids = plain.encode(text).ids
            if plain_ids != row["ids"]:
                row["plain"] = plain_ids
            f.write(json.dumps(row, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
