#include "pipeline/picture.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"

namespace inkling {

Image pad_to_multiple(const Image& image, int multiple) {
  const int width = (image.width + multiple - 1) / multiple * multiple;
  const int height = (image.height + multiple - 1) / multiple * multiple;
  if (width == image.width && height == image.height) return image;
  Image result = Image::blank(width, height, image.channels);
  for (int y = 0; y < height; ++y) {
    const uint8_t* from = image.at(0, std::min(y, image.height - 1));
    uint8_t* to = result.at(0, y);
    std::memcpy(to, from, image.row_bytes());
    const uint8_t* last = from + image.row_bytes() - image.channels;
    for (int x = image.width; x < width; ++x) std::memcpy(result.at(x, y), last, image.channels);
  }
  return result;
}

Image crop(const Image& image, int width, int height) {
  if (width > image.width || height > image.height)
    throw RuntimeError("crop: {}x{} from {}x{}", width, height, image.width, image.height);
  Image result = Image::blank(width, height, image.channels);
  for (int y = 0; y < height; ++y) std::memcpy(result.at(0, y), image.at(0, y), result.row_bytes());
  return result;
}

Image composite(const Image& original, const Image& edited, const Image& mask) {
  if (edited.width != original.width || edited.height != original.height || mask.width != original.width ||
      mask.height != original.height)
    throw RuntimeError("composite: sizes differ: {}x{}, {}x{}, mask {}x{}", original.width, original.height,
                       edited.width, edited.height, mask.width, mask.height);
  Image result = original;
  for (int y = 0; y < original.height; ++y)
    for (int x = 0; x < original.width; ++x) {
      const int m = *mask.at(x, y);
      for (int c = 0; c < original.channels; ++c)
        result.at(x, y)[c] =
            static_cast<uint8_t>((original.at(x, y)[c] * (255 - m) + edited.at(x, y)[c] * m + 127) / 255);
    }
  return result;
}

Tensor to_tensor(const Image& image) {
  Tensor result = host_tensor(Shape{image.height, image.width, image.channels});
  float* out = result.data<float>();
  for (size_t i = 0; i < image.pixels.size(); ++i) out[i] = 2.f * (static_cast<float>(image.pixels[i]) / 255.f) - 1.f;
  return result;
}

Image to_image(const Tensor& pixels) {
  Image result =
      Image::blank(static_cast<int>(pixels.dim(1)), static_cast<int>(pixels.dim(0)), static_cast<int>(pixels.dim(2)));
  const float* in = pixels.data<float>();
  for (size_t i = 0; i < result.pixels.size(); ++i) {
    if (!std::isfinite(in[i]))
      throw NumericError("the decoded picture holds a value that is not finite; no picture was written");
    result.pixels[i] = static_cast<uint8_t>(std::nearbyint(255.f * std::clamp(in[i] / 2.f + 0.5f, 0.f, 1.f)));
  }
  return result;
}

}  // namespace inkling
