#include "editing/similarity.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "editing/guided_filter.h"
#include "formats/resample.h"

namespace inkling {

namespace {

constexpr int kRadius = 5;
constexpr double kSigma = 1.5, kLeast = 0.01;

std::array<float, 2 * kRadius + 1> gaussian() {
  std::array<float, 2 * kRadius + 1> g{};
  double sum = 0;
  for (int i = -kRadius; i <= kRadius; ++i) sum += std::exp(-i * i / (2 * kSigma * kSigma));
  for (int i = -kRadius; i <= kRadius; ++i)
    g[static_cast<size_t>(i + kRadius)] = static_cast<float>(std::exp(-i * i / (2 * kSigma * kSigma)) / sum);
  return g;
}

// Index mirrored into 0..n-1, the border itself not repeated.
int mirrored(int i, int n) {
  while (n > 1 && (i < 0 || i >= n)) i = i < 0 ? -i : 2 * (n - 1) - i;
  return n > 1 ? i : 0;
}

void blur(Plane& plane) {
  static const auto g = gaussian();
  Plane across(plane.width, plane.height);
  for (int y = 0; y < plane.height; ++y)
    for (int x = 0; x < plane.width; ++x) {
      float sum = 0;
      for (int k = -kRadius; k <= kRadius; ++k)
        sum += g[static_cast<size_t>(k + kRadius)] * plane.row(y)[mirrored(x + k, plane.width)];
      across.row(y)[x] = sum;
    }
  for (int y = 0; y < plane.height; ++y) {
    float* out = plane.row(y);
    std::fill(out, out + plane.width, 0.f);
    for (int k = -kRadius; k <= kRadius; ++k) {
      const float* in = across.row(mirrored(y + k, plane.height));
      for (int x = 0; x < plane.width; ++x) out[x] += g[static_cast<size_t>(k + kRadius)] * in[x];
    }
  }
}

Plane luma(const Image& image) {
  Plane plane(image.width, image.height);
  for (int y = 0; y < image.height; ++y)
    for (int x = 0; x < image.width; ++x) {
      const uint8_t* p = image.at(x, y);
      plane.row(y)[x] = 0.299f * p[0] + 0.587f * p[1] + 0.114f * p[2];
    }
  return plane;
}

Plane product(const Plane& a, const Plane& b) {
  Plane p(a.width, a.height);
  for (size_t i = 0; i < p.values.size(); ++i) p.values[i] = a.values[i] * b.values[i];
  return p;
}

// 1 where the picture may not have changed. Grown: no window around such a pixel reaches into the mask.
Plane kept(const Image* mask, int width, int height, int grow) {
  Plane keep(width, height);
  std::fill(keep.values.begin(), keep.values.end(), 1.f);
  if (mask == nullptr) return keep;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const int64_t mx = int64_t{x} * mask->width / width, my = int64_t{y} * mask->height / height;
      if (*mask->at(static_cast<int>(mx), static_cast<int>(my)) == 0) continue;
      for (int v = std::max(0, y - grow); v <= std::min(height - 1, y + grow); ++v)
        std::fill(keep.row(v) + std::max(0, x - grow), keep.row(v) + std::min(width, x + grow + 1), 0.f);
    }
  return keep;
}

double share_of(const Plane& keep) {
  double sum = 0;
  for (const float k : keep.values) sum += k;
  return sum / static_cast<double>(keep.values.size());
}

double mean_ssim(const Plane& x, const Plane& y, const Plane& keep) {
  constexpr float kC1 = 0.01f * 255 * 0.01f * 255, kC2 = 0.03f * 255 * 0.03f * 255;
  Plane mx = x, my = y, xx = product(x, x), yy = product(y, y), xy = product(x, y);
  for (Plane* p : {&mx, &my, &xx, &yy, &xy}) blur(*p);
  double sum = 0, count = 0;
  for (size_t i = 0; i < keep.values.size(); ++i) {
    if (keep.values[i] == 0) continue;
    const float a = mx.values[i], b = my.values[i];
    const float va = xx.values[i] - a * a, vb = yy.values[i] - b * b, cov = xy.values[i] - a * b;
    sum += (2 * a * b + kC1) * (2 * cov + kC2) / ((a * a + b * b + kC1) * (va + vb + kC2));
    ++count;
  }
  return sum / count;
}

}  // namespace

std::optional<Similarity> similarity(const Image& before, const Image& after, const Image* mask) {
  const bool same_size = before.width == after.width && before.height == after.height;
  const Image resized = same_size ? Image{} : resample(before, after.width, after.height, ResampleFilter::bicubic);
  const Image& original = same_size ? before : resized;
  const Plane keep = kept(mask, after.width, after.height, 0);
  const Plane inner = kept(mask, after.width, after.height, kRadius);
  Similarity s;
  s.share = share_of(keep);
  if (s.share < kLeast || share_of(inner) < kLeast) return std::nullopt;
  double squares = 0, count = 0;
  for (int y = 0; y < after.height; ++y)
    for (int x = 0; x < after.width; ++x) {
      if (keep.row(y)[x] == 0) continue;
      for (int c = 0; c < 3; ++c) {
        const int d = original.at(x, y)[c] - after.at(x, y)[c];
        squares += d * d;
        ++count;
      }
    }
  s.psnr = squares == 0 ? 100 : std::min(100.0, 10 * std::log10(255.0 * 255.0 * count / squares));
  s.ssim = mean_ssim(luma(original), luma(after), inner);
  return s;
}

}  // namespace inkling
