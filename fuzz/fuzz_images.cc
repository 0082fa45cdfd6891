// Any bytes given to the picture decoders become a picture and texts, or are refused with Error. The limits are
// small, because slow is not what is looked for here.
#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "base/error.h"
#include "formats/image.h"
#include "formats/png_chunks.h"

namespace {

// Without this nearly every changed PNG would end at a wrong checksum.
void mend_png_checksums(std::vector<std::byte>& bytes) {
  inkling::walk_png(bytes, [](const inkling::PngChunk& chunk) {
    auto* type = reinterpret_cast<Bytef*>(const_cast<char*>(chunk.type.data()));
    const uLong crc = crc32(0, type, static_cast<uInt>(4 + chunk.data.size()));  // type and data adjoin
    for (int i = 0; i < 4; ++i) type[4 + chunk.data.size() + i] = static_cast<Bytef>(crc >> (24 - 8 * i));
    return true;
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace inkling;
  const auto* begin = reinterpret_cast<const std::byte*>(data);
  std::vector<std::byte> bytes(begin, begin + size);
  mend_png_checksums(bytes);
  const ImageLimits limits{.max_bytes = 1 << 20, .max_pixels = 1 << 18, .max_side = 4096};
  try {
    const Image image = decode_image(bytes, "file", limits);
    if (image.channels != 3 || image.pixels.size() != image.row_bytes() * static_cast<size_t>(image.height))
      std::abort();
  } catch (const Error&) {
  }
  try {
    decode_mask(bytes, "file", limits);
  } catch (const Error&) {
  }
  try {
    parse_png_text(bytes, "file");
  } catch (const Error&) {
  }
  return 0;
}
