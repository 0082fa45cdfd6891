// Elementwise kernels and activations.
#include "backends/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/elementwise_kernels.cc"
// clang-format off: must come before all that follows
#include "hwy/foreach_target.h"
// clang-format on

#include "backends/cpu/kernels.h"
#include "backends/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace inkling::HWY_NAMESPACE {

void add(const float* a, const float* b, float* y, int64_t n) {
  map(
      n, y, [](Vf u, Vf v) HWY_ATTR { return hn::Add(u, v); }, a, b);
}

void multiply(const float* a, const float* b, float* y, int64_t n) {
  map(
      n, y, [](Vf u, Vf v) HWY_ATTR { return hn::Mul(u, v); }, a, b);
}

void axpby(float a, const float* x, float b, const float* y, float* out, int64_t n) {
  const F32 d;
  const Vf va = hn::Set(d, a), vb = hn::Set(d, b);
  map(
      n, out, [=](Vf u, Vf v) HWY_ATTR { return hn::MulAdd(va, u, hn::Mul(vb, v)); }, x, y);
}

void modulate(const float* x, const float* scale, const float* shift, float* y, int64_t n) {
  map(
      n, y, [](Vf u, Vf s, Vf t) HWY_ATTR { return hn::Add(hn::MulAdd(u, s, u), t); }, x, scale, shift);
}

void gated_add(const float* residual, const float* x, const float* gate, float* y, int64_t n) {
  map(
      n, y, [](Vf r, Vf u, Vf g) HWY_ATTR { return hn::MulAdd(g, u, r); }, residual, x, gate);
}

void silu_multiply(const float* gate, const float* up, float* y, int64_t n) {
  const F32 d;
  map(
      n, y, [=](Vf g, Vf u) HWY_ATTR { return hn::Mul(hn::Mul(g, sigmoid(d, g)), u); }, gate, up);
}

// x Phi(x) with Phi(x) = erfc(-x / sqrt 2) / 2. With t = |x| / sqrt 2, erfc(t) = exp(-t^2) P(1/(1 + t/2)) to 4e-8
// relative: a minimax fit of degree 9 on t in [0, 10]. No cancellation for negative x.
HWY_INLINE Vf gelu_erf(F32 d, Vf x) {
  const Vf t = hn::Mul(hn::Abs(x), hn::Set(d, 0.70710678118654752f));
  const Vf u = hn::Div(hn::Set(d, 1.f), hn::MulAdd(t, hn::Set(d, 0.5f), hn::Set(d, 1.f)));
  constexpr float kFit[] = {-0.0550454475f, 0.26387519f,  -0.441420306f, 0.221124473f, 0.0171255824f,
                            0.181227649f,   0.249800139f, 0.281097201f,  0.282221505f, -6.01701127e-06f};
  Vf p = hn::Set(d, kFit[0]);
  for (size_t i = 1; i < sizeof(kFit) / sizeof(float); ++i) p = hn::MulAdd(p, u, hn::Set(d, kFit[i]));
  const Vf erfc = hn::Mul(p, hn::Exp(d, hn::Neg(hn::Mul(t, t))));
  const Vf half_tail = hn::Mul(hn::Set(d, 0.5f), erfc);  // Phi(-|x|)
  const Vf phi = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), half_tail, hn::Sub(hn::Set(d, 1.f), half_tail));
  return hn::Mul(x, phi);
}

void activate(Activation f, const float* x, float* y, int64_t n) {
  const F32 d;
  switch (f) {
    case Activation::gelu_tanh:  // x (1 + tanh u) / 2 = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3)
      map(
          n, y,
          [=](Vf v) HWY_ATTR {
            const Vf cubic = hn::MulAdd(hn::Mul(v, v), hn::Set(d, 0.07135481282f), hn::Set(d, 1.5957691216f));
            return hn::Mul(v, sigmoid(d, hn::Mul(v, cubic)));
          },
          x);
      return;
    case Activation::gelu_erf:
      map(
          n, y, [=](Vf v) HWY_ATTR { return gelu_erf(d, v); }, x);
      return;
    case Activation::silu:
      map(
          n, y, [=](Vf v) HWY_ATTR { return hn::Mul(v, sigmoid(d, v)); }, x);
      return;
    case Activation::quick_gelu:
      map(
          n, y, [=](Vf v) HWY_ATTR { return hn::Mul(v, sigmoid(d, hn::Mul(v, hn::Set(d, 1.702f)))); }, x);
      return;
  }
}

void to_bf16(const float* x, uint16_t* y, int64_t n) {
  const hn::ScalableTag<uint32_t> du;
  const hn::Rebind<uint16_t, decltype(du)> dh;
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(du));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const Vf v = hn::LoadU(d, x + i);
    const auto bits = hn::BitCast(du, v);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
    const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7fff)));
    const auto nan = hn::Or(bits, hn::Set(du, 0x400000));  // stays a NaN
    const auto kept = hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(v)), nan, rounded);
    // As signed values after an arithmetic shift, saturation cannot change the low 16 bits' meaning.
    const hn::RebindToSigned<decltype(du)> di;
    const hn::RebindToSigned<decltype(dh)> dhi;
    const auto high = hn::ShiftRight<16>(hn::BitCast(di, kept));
    hn::StoreU(hn::BitCast(dh, hn::DemoteTo(dhi, high)), dh, y + i);
  }
  for (; i < n; ++i) y[i] = inkling::to_bf16(x[i]).bits;
}

}  // namespace inkling::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace inkling::kernels {

HWY_EXPORT(add);
HWY_EXPORT(multiply);
HWY_EXPORT(axpby);
HWY_EXPORT(modulate);
HWY_EXPORT(gated_add);
HWY_EXPORT(silu_multiply);
HWY_EXPORT(activate);
HWY_EXPORT(to_bf16);

void add(const float* a, const float* b, float* y, int64_t n) { HWY_DYNAMIC_DISPATCH(add)(a, b, y, n); }
void multiply(const float* a, const float* b, float* y, int64_t n) { HWY_DYNAMIC_DISPATCH(multiply)(a, b, y, n); }
void axpby(float a, const float* x, float b, const float* y, float* out, int64_t n) {
  HWY_DYNAMIC_DISPATCH(axpby)(a, x, b, y, out, n);
}
void modulate(const float* x, const float* scale, const float* shift, float* y, int64_t n) {
  HWY_DYNAMIC_DISPATCH(modulate)(x, scale, shift, y, n);
}
void gated_add(const float* residual, const float* x, const float* gate, float* y, int64_t n) {
  HWY_DYNAMIC_DISPATCH(gated_add)(residual, x, gate, y, n);
}
void silu_multiply(const float* gate, const float* up, float* y, int64_t n) {
  HWY_DYNAMIC_DISPATCH(silu_multiply)(gate, up, y, n);
}
void activate(Activation f, const float* x, float* y, int64_t n) { HWY_DYNAMIC_DISPATCH(activate)(f, x, y, n); }
void to_bf16(const float* x, uint16_t* y, int64_t n) { HWY_DYNAMIC_DISPATCH(to_bf16)(x, y, n); }

}  // namespace inkling::kernels
#endif  // HWY_ONCE
