// Cuts a workspace into parts in the order in which CudaModel counted them.
#pragma once

#include "backends/cuda/cuda_ops.h"
#include "base/error.h"

namespace inkling {

class CudaOps::Space {
 public:
  Space(std::byte* data, int64_t bytes) : data_(data), bytes_(bytes) {}

  template <typename T = std::byte>
  T* take(int64_t bytes) {
    const int64_t offset = layout_.add(bytes);
    if (layout_.total() > bytes_) throw RuntimeError("workspace: {} bytes planned, {} needed", bytes_, layout_.total());
    return reinterpret_cast<T*>(data_ + offset);
  }
  // What is left, for a part that is cut on its own.
  Space rest() const { return {data_ + layout_.total(), bytes_ - layout_.total()}; }

 private:
  std::byte* data_;
  int64_t bytes_;
  Layout layout_;
};

}  // namespace inkling
