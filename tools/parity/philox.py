"""Philox4x32-10 normals as the CUDA generator of torch draws them, independent of any GPU."""

import numpy as np

_M = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)


def philox(counter, key):
    """counter: four uint32 arrays; key: two ints.  Ten rounds, vectorised."""
    c = [np.asarray(word).astype(np.uint64) for word in counter]
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c[0] * _M[0], c[2] * _M[1]
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), p1 & _LOW,
             (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), p0 & _LOW]  # fmt: skip
        k0, k1 = (k0 + _W[0]) & 0xFFFFFFFF, (k1 + _W[1]) & 0xFFFFFFFF
    return [word.astype(np.uint32) for word in c]


def threads(n, processors, threads_per_processor):
    """Threads of the kernel that fills n values."""
    return 256 * min(-(-n // 256), processors * (threads_per_processor // 256))


def normals(n, seed, total_threads):
    """fp32 values for a fresh generator; logarithm and angle functions in double precision."""
    i = np.arange(n, dtype=np.uint64)
    t = np.uint64(total_threads)
    zero = np.zeros(n, dtype=np.uint32)
    seed &= 0xFFFFFFFFFFFFFFFF
    x = philox([i // (np.uint64(4) * t), zero, i % t, zero], (seed & 0xFFFFFFFF, seed >> 32))
    which = ((i // t) % np.uint64(4)).astype(np.int64)
    inverse = np.float32(2.0**-32)
    half = np.float32(2.0**-33)
    first = np.where(which < 2, x[0], x[2]).astype(np.float32) * inverse + half
    second = np.where(which < 2, x[1], x[3]).astype(np.float32)
    angle = second.astype(np.float64) * 2.0**-32 * 2 * np.pi + 2.0**-33 * 2 * np.pi
    radius = np.sqrt(-2.0 * np.log(first.astype(np.float64)))
    return (radius * np.where(which % 2 == 0, np.sin(angle), np.cos(angle))).astype(np.float32)
