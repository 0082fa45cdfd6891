#include "pipeline/random_weights.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/threads.h"
#include "formats/low_bit.h"

namespace inkling {

namespace {

// A good hash of a counter: the numbers do not depend on how they are divided among threads.
uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Uniform with this standard deviation.
float number(uint64_t seed, int64_t i, float deviation) {
  const uint64_t h = mixed((seed + 1) * 0x9e3779b97f4a7c15u + static_cast<uint64_t>(i));
  const float unit = static_cast<float>(h >> 40) * 0x1p-24f;  // 0 <= unit < 1
  return (2.f * unit - 1.f) * deviation * 1.7320508f;
}

template <typename Store>
void fill(int64_t count, uint64_t seed, float deviation, const Store& store) {
  constexpr int64_t kGrain = 1 << 16;
  parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) store(i, number(seed, i, deviation));
  });
}

Tensor random_floats(const Shape& shape, uint64_t seed, float deviation) {
  Tensor t = host_tensor(shape);
  float* out = t.data<float>();
  fill(t.elements(), seed, deviation, [out](int64_t i, float v) { out[i] = v; });
  return t;
}

float deviation_of(const Weight& w) {
  const int64_t inputs = w.shape.elements() / std::max<int64_t>(1, w.shape[0]);
  return 1.f / std::sqrt(static_cast<float>(inputs));
}

}  // namespace

Tensor random_rows(const Shape& shape, uint64_t seed) { return random_floats(shape, seed, 1.f); }

void randomize(Weight& w, Ops& ops, bool on_device, uint64_t seed, LowBit kind) {
  w.stored = DType::bf16;
  if (on_device && kind == LowBit::none) return ops.prepare(w);
  if (kind != LowBit::none) {
    LowBitMatrix m = quantize_low_bit(random_floats(w.shape, seed, deviation_of(w)), kind, 0, w.name);
    w.value = std::move(m.value);
    w.low_bit = std::move(m.parts);
    w.stored = w.value.dtype();
  } else {
    w.value = host_tensor(w.shape, DType::bf16);
    auto* out = reinterpret_cast<uint16_t*>(w.value.raw());
    fill(w.value.elements(), seed, deviation_of(w),
         [out](int64_t i, float v) { out[i] = static_cast<uint16_t>(std::bit_cast<uint32_t>(v) >> 16); });
  }
  if (w.has_bias) w.bias = random_floats(Shape{w.shape[0]}, seed + 1, 0.02f);
  ops.prepare(w);
}

void randomize(const Parameter& p, Ops& ops, bool on_device, uint64_t seed) {
  if (p.weight != nullptr) return randomize(*p.weight, ops, on_device, seed);
  Tensor ones = host_tensor(p.shape);
  std::ranges::fill(ones.span<float>(), 1.f);
  *p.vector = ops.upload(ones);
}

}  // namespace inkling
