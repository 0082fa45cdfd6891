#!/usr/bin/env python3
"""Writes what bitsandbytes and comfy-kitchen make of a few matrices: python tools/parity/make_low_bit.py [ROOT]

    tests/formats/data/nf4.safetensors       per matrix its values (bf16) and bitsandbytes' NF4 with double quantization
    tests/models/data/comfy.safetensors      weights that comfy-kitchen quantized, as a ComfyUI file stores them
    tests/models/data/comfy_values.safetensors  and the float32 values that comfy-kitchen obtains from them

Needs torch (CPU), safetensors, bitsandbytes 0.50.2 and comfy-kitchen 0.2.40; neither is needed by any test.
"""

import json
import sys
from pathlib import Path

import bitsandbytes.functional as bnb
import torch
from comfy_kitchen.tensor.int8 import TensorWiseINT8Layout
from comfy_kitchen.tensor.w4a8_int8 import AsymW4A8Int8Layout
from safetensors.torch import save_file


def nf4(generator):
    tail = torch.randn(12, 256, generator=generator) * torch.randn(12, 256, generator=generator).abs() ** 3
    tail[3, 64:128] = 0
    matrices = {
        "plain": torch.randn(40, 448, generator=generator) * 0.03,  # 280 blocks: more than one nested block
        "tail": tail,
        "short": torch.randn(6, 70, generator=generator),  # 6 whole blocks and a part
    }
    result = {}
    for name, values in matrices.items():
        values = values.to(torch.bfloat16)
        codes, state = bnb.quantize_4bit(values, blocksize=64, compress_statistics=True, quant_type="nf4")
        result |= {f"{name}.values": values, f"{name}.weight": codes}
        result |= {f"{name}.weight.{key}": part for key, part in state.as_dict(packed=True).items()}
    return result


def comfy(generator):
    tensors, values = {}, {}

    def keep(name, layout, data, params, description):
        for suffix, tensor in layout.state_dict_tensors(data, params).items():
            tensors[f"{name}.weight{suffix}"] = tensor.contiguous()
        text = json.dumps(description).encode()
        tensors[f"{name}.comfy_quant"] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        values[f"{name}.weight"] = layout.dequantize(data, params).float().contiguous()

    def grouped(name, matrix, description, **options):
        data, params = AsymW4A8Int8Layout.quantize(matrix, **options)
        keep(name, AsymW4A8Int8Layout, data, params, {"format": "asym_w4a8_int8", **description})

    normal = torch.randn(6, 512, generator=generator)
    grouped("default", normal, {})
    grouped("fitted", normal * torch.randn(6, 512, generator=generator).abs() ** 4, {})
    grouped("wide", torch.randn(5, 320, generator=generator), {"group_size": 32, "convrot_groupsize": 64},
            group_size=32, convrot_groupsize=64)
    grouped("linear", normal, {"group_size": 64}, group_size=64, codebook=False)
    grouped("f32_scales", normal[:2], {}, scale_dtype=torch.float32)
    data, params = TensorWiseINT8Layout.quantize(normal, per_channel=True, convrot=True)
    keep("int8", TensorWiseINT8Layout, data, params,
         {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": 256})
    return tensors, values


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parents[2])
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(5)
    (root / "tests/models/data").mkdir(parents=True, exist_ok=True)
    save_file(nf4(generator), root / "tests/formats/data/nf4.safetensors")
    tensors, values = comfy(generator)
    save_file(tensors, root / "tests/models/data/comfy.safetensors")
    save_file(values, root / "tests/models/data/comfy_values.safetensors")


if __name__ == "__main__":
    main()
