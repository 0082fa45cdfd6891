// From a checkpoint into a module tree: shapes checked and folded, LoRAs merged, weights handed to the backend.
// Matrices that are stored quantized stay so, with LoRAs merged too (formats/low_bit.h, formats/add_delta.h).
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "models/checkpoint.h"
#include "models/lora.h"
#include "models/module.h"

namespace inkling {

struct LoadOptions {
  const LoraSet* loras = nullptr;  // merged into the weights before the backend sees them
  std::function<void(int64_t bytes_done, int64_t bytes_total)> progress;  // may throw to stop
};

struct LoadReport {
  int64_t tensors = 0;
  int64_t bytes = 0;    // in the file
  int64_t patched = 0;  // modules changed by LoRAs
};

// Loads every parameter of the tree. Throws ModelError: missing tensors (the first five and their count),
// a wrong shape or type, a value that is not finite in a vector or a small weight.
LoadReport load_parameters(Module& module, const Checkpoint& checkpoint, Ops& ops, const LoadOptions& options = {});
// Throws ModelError when tensors of the tree are missing: the first five and their count.
void require_parameters(const Module& module, const Checkpoint& checkpoint);
// One parameter, for callers that bring weights in block by block. False: an optional one is absent.
bool load_parameter(const Parameter& parameter, const Checkpoint& checkpoint, Ops& ops,
                    const LoadOptions& options = {});
// Shapes and types without data, for planning: every weight goes through ops.prepare with `value` undefined.
// Without a checkpoint, `stored` is the type of every weight.
void declare_parameters(Module& module, Ops& ops, const Checkpoint* checkpoint, DType stored = DType::bf16,
                        const LoraSet* loras = nullptr);
// Gives back what loading took.
void drop_parameters(Module& module);

// Tensors of the checkpoint that none of the trees names, without those known to be of no use.
std::vector<std::string> unexpected_tensors(const Checkpoint& checkpoint, std::span<const Module* const> modules);

}  // namespace inkling
