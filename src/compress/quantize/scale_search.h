// Scales of 4-bit codes by the squared error that they leave.
//
// For NF4 alone: the scales of w4a8 are searched whenever codes are made (quantize_row_i4), and three times as many
// tries for a row lowered the velocity's error of the shipped model by 1 % and made its pictures no better.
#pragma once

#include <cstdint>
#include <span>

namespace inkling {

// Of the flat values of NF4 blocks, as quantize_nf4 and never worse: absmax may be less than the largest magnitude.
void search_nf4(std::span<const float> values, uint8_t* codes, float* absmax);

}  // namespace inkling
