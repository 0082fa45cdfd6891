// One tensor into another element type, rows in parallel.
#pragma once

#include <cstdint>
#include <string>

#include "tensor/tensor.h"

namespace inkling {

// To e4m3fn (no infinities, largest value 448): nearest, ties to even, larger magnitudes become 448.
uint8_t to_f8_e4m3(float value);

// `source` is any tensor of numbers on the host; `type` one of f32, bf16, f16, q8_0, q4_0 or f8_e4m3, which holds
// value / scale. Throws ModelError naming `name` when a value is not finite, or too large for f16.
Tensor convert(const Tensor& source, DType type, const std::string& name, float scale = 1.f);
// Largest magnitude. Throws as above.
float largest_magnitude(const Tensor& source, const std::string& name);

}  // namespace inkling
