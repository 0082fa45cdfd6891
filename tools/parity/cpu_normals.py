"""Rules by which the CPU generator of torch fills tensors of 16 and more values with normals.

fp32: every value gets a 24-bit uniform, blocks of 16 are transformed in place, and if the count is no multiple of 16 the
last 16 places get fresh uniforms and are transformed again.  bf16 and fp16, current: the fp32 values rounded once, except
that the rest behind the last full block draws no uniforms of its own before the last 16 places are filled.  bf16 in older
versions (the values never leave +-3.5): 8-bit uniforms, every operation rounded to bf16, the order of fp32.
"""

import numpy as np
import torch


def _draws(seed, count):
    state = np.random.RandomState(seed & 0xFFFFFFFF)
    return state.randint(0, 2**32, size=count, dtype=np.uint32).astype(np.int64)


def _exact(draws):
    uniform = (draws & 0xFFFFFF) / 2**24
    radius, angle = np.sqrt(-2 * np.log(1 - uniform[:8])), 2 * np.pi * uniform[8:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])


def _bf16(values):
    return torch.as_tensor(np.asarray(values, dtype=np.float32)).to(torch.bfloat16).float().numpy()


def _rounded(draws):
    uniform = (draws & 0xFF).astype(np.float32) / 256
    with np.errstate(divide="ignore"):
        radius = _bf16(np.sqrt(_bf16(-2 * _bf16(np.log(_bf16(1 - uniform[:8]))))))
    angle = _bf16(_bf16(2 * np.pi) * uniform[8:])
    return np.concatenate([_bf16(radius * _bf16(np.cos(angle))), _bf16(radius * _bf16(np.sin(angle)))])


def normals(n, seed, rule):
    """rule: "float32", "reduced" (current bf16 / fp16, not yet rounded) or "legacy-bfloat16"."""
    if n < 16:
        raise ValueError("fewer than 16 values take another path")
    block = _rounded if rule == "legacy-bfloat16" else _exact
    draws = _draws(seed, n + 16)
    out = np.zeros(n)
    for start in range(0, n - 15, 16):
        out[start : start + 16] = block(draws[start : start + 16])
    if n % 16:
        tail = n - n % 16 if rule == "reduced" else n
        out[n - 16 :] = block(draws[tail : tail + 16])
    return out
