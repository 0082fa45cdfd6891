"""Makes a folder of `inkling synth --preset qwen-image --dtype q4_0` readable for stable-diffusion.cpp.

    python tools/peers/adapt_synth.py SYNTH OUT

The transformer is read as it is. The VAE gets the time convolutions that a picture does not use, and the axes of length 1
that our files leave out; in the text encoder the vision tower is hidden, as its first convolution is flat in our files.
"""

import json
import shutil
import struct
import sys
from pathlib import Path

TIME_CONVOLUTIONS = (  # module, outputs, inputs
    ("encoder.down_blocks.5", 192, 192),
    ("encoder.down_blocks.8", 384, 384),
    ("decoder.up_blocks.0.upsamplers.0", 768, 384),
    ("decoder.up_blocks.1.upsamplers.0", 768, 384),
)


def adapt_vae(source: Path, target: Path) -> None:
    with source.open("rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
        data = file.read()
    header.pop("__metadata__", None)
    for name, entry in header.items():
        if len(entry["shape"]) == 2:
            entry["shape"] += [1, 1] if ".attentions." in name else [1, 1, 1]
    end = len(data)
    for module, rows, columns in TIME_CONVOLUTIONS:
        for suffix, shape, count in (("weight", [rows, columns, 3, 1, 1], rows * columns * 3), ("bias", [rows], rows)):
            header[f"{module}.time_conv.{suffix}"] = {
                "dtype": "BF16",
                "shape": shape,
                "data_offsets": [end, end + 2 * count],
            }
            end += 2 * count
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    target.write_bytes(struct.pack("<Q", len(text)) + text + data + bytes(end - len(data)))


def hide_vision(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with target.open("r+b") as file:
        head = file.read(4 << 20)  # names stand in front of the data
        file.seek(0)
        file.write(head.replace(b"visual.", b"hidden."))


def main() -> None:
    synth, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    adapt_vae(synth / "vae/diffusion_pytorch_model.safetensors", out / "vae.safetensors")
    hide_vision(synth / "text_encoder/model.gguf", out / "text_encoder.gguf")


if __name__ == "__main__":
    main()
