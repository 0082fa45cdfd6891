// Block formats of GGUF as device code. A thread unpacks 16 elements: two runs of 8, which the layouts of the blocks
// let it read from the same bytes. Steps are rounded one by one, in the order of formats/block_quant.cc: nvcc would
// contract a * b - c, so products and sums are intrinsics that it leaves alone.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "tensor/dtype.h"

namespace inkling::cuda {

// Addresses are multiples of kAlign: the largest power of 2 that divides a block's bytes, at most 16.
template <int kAlign>
__device__ uint2 load_8_bytes(const uint8_t* p) {
  if constexpr (kAlign >= 8) {
    return *reinterpret_cast<const uint2*>(p);
  } else if constexpr (kAlign == 4) {
    const uint32_t* w = reinterpret_cast<const uint32_t*>(p);
    return make_uint2(w[0], w[1]);
  } else {
    const uint16_t* h = reinterpret_cast<const uint16_t*>(p);
    return make_uint2(h[0] | uint32_t{h[1]} << 16, h[2] | uint32_t{h[3]} << 16);
  }
}
template <int kAlign>
__device__ uint32_t load_word(const uint8_t* p) {
  if constexpr (kAlign >= 4) return *reinterpret_cast<const uint32_t*>(p);
  const uint16_t* h = reinterpret_cast<const uint16_t*>(p);
  return h[0] | uint32_t{h[1]} << 16;
}
__device__ inline float load_half(const uint8_t* p) { return __half2float(*reinterpret_cast<const __half*>(p)); }

// Byte i of 8.
__device__ inline uint32_t byte_of(uint2 v, int i) { return (i < 4 ? v.x : v.y) >> (i % 4 * 8) & 255; }
// Exact: q < 2^23, offset an integer.
__device__ inline float integer(uint32_t q, float offset = 0.f) {
  return __uint_as_float(0x4b000000u | q) - (8388608.f + offset);
}

// A run is 8 elements: where it begins in the block, and how its values come about.
struct Run {
  int begin;
  float v[8];
  // v = d * (q - offset)
  template <class Code>
  __device__ void scaled(float d, float offset, const Code& code) {
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = __fmul_rn(d, integer(code(i), offset));
  }
  // v = d * q - m
  template <class Code>
  __device__ void scaled_minus(float d, float m, const Code& code) {
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = __fsub_rn(__fmul_rn(d, integer(code(i))), m);
  }
  // v = d * q + m
  template <class Code>
  __device__ void scaled_plus(float d, float m, const Code& code) {
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = __fadd_rn(__fmul_rn(d, integer(code(i))), m);
  }
};

// Entries of the non-linear 4-bit formats; read from shared memory, where 16 entries meet no bank conflict.
__device__ constexpr float kNonLinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

template <DType type>
struct Block;

// Blocks of 32, unit u of 2: bytes 8 u .. 8 u + 7 hold elements 8 u .. and 16 + 8 u ...
template <>
struct Block<DType::q4_0> {
  static constexpr int kElements = 32, kBytes = 18, kAlign = 2;
  static __device__ void unpack(const uint8_t* b, int u, const float*, Run& low, Run& high) {
    const float d = load_half(b);
    const uint2 q = load_8_bytes<kAlign>(b + 2 + 8 * u);
    low.begin = 8 * u, high.begin = 16 + 8 * u;
    low.scaled(d, 8.f, [&](int i) { return byte_of(q, i) & 15; });
    high.scaled(d, 8.f, [&](int i) { return byte_of(q, i) >> 4; });
  }
};

template <>
struct Block<DType::q4_1> {
  static constexpr int kElements = 32, kBytes = 20, kAlign = 4;
  static __device__ void unpack(const uint8_t* b, int u, const float*, Run& low, Run& high) {
    const float d = load_half(b), m = load_half(b + 2);
    const uint2 q = load_8_bytes<kAlign>(b + 4 + 8 * u);
    low.begin = 8 * u, high.begin = 16 + 8 * u;
    low.scaled_plus(d, m, [&](int i) { return byte_of(q, i) & 15; });
    high.scaled_plus(d, m, [&](int i) { return byte_of(q, i) >> 4; });
  }
};

template <>
struct Block<DType::q5_0> {
  static constexpr int kElements = 32, kBytes = 22, kAlign = 2;
  static __device__ void unpack(const uint8_t* b, int u, const float*, Run& low, Run& high) {
    const float d = load_half(b);
    const uint32_t fifth = load_word<kAlign>(b + 2) >> (8 * u);
    const uint2 q = load_8_bytes<kAlign>(b + 6 + 8 * u);
    low.begin = 8 * u, high.begin = 16 + 8 * u;
    low.scaled(d, 16.f, [&](int i) { return (byte_of(q, i) & 15) | (fifth >> i & 1) << 4; });
    high.scaled(d, 16.f, [&](int i) { return byte_of(q, i) >> 4 | (fifth >> (i + 16) & 1) << 4; });
  }
};

template <>
struct Block<DType::q5_1> {
  static constexpr int kElements = 32, kBytes = 24, kAlign = 8;
  static __device__ void unpack(const uint8_t* b, int u, const float*, Run& low, Run& high) {
    const float d = load_half(b), m = load_half(b + 2);
    const uint32_t fifth = load_word<kAlign>(b + 4) >> (8 * u);
    const uint2 q = load_8_bytes<kAlign>(b + 8 + 8 * u);
    low.begin = 8 * u, high.begin = 16 + 8 * u;
    low.scaled_plus(d, m, [&](int i) { return (byte_of(q, i) & 15) | (fifth >> i & 1) << 4; });
    high.scaled_plus(d, m, [&](int i) { return byte_of(q, i) >> 4 | (fifth >> (i + 16) & 1) << 4; });
  }
};

template <>
struct Block<DType::iq4_nl> {
  static constexpr int kElements = 32, kBytes = 18, kAlign = 2;
  static __device__ void group(const uint8_t* q8, int u, float d, const float* table, Run& low, Run& high) {
    const uint2 q = load_8_bytes<kAlign>(q8 + 8 * u);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      low.v[i] = __fmul_rn(d, table[byte_of(q, i) & 15]);
      high.v[i] = __fmul_rn(d, table[byte_of(q, i) >> 4]);
    }
  }
  static __device__ void unpack(const uint8_t* b, int u, const float* table, Run& low, Run& high) {
    low.begin = 8 * u, high.begin = 16 + 8 * u;
    group(b + 2, u, load_half(b), table, low, high);
  }
};

