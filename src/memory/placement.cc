#include "memory/placement.h"

#include <algorithm>

namespace inkling {

namespace {

int64_t streamable(const PhaseNeed& n) { return n.blocks * n.block_bytes; }
// What must be on the device whatever the budget: activations and the weights outside the blocks.
int64_t fixed(const PhaseNeed& n) {
  return n.activation_bytes + std::max<int64_t>(0, n.weight_bytes - n.host_bytes - streamable(n));
}

PhasePlacement place_phase(const PhaseNeed& n, int64_t budget) {
  PhasePlacement p;
  const int64_t device_weights = n.weight_bytes - n.host_bytes;
  if (n.activation_bytes + device_weights <= budget) {
    p.resident_blocks = n.blocks;
    p.resident_bytes = device_weights;
    p.peak_bytes = n.activation_bytes + device_weights;
    return p;
  }
  const int64_t buffers = std::min(kStreamBuffers, n.blocks);
  const int64_t room = budget - fixed(n) - buffers * n.block_bytes;
  p.fits = room >= 0 && n.blocks > 0;
  p.resident_blocks = p.fits ? std::min(n.blocks - buffers, room / n.block_bytes) : 0;
  p.streamed_blocks = n.blocks - p.resident_blocks;
  p.resident_bytes = fixed(n) - n.activation_bytes + p.resident_blocks * n.block_bytes;
  p.streamed_bytes = p.streamed_blocks * n.block_bytes;
  p.peak_bytes = n.activation_bytes + p.resident_bytes + buffers * n.block_bytes;
  return p;
}

}  // namespace

Placement place(const std::vector<PhaseNeed>& needs, int64_t budget_bytes) {
  Placement result;
  for (const PhaseNeed& n : needs) {
    result.phases.push_back(place_phase(n, budget_bytes));
    result.fits &= result.phases.back().fits;
    result.smallest_budget =
        std::max(result.smallest_budget, fixed(n) + std::min(kStreamBuffers, n.blocks) * n.block_bytes);
  }
  return result;
}

}  // namespace inkling
