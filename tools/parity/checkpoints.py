"""Tiny random checkpoints in the diffusers layout, and loaders for the reference components."""

import json
import math
import shutil
import zlib
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2VLProcessor
from transformers.processing_utils import ProcessorMixin
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

import tokenizer as tiny_tokenizer

SCHEDULER = {
    "base_image_seq_len": 256, "base_shift": 0.5, "invert_sigmas": False, "max_image_seq_len": 8192, "max_shift": 0.9,
    "num_train_timesteps": 1000, "shift": 1.0, "shift_terminal": 0.02, "stochastic_sampling": False,
    "time_shift_type": "exponential", "use_beta_sigmas": False, "use_dynamic_shifting": True,
    "use_exponential_sigmas": False, "use_karras_sigmas": False,
}  # fmt: skip
LIGHTNING_SCHEDULER = {**SCHEDULER, "base_shift": math.log(3), "max_shift": math.log(3), "shift_terminal": None}

PREPROCESSOR = {
    "min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
}  # fmt: skip

# Every matrix width of "t2i" is a multiple of 32 so that it can be written in the 32-value GGUF types.
SPECS = {
    "t2i": {
        "pipeline": "QwenImagePipeline",
        "dtype": "bfloat16",
        "dit": {"num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 4, "axes_dims_rope": (8, 4, 4)},
        "text": {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
                 "num_key_value_heads": 2, "mrope": [2, 3, 3]},
        "vision": {"depth": 1, "hidden_size": 16, "num_heads": 1, "intermediate_size": 20, "fullatt": [0]},
        "vae": {"base_dim": 8},
        "tokenizer": "classic",
        "text_config": "flat",
    },
    "edit2509": {
        "pipeline": "QwenImageEditPlusPipeline",
        "dtype": "bfloat16",
        "dit": {"num_layers": 2, "attention_head_dim": 32, "num_attention_heads": 3, "axes_dims_rope": (8, 12, 12)},
        "text": {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 3,
                 "num_key_value_heads": 1, "mrope": [2, 3, 3]},
        "vision": {"depth": 4, "hidden_size": 32, "num_heads": 2, "intermediate_size": 52, "fullatt": [1, 3]},
        "vae": {"base_dim": 8},
        "tokenizer": "classic",
        "text_config": "flat",
    },
    "edit2511": {
        "pipeline": "QwenImageEditPlusPipeline",
        "dtype": "float32",
        "dit": {"num_layers": 3, "attention_head_dim": 16, "num_attention_heads": 2, "axes_dims_rope": (4, 6, 6),
                "zero_cond_t": True},
        "text": {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2,
                 "num_key_value_heads": 1, "mrope": [4, 6, 6]},
        "vision": {"depth": 4, "hidden_size": 40, "num_heads": 2, "intermediate_size": 56, "fullatt": [2]},
        "vae": {"base_dim": 16},
        "tokenizer": "fast",
        "text_config": "nested",
    },
    "edit": {
        "pipeline": "QwenImageEditPipeline",
        "dtype": "bfloat16",
        "dit": {"num_layers": 1, "attention_head_dim": 16, "num_attention_heads": 3, "axes_dims_rope": (8, 4, 4)},
        "text": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
                 "num_key_value_heads": 2, "mrope": [2, 3, 3]},
        "vision": {"depth": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 44, "fullatt": [1]},
        "vae": {"base_dim": 8},
        "tokenizer": "fast-string-merges",
        "text_config": "nested",
    },
    # The committed fixtures: as small as the layouts allow.
    "small-t2i": {
        "pipeline": "QwenImagePipeline",
        "dtype": "bfloat16",
        "dit": {"num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2, "axes_dims_rope": (8, 4, 4)},
        "text": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
                 "num_key_value_heads": 1, "mrope": [2, 3, 3]},
        "vision": {"depth": 1, "hidden_size": 16, "num_heads": 1, "intermediate_size": 20, "fullatt": [0]},
        "vae": {"base_dim": 4, "dim_mult": [1, 2, 2, 2]},
        "tokenizer": "classic",
        "text_config": "flat",
    },
    "small-edit": {
        "pipeline": "QwenImageEditPlusPipeline",
        "dtype": "bfloat16",
        "dit": {"num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2, "axes_dims_rope": (4, 6, 6)},
        "text": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
                 "num_key_value_heads": 2, "mrope": [1, 1, 2]},
        "vision": {"depth": 4, "hidden_size": 32, "num_heads": 2, "intermediate_size": 44, "fullatt": [1, 3]},
        "vae": {"base_dim": 4, "dim_mult": [1, 2, 2, 2]},
        "vae_of": "small-t2i",
        "tokenizer": "fast",
        "text_config": "nested",
    },
}  # fmt: skip


