// Pictures: PNG, JPEG and WebP, told apart by content, always delivered as 8-bit sRGB, upright.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace inkling {

// 8-bit picture, row-major, interleaved. channels: 1 (grey), 3 (RGB) or 4 (RGBA, straight alpha).
struct Image {
  int width = 0;
  int height = 0;
  int channels = 3;
  std::vector<uint8_t> pixels;

  size_t row_bytes() const { return static_cast<size_t>(width) * channels; }
  uint8_t* at(int x, int y) { return pixels.data() + y * row_bytes() + static_cast<size_t>(x) * channels; }
  const uint8_t* at(int x, int y) const { return pixels.data() + y * row_bytes() + static_cast<size_t>(x) * channels; }
  static Image blank(int width, int height, int channels, uint8_t value = 0);
};

struct ImageLimits {
  int64_t max_bytes = 64 << 20;     // of the encoded file
  int64_t max_pixels = 40'000'000;  // checked from the header, before any pixel is decoded
  int max_side = 32768;
};

// Decodes to RGB. EXIF orientation applied, an embedded ICC profile converted to sRGB, CMYK/grey/palette/16-bit
// converted, alpha flattened over white, animations refused. Throws ArgumentError with a sentence that says what
// is wrong (`name` stands in it).
Image decode_image(std::span<const std::byte> bytes, const std::string& name, const ImageLimits& limits = {});
Image read_image(const std::filesystem::path& path, const ImageLimits& limits = {});
// A mask as one channel: the alpha channel when it is not 255 everywhere, else the grey value, as stored. `from_alpha`
// receives which of the two it was.
Image decode_mask(std::span<const std::byte> bytes, const std::string& name, const ImageLimits& limits = {},
                  bool* from_alpha = nullptr);
Image read_mask(const std::filesystem::path& path, const ImageLimits& limits = {});

// text: keyword -> UTF-8; written as iTXt (compressed when long), so Chinese survives.
std::vector<std::byte> encode_png(const Image& image, const std::map<std::string, std::string>& text = {});
// 1 or 3 channels.
std::vector<std::byte> encode_jpeg(const Image& image, int quality = 92);
// 3 or 4 channels.
std::vector<std::byte> encode_webp(const Image& image, int quality = 92);
// Format from the file name's extension; written to a temporary name and renamed. Only PNG keeps text.
void write_image(const std::filesystem::path& path, const Image& image,
                 const std::map<std::string, std::string>& text = {});
// tEXt, zTXt and iTXt chunks of a PNG.
std::map<std::string, std::string> read_png_text(const std::filesystem::path& path);

}  // namespace inkling
