// Rows of a tensor into another element type, in parallel.
#pragma once

#include <cstdint>
#include <string>

#include "tensor/tensor.h"

namespace inkling {

// `source` is any tensor of numbers on the host; `type` one that formats/block_quant.h can write, or f8_e4m3, which
// holds value / scale. Throws ModelError naming `name` when a value is not finite, or too large for f16.
Tensor convert(const Tensor& source, DType type, const std::string& name, float scale = 1.f);
// Largest magnitude. Throws as above.
float largest_magnitude(const Tensor& source, const std::string& name);

}  // namespace inkling
