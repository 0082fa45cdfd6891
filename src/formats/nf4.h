// Rounding to NF4, the 4-bit codes of bitsandbytes (int_quant.h), and double quantization, which stores the largest
// magnitude of every block in 8 bits.
// Codes and magnitudes equal those of bitsandbytes' CPU build bit for bit; the 8-bit codes are the nearest ones, where
// that build takes one in a thousand from a coarse table and so one step off.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "formats/int_quant.h"

namespace inkling {

inline constexpr int64_t kNf4NestedBlock = 256;

// `values` starts at a block border; a last block may be short. codes: one byte for two values, the first in the high
// nibble; absmax: one number for each block.
void quantize_nf4(std::span<const float> values, uint8_t* codes, float* absmax);

// The signed "dynamic" map of 8 bits: 0, 1, and seven decades of 1 to 64 equal steps, positive and negative.
const std::array<float, 256>& nf4_nested_map();

struct Nf4Nested {
  float offset = 0;            // mean of all absmax
  std::vector<uint8_t> codes;  // of absmax - offset, over the block's `scale`
  std::vector<float> scale;    // for each 256
};
Nf4Nested nest_nf4(std::span<const float> absmax);

}  // namespace inkling
