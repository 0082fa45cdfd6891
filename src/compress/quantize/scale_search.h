// Scales of 4-bit codes by the squared error that they leave, wider and slower than what a backend does when it loads a
// model (quantize_row_i4): for files, which are made once.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "tensor/low_bit.h"

namespace inkling {

// Of one row (rotated already) in the form of formats/int_quant.h; -> the row scale. `weight`: what the squared error
// of each column counts; empty: all the same. Never worse than quantize_row_i4 by that measure. The values must be
// finite.
float search_row_i4(std::span<const float> row, std::span<const float> weight, uint8_t* codes, uint8_t* group_scale);
// Of the flat values of NF4 blocks, as quantize_nf4 and never worse: absmax may be less than the largest magnitude.
void search_nf4(std::span<const float> values, uint8_t* codes, float* absmax);

// quantize_low_bit() with the search for w4a8; every row stands for itself.
LowBitMatrix quantize_by_search(const Tensor& rows, LowBit kind, int64_t rotation, const std::string& name);

}  // namespace inkling
