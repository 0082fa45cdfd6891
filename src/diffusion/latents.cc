#include "diffusion/latents.h"

#include "base/error.h"

namespace inkling {
namespace {

// Calls body(token, channel of the token, y, x, channel of the map) for every element.
template <typename Body>
void for_each_element(int64_t rows, int64_t columns, int64_t channels, const Body& body) {
  for (int64_t y = 0; y < 2 * rows; ++y) {
    for (int64_t x = 0; x < 2 * columns; ++x) {
      const int64_t token = y / 2 * columns + x / 2, corner = y % 2 * 2 + x % 2;
      for (int64_t c = 0; c < channels; ++c) body(token, c * 4 + corner, y, x, c);
    }
  }
}

}  // namespace

Tensor pack_latents(const Tensor& map) {
  if (map.shape().rank() != 3 || map.dim(0) % 2 != 0 || map.dim(1) % 2 != 0) {
    throw RuntimeError("pack_latents: got {}, expected [even, even, channels]", map.shape().str());
  }
  const int64_t rows = map.dim(0) / 2, columns = map.dim(1) / 2, channels = map.dim(2);
  Tensor tokens = host_tensor({rows * columns, 4 * channels});
  const float* from = map.data<float>();
  float* to = tokens.data<float>();
  for_each_element(rows, columns, channels, [&](int64_t token, int64_t k, int64_t y, int64_t x, int64_t c) {
    to[token * 4 * channels + k] = from[(y * 2 * columns + x) * channels + c];
  });
  return tokens;
}

Tensor unpack_latents(const Tensor& tokens, int64_t rows, int64_t columns) {
  if (tokens.shape().rank() != 2 || tokens.dim(0) != rows * columns || tokens.dim(1) % 4 != 0) {
    throw RuntimeError("unpack_latents: got {}, expected [{} * {}, 4 * channels]", tokens.shape().str(), rows, columns);
  }
  const int64_t channels = tokens.dim(1) / 4;
  Tensor map = host_tensor({2 * rows, 2 * columns, channels});
  const float* from = tokens.data<float>();
  float* to = map.data<float>();
  for_each_element(rows, columns, channels, [&](int64_t token, int64_t k, int64_t y, int64_t x, int64_t c) {
    to[(y * 2 * columns + x) * channels + c] = from[token * 4 * channels + k];
  });
  return map;
}

Tensor draw_noise(NormalGenerator& generator, int64_t height, int64_t width, int64_t channels,
                  DrawPrecision precision) {
  if (height < kPixelsPerToken || width < kPixelsPerToken || height % kPixelsPerToken != 0 ||
      width % kPixelsPerToken != 0 || channels < 1) {
    throw ArgumentError("draw_noise: {}x{} with {} channels, expected multiples of {}", width, height, channels,
                        kPixelsPerToken);
  }
  const int64_t rows = height / kPixelsPerToken, columns = width / kPixelsPerToken;
  const Shape planes{channels, 2 * rows, 2 * columns};
  std::vector<float> drawn(static_cast<size_t>(planes.elements()));
  generator.normal(drawn, precision);
  Tensor tokens = host_tensor({rows * columns, 4 * channels});
  float* to = tokens.data<float>();
  for_each_element(rows, columns, channels, [&](int64_t token, int64_t k, int64_t y, int64_t x, int64_t c) {
    to[token * 4 * channels + k] = drawn[static_cast<size_t>((c * 2 * rows + y) * 2 * columns + x)];
  });
  return tokens;
}

}  // namespace inkling
