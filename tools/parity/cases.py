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
import formats
import quantized
import tokenizer as tiny_tokenizer
from trace import BatchTrace, PipelineTrace, Recorder, trace_transformer

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

    def __init__(self, root, pictures=True):
        self.root = Path(root)
        self.pictures = pictures  # also write results as PNG
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
    if context.pictures:
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


def heavy(name):
    """Drops the vision and VAE-encoder interiors, which are large for pictures of the real size."""
    return not name.startswith(("vae.encoder.", "visual.blocks", "vae_image"))


def batch(name, prompts, checkpoint="t2i", keep=None, **values):
    """Several prompts in one call with one generator each; per-image results carry the image number as suffix."""

    def run(context):
        case, recorder = base_case(name, checkpoint, **values), Recorder()
        del case["prompt"], case["seed"]
        case["prompts"] = prompts
        case["seeds"] = [11 * (i + 1) for i in range(len(prompts))]
        pipe = context.pipeline(checkpoint)
        with contextlib.ExitStack() as stack:
            stack.enter_context(BatchTrace(pipe, recorder))
            negative = case["negative_prompt"]
            images = pipe(
                prompt=prompts,
                negative_prompt=None if negative is None else [negative] * len(prompts),
                true_cfg_scale=case["true_cfg_scale"],
                width=case["width"],
                height=case["height"],
                num_inference_steps=case["steps"],
                generator=[torch.Generator("cpu").manual_seed(s) for s in case["seeds"]],
            ).images
        recorder.add("sigmas", pipe.scheduler.sigmas)
        for i, image in enumerate(images):
            recorder.add(f"image.{i}", np.asarray(image))
            if context.pictures:
                image.save(context.folder(case) / f"image_{i}.png")
        write_case(context, case, recorder, keep)

    return name, run


def replace_state(module, state):
    missing, unexpected = module.load_state_dict(state, strict=False)
    if unexpected:
        raise RuntimeError(f"unexpected tensors {unexpected[:3]}")
    return missing


def fresh_component(checkpoint, part, seed, dtype=torch.float32, **extra):
    """A component of a checkpoint's shape with other weights than the checkpoint has."""
    spec = checkpoints.SPECS[checkpoint]
    if part == "transformer":
        model = checkpoints.build_transformer(spec, seed, dtype, **extra)
    elif part == "vae":
        model = checkpoints.build_vae(spec, seed, dtype)
    else:
        model = checkpoints.build_text_encoder(spec, tiny_tokenizer.TinyTokenizer(), seed, dtype)
    return model


def load_text(model, state):
    """Loads tensors with published names into the text encoder."""

    def inner(name):
        if name.startswith("visual."):
            return "model." + name
        return name if name.startswith("lm_head.") else "model.language_model." + name.removeprefix("model.")

    replace_state(model, {inner(k): v for k, v in state.items()})


def with_files(name, write, checkpoint="t2i", pictures=None, **values):
    """A run whose weights come from other files: `write(folder, pipe)` writes them, puts the weights that a reader must
    obtain into the pipeline and returns the entries of case.json."""
    maker = edit if pictures else generate

    def run(context):
        pipe = context.pipeline(checkpoint, fresh=True)
        folder = context.root / "cases" / name / "files"
        entries = write(folder, pipe)
        relative = lambda v: str(v.relative_to(context.root)) if isinstance(v, Path) else v  # noqa: E731
        entries = {k: relative(v) for k, v in entries.items()}
        for lora in entries.get("loras", []):
            lora["path"] = relative(lora["path"])
        local = Context(context.root, context.pictures)
        local.cache[checkpoint] = pipe
        arguments = (name, pictures) if pictures else (name,)
        maker(*arguments, checkpoint=checkpoint, **{**values, **entries})[1](local)

    return name, run


def lora(name, style, rank, alpha, strength, dtype, top=True, check=True, **values):
    def write(folder, pipe):
        model = pipe.transformer
        pairs = formats.lora_pairs(model, formats.lora_modules(model, top), rank, len(name), dtype)
        path = folder / "lora.safetensors"
        formats.save_lora(path, pairs, style, alpha)
        library = None
        if check:  # the library's own loader must agree with the merge rule
            library = _library_lora_output(pipe, path, strength)
        formats.merge_lora(model, pairs, alpha, strength)
        if library is not None:
            error = (library - _probe(model)).norm() / library.norm()
            if error > 2e-5:
                raise RuntimeError(f"{name}: the merged weights differ from the library's by {error:.1e}")
        return {"loras": [{"path": path, "scale": strength}]}

    return with_files(name, write, **values)