def _generator(seed, name):
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))


# Gates, timestep and attention act as strongly as the skip connection, so that an error in them is visible; the
# decoder's last convolution keeps most values inside [-1, 1].
GAINS = {
    "_mod.1": 1.5, "norm_out.linear": 1.0, "timestep_embedder.linear_2": 3.0, "to_v": 1.5, "add_v_proj": 2.0,
    "to_out.0": 1.5, "to_add_out": 1.5, "decoder.conv_out": 0.6,
}  # fmt: skip


def _std(name, shape):
    """A scale that keeps activations of order one through every kind of layer."""
    if "embed_tokens" in name or "addition_t_embedding" in name:
        return 1.0
    fan_in = int(np.prod(shape[1:]))
    if len(shape) == 5 and shape[2] == 3:  # only the last temporal slice acts on a single frame
        fan_in //= 3
    gain = next((gain for part, gain in GAINS.items() if part in name), 1.0)
    return gain / math.sqrt(fan_in)


@torch.no_grad()
def randomize(model, seed, dtype):
    """Fills every parameter from a stream that depends on the seed and its name only, rounded to `dtype`."""
    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        values = _generator(seed, name).standard_normal(shape, dtype=np.float32)
        is_norm = name.endswith("gamma") or (len(shape) == 1 and name.endswith("weight"))
        if is_norm:
            values = (1.7 if ".attn.norm_" in name else 1.0) + np.float32(0.15) * values
        elif name.endswith("bias"):
            values = 0.1 * values
        else:
            values = values * np.float32(_std(name, shape))
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)).to(dtype))
    return model.to(dtype)


def build_transformer(spec, seed, dtype, **extra):
    config = {"patch_size": 2, "in_channels": 64, "out_channels": 16, "guidance_embeds": False}
    config.update(spec["dit"], joint_attention_dim=spec["text"]["hidden_size"], **extra)
    return randomize(QwenImageTransformer2DModel(**config).eval(), seed, dtype)


