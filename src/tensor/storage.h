// Owners of memory. A Tensor shares its Storage; the last user frees it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace inkling {

class Storage {
 public:
  Storage(std::byte* data, int64_t bytes) : data_(data), bytes_(bytes) {}
  virtual ~Storage() = default;
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  std::byte* data() const { return data_; }  // null for planned memory
  int64_t bytes() const { return bytes_; }

 protected:
  std::byte* data_;
  int64_t bytes_;
};

// What an allocator has handed out, in bytes. `peak` is the highest `current` since reset_peak().
struct MemoryStats {
  int64_t current = 0;
  int64_t peak = 0;
  int64_t allocations = 0;
};

class Allocator {
 public:
  virtual ~Allocator() = default;
  virtual std::shared_ptr<Storage> allocate(int64_t bytes) = 0;  // throws MemoryError
  // For what stays while many short-lived blocks come and go: weights.
  virtual std::shared_ptr<Storage> allocate_lasting(int64_t bytes) { return allocate(bytes); }
  virtual MemoryStats stats() const = 0;
  virtual void reset_peak() = 0;
};

// Counts what it hands out, rounded up to kAlignment. `virtual_memory` hands out null storage of the right
// size: how the plan backend measures a peak without touching memory.
class CountingAllocator : public Allocator {
 public:
  static constexpr int64_t kAlignment = 64;

  explicit CountingAllocator(bool virtual_memory = false);
  ~CountingAllocator() override;
  std::shared_ptr<Storage> allocate(int64_t bytes) override;
  MemoryStats stats() const override;
  void reset_peak() override;

 private:
  struct Counters;
  class CountedStorage;
  std::shared_ptr<Counters> counters_;  // outlives the allocator while storages live
  bool virtual_memory_;
};

}  // namespace inkling