def _probe(model):
    """One transformer forward on fixed inputs."""
    generator = torch.Generator().manual_seed(0)
    config = model.config
    return model(
        hidden_states=torch.randn(1, 24, config.in_channels, generator=generator),
        encoder_hidden_states=torch.randn(1, 9, config.joint_attention_dim, generator=generator),
        timestep=torch.tensor([0.7]),
        img_shapes=[[(1, 4, 6)]],
        return_dict=False,
    )[0]


def _library_lora_output(pipe, path, strength):
    pipe.load_lora_weights(str(path), adapter_name="x")
    pipe.set_adapters("x", strength)
    result = _probe(pipe.transformer)
    pipe.unload_lora_weights()
    return result


def write_single(folder, pipe, together=False, dtype=torch.bfloat16, name="t2i", lm_head=True):
    """ComfyUI-style files with new weights for all three models."""
    parts = {k: fresh_component(name, k, 100, dtype) for k in ("transformer", "text_encoder", "vae")}
    states = {
        "transformer": parts["transformer"].state_dict(),
        "text_encoder": formats.text_encoder_state(parts["text_encoder"], lm_head),
        "vae": formats.wan_state(parts["vae"]),
    }
    replace_state(pipe.transformer, parts["transformer"].state_dict())
    replace_state(pipe.vae, parts["vae"].state_dict())
    replace_state(pipe.text_encoder, parts["text_encoder"].state_dict())
    if together:
        path = folder / "all_in_one.safetensors"
        merged = {formats.ALL_IN_ONE[part] + k: v for part, state in states.items() for k, v in state.items()}
        formats.save_state(path, merged)
        return {part: path for part in states}
    for part, state in states.items():
        formats.save_state(folder / f"{part}.safetensors", state)
    return {part: folder / f"{part}.safetensors" for part in states}


def write_fp8(part, style):
    """One model as a ComfyUI fp8 file; the outer matrices of the transformer stay in bf16."""

    def keep(name):
        return part == "transformer" and not name.startswith("transformer_blocks.") or "embed_tokens" in name

    def write(folder, pipe):
        model = fresh_component("t2i", part, 105)
        state = model.state_dict() if part == "transformer" else formats.text_encoder_state(model)
        tensors, metadata, values = formats.fp8_state(state, style, keep)
        path = folder / f"{part}.safetensors"
        formats.save_state(path, tensors, metadata=metadata)
        if part == "transformer":
            replace_state(pipe.transformer, values)
        else:
            load_text(pipe.text_encoder, values)
        return {part: path}

    return write


def write_quantized(part, style, name="t2i", **options):
    """One model as a bitsandbytes or ComfyUI int8 file; what lies outside the blocks stays in bf16."""

    def keep(tensor):
        return part == "transformer" and not tensor.startswith("transformer_blocks.") or "embed_tokens" in tensor

    def write(folder, pipe):
        model = fresh_component(name, part, 106)
        state = model.state_dict() if part == "transformer" else formats.text_encoder_state(model)
        tensors, metadata, values = quantized.state(state, style, keep, **options)
        path = folder / f"{part}.safetensors"
        formats.save_state(path, tensors, metadata=metadata)
        if part == "transformer":
            replace_state(pipe.transformer, values)
        else:
            load_text(pipe.text_encoder, values)
        return {part: path}

    return write


def quantized_tensors(name):
    """One matrix in each layout, to be dequantised."""

    def run(context):
        case, recorder = {"name": name, "task": "quantized_tensors"}, Recorder()
        path = context.folder(case) / "tensors.safetensors"
        for tensor, values in quantized.mixed_file(path).items():
            recorder.add(tensor, values)
        case["file"] = str(path.relative_to(context.root))
        write_case(context, case, recorder)

    return name, run


def write_marked(folder, pipe, name="edit2509"):
    """An Edit-2511 single file, recognised by its marker tensor only: the checkpoint's own config has no flag."""
    model = fresh_component(name, "transformer", 101, torch.bfloat16, zero_cond_t=True)
    state = {**model.state_dict(), formats.ZERO_COND_MARKER: torch.zeros(0, dtype=torch.bfloat16)}
    path = folder / "dit.safetensors"
    formats.save_state(path, state)
    pipe.register_modules(transformer=model.float())
    return {"transformer": path}


