"""Import skia, also on machines that have no GL libraries.

The skia-python wheel names libGL and libEGL (and expat) as needed libraries.
We only rasterise on the CPU, so where one of them is absent an empty shared
object that merely carries its name and the symbols is enough for the loader.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import struct
import tempfile
from pathlib import Path

_PREFIX = {"libGL.so.1": b"gl", "libEGL.so.1": b"egl", "libexpat.so.1": b"XML_"}
_KEEP: list[ctypes.CDLL] = []


def _undefined_symbols(path: Path) -> list[bytes]:
    """Names that a 64-bit ELF file wants from other libraries."""
    data = path.read_bytes()
    shoff = struct.unpack_from("<Q", data, 40)[0]
    shentsize, shnum = struct.unpack_from("<HH", data, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, shoff + i * shentsize) for i in range(shnum)]
    names = []
    for sec in sections:
        if sec[1] != 11:  # SHT_DYNSYM
            continue
        strtab = sections[sec[6]][4]
        for off in range(sec[4], sec[4] + sec[5], 24):
            name, _info, _other, shndx = struct.unpack_from("<IBBH", data, off)
            if shndx == 0 and name:
                names.append(data[strtab + name : data.index(b"\0", strtab + name)])
    return names


def _elf_hash(name: bytes) -> int:
    h = 0
    for c in name:
        h = ((h << 4) + c) & 0xFFFFFFFF
        g = h & 0xF0000000
        h = (h ^ (g >> 24)) & ~g & 0xFFFFFFFF
    return h


def _stub_elf(soname: bytes, symbols: list[bytes]) -> bytes:
    """A minimal x86-64 shared object; every symbol is a function returning 0."""
    base, code = 0x1000, b"\x31\xc0\xc3"  # xor eax,eax; ret
    strtab, offsets = b"\0", []
    for text in [*symbols, soname]:
        offsets.append(len(strtab))
        strtab += text + b"\0"
    n = len(symbols) + 1
    hash_off = 0x200
    sym_off = hash_off + (8 + 4 * (1 + n) + 7) // 8 * 8
    str_off = sym_off + 24 * n
    dyn_off = (str_off + len(strtab) + 15) // 16 * 16
    code_off = dyn_off + 16 * 6
    size = code_off + len(code)
    syms = b"\0" * 24
    for off in offsets[:-1]:
        syms += struct.pack("<IBBHQQ", off, 0x12, 0, 1, base + code_off, len(code))
    chain = list(range(2, n)) + [0] if n > 1 else []
    table = struct.pack("<II", 1, n) + struct.pack("<I", 1 if n > 1 else 0)
    table += struct.pack(f"<{n}I", 0, *chain)
    dynamic = b"".join(
        struct.pack("<qQ", tag, val)
        for tag, val in [
            (14, offsets[-1]),
            (4, base + hash_off),
            (5, base + str_off),
            (6, base + sym_off),
            (10, len(strtab)),
            (0, 0),
        ]
    )
    head = b"\x7fELF\x02\x01\x01" + b"\0" * 9
    head += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    head += struct.pack("<IIQQQQQQ", 1, 7, 0, base, base, size, size, 0x1000)
    head += struct.pack("<IIQQQQQQ", 2, 6, dyn_off, base + dyn_off, base + dyn_off, 96, 96, 8)
    blob = bytearray(size)
    parts = ((0, head), (hash_off, table), (sym_off, syms), (str_off, strtab), (dyn_off, dynamic), (code_off, code))
    for off, part in parts:
        blob[off : off + len(part)] = part
    return bytes(blob)


def _provide_missing() -> None:
    spec = importlib.util.find_spec("skia")
    if spec is None or not spec.origin:
        return
    binaries = [Path(spec.origin), *Path(spec.origin).parent.glob("skia_python.libs/*.so*")]
    wanted = sorted({s for b in binaries for s in _undefined_symbols(b)})
    for soname, prefix in _PREFIX.items():
        try:
            _KEEP.append(ctypes.CDLL(soname))
            continue
        except OSError:
            pass
        symbols = [s for s in wanted if s.startswith(prefix)]
        fd, name = tempfile.mkstemp(suffix=".so")
        try:
            os.write(fd, _stub_elf(soname.encode(), symbols))
            os.close(fd)
            _KEEP.append(ctypes.CDLL(name))
        finally:
            os.unlink(name)


try:
    import skia
except ImportError as error:
    if ".so" not in str(error):
        raise
    _provide_missing()
    import skia  # noqa: F401  (second try, the missing names are now loaded)
