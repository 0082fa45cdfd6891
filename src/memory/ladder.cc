#include "memory/ladder.h"

namespace inkling {

std::optional<Rung> MemoryLadder::next(const Rung& from) const {
  constexpr double kLess = 0.7;
  Rung rung = from;
  if (from.cpu) return std::nullopt;
  if (from.residency == 1) {
    rung.residency = kLess;
    rung.text = "fewer blocks stay on the GPU";
  } else if (!from.tile_vae) {
    rung.tile_vae = true;
    rung.text = "the VAE runs in tiles";
  } else if (!from.smaller_precision && may_change_precision_) {
    rung.smaller_precision = true;
    rung.text = "fewer bits a weight";
  } else if (may_use_cpu_) {
    rung.cpu = true;
    rung.text = "on the CPU";
  } else {
    return std::nullopt;
  }
  return rung;
}

}  // namespace inkling