def text_config(spec, tokens):
    text, vision = spec["text"], spec["vision"]
    special = tokens.special
    rope = {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": text["mrope"]}
    return Qwen2_5_VLConfig(
        text_config={
            "hidden_size": text["hidden_size"], "intermediate_size": text["intermediate_size"],
            "num_hidden_layers": text["num_hidden_layers"], "num_attention_heads": text["num_attention_heads"],
            "num_key_value_heads": text["num_key_value_heads"], "vocab_size": tokens.rows, "rms_norm_eps": 1e-6,
            "rope_parameters": rope, "max_position_embeddings": 128000, "use_sliding_window": False,
            "bos_token_id": special["<|endoftext|>"], "eos_token_id": special["<|im_end|>"],
            "pad_token_id": special["<|endoftext|>"],
        },
        vision_config={
            "depth": vision["depth"], "hidden_size": vision["hidden_size"], "num_heads": vision["num_heads"],
            "intermediate_size": vision["intermediate_size"], "out_hidden_size": text["hidden_size"], "patch_size": 14,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112, "hidden_act": "silu",
            "fullatt_block_indexes": vision["fullatt"], "tokens_per_second": 2, "in_channels": 3,
        },
        image_token_id=special["<|image_pad|>"], video_token_id=special["<|video_pad|>"],
        vision_start_token_id=special["<|vision_start|>"], vision_end_token_id=special["<|vision_end|>"],
        tie_word_embeddings=False,
    )  # fmt: skip


def build_text_encoder(spec, tokens, seed, dtype):
    model = Qwen2_5_VLForConditionalGeneration(text_config(spec, tokens)).eval()
    return randomize(model, seed, dtype)


def build_vae(spec, seed, dtype):
    config = {"z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_scales": [], "dropout": 0.0}
    config.update(spec["vae"], temperal_downsample=[False, True, True])
    return randomize(AutoencoderKLQwenImage(**config).eval(), seed, dtype)


def flat_text_config(spec, tokens, dtype):
    """config.json of the text encoder in the style of the published 7B checkpoint."""
    text, vision, special = spec["text"], spec["vision"], tokens.special
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"], "attention_dropout": 0.0,
        "bos_token_id": special["<|endoftext|>"], "eos_token_id": special["<|im_end|>"],
        "vision_start_token_id": special["<|vision_start|>"], "vision_end_token_id": special["<|vision_end|>"],
        "vision_token_id": special["<|vision_pad|>"], "image_token_id": special["<|image_pad|>"],
        "video_token_id": special["<|video_pad|>"], "hidden_act": "silu", "hidden_size": text["hidden_size"],
        "initializer_range": 0.02, "intermediate_size": text["intermediate_size"],
        "max_position_embeddings": 128000, "max_window_layers": 28, "model_type": "qwen2_5_vl",
        "num_attention_heads": text["num_attention_heads"], "num_hidden_layers": text["num_hidden_layers"],
        "num_key_value_heads": text["num_key_value_heads"], "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
        "sliding_window": 32768, "tie_word_embeddings": False, "torch_dtype": dtype, "use_cache": True,
        "use_sliding_window": False,
        "vision_config": {
            "depth": vision["depth"], "hidden_act": "silu", "hidden_size": vision["hidden_size"],
            "intermediate_size": vision["intermediate_size"], "num_heads": vision["num_heads"], "in_chans": 3,
            "out_hidden_size": text["hidden_size"], "patch_size": 14, "spatial_merge_size": 2,
            "spatial_patch_size": 14, "window_size": 112, "fullatt_block_indexes": vision["fullatt"],
            "tokens_per_second": 2, "temporal_patch_size": 2, "model_type": "qwen2_5_vl",
        },
        "rope_scaling": {"type": "mrope", "mrope_section": text["mrope"]}, "vocab_size": tokens.rows,
    }  # fmt: skip


