"""Draws the first held-out prompts with diffusers and with inkling from the same seeds and compares the pictures.

    python -m tools.evaluate.compare_with_diffusers [--count 12] [--model models/inkling-tiny] [--program build/bin/inkling]
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from diffusers import QwenImagePipeline
from PIL import Image

from . import lists


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--count", type=int, default=12)
    p.add_argument("--model", default="models/inkling-tiny")
    p.add_argument("--program", default="build/bin/inkling")
    a = p.parse_args()
    torch.set_num_threads(1)
    pipeline = QwenImagePipeline.from_pretrained(a.model, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    differences = {"f32": [], "bf16": []}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "picture.png"
        for row in lists.read("prompts")[: a.count]:
            generator = torch.Generator("cpu").manual_seed(row["seed"])
            reference = pipeline(prompt=row["prompt"], width=256, height=256, num_inference_steps=8, true_cfg_scale=1.0,
                                 generator=generator).images[0]
            for precision, found in differences.items():
                subprocess.run([a.program, "generate", "-m", a.model, "-p", row["prompt"], "--seed", str(row["seed"]), "--precision",
                                precision, "-o", str(out)], check=True, capture_output=True)
                found.append(np.abs(np.asarray(reference.convert("RGB"), int) - np.asarray(Image.open(out), int)))
    for precision, found in differences.items():
        psnr = min(10 * np.log10(255**2 / max(1e-9, (d**2).mean())) for d in found)
        print(f"{precision}: largest difference {max(d.max() for d in found)} of 255, at most {max((d > 0).mean() for d in found):.4%} "
              f"of the values differ, lowest PSNR {psnr:.1f} dB")


if __name__ == "__main__":
    main()
