"""Writes the pictures that tests/formats decodes: run with Pillow, numpy, safetensors and torch.

images/*            one picture per kind; images/expected.safetensors holds what Pillow makes of each, as [H, W, 3]
resample.safetensors  inputs and what Pillow (22-bit taps) and torch on a CPU with AVX2 (int16 taps) make of them
"""
import io
import pathlib
import struct
import zlib

import numpy as np
import torch
from PIL import Image, ImageCms
from safetensors.numpy import save_file

out = pathlib.Path(__file__).parent
pictures = out / "images"
pictures.mkdir(exist_ok=True)
rng = np.random.default_rng(11)
expected = {}

W, H = 20, 13
y, x = np.mgrid[0:H, 0:W]
rgb = np.stack([x * 12, y * 19, (x + y) * 7], -1).astype(np.uint8)
alpha = ((x * 13 + y * 5) % 256).astype(np.uint8)
grey = (x * 6 + y * 10).astype(np.uint8)


def keep(name, array):
    expected[name] = np.ascontiguousarray(array, dtype=np.uint8)


def over_white(color, a):
    a = a[..., None].astype(np.int64)
    return (color * a + 255 * (255 - a) + 127) // 255


def save(name, array, mode=None, want=None, **options):
    Image.fromarray(array, mode).save(pictures / name, **options)
    keep(name, want if want is not None else np.asarray(Image.open(pictures / name).convert("RGB")))


