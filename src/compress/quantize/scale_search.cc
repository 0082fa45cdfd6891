#include "compress/quantize/scale_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"
#include "base/threads.h"
#include "formats/int_quant.h"
#include "formats/low_bit.h"
#include "formats/nf4.h"

namespace inkling {

namespace {

constexpr int64_t kGroup = kInt4Group;
// (x + kRound) - kRound is x rounded to the nearest whole number, for small x.
constexpr float kRound = 12582912.f;
// Row scales tried: the largest group reaches the end of the codes at this group scale.
constexpr float kReaches[] = {15.f, 17.f, 18.f, 19.f, 20.f};
constexpr int kFewest = -3, kMost = 1;  // group scales around the one that reaches a group's largest value
constexpr float kShorter[] = {0.96f, 0.92f, 0.88f, 0.84f};  // of an NF4 block's largest magnitude

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define INKLING_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define INKLING_CLONES
#endif

// Summed in 16 lanes whatever the processor, so that a file has the same bytes everywhere.
INKLING_CLONES float group_error(const float* x, const float* weight, float step) {
  constexpr int64_t kLanes = 16;
  const float inverse = 1.f / step;
  float lanes[kLanes] = {};
  for (int64_t begin = 0; begin < kGroup; begin += kLanes)
#pragma omp simd
    for (int64_t i = 0; i < kLanes; ++i) {
      float t = x[begin + i] * inverse;
      t = t > -8.f ? t : -8.f;
      t = t < 7.f ? t : 7.f;
      const float e = x[begin + i] - step * ((t + kRound) - kRound);
      lanes[i] += weight[begin + i] * e * e;
    }
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  return sum;
}

float reach_of(const float* x) {
  float up = 0, down = 0;
  for (int64_t i = 0; i < kGroup; ++i) up = std::max(up, x[i]), down = std::max(down, -x[i]);
  return std::max(up / 7.f, down / 8.f);
}

int code_of(float x, float step) { return static_cast<int>(std::clamp(std::nearbyint(x / step), -8.f, 7.f)) + 8; }

// A row's scales and the squared error that they leave.
struct Try {
  float scale = 1.f;
  std::vector<uint8_t> group_scale;
  double error = std::numeric_limits<double>::infinity();
};

void keep_better(const Try& next, Try& best) {
  if (next.error < best.error) best = next;
}

void measure(const float* row, const float* weight, Try& t) {
  t.error = 0;
  for (size_t g = 0; g < t.group_scale.size(); ++g)
    t.error += group_error(row + g * kGroup, weight + g * kGroup, t.scale * static_cast<float>(t.group_scale[g]));
}

// The row scale that suits the codes of a try best: sum w x l / sum w l^2 with l = group scale times code.
void fit(const float* row, const float* weight, Try& t) {
  double along = 0, square = 0;
  for (size_t g = 0; g < t.group_scale.size(); ++g) {
    const float s = t.group_scale[g];
    for (size_t c = g * kGroup; c < (g + 1) * kGroup; ++c) {
      const float level = s * static_cast<float>(code_of(row[c], t.scale * s) - 8);
      along += double{weight[c]} * row[c] * level;
      square += double{weight[c]} * level * level;
    }
  }
  if (along > 0 && square > 0) t.scale = static_cast<float>(along / square);
  measure(row, weight, t);
}

}  // namespace

float search_row_i4(std::span<const float> row, std::span<const float> weight, uint8_t* codes, uint8_t* group_scale) {
  const auto columns = static_cast<int64_t>(row.size());
  Try best;
  best.scale = quantize_row_i4(row.data(), columns, codes, group_scale);
  const size_t groups = row.size() / kGroup;
  std::vector<float> reach(groups), ones;
  for (size_t g = 0; g < groups; ++g) reach[g] = reach_of(row.data() + g * kGroup);
  const float furthest = *std::ranges::max_element(reach);
  if (furthest < kZeroRow) return best.scale;
  if (weight.empty()) ones.assign(row.size(), 1.f), weight = ones;
  best.group_scale.assign(group_scale, group_scale + groups);
  measure(row.data(), weight.data(), best);
  Try next;
  next.group_scale.resize(groups);
  for (const float reached : kReaches) {
    next.scale = furthest / reached;
    next.error = 0;
    for (size_t g = 0; g < groups; ++g) {
      const int middle = std::clamp(static_cast<int>(std::nearbyint(reach[g] / next.scale)), 1, 16);
      float least = std::numeric_limits<float>::infinity();
      for (int s = std::max(1, middle + kFewest); s <= std::min(16, middle + kMost); ++s) {
        const float e =
            group_error(row.data() + g * kGroup, weight.data() + g * kGroup, next.scale * static_cast<float>(s));
        if (e < least) least = e, next.group_scale[g] = static_cast<uint8_t>(s);
      }
      next.error += least;
    }
    keep_better(next, best);
  }
  next = best;
  fit(row.data(), weight.data(), next);
  keep_better(next, best);
  std::ranges::copy(best.group_scale, group_scale);
  for (int64_t c = 0; c < columns; c += 2) {
    const float step = best.scale * static_cast<float>(group_scale[c / kGroup]);
    codes[c / 2] = static_cast<uint8_t>(code_of(row[c], step) | code_of(row[c + 1], step) << 4);
  }
  return best.scale;
}

void search_nf4(std::span<const float> values, uint8_t* codes, float* absmax) {
  std::vector<float> clipped(kNf4Block), back(kNf4Block);
  std::vector<uint8_t> tried(kNf4Block / 2);
  for (size_t begin = 0; begin < values.size(); begin += kNf4Block, ++absmax, codes += kNf4Block / 2) {
    const auto from = values.subspan(begin, std::min<size_t>(kNf4Block, values.size() - begin));
    quantize_nf4(from, codes, absmax);
    const float largest = *absmax;
    if (!(largest > kZeroRow)) continue;
    const auto error = [&](const uint8_t* q, float scale) {
      dequantize_nf4(q, &scale, 0, static_cast<int64_t>(from.size()), back.data());
      double sum = 0;
      for (size_t i = 0; i < from.size(); ++i) sum += std::pow(double{from[i]} - back[i], 2);
      return sum;
    };
    double least = error(codes, largest);
    for (const float part : kShorter) {
      const float limit = part * largest;
      for (size_t i = 0; i < from.size(); ++i) clipped[i] = std::clamp(from[i], -limit, limit);
      float scale = 0;
      quantize_nf4({clipped.data(), from.size()}, tried.data(), &scale);
      const double e = error(tried.data(), scale);
      if (e >= least) continue;
      least = e;
      *absmax = scale;
      std::copy_n(tried.begin(), (from.size() + 1) / 2, codes);
    }
  }
}

LowBitMatrix quantize_by_search(const Tensor& rows, LowBit kind, int64_t rotation, const std::string& name) {
  LowBitMatrix m = quantize_low_bit(rows, kind, rotation, name);  // checks shape and values
  if (kind != LowBit::w4a8) return m;
  const int64_t columns = rows.dim(1);
  const float* source = rows.data<float>();
  auto* codes = m.value.data<uint8_t>();
  auto* scale = m.parts.scale.data<float>();
  auto* group_scale = m.parts.group_scale.data<uint8_t>();
  parallel_for(rows.dim(0), 1, [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(columns));
    for (int64_t r = begin; r < end; ++r) {
      std::copy_n(source + r * columns, columns, row.begin());
      rotate_row(row.data(), columns, rotation);
      scale[r] = search_row_i4(row, {}, codes + r * columns / 2, group_scale + r * (columns / kGroup));
    }
  });
  return m;
}

}  // namespace inkling
