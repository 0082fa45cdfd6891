#include "editing/guided_filter.h"

#include <algorithm>

#include "base/threads.h"

namespace inkling {

namespace {

constexpr int64_t kRows = 32, kColumns = 256;  // at least, for one thread

void mean_rows(const Plane& in, int radius, Plane& out) {
  const int w = in.width, r = std::min(radius, w - 1);
  parallel_for(in.height, kRows, [&](int64_t begin, int64_t end) {
    std::vector<float> line(static_cast<size_t>(w));
    for (int64_t y = begin; y < end; ++y) {
      const float* source = in.row(static_cast<int>(y));
      double sum = 0;
      for (int x = 0; x < r; ++x) sum += source[x];
      int count = r;
      for (int x = 0; x < w; ++x) {
        if (x + r < w) sum += source[x + r], ++count;
        if (x - r - 1 >= 0) sum -= source[x - r - 1], --count;
        line[static_cast<size_t>(x)] = static_cast<float>(sum / count);
      }
      std::ranges::copy(line, out.row(static_cast<int>(y)));
    }
  });
}

// Sums of columns, row by row over a band of columns, so that the additions run side by side.
void mean_columns(const Plane& in, int radius, Plane& out) {
  const int h = in.height, r = std::min(radius, h - 1);
  parallel_for(in.width, kColumns, [&](int64_t begin, int64_t end) {
    const auto count = static_cast<size_t>(end - begin);
    std::vector<double> sum(count, 0.0);
    const auto add = [&](int y, double sign) {
      const float* row = in.row(y) + begin;
      for (size_t x = 0; x < count; ++x) sum[x] += sign * row[x];
    };
    for (int y = 0; y < r; ++y) add(y, 1);
    int rows = r;
    for (int y = 0; y < h; ++y) {
      if (y + r < h) add(y + r, 1), ++rows;
      if (y - r - 1 >= 0) add(y - r - 1, -1), --rows;
      const double scale = 1.0 / rows;
      float* row = out.row(y) + begin;
      for (size_t x = 0; x < count; ++x) row[x] = static_cast<float>(sum[x] * scale);
    }
  });
}

}  // namespace

void box_mean(const Plane& in, int radius, Plane& out) {
  Plane across(in.width, in.height);
  mean_rows(in, radius, across);
  if (&out != &in) out = Plane(in.width, in.height);
  mean_columns(across, radius, out);
}

Plane guided_filter(const Plane& guide, const Plane& input, int radius, float epsilon) {
  const bool self = &guide == &input;
  const size_t count = guide.values.size();
  Plane mean_i, mean_p, corr_ii(guide.width, guide.height), corr_ip;
  box_mean(guide, radius, mean_i);
  for (size_t i = 0; i < count; ++i) corr_ii.values[i] = guide.values[i] * guide.values[i];
  box_mean(corr_ii, radius, corr_ii);
  if (!self) {
    box_mean(input, radius, mean_p);
    corr_ip = Plane(guide.width, guide.height);
    for (size_t i = 0; i < count; ++i) corr_ip.values[i] = guide.values[i] * input.values[i];
    box_mean(corr_ip, radius, corr_ip);
  }
  Plane a(guide.width, guide.height), b(guide.width, guide.height);
  for (size_t i = 0; i < count; ++i) {
    const float mi = mean_i.values[i], mp = self ? mi : mean_p.values[i];
    const float variance = std::max(0.0F, corr_ii.values[i] - mi * mi);
    const float covariance = self ? variance : corr_ip.values[i] - mi * mp;
    a.values[i] = covariance / (variance + epsilon);
    b.values[i] = mp - a.values[i] * mi;
  }
  box_mean(a, radius, a);
  box_mean(b, radius, b);
  for (size_t i = 0; i < count; ++i) a.values[i] = a.values[i] * guide.values[i] + b.values[i];
  return a;
}

}  // namespace inkling
