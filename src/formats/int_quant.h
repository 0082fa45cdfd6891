// Integer weights as the low-bit kernels of every backend compute with them: rounding, and the exact values that a
// stored weight stands for. Every backend must reproduce these functions to the bit.
//
//   int8  w = scale[row] * q, q in -127..127, scale = max|row| / 127 (1 where the row is zero)
//   int4  w = scale[row] * (group_scale[row][column / 64] * (code - 8)), code 0..15 in a nibble (even column low),
//         group_scale an integer 1..16: the product is an int8, which is what the matrix units see
//
// A weight may be rotated: it holds W R, R block-diagonal with the symmetric orthogonal Hadamard-like block that is
// the Kronecker power of 1/2 [[1,1,1,-1],[1,1,-1,1],[1,-1,1,1],[-1,1,1,1]] (ComfyUI's "convrot"); x R is multiplied
// with it. R spreads outliers over a block, so that rounding hurts less (QuaRot, arXiv 2404.00456; ConvRot,
// 2512.03673).
#pragma once

#include <cstdint>

namespace inkling {

inline constexpr int64_t kInt4Group = 64;

// The rotation that a matrix with this many input columns gets: 256, 64, 16, or 0 where none divides them.
int64_t default_rotation(int64_t columns);
// row <- row R, in place. Radix-4 butterflies from the smallest stride up, each 0.5 * (((a + b) + c) - d) with the
// signs of the matrix above, in that order.
void rotate_row(float* row, int64_t columns, int64_t rotation);

// One row (already rotated, if it is to be) -> codes and scale.
float quantize_row_i8(const float* row, int64_t columns, int8_t* q);
// Searches the group scales that make the squared error smallest, for a few row scales; returns the row scale.
float quantize_row_i4(const float* row, int64_t columns, uint8_t* codes, uint8_t* group_scale);

// The values that the codes stand for, still rotated.
void dequantize_row_i8(const int8_t* q, float scale, int64_t columns, float* row);
void dequantize_row_i4(const uint8_t* codes, const uint8_t* group_scale, float scale, int64_t columns, float* row);

}  // namespace inkling
