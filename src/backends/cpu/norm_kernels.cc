// Normalizations over the channels of a row, and the guidance that rescales rows.
#include "backends/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/norm_kernels.cc"
// clang-format off: must come before all that follows
#include "hwy/foreach_target.h"
// clang-format on

#include <cmath>

#include "backends/cpu/kernels.h"
#include "backends/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace inkling::HWY_NAMESPACE {

void rms_norm(const float* x, const float* gamma, float eps, float* y, int64_t rows, int64_t channels) {
  const F32 d;
  for (int64_t r = 0; r < rows; ++r, x += channels, y += channels) {
    const float mean = sum_of_squares(channels, x) / static_cast<float>(channels);
    const Vf factor = hn::Set(d, 1.f / std::sqrt(mean + eps));
    map(
        channels, y, [=](Vf v, Vf g) HWY_ATTR { return hn::Mul(hn::Mul(v, factor), g); }, x, gamma);
  }
}

// Mean first, then the variance about it: one pass over x and x^2 would cancel for rows far from zero.
void layer_norm(const float* x, const float* scale, const float* shift, float eps, float* y, int64_t rows,
                int64_t channels) {
  const F32 d;
  const float count = static_cast<float>(channels);
  for (int64_t r = 0; r < rows; ++r, x += channels, y += channels) {
    const Vf mean = hn::Set(d, sum_of(channels, x, [](Vf v) HWY_ATTR { return v; }) / count);
    const auto square = [=](Vf v) HWY_ATTR {
      const Vf c = hn::Sub(v, mean);
      return hn::Mul(c, c);
    };
    const Vf factor = hn::Set(d, 1.f / std::sqrt(sum_of(channels, x, square) / count + eps));
    if (scale == nullptr) {
      map(
          channels, y, [=](Vf v) HWY_ATTR { return hn::Mul(hn::Sub(v, mean), factor); }, x);
      continue;
    }
    const auto modulated = [=](Vf v, Vf s, Vf t) HWY_ATTR {
      const Vf n = hn::Mul(hn::Sub(v, mean), factor);
      return hn::Add(hn::MulAdd(n, s, n), t);
    };
    map(channels, y, modulated, x, scale, shift);
  }
}

void channel_norm(const float* x, const float* gamma, bool silu, float* y, int64_t rows, int64_t channels) {
  const F32 d;
  const float root = std::sqrt(static_cast<float>(channels));
  for (int64_t r = 0; r < rows; ++r, x += channels, y += channels) {
    const float norm = std::sqrt(sum_of_squares(channels, x));
    const Vf factor = hn::Set(d, root / std::max(norm, 1e-12f));
    if (silu) {
      const auto both = [=](Vf v, Vf g) HWY_ATTR {
        const Vf n = hn::Mul(hn::Mul(v, factor), g);
        return hn::Mul(n, sigmoid(d, n));
      };
      map(channels, y, both, x, gamma);
    } else {
      map(
          channels, y, [=](Vf v, Vf g) HWY_ATTR { return hn::Mul(hn::Mul(v, factor), g); }, x, gamma);
    }
  }
}

void guide(const float* positive, const float* negative, float scale, float* y, int64_t rows, int64_t channels) {
  const F32 d;
  const Vf s = hn::Set(d, scale);
  for (int64_t r = 0; r < rows; ++r, positive += channels, negative += channels, y += channels) {
    const float wanted = std::sqrt(sum_of_squares(channels, positive));
    const auto combine = [=](Vf p, Vf n) HWY_ATTR { return hn::MulAdd(s, hn::Sub(p, n), n); };
    map(channels, y, combine, positive, negative);
    const float norm = std::sqrt(sum_of_squares(channels, y));
    // norm != norm: a NaN row stays one, so that the finite check of the sampler sees it.
    const Vf factor = hn::Set(d, norm > 0.f || norm != norm ? wanted / norm : 0.f);
    map(
        channels, y, [=](Vf v) HWY_ATTR { return hn::Mul(v, factor); }, y);
  }
}

}  // namespace inkling::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace inkling::kernels {

HWY_EXPORT(rms_norm);
HWY_EXPORT(layer_norm);
HWY_EXPORT(channel_norm);
HWY_EXPORT(guide);

void rms_norm(const float* x, const float* gamma, float eps, float* y, int64_t rows, int64_t channels) {
  HWY_DYNAMIC_DISPATCH(rms_norm)(x, gamma, eps, y, rows, channels);
}
void layer_norm(const float* x, const float* scale, const float* shift, float eps, float* y, int64_t rows,
                int64_t channels) {
  HWY_DYNAMIC_DISPATCH(layer_norm)(x, scale, shift, eps, y, rows, channels);
}
void channel_norm(const float* x, const float* gamma, bool silu, float* y, int64_t rows, int64_t channels) {
  HWY_DYNAMIC_DISPATCH(channel_norm)(x, gamma, silu, y, rows, channels);
}
void guide(const float* positive, const float* negative, float scale, float* y, int64_t rows, int64_t channels) {
  HWY_DYNAMIC_DISPATCH(guide)(positive, negative, scale, y, rows, channels);
}

}  // namespace inkling::kernels
#endif  // HWY_ONCE
