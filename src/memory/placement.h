// Who lives where in a memory budget: which weights stay on the device, which are streamed block by block.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace inkling {

// What one phase of a run needs, from a plan.
struct PhaseNeed {
  std::string name;
  int64_t activation_bytes = 0;  // highest point, workspaces included
  int64_t weight_bytes = 0;      // everything the phase reads, in the stored type
  int64_t host_bytes = 0;        // of these: tables that stay on the host and are gathered there (embeddings)
  std::vector<int64_t> blocks;   // weights of each block that can be streamed, in the order of their use
};

struct PhasePlacement {
  bool fits = true;
  int64_t resident_blocks = 0, streamed_blocks = 0;
  std::vector<bool> resident;  // of each block
  int64_t resident_bytes = 0;  // weights on the device for the whole phase
  int64_t streamed_bytes = 0;  // per pass over the network
  int64_t peak_bytes = 0;      // activations, resident weights and the buffers of the stream
};

struct Placement {
  std::vector<PhasePlacement> phases;  // as the needs
  bool fits = true;
  int64_t smallest_budget = 0;  // below it no plan exists
};

// Phases take turns, so each has the whole budget. Streaming keeps kStreamBuffers blocks in flight: one computes while
// the next two are copied. Streamed blocks lie evenly between resident ones, so that copies and work take turns too.
inline constexpr int64_t kStreamBuffers = 3;
Placement place(const std::vector<PhaseNeed>& needs, int64_t budget_bytes);

}  // namespace inkling
