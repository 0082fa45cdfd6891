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
  CountedStorage(std::byte* data, int64_t bytes, int64_t charged, std::shared_ptr<Counters> counters)
      : Storage(data, bytes), charged_(charged), counters_(std::move(counters)) {}
  ~CountedStorage() override {
    if (data_ != nullptr) ::operator delete(data_, std::align_val_t(kAlignment));
    std::lock_guard lock(counters_->mutex);
    counters_->stats.current -= charged_;
  }

 private:
  int64_t charged_;
  std::shared_ptr<Counters> counters_;
};

CountingAllocator::CountingAllocator(bool virtual_memory)
    : counters_(std::make_shared<Counters>()), virtual_memory_(virtual_memory) {}
CountingAllocator::~CountingAllocator() = default;

std::shared_ptr<Storage> CountingAllocator::allocate(int64_t bytes) {
  if (bytes < 0) throw RuntimeError("allocate: negative size {}", bytes);
  const int64_t charged = (std::max<int64_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
  std::byte* data = nullptr;
  if (!virtual_memory_) {
    data = static_cast<std::byte*>(
        ::operator new(static_cast<size_t>(charged), std::align_val_t(kAlignment), std::nothrow));
    if (data == nullptr) throw MemoryError("out of memory: {} bytes could not be allocated", bytes);
  }
  {
    std::lock_guard lock(counters_->mutex);
    MemoryStats& s = counters_->stats;
    s.current += charged;
    s.peak = std::max(s.peak, s.current);
    ++s.allocations;
  }
  return std::make_shared<CountedStorage>(data, bytes, charged, counters_);
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
