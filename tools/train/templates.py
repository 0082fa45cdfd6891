"""The two prompt templates of the Qwen-Image family and the special tokens of Qwen2.5-VL.

The pipelines drop a fixed number of leading hidden states (34 and 64), so a tokenizer that
shares these templates must cut their fixed parts into exactly that many tokens.
"""

T2I_PREFIX = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, "
    "spatial relationships of the objects and background:<|im_end|>\n<|im_start|>user\n"
)
EDIT_PREFIX = (
    "<|im_start|>system\nDescribe the key features of the input image (color, shape, size, texture, objects, "
    "background), then explain how the user's text instruction should alter or modify the image. Generate a new "
    "image that meets the user's requirements while maintaining consistency with the original input where "
    "appropriate.<|im_end|>\n<|im_start|>user\n"
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n"
PICTURE = "Picture 1: <|vision_start|><|image_pad|><|vision_end|>"

T2I_DROP = 34
EDIT_DROP = 64
SUFFIX_TOKENS = 5
PICTURE_TEXT_TOKENS = 7  # "Picture", " ", "1", ":", " ", vision_start, vision_end

# Order and the special / not special split follow the published tokenizer.
SPECIAL_TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>",
    "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>",
    "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
]
ADDED_TOKENS = [
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>",
]


def t2i_text(prompt: str) -> str:
    return T2I_PREFIX + prompt + SUFFIX


def edit_text(prompt: str) -> str:
    return EDIT_PREFIX + PICTURE + prompt + SUFFIX
