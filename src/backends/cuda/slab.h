// A range of GPU addresses that takes physical memory only as it is used, so that a large limit costs nothing and a
// budget is never exceeded (CUDA virtual memory management).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "tensor/storage.h"

namespace inkling {

class CudaSlab : public Storage {
 public:
  // Reserves addresses of `bytes` (rounded down to the granularity) on the current device.
  static std::shared_ptr<CudaSlab> reserve(int64_t bytes);
  ~CudaSlab() override;

  // Puts memory behind [begin, end). Throws MemoryError when the GPU has none left.
  void back(int64_t begin, int64_t end);
  int64_t backed_bytes() const { return backed_; }

 private:
  CudaSlab(std::byte* data, int64_t bytes, int device);

  int device_;
  int64_t backed_ = 0;
  std::vector<uint64_t> chunks_;  // allocation handles, 0: not backed
};

}  // namespace inkling
