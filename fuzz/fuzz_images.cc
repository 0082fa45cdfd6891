// Any bytes given to the picture decoders become a picture and texts, or are refused with Error. The limits are
// small, because slow is not what is looked for here.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "base/error.h"
#include "formats/image.h"
#include "formats/png_chunks.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace inkling;
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
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
