"""Texts that probe a tokenizer, and a second implementation to compare the library with."""

import unicodedata

import numpy as np
import regex

import tokenizer as tiny

EN = """a an the red blue green small large old young cat dog panda duck lake forest mountain sign photo painting style
light shadow detailed realistic watercolor oil portrait of with on in under next to holding wearing looking at camera
background foreground 4k hdr bokeh close-up wide-angle masterpiece it's don't we'll I'm they've you'd she's
IT'S WE'LL Hello, world! (best quality:1.2) "quoted text" C++ e-mail@example.com http://x.y/z?a=1&b=2 snake_case
CamelCase ALLCAPS""".split()
ZH = """一只 可爱 的 小熊猫 在 竹林 里 吃 竹子 ， 阳光 明媚 。 黄色 小鸭子 戴着 红色 帽子 背景 换成 海滩 保持 人物 不变
招牌 上 写着 “你好” 、 世界 ！ 山水画 白云 太阳 图一 放到 图二 旁边 使用 风格 繁體 龍 鳳 《紅樓夢》 ；： …… ——""".split()
OTHER = """école façade Ünïcödé naïve Straße ЁЖ привет мир ελληνικά שלום مرحبا हिन्दी தமிழ் ไทย 日本語 カタカナ ひらがな 한국어
ｆｕｌｌｗｉｄｔｈ ﬁ ﬀ Ⅷ ½ ² ³ ① ٣ ۴ ५ ª º µ Å Ω ™ № ℃ 𝒜 𝟘 ǅ ʰ ʻ""".split()
EMOJI = ["😀", "🐼", "🎨", "✨", "👍🏽", "👨‍👩‍👧", "🇨🇳", "❤️", "☀", "1️⃣", "🧑🏿‍🚀", "\U0001fae0"]
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\t", "\r", "\r\n", " \n", "\n ", " \t ", "\u00a0", "\u3000", "\u2003", "\u2028",
          "\u0085", "\x0b", "\x0c", "\u200b", "\ufeff", "\u1680", "\u202f", "\u180e", "\x1c", "\x1f"]  # fmt: skip
COMBINING = ["e\u0301", "a\u0308", "n\u0303", "o\u0302\u0301", "\u1100\u1161\u11a8", "\u212b", "\u2126", "s\u0323\u0307",
             "s\u0307\u0323", "\u0344", "\u0958", "\u2adc", "\ufb1d", "\u0387", "\u1fef", "\uf900", "\u0301", "q\u0307\u0323",
             "\uac00\u11a8", "\u0f73", "\u05bc\u05b7", "\u03b9\u0308\u0301"]  # fmt: skip
SPECIAL_LIKE = [*tiny.SPECIALS, "<|im_start|", "<|im_start|>>", "<|", "|>", "<| im_end |>", "<|IM_END|>", "<|image_pad|><|image_pad|>",
                "<tool_call", "<|endoftext|>\n", " <|vision_end|> ", "<|extra_0|>", "<s>", "</s>"]  # fmt: skip
DIGITS = ["0", "7", "12", "2026", "3.14", "1,000,000", "x1y2", "00", "10:30", "1e-5", "４２", "١٢"]
PUNCTUATION = ["!", "?!", "...", "--", "'", "''", "'s", "'S", "'LL", "’s", "#$%", "()", "[]", "{}", "\\", "/", "<>", "~", "`",
               "¿", "«»", "、", "。", "・", "\u2019t", "'ſ", "'\u212a"]  # fmt: skip
CONTROL = [chr(c) for c in (*range(0, 32), 127, 0x80, 0x9F, 0xAD, 0x200D, 0x2066, 0xFFFD, 0xFFFE, 0xE0001)]


def _random_text(rng, low, high, length):
    points = [p for p in rng.integers(low, high, length).tolist() if not 0xD800 <= p <= 0xDFFF]
    return "".join(map(chr, points))


def make(count, seed=1):
    """`count` texts; the first ones are the plain lists above, the others random mixtures."""
    rng = np.random.Generator(np.random.PCG64(seed))
    fixed = ["", *SPACES, *COMBINING, *SPECIAL_LIKE, *DIGITS, *PUNCTUATION, *EMOJI, *CONTROL]
    fixed += [tiny.T2I_TEMPLATE.replace("{}", "a cute panda"), tiny.EDIT_TEMPLATE.replace("{}", "黄色的小鸭子戴着红色帽子")]
    fixed += ["  leading spaces\n\n\ttabs", "Hello, world! It's 2026.", "“小熊”、3.14 RGB", "a" * 200, " " * 50, "\n" * 20, "的" * 60]
    fixed += [a + b for a in SPACES for b in ("a", "1", "!", "中")] + [b + a for a in SPACES for b in ("a", "1", "!", "中")]
    fixed += [a + " " + b for a in PUNCTUATION for b in ("s", "\n", "1")]
    groups = [EN, ZH, OTHER, EMOJI, SPACES, COMBINING, SPECIAL_LIKE, DIGITS, PUNCTUATION, CONTROL]
    weights = np.array([6, 6, 3, 1.5, 4, 2, 0.7, 2, 3, 0.5])
    out = fixed[:count]
    ranges = [(0x20, 0x7F), (0x80, 0x600), (0x370, 0x1400), (0x1E00, 0x2BFF), (0x3000, 0xA000), (0xAC00, 0xD7A4),
              (0xF900, 0xFFFE), (0x1F000, 0x1FB00), (0x10000, 0x20000), (0x20000, 0x30000), (0, 0x110000)]  # fmt: skip
    while len(out) < count:
        kind = len(out) % 5
        if kind == 0:  # English sentence with ordinary spacing
            text = " ".join(rng.choice(EN, rng.integers(1, 12)))
        elif kind == 1:
            text = "".join(rng.choice(ZH, rng.integers(1, 12)))
        elif kind == 4:
            text = _random_text(rng, *ranges[rng.integers(len(ranges))], int(rng.integers(1, 16)))
        else:
            parts = []
            for _ in range(rng.integers(2, 10)):
                group = groups[rng.choice(len(groups), p=weights / weights.sum())]
                parts.append(group[rng.integers(len(group))])
                if rng.random() < 0.4:
                    parts.append(" ")
            text = "".join(parts)
        out.append(str(text))
    return out


class Second:
    """The tokenizer rules of the model documentation, straight from vocabulary and merges."""

    def __init__(self, vocab, merges, special):
        self.vocab, self.special = vocab, special
        self.rank = {tuple(pair): i for i, pair in enumerate(merges)}
        self.table = tiny.byte_alphabet()
        self.pattern = regex.compile(tiny.PATTERN)
        self.cut = regex.compile("(" + "|".join(regex.escape(s) for s in special) + ")")
        self.cache = {}

    def _bpe(self, piece):
        if piece in self.cache:
            return self.cache[piece]
        word = [self.table[b] for b in piece.encode()]
        while len(word) > 1:
            ranked = [(self.rank.get(pair, len(self.rank)), i) for i, pair in enumerate(zip(word, word[1:]))]
            best, i = min(ranked)
            if best == len(self.rank):
                break
            word[i : i + 2] = [word[i] + word[i + 1]]
        ids = self.cache[piece] = [self.vocab[token] for token in word]
        return ids

    def __call__(self, text):
        ids = []
        for span in self.cut.split(text):
            if span in self.special:
                ids.append(self.special[span])
            else:
                for piece in self.pattern.findall(unicodedata.normalize("NFC", span)):
                    ids.extend(self._bpe(piece))
        return ids