template <>
struct Block<DType::iq4_xs> {
  static constexpr int kElements = 256, kBytes = 136, kAlign = 8;
  static __device__ void unpack(const uint8_t* b, int u, const float* table, Run& low, Run& high) {
    const int g = u / 2;
    const uint32_t upper = *reinterpret_cast<const uint16_t*>(b + 2);
    const uint32_t scale = (b[4 + g / 2] >> (g % 2 * 4) & 15u) | (upper >> (2 * g) & 3) << 4;
    low.begin = g * 32 + u % 2 * 8, high.begin = low.begin + 16;
    Block<DType::iq4_nl>::group(b + 8 + g * 16, u % 2, __fmul_rn(load_half(b), integer(scale, 32.f)), table, low, high);
  }
};

template <>
struct Block<DType::q8_0> {
  static constexpr int kElements = 32, kBytes = 34, kAlign = 2;
  static __device__ void run(const uint8_t* b, float d, Run& r) {
    uint2 q = load_8_bytes<kAlign>(b + 2 + r.begin);
    q.x ^= 0x80808080u, q.y ^= 0x80808080u;
    r.scaled(d, 128.f, [&](int i) { return byte_of(q, i); });
  }
  static __device__ void unpack(const uint8_t* b, int u, const float*, Run& low, Run& high) {
    const float d = load_half(b);
    low.begin = 8 * u, high.begin = 16 + 8 * u;
    run(b, d, low);
    run(b, d, high);
  }
};

// Super-blocks of 256, 16 units. Layouts: formats/block_quant.cc.
template <>
struct Block<DType::q2_k> {
  static constexpr int kElements = 256, kBytes = 84, kAlign = 4;
  static __device__ void run(const uint8_t* b, uint2 q, int shift, float d, float dmin, Run& r) {
    const uint32_t scale = b[r.begin / 16];
    const float dl = __fmul_rn(d, integer(scale & 15)), ml = __fmul_rn(dmin, integer(scale >> 4));
    r.scaled_minus(dl, ml, [&](int i) { return byte_of(q, i) >> shift & 3; });
  }
  static __device__ void unpack(const uint8_t* b, int u, const float*, Run& low, Run& high) {
    const int half = u / 8, pair = u / 4 % 2, part = u % 4;
    const float d = load_half(b + 80), dmin = load_half(b + 82);
    const uint2 q = load_8_bytes<kAlign>(b + 16 + half * 32 + part * 8);
    low.begin = half * 128 + pair * 64 + part * 8, high.begin = low.begin + 32;
    run(b, q, pair * 4, d, dmin, low);
    run(b, q, pair * 4 + 2, d, dmin, high);
  }
};

