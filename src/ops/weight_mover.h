// Weights that do not all fit on a device: groups of prepared weights wait in host memory and are brought in while the
// device computes. A backend whose weights live in host memory has none.
#pragma once

#include <cstdint>
#include <span>

#include "ops/weight.h"

namespace inkling {

class WeightMover {
 public:
  virtual ~WeightMover() = default;

  // Moves prepared weights to host memory, as one group; they are unusable until fetched. Returns the group's number.
  virtual int stow(std::span<Weight* const> weights) = 0;
  virtual int64_t bytes(int group) const = 0;
  // Streamed groups share `count` buffers of the largest group's size; made when first needed.
  virtual void set_buffers(int count, int64_t bytes) = 0;
  // Begins to bring a group in: into memory of its own, or into one of the shared buffers. False: no buffer is free.
  virtual bool fetch(int group, bool own_memory) = 0;
  // What is enqueued after this sees the group's weights.
  virtual void await(int group) = 0;
  // The group is away once the work enqueued so far is done; its memory is free for others then.
  virtual void drop(int group) = 0;
  // Frees the buffers, the host memory of the groups, and the groups.
  virtual void forget(std::span<const int> groups) = 0;
};

}  // namespace inkling
