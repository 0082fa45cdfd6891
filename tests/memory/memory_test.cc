// The arena, the ladder, and a network that is brought in block by block.
#include <gtest/gtest.h>

#include <set>

#include "backends/cpu/cpu_ops.h"
#include "base/error.h"
#include "memory/ladder.h"
#include "memory/module_store.h"
#include "tensor/arena.h"

namespace inkling {
namespace {

TEST(Arena, LastingAndPassingBlocksMeetInTheMiddle) {
  Arena arena(std::make_shared<Storage>(nullptr, 8 * Arena::kAlignment));
  auto a = arena.allocate(1), b = arena.allocate(Arena::kAlignment + 1), top = arena.allocate_lasting(10);
  EXPECT_EQ(arena.stats().current, 4 * Arena::kAlignment);
  EXPECT_EQ(arena.stats().peak, 4 * Arena::kAlignment);
  EXPECT_THROW(arena.allocate(5 * Arena::kAlignment), MemoryError);
  a.reset();
  EXPECT_EQ(arena.stats().current, 3 * Arena::kAlignment);
  auto again = arena.allocate(7);  // the lowest gap is taken first
  EXPECT_EQ(arena.stats().peak, 4 * Arena::kAlignment);
  EXPECT_NO_THROW(arena.allocate_lasting(4 * Arena::kAlignment));
  EXPECT_THROW(arena.allocate_lasting(5 * Arena::kAlignment), MemoryError);
}

TEST(Arena, BacksARangeBeforeItIsHandedOut) {
  std::vector<std::pair<int64_t, int64_t>> asked;
  Arena arena(std::make_shared<Storage>(nullptr, 4 * Arena::kAlignment),
              [&](int64_t b, int64_t e) { asked.emplace_back(b, e); });
  arena.allocate(1);
  arena.allocate_lasting(1);
  EXPECT_EQ(asked[0], std::pair(int64_t{0}, Arena::kAlignment));
  EXPECT_EQ(asked[1], std::pair(3 * Arena::kAlignment, 4 * Arena::kAlignment));
}

TEST(Arena, ABackingThatFailsLeavesNothingBehind) {
  bool fail = true;
  Arena arena(std::make_shared<Storage>(nullptr, 4 * Arena::kAlignment), [&](int64_t, int64_t) {
    if (fail) throw MemoryError("no memory");
  });
  EXPECT_THROW(arena.allocate(1), MemoryError);
  EXPECT_EQ(arena.stats().current, 0);
  fail = false;
  EXPECT_NO_THROW(arena.allocate(4 * Arena::kAlignment));
}

TEST(MemoryLadder, GivesUpOneThingAfterAnother) {
  const MemoryLadder all(true, true);
  std::vector<std::string> texts;
  std::optional<Rung> rung = Rung{};
  while ((rung = all.next(*rung))) texts.push_back(rung->text);
  EXPECT_EQ(texts, (std::vector<std::string>{"fewer blocks stay on the GPU", "the VAE runs in tiles",
                                             "fewer bits a weight", "on the CPU"}));
  int rungs = 0;
  const MemoryLadder fixed(false, false);
  for (rung = Rung{}; (rung = fixed.next(*rung)); ++rungs) EXPECT_FALSE(rung->cpu || rung->smaller_precision);
  EXPECT_EQ(rungs, 2);
}

// A mover that keeps books instead of moving.
class Books : public WeightMover {
 public:
  int stow(std::span<Weight* const> weights) override {
    sizes_.push_back(std::ssize(weights));
    return static_cast<int>(sizes_.size()) - 1;
  }
  int64_t bytes(int group) const override { return sizes_[static_cast<size_t>(group)]; }
  void set_buffers(int count, int64_t) override { buffers = count; }
  bool fetch(int group, bool own) override {
    if (!own && std::ssize(in_buffers) >= buffers) return false;
    (own ? here : in_buffers).insert(group);
    most = std::max(most, std::ssize(in_buffers));
    return true;
  }
  void await(int group) override { EXPECT_TRUE(here.contains(group) || in_buffers.contains(group)); }
  void drop(int group) override {
    here.erase(group);
    in_buffers.erase(group);
  }
  void forget(std::span<const int> groups) override { forgotten += std::ssize(groups); }

  std::set<int> here, in_buffers;
  int buffers = 0;
  int64_t most = 0, forgotten = 0;

 private:
  std::vector<int64_t> sizes_;
};

class BookedOps : public CpuOps {
 public:
  WeightMover* weight_mover() override { return &books; }
  Books books;
};

struct Stack : Module {
  struct Layer : Module {
    Weight w;
    Layer() { add_linear("w", w, 8, 8, false); }
  };
  Weight outer;
  std::vector<std::unique_ptr<Layer>> layers;
  explicit Stack(int count) {
    add_linear("outer", outer, 8, 8, false);
    for (int i = 0; i < count; ++i) {
      layers.push_back(std::make_unique<Layer>());
      add_block("layers." + std::to_string(i), *layers.back());
    }
    finish_names();
  }
};

TEST(ModuleStore, StreamsBlocksAheadOfTheirUseThroughAFewBuffers) {
  BookedOps ops;
  Stack stack(10);
  std::vector<std::string> loaded;
  ModuleStore::Options options;
  options.mode = ModuleStore::Mode::streamed;
  for (int i = 0; i < 10; ++i) options.resident.push_back(i % 2 == 0);
  {
    ModuleStore store(
        stack, ops, [&](const Parameter& p) { loaded.push_back(p.name); }, options);
    EXPECT_EQ(loaded.size(), 11u);
    EXPECT_EQ(loaded[1], "layers.0.w.weight");
    EXPECT_EQ(ops.books.buffers, kStreamBuffers);
    for (int pass = 0; pass < 3; ++pass)
      for (auto& layer : stack.layers) {
        const Resident here(*layer);
        // Two further blocks are on their way while this one computes, once there is a second pass to come.
        if (pass > 0) {
          EXPECT_GE(std::ssize(ops.books.in_buffers), kStreamBuffers - 1);
        }
      }
    EXPECT_EQ(ops.books.most, kStreamBuffers);
  }
  EXPECT_EQ(ops.books.forgotten, 5);
}

TEST(ModuleStore, ParkedNetworksComeBackWithoutLoading) {
  BookedOps ops;
  Stack stack(4);
  int loads = 0;
  ModuleStore::Options options;
  options.parked = true;
  ModuleStore store(
      stack, ops, [&](const Parameter&) { ++loads; }, options);
  for (auto& layer : stack.layers) const Resident here(*layer);
  EXPECT_EQ(ops.books.here.size(), 5u);
  store.park();
  EXPECT_TRUE(ops.books.here.empty());
  store.unpark();
  for (auto& layer : stack.layers) const Resident here(*layer);
  EXPECT_EQ(ops.books.here.size(), 5u);
  EXPECT_EQ(loads, 5);
}

TEST(ModuleStore, OnceLoadsABlockForEachUse) {
  BookedOps ops;
  Stack stack(3);
  int loads = 0;
  ModuleStore::Options options;
  options.mode = ModuleStore::Mode::once;
  ModuleStore store(
      stack, ops, [&](const Parameter&) { ++loads; }, options);
  EXPECT_EQ(loads, 1);
  for (int pass = 0; pass < 2; ++pass)
    for (auto& layer : stack.layers) const Resident here(*layer);
  EXPECT_EQ(loads, 7);
}

}  // namespace
}  // namespace inkling
