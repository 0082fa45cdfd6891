"""A Qwen-Image of the true widths with few blocks: what other programs need, as they count the blocks but fix the widths.

Weights are seeded by their names, so that every run and every machine writes the same bytes.
"""

import json
import math
import shutil
import zlib
from pathlib import Path

import torch
from diffusers import AutoencoderKLQwenImage
from safetensors.torch import load_file, save_file

WIDTH, TEXT_WIDTH, HEADS, VOCABULARY = 3072, 3584, 24, 152064


def random(name: str, *shape: int) -> torch.Tensor:
    """Matrices keep the size of what they are multiplied with; biases are small, scales near one."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    values = torch.randn(shape, generator=generator)
    if len(shape) > 1:
        values /= math.sqrt(math.prod(shape[1:]))
    elif name.endswith(".weight"):
        values = 1 + 0.1 * values
    else:
        values *= 0.02
    return values.bfloat16()


def transformer_tensors(blocks: int) -> dict[str, torch.Tensor]:
    shapes: dict[str, tuple[int, ...]] = {"txt_norm.weight": (TEXT_WIDTH,)}

    def linear(name: str, rows: int, columns: int) -> None:
        shapes[name + ".weight"], shapes[name + ".bias"] = (rows, columns), (rows,)

    linear("img_in", WIDTH, 64)
    linear("txt_in", WIDTH, TEXT_WIDTH)
    linear("time_text_embed.timestep_embedder.linear_1", WIDTH, 256)
    linear("time_text_embed.timestep_embedder.linear_2", WIDTH, WIDTH)
    linear("norm_out.linear", 2 * WIDTH, WIDTH)
    linear("proj_out", 64, WIDTH)
    for i in range(blocks):
        block = f"transformer_blocks.{i}."
        for name in ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj", "to_out.0", "to_add_out"):
            linear(block + "attn." + name, WIDTH, WIDTH)
        for name in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
            shapes[f"{block}attn.{name}.weight"] = (WIDTH // HEADS,)
        for stream in ("img", "txt"):
            linear(f"{block}{stream}_mod.1", 6 * WIDTH, WIDTH)
            linear(f"{block}{stream}_mlp.net.0.proj", 4 * WIDTH, WIDTH)
            linear(f"{block}{stream}_mlp.net.2", WIDTH, 4 * WIDTH)
    return {name: random(name, *shape) for name, shape in shapes.items()}


def text_encoder_tensors(layers: int) -> dict[str, torch.Tensor]:
    key_width, hidden = 512, 18944
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCABULARY, TEXT_WIDTH),
        "model.norm.weight": (TEXT_WIDTH,),
    }
    for i in range(layers):
        layer = f"model.layers.{i}."
        for name, rows in (("q", TEXT_WIDTH), ("k", key_width), ("v", key_width)):
            shapes[f"{layer}self_attn.{name}_proj.weight"] = (rows, TEXT_WIDTH)
            shapes[f"{layer}self_attn.{name}_proj.bias"] = (rows,)
        shapes[f"{layer}self_attn.o_proj.weight"] = (TEXT_WIDTH, TEXT_WIDTH)
        for name, rows, columns in (("gate", hidden, TEXT_WIDTH), ("up", hidden, TEXT_WIDTH), ("down", TEXT_WIDTH, hidden)):
            shapes[f"{layer}mlp.{name}_proj.weight"] = (rows, columns)
        for name in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{layer}{name}.weight"] = (TEXT_WIDTH,)
    return {name: random(name, *shape) for name, shape in shapes.items()}


def transformer_config(blocks: int) -> dict:
    return {
        "_class_name": "QwenImageTransformer2DModel",
        "patch_size": 2,
        "in_channels": 64,
        "out_channels": 16,
        "num_layers": blocks,
        "attention_head_dim": 128,
        "num_attention_heads": HEADS,
        "joint_attention_dim": TEXT_WIDTH,
        "guidance_embeds": False,
        "axes_dims_rope": [16, 56, 56],
    }


def text_config(layers: int) -> dict:
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "vocab_size": VOCABULARY,
        "hidden_size": TEXT_WIDTH,
        "num_hidden_layers": layers,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "intermediate_size": 18944,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "hidden_act": "silu",
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "tie_word_embeddings": True,
        "image_token_id": 151655,
        "vision_start_token_id": 151652,
        "vision_end_token_id": 151653,
    }


def write_component(folder: Path, file: str, tensors: dict[str, torch.Tensor], config: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / file, metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def write_vae(folder: Path) -> None:
    """The shapes are diffusers'. Of a kernel over three frames a picture meets one, so it is made larger by root three."""
    model = AutoencoderKLQwenImage()
    state = {}
    for name, tensor in model.state_dict().items():
        frames = tensor.shape[2] if tensor.ndim == 5 else 1
        gamma = tensor.ndim > 1 and name.endswith("gamma")
        state[name] = tensor if gamma else random(name, *tensor.shape) * math.sqrt(frames)
    model.load_state_dict(state)
    model.bfloat16().save_pretrained(folder)


def write_model(folder: Path, tokenizer: Path, blocks: int, layers: int) -> None:
    """A diffusers folder. `tokenizer`: the folder of Qwen's vocab.json and merges.txt."""
    dit, llm = transformer_tensors(blocks), text_encoder_tensors(layers)
    write_component(folder / "transformer", "diffusion_pytorch_model.safetensors", dit, transformer_config(blocks))
    write_component(folder / "text_encoder", "model.safetensors", llm, text_config(layers))
    write_vae(folder / "vae")
    shutil.copytree(tokenizer, folder / "tokenizer")
    schedule = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 1.0}
    (folder / "scheduler").mkdir()
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(schedule))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "QwenImagePipeline"}))


def swap_matrices(source: Path, target: Path) -> None:
    """The same file with the MLPs of each block's two streams in each other's place: what wrong names would make of it."""
    state = load_file(source)
    swaps = ((".img_mlp.", ".?."), (".txt_mlp.", ".img_mlp."), (".?.", ".txt_mlp."))
    for old, new in swaps:
        state = {name.replace(old, new): tensor for name, tensor in state.items()}
    save_file(state, target, metadata={"format": "pt"})
