"""Writers of the other published weight layouts: single files, Wan VAE names, GGUF and LoRA files."""

import json
import re

import gguf
import numpy as np
import torch
from gguf.constants import GGML_QUANT_SIZES
from safetensors.torch import save_file

# VAE names


def wan_name(name):
    """diffusers VAE tensor name -> Wan / ComfyUI name."""
    plain = {
        "quant_conv": "conv1", "post_quant_conv": "conv2",
        "encoder.conv_in": "encoder.conv1", "encoder.norm_out": "encoder.head.0", "encoder.conv_out": "encoder.head.2",
        "decoder.conv_in": "decoder.conv1", "decoder.norm_out": "decoder.head.0", "decoder.conv_out": "decoder.head.2",
    }  # fmt: skip
    module, leaf = name.rsplit(".", 1)
    if module in plain:
        return f"{plain[module]}.{leaf}"
    rules = [
        (r"^(encoder|decoder)\.mid_block\.resnets\.(\d)\.", lambda m: f"{m[1]}.middle.{2 * int(m[2])}."),
        (r"^(encoder|decoder)\.mid_block\.attentions\.0\.", lambda m: f"{m[1]}.middle.1."),
        (r"^encoder\.down_blocks\.(\d+)\.", lambda m: f"encoder.downsamples.{m[1]}."),
        (r"^decoder\.up_blocks\.(\d)\.resnets\.(\d)\.", lambda m: f"decoder.upsamples.{4 * int(m[1]) + int(m[2])}."),
        (r"^decoder\.up_blocks\.(\d)\.upsamplers\.0\.", lambda m: f"decoder.upsamples.{4 * int(m[1]) + 3}."),
    ]
    out = name + ""
    for pattern, replacement in rules:
        out = re.sub(pattern, replacement, out)
    for old, new in (("norm1.gamma", "residual.0.gamma"), ("norm2.gamma", "residual.3.gamma"),
                     ("conv_shortcut.", "shortcut.")):  # fmt: skip
        out = out.replace(old, new)
    out = re.sub(r"\.conv1\.(weight|bias)$", r".residual.2.\1", out)
    return re.sub(r"\.conv2\.(weight|bias)$", r".residual.6.\1", out)


def wan_state(vae):
    state = {wan_name(k): v for k, v in vae.state_dict().items()}
    if len(state) != len(vae.state_dict()):
        raise RuntimeError("the Wan names are not unique")
    return state


# single files


def text_encoder_state(model, lm_head=True):
    """The text encoder under the names of the published files."""
    out = {}
    for name, tensor in model.state_dict().items():
        if name.startswith("model.language_model."):
            name = "model." + name.removeprefix("model.language_model.")
        elif name.startswith("model.visual."):
            name = name.removeprefix("model.")
        if lm_head or not name.startswith("lm_head."):
            out[name] = tensor
    return out


