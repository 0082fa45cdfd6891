// A stored matrix with an adapter added, in the form that it had. Low-bit matrices: low_bit.h, where the rounding by
// chance is explained too.
#pragma once

#include <cstdint>
#include <string>

#include "tensor/tensor.h"

namespace inkling {

// The type of add_delta's result: that of the matrix for 8-bit floats and the block types that we write, q8_0 for all
// other block types, f32 for plain numbers.
DType type_with_delta(DType stored);
// matrix + delta; delta is f32 of the same shape. `seed` decides the chances. Throws ModelError naming `name` at a
// value that is not finite.
Tensor add_delta(const Tensor& matrix, const Tensor& delta, uint64_t seed, const std::string& name);

}  // namespace inkling