def _published_mix(name, tensor):
    """The types of a published Q8_0 file: vectors fp32, the six outer matrices bf16."""
    T = formats.TYPES
    if tensor.dim() < 2:
        return T.F32
    return T.Q8_0 if name.startswith("transformer_blocks.") else T.BF16


def _dynamic_mix(name, tensor):
    T = formats.TYPES
    if tensor.dim() < 2:
        return T.F32
    kinds = (T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.F16, T.BF16)
    return kinds[sum(name.encode()) % len(kinds)]


def write_gguf_dit(choose, name="t2i", **options):
    def write(folder, pipe):
        model = fresh_component(name, "transformer", 102)
        path = folder / "dit.gguf"
        replace_state(pipe.transformer, formats.dit_gguf(path, model, choose, **options))
        return {"transformer": path}

    return write


def write_gguf_text(choose, name="t2i", **options):
    def write(folder, pipe):
        model = fresh_component(name, "text_encoder", 103)
        path = folder / "text.gguf"
        load_text(pipe.text_encoder, formats.text_gguf(path, model, choose, tiny_tokenizer.TinyTokenizer(), **options))
        return {"text_encoder": path}

    return write


def write_gguf_vision(fused, name="edit2509", lm_head=True):
    def write(folder, pipe):
        T = formats.TYPES
        choose = lambda name, tensor: T.F32 if tensor.dim() < 2 else T.F16  # noqa: E731
        model = fresh_component(name, "text_encoder", 104)
        text, vision = folder / "text.gguf", folder / "mmproj.gguf"
        load_text(pipe.text_encoder, formats.text_gguf(text, model, choose, tiny_tokenizer.TinyTokenizer(), lm_head))
        load_text(pipe.text_encoder, formats.mmproj_gguf(vision, model, choose, fused))
        return {"text_encoder": text, "mmproj": vision}

    return write


def gguf_tensors(name, **size):
    """Dequantisation only: every tensor of the file against its fp32 values."""

    def run(context):
        case, recorder = {"name": name, "task": "gguf_tensors"}, Recorder()
        path = context.folder(case) / "tensors.gguf"
        for key, value in formats.raw_gguf(path, **size).items():
            recorder.add(key, value)
        case["file"] = str(path.relative_to(context.root))
        write_case(context, case, recorder)

    return name, run


def transformer_only(name, shapes, spec, text_tokens=19, timestep=0.6875, additional=None):
    """One transformer forward on given inputs (`input.*` in the trace) with its own checkpoint folder."""

    def run(context):
        folder = context.root / "checkpoints" / name
        if not (folder / "transformer" / "config.json").exists():
            seed = len(name) * 1000 + 1
            checkpoints.build_transformer(spec, seed, torch.bfloat16).save_pretrained(folder / "transformer")
            (folder / "transformer" / "diffusion_pytorch_model.safetensors").chmod(0o644)
        model = checkpoints.QwenImageTransformer2DModel.from_pretrained(
            folder / "transformer", torch_dtype=torch.float32
        ).eval()
        tokens = sum(f * h * w for f, h, w in shapes)
        generator = torch.Generator().manual_seed(17)
        image = torch.randn(1, tokens, model.config.in_channels, generator=generator)
        text = torch.randn(1, text_tokens, model.config.joint_attention_dim, generator=generator)
        recorder, handles = Recorder(), []
        hook = lambda m, f: handles.append(m.register_forward_hook(f, with_kwargs=True))  # noqa: E731
        trace_transformer(model, recorder, hook, lambda: True)
        extra = {} if additional is None else {"additional_t_cond": torch.tensor([additional])}
        model(hidden_states=image, encoder_hidden_states=text, timestep=torch.tensor([timestep]),
              img_shapes=[shapes], **extra)  # fmt: skip
        for handle in handles:
            handle.remove()
        recorder.add("input.hidden_states", image[0])
        recorder.add("input.encoder_hidden_states", text[0])
        case = {
            "name": name, "task": "transformer", "checkpoint": f"checkpoints/{name}", "img_shapes": shapes,
            "timestep": 1000 * timestep, "additional_t_cond": additional, "compute_dtype": "float32",
        }  # fmt: skip
        context.folder(case)
        write_case(context, case, recorder)

    return name, run


def tiled(name, tile, stride, **values):
    def run(context):
        pipe = context.pipeline("t2i", fresh=True)
        pipe.vae.enable_tiling(tile, tile, stride, stride)
        local = Context(context.root, context.pictures)
        local.cache["t2i"] = pipe
        generate(name, vae_tiling={"tile": tile, "stride": stride}, **values)[1](local)

    return name, run