def save_state(path, state, prefix="", dtype=None, metadata=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {prefix + k: (v if dtype is None else v.to(dtype)).clone().contiguous() for k, v in state.items()}
    save_file(tensors, path, metadata=metadata)
    return tensors


def fp8_state(state, style, keep=lambda name: False):
    """ComfyUI's fp8 layouts for the 2-D weights; returns (tensors of the file, metadata, values a reader obtains).

    plain: a cast without scales; scaled: `scale_weight` beside each weight and the `scaled_fp8` marker; scaled-input: the
    same with `scale_input`, which only matters for fp8 products; new: `weight_scale` and a JSON `comfy_quant` tensor, also
    announced in the metadata.
    """
    out, values, layers = {}, {}, {}
    for name, tensor in state.items():
        tensor = tensor.float()
        if tensor.dim() != 2 or keep(name):
            out[name] = tensor.to(torch.bfloat16)
            values[name] = out[name].float()
            continue
        module = name.removesuffix(".weight")
        scale = torch.tensor(1.0) if style == "plain" else tensor.abs().max() / 448
        out[name] = (tensor / scale).to(torch.float8_e4m3fn)
        values[name] = out[name].float() * scale
        if style.startswith("scaled"):
            out[f"{module}.scale_weight"] = scale.float()
            if style == "scaled-input":
                out[f"{module}.scale_input"] = torch.tensor(0.125)
        elif style == "new":
            out[f"{module}.weight_scale"] = scale.float()
            quant = json.dumps({"format": "float8_e4m3fn"}).encode()
            out[f"{module}.comfy_quant"] = torch.frombuffer(bytearray(quant), dtype=torch.uint8)
            layers[module] = {"format": "float8_e4m3fn"}
    metadata = None
    if style.startswith("scaled"):
        out["scaled_fp8"] = torch.zeros(0 if style == "scaled" else 2, dtype=torch.float8_e4m3fn)
    elif style == "new":
        metadata = {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": layers})}
    return out, metadata, values


ALL_IN_ONE = {"transformer": "model.diffusion_model.", "text_encoder": "text_encoders.qwen25_7b.transformer.",
              "vae": "vae."}  # fmt: skip
ZERO_COND_MARKER = "__index_timestep_zero__"

# GGUF

TYPES = gguf.GGMLQuantizationType


def add_quantized(writer, name, values, kind):
    """Adds one tensor in the given type and returns what a reader gets back."""
    values = np.ascontiguousarray(values, dtype=np.float32)
    if kind == TYPES.F32:
        writer.add_tensor(name, values)
        return values
    if kind == TYPES.F16:
        half = values.astype(np.float16)
        writer.add_tensor(name, half)
        return half.astype(np.float32)
    raw = gguf.quants.quantize(values, kind)
    writer.add_tensor(name, raw, raw_dtype=kind)
    return gguf.quants.dequantize(raw, kind).reshape(values.shape).astype(np.float32)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def dit_gguf(path, model, choose, prefix="", architecture=True, reshaped=()):
    """A DiT file; `choose(name, tensor)` names the type.  Returns the state a reader must end up with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "qwen_image" if architecture else "unknown")
    if not architecture:
        writer.kv_data[0].pop("general.architecture", None)
    writer.add_quantization_version(2)
    writer.add_file_type(7)
    state = {}
    for name, tensor in model.state_dict().items():
        values = tensor.float().numpy()
        shape = values.shape
        if name in reshaped:
            writer.add_array(f"comfy.gguf.orig_shape.{prefix}{name}", [int(n) for n in shape])
            values = values.reshape(-1, reshaped[name])
        back = add_quantized(writer, prefix + name, values, choose(name, tensor))
        state[name] = torch.from_numpy(np.array(back.reshape(shape)))
    finish(writer)
    return state


TEXT_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip
VISION_NAMES = {
    "norm1": "ln1", "norm2": "ln2", "attn.proj": "attn_out", "attn.qkv": "attn_qkv", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def text_gguf_name(name):
    module, leaf = name.rsplit(".", 1)
    if module == "lm_head":
        return f"output.{leaf}"
    if module == "model.embed_tokens":
        return f"token_embd.{leaf}"
    if module == "model.norm":
        return f"output_norm.{leaf}"
    _, _, layer, rest = module.split(".", 3)
    return f"blk.{layer}.{TEXT_NAMES[rest]}.{leaf}"


def text_gguf(path, model, choose, tokens, lm_head=True):
    """The language model under llama.cpp names; returns the resulting (published-name) state of its tensors."""
    config = model.config.text_config
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "qwen2vl")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_sections([*config.rope_parameters["mrope_section"], 0])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    names = {i: t for t, i in {**tokens.vocab, **tokens.special}.items()}
    writer.add_token_list([names.get(i, f"[PAD{i}]") for i in range(tokens.rows)])
    writer.add_token_types([1 if i < tokens.base else 3 if i in names else 5 for i in range(tokens.rows)])
    writer.add_token_merges([f"{a} {b}" for a, b in tokens.merges])
    writer.add_eos_token_id(tokens.special["<|im_end|>"])
    writer.add_pad_token_id(tokens.special["<|endoftext|>"])
    writer.add_quantization_version(2)
    state = {}
    for name, tensor in text_encoder_state(model, lm_head).items():
        if name.startswith("visual."):
            continue
        back = add_quantized(writer, text_gguf_name(name), tensor.float().numpy(), choose(name, tensor))
        state[name] = torch.from_numpy(np.array(back))
    finish(writer)
    return state


def mmproj_gguf(path, model, choose, fused_qkv=False):
    """The vision tower as llama.cpp's projector file; returns the resulting (published-name) state."""
    config = model.config.vision_config
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_string("clip.projector_type", "qwen2.5vl_merger")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_bool("clip.use_silu", True)
    writer.add_uint32("clip.vision.patch_size", config.patch_size)
    writer.add_uint32("clip.vision.embedding_length", config.hidden_size)
    writer.add_uint32("clip.vision.feed_forward_length", config.intermediate_size)
    writer.add_uint32("clip.vision.block_count", config.depth)
    writer.add_uint32("clip.vision.attention.head_count", config.num_heads)
    writer.add_uint32("clip.vision.projection_dim", config.out_hidden_size)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    writer.add_uint32("clip.vision.n_wa_pattern", config.fullatt_block_indexes[0] + 1)
    writer.add_array("clip.vision.image_mean", [0.48145466, 0.4578275, 0.40821073])
    writer.add_array("clip.vision.image_std", [0.26862954, 0.26130258, 0.27577711])
    state = {}

    def add(target, source, values):
        return add_quantized(writer, target, values, choose(source, torch.from_numpy(np.array(values))))

    for name, tensor in text_encoder_state(model).items():
        if not name.startswith("visual."):
            continue
        values = tensor.float().numpy()
        short = name.removeprefix("visual.")
        module, leaf = short.rsplit(".", 1)
        if module == "patch_embed.proj":
            first = add("v.patch_embd.weight", name, values[:, :, 0])
            second = add("v.patch_embd.weight.1", name, values[:, :, 1])
            back = np.stack([first, second], axis=2)
        elif module == "merger.ln_q":
            back = add(f"v.post_ln.{leaf}", name, values)
        elif module.startswith("merger.mlp."):
            back = add(f"mm.{module.rsplit('.', 1)[1]}.{leaf}", name, values)
        else:
            _, block, rest = module.split(".", 2)
            if rest == "attn.qkv" and not fused_qkv:
                parts = np.split(values, 3)
                back = np.concatenate([
                    add(f"v.blk.{block}.attn_{letter}.{leaf}", name, part) for letter, part in zip("qkv", parts)
                ])  # fmt: skip
            else:
                back = add(f"v.blk.{block}.{VISION_NAMES[rest]}.{leaf}", name, values)
        state[name] = torch.from_numpy(np.array(back))
    finish(writer)
    return state


# byte offsets of the fp16 scale fields of a block; the other bytes may take any value
RAW_TYPES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "IQ4_NL": [0], "IQ4_XS": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}  # fmt: skip


def raw_blocks(kind, rows, columns, seed):
    """Random bytes with finite scales, as [rows, bytes per row]."""
    per_block, size = GGML_QUANT_SIZES[TYPES[kind]]
    rng = np.random.Generator(np.random.PCG64(seed))
    blocks = rng.integers(0, 256, size=(rows, columns // per_block, size), dtype=np.uint8)
    for offset in RAW_TYPES[kind]:
        scale = (rng.standard_normal(blocks.shape[:2]) * 0.02).astype(np.float16)
        blocks[:, :, offset : offset + 2] = scale[..., None].view(np.uint8)
    return blocks.reshape(rows, -1)


def raw_gguf(path, rows=4, columns=512):
    """Every block type with random contents, and F16/BF16 with special values; returns the expected fp32 tensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "qwen_image")
    writer.add_quantization_version(2)
    expected = {}
    for seed, kind in enumerate(RAW_TYPES):
        raw = raw_blocks(kind, rows, columns, seed)
        writer.add_tensor(kind, raw, raw_dtype=TYPES[kind])
        expected[kind] = gguf.quants.dequantize(raw, TYPES[kind]).astype(np.float32)
    values = np.random.Generator(np.random.PCG64(99)).standard_normal((rows, columns), dtype=np.float32)
    values[0, :8] = [0.0, -0.0, 6.0e-8, -6.0e-8, 65504.0, 1e-5, 3.0e-5, -65504.0]  # includes fp16 subnormals
    expected["F32"] = add_quantized(writer, "F32", values, TYPES.F32)
    expected["F16"] = add_quantized(writer, "F16", values, TYPES.F16)
    expected["BF16"] = add_quantized(writer, "BF16", values, TYPES.BF16)
    finish(writer)
    return {k: torch.from_numpy(np.array(v)) for k, v in expected.items()}


# LoRA

BLOCK_MODULES = [
    "attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj",
    "attn.to_add_out", "img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj", "txt_mlp.net.2", "img_mod.1",
    "txt_mod.1",
]  # fmt: skip
TOP_MODULES = [
    "img_in", "txt_in", "proj_out", "norm_out.linear", "time_text_embed.timestep_embedder.linear_1",
    "time_text_embed.timestep_embedder.linear_2",
]  # fmt: skip


def lora_modules(model, top=True):
    blocks = range(len(model.transformer_blocks))
    return [f"transformer_blocks.{b}.{m}" for b in blocks for m in BLOCK_MODULES] + (TOP_MODULES if top else [])


def lora_pairs(model, modules, rank, seed, dtype):
    """{module: (down [r, in], up [out, r])} with a noticeable effect."""
    pairs = {}
    for i, module in enumerate(modules):
        out_features, in_features = model.get_submodule(module).weight.shape
        rng = np.random.Generator(np.random.PCG64([seed, i]))
        down = rng.standard_normal((rank, in_features), dtype=np.float32) / np.float32(in_features**0.5)
        up = rng.standard_normal((out_features, rank), dtype=np.float32) * np.float32(0.4 / rank**0.5)
        pairs[module] = torch.from_numpy(down).to(dtype), torch.from_numpy(up).to(dtype)
    return pairs


def save_lora(path, pairs, style, alpha=None):
    """Writes one of the published key styles; `alpha` is a number per file or None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state, metadata = {}, {"format": "pt"}
    for i, (module, (down, up)) in enumerate(pairs.items()):
        flat = module.replace(".", "_")
        stem, names = {
            "diffusers": (f"transformer.{module}", ("lora_A.weight", "lora_B.weight")),
            "peft-default": (f"transformer.{module}", ("lora_A.default.weight", "lora_B.default.weight")),
            "comfy": (f"diffusion_model.{module}", ("lora_A.weight", "lora_B.weight")),
            "lightning": (module, ("lora_down.weight", "lora_up.weight")),
            "kohya": (f"lora_unet_{flat}", ("lora_down.weight", "lora_up.weight")),
            "lycoris": (f"lycoris_{flat}", ("lora_down.weight", "lora_up.weight")),
        }[style]
        state[f"{stem}.{names[0]}"], state[f"{stem}.{names[1]}"] = down.contiguous(), up.contiguous()
        if alpha is not None:
            state[f"{stem}.alpha"] = torch.tensor(float(alpha))
    if style == "kohya":
        metadata = {"ss_network_args": json.dumps({})}  # one key only: the writer keeps no order
    save_file(state, path, metadata=metadata)


@torch.no_grad()
def merge_lora(model, pairs, alpha, strength):
    """W += strength * (alpha / rank) * up @ down; no alpha means a factor of one."""
    for module, (down, up) in pairs.items():
        factor = strength * (1.0 if alpha is None else alpha / down.shape[0])
        model.get_submodule(module).weight += factor * (up.float() @ down.float())
