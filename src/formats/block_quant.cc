// Block layouts of GGUF, as documented by ggml and its Python package `gguf`. Every product and difference is
// rounded to float separately and in the same order as there, so that results are equal bit for bit; a build
// that contracts a*b-c into one fused operation would break that.
#include "formats/block_quant.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/threads.h"
#include "formats/k_quant.h"

namespace inkling {

namespace {

constexpr int kSuper = 256;  // elements of a K block

uint8_t at(const std::byte* p, int i) { return static_cast<uint8_t>(p[i]); }
int8_t signed_at(const std::byte* p, int i) { return static_cast<int8_t>(p[i]); }
// Blocks may lie at any address.
float half_at(const std::byte* p) {
  f16_t value;
  std::memcpy(&value, p, sizeof(value));
  return to_float(value);
}
uint32_t word_at(const std::byte* p) {
  uint32_t value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

// Entries of the non-linear 4-bit formats.
constexpr int8_t kNonLinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// Blocks of 32: scale d, perhaps minimum m, perhaps 32 fifth bits, then 16 bytes whose low nibbles are the
// elements 0..15 and whose high nibbles are 16..31.
void block_q4_0(const std::byte* b, float* y) {
  const float d = half_at(b);
  for (int i = 0; i < 16; ++i) {
    y[i] = d * static_cast<float>((at(b, 2 + i) & 15) - 8);
    y[i + 16] = d * static_cast<float>((at(b, 2 + i) >> 4) - 8);
  }
}

void block_q4_1(const std::byte* b, float* y) {
  const float d = half_at(b), m = half_at(b + 2);
  for (int i = 0; i < 16; ++i) {
    y[i] = d * static_cast<float>(at(b, 4 + i) & 15) + m;
    y[i + 16] = d * static_cast<float>(at(b, 4 + i) >> 4) + m;
  }
}

void block_q5_0(const std::byte* b, float* y) {
  const float d = half_at(b);
  const uint32_t high = word_at(b + 2);
  for (uint32_t i = 0; i < 16; ++i) {
    const int q = at(b, 6 + static_cast<int>(i));
    y[i] = d * static_cast<float>(((q & 15) | static_cast<int>((high >> i & 1) << 4)) - 16);
    y[i + 16] = d * static_cast<float>(((q >> 4) | static_cast<int>((high >> (i + 16) & 1) << 4)) - 16);
  }
}

void block_q5_1(const std::byte* b, float* y) {
  const float d = half_at(b), m = half_at(b + 2);
  const uint32_t high = word_at(b + 4);
  for (uint32_t i = 0; i < 16; ++i) {
    const int q = at(b, 8 + static_cast<int>(i));
    y[i] = d * static_cast<float>((q & 15) | static_cast<int>((high >> i & 1) << 4)) + m;
    y[i + 16] = d * static_cast<float>((q >> 4) | static_cast<int>((high >> (i + 16) & 1) << 4)) + m;
  }
}

void block_q8_0(const std::byte* b, float* y) {
  const float d = half_at(b);
  for (int i = 0; i < 32; ++i) y[i] = static_cast<float>(signed_at(b, 2 + i)) * d;
}

void block_iq4_nl(const std::byte* b, float* y) {
  const float d = half_at(b);
  for (int i = 0; i < 16; ++i) {
    y[i] = d * static_cast<float>(kNonLinear[at(b, 2 + i) & 15]);
    y[i + 16] = d * static_cast<float>(kNonLinear[at(b, 2 + i) >> 4]);
  }
}

// 16 groups of 16: 16 bytes (low nibble scale, high nibble minimum), 64 bytes of 2-bit values, d, dmin. The two
// bits at shift s of bytes 0..31 are elements 32·(s/2) + 0..31, those of bytes 32..63 are 128 further on.
void block_q2_k(const std::byte* b, float* y) {
  const float d = half_at(b + 80), dmin = half_at(b + 82);
  for (int i = 0; i < kSuper; ++i) {
    const int scale = at(b, i / 16);
    const int q = at(b, 16 + i / 128 * 32 + i % 32) >> (i % 128 / 32 * 2) & 3;
    const float dl = d * static_cast<float>(scale & 15), ml = dmin * static_cast<float>(scale >> 4);
    y[i] = dl * static_cast<float>(q) - ml;
  }
}

// 32 bytes of third bits, 64 of 2-bit values (as q2_k), 16 six-bit scales in 12 bytes, d.
void block_q3_k(const std::byte* b, float* y) {
  const float d = half_at(b + 108);
  for (int i = 0; i < kSuper; ++i) {
    const int g = i / 16;
    const int low = at(b, 96 + g % 8) >> (g / 8 * 4) & 15, high = at(b, 104 + g % 4) >> (g / 4 * 2) & 3;
    const float dl = d * static_cast<float>((low | high << 4) - 32);
    const int q = at(b, 32 + i / 128 * 32 + i % 32) >> (i % 128 / 32 * 2) & 3;
    const int third = at(b, i % 32) >> (i / 32) & 1;  // set means: nothing is subtracted
    y[i] = dl * static_cast<float>(q - (third ? 0 : 4));
  }
}

// The eight six-bit scales and minima of q4_k and q5_k, in 12 bytes.
void unpack_scale_min(const std::byte* s, int j, int& scale, int& minimum) {
  if (j < 4) {
    scale = at(s, j) & 63;
    minimum = at(s, j + 4) & 63;
  } else {
    scale = (at(s, j + 4) & 15) | (at(s, j - 4) >> 2 & 48);
    minimum = at(s, j + 4) >> 4 | (at(s, j) >> 2 & 48);
  }
}

// 8 groups of 32: d, dmin, 12 bytes of scales and minima, 128 bytes. Groups 2k and 2k+1 are the low and high
// nibbles of bytes 32k..32k+31.
void block_q4_k(const std::byte* b, float* y) {
  const float d = half_at(b), dmin = half_at(b + 2);
  for (int g = 0; g < 8; ++g) {
    int scale, minimum;
    unpack_scale_min(b + 4, g, scale, minimum);
    const float dl = d * static_cast<float>(scale), ml = dmin * static_cast<float>(minimum);
    const std::byte* q = b + 16 + g / 2 * 32;
    for (int i = 0; i < 32; ++i) y[g * 32 + i] = dl * static_cast<float>(at(q, i) >> (g % 2 * 4) & 15) - ml;
  }
}

// As q4_k with 32 bytes of fifth bits before the nibbles: bit g of byte i belongs to element i of group g.
void block_q5_k(const std::byte* b, float* y) {
  const float d = half_at(b), dmin = half_at(b + 2);
  for (int g = 0; g < 8; ++g) {
    int scale, minimum;
    unpack_scale_min(b + 4, g, scale, minimum);
    const float dl = d * static_cast<float>(scale), ml = dmin * static_cast<float>(minimum);
    const std::byte* q = b + 48 + g / 2 * 32;
    for (int i = 0; i < 32; ++i) {
      const int value = (at(q, i) >> (g % 2 * 4) & 15) | (at(b, 16 + i) >> g & 1) << 4;
      y[g * 32 + i] = dl * static_cast<float>(value) - ml;
    }
  }
}

// 128 bytes of low nibbles, 64 of upper two bits, 16 signed scales, d. In each half of 128 elements, run r of
// 32 takes nibble r/2 of bytes 32·(r%2).. and the bits at shift 2r.
void block_q6_k(const std::byte* b, float* y) {
  const float d = half_at(b + 208);
  for (int i = 0; i < kSuper; ++i) {
    const int half = i / 128, r = i % 128 / 32;
    const int low = at(b, half * 64 + r % 2 * 32 + i % 32) >> (r / 2 * 4) & 15;
    const int high = at(b, 128 + half * 32 + i % 32) >> (2 * r) & 3;
    const float dl = d * static_cast<float>(signed_at(b, 192 + i / 16));
    y[i] = dl * static_cast<float>((low | high << 4) - 32);
  }
}

// 8 groups of 32: d, upper two bits of the scales (16 bits), lower four (4 bytes), then 16 bytes a group as iq4_nl.
void block_iq4_xs(const std::byte* b, float* y) {
  const float d = half_at(b);
  const int upper = at(b, 2) | at(b, 3) << 8;
  for (int g = 0; g < 8; ++g) {
    const int scale = (at(b, 4 + g / 2) >> (g % 2 * 4) & 15) | (upper >> (2 * g) & 3) << 4;
    const float dl = d * static_cast<float>(scale - 32);
    const std::byte* q = b + 8 + g * 16;
    for (int i = 0; i < 16; ++i) {
      y[g * 32 + i] = dl * static_cast<float>(kNonLinear[at(q, i) & 15]);
      y[g * 32 + i + 16] = dl * static_cast<float>(kNonLinear[at(q, i) >> 4]);
    }
  }
}

using BlockReader = void (*)(const std::byte*, float*);

BlockReader block_reader(DType type) {
  switch (type) {
    case DType::q4_0: return block_q4_0;
    case DType::q4_1: return block_q4_1;
    case DType::q5_0: return block_q5_0;
    case DType::q5_1: return block_q5_1;
    case DType::q8_0: return block_q8_0;
    case DType::q2_k: return block_q2_k;
    case DType::q3_k: return block_q3_k;
    case DType::q4_k: return block_q4_k;
    case DType::q5_k: return block_q5_k;
    case DType::q6_k: return block_q6_k;
    case DType::iq4_nl: return block_iq4_nl;
    case DType::iq4_xs: return block_iq4_xs;
    default: return nullptr;
  }
}

void store_half(float value, std::byte* p) {
  const f16_t half = to_f16(value);
  std::memcpy(p, &half, sizeof(half));
}

// d = max|x| / 127, rounded to the nearest step, halves away from zero.
void quantize_q8_0(const float* x, std::byte* b) {
  float largest = 0.f;
  for (int i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(x[i]));
  const float d = largest / 127.f;
  const float inverse = d == 0.f ? 0.f : 1.f / d;
  store_half(d, b);
  for (int i = 0; i < 32; ++i) {
    const float q = std::round(x[i] * inverse);
    b[2 + i] = static_cast<std::byte>(static_cast<int8_t>(q >= -127.f && q <= 127.f ? q : 0.f));  // NaN and infinity: 0
  }
}

// d maps the element of largest magnitude to -8, so that all 16 codes are used.
void quantize_q4_0(const float* x, std::byte* b) {
  float extreme = 0.f;
  for (int i = 0; i < 32; ++i)
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  const float d = extreme / -8.f;
  const float inverse = d == 0.f ? 0.f : 1.f / d;
  store_half(d, b);
  const auto code = [&](float value) {
    const float shifted = value * inverse + 8.5f;
    return shifted >= 0.f ? std::min(15, static_cast<int>(std::min(shifted, 15.5f))) : 0;
  };
  for (int i = 0; i < 16; ++i) b[2 + i] = static_cast<std::byte>(code(x[i]) | code(x[i + 16]) << 4);
}

}  // namespace

bool can_dequantize(DType type) {
  return type == DType::f32 || type == DType::bf16 || type == DType::f16 || block_reader(type) != nullptr;
}

void dequantize_row(DType type, const std::byte* src, float* dst, int64_t elements) {
  const int64_t bytes = row_bytes(type, elements);
  const auto each_half = [&](auto convert) {
    for (int64_t i = 0; i < elements; ++i) {
      uint16_t bits;
      std::memcpy(&bits, src + 2 * i, sizeof(bits));
      dst[i] = convert(bits);
    }
  };
  if (elements == 0) return;
  if (type == DType::f32) {
    std::memcpy(dst, src, static_cast<size_t>(bytes));
  } else if (type == DType::bf16) {
    // Spelled out, so that the loop is vectorized: most of all weights come this way.
    each_half([](uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); });
  } else if (type == DType::f16) {
    each_half([](uint16_t bits) { return to_float(f16_t{bits}); });
  } else if (const BlockReader read = block_reader(type)) {
    const DTypeInfo& block = info(type);
    for (int64_t i = 0; i < elements / block.block_elements; ++i)
      read(src + i * block.block_bytes, dst + i * block.block_elements);
  } else {
    throw ModelError("dequantize: {} is not supported", name(type));
  }
}

bool can_quantize(DType type) {
  return type == DType::f32 || type == DType::bf16 || type == DType::f16 || type == DType::q8_0 ||
         type == DType::q4_0 || is_written_k_quant(type);
}

void quantize_row(DType type, const float* src, std::byte* dst, int64_t elements) {
  const int64_t bytes = row_bytes(type, elements);
  const auto each_half = [&](auto convert) {
    for (int64_t i = 0; i < elements; ++i) {
      const uint16_t bits = convert(src[i]).bits;
      std::memcpy(dst + 2 * i, &bits, sizeof(bits));
    }
  };
  if (elements == 0) return;
  switch (type) {
    case DType::f32: std::memcpy(dst, src, static_cast<size_t>(bytes)); return;
    case DType::bf16: each_half([](float v) { return to_bf16(v); }); return;
    case DType::f16: each_half([](float v) { return to_f16(v); }); return;
    case DType::q8_0:
      for (int64_t i = 0; i < elements / 32; ++i) quantize_q8_0(src + i * 32, dst + i * 34);
      return;
    case DType::q4_0:
      for (int64_t i = 0; i < elements / 32; ++i) quantize_q4_0(src + i * 32, dst + i * 18);
      return;
    case DType::q4_k:
    case DType::q5_k:
    case DType::q6_k: {
      const DTypeInfo& block = info(type);
      for (int64_t i = 0; i < elements / block.block_elements; ++i)
        quantize_k_block(type, src + i * block.block_elements, dst + i * block.block_bytes);
      return;
    }
    default: throw ModelError("quantize: {} cannot be written", name(type));
  }
}

Tensor dequantize(const Tensor& tensor) {
  if (!can_dequantize(tensor.dtype())) return to_f32(tensor);
  Tensor result = host_tensor(tensor.shape());
  const DTypeInfo& type = info(tensor.dtype());
  const std::byte* src = tensor.raw();
  float* dst = result.data<float>();
  // Blocks never straddle a row, so the tensor is one long row.
  const int64_t blocks = tensor.elements() / type.block_elements;
  parallel_for(blocks, 65'536 / type.block_elements, [&](int64_t begin, int64_t end) {
    dequantize_row(tensor.dtype(), src + begin * type.block_bytes, dst + begin * type.block_elements,
                   (end - begin) * type.block_elements);
  });
  return result;
}

}  // namespace inkling
