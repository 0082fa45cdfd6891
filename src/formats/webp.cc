// WebP through libwebp: RIFF around one VP8, VP8L or VP8X picture.
#include <webp/decode.h>
#include <webp/encode.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "formats/exif.h"
#include "formats/image_codecs.h"

namespace inkling {

namespace {

constexpr int kMaxWebpSide = 16383;

const uint8_t* as_u8(std::span<const std::byte> bytes) { return reinterpret_cast<const uint8_t*>(bytes.data()); }

// Colour profile and EXIF, which libwebp leaves to the caller: chunks of a four-letter type, a length, and data
// padded to even.
void read_extras(std::span<const std::byte> bytes, Raster& raster) {
  constexpr size_t kRiffHeader = 12, kChunkHeader = 8;
  for (size_t position = kRiffHeader; position + kChunkHeader <= bytes.size();) {
    const std::byte* head = bytes.data() + position;
    uint32_t length;
    std::memcpy(&length, head + 4, sizeof(length));
    position += kChunkHeader;
    if (length > bytes.size() - position) return;
    const auto data = bytes.subspan(position, length);
    if (std::memcmp(head, "ICCP", 4) == 0 && length <= kMaxIccBytes && raster.icc.empty())
      raster.icc.assign(data.begin(), data.end());
    if (std::memcmp(head, "EXIF", 4) == 0) raster.orientation = exif_orientation(data);
    position += size_t{length} + (length & 1);
  }
}

}  // namespace

Raster decode_webp(std::span<const std::byte> bytes, const std::string& name, const ImageLimits& limits) {
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(as_u8(bytes), bytes.size(), &features) != VP8_STATUS_OK)
    throw ArgumentError("{}: the WebP header is damaged", name);
  check_picture_size(name, features.width, features.height, limits);
  if (features.has_animation) throw ArgumentError("{}: animated WebP is not supported; use a still picture", name);
  Raster raster;
  raster.width = features.width;
  raster.height = features.height;
  raster.channels = features.has_alpha ? 4 : 3;
  raster.pixels.resize(raster.row_bytes() * static_cast<size_t>(raster.height));
  const auto decode = features.has_alpha ? WebPDecodeRGBAInto : WebPDecodeRGBInto;
  if (decode(as_u8(bytes), bytes.size(), raster.pixels.data(), raster.pixels.size(),
             static_cast<int>(raster.row_bytes())) == nullptr)
    throw ArgumentError("{}: the WebP file is damaged or cut short", name);
  read_extras(bytes, raster);
  return raster;
}

std::vector<std::byte> encode_webp(const Image& image, int quality) {
  if (image.width < 1 || image.height < 1 || image.width > kMaxWebpSide || image.height > kMaxWebpSide ||
      (image.channels != 3 && image.channels != 4))
    throw ArgumentError("WebP: cannot write {}x{} with {} channels; sides end at {}", image.width, image.height,
                        image.channels, kMaxWebpSide);
  const auto encode = image.channels == 4 ? WebPEncodeRGBA : WebPEncodeRGB;
  uint8_t* data = nullptr;
  const size_t bytes = encode(image.pixels.data(), image.width, image.height, static_cast<int>(image.row_bytes()),
                              static_cast<float>(std::clamp(quality, 0, 100)), &data);
  const std::unique_ptr<uint8_t, void (*)(void*)> owner(data, WebPFree);
  if (bytes == 0) throw RuntimeError("WebP encoder: {}x{} could not be encoded", image.width, image.height);
  const auto* begin = reinterpret_cast<const std::byte*>(data);
  return {begin, begin + bytes};
}

}  // namespace inkling
