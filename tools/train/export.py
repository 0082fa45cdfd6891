"""Stage `export`: carry trained weights into the diffusers / transformers classes and save the model folder.

Every component is compared with its training twin on random input before it is written.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch

from . import config as C
from . import nets
from . import templates as T


def vae_class_state(vae: nets.Vae, template: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """2-D kernels into the last temporal slice of the causal 3-D ones; everything else temporal stays zero."""
    source = vae.state_dict()
    out = {}
    for name, want in template.items():
        if ".time_conv." in name:
            out[name] = torch.zeros_like(want)
            continue
        value = source[name].float()
        if value.shape != want.shape:
            if value.dim() == 4 and want.dim() == 5:
                full = torch.zeros_like(want)
                full[:, :, -1] = value
                value = full
            else:
                value = value.reshape(want.shape)
        out[name] = value
    return out


def build_vae(vae: nets.Vae):
    from diffusers import AutoencoderKLQwenImage

    twin = AutoencoderKLQwenImage(
        **C.VAE, latents_mean=[round(float(v), 5) for v in vae.latents_mean],
        latents_std=[round(float(v), 5) for v in vae.latents_std])
    twin.load_state_dict(vae_class_state(vae, twin.state_dict()))
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        mean, _ = vae.moments(x)
        close("vae encoder", twin.encode(x[:, :, None]).latent_dist.mode()[:, :, 0], mean)
        close("vae decoder", twin.decode(mean[:, :, None]).sample[:, :, 0], vae.decode_raw(mean).clamp(-1, 1))
    return twin


def build_dit(dit: nets.Dit):
    from diffusers import QwenImageTransformer2DModel

    twin = QwenImageTransformer2DModel(**C.DIT)
    twin.load_state_dict(dit.state_dict())
    text = torch.randn(2, 20, C.DIT["joint_attention_dim"])
    mask = torch.arange(20)[None] < torch.tensor([20, 13])[:, None]
    sigma = torch.tensor([0.9, 0.3])
    for images in (1, 2):
        x = torch.randn(2, images * C.GRID ** 2, 64)
        with torch.no_grad():
            want = twin(hidden_states=x, encoder_hidden_states=text, encoder_hidden_states_mask=mask, timestep=sigma,
                        img_shapes=[[(1, C.GRID, C.GRID)] * images] * 2, return_dict=False)[0][:, :C.GRID ** 2]
            close(f"dit, {images} pictures", want, dit(x, text, mask, sigma, images))
    return twin


def text_config(tokenizer_dir: Path) -> dict:
    ids = json.loads((tokenizer_dir / "added_tokens.json").read_text())
    return dict(ids=ids, vocab=C.vocab_size(tokenizer_dir))


def build_text_encoder(te: nets.TextEncoder, tokenizer_dir: Path):
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    info = text_config(tokenizer_dir)
    ids, text = info["ids"], dict(C.TEXT)
    theta, section = text.pop("rope_theta"), text.pop("mrope_section")
    config = Qwen2_5_VLConfig(
        text_config=dict(
            **text, vocab_size=info["vocab"], hidden_act="silu", use_sliding_window=False, tie_word_embeddings=True,
            bos_token_id=ids["<|endoftext|>"], eos_token_id=ids["<|im_end|>"], pad_token_id=ids["<|endoftext|>"],
            rope_parameters={"rope_type": "default", "rope_theta": theta, "mrope_section": section}),
        vision_config=dict(C.VISION, hidden_act="silu", in_channels=3),
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    twin = Qwen2_5_VLForConditionalGeneration(config).eval()
    missing, unexpected = twin.load_state_dict(te.state_dict(), strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    twin.tie_weights()
    generation = twin.generation_config
    generation.bos_token_id, generation.eos_token_id = ids["<|endoftext|>"], ids["<|im_end|>"]
    generation.pad_token_id = ids["<|endoftext|>"]
    return twin


def build_processor(folder: Path):
    """Qwen2VLProcessor without its video part, whose class needs torchvision."""
    from transformers import Qwen2Tokenizer, Qwen2VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
    from transformers.processing_utils import ProcessorMixin

    class ImageProcessorOnly(Qwen2VLProcessor):
        def __init__(self, image_processor=None, tokenizer=None, chat_template=None, **kwargs):
            self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
            self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
            self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
            ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

        @classmethod
        def get_attributes(cls):
            return ["image_processor", "tokenizer"]

    return ImageProcessorOnly(Qwen2VLImageProcessorPil.from_pretrained(folder), Qwen2Tokenizer.from_pretrained(folder))


def check_text_encoder(te: nets.TextEncoder, twin, processor, tokenizer_dir: Path) -> None:
    from PIL import Image
    import numpy as np
    from .prompts import Prompts, vl_picture

    prompts = Prompts(tokenizer_dir)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)).resize((256, 256))
    with torch.no_grad():
        ids, n = prompts.t2i("蓝色的小象在吹泡泡")
        mine = te(torch.tensor(ids)[None].long())[0, :n]
        tokens = processor.tokenizer(T.t2i_text("蓝色的小象在吹泡泡"), return_tensors="pt")
        theirs = twin(**tokens, output_hidden_states=True).hidden_states[-1][0, T.T2I_DROP:]
        close("text encoder", theirs, mine)
        ids, n = prompts.edit("将背景改为纯白")
        mine = te(torch.tensor(ids)[None].long(), torch.tensor(vl_picture(picture))[None])[0, :n]
        inputs = processor(text=[T.edit_text("将背景改为纯白")], images=[picture.resize((384, 384), Image.LANCZOS)],
                           return_tensors="pt")
        assert "mm_token_type_ids" in inputs, "without them transformers 5 gives the picture flat positions"
        theirs = twin(**inputs, output_hidden_states=True).hidden_states[-1][0, T.EDIT_DROP:]
        # the processor's bicubic rounds differently in a few pixels of a thousand
        close("text encoder with picture", theirs, mine, 2e-2)


def close(what: str, a: torch.Tensor, b: torch.Tensor, tol: float = 2e-4) -> None:
    error = ((a.float() - b.float()).norm() / b.float().norm().clamp_min(1e-9)).item()
    print(f"  {what}: relative difference {error:.1e}")
    assert a.shape == b.shape and error < tol, (what, a.shape, b.shape, error)


def export(out: Path, vae: nets.Vae, te: nets.TextEncoder, dit: nets.Dit, about: dict) -> None:
    tokenizer_dir = out / "tokenizer"
    twin_te = build_text_encoder(te, tokenizer_dir)
    save_processor(tokenizer_dir, out / "processor")
    processor = build_processor(out / "processor")
    check_text_encoder(te, twin_te, processor, tokenizer_dir)
    build_vae(vae).to(torch.bfloat16).save_pretrained(out / "vae")
    build_dit(dit).to(torch.bfloat16).save_pretrained(out / "transformer")
    twin_te.to(torch.bfloat16).save_pretrained(out / "text_encoder")
    write_json(out / "scheduler" / "scheduler_config.json", {"_class_name": "FlowMatchEulerDiscreteScheduler", **C.SCHEDULER})
    write_json(out / "model_index.json", {
        "_class_name": "QwenImageEditPlusPipeline", "_diffusers_version": "0.36.0",
        "processor": ["transformers", "Qwen2VLProcessor"],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen2_5_VLForConditionalGeneration"],
        "tokenizer": ["transformers", "Qwen2Tokenizer"],
        "transformer": ["diffusers", "QwenImageTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKLQwenImage"],
    })
    write_json(out / "inkling.json", about)


def save_processor(tokenizer_dir: Path, folder: Path) -> None:
    """The published layout: one preprocessor_config.json beside the tokenizer's own files."""
    shutil.copytree(tokenizer_dir, folder, dirs_exist_ok=True)
    write_json(folder / "preprocessor_config.json", {
        "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2VLProcessor",
        "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True, "resample": 3,
        "rescale_factor": 1 / 255, "image_mean": list(nets.Vision.MEAN), "image_std": list(nets.Vision.STD),
        "min_pixels": 56 * 56, "max_pixels": C.VL_MAX_PIXELS,
        "size": {"shortest_edge": 56 * 56, "longest_edge": C.VL_MAX_PIXELS},
        "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2,
    })


def write_json(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
