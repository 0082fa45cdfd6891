#include "pipeline/preview.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/rng.h"
#include "pipeline/picture.h"

namespace inkling {

namespace {

constexpr int kPictures = 8;
constexpr int64_t kSide = 16;    // latent pixels of a fitted map, at most
constexpr int64_t kPatch = 2;    // distance of random values; measured with the model that ships, mean levels off
                                 // the picture: 1 14.6, 2 13.7, 4 15.2, 8 17.0
constexpr int64_t kPixels = 8;   // of the picture, a side, for one latent pixel
constexpr double kRidge = 1e-3;  // of the number of samples; keeps channels that hardly matter small

// Random values at every kPatch-th pixel, linear between them.
Tensor smooth_noise(NormalGenerator& generator, int64_t height, int64_t width, int64_t channels) {
  const int64_t rows = height / kPatch + 2, columns = width / kPatch + 2;
  Tensor knots = host_tensor(Shape{rows, columns, channels}), map = host_tensor(Shape{height, width, channels});
  generator.normal(knots.span<float>());
  const float* k = knots.data<float>();
  float* out = map.data<float>();
  for (int64_t y = 0; y < height; ++y) {
    const int64_t row = y / kPatch;
    const float fy = static_cast<float>(y % kPatch) / kPatch;
    for (int64_t x = 0; x < width; ++x) {
      const float fx = static_cast<float>(x % kPatch) / kPatch;
      const float* a = k + (row * columns + x / kPatch) * channels;
      const float* b = a + columns * channels;
      for (int64_t c = 0; c < channels; ++c)
        *out++ = (1 - fy) * ((1 - fx) * a[c] + fx * a[channels + c]) + fy * ((1 - fx) * b[c] + fx * b[channels + c]);
    }
  }
  return map;
}

// Mean of the picture's pixels that stand for latent pixel (x, y).
double mean_of_square(const Tensor& picture, int64_t x, int64_t y, int channel) {
  const int64_t width = picture.dim(1);
  const float* p = picture.data<float>();
  double sum = 0;
  for (int64_t dy = 0; dy < kPixels; ++dy)
    for (int64_t dx = 0; dx < kPixels; ++dx) sum += p[((y * kPixels + dy) * width + x * kPixels + dx) * 3 + channel];
  return sum / (kPixels * kPixels);
}

// Solves a x = b for `columns` right-hand sides; a [n, n] symmetric and positive definite. Both are overwritten.
void solve(std::vector<double>& a, std::vector<double>& b, int64_t n, int64_t columns) {
  for (int64_t j = 0; j < n; ++j) {  // Gauss; the pivots of such a matrix are positive
    for (int64_t i = j + 1; i < n; ++i) {
      const double f = a[i * n + j] / a[j * n + j];
      for (int64_t k = j; k < n; ++k) a[i * n + k] -= f * a[j * n + k];
      for (int64_t k = 0; k < columns; ++k) b[i * columns + k] -= f * b[j * columns + k];
    }
  }
  for (int64_t j = n - 1; j >= 0; --j) {
    for (int64_t k = 0; k < columns; ++k) {
      for (int64_t i = j + 1; i < n; ++i) b[j * columns + k] -= a[j * n + i] * b[i * columns + k];
      b[j * columns + k] /= a[j * n + j];
    }
  }
}

}  // namespace

void PreviewMap::fit(const Decode& decode, int64_t height, int64_t width, int64_t channels) {
  const int64_t n = channels + 1;
  std::vector<double> squares(n * n), products(n * 3);
  TorchCpuGenerator generator(1);
  for (int i = 0; i < kPictures; ++i) {
    const Tensor latents = smooth_noise(generator, std::min(height, kSide), std::min(width, kSide), channels);
    const Tensor picture = decode(latents);
    const float* z = latents.data<float>();
    std::vector<double> row(n, 1.0);
    for (int64_t y = 0; y < latents.dim(0); ++y) {
      for (int64_t x = 0; x < latents.dim(1); ++x, z += channels) {
        std::copy(z, z + channels, row.begin());
        for (int64_t p = 0; p < n; ++p) {
          for (int64_t q = 0; q < n; ++q) squares[p * n + q] += row[p] * row[q];
          for (int c = 0; c < 3; ++c)
            products[p * 3 + c] += row[p] * std::clamp(mean_of_square(picture, x, y, c), -1.0, 1.0);
        }
      }
    }
    if (i + 1 == kPictures)
      for (int64_t p = 0; p < n; ++p)
        squares[p * n + p] += kRidge * kPictures * static_cast<double>(latents.dim(0) * latents.dim(1));
  }
  solve(squares, products, n, 3);
  weights_.resize(3 * n);
  for (int c = 0; c < 3; ++c)
    for (int64_t p = 0; p < n; ++p) weights_[c * n + p] = static_cast<float>(products[p * 3 + c]);
}

Image PreviewMap::apply(const Tensor& latents) const {
  const int64_t channels = latents.dim(2), n = channels + 1;
  if (static_cast<int64_t>(weights_.size()) != 3 * n)
    throw RuntimeError("preview: latents {}, the map is of {} channels", latents.shape().str(), weights_.size() / 3);
  Tensor pixels = host_tensor(Shape{latents.dim(0), latents.dim(1), 3});
  const float* z = latents.data<float>();
  float* out = pixels.data<float>();
  for (int64_t i = 0; i < latents.dim(0) * latents.dim(1); ++i, z += channels) {
    for (int c = 0; c < 3; ++c) {
      const float* w = weights_.data() + c * n;
      float sum = w[channels];
      for (int64_t k = 0; k < channels; ++k) sum += w[k] * z[k];
      *out++ = sum;
    }
  }
  return to_image(pixels);
}

}  // namespace inkling