def png(name, color_type, depth, rows_of_passes, extra=b"", interlace=0):
    """A PNG by hand, for what Pillow cannot write."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    raw = b"".join(b"\0" + row.tobytes() for rows in rows_of_passes for row in rows)
    (pictures / name).write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", W, H, depth, color_type, 0, 0, interlace))
                                  + extra + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))


def swapped_profile():
    """A small display profile with gamma 1.8 whose red and blue primaries are exchanged: nobody can overlook it."""
    def fixed(v):
        return struct.pack(">i", round(v * 65536))
    def xyz(*v):
        return b"XYZ \0\0\0\0" + b"".join(fixed(c) for c in v)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(1.8 * 256)) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 8) + b"swapped\0" + b"\0" * 78
    text += b"\0" * (-len(text) % 4)
    tags = [(b"desc", text), (b"cprt", b"text\0\0\0\0none\0\0\0\0"), (b"wtpt", xyz(.9642, 1, .8249)), (b"rXYZ", xyz(.1431, .0606, .7141)),
            (b"gXYZ", xyz(.3851, .7169, .0971)), (b"bXYZ", xyz(.4361, .2225, .0139)), (b"rTRC", curve), (b"gTRC", curve), (b"bTRC", curve)]
    table, body, offset = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for kind, data in tags:
        table += kind + struct.pack(">II", offset + len(body), len(data))
        body += data
    size = offset + len(body)
    head = struct.pack(">I", size) + b"\0\0\0\0" + struct.pack(">I", 0x02100000) + b"mntrRGB XYZ " + struct.pack(">6H", 2024, 1, 1, 0, 0, 0)
    head += b"acsp" + b"\0" * 28 + fixed(.9642) + fixed(1) + fixed(.8249)
    return head + b"\0" * (128 - len(head)) + table + body


profile = swapped_profile()
srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def managed(array):
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return np.asarray(ImageCms.profileToProfile(Image.fromarray(array), source, srgb, outputMode="RGB"))


# PNG
save("rgb.png", rgb)
save("grey.png", grey)
save("rgba.png", np.dstack([rgb, alpha]), want=over_white(rgb, alpha))
save("grey_alpha.png", np.dstack([grey, alpha]), "LA", want=over_white(np.repeat(grey[..., None], 3, -1), alpha))
Image.fromarray(rgb).quantize(9).save(pictures / "palette.png")
keep("palette.png", np.asarray(Image.open(pictures / "palette.png").convert("RGB")))
p = Image.fromarray(rgb).quantize(9)
p.save(pictures / "palette_alpha.png", transparency=bytes(range(0, 252, 28)))
rgba = np.asarray(Image.open(pictures / "palette_alpha.png").convert("RGBA"))
keep("palette_alpha.png", over_white(rgba[..., :3], rgba[..., 3]))
bits = (grey > 100).astype(np.uint8) * 255
Image.fromarray(bits).convert("1", dither=0).save(pictures / "one_bit.png")
keep("one_bit.png", np.repeat(bits[..., None], 3, -1))
wide = rng.integers(0, 65536, (H, W, 3))
png("rgb16.png", 2, 16, [[row.astype(">u2") for row in wide]])
keep("rgb16.png", (wide * 255 + 32767) // 65535)
png("interlaced.png", 2, 8, [[rgb[r, x0::dx] for r in range(y0, H, dy)] for x0, y0, dx, dy in
    ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))], interlace=1)
keep("interlaced.png", rgb)
save("icc.png", rgb, want=managed(rgb), icc_profile=profile)
save("srgb_icc.png", rgb, want=rgb, icc_profile=srgb.tobytes())
gama = struct.pack(">I", 4) + b"gAMA" + struct.pack(">I", 100000) + struct.pack(">I", zlib.crc32(b"gAMA" + struct.pack(">I", 100000)))
png("linear.png", 0, 8, [[row for row in grey]], extra=gama)
linear = grey / 255.0
encoded = np.where(linear <= .0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - .055)
keep("linear.png", np.repeat(np.rint(encoded * 255)[..., None], 3, -1))
Image.fromarray(rgb).save(pictures / "animated.png", save_all=True, append_images=[Image.fromarray(255 - rgb)])

# JPEG; smooth pictures, so that two decoders agree within two levels
save("rgb.jpg", rgb, quality=95)
save("progressive.jpg", rgb, quality=90, progressive=True)
save("grey.jpg", grey, quality=95)
save("icc.jpg", rgb, want=managed(np.asarray(Image.open(pictures / "rgb.jpg"))), quality=95, icc_profile=profile)
Image.fromarray(rgb).convert("CMYK").save(pictures / "cmyk.jpg", quality=95)
keep("cmyk.jpg", np.asarray(Image.open(pictures / "cmyk.jpg").convert("RGB")))
corner = np.full((16, 32, 3), 255, np.uint8)
corner[:8, :8] = (255, 0, 0)
for orientation in range(1, 9):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(corner).save(pictures / f"turn{orientation}.jpg", quality=95, subsampling=0, exif=exif.tobytes())
exif = Image.Exif()
exif[0x0112] = 6
turned = np.rot90(rgb, -1)
save("turned.png", rgb, want=turned, exif=exif.tobytes())

# WebP
save("rgb.webp", rgb, want=rgb, lossless=True)
save("rgba.webp", np.dstack([rgb, np.maximum(alpha, 1)]), want=over_white(rgb, np.maximum(alpha, 1)), lossless=True, exact=True)
save("lossy.webp", rgb, quality=90)
save("turned.webp", rgb, want=turned, lossless=True, exif=exif.tobytes())
save("icc.webp", rgb, want=managed(rgb), lossless=True, icc_profile=profile)
Image.fromarray(rgb).save(pictures / "animated.webp", save_all=True, append_images=[Image.fromarray(255 - rgb)])

# What we refuse
for kind in ("gif", "bmp", "tiff"):
    Image.fromarray(rgb).save(pictures / f"picture.{kind}")
# Chinese text, as Pillow writes it
from PIL.PngImagePlugin import PngInfo
info = PngInfo()
info.add_text("prompt", "一只戴帽子的小猫")
info.add_text("Comment", "caf\u00e9")
info.add_text("parameters", "steps 20 " * 40, zip=True)
info.add_itxt("workflow", '{"猫": 1}', zip=True)
Image.fromarray(rgb[:2, :2]).save(pictures / "text.png", pnginfo=info)
save_file(expected, pictures / "expected.safetensors")

# Resampling
vectors = {}
photo = np.clip(rng.normal(128, 90, (43, 61, 3)), 0, 255).astype(np.uint8)
photo[:20, :30] = np.where((np.indices((20, 30)).sum(0) // 3 % 2)[..., None], 255, 0)  # overshoot must clip
flat = np.ascontiguousarray(photo[..., 0])
vectors["rgb"], vectors["grey"] = photo, flat
for w, h in ((23, 17), (61, 17), (70, 50), (9, 60), (1, 1)):
    for kind, pil in (("lanczos", Image.LANCZOS), ("bicubic", Image.BICUBIC)):
        vectors[f"rgb.{kind}.{w}x{h}"] = np.asarray(Image.fromarray(photo).resize((w, h), pil))
        vectors[f"grey.{kind}.{w}x{h}"] = np.asarray(Image.fromarray(flat).resize((w, h), pil))
    if "avx2" in open("/proc/cpuinfo").read():
        t = torch.from_numpy(photo).permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)
        r = torch.nn.functional.interpolate(t, (h, w), mode="bicubic", antialias=True)
        vectors[f"rgb.int16.{w}x{h}"] = np.ascontiguousarray(r[0].permute(1, 2, 0).numpy())
save_file(vectors, out / "resample.safetensors")
