#include "memory/placement.h"

#include <algorithm>
#include <iterator>
#include <numeric>

namespace inkling {

namespace {

int64_t sum(const std::vector<int64_t>& values) { return std::accumulate(values.begin(), values.end(), int64_t{0}); }

// The stream's buffers take the largest blocks.
int64_t buffer_bytes(const PhaseNeed& n) {
  if (n.blocks.empty()) return 0;
  return std::min<int64_t>(kStreamBuffers, std::ssize(n.blocks)) * *std::ranges::max_element(n.blocks);
}

// What must be on the device whatever the budget: activations and the weights outside the blocks.
int64_t fixed(const PhaseNeed& n) { return n.activation_bytes + n.weight_bytes - n.host_bytes - sum(n.blocks); }

// Spreads `room` bytes of residents evenly over the blocks.
std::vector<bool> spread(const std::vector<int64_t>& blocks, int64_t room) {
  std::vector<bool> resident(blocks.size(), false);
  const double share = static_cast<double>(room) / static_cast<double>(std::max<int64_t>(1, sum(blocks)));
  double due = 0;  // bytes that should be resident by now, and are not
  for (size_t i = 0; i < blocks.size(); ++i) {
    due += share * static_cast<double>(blocks[i]);
    if (due < 0.5 * static_cast<double>(blocks[i]) || blocks[i] > room) continue;
    resident[i] = true;
    due -= static_cast<double>(blocks[i]);
    room -= blocks[i];
  }
  for (size_t i = 0; i < blocks.size(); ++i) {  // what is left over
    if (resident[i] || blocks[i] > room) continue;
    resident[i] = true;
    room -= blocks[i];
  }
  return resident;
}

PhasePlacement place_phase(const PhaseNeed& n, int64_t budget) {
  PhasePlacement p;
  p.peak_bytes = fixed(n) + sum(n.blocks);
  p.resident.assign(n.blocks.size(), true);
  p.resident_blocks = std::ssize(n.blocks);
  p.resident_bytes = p.peak_bytes - n.activation_bytes;
  if (p.peak_bytes <= budget) return p;
  const int64_t room = budget - fixed(n) - buffer_bytes(n);
  p.fits = room >= 0 && !n.blocks.empty();
  p.peak_bytes = fixed(n) + buffer_bytes(n);
  p.resident = spread(n.blocks, std::max<int64_t>(room, 0));
  p.resident_blocks = 0;
  for (size_t i = 0; i < n.blocks.size(); ++i) {
    if (p.resident[i]) {
      p.peak_bytes += n.blocks[i];
      ++p.resident_blocks;
    } else {
      p.streamed_bytes += n.blocks[i];
      ++p.streamed_blocks;
    }
  }
  p.resident_bytes = p.peak_bytes - n.activation_bytes - buffer_bytes(n);
  return p;
}

}  // namespace

Placement place(const std::vector<PhaseNeed>& needs, int64_t budget_bytes) {
  Placement result;
  for (const PhaseNeed& n : needs) {
    result.phases.push_back(place_phase(n, budget_bytes));
    result.fits &= result.phases.back().fits;
    result.smallest_budget = std::max(result.smallest_budget, fixed(n) + std::min(buffer_bytes(n), sum(n.blocks)));
  }
  return result;
}

}  // namespace inkling
