#include "formats/resample.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/threads.h"

namespace inkling {

namespace {

// Everything is computed in double and in the order in which PIL does it: another order moves a tap by one.
double lanczos(double x) {
  const auto sinc = [](double v) {
    if (v == 0.0) return 1.0;
    v *= std::numbers::pi;
    return std::sin(v) / v;
  };
  return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
}

double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

// Taps of one axis: output i is the sum over j < count[i] of taps[i * stride + j] times input first[i] + j.
struct Taps {
  std::vector<int> first, count;
  std::vector<int32_t> values;
  int stride = 0;
  int bits = 0;
};

int largest_int16_bits(double largest) {
  constexpr int kMostBits = 22;
  int bits = 0;
  while (bits < kMostBits && static_cast<int>(0.5 + largest * (1 << (bits + 1))) < 1 << 15) ++bits;
  return bits;
}

Taps make_taps(int in, int out, ResampleFilter filter, int tap_bits) {
  const auto weight = filter == ResampleFilter::lanczos ? lanczos : bicubic;
  const double scale = static_cast<double>(in) / out;
  const double filter_scale = std::max(scale, 1.0);
  const double support = (filter == ResampleFilter::lanczos ? 3.0 : 2.0) * filter_scale;
  const double inverse = 1.0 / filter_scale;

  Taps taps;
  taps.stride = static_cast<int>(std::ceil(support)) * 2 + 1;
  taps.first.resize(static_cast<size_t>(out));
  taps.count.resize(static_cast<size_t>(out));
  std::vector<double> weights(static_cast<size_t>(out) * taps.stride, 0.0);
  double largest = 0;
  for (int i = 0; i < out; ++i) {
    const double centre = (i + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(centre - support + 0.5));
    const int count = std::min(in, static_cast<int>(centre + support + 0.5)) - first;
    double* w = &weights[static_cast<size_t>(i) * taps.stride];
    double sum = 0;
    for (int j = 0; j < count; ++j) sum += w[j] = weight((j + first - centre + 0.5) * inverse);
    for (int j = 0; j < count; ++j) {
      if (sum != 0.0) w[j] /= sum;
      largest = std::max(largest, w[j]);
    }
    taps.first[static_cast<size_t>(i)] = first;
    taps.count[static_cast<size_t>(i)] = count;
  }
  taps.bits = tap_bits > 0 ? tap_bits : largest_int16_bits(largest);
  taps.values.reserve(weights.size());
  for (const double w : weights)
    taps.values.push_back(static_cast<int32_t>((w < 0 ? -0.5 : 0.5) + w * (1 << taps.bits)));
  return taps;
}

uint8_t clip(int32_t sum, int bits) { return static_cast<uint8_t>(std::clamp(sum >> bits, 0, 255)); }

template <int C>
void resample_rows(const Image& in, Image& out, const Taps& taps, int64_t begin, int64_t end) {
  for (int64_t y = begin; y < end; ++y) {
    const uint8_t* row = in.at(0, static_cast<int>(y));
    uint8_t* dst = out.at(0, static_cast<int>(y));
    for (int x = 0; x < out.width; ++x, dst += C) {
      const auto i = static_cast<size_t>(x);
      const int32_t* tap = &taps.values[i * static_cast<size_t>(taps.stride)];
      const uint8_t* src = row + static_cast<size_t>(taps.first[i]) * C;
      int32_t sum[C];
      std::fill_n(sum, C, 1 << (taps.bits - 1));
      for (int j = 0; j < taps.count[i]; ++j, src += C)
        for (int c = 0; c < C; ++c) sum[c] += src[c] * tap[j];
      for (int c = 0; c < C; ++c) dst[c] = clip(sum[c], taps.bits);
    }
  }
}

// Row by row over the taps, so that memory is read in order.
void resample_columns(const Image& in, Image& out, const Taps& taps, int64_t begin, int64_t end) {
  std::vector<int32_t> sums(in.row_bytes());
  for (int64_t y = begin; y < end; ++y) {
    const auto i = static_cast<size_t>(y);
    std::ranges::fill(sums, 1 << (taps.bits - 1));
    for (int j = 0; j < taps.count[i]; ++j) {
      const int32_t tap = taps.values[i * static_cast<size_t>(taps.stride) + static_cast<size_t>(j)];
      const uint8_t* src = in.at(0, taps.first[i] + j);
      for (size_t x = 0; x < sums.size(); ++x) sums[x] += src[x] * tap;
    }
    uint8_t* dst = out.at(0, static_cast<int>(y));
    for (size_t x = 0; x < sums.size(); ++x) dst[x] = clip(sums[x], taps.bits);
  }
}

}  // namespace

Image resample(const Image& image, int width, int height, ResampleFilter filter, int tap_bits) {
  constexpr int kMostBits = 22;  // 8 bits of pixel and 2 of headroom remain in 32
  if (width < 1 || height < 1 || image.width < 1 || image.height < 1 || tap_bits < 0 || tap_bits > kMostBits)
    throw ArgumentError("resample: cannot make {}x{} of {}x{} with {} bits", width, height, image.width, image.height,
                        tap_bits);
  if (image.channels != 1 && image.channels != 3 && image.channels != 4)
    throw ArgumentError("resample: {} channels are not supported", image.channels);
  constexpr int64_t kGrain = 16;  // rows
  Image across;
  const Image* source = &image;
  if (width != image.width) {
    const Taps taps = make_taps(image.width, width, filter, tap_bits);
    across = Image::blank(width, image.height, image.channels);
    const auto rows = image.channels == 1   ? resample_rows<1>
                      : image.channels == 3 ? resample_rows<3>
                                            : resample_rows<4>;
    parallel_for(image.height, kGrain, [&](int64_t begin, int64_t end) { rows(image, across, taps, begin, end); });
    source = &across;
  }
  if (height == image.height) return *source;
  const Taps taps = make_taps(image.height, height, filter, tap_bits);
  Image result = Image::blank(width, height, image.channels);
  parallel_for(height, kGrain,
               [&](int64_t begin, int64_t end) { resample_columns(*source, result, taps, begin, end); });
  return result;
}

}  // namespace inkling
