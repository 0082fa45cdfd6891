// Inside formats/: what the decoders of the three picture formats share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "formats/image.h"

namespace inkling {

// A decoded picture before colour conversion, turning and flattening. 8 bits a channel.
struct Raster {
  int width = 0;
  int height = 0;
  int channels = 3;            // 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA or CMYK
  bool cmyk = false;           // the 4 channels are inks
  bool inverted_inks = false;  // 255 means no ink, as Adobe writes it
  std::vector<uint8_t> pixels;
  std::vector<std::byte> icc;  // of the file's colours; empty: sRGB
  int orientation = 1;         // EXIF

  size_t row_bytes() const { return static_cast<size_t>(width) * static_cast<size_t>(channels); }
  bool has_alpha() const { return !cmyk && (channels == 2 || channels == 4); }
};

// Larger profiles are ignored. Real ones reach 2 MB (CMYK).
constexpr size_t kMaxIccBytes = 8 << 20;

// Throws ArgumentError unless 1 <= sides <= max_side and the pixels fit.
void check_picture_size(const std::string& name, int64_t width, int64_t height, const ImageLimits& limits);

// Each checks the size from the header before it decodes anything.
Raster decode_png(std::span<const std::byte> bytes, const std::string& name, const ImageLimits& limits);
Raster decode_jpeg(std::span<const std::byte> bytes, const std::string& name, const ImageLimits& limits);
Raster decode_webp(std::span<const std::byte> bytes, const std::string& name, const ImageLimits& limits);

}  // namespace inkling
