// The CPU backend's form of a weight.
#pragma once

#include "backends/cpu/cpu_model.h"
#include "ops/weight.h"

namespace inkling {

// Stored rows of any kind as floats, one at a time: every type that a file can hold, and low-bit codes, unrotated.
struct StoredRows {
  DType type = DType::f32;
  const std::byte* data = nullptr;
  int64_t columns = 0;
  const LowBitParts* low_bit = nullptr;  // null: `data` are the elements themselves
  void read(int64_t row, float* out) const;
};

struct CpuWeight : PreparedWeight {
  WeightForm form = WeightForm::f32;
  DType type = DType::f32;  // of data
  Tensor data;              // the stored tensor itself where the form uses it in place; packed integers
  LowBitParts low_bit;      // panels of a low-bit weight: its scales; packed integers: the rotation alone
  int64_t owned = 0;
  int64_t bytes() const override { return owned; }
  StoredRows rows(int64_t columns) const {
    return {type, data.raw(), columns, low_bit.kind == LowBit::none ? nullptr : &low_bit};
  }
};

// The weight as prepared by this backend; throws when it was not.
const CpuWeight& prepared(std::string_view op, const Weight& weight);

// Elements of any type that a file can hold to float. `elements` is a whole number of blocks.
void convert_to_f32(DType type, const std::byte* src, float* dst, int64_t elements);
// Rows [first, first + rows) to bfloat16. scratch: for each thread one row of floats, padded to the allocator's
// alignment.
void rows_to_bf16(const StoredRows& source, int64_t first, int64_t rows, uint16_t* dst, std::byte* scratch);

}  // namespace inkling
