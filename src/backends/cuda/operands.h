// Room for an operand in a workspace, in the order in which CudaModel::operand_bytes counts it.
#pragma once

#include "backends/cuda/cuda_model.h"
#include "backends/cuda/kernels/rows.h"

namespace inkling {

template <typename Space>
cuda::RowsOut operand_rows(const OperandKey& key, int64_t rows, int64_t columns, Space& space) {
  cuda::RowsOut out;
  out.type = key.type;
  out.rotation = key.rotation;
  if (key.type == cuda::Elem::bf16) {
    out.y = space.take(rows * columns * 2);
    return out;
  }
  out.y = space.take(rows * columns);
  out.scale = reinterpret_cast<float*>(space.take(rows * 4));
  if (key.type == cuda::Elem::i8) out.sum = reinterpret_cast<int32_t*>(space.take(rows * 4));
  return out;
}

}  // namespace inkling
