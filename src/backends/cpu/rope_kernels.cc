// RMS norm of each head and rotary position embedding, in one pass over a row.
#include "backends/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/rope_kernels.cc"
// clang-format off: must come before all that follows
#include "hwy/foreach_target.h"
// clang-format on

#include <cmath>

#include "backends/cpu/kernels.h"
#include "backends/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace inkling::HWY_NAMESPACE {

// y may be x: each pair is read before it is written.
void rotate_interleaved(const float* x, const float* cos, const float* sin, float* y, int64_t pairs) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t p = 0;
  for (; p + lanes <= pairs; p += lanes) {
    Vf a, b;
    hn::LoadInterleaved2(d, x + 2 * p, a, b);
    const Vf c = hn::LoadU(d, cos + p), s = hn::LoadU(d, sin + p);
    hn::StoreInterleaved2(hn::MulSub(a, c, hn::Mul(b, s)), hn::MulAdd(a, s, hn::Mul(b, c)), d, y + 2 * p);
  }
  for (; p < pairs; ++p) {
    const float a = x[2 * p], b = x[2 * p + 1];
    y[2 * p] = a * cos[p] - b * sin[p];
    y[2 * p + 1] = a * sin[p] + b * cos[p];
  }
}

void rotate_half(const float* x, const float* cos, const float* sin, float* y, int64_t half) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t p = 0;
  for (; p + lanes <= half; p += lanes) {
    const Vf a = hn::LoadU(d, x + p), b = hn::LoadU(d, x + p + half);
    const Vf c = hn::LoadU(d, cos + p), s = hn::LoadU(d, sin + p);
    hn::StoreU(hn::MulSub(a, c, hn::Mul(b, s)), d, y + p);
    hn::StoreU(hn::MulAdd(b, c, hn::Mul(a, s)), d, y + p + half);
  }
  for (; p < half; ++p) {
    const float a = x[p], b = x[p + half];
    y[p] = a * cos[p] - b * sin[p];
    y[p + half] = b * cos[p] + a * sin[p];
  }
}

void head_norm_rope(const float* x, const kernels::HeadNormRope& spec, float* y, int64_t rows) {
  const F32 d;
  const int64_t dim = spec.head_dim;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t h = 0; h < spec.heads; ++h, x += dim, y += dim) {
      const float* in = x;
      if (spec.gamma != nullptr) {
        const float mean = sum_of_squares(dim, x) / static_cast<float>(dim);
        const Vf factor = hn::Set(d, 1.f / std::sqrt(mean + spec.eps));
        map(
            dim, y, [=](Vf v, Vf g) HWY_ATTR { return hn::Mul(hn::Mul(v, factor), g); }, x, spec.gamma);
        in = y;
      }
      if (spec.cos == nullptr) {
        if (in != y) std::memcpy(y, in, dim * sizeof(float));
        continue;
      }
      const float* cos = spec.cos + r * (dim / 2);
      const float* sin = spec.sin + r * (dim / 2);
      if (spec.style == Rope::Style::interleaved)
        rotate_interleaved(in, cos, sin, y, dim / 2);
      else
        rotate_half(in, cos, sin, y, dim / 2);
    }
  }
}

}  // namespace inkling::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace inkling::kernels {

HWY_EXPORT(head_norm_rope);

void head_norm_rope(const float* x, const HeadNormRope& spec, float* y, int64_t rows) {
  HWY_DYNAMIC_DISPATCH(head_norm_rope)(x, spec, y, rows);
}

}  // namespace inkling::kernels
#endif  // HWY_ONCE
