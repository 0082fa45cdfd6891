// Inside formats/: numbers in [0, 1) for rounding by chance, the same for the same seed and place whatever the order
// in which they are asked for.
#pragma once

#include <cmath>
#include <cstdint>

namespace inkling {

inline float chance(uint64_t seed, uint64_t place) {
  uint64_t z = seed + (place + 1) * 0x9e3779b97f4a7c15u;  // splitmix64
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return static_cast<float>((z ^ (z >> 31)) >> 40) * 0x1p-24f;
}

// Down or up to a whole number, up with the probability of the part that is left over; the rounding errors of float32
// are not taken for such a part.
inline float round_by_chance(float steps, uint64_t seed, uint64_t place) {
  const float nearest = std::nearbyint(steps);
  if (std::fabs(steps - nearest) < 1e-4f) return nearest;
  return std::floor(steps + chance(seed, place));
}

}  // namespace inkling
