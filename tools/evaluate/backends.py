"""Two ways to make a picture: diffusers, and inkling's own command line."""

import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tools.train import export


class Diffusers:
    """The published pipelines over a local folder, in fp32 on the CPU or on a GPU."""

    def __init__(self, model: Path, steps: int | None = None, device: str = "cpu"):
        from diffusers import (AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, QwenImageEditPlusPipeline,
                               QwenImagePipeline, QwenImageTransformer2DModel)
        from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as plus
        from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

        about = json.loads((model / "inkling.json").read_text())
        self.defaults, self.steps, self.device = about["defaults"], steps or about["defaults"]["steps"], device
        plus.VAE_IMAGE_SIZE = about["vae_reference_area"]
        parts = dict(
            scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(model / "scheduler"),
            vae=AutoencoderKLQwenImage.from_pretrained(model / "vae", torch_dtype=torch.float32),
            text_encoder=Qwen2_5_VLForConditionalGeneration.from_pretrained(model / "text_encoder", dtype=torch.float32),
            tokenizer=Qwen2Tokenizer.from_pretrained(model / "tokenizer"),
            transformer=QwenImageTransformer2DModel.from_pretrained(model / "transformer", torch_dtype=torch.float32),
        )
        give_token_types(parts["text_encoder"])
        self.t2i = QwenImagePipeline(**parts).to(device)
        self.plus = QwenImageEditPlusPipeline(**parts, processor=export.build_processor(model / "processor")).to(device)
        for pipe in (self.t2i, self.plus):
            pipe.set_progress_bar_config(disable=True)

    def _options(self) -> dict:
        return dict(width=self.defaults["width"], height=self.defaults["height"], num_inference_steps=self.steps,
                    true_cfg_scale=1.0)

    def generate(self, prompts: list[str], seeds: list[int]) -> list[np.ndarray]:
        out = []
        for i in range(0, len(prompts), 8):
            generators = [torch.Generator("cpu").manual_seed(s) for s in seeds[i:i + 8]]
            out += self.t2i(prompts[i:i + 8], generator=generators, **self._options()).images
        return [np.asarray(p.convert("RGB")) for p in out]

    def edit(self, images: list[np.ndarray], prompts: list[str], seeds: list[int]) -> list[np.ndarray]:
        return [np.asarray(self.plus(Image.fromarray(image), prompt, generator=torch.Generator("cpu").manual_seed(seed),
                                     **self._options()).images[0].convert("RGB"))
                for image, prompt, seed in zip(images, prompts, seeds)]


def give_token_types(encoder) -> None:
    """The edit pipeline does not pass mm_token_type_ids; without them transformers 5 counts 0, 1, 2, ... on all three
    position rows, also through the picture. See the project's model reference."""
    original = encoder.forward

    def forward(*args, input_ids, **kwargs):
        if kwargs.get("image_grid_thw") is not None:
            kwargs["mm_token_type_ids"] = (input_ids == encoder.config.image_token_id).to(torch.int32)
        encoder.model.rope_deltas = None
        return original(*args, input_ids=input_ids, **kwargs)

    encoder.forward = forward


class Program:
    """inkling's command line, one process for each picture."""

    def __init__(self, model: Path, program: str, steps: int | None = None, extra: list[str] | None = None):
        self.base = ["--model", str(model), *(["--steps", str(steps)] if steps else []), *(extra or [])]
        self.program = program
        self.folder = Path(tempfile.mkdtemp(prefix="inkling-evaluate-"))

    def _run(self, command: list[str]) -> np.ndarray:
        out = self.folder / "out.png"
        done = subprocess.run([self.program, *command, *self.base, "-o", str(out), "--json"], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{self.program} {command[0]} failed: {done.stderr.strip()[-500:]}")
        return np.asarray(Image.open(out).convert("RGB"))

    def generate(self, prompts: list[str], seeds: list[int]) -> list[np.ndarray]:
        return [self._run(["generate", "-p", p, "--seed", str(s)]) for p, s in zip(prompts, seeds)]

    def edit(self, images: list[np.ndarray], prompts: list[str], seeds: list[int]) -> list[np.ndarray]:
        out = []
        for image, prompt, seed in zip(images, prompts, seeds):
            source = self.folder / "in.png"
            Image.fromarray(image).save(source)
            out.append(self._run(["edit", "-i", str(source), "-p", prompt, "--seed", str(seed)]))
        return out


def make(a):
    """From the options that the two commands share."""
    if a.backend == "diffusers":
        return Diffusers(a.model, a.steps, a.device)
    return Program(a.model, a.program, a.steps, a.extra)


def add_options(p) -> None:
    p.add_argument("--model", type=Path, default=Path("models/inkling-tiny"))
    p.add_argument("--scorer", type=Path, default=Path("models/inkling-scorer"))
    p.add_argument("--backend", choices=["program", "diffusers"], default="program")
    p.add_argument("--program", default="build/bin/inkling")
    p.add_argument("--extra", nargs=argparse_rest(), default=[], help="further options for the program")
    p.add_argument("--steps", type=int, help="default: the model's own")
    p.add_argument("--device", default="cpu", help="for diffusers")


def argparse_rest():
    import argparse

    return argparse.REMAINDER
