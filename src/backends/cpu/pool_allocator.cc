#include "backends/cpu/pool_allocator.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <algorithm>
#include <iterator>
#include <limits>
#include <map>
#include <mutex>
#include <new>

#include "base/error.h"

namespace inkling {

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr int64_t kPooled = std::numeric_limits<int64_t>::max();  // a reused block would hide a use after free
#else
constexpr int64_t kPooled = int64_t{1} << 17;
#endif

constexpr int64_t kLargePage = int64_t{2} << 20, kLargeBlock = 2 * kLargePage;

std::align_val_t alignment(int64_t bytes) {
  return std::align_val_t(bytes >= kLargeBlock ? kLargePage : CountingAllocator::kAlignment);
}

int64_t charged_bytes(int64_t bytes) {
  constexpr int64_t a = CountingAllocator::kAlignment;
  return (std::max<int64_t>(bytes, 1) + a - 1) / a * a;
}

}  // namespace

class PoolAllocator::Pool {
 public:
  ~Pool() { release(0); }

  std::byte* take(int64_t bytes) {
    std::lock_guard lock(mutex_);
    std::byte* data = reuse(bytes);
    if (data == nullptr) {
      release(std::max<int64_t>(0, std::max(highest_, stats_.current + bytes) - stats_.current - bytes));
      data = fresh(bytes);
    }
    if (data == nullptr && kept_bytes_ > 0) {  // the machine is full: kept blocks go first
      release(0);
      data = fresh(bytes);
    }
    if (data == nullptr) return nullptr;
    stats_.current += bytes;
    stats_.peak = std::max(stats_.peak, stats_.current);
    highest_ = std::max(highest_, stats_.current);
    ++stats_.allocations;
    return data;
  }

  void give(std::byte* data, int64_t bytes) {
    std::lock_guard lock(mutex_);
    stats_.current -= bytes;
    if (bytes < kPooled) return drop(data, bytes);
    try {
      kept_.emplace(bytes, data);
      kept_bytes_ += bytes;
    } catch (const std::bad_alloc&) {  // no memory to remember it: all the better to give it back
      drop(data, bytes);
    }
  }

  MemoryStats stats() {
    std::lock_guard lock(mutex_);
    return stats_;
  }

  void reset_peak() {
    std::lock_guard lock(mutex_);
    release(0);
    stats_.peak = highest_ = stats_.current;
  }

 private:
  static std::byte* fresh(int64_t bytes) {
    void* data = ::operator new(static_cast<size_t>(bytes), alignment(bytes), std::nothrow);
#ifdef __linux__
    // Fewer, larger pages: matrix products walk through panels and rows that lie far apart.
    if (data != nullptr && bytes >= kLargeBlock)
      madvise(data, static_cast<size_t>(bytes / kLargePage * kLargePage), MADV_HUGEPAGE);
#endif
    return static_cast<std::byte*>(data);
  }
  static void drop(std::byte* data, int64_t bytes) { ::operator delete(data, alignment(bytes)); }

  std::byte* reuse(int64_t bytes) {
    const auto it = kept_.find(bytes);
    if (it == kept_.end()) return nullptr;
    std::byte* data = it->second;
    kept_.erase(it);
    kept_bytes_ -= bytes;
    return data;
  }

  // Frees kept blocks, largest first, until at most `limit` bytes are kept.
  void release(int64_t limit) {
    while (kept_bytes_ > limit) {
      const auto last = std::prev(kept_.end());
      kept_bytes_ -= last->first;
      drop(last->second, last->first);
      kept_.erase(last);
    }
  }

  std::mutex mutex_;
  MemoryStats stats_;
  int64_t highest_ = 0;
  int64_t kept_bytes_ = 0;
  std::multimap<int64_t, std::byte*> kept_;  // by size
};

class PoolAllocator::PooledStorage : public Storage {
 public:
  // Throws MemoryError.
  PooledStorage(int64_t bytes, int64_t charged, const std::shared_ptr<Pool>& pool)
      : Storage(pool->take(charged), bytes), charged_(charged), pool_(pool) {
    if (data_ == nullptr) throw MemoryError("out of memory: {} bytes could not be allocated", bytes);
  }
  ~PooledStorage() override { pool_->give(data_, charged_); }

 private:
  int64_t charged_;
  std::shared_ptr<Pool> pool_;
};

PoolAllocator::PoolAllocator() : pool_(std::make_shared<Pool>()) {}
PoolAllocator::~PoolAllocator() = default;

std::shared_ptr<Storage> PoolAllocator::allocate(int64_t bytes) {
  if (bytes < 0) throw RuntimeError("allocate: negative size {}", bytes);
  return std::make_shared<PooledStorage>(bytes, charged_bytes(bytes), pool_);
}

MemoryStats PoolAllocator::stats() const { return pool_->stats(); }
void PoolAllocator::reset_peak() { pool_->reset_peak(); }

}  // namespace inkling
