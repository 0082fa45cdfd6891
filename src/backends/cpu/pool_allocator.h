// The CPU backend's memory. Counts like CountingAllocator, and keeps freed blocks of 128 KiB and more for the next
// tensor of the same size: fresh pages cost the kernel more time than an elementwise operation takes to fill them.
// Held and kept memory together never exceed the highest held so far, so that peak stays a promise.
#pragma once

#include "tensor/storage.h"

namespace inkling {

class PoolAllocator : public Allocator {
 public:
  PoolAllocator();
  ~PoolAllocator() override;
  std::shared_ptr<Storage> allocate(int64_t bytes) override;
  MemoryStats stats() const override;
  void reset_peak() override;  // gives the kept blocks back, too

 private:
  class Pool;
  class PooledStorage;
  std::shared_ptr<Pool> pool_;  // outlives the allocator while storages live
};

}  // namespace inkling
