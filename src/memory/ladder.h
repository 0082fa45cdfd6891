// What to do when GPU memory runs out while a run is under way although its plan fitted: someone else took memory. Each
// rung gives up a little more and is tried once.
#pragma once

#include <optional>
#include <string>

namespace inkling {

struct Rung {
  double residency = 1;            // of the budget that the placement may use
  bool tile_vae = false;           // the VAE in tiles
  bool smaller_precision = false;  // fewer bits, where the precision was left to the program
  bool cpu = false;                // on the CPU, where the device was left to the program
  std::string text;                // for the notes of the result
};

class MemoryLadder {
 public:
  MemoryLadder(bool may_use_cpu, bool may_change_precision)
      : may_use_cpu_(may_use_cpu), may_change_precision_(may_change_precision) {}
  // The next rung after `from`; none: give up.
  std::optional<Rung> next(const Rung& from) const;

 private:
  bool may_use_cpu_, may_change_precision_;
};

}  // namespace inkling
