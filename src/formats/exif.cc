#include "formats/exif.h"

#include <cstdint>
#include <cstring>

namespace inkling {

int exif_orientation(std::span<const std::byte> exif) {
  constexpr int kUpright = 1;
  constexpr uint32_t kOrientationTag = 0x0112, kShort = 3, kEntryBytes = 12;
  if (exif.size() >= 6 && std::memcmp(exif.data(), "Exif\0\0", 6) == 0) exif = exif.subspan(6);
  if (exif.size() < 8) return kUpright;
  const bool big = std::memcmp(exif.data(), "MM\0*", 4) == 0;
  if (!big && std::memcmp(exif.data(), "II*\0", 4) != 0) return kUpright;
  // Callers have checked that `offset + count` lies inside.
  const auto number = [&](size_t offset, size_t count) {
    uint32_t value = 0;
    for (size_t i = 0; i < count; ++i)
      value |= static_cast<uint32_t>(exif[offset + i]) << 8 * (big ? count - 1 - i : i);
    return value;
  };

  const size_t directory = number(4, 4);
  if (directory > exif.size() - 2) return kUpright;
  const size_t entries = number(directory, 2);
  for (size_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + i * kEntryBytes;
    if (entry + kEntryBytes > exif.size()) return kUpright;
    if (number(entry, 2) != kOrientationTag) continue;
    const uint32_t value = number(entry + 8, 2);
    const bool valid = number(entry + 2, 2) == kShort && number(entry + 4, 4) == 1 && value >= 1 && value <= 8;
    return valid ? static_cast<int>(value) : kUpright;
  }
  return kUpright;
}

}  // namespace inkling
