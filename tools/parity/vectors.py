"""Small reference vectors for single functions."""

import json
import zlib

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.models.transformers.transformer_qwenimage import (
    QwenEmbedLayer3DRope,
    QwenEmbedRope,
    QwenTimestepProjEmbeddings,
)
from diffusers.pipelines.qwenimage.pipeline_qwenimage import calculate_shift
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import calculate_dimensions
from PIL import Image
from safetensors.torch import save_file
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

import checkpoints
import cpu_normals
import philox
from cases import picture

SEEDS = [0, 1, 42, 2**32 - 1, 2**40 + 7, 2**63 - 1, -1, -12345]
SIZES = [1, 15, 16, 17, 31, 100, 65536]


def _bits(tensor):
    """Bit patterns as integers, so that a comparison is exact."""
    view = torch.int32 if tensor.dtype == torch.float32 else torch.int16
    mask = 0xFFFFFFFF if tensor.dtype == torch.float32 else 0xFFFF
    return [int(v) & mask for v in tensor.contiguous().view(view)]


def _entry(tensor, **values):
    raw = tensor.contiguous().view(torch.uint8).numpy().tobytes()
    head = tensor if tensor.numel() <= 128 else tensor[:64]
    entry = {**values, "n": tensor.numel(), "crc32": zlib.crc32(raw), "first": _bits(head)}
    if tensor.numel() > 128:
        entry["last"] = _bits(tensor[-64:])
    return entry


def rng(out, full=True):
    """Normals of the torch CPU generator: one draw per fresh generator, and sequences of draws from one."""
    entries, tensors = [], {}
    for dtype in (torch.float32, torch.bfloat16, torch.float16) if full else (torch.float32, torch.bfloat16):
        short = str(dtype).removeprefix("torch.")
        for seed in SEEDS:
            for size in SIZES:
                values = torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=dtype)
                entries.append(_entry(values, generator="torch-cpu", dtype=short, seed=seed, draws=[size]))
                if full and size == 65536 and seed in (0, 42):
                    tensors[f"{short}.seed{seed}"] = values
        for draws in ([15, 16, 1, 17], [1, 1, 1, 32], [5, 3, 16, 15, 100], [16, 1, 16]):
            generator = torch.Generator().manual_seed(42)
            values = torch.cat([torch.randn(n, generator=generator, dtype=dtype) for n in draws])
            entries.append(_entry(values, generator="torch-cpu", dtype=short, seed=42, draws=draws))
    _check_rules()
    for seed in SEEDS:
        for size in (s for s in SIZES if s >= 16):
            values = torch.from_numpy(cpu_normals.normals(size, seed, "legacy-bfloat16")).to(torch.bfloat16)
            entries.append(_entry(values, generator="torch-cpu-legacy", dtype="bfloat16", seed=seed, draws=[size]))
    for seed in (0, 42, 2**40 + 7):
        for n, processors, per_processor in (
            (1, 28, 1536), (4, 28, 1536), (17, 28, 1536), (300, 28, 1536), (4096, 28, 1536), (65536, 28, 1536),
            (65536, 132, 2048), (262144, 28, 1536), (9000, 2, 1024),
        ):  # fmt: skip
            total = philox.threads(n, processors, per_processor)
            values = torch.from_numpy(philox.normals(n, seed, total))
            entries.append(_entry(values, generator="philox", dtype="float32", seed=seed, draws=[n],
                                  processors=processors, threads_per_processor=per_processor, threads=total))  # fmt: skip
            if full and n == 65536 and seed == 42:
                tensors[f"philox.seed42.threads{total}"] = values
    expected = [0.194019, 2.161374, -0.172050, 0.849060]
    if np.abs(philox.normals(4, 42, 256) - expected).max() > 2e-6:
        raise RuntimeError("the Philox implementation does not give the known values")
    _dump(out / "rng.json", entries)
    if tensors:
        save_file(tensors, out / "rng.safetensors")


def _check_rules():
    """The documented rules against the installed library, and the known values of older versions."""
    for dtype, rule in ((torch.float32, "float32"), (torch.bfloat16, "reduced"), (torch.float16, "reduced")):
        for size in (16, 17, 31, 100, 4096):
            values = torch.randn(size, generator=torch.Generator().manual_seed(42), dtype=dtype)
            rule_values = torch.from_numpy(cpu_normals.normals(size, 42, rule)).to(dtype)
            error = (values.double() - rule_values.double()).abs()
            wrong = (error > 3e-6) if dtype == torch.float32 else (error > 0)
            if wrong.double().mean() > (0 if dtype == torch.float32 else 0.01):  # a tie may round the other way
                raise RuntimeError(f"{dtype} normals follow another rule (error {error.max():.1e})")
    if cpu_normals.normals(16, 42, "legacy-bfloat16")[:4].round(6).tolist() != [-0.808594, -1.53125, 0.40625, 0.171875]:
        raise RuntimeError("the rule of older versions does not give the known values")


def _dump(path, rows):
    """One row per line."""
    body = ",\n".join(json.dumps(row, separators=(",", ":"), ensure_ascii=False) for row in rows)
    path.write_text(f"[\n{body}\n]\n")


