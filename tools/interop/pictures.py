"""Pictures of one step by inkling and stable-diffusion.cpp from the same files, prompt and noise, and the latter's own
unpacking of GGUF.

One step starts at time 1 whatever the schedule, so the picture is VAE(noise - velocity): it shows one forward.
"""

import os
import subprocess
from pathlib import Path

import gguf
import numpy as np
import torch
from PIL import Image
from reference import WeightComparison
from safetensors import safe_open

# At 97d2990 every chunk of an int8 product on the CPU computes the whole product. With this many threads and few tokens there is
# one chunk a thread, and each takes its share.
INT8_THREADS, INT8_SIZE, INT8_AGREE = 256, 64, 32.0
AGREE = 38.0  # dB; what two implementations leave of each other's bf16 (see README.md)
PROMPT, SEED = "a red fox", 7


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def ours(inkling: Path, model: Path, transformer: Path, work: Path, size: int) -> np.ndarray:
    out = work / "ours.png"
    command = [inkling, "generate", "-m", model, "--dit", transformer, "-p", PROMPT, "-W", size, "-H", size, "--steps", 1]
    command += ["--cfg-scale", 1, "--seed", SEED, "--rng", "cuda", "--device", "cpu", "--precision", "f32", "-o", out]
    subprocess.run([str(c) for c in command], check=True, capture_output=True)
    return read(out)


def theirs(
    sd_cli: Path, model: Path, transformer: Path, work: Path, size: int, threads: int = -1
) -> tuple[np.ndarray | None, str]:
    """The picture, or nothing and the first error."""
    out = work / "theirs.png"
    out.unlink(missing_ok=True)
    command = [sd_cli, "--diffusion-model", transformer, "--llm", model / "text_encoder/model.safetensors"]
    command += ["--vae", model / "vae/diffusion_pytorch_model.safetensors", "-p", PROMPT, "-W", size, "-H", size]
    command += ["--steps", 1, "--cfg-scale", 1, "--seed", SEED, "--rng", "cuda", "--sampling-method", "euler", "-o", out]
    command += ["--threads", threads]
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, errors="replace", env=environment)
    if done.returncode == 0 and out.exists():
        return read(out), ""
    errors = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line]
    return None, (errors or [f"exit {done.returncode}"])[0][:200]


def convert_and_compare(sd_cli: Path, file: Path, unpacked: Path, work: Path) -> WeightComparison:
    """Every block matrix that stable-diffusion.cpp itself writes as float32, with inkling's."""
    out = work / "converted.gguf"
    command = [sd_cli, "-M", "convert", "--diffusion-model", file, "-o", out, "--type", "f32"]
    subprocess.run([str(c) for c in command], check=True, capture_output=True)
    result = WeightComparison()
    with safe_open(unpacked, "pt") as ours_:
        for tensor in gguf.GGUFReader(out).tensors:
            name = tensor.name.removeprefix("model.diffusion_model.")
            if "transformer_blocks." in name and len(tensor.shape) == 2:
                result.add(torch.from_numpy(tensor.data.copy()), ours_.get_tensor(name))
    out.unlink()
    return result