template <>
struct Block<DType::q3_k> {
  static constexpr int kElements = 256, kBytes = 110, kAlign = 2;
  static __device__ void run(const uint8_t* b, uint2 q, uint2 third, int shift, float d, Run& r) {
    const int g = r.begin / 16;
    const uint32_t low = b[96 + g % 8] >> (g / 8 * 4) & 15u, high = b[104 + g % 4] >> (g / 4 * 2) & 3u;
    const int bit = r.begin / 32;
    r.scaled(__fmul_rn(d, integer(low | high << 4, 32.f)), 4.f,
             [&](int i) { return (byte_of(q, i) >> shift & 3) | (byte_of(third, i) >> bit & 1) << 2; });
  }
  static __device__ void unpack(const uint8_t* b, int u, const float*, Run& low, Run& high) {
    const int half = u / 8, pair = u / 4 % 2, part = u % 4;
    const float d = load_half(b + 108);
    const uint2 q = load_8_bytes<kAlign>(b + 32 + half * 32 + part * 8), third = load_8_bytes<kAlign>(b + part * 8);
    low.begin = half * 128 + pair * 64 + part * 8, high.begin = low.begin + 32;
    run(b, q, third, pair * 4, d, low);
    run(b, q, third, pair * 4 + 2, d, high);
  }
};

// The eight six-bit scales and minima of q4_k and q5_k, in 12 bytes: group g's as d * scale and dmin * minimum.
struct ScaleMinimum {
  float scale, minimum;
  __device__ ScaleMinimum(const uint8_t* s, int g, float d, float dmin) {
    const uint32_t a = s[g % 4], b = s[g % 4 + 4];
    uint32_t q = a & 63, m = b & 63;
    if (g >= 4) {
      const uint32_t c = s[g + 4];
      q = (c & 15) | (a >> 2 & 48), m = c >> 4 | (b >> 2 & 48);
    }
    scale = __fmul_rn(d, integer(q)), minimum = __fmul_rn(dmin, integer(m));
  }
};

template <>
struct Block<DType::q4_k> {
  static constexpr int kElements = 256, kBytes = 144, kAlign = 16;
  static __device__ void unpack(const uint8_t* b, int u, const float*, Run& low, Run& high) {
    const int pair = u / 4, part = u % 4;
    const float d = load_half(b), dmin = load_half(b + 2);
    const uint2 q = load_8_bytes<kAlign>(b + 16 + pair * 32 + part * 8);
    const ScaleMinimum first(b + 4, 2 * pair, d, dmin), second(b + 4, 2 * pair + 1, d, dmin);
    low.begin = pair * 64 + part * 8, high.begin = low.begin + 32;
    low.scaled_minus(first.scale, first.minimum, [&](int i) { return byte_of(q, i) & 15; });
    high.scaled_minus(second.scale, second.minimum, [&](int i) { return byte_of(q, i) >> 4; });
  }
};

template <>
struct Block<DType::q5_k> {
  static constexpr int kElements = 256, kBytes = 176, kAlign = 16;
  static __device__ void unpack(const uint8_t* b, int u, const float*, Run& low, Run& high) {
    const int pair = u / 4, part = u % 4;
    const float d = load_half(b), dmin = load_half(b + 2);
    const uint2 q = load_8_bytes<kAlign>(b + 48 + pair * 32 + part * 8),
                fifth = load_8_bytes<kAlign>(b + 16 + part * 8);
    const ScaleMinimum first(b + 4, 2 * pair, d, dmin), second(b + 4, 2 * pair + 1, d, dmin);
    low.begin = pair * 64 + part * 8, high.begin = low.begin + 32;
    low.scaled_minus(first.scale, first.minimum,
                     [&](int i) { return (byte_of(q, i) & 15) | (byte_of(fifth, i) >> (2 * pair) & 1) << 4; });
    high.scaled_minus(second.scale, second.minimum,
                      [&](int i) { return byte_of(q, i) >> 4 | (byte_of(fifth, i) >> (2 * pair + 1) & 1) << 4; });
  }
};

template <>
struct Block<DType::q6_k> {
  static constexpr int kElements = 256, kBytes = 210, kAlign = 2;
  static __device__ float scale(const uint8_t* b, int begin, float d) {
    return __fmul_rn(d, integer(b[192 + begin / 16] ^ 128u, 128.f));
  }
  static __device__ void unpack(const uint8_t* b, int u, const float*, Run& low, Run& high) {
    const int half = u / 8, r = u / 4 % 2, part = u % 4;
    const float d = load_half(b + 208);
    const uint2 q = load_8_bytes<kAlign>(b + half * 64 + r * 32 + part * 8);
    const uint2 upper = load_8_bytes<kAlign>(b + 128 + half * 32 + part * 8);
    low.begin = half * 128 + r * 32 + part * 8, high.begin = low.begin + 64;
    low.scaled(scale(b, low.begin, d), 32.f,
               [&](int i) { return (byte_of(q, i) & 15) | (byte_of(upper, i) >> (2 * r) & 3) << 4; });
    high.scaled(scale(b, high.begin, d), 32.f,
                [&](int i) { return byte_of(q, i) >> 4 | (byte_of(upper, i) >> (2 * r + 4) & 3) << 4; });
  }
};

}  // namespace inkling::cuda
