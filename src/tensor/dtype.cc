#include "tensor/dtype.h"

#include <array>
#include <bit>
#include <cmath>

#include "base/error.h"

namespace inkling {

const DTypeInfo& info(DType type) {
  // In the order of the enumeration.
  static constexpr std::array<DTypeInfo, 24> kInfo{{
      {"f32", 1, 4},      {"f64", 1, 8},      {"bf16", 1, 2},     {"f16", 1, 2},        {"f8_e4m3", 1, 1},
      {"f8_e5m2", 1, 1},  {"i64", 1, 8},      {"i32", 1, 4},      {"i16", 1, 2},        {"i8", 1, 1},
      {"u8", 1, 1},       {"bool", 1, 1},     {"q4_0", 32, 18},   {"q4_1", 32, 20},     {"q5_0", 32, 22},
      {"q5_1", 32, 24},   {"q8_0", 32, 34},   {"q2_k", 256, 84},  {"q3_k", 256, 110},   {"q4_k", 256, 144},
      {"q5_k", 256, 176}, {"q6_k", 256, 210}, {"iq4_nl", 32, 18}, {"iq4_xs", 256, 136},
  }};
  return kInfo[static_cast<size_t>(type)];
}

int64_t row_bytes(DType type, int64_t elements) {
  const DTypeInfo& i = info(type);
  if (elements % i.block_elements != 0)
    throw ModelError("{}: a row of {} elements is no whole number of {}-element blocks", i.name, elements,
                     i.block_elements);
  return elements / i.block_elements * i.block_bytes;
}

float to_float(bf16_t value) { return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16); }

bf16_t to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return {static_cast<uint16_t>((bits >> 16) | 0x40)};  // keep NaN a NaN
  return {static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

float to_float(f16_t value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000) << 16;
  const uint32_t exponent = (value.bits >> 10) & 0x1f;
  const uint32_t mantissa = value.bits & 0x3ff;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
  }
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

f16_t to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return {static_cast<uint16_t>(sign | 0x7e00)};
  if (magnitude >= 0x477ff000) return {static_cast<uint16_t>(sign | 0x7c00)};  // rounds to infinity
  if (magnitude < 0x38800000) {  // subnormal: multiples of 2^-24, rounded to even by the FPU
    const float scaled = std::bit_cast<float>(magnitude) * 0x1p24f;
    return {static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(scaled)))};
  }
  const uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
  return {static_cast<uint16_t>(sign | ((rounded - 0x38000000) >> 13))};
}

}  // namespace inkling
