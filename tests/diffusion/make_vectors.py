#!/usr/bin/env python3
"""Writes data/vectors.json with diffusers: schedules, timestep features and packed noise."""
import json
import os

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, QwenImagePipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage import calculate_shift

QWEN = dict(num_train_timesteps=1000, shift=1.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9,
            base_image_seq_len=256, max_image_seq_len=8192, shift_terminal=0.02, time_shift_type="exponential")
CONFIGS = {"qwen": QWEN, "linear": {**QWEN, "time_shift_type": "linear"},
           "lightning": {**QWEN, "base_shift": float(np.log(3)), "max_shift": float(np.log(3)), "shift_terminal": None},
           "constant": {**QWEN, "use_dynamic_shifting": False, "shift": 3.1, "shift_terminal": None}}


def schedule(name, steps, tokens):
    scheduler = FlowMatchEulerDiscreteScheduler(**CONFIGS[name])
    c = scheduler.config
    mu = calculate_shift(tokens, c.base_image_seq_len, c.max_image_seq_len, c.base_shift, c.max_shift)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
    return {"config": name, "steps": steps, "tokens": tokens, "sigmas": scheduler.sigmas.tolist(),
            "timesteps": scheduler.timesteps.tolist()}


def noise(seed, height, width, dtype):
    generator = torch.Generator("cpu").manual_seed(seed)
    drawn = torch.randn((1, 1, 16, height // 8, width // 8), generator=generator, dtype=dtype)
    packed = QwenImagePipeline._pack_latents(drawn, 1, 16, height // 8, width // 8).float()[0]
    rows = [0, 1, packed.shape[0] // 2, packed.shape[0] - 1]
    return {"seed": seed, "height": height, "width": width, "bf16": dtype == torch.bfloat16,
            "shape": list(packed.shape), "rows": rows, "values": [packed[r].tolist() for r in rows],
            "sum": packed.double().sum().item()}


def main():
    result = {
        "configs": {k: json.dumps(v) for k, v in CONFIGS.items()},
        "schedules": [schedule(n, s, t) for n in CONFIGS for s, t in
                      [(2, 16), (4, 1024), (8, 4096), (20, 1024), (40, 4096), (50, 4096), (50, 6889), (7, 16384)]],
        "noise": [noise(42, 64, 64, torch.float32), noise(7, 48, 112, torch.float32),
                  noise(42, 64, 96, torch.bfloat16)],
    }
    with open(os.path.join(os.path.dirname(__file__), "data", "vectors.json"), "w") as f:
        f.write("{" + ",\n".join(f'"{k}": ' + (json.dumps(v) if isinstance(v, dict) else
                "[" + ",\n".join(json.dumps(x) for x in v) + "]") for k, v in result.items()) + "}\n")


if __name__ == "__main__":
    main()
