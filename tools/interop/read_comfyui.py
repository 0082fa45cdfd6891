"""Runs inside ComfyUI's Python: loads one transformer file as ComfyUI's loader nodes do, on the CPU.

    python read_comfyui.py COMFYUI MODEL INPUTS OUT [COMFYUI-GGUF]

OUT gets the velocity of one forward, and every quantized matrix as ComfyUI unpacks it. What it saw goes to standard output
as one line of JSON.
"""

import collections
import importlib
import importlib.machinery
import importlib.util
import json
import logging
import sys
import types
import unittest.mock
from pathlib import Path


def stand_in_for_missing() -> None:
    """ComfyUI imports all its models; these libraries serve none that is loaded here."""
    for name in ("torchvision", "torchaudio", "kornia", "spandrel"):
        if importlib.util.find_spec(name) is None:
            for module in (name, f"{name}.transforms", f"{name}.transforms.functional", f"{name}.ops", f"{name}.functional"):
                spec = importlib.machinery.ModuleSpec(module, None)
                sys.modules[module] = unittest.mock.MagicMock(__spec__=spec, __path__=[])


def collect_warnings() -> list[str]:
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    return messages


def gguf_package(folder: str) -> types.ModuleType:
    """Of ComfyUI-GGUF; not its __init__, which registers nodes and so imports the whole program."""
    package = types.ModuleType("comfyui_gguf")
    package.__path__ = [folder]
    sys.modules["comfyui_gguf"] = package
    return package


def load(model: str, gguf: str | None):
    import comfy.sd

    if gguf is None:  # nodes.UNETLoader
        return comfy.sd.load_diffusion_model(model, disable_dynamic=True)
    gguf_package(gguf)  # nodes.UnetLoaderGGUF
    loader, ops = importlib.import_module("comfyui_gguf.loader"), importlib.import_module("comfyui_gguf.ops")
    state = loader.gguf_sd_loader(model)
    return comfy.sd.load_diffusion_model_state_dict(
        state, model_options={"custom_operations": ops.GGMLOps()}, disable_dynamic=True
    )


def unpack(network, counts: collections.Counter[str]) -> dict:
    """Every matrix that is stored in fewer than 16 bits, in float32; `counts` by type of all linear layers."""
    import torch
    from comfy.quant_ops import QuantizedTensor

    result = {}
    for name, module in network.named_modules():
        if not hasattr(module, "in_features"):
            continue
        weight = module.weight.data
        if isinstance(weight, QuantizedTensor):
            counts[module.quant_format] += 1
            result[f"{name}.weight"] = weight.dequantize().float()
        elif getattr(module.weight, "tensor_type", None) is not None:
            kind = module.weight.tensor_type.name
            counts[kind] += 1
            if kind not in ("F32", "F16", "BF16"):
                module.dequant_dtype = torch.float32  # else it rounds to float16 on the way, as its plain loader node does
                result[f"{name}.weight"] = module.get_weight(module.weight, torch.float32)
                module.dequant_dtype = None
        else:
            counts[str(weight.dtype).removeprefix("torch.")] += 1
    return result


def main() -> None:
    comfyui, model, inputs, out, *gguf = (str(Path(p).resolve()) for p in sys.argv[1:])
    sys.argv = [sys.argv[0], "--cpu"]
    sys.path[0] = comfyui
    stand_in_for_missing()
    import comfy.options

    comfy.options.enable_args_parsing()
    messages = collect_warnings()
    import comfyui_version
    import torch
    from safetensors.torch import load_file, save_file

    base = load(model, gguf[0] if gguf else None).model
    network = base.diffusion_model
    counts: collections.Counter[str] = collections.Counter()
    tensors = unpack(network, counts)
    given = load_file(inputs)
    dtype = base.manual_cast_dtype or base.get_dtype()
    with torch.no_grad():
        result = network(given["latent"].to(dtype), given["sigma"].to(dtype), given["text"].to(dtype))
    save_file(tensors | {"velocity": result.float().contiguous()}, out)
    seen = {
        "version": comfyui_version.__version__,
        "model": type(base).__name__,
        "blocks": len(network.transformer_blocks),
        "linears": dict(counts),
        "references": network.default_ref_method,
        "computes_in": str(dtype).removeprefix("torch."),
        "warnings": messages,
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