def sigmas(out):
    """Schedules of the published configs; N = noise tokens, n = steps."""
    tensors = {}
    for name, config, counts in (
        ("default", checkpoints.SCHEDULER, (2, 3, 4, 8, 20, 28, 30, 40, 50, 100)),
        ("lightning", checkpoints.LIGHTNING_SCHEDULER, (1, 2, 4, 8)),
    ):
        scheduler = FlowMatchEulerDiscreteScheduler(**config)
        for tokens in (4, 24, 256, 1024, 2304, 4096, 6032, 6889, 8192, 16384):
            for n in counts:
                mu = calculate_shift(tokens, config["base_image_seq_len"], config["max_image_seq_len"],
                                     config["base_shift"], config["max_shift"])  # fmt: skip
                scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / n, n), mu=mu)
                tensors[f"{name}.N{tokens}.n{n}"] = scheduler.sigmas.float().clone()
    save_file(tensors, out / "sigmas.safetensors")


def geometry(out, count=250):
    """[height, width, min, max, out height, out width] and [area, width, height, out width, out height]."""
    rng = np.random.Generator(np.random.PCG64(5))
    sizes = [(1, 1), (14, 14), (28, 28), (42, 42), (70, 70), (98, 42), (1, 150), (384, 384), (1080, 1920), (3000, 4000)]
    sizes += [tuple(int(v) for v in rng.integers(1, 5000, 2)) for _ in range(count)]
    limits = [(3136, 12845056), (3136, 1003520), (100352, 200704)]
    resize = []
    for h, w in sizes:
        if max(h, w) / min(h, w) > 200:
            continue
        for low, high in limits:
            resize.append([h, w, low, high, *smart_resize(h, w, 28, low, high)])
    dimensions = []
    for h, w in sizes:
        for area in (384 * 384, 512 * 512, 640 * 640, 1024 * 1024, 96 * 96):
            dimensions.append([area, w, h, *(int(v) for v in calculate_dimensions(area, w / h))])
    document = {"smart_resize": resize, "calculate_dimensions": dimensions}
    (out / "geometry.json").write_text(json.dumps(document, separators=(",", ":")) + "\n")


def resampling(out, small=False):
    """Bytes before and after PIL's Lanczos and bicubic: `in.k`, `lanczos.k`, `bicubic.k`."""
    pairs = [
        ((61, 39), (32, 16)), ((32, 16), (61, 39)), ((30, 30), (30, 12)), ((30, 30), (12, 30)), ((7, 9), (40, 50)),
        ((200, 3), (32, 20)), ((1, 1), (8, 8)), ((2, 90), (30, 45)), ((47, 31), (46, 31)), ((32, 32), (31, 33)),
    ]  # fmt: skip
    if not small:
        pairs += [((123, 77), (64, 32)), ((640, 480), (448, 336)), ((1000, 700), (384, 256)), ((512, 288), (504, 280)),
                  ((384, 384), (392, 392))]  # fmt: skip
    tensors = {}
    for k, (source, target) in enumerate(pairs):
        image = picture(*source, seed=k)
        if k == 4:  # extremes overshoot and must clamp
            image = Image.fromarray((np.asarray(image) > 127).astype(np.uint8) * 255)
        tensors[f"in.{k}"] = torch.from_numpy(np.array(image))
        for name, kind in (("lanczos", Image.Resampling.LANCZOS), ("bicubic", Image.Resampling.BICUBIC)):
            tensors[f"{name}.{k}"] = torch.from_numpy(np.array(image.resize(target, kind)))
    save_file(tensors, out / "resampling.safetensors")


def functions(out):
    """Activations, timestep embeddings and rotary tables."""
    x = torch.cat([torch.linspace(-8, 8, 257), torch.tensor([-100.0, -20, -0.0, 1e-8, 20, 100])])
    tensors = {
        "activation.x": x,
        "activation.gelu_tanh": torch.nn.functional.gelu(x, approximate="tanh"),
        "activation.gelu_erf": torch.nn.functional.gelu(x),
        "activation.silu": torch.nn.functional.silu(x),
    }
    t = torch.tensor([0.0, 20.0, 95.499, 250.0, 500.0, 656.666, 660.086, 750.0, 989.701, 999.9, 1000.0])
    tensors["timestep.t"] = t
    tensors["timestep.embedding"] = QwenTimestepProjEmbeddings(embedding_dim=16).time_proj(t / 1000)
    axes = (16, 56, 56)
    for name, shapes, text in (
        ("odd", [(1, 3, 5)], 4), ("references", [(1, 3, 5), (1, 4, 2), (1, 2, 6)], 5),
    ):  # fmt: skip
        image, words = QwenEmbedRope(theta=10000, axes_dim=list(axes), scale_rope=True)(
            [shapes], max_txt_seq_len=text, device=torch.device("cpu")
        )
        tensors.update(_rope(name, shapes, image, words))
    for name, shapes, text in (("layered", [(1, 3, 5)] * 4, 4), ("layered_many", [(1, 1, 2)] * 9, 3)):
        image, words = QwenEmbedLayer3DRope(theta=10000, axes_dim=list(axes), scale_rope=True)(
            [shapes], max_txt_seq_len=text, device=torch.device("cpu")
        )
        tensors.update(_rope(name, shapes, image, words))
    save_file({k: v.contiguous() for k, v in tensors.items()}, out / "functions.safetensors")


def _rope(name, shapes, image, words):
    return {
        f"rope.{name}.shapes": torch.tensor(shapes),
        f"rope.{name}.image_cos": image.real, f"rope.{name}.image_sin": image.imag,
        f"rope.{name}.text_cos": words.real, f"rope.{name}.text_sin": words.imag,
    }  # fmt: skip
