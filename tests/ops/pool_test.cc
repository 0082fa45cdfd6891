// Kept memory is reused and never raises the peak.
#include <gtest/gtest.h>

#include <cstring>

#include "backends/cpu/pool_allocator.h"

namespace inkling {
namespace {

constexpr int64_t kMiB = 1 << 20;

TEST(PoolAllocator, CountsLikeTheCountingAllocator) {
  PoolAllocator pool;
  CountingAllocator counting;
  const auto step = [](Allocator& a) {
    auto first = a.allocate(3 * kMiB + 5), second = a.allocate(0), third = a.allocate(100);
    first.reset();
    auto fourth = a.allocate(2 * kMiB), fifth = a.allocate(3 * kMiB + 5);
    second.reset();
    return a.stats();
  };
  for (int i = 0; i < 3; ++i) {
    const MemoryStats a = step(pool), b = step(counting);
    EXPECT_EQ(a.current, b.current);
    EXPECT_EQ(a.peak, b.peak);
    EXPECT_EQ(a.allocations, b.allocations);
    EXPECT_EQ(pool.stats().current, 0);
    if (i == 1) {
      pool.reset_peak();
      counting.reset_peak();
    }
  }
}

TEST(PoolAllocator, StoragesOutliveIt) {
  std::shared_ptr<Storage> survivor;
  {
    PoolAllocator pool;
    survivor = pool.allocate(2 * kMiB);
    pool.allocate(4 * kMiB);
  }
  std::memset(survivor->data(), 1, 2 * kMiB);
}

TEST(PoolAllocator, BlocksAreAligned) {
  PoolAllocator pool;
  for (const int64_t bytes : {1L, 63L, 65L, 5 * kMiB + 1})
    EXPECT_EQ(reinterpret_cast<uintptr_t>(pool.allocate(bytes)->data()) % CountingAllocator::kAlignment, 0u);
}

}  // namespace
}  // namespace inkling
