// Random sequences of every operation, the same for any backend given the same seed: for comparing backends.
#pragma once

#include <vector>

#include "ops/random_inputs.h"

namespace inkling {

struct ProgramResult {
  std::vector<MemoryStats> memory;  // after every call
  std::vector<Tensor> values;       // of every call
};

// heads: of 64 channels; a GPU's attention kernels want head_dim 32 or more.
ProgramResult run_program(Ops& ops, uint32_t seed, int calls, int64_t heads = 4);

}  // namespace inkling
