// The CPU backend's form of a weight.
#pragma once

#include "backends/cpu/cpu_model.h"
#include "ops/weight.h"

namespace inkling {

struct CpuWeight : PreparedWeight {
  WeightForm form = WeightForm::f32;
  DType type = DType::f32;  // of data
  Tensor data;              // the stored tensor itself where the form uses it in place
  int64_t owned = 0;
  int64_t bytes() const override { return owned; }
};

// The weight as prepared by this backend; throws when it was not.
const CpuWeight& prepared(std::string_view op, const Weight& weight);

// Elements of any type that a file can hold to float. `elements` is a whole number of blocks.
void convert_to_f32(DType type, const std::byte* src, float* dst, int64_t elements);
// Rows of any such type to bfloat16. scratch: for each thread one row of floats, padded to the allocator's alignment.
void rows_to_bf16(DType type, const std::byte* src, int64_t rows, int64_t columns, uint16_t* dst, std::byte* scratch);

}  // namespace inkling
