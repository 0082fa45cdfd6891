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
//
// All arithmetic is IEEE f32, rounded to nearest even after every single operation: no fused multiply-add, no
// reciprocal approximation, subnormals kept. `/` below is a true division, rint rounds ties to even.
#pragma once

#include <cstdint>

namespace inkling {

inline constexpr int64_t kInt4Group = 64;
// A row whose largest magnitude is below this counts as zero (2^-100): scales and their inverses stay normal numbers.
inline constexpr float kZeroRow = 0x1p-100f;

// The rotation that a matrix with this many input columns gets: 256, 64, 16, or 0 where none divides them.
int64_t default_rotation(int64_t columns);
// row <- row R, in place. Radix-4 butterflies from the smallest stride up, each 0.5 * (((a + b) + c) - d) with the
// signs of the matrix above, in that order: .5(((a+b)+c)-d), .5(((a+b)-c)+d), .5(((a-b)+c)+d), .5(((b-a)+c)+d).
void rotate_row(float* row, int64_t columns, int64_t rotation);

// One row (already rotated, if it is to be) -> codes and scale:
//   scale = max / 127, inverse = 1 / scale, q = rint(x * inverse).
// A row with a NaN or an infinity gets scale NaN and codes 0, so that it poisons what it is multiplied with.
float quantize_row_i8(const float* row, int64_t columns, int8_t* q);

// Searches the group scales that make the squared error smallest, for a few row scales; returns the row scale.
// columns is a multiple of 64. The search, in order; a later candidate wins only where it is strictly better:
//   reach[g] = max(max(x) * (1/7), max(-x) * 0.125) over group g, with 0 counted in, 1/7 the nearest float
//   reach = max of reach[g]; for c = 16, 17, 18: S = reach / c, inverse = 1 / S
//     for every group g: s0 = rint(reach[g] * inverse) clamped to 1..16
//       for s = s0 - 2, s0 - 1, s0, s0 + 1 (those in 1..16): r = 1 / s
//         error of a column: v = x * inverse; t = v * r clamped to -8..7; e = v - s * rint(t)
//         error of the group: lane i = 0..15 sums e * e of columns i, i + 16, i + 32, i + 48 in this order, from the
//         first square; then lane i += lane i + 8 for i < 8, i + 4 for i < 4, i + 2 for i < 2, and 0 += 1
//       keep the s of the smallest error
//     error of the row: sum of the kept errors in order of g, starting from 0, times (S * S) / (S16 * S16), which is
//     the constant float 16.f * 16.f / (c * c)
//   keep the S of the smallest error; code = rint(t) + 8 with the kept S and s.
// A row of zeros gets scale 1, group scales 1, codes 8; one with a NaN or an infinity scale NaN, group scales 1,
// codes 8.
float quantize_row_i4(const float* row, int64_t columns, uint8_t* codes, uint8_t* group_scale);

// The values that the codes stand for, still rotated: scale * float(int8 value).
void dequantize_row_i8(const int8_t* q, float scale, int64_t columns, float* row);
void dequantize_row_i4(const uint8_t* codes, const uint8_t* group_scale, float scale, int64_t columns, float* row);

// bitsandbytes' NF4 (QLoRA, arXiv 2305.14314): w = scale[i / 64] * kNf4[code of element i], i along the flat matrix;
// two codes a byte, the first in the high nibble.
inline constexpr int64_t kNf4Block = 64;
inline constexpr float kNf4[16] = {-1.f,
                                   -0.6961928009986877f,
                                   -0.5250730514526367f,
                                   -0.39491748809814453f,
                                   -0.28444138169288635f,
                                   -0.18477343022823334f,
                                   -0.09105003625154495f,
                                   0.f,
                                   0.07958029955625534f,
                                   0.16093020141124725f,
                                   0.24611230194568634f,
                                   0.33791524171829224f,
                                   0.44070982933044434f,
                                   0.5626170039176941f,
                                   0.7229568362236023f,
                                   1.f};
// Elements [first, first + count) of the flat matrix.
void dequantize_nf4(const uint8_t* codes, const float* scale, int64_t first, int64_t count, float* y);

}  // namespace inkling
