// Loops over float arrays of any length, included once per instruction set (Highway's foreach_target).
#if defined(INKLING_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef INKLING_SIMD_INL_H_
#undef INKLING_SIMD_INL_H_
#else
#define INKLING_SIMD_INL_H_
#endif

#include <cstddef>
#include <cstring>

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace inkling::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using Vf = hn::Vec<F32>;

// SSE2 has no masked memory access; a full load there could cross into an unmapped page.
#if HWY_TARGET <= HWY_AVX2
HWY_INLINE Vf load_tail(F32 d, const float* p, size_t n) { return hn::MaskedLoad(hn::FirstN(d, n), d, p); }
HWY_INLINE void store_tail(Vf v, F32 d, float* p, size_t n) { hn::BlendedStore(v, hn::FirstN(d, n), d, p); }
#else
HWY_INLINE Vf load_tail(F32 d, const float* p, size_t n) {
  HWY_ALIGN float buffer[hn::MaxLanes(F32())] = {};
  std::memcpy(buffer, p, n * sizeof(float));
  return hn::Load(d, buffer);
}
HWY_INLINE void store_tail(Vf v, F32 d, float* p, size_t n) {
  HWY_ALIGN float buffer[hn::MaxLanes(F32())];
  hn::Store(v, d, buffer);
  std::memcpy(p, buffer, n * sizeof(float));
}
#endif

// y[i] = f(x[i], ...) for i < n. y may be one of the inputs.
template <class F, class... In>
HWY_INLINE void map(size_t n, float* y, F f, const In*... in) {
  const F32 d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(f(hn::LoadU(d, in + i)...), d, y + i);
  if (i < n) store_tail(f(load_tail(d, in + i, n - i)...), d, y + i, n - i);
}

// Sum of f(x[i]). Two accumulators hide the latency of the addition.
template <class F>
HWY_INLINE float sum_of(size_t n, const float* x, F f) {
  const F32 d;
  const size_t lanes = hn::Lanes(d);
  Vf a = hn::Zero(d), b = hn::Zero(d);
  size_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    a = hn::Add(a, f(hn::LoadU(d, x + i)));
    b = hn::Add(b, f(hn::LoadU(d, x + i + lanes)));
  }
  if (i + lanes <= n) {
    a = hn::Add(a, f(hn::LoadU(d, x + i)));
    i += lanes;
  }
  if (i < n) b = hn::Add(b, hn::IfThenElseZero(hn::FirstN(d, n - i), f(load_tail(d, x + i, n - i))));
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(a, b)));
}

HWY_INLINE float sum_of_squares(size_t n, const float* x) {
  return sum_of(n, x, [](Vf v) HWY_ATTR { return hn::Mul(v, v); });
}

// 1 / (1 + e^-x). The argument is clamped where Exp would leave its domain; 1 / (1 + e^88) is 0 in effect.
HWY_INLINE Vf sigmoid(F32 d, Vf x) {
  const Vf e = hn::Exp(d, hn::Min(hn::Neg(x), hn::Set(d, 88.f)));
  return hn::Div(hn::Set(d, 1.f), hn::Add(hn::Set(d, 1.f), e));
}

}  // namespace inkling::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // INKLING_SIMD_INL_H_
