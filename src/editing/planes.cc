#include "editing/planes.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace inkling::planes {

namespace {

// Mean along a line of n values, `stride` apart. Sums in double: a long line must not drift.
void line_mean(const float* in, float* out, int n, size_t stride, int r) {
  double sum = 0;
  for (int i = 0; i < std::min(r, n); ++i) sum += in[static_cast<size_t>(i) * stride];
  for (int i = 0; i < n; ++i) {
    if (i + r < n) sum += in[static_cast<size_t>(i + r) * stride];
    if (i - r > 0) sum -= in[static_cast<size_t>(i - r - 1) * stride];
    const int count = std::min(i + r, n - 1) - std::max(i - r, 0) + 1;
    out[static_cast<size_t>(i) * stride] = static_cast<float>(sum / count);
  }
}

Plane combine(const Plane& a, const Plane& b, auto f) {
  Plane out(a.width, a.height);
  for (size_t i = 0; i < out.values.size(); ++i) out.values[i] = f(a.values[i], b.values[i]);
  return out;
}

}  // namespace

Plane box_mean(const Plane& p, int r) {
  if (r <= 0) return p;
  Plane rows(p.width, p.height), out(p.width, p.height);
  const auto width = static_cast<size_t>(p.width);
  for (int y = 0; y < p.height; ++y)
    line_mean(&p.values[static_cast<size_t>(y) * width], &rows.values[static_cast<size_t>(y) * width], p.width, 1, r);
  // Down the columns, a row of running sums at a time: the cache sees whole rows.
  std::vector<double> sums(width, 0);
  for (int y = 0; y < std::min(r, p.height); ++y)
    for (size_t x = 0; x < width; ++x) sums[x] += rows.values[static_cast<size_t>(y) * width + x];
  for (int y = 0; y < p.height; ++y) {
    const float* enters = y + r < p.height ? &rows.values[static_cast<size_t>(y + r) * width] : nullptr;
    const float* leaves = y - r > 0 ? &rows.values[static_cast<size_t>(y - r - 1) * width] : nullptr;
    const double scale = 1.0 / (std::min(y + r, p.height - 1) - std::max(y - r, 0) + 1);
    float* to = &out.values[static_cast<size_t>(y) * width];
    for (size_t x = 0; x < width; ++x) {
      if (enters != nullptr) sums[x] += enters[x];
      if (leaves != nullptr) sums[x] -= leaves[x];
      to[x] = static_cast<float>(sums[x] * scale);
    }
  }
  return out;
}

Plane guided_filter(const Plane& guide, const Plane& input, int r, float eps) {
  const auto product = [](float a, float b) { return a * b; };
  const Plane mean_g = box_mean(guide, r), mean_i = box_mean(input, r);
  const Plane mean_gi = box_mean(combine(guide, input, product), r);
  const Plane mean_gg = box_mean(combine(guide, guide, product), r);
  Plane a(guide.width, guide.height), b(guide.width, guide.height);
  for (size_t i = 0; i < a.values.size(); ++i) {
    const float variance = std::max(0.f, mean_gg.values[i] - mean_g.values[i] * mean_g.values[i]);
    a.values[i] = (mean_gi.values[i] - mean_g.values[i] * mean_i.values[i]) / (variance + eps);
    b.values[i] = mean_i.values[i] - a.values[i] * mean_g.values[i];
  }
  const Plane mean_a = box_mean(a, r), mean_b = box_mean(b, r);
  Plane out(guide.width, guide.height);
  for (size_t i = 0; i < out.values.size(); ++i) out.values[i] = mean_a.values[i] * guide.values[i] + mean_b.values[i];
  return out;
}

Plane blur(const Plane& p, float sigma) {
  // Three boxes of width w have the variance (w^2 - 1) / 4.
  const int r = std::max(1, static_cast<int>(std::lround((std::sqrt(4 * sigma * sigma + 1) - 1) / 2)));
  return box_mean(box_mean(box_mean(p, r), r), r);
}

float to_linear(float s) { return s <= 0.04045f ? s / 12.92f : std::pow((s + 0.055f) / 1.055f, 2.4f); }
float to_srgb(float l) { return l <= 0.0031308f ? l * 12.92f : 1.055f * std::pow(l, 1 / 2.4f) - 0.055f; }

uint8_t to_byte(float value) { return static_cast<uint8_t>(std::lround(std::clamp(value, 0.f, 1.f) * 255)); }

Lab to_lab(const uint8_t* rgb) {
  static const auto linear = [] {
    std::array<float, 256> table{};
    for (int i = 0; i < 256; ++i) table[static_cast<size_t>(i)] = to_linear(static_cast<float>(i) / 255);
    return table;
  }();
  const float r = linear[rgb[0]], g = linear[rgb[1]], b = linear[rgb[2]];
  const auto f = [](float t) { return t > 0.008856f ? std::cbrt(t) : 7.787f * t + 16 / 116.f; };
  const float x = f((0.4124564f * r + 0.3575761f * g + 0.1804375f * b) / 0.95047f);
  const float y = f(0.2126729f * r + 0.7151522f * g + 0.0721750f * b);
  const float z = f((0.0193339f * r + 0.1191920f * g + 0.9503041f * b) / 1.08883f);
  return {116 * y - 16, 500 * (x - y), 200 * (y - z)};
}

void from_lab(const Lab& lab, uint8_t* rgb) {
  const float fy = (lab.l + 16) / 116, fx = fy + lab.a / 500, fz = fy - lab.b / 200;
  const auto f = [](float t) { return t > 6 / 29.f ? t * t * t : (t - 16 / 116.f) / 7.787f; };
  const float x = f(fx) * 0.95047f, y = f(fy), z = f(fz) * 1.08883f;
  rgb[0] = to_byte(to_srgb(3.2404542f * x - 1.5371385f * y - 0.4985314f * z));
  rgb[1] = to_byte(to_srgb(-0.9692660f * x + 1.8760108f * y + 0.0415560f * z));
  rgb[2] = to_byte(to_srgb(0.0556434f * x - 0.2040259f * y + 1.0572252f * z));
}

Plane channel(const Image& image, int c) {
  Plane p(image.width, image.height);
  const auto channels = static_cast<size_t>(image.channels);
  for (size_t i = 0; i < p.values.size(); ++i)
    p.values[i] = static_cast<float>(image.pixels[i * channels + static_cast<size_t>(c)]) / 255;
  return p;
}

}  // namespace inkling::planes
