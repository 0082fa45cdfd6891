#!/usr/bin/env python3
"""Writes data/normals.json: what torch draws, as counts, first values and FNV-1a hashes of the float32 bits.

The draws of one entry continue one generator. bf16 needs torch 2.13 or newer. bf16_coarse, the call of older
releases, is evaluated here with bfloat16 tensor operations on the generator's uniforms. torch must run on an x86
machine with AVX2.
"""
import json
import os

import numpy as np
import torch

COUNTS = [1, 15, 16, 17, 65536, 5, 31, 100, 3, 48]
SEEDS = [0, 42, 2**32 + 7, 2**64 - 1]


def fnv1a(values):
    state = 0xCBF29CE484222325
    for byte in values.astype("<f4").tobytes():
        state = (state ^ byte) * 0x100000001B3 % 2**64
    return f"{state:016x}"


class Coarse:
    """randn(dtype=bfloat16) of torch before the change, for at least 16 values."""

    def __init__(self, seed):
        self.engine = np.random.MT19937()
        self.engine._legacy_seeding(seed & 0xFFFFFFFF)

    def uniform(self, count):
        words = self.engine.random_raw(count) & 0xFF
        return torch.tensor(np.atleast_1d(words).astype(np.float32) / 256).bfloat16()

    @staticmethod
    def transform(block):
        u1, u2 = 1 - block[:8], block[8:]
        radius = torch.sqrt(-2 * torch.log(u1))
        theta = (2.0 * torch.pi * u2.double()).float().bfloat16()
        return torch.cat([radius * torch.cos(theta), radius * torch.sin(theta)])

    def randn(self, count):
        values = self.uniform(count)
        for i in range(0, count - 15, 16):
            values[i:i + 16] = self.transform(values[i:i + 16])
        if count % 16:
            values[-16:] = self.transform(self.uniform(16))
        return values


def main():
    entries = []
    for precision in ("f32", "bf16", "bf16_coarse"):
        for seed in SEEDS:
            generator = torch.Generator("cpu")
            generator.manual_seed(seed)
            coarse = Coarse(seed)
            draws = []
            for count in COUNTS:
                if precision == "bf16_coarse":
                    if count < 16:
                        continue  # same path as bf16
                    values = coarse.randn(min(count, 4096))
                else:
                    dtype = torch.float32 if precision == "f32" else torch.bfloat16
                    values = torch.randn(count, generator=generator, dtype=dtype)
                values = values.float().numpy()
                draws.append({"count": len(values), "hash": fnv1a(values + 0.0), "first": values[:4].tolist()})
            entries.append({"seed": seed, "precision": precision, "draws": draws})
    path = os.path.join(os.path.dirname(__file__), "data", "normals.json")
    with open(path, "w") as f:
        f.write("[" + ",\n".join(json.dumps(e) for e in entries) + "]\n")


if __name__ == "__main__":
    main()
