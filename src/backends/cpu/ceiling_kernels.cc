// Multiply-adds of floats on registers alone.
#include "backends/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/ceiling_kernels.cc"
// clang-format off: must come before all that follows
#include "hwy/foreach_target.h"
// clang-format on

#include "backends/cpu/ceiling.h"
#include "backends/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace inkling::HWY_NAMESPACE {

// Twelve sums hide the latency of two units with four cycles, and leave room for the factors in sixteen registers.
int64_t f32_products_alone(int64_t rounds) {
  constexpr int kSums = 12;
  const F32 d;
  Vf sum[kSums];
  HWY_UNROLL(12)
  for (int i = 0; i < kSums; ++i) sum[i] = hn::Set(d, 1.f + 0.01f * static_cast<float>(i));
  const Vf factor = hn::Set(d, 0.999f), term = hn::Set(d, 1e-3f);
  for (int64_t r = 0; r < rounds; ++r) {
    HWY_UNROLL(12)
    for (int i = 0; i < kSums; ++i) sum[i] = hn::MulAdd(sum[i], factor, term);
  }
  Vf all = sum[0];
  for (int i = 1; i < kSums; ++i) all = hn::Add(all, sum[i]);
  volatile float kept = hn::GetLane(hn::SumOfLanes(d, all));
  (void)kept;
  return rounds * kSums * 2 * static_cast<int64_t>(hn::Lanes(d));
}

}  // namespace inkling::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace inkling::kernels {

HWY_EXPORT(f32_products_alone);

int64_t f32_products_alone(int64_t rounds) { return HWY_DYNAMIC_DISPATCH(f32_products_alone)(rounds); }

}  // namespace inkling::kernels
#endif  // HWY_ONCE
