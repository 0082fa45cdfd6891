#include "tensor/low_bit.h"

namespace inkling {

std::string_view name(LowBit kind) {
  switch (kind) {
    case LowBit::none: return "none";
    case LowBit::w8a8: return "w8a8";
    case LowBit::w4a8: return "w4a8";
    case LowBit::nf4: return "nf4";
  }
  return "";
}

DType code_type(LowBit kind) { return kind == LowBit::w8a8 ? DType::i8 : DType::u8; }

Shape code_shape(LowBit kind, const Shape& matrix) {
  switch (kind) {
    case LowBit::w4a8: return {matrix[0], matrix[1] / 2};
    case LowBit::nf4: return {matrix.elements() / 2};
    default: return matrix;
  }
}

int64_t matrix_bytes(const Shape& matrix, DType stored, LowBit kind) {
  const int64_t elements = matrix.elements();
  switch (kind) {
    case LowBit::w8a8: return elements + matrix[0] * 4;
    case LowBit::w4a8: return elements / 2 + elements / 64 + matrix[0] * 4;
    case LowBit::nf4: return elements / 2 + elements / 64 * 4;
    case LowBit::none: break;
  }
  return Tensor(matrix, stored, nullptr).bytes();
}

}  // namespace inkling