def layered(checkpoint, **values):
    spec = checkpoints.SPECS[checkpoint]
    return {**spec, "dit": {**spec["dit"], "use_additional_t_cond": True, "use_layer3d_rope": True, **values}}


F32 = lambda name, tensor: formats.TYPES.F32  # noqa: E731
Q8 = lambda name, tensor: formats.TYPES.F32 if tensor.dim() < 2 else formats.TYPES.Q8_0  # noqa: E731

CASES = dict(
    [
        generate("t2i_plain"),
        generate("t2i_cfg", negative_prompt=" ", true_cfg_scale=4.0, seed=7),
        generate("t2i_odd", width=80, height=48, negative_prompt="blurry, low quality", true_cfg_scale=2.5, seed=1234),
        generate("t2i_empty", prompt="", width=32, height=32, steps=2, negative_prompt="", true_cfg_scale=2.0),
        generate("t2i_long", prompt="a red circle, 一只熊猫; " * 150, width=48, height=32, steps=2),
        generate("t2i_many_steps", width=64, height=64, steps=20, negative_prompt=" ", true_cfg_scale=4.0,
                 keep=lambda k: not k.startswith(("noise_pred", "transformer.", "vae.decoder.up", "text_encoder."))),
        batch("t2i_batch", ["a red circle", "两只黄色的小鸭子 swim on a quiet lake", "x"]),
        batch("t2i_batch_cfg", ["a red circle", PROMPT], negative_prompt=" ", true_cfg_scale=4.0, width=48),
        generate("lightning", checkpoint="t2i-lightning", steps=4),
        generate("t2i_sharded", checkpoint="t2i-sharded"),
        tiled("t2i_tiled", 64, 48, width=160, height=112),
        edit("edit2509_1ref", [(123, 77)]),
        edit("edit2509_2ref", [(123, 77), (64, 150)], seed=3, width=112, height=48),
        edit("edit2509_3ref", [(90, 60), (51, 111), (131, 131)], seed=4, negative_prompt=None, true_cfg_scale=1.0),
        edit("edit2509_true_areas", [(500, 333)], seed=8, width=64, height=64, steps=2, vae_area=1024 * 1024,
             vl_area=384 * 384, keep=heavy),
        edit("edit2511", [(77, 123), (150, 64)], checkpoint="edit2511", seed=5),
        edit("edit_august", [(123, 77)], checkpoint="edit", seed=6, vae_area=192 * 192, vl_area=192 * 192),
        lora("lora_diffusers", "diffusers", 4, None, 1.0, torch.float32),
        lora("lora_peft_default", "peft-default", 4, None, 0.6, torch.bfloat16, check=False),
        lora("lora_kohya", "kohya", 4, 2, 0.8, torch.float16),
        lora("lora_lightning", "lightning", 8, 4, 1.0, torch.bfloat16, top=False, checkpoint="t2i-lightning", steps=4),
        lora("lora_comfy_alpha", "comfy", 4, 2, 1.0, torch.bfloat16, check=False),
        lora("lora_lycoris", "lycoris", 3, 1, 0.5, torch.float32, check=False),
        with_files("single_file", write_single),
        with_files("single_file_all_in_one", lambda folder, pipe: write_single(folder, pipe, together=True)),
        with_files("single_file_marker", write_marked, checkpoint="edit2509", pictures=[(123, 77)]),
        with_files("fp8_plain", write_fp8("transformer", "plain")),
        with_files("fp8_scaled", write_fp8("transformer", "scaled")),
        with_files("fp8_new", write_fp8("transformer", "new")),
        with_files("fp8_text_scaled", write_fp8("text_encoder", "scaled-input")),
        with_files("bnb_nf4", write_quantized("transformer", "nf4")),
        with_files("bnb_nf4_double", write_quantized("transformer", "nf4-double")),
        with_files("bnb_fp4_double", write_quantized("transformer", "fp4-double")),
        with_files("bnb_text_nf4", write_quantized("text_encoder", "nf4-double")),
        with_files("bnb_int8", write_quantized("transformer", "bnb_int8")),
        with_files("int8_tensorwise", write_quantized("transformer", "int8_tensor")),
        with_files("int8_text_rows", write_quantized("text_encoder", "int8_row")),
        with_files("int8_convrot", write_quantized("transformer", "convrot256", metadata_only=True)),
        quantized_tensors("quantized_tensors"),
        gguf_tensors("gguf_tensors"),
        with_files("gguf_dit_f32", write_gguf_dit(F32)),
        with_files("gguf_dit_q8_0", write_gguf_dit(_published_mix)),
        with_files("gguf_dit_mixed", write_gguf_dit(
            _dynamic_mix, prefix="model.diffusion_model.", architecture=False,
            reshaped={"transformer_blocks.0.img_mlp.net.2.weight": 128})),
        with_files("gguf_text_q8_0", write_gguf_text(Q8)),
        with_files("gguf_text_no_head", write_gguf_text(F32, lm_head=False)),
        with_files("gguf_vision", write_gguf_vision(False), checkpoint="edit2509", pictures=[(123, 77)]),
        with_files("gguf_vision_fused", write_gguf_vision(True), checkpoint="edit2509", pictures=[(123, 77)]),
        transformer_only("layered_dit", [(1, 3, 5)] * 3 + [(1, 3, 5)], layered("t2i"), additional=0),
        transformer_only("layered_dit_tall", [(1, 6, 2)] * 5 + [(1, 6, 2)], layered("t2i"), additional=0, text_tokens=3),
    ]
)  # fmt: skip


