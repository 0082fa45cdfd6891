// Rounding to 8-bit floats.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace inkling {

inline constexpr float kLargestE4m3 = 448.f, kLargestE5m2 = 57344.f;

// To e4m3fn (no infinities, largest value 448): nearest, ties to even, larger magnitudes become 448.
uint8_t to_f8_e4m3(float value);
// To f8_e4m3 or f8_e5m2, up where `chance` in [0, 1) is below the part of a step that is left over, so that the mean
// over many chances is the value. Magnitudes beyond the largest value become that value.
uint8_t to_f8_by_chance(DType type, float value, float chance);

}  // namespace inkling
