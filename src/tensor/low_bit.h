// A matrix stored as integers or 4-bit codes with scales beside them. What the numbers stand for: formats/int_quant.h
// and formats/nf4.h.
#pragma once

#include <string_view>

#include "tensor/tensor.h"

namespace inkling {

enum class LowBit : uint8_t { none, w8a8, w4a8, nf4 };
std::string_view name(LowBit kind);

struct LowBitParts {
  LowBit kind = LowBit::none;
  int64_t rotation = 0;  // columns of the Hadamard block that the codes are rotated by; 0: not rotated
  Tensor scale;          // w8a8, w4a8: f32 [out]; nf4: f32 [elements / 64], of each block along the flat matrix
  Tensor group_scale;    // w4a8: u8 [out, in / 64]
};

// The codes and their scales: w8a8 i8 [out, in]; w4a8 u8 [out, in / 2], even column in the low nibble;
// nf4 u8 [elements / 2], first element in the high nibble.
struct LowBitMatrix {
  Tensor value;
  LowBitParts parts;
};

// Of the codes.
DType code_type(LowBit kind);
Shape code_shape(LowBit kind, const Shape& matrix);
// Bytes that a matrix takes as stored: of type `stored` (kind none), or codes and scales.
int64_t matrix_bytes(const Shape& matrix, DType stored, LowBit kind);

}  // namespace inkling