def compact(name):
    """The tensors kept in the committed fixtures: every stage's result, few interiors."""
    dropped = ("visual.pixel_values", "vl_image", "vae_image", "vae.encoder.input", "vae.encoder.down_blocks",
               "vae.encoder.conv_in", "vae.decoder.up_blocks.1", "vae.decoder.up_blocks.2", "vae.decoder.up_blocks.3",
               "vae.decoder.conv_out", "transformer.norm_out", "noise_pred_", "vl_resized.1")  # fmt: skip
    return not name.startswith(dropped)


def results(name):
    """Only what shows that a file was read correctly."""
    return name.startswith(("noise", "latents", "prompt_embeds", "image", "input_ids", "vae.decoder.output"))


SMALL = {"width": 80, "height": 48, "vae_area": 64 * 64, "vl_area": 120 * 120, "steps": 2}
FIXTURES = dict(
    [
        generate("t2i_plain", checkpoint="small-t2i", width=48, height=32, steps=2, prompt="a red 小熊猫",
                 keep=compact),
        generate("t2i_cfg", checkpoint="small-t2i", width=80, height=48, negative_prompt=" ", true_cfg_scale=4.0,
                 keep=compact),
        batch("t2i_batch", ["a red circle", "两只黄色的小鸭子 swim on a quiet lake"], checkpoint="small-t2i", width=48,
              height=32, keep=results),
        edit("edit_2ref", [(61, 39), (25, 45)], checkpoint="small-edit", keep=compact, **SMALL),
        with_files("edit_marker", lambda folder, pipe: write_marked(folder, pipe, "small-edit"),
                   checkpoint="small-edit", pictures=[(39, 61)], keep=results, **SMALL),
        lora("lora_kohya", "kohya", 2, 1, 0.8, torch.bfloat16, checkpoint="small-t2i", width=32, height=48,
             keep=results),
        lora("lora_lightning", "lightning", 4, 2, 1.0, torch.bfloat16, top=False, checkpoint="small-t2i-lightning",
             steps=4, width=32, height=48, keep=results),
        with_files("single_file", lambda folder, pipe: write_single(folder, pipe, True, name="small-t2i", lm_head=False),
                   checkpoint="small-t2i", width=32, height=48, keep=results),
        with_files("gguf_dit", write_gguf_dit(_dynamic_mix, "small-t2i", prefix="model.diffusion_model.",
                                              architecture=False,
                                              reshaped={"transformer_blocks.0.img_mlp.net.2.weight": 64}),
                   checkpoint="small-t2i", width=32, height=48, keep=results),
        with_files("gguf_text", write_gguf_text(Q8, "small-t2i", lm_head=False), checkpoint="small-t2i", width=32,
                   height=48, keep=results),
        with_files("gguf_vision", write_gguf_vision(False, "small-edit", lm_head=False), checkpoint="small-edit",
                   pictures=[(61, 39)], keep=results, **SMALL),
        gguf_tensors("gguf_tensors", rows=2, columns=256),
        with_files("bnb_nf4", write_quantized("transformer", "nf4-double", "small-t2i"), checkpoint="small-t2i", width=32,
                   height=48, keep=lambda name: results(name) and not name.startswith("vae.")),
        quantized_tensors("quantized_tensors"),
        transformer_only("layered_dit", [(1, 3, 5)] * 3 + [(1, 3, 5)], layered("small-t2i", num_layers=1),
                         additional=0),
    ]
)  # fmt: skip