def _write_json(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")


def _write_scheduler(folder, values):
    head = {"_class_name": "FlowMatchEulerDiscreteScheduler", "_diffusers_version": "0.35.0"}
    _write_json(folder / "scheduler" / "scheduler_config.json", {**head, **values})


def _save_tokenizer(tokens, style, folder):
    if style == "classic":
        tokens.save_classic(folder)
    else:
        tokens.save_fast(folder, string_merges=style == "fast-string-merges")


def _save_processor(spec, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for path in (folder.parent / "tokenizer").iterdir():
        (folder / path.name).symlink_to(Path("..") / "tokenizer" / path.name)
    image = {k: v for k, v in PREPROCESSOR.items() if not k.endswith("pixels")}
    if spec["text_config"] == "flat":
        _write_json(folder / "preprocessor_config.json", {
            **PREPROCESSOR, "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
            "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2VLProcessor", "resample": 3,
            "rescale_factor": 1 / 255,
            "size": {"shortest_edge": PREPROCESSOR["min_pixels"], "longest_edge": PREPROCESSOR["max_pixels"]},
        })  # fmt: skip
    else:
        _write_json(folder / "processor_config.json", {
            "image_processor": {
                **image, "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
                "image_processor_type": "Qwen2VLImageProcessor", "resample": 3, "rescale_factor": 1 / 255,
                "size": {"shortest_edge": PREPROCESSOR["min_pixels"], "longest_edge": PREPROCESSOR["max_pixels"]},
            },
            "processor_class": "Qwen2VLProcessor",
        })  # fmt: skip


def write(name, root):
    """Writes checkpoints/NAME below `root` (unless it is there already) and returns its folder."""
    folder = Path(root) / "checkpoints" / name
    if (folder / "model_index.json").exists():
        return folder
    if name.endswith("-sharded"):
        return _write_sharded(name, root, name.removesuffix("-sharded"))
    if name.endswith("-lightning"):
        return _write_variant(name, root, name.removesuffix("-lightning"), LIGHTNING_SCHEDULER)
    spec = SPECS[name]
    seed = zlib.crc32(name.encode())
    dtype = getattr(torch, spec["dtype"])
    tokens = tiny_tokenizer.TinyTokenizer()

    build_transformer(spec, seed, dtype).save_pretrained(folder / "transformer")
    if "vae_of" in spec:
        write(spec["vae_of"], root)
        _link(folder, "vae", spec["vae_of"])
    else:
        build_vae(spec, seed, dtype).save_pretrained(folder / "vae")
    build_text_encoder(spec, tokens, seed, dtype).save_pretrained(folder / "text_encoder")
    (folder / "text_encoder" / "generation_config.json").unlink(missing_ok=True)
    if spec["text_config"] == "flat":
        _write_json(folder / "text_encoder" / "config.json", flat_text_config(spec, tokens, spec["dtype"]))
    _save_tokenizer(tokens, spec["tokenizer"], folder / "tokenizer")
    _write_scheduler(folder, SCHEDULER)
    index = {
        "_class_name": spec["pipeline"],
        "_diffusers_version": "0.35.0",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen2_5_VLForConditionalGeneration"],
        "tokenizer": ["transformers", "Qwen2Tokenizer"],
        "transformer": ["diffusers", "QwenImageTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKLQwenImage"],
    }
    if spec["pipeline"] != "QwenImagePipeline":
        index["processor"] = ["transformers", "Qwen2VLProcessor"]
        _save_processor(spec, folder / "processor")
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    _write_json(folder / "model_index.json", index)
    return folder


def _link(folder, part, other):
    """`folder`/`part` as a relative link to the same part of another checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / part).is_symlink():
        (folder / part).symlink_to(Path("..") / other / part)


def _write_variant(name, root, base, scheduler):
    """The same weights with another schedule."""
    source, folder = write(base, root), Path(root) / "checkpoints" / name
    for entry in source.iterdir():
        if entry.is_dir() and entry.name != "scheduler":
            _link(folder, entry.name, base)
    _write_scheduler(folder, scheduler)
    shutil.copy2(source / "model_index.json", folder)
    return folder


def _write_sharded(name, root, base):
    """The same weights split into several files with an index, as the large models are published."""
    source, folder = write(base, root), Path(root) / "checkpoints" / name
    _, components = load(source)
    for entry in source.iterdir():
        if entry.is_dir() and entry.name not in ("transformer", "text_encoder"):
            _link(folder, entry.name, base)
    for part in ("transformer", "text_encoder"):
        components[part].to(torch.bfloat16).save_pretrained(folder / part, max_shard_size="150KB")
        shutil.copy2(source / part / "config.json", folder / part / "config.json")
    (folder / "text_encoder" / "generation_config.json").unlink(missing_ok=True)
    for path in folder.rglob("*.safetensors"):
        if path.parent.parent == folder and not path.parent.is_symlink():
            path.chmod(0o644)
    shutil.copy2(source / "model_index.json", folder)
    return folder


def load(folder):
    """The components of a checkpoint folder in fp32, with the PIL variant of the image processor."""
    folder = Path(folder)
    index = json.loads((folder / "model_index.json").read_text())
    tokenizer = tiny_tokenizer.load(folder / "tokenizer")
    components = {
        "scheduler": FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler"),
        "text_encoder": Qwen2_5_VLForConditionalGeneration.from_pretrained(
            folder / "text_encoder", dtype=torch.float32
        ).eval(),
        "tokenizer": tokenizer,
        "transformer": QwenImageTransformer2DModel.from_pretrained(
            folder / "transformer", torch_dtype=torch.float32
        ).eval(),
        "vae": AutoencoderKLQwenImage.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval(),
    }
    if "processor" in index:
        image_processor = Qwen2VLImageProcessorPil.from_pretrained(folder / "processor")
        components["processor"] = ImageProcessorOnly(image_processor, tiny_tokenizer.load(folder / "processor"))
    return index["_class_name"], components


class ImageProcessorOnly(Qwen2VLProcessor):
    """Qwen2VLProcessor without its video part, whose class needs torchvision."""

    def __init__(self, image_processor=None, tokenizer=None, chat_template=None, **kwargs):
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)
