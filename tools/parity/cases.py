"""The golden cases: what each runs, and how its reference is computed."""

import contextlib
import json
import math
from pathlib import Path

import numpy as np
import torch
from diffusers import QwenImageEditPipeline, QwenImageEditPlusPipeline, QwenImagePipeline
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus
from PIL import Image, ImageDraw

import checkpoints
from trace import PipelineTrace, Recorder

PIPELINES = {p.__name__: p for p in (QwenImagePipeline, QwenImageEditPipeline, QwenImageEditPlusPipeline)}

PROMPT = "a cute panda with a red hat, 可爱的熊猫"
EDIT_PROMPT = "Replace the background with a sunny beach, 保持人物不变"


def picture(width, height, seed):
    """A deterministic picture with smooth areas, edges and noise."""
    rng = np.random.Generator(np.random.PCG64(seed))
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    base = np.stack(
        [
            127 + 120 * np.sin(x / width * 5 + seed),
            127 + 120 * np.cos(y / height * 7 + 2 * seed),
            255 * ((x + y) % 32 < 16),
        ],
        axis=-1,
    )
    base += rng.integers(-24, 25, size=base.shape)
    image = Image.fromarray(np.clip(base, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        a, b = sorted(rng.integers(0, width, 2).tolist()), sorted(rng.integers(0, height, 2).tolist())
        draw.rectangle([a[0], b[0], a[1], b[1]], outline=tuple(int(v) for v in rng.integers(0, 256, 3)))
    return image


class Context:
    """Where the files of a run go, and the components already loaded."""

    def __init__(self, root):
        self.root = Path(root)
        self.cache = {}

    def folder(self, case):
        folder = self.root / "cases" / case["name"]
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def pipeline(self, checkpoint, fresh=False):
        if fresh or checkpoint not in self.cache:
            name, components = checkpoints.load(checkpoints.write(checkpoint, self.root))
            pipe = PIPELINES[name](**components)
            pipe.set_progress_bar_config(disable=True)
            if fresh:
                return pipe
            self.cache[checkpoint] = pipe
        return self.cache[checkpoint]


@contextlib.contextmanager
def token_types(pipe):
    """Gives the text encoder the token types from which it builds the three position rows.

    The edit pipelines do not pass them, and the encoder then silently counts 0, 1, 2, ... on all rows.
    """
    encoder = pipe.text_encoder
    original = encoder.forward
    image_token = encoder.config.image_token_id

    def forward(*args, input_ids, **kwargs):
        if kwargs.get("image_grid_thw") is not None:
            kwargs["mm_token_type_ids"] = (input_ids == image_token).to(torch.int32)
        encoder.model.rope_deltas = None
        return original(*args, input_ids=input_ids, **kwargs)

    encoder.forward = forward
    try:
        yield
    finally:
        del encoder.forward


@contextlib.contextmanager
def areas(vae_area, vl_area):
    """Replaces the fixed picture areas of the edit pipelines."""
    plus, edit = pipeline_qwenimage_edit_plus, pipeline_qwenimage_edit
    saved = plus.VAE_IMAGE_SIZE, plus.CONDITION_IMAGE_SIZE, edit.calculate_dimensions
    plus.VAE_IMAGE_SIZE, plus.CONDITION_IMAGE_SIZE = vae_area, vl_area
    edit.calculate_dimensions = lambda area, ratio: saved[2](vae_area, ratio)
    try:
        yield
    finally:
        plus.VAE_IMAGE_SIZE, plus.CONDITION_IMAGE_SIZE, edit.calculate_dimensions = saved


@contextlib.contextmanager
def resized_pictures(pipe, recorder):
    """Records the bytes after each of the two resamplings of the vision-language pictures."""
    if not hasattr(pipe, "processor"):
        yield
        return
    lanczos, bicubic = pipe.image_processor.resize, pipe.processor.image_processor.resize
    counts = {"vl_image": 0, "vl_resized": 0}
    wanted = {"vl_image": math.inf, "vl_resized": 0}

    def record(name, array):
        if counts[name] < wanted[name]:
            recorder.add(f"{name}.{counts[name]}", np.asarray(array).astype(np.uint8))
            counts[name] += 1

    def first(image, *args, **kwargs):
        result = lanczos(image, *args, **kwargs)
        if not first.nested and isinstance(result, Image.Image):
            record("vl_image", result)
            wanted["vl_resized"] = counts["vl_image"]
        return result

    first.nested = False
    preprocess = pipe.image_processor.preprocess

    def vae_preprocess(*args, **kwargs):
        first.nested = True
        try:
            return preprocess(*args, **kwargs)
        finally:
            first.nested = False

    def second(image, *args, **kwargs):
        result = bicubic(image, *args, **kwargs)
        record("vl_resized", np.asarray(result).transpose(1, 2, 0))
        return result

    pipe.image_processor.resize, pipe.image_processor.preprocess = first, vae_preprocess
    pipe.processor.image_processor.resize = second
    try:
        yield
    finally:
        del pipe.image_processor.resize, pipe.image_processor.preprocess
        del pipe.processor.image_processor.resize


def write_case(context, case, recorder, keep=None):
    folder = context.folder(case)
    (folder / "case.json").write_text(json.dumps(case, indent=2, ensure_ascii=False) + "\n")
    recorder.save(folder / "trace.safetensors", keep)


def run_pipeline(context, case, pipe, recorder):
    """One prompt through a pipeline, traced; the picture is added as `image`."""
    arguments = {
        "prompt": case["prompt"],
        "negative_prompt": case.get("negative_prompt"),
        "true_cfg_scale": case["true_cfg_scale"],
        "width": case["width"],
        "height": case["height"],
        "num_inference_steps": case["steps"],
        "generator": torch.Generator("cpu").manual_seed(case["seed"]),
    }
    with contextlib.ExitStack() as stack:
        if case["task"] == "edit":
            pictures = [Image.open(context.root / path).convert("RGB") for path in case["images"]]
            plus = isinstance(pipe, QwenImageEditPlusPipeline)
            arguments["image"] = pictures if plus else pictures[0]
            stack.enter_context(token_types(pipe))
            stack.enter_context(areas(case["vae_area"], case["vl_area"]))
            stack.enter_context(resized_pictures(pipe, recorder))
        trace = stack.enter_context(PipelineTrace(pipe, recorder))
        image = pipe(**arguments).images[0]
        trace.finish()
    recorder.add("image", np.asarray(image))
    image.save(context.folder(case) / "image.png")


def base_case(name, checkpoint, **values):
    case = {
        "name": name,
        "task": "generate",
        "checkpoint": f"checkpoints/{checkpoint}",
        "prompt": PROMPT,
        "negative_prompt": None,
        "true_cfg_scale": 1.0,
        "width": 96,
        "height": 64,
        "steps": 3,
        "seed": 42,
        "rng": "torch-cpu",
        "noise_dtype": "float32",
        "compute_dtype": "float32",
    }
    case.update(values)
    return case


def generate(name, checkpoint="t2i", keep=None, **values):
    def run(context):
        case, recorder = base_case(name, checkpoint, **values), Recorder()
        run_pipeline(context, case, context.pipeline(checkpoint), recorder)
        write_case(context, case, recorder, keep)

    return name, run


def edit(name, sizes, checkpoint="edit2509", keep=None, **values):
    def run(context):
        options = {"prompt": EDIT_PROMPT, "negative_prompt": " ", "true_cfg_scale": 4.0, "width": 80, "height": 112,
                   "steps": 3, "vae_area": 96 * 96, "vl_area": 192 * 192, "image_processor": "pil"}  # fmt: skip
        options.update(values)
        case, recorder = base_case(name, checkpoint, task="edit", **options), Recorder()
        case["images"] = []
        for i, (width, height) in enumerate(sizes):
            path = context.folder(case) / f"input_{i}.png"
            picture(width, height, 10 * len(name) + i).save(path)
            case["images"].append(str(path.relative_to(context.root)))
        run_pipeline(context, case, context.pipeline(checkpoint), recorder)
        write_case(context, case, recorder, keep)

    return name, run


CASES = dict(
    [
        generate("t2i_plain"),
        generate("t2i_cfg", negative_prompt=" ", true_cfg_scale=4.0, seed=7),
        generate("t2i_odd", width=80, height=48, negative_prompt="blurry, low quality", true_cfg_scale=2.5, seed=1234),
        edit("edit2509_1ref", [(123, 77)]),
        edit("edit2509_2ref", [(123, 77), (64, 150)], seed=3, width=112, height=48),
        edit("edit2509_3ref", [(90, 60), (51, 111), (131, 131)], seed=4, negative_prompt=None, true_cfg_scale=1.0),
        edit("edit2511", [(77, 123), (150, 64)], checkpoint="edit2511", seed=5),
        edit("edit_august", [(123, 77)], checkpoint="edit", seed=6, vae_area=192 * 192, vl_area=192 * 192),
    ]
)
