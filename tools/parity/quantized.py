"""Writers of weights quantised by bitsandbytes and by ComfyUI's int8, and the values that a reader must obtain.

Written from the published formulas: the values come from the codes that are stored, by plain matrix products and tables.
"""

import json

import numpy as np
import torch

NF4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
       -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
       0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]  # fmt: skip
_FP4 = [0.0, 0.005208333, 0.6666667, 1.0, 0.3333333, 0.5, 0.1666667, 0.25]
FP4 = _FP4 + [-v for v in _FP4]
BLOCK, NESTED_BLOCK = 64, 256


def dynamic_map():
    """256 signed values whose spacing grows with their size: seven decades of 1 to 64 equal steps, 0 and 1."""
    values = [0.0, 1.0]
    for decade in range(7):
        edges = np.linspace(0.1, 1, 2**decade + 1)
        middles = (edges[:-1] + edges[1:]) / 2 * 10.0 ** (decade - 6)
        values += [*middles, *-middles]
    return np.array(sorted(values), dtype=np.float32)


def _nearest(values, table):
    order = np.argsort(table, kind="stable")
    edges = (table[order][1:] + table[order][:-1]) / 2
    return order[np.searchsorted(edges, values)].astype(np.uint8)


def _blocks(values, size):
    padded = np.zeros(-(-values.size // size) * size, dtype=np.float32)
    padded[: values.size] = values
    return padded.reshape(-1, size)


def four_bit(values, kind="nf4", nested=False):
    """bitsandbytes 4-bit: (tensors by suffix of the weight's name, values)."""
    table = np.array(NF4 if kind == "nf4" else FP4, dtype=np.float32)
    shape, flat = values.shape, values.astype(np.float32).reshape(-1)
    blocks = _blocks(flat, BLOCK)
    absmax = np.abs(blocks).max(axis=1)
    state = {"quant_type": kind, "blocksize": BLOCK, "dtype": "bfloat16", "shape": list(shape)}
    tensors = {".quant_map": table}
    if nested:
        offset = np.float32(absmax.mean())
        groups = _blocks(absmax - offset, NESTED_BLOCK)
        nested_absmax = np.abs(groups).max(axis=1)
        nested_map = dynamic_map()
        codes = _nearest((groups / nested_absmax[:, None]).reshape(-1)[: absmax.size], nested_map)
        tensors |= {".absmax": codes, ".nested_absmax": nested_absmax, ".nested_quant_map": nested_map}
        state |= {"nested_blocksize": NESTED_BLOCK, "nested_dtype": "float32", "nested_offset": float(offset)}
        stored = nested_map[codes] * np.repeat(nested_absmax, NESTED_BLOCK)[: absmax.size] + offset
    else:
        stored = tensors[".absmax"] = absmax
    codes = _nearest((blocks / absmax[:, None]).reshape(-1), table)
    even = codes[: flat.size + flat.size % 2]
    tensors[""] = (even[0::2] << 4 | even[1::2]).reshape(-1, 1)
    tensors[f".quant_state.bitsandbytes__{kind}"] = np.frombuffer(json.dumps(state).encode(), dtype=np.uint8)
    result = table[codes].reshape(blocks.shape) * stored[:, None]
    return tensors, result.reshape(-1)[: flat.size].reshape(shape)


def hadamard(size):
    """The rotation of `size` columns: a Kronecker power, symmetric and its own inverse."""
    quarter = np.array([[1, 1, 1, -1], [1, 1, -1, 1], [1, -1, 1, 1], [-1, 1, 1, 1]]) / 2
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.kron(matrix, quarter)
    return matrix


def int8(values, group=0, per_row=True):
    """ComfyUI's int8_tensorwise, with convrot when `group` columns form a block."""
    values = values.astype(np.float64)
    rotation = np.kron(np.eye(values.shape[1] // group), hadamard(group)) if group else np.eye(values.shape[1])
    rotated = values @ rotation
    largest = np.abs(rotated).max(axis=1, keepdims=True) if per_row else np.abs(rotated).max()
    scale = np.asarray(largest / 127, dtype=np.float32)
    codes = np.clip(np.rint(rotated / scale), -128, 127).astype(np.int8)
    quant = {"format": "int8_tensorwise"} | ({"convrot": True, "convrot_groupsize": group} if group else {})
    return codes, scale, quant, ((codes * scale.astype(np.float64)) @ rotation).astype(np.float32)


def bnb_int8(values):
    largest = np.abs(values).max(axis=1).astype(np.float32)
    codes = np.rint(values / largest[:, None] * 127).astype(np.int8)
    return codes, largest, (codes * largest[:, None].astype(np.float64) / 127).astype(np.float32)


def quantize(module, values, style):
    """(tensors of the file, JSON of ComfyUI's metadata or None, values) of one matrix."""
    name = f"{module}.weight"
    if style.startswith(("nf4", "fp4")):
        tensors, result = four_bit(values, style[:3], style.endswith("double"))
        return {name + suffix: torch.from_numpy(t.copy()) for suffix, t in tensors.items()}, None, result
    if style == "bnb_int8":
        codes, scale, result = bnb_int8(values)
        tensors = {name: codes, f"{module}.SCB": scale, f"{module}.weight_format": np.zeros((), np.uint8)}
        return {k: torch.from_numpy(np.array(v)) for k, v in tensors.items()}, None, result
    group = 0
    if style.startswith("convrot"):
        wanted = int(style.removeprefix("convrot") or 256)
        group = max(4**k for k in range(1, 5) if 4**k <= wanted and values.shape[1] % 4**k == 0)
    codes, scale, quant, result = int8(values, group, style != "int8_tensor")
    text = np.frombuffer(json.dumps(quant).encode(), dtype=np.uint8)
    tensors = {name: codes, f"{module}.weight_scale": scale, f"{module}.comfy_quant": text}
    return {k: torch.from_numpy(np.array(v)) for k, v in tensors.items()}, quant, result


def state(weights, style, keep=lambda name: False, metadata_only=False):
    """A model's state with its matrices quantised: (tensors, metadata, values that a reader obtains)."""
    out, values, layers = {}, {}, {}
    for name, tensor in weights.items():
        if tensor.dim() != 2 or keep(name):
            out[name] = tensor.to(torch.bfloat16)
            values[name] = out[name].float()
            continue
        module = name.removesuffix(".weight")
        tensors, quant, result = quantize(module, tensor.float().numpy(), style)
        if quant is not None:
            layers[module] = quant
            if metadata_only:
                del tensors[f"{module}.comfy_quant"]
        out |= tensors
        values[name] = torch.from_numpy(np.array(result))
    metadata = {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": layers})} if layers else None
    return out, metadata, values


STYLES = ("nf4", "nf4-double", "fp4", "fp4-double", "bnb_int8", "int8_tensor", "int8_row", "convrot256", "convrot64")


def mixed_file(path):
    """One small matrix in every layout, one of them with more than 256 blocks; returns the values by tensor name."""
    from safetensors.torch import save_file

    tensors, values = {}, {}
    rng = np.random.Generator(np.random.PCG64(7))
    for style in STYLES:
        matrix = rng.standard_normal((5, 3328) if style == "nf4-double" else (2, 256)).astype(np.float32)
        stored, _, result = quantize(style, matrix, style)
        tensors |= stored
        values[f"{style}.weight"] = torch.from_numpy(np.array(result))
    odd = rng.standard_normal((3, 33)).astype(np.float32)  # an odd number of elements, a partial block
    stored, _, result = quantize("odd", odd, "nf4")
    tensors |= stored
    values["odd.weight"] = torch.from_numpy(np.array(result))
    save_file(tensors, path)
    return values
