"""Loads a diffusers transformer folder in bitsandbytes' NF4 as diffusers does, on the CPU: same contract as read_comfyui.py.

    python read_diffusers.py TRANSFORMER INPUTS OUT

diffusers asks for a GPU before it loads bitsandbytes' types, which bitsandbytes itself no longer needs: that one question
is left out here.
"""

import json
import sys

import bitsandbytes
import torch
from diffusers import QwenImageTransformer2DModel, __version__
from diffusers.quantizers.bitsandbytes import BnB4BitDiffusersQuantizer
from safetensors.torch import load_file, save_file


def main() -> None:
    folder, inputs, out = sys.argv[1:]
    BnB4BitDiffusersQuantizer.validate_environment = lambda self, *args, **kwargs: None
    model = QwenImageTransformer2DModel.from_pretrained(folder, torch_dtype=torch.bfloat16, device_map={"": "cpu"})
    tensors, other = {}, 0
    for name, module in model.named_modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            weight = module.weight
            dense = bitsandbytes.functional.dequantize_4bit(weight.data, weight.quant_state)
            tensors[f"{name}.weight"] = dense.float().contiguous()
        elif isinstance(module, torch.nn.Linear):
            other += 1
    given = load_file(inputs)
    height, width = given["latent"].shape[-2:]
    with torch.no_grad():
        result = model(
            hidden_states=given["packed"].bfloat16(),
            encoder_hidden_states=given["text"].bfloat16(),
            encoder_hidden_states_mask=torch.ones(1, given["text"].shape[1], dtype=torch.int64),
            timestep=given["sigma"],
            img_shapes=[[(1, height // 2, width // 2)]],
            return_dict=False,
        )[0]
    save_file(tensors | {"velocity": result.float().contiguous()}, out)
    seen = {
        "version": f"{__version__}, bitsandbytes {bitsandbytes.__version__}",
        "blocks": len(model.transformer_blocks),
        "linears": {"Linear4bit": len(tensors), "bfloat16": other},
        "computes_in": "bfloat16",
        "warnings": [],
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
