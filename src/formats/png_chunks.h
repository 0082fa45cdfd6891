// The chunks of a PNG file, walked without decoding it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>

namespace inkling {

struct PngChunk {
  std::string_view type;  // four letters
  std::span<const std::byte> data;
  uint32_t crc = 0;     // as stored
  bool intact() const;  // whether type and data match crc
};

bool is_png(std::span<const std::byte> bytes);
// Visits chunks in order until `visit` returns false, after IEND, or where the file is cut short.
void walk_png(std::span<const std::byte> bytes, const std::function<bool(const PngChunk&)>& visit);
uint32_t big_endian_u32(const std::byte* p);

// tEXt, zTXt and iTXt as UTF-8, the first of each keyword; damaged ones are skipped. Throws ArgumentError when
// they are too many or too long.
std::map<std::string, std::string> parse_png_text(std::span<const std::byte> bytes, const std::string& name);

}  // namespace inkling
