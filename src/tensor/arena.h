// An allocator over one range of memory, such as a slab of a GPU. What lasts (weights) is taken from the top, what
// comes and goes (activations, workspaces) from the bottom, each first-fit, so that the same sequence of calls always
// gives the same addresses. Therefore a plan that runs on an arena without memory finds the very extent that the real
// one will need, fragmentation included.
#pragma once

#include <functional>

#include "tensor/storage.h"

namespace inkling {

class Arena : public Allocator {
 public:
  static constexpr int64_t kAlignment = 512;

  // Told before the range [begin, end) of the slab is handed out, to put memory behind it; may throw.
  using Back = std::function<void(int64_t begin, int64_t end)>;

  // `slab` is the range; null storage of the right size plans. Freed with the last block.
  explicit Arena(std::shared_ptr<Storage> slab, Back back = {});
  // A planning arena, as large as one can ask for.
  Arena();
  ~Arena() override;

  std::shared_ptr<Storage> allocate(int64_t bytes) override;  // throws MemoryError when nothing fits
  std::shared_ptr<Storage> allocate_lasting(int64_t bytes) override;
  // current: bytes handed out. peak: the most that the extents of both ends took together.
  MemoryStats stats() const override;
  void reset_peak() override;
  int64_t capacity() const;

 private:
  struct State;
  class Block;
  std::shared_ptr<Storage> take(int64_t bytes, bool lasting);
  std::shared_ptr<State> state_;  // outlives the arena while blocks live
};

}  // namespace inkling
