// Whole matrices of low-bit codes (tensor/low_bit.h): from and to float32, and with an adapter added.
#pragma once

#include <cstdint>
#include <string>

#include "tensor/low_bit.h"

namespace inkling {

// Whether a matrix can be stored so: w4a8 has groups of 64 columns, and an nf4 block lies in one row.
bool fits(LowBit kind, const Shape& matrix);

// f32 [out, in], the rotation undone: what a backend computes with that cannot use the codes.
Tensor dense_value(const Shape& matrix, const Tensor& value, const LowBitParts& parts);

// Rows of a matrix, f32 [rows, in]; every row (nf4: block) stands for itself, so that panels of a matrix may be made
// one by one. rotation: as default_rotation() says, or 0. Throws ModelError naming `name` at a value that is not
// finite.
LowBitMatrix quantize_low_bit(const Tensor& rows, LowBit kind, int64_t rotation, const std::string& name);

// matrix + delta in the same form; delta is f32 [out, in], not rotated. The stored values lie on the grid of their
// scales, so a change of less than half a step would vanish if it were rounded to the nearest: it is rounded up or down
// by chance instead, in proportion, which keeps it in the mean and leaves alone what does not change. Scales grow where
// a value leaves their range. `seed` decides the chances.
LowBitMatrix add_to_low_bit(const LowBitMatrix& matrix, const Tensor& delta, uint64_t seed, const std::string& name);

}  // namespace inkling
