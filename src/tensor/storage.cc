#include "tensor/storage.h"

#include <algorithm>
#include <mutex>
#include <new>

#include "base/error.h"

namespace inkling {

struct CountingAllocator::Counters {
  std::mutex mutex;
  MemoryStats stats;
};

class CountingAllocator::CountedStorage : public Storage {
 public:
  // Throws MemoryError.
  CountedStorage(int64_t bytes, bool virtual_memory, std::shared_ptr<Counters> counters)
      : Storage(nullptr, bytes), charged_(charged_bytes(bytes)), counters_(std::move(counters)) {
    if (!virtual_memory) {
      data_ = static_cast<std::byte*>(
          ::operator new(static_cast<size_t>(charged_), std::align_val_t(kAlignment), std::nothrow));
      if (data_ == nullptr) throw MemoryError("out of memory: {} bytes could not be allocated", bytes);
    }
    std::lock_guard lock(counters_->mutex);
    MemoryStats& stats = counters_->stats;
    stats.current += charged_;
    stats.peak = std::max(stats.peak, stats.current);
    ++stats.allocations;
  }
  ~CountedStorage() override {
    if (data_ != nullptr) ::operator delete(data_, std::align_val_t(kAlignment));
    std::lock_guard lock(counters_->mutex);
    counters_->stats.current -= charged_;
  }

 private:
  static int64_t charged_bytes(int64_t bytes) {
    return (std::max<int64_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
  }
  int64_t charged_;
  std::shared_ptr<Counters> counters_;
};

CountingAllocator::CountingAllocator(bool virtual_memory)
    : counters_(std::make_shared<Counters>()), virtual_memory_(virtual_memory) {}
CountingAllocator::~CountingAllocator() = default;

std::shared_ptr<Storage> CountingAllocator::allocate(int64_t bytes) {
  if (bytes < 0) throw RuntimeError("allocate: negative size {}", bytes);
  return std::make_shared<CountedStorage>(bytes, virtual_memory_, counters_);
}

MemoryStats CountingAllocator::stats() const {
  std::lock_guard lock(counters_->mutex);
  return counters_->stats;
}

void CountingAllocator::reset_peak() {
  std::lock_guard lock(counters_->mutex);
  counters_->stats.peak = counters_->stats.current;
}

}  // namespace inkling
