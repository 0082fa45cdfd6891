// The CUDA backend's form of a weight.
#pragma once

#include "backends/cuda/cuda_model.h"
#include "backends/cuda/kernels/gemm.h"
#include "ops/weight.h"

namespace inkling {

// Its memory may be away: stowed in host memory until it is needed again (weight_mover.h). `base` moves with it.
struct CudaWeight : PreparedWeight {
  CudaForm form = CudaForm::bf16;
  DType type = DType::f32;  // stored, table: of the codes
  OperandKey operand;
  WeightParts parts;
  Tensor host;                              // table: the stored form, on the host
  mutable std::shared_ptr<Storage> memory;  // device; null while away or where a group holds the memory
  mutable std::byte* base = nullptr;        // device address of the parts; null while away

  int64_t bytes() const override { return parts.total; }
  template <typename T>
  T* at(const WeightParts::Part& part) const {
    return part.bytes > 0 ? reinterpret_cast<T*>(base + part.offset) : nullptr;
  }
};

// The weight as prepared by this backend; throws when it was not, or is away.
const CudaWeight& prepared_on_device(std::string_view op, const Weight& weight);

}  // namespace inkling
