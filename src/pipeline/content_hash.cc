#include "pipeline/content_hash.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

namespace inkling {

namespace {

// The finalizer of SplitMix64: every bit of the word reaches every bit of the result.
uint64_t scatter(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace

void ContentHash::mix(uint64_t word) {
  a_ = scatter(a_ ^ word);
  b_ = scatter(std::rotl(b_, 29) + word * 0x9e3779b97f4a7c15);
}

void ContentHash::add(std::span<const std::byte> bytes) {
  mix(bytes.size());
  while (!bytes.empty()) {
    uint64_t word = 0;
    const size_t count = std::min(bytes.size(), sizeof(word));
    std::memcpy(&word, bytes.data(), count);
    mix(word);
    bytes = bytes.subspan(count);
  }
}

std::string ContentHash::hex() const { return fmt::format("{:016x}{:016x}", scatter(a_ + b_), scatter(b_ ^ a_)); }

}  // namespace inkling
