"""Writes the tensor files that tests/formats compares with: run with the Python packages gguf and safetensors.

quant.gguf      per block format one tensor of random blocks and, as <name>.expected, what the gguf package makes of it
small.safetensors  one tensor per element type
"""
import pathlib

import gguf
import numpy as np
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as T
from safetensors.numpy import save_file

out = pathlib.Path(__file__).parent
rng = np.random.default_rng(7)

# Where the float16 scales lie in a block: random bits there would make infinities.
SCALES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
          T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0], T.IQ4_XS: [0]}

w = gguf.GGUFWriter(out / "quant.gguf", "qwen_image")
w.add_quantization_version(2)
w.add_file_type(7)
w.add_float32("test.float", 0.5)
w.add_bool("test.bool", True)
w.add_string("test.string", "小猫")
w.add_array("test.strings", ["a", "bc", ""])
for kind, places in SCALES.items():
    elements, size = GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (4, 512 // elements // 2, size), dtype=np.uint8)
    for place in places:
        scale = rng.uniform(-1, 1, blocks.shape[:2]).astype(np.float16)
        blocks[:, :, place:place + 2] = scale[..., None].view(np.uint8)
    raw = blocks.reshape(4, -1)
    w.add_tensor(kind.name.lower(), raw, raw_dtype=kind)
    w.add_tensor(kind.name.lower() + ".expected", quants.dequantize(raw, kind).astype(np.float32))

x = np.concatenate([rng.normal(0, 1, (6, 64)), np.zeros((1, 64)), rng.normal(0, 1e-7, (1, 64))]).astype(np.float32)
w.add_tensor("input", x)
for kind in (T.Q8_0, T.Q4_0, T.BF16):
    w.add_tensor("to_" + kind.name.lower(), quants.quantize(x, kind), raw_dtype=kind)
w.add_tensor("to_f16", x.astype(np.float16))
# ComfyUI's way to keep the shape of a convolution whose rows are no whole blocks.
conv = rng.normal(0, 1, (4, 2, 2, 16)).astype(np.float32)
w.add_array("comfy.gguf.orig_shape.conv", [4, 2, 2, 2, 8])
w.add_tensor("conv", quants.quantize(conv.reshape(4, 64), T.Q8_0), raw_dtype=T.Q8_0)
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()

save_file({
    "f32": np.arange(6, dtype=np.float32).reshape(2, 3), "f16": np.arange(4, dtype=np.float16), "f64": np.ones(2),
    "i64": np.array([-5, 5]), "i32": np.array([[7]], dtype=np.int32), "i16": np.array([1, 2, 3], dtype=np.int16),
    "i8": np.array([-1, 1], dtype=np.int8), "u8": np.array([255], dtype=np.uint8), "bool": np.array([True, False]),
    "empty": np.zeros((0, 4), dtype=np.float32), "scalar": np.array(2.5, dtype=np.float32),
}, out / "small.safetensors", metadata={"format": "np", "名": "小狗"})
