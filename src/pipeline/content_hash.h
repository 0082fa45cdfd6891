// 128 bits that tell contents apart. For caches and fingerprints of one's own files; not against forgery.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace inkling {

class ContentHash {
 public:
  // Every part is hashed with its length, so that borders count.
  void add(std::span<const std::byte> bytes);
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }
  void add(int64_t number) { add(std::as_bytes(std::span(&number, 1))); }
  std::string hex() const;  // 32 digits

 private:
  void mix(uint64_t word);

  uint64_t a_ = 0x243f6a8885a308d3, b_ = 0x13198a2e03707344;  // digits of pi
};

}  // namespace inkling
