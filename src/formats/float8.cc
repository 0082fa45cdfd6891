#include "formats/float8.h"

#include <algorithm>
#include <cmath>

namespace inkling {

namespace {

// Codes count the steps between neighbouring values from 0 up: 2^-(bias - 1 + mantissa bits) below the smallest normal
// value, then 2^bits steps in each binade. Rounding may carry into the next binade, whose first code follows.
template <typename Round>
uint8_t encode(float value, int mantissa_bits, int bias, float largest, Round round) {
  const auto sign = static_cast<uint8_t>(std::signbit(value) ? 0x80 : 0);
  if (std::isnan(value)) return sign | 0x7f;
  const float magnitude = std::min(std::fabs(value), largest);
  const int exponent = std::max(std::ilogb(std::max(magnitude, 0x1p-30f)), 1 - bias);
  const auto steps = static_cast<int>(round(std::ldexp(magnitude, mantissa_bits - exponent)));
  return sign | static_cast<uint8_t>(((exponent + bias - 1) << mantissa_bits) + steps);
}

}  // namespace

uint8_t to_f8_e4m3(float value) {
  return encode(value, 3, 7, kLargestE4m3, [](float steps) { return std::nearbyint(steps); });
}

uint8_t to_f8_by_chance(DType type, float value, float chance) {
  const auto round = [&](float steps) { return std::floor(steps + chance); };
  return type == DType::f8_e4m3 ? encode(value, 3, 7, kLargestE4m3, round) : encode(value, 2, 15, kLargestE5m2, round);
}

}  // namespace inkling
