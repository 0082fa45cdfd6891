// Dot products of a few weight rows, just unpacked, with all rows of x.
#include "backends/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/dot_kernels.cc"
// clang-format off: must come before all that follows
#include "hwy/foreach_target.h"
// clang-format on

#include "backends/cpu/kernels.h"
#include "backends/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace inkling::HWY_NAMESPACE {

// kRows rows of x with kDotRows rows of w. Each sum is made in the same way whatever kRows is.
template <int kRows>
HWY_INLINE void dot_tile(const float* w, const float* x, int64_t k, float (&sums)[kRows][kernels::kDotRows]) {
  constexpr int kDots = kernels::kDotRows;
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  Vf acc[kRows][kDots];
  HWY_UNROLL(4)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(4)
    for (int j = 0; j < kDots; ++j) acc[r][j] = hn::Zero(d);
  }
  const auto step = [&](const auto& load, int64_t i) HWY_ATTR {
    Vf v[kRows];
    HWY_UNROLL(4)
    for (int r = 0; r < kRows; ++r) v[r] = load(x + r * k + i);
    HWY_UNROLL(4)
    for (int j = 0; j < kDots; ++j) {
      const Vf u = load(w + j * k + i);
      HWY_UNROLL(4)
      for (int r = 0; r < kRows; ++r) acc[r][j] = hn::MulAdd(u, v[r], acc[r][j]);
    }
  };
  int64_t i = 0;
  for (; i + lanes <= k; i += lanes) step([d](const float* p) HWY_ATTR { return hn::LoadU(d, p); }, i);
  if (i < k) {
    const size_t rest = static_cast<size_t>(k - i);
    step([d, rest](const float* p) HWY_ATTR { return load_tail(d, p, rest); }, i);
  }
  for (int r = 0; r < kRows; ++r)
    for (int j = 0; j < kDots; ++j) sums[r][j] = hn::GetLane(hn::SumOfLanes(d, acc[r][j]));
}

template <int kRows>
HWY_INLINE void dot_and_store(const float* w, const float* x, int64_t k, const float* bias, int64_t count, float* y,
                              int64_t stride) {
  float sums[kRows][kernels::kDotRows];
  dot_tile<kRows>(w, x, k, sums);
  for (int r = 0; r < kRows; ++r)
    for (int64_t j = 0; j < count; ++j) y[r * stride + j] = bias == nullptr ? sums[r][j] : sums[r][j] + bias[j];
}

void dot_rows(const float* w, const float* x, int64_t rows, int64_t k, const float* bias, int64_t count, float* y,
              int64_t stride) {
  int64_t r = 0;
  for (; r + 2 <= rows; r += 2) dot_and_store<2>(w, x + r * k, k, bias, count, y + r * stride, stride);
  if (r < rows) dot_and_store<1>(w, x + r * k, k, bias, count, y + r * stride, stride);
}

}  // namespace inkling::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace inkling::kernels {

HWY_EXPORT(dot_rows);

void dot_rows(const float* w, const float* x, int64_t rows, int64_t k, const float* bias, int64_t count, float* y,
              int64_t stride) {
  HWY_DYNAMIC_DISPATCH(dot_rows)(w, x, rows, k, bias, count, y, stride);
}

}  // namespace inkling::kernels
#endif  // HWY_ONCE
