#include "base/rng.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numbers>

#include "base/error.h"

// Every rounding below is torch's: products and sums are fused where std::fma says so and nowhere else.
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

namespace inkling {
namespace {

constexpr int64_t kBlock = 16;  // torch transforms this many uniforms at once

float round_bf16(float value) {  // to nearest even; finite values only
  const auto bits = std::bit_cast<uint32_t>(value);
  return std::bit_cast<float>((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000u);
}

float uniform24(std::mt19937& engine) { return static_cast<float>(engine() & 0xFFFFFF) * 0x1p-24f; }

// Cephes logf for normal positive x, in the form of its AVX translation (avx_mathfun).
float cephes_log(float x) {
  constexpr std::array<float, 8> kCoefficients = {-1.1514610310e-1f, 1.1676998740e-1f,  -1.2420140846e-1f,
                                                  1.4249322787e-1f,  -1.6668057665e-1f, 2.0000714765e-1f,
                                                  -2.4999993993e-1f, 3.3333331174e-1f};
  int exponent = 0;
  float m = std::frexp(x, &exponent);  // in [0.5, 1)
  if (m < 0.707106781186547524f) {
    --exponent;
    m = (m - 1.f) + m;
  } else {
    m = m - 1.f;
  }
  const auto e = static_cast<float>(exponent);
  const float square = m * m;
  float y = 7.0376836292e-2f;
  for (const float c : kCoefficients) y = std::fma(y, m, c);
  y = std::fma(y * m, square, e * -2.12194440e-4f);
  y = std::fma(-square, 0.5f, y);
  return std::fma(e, 0.693359375f, m + y);
}

struct SinCos {
  float sin, cos;
};

// Cephes sinf and cosf for 0 <= x < 8192, from the same translation.
SinCos cephes_sincos(float x) {
  const int32_t octant = (static_cast<int32_t>(x * 1.27323954473516f) + 1) & ~1;
  const auto y = static_cast<float>(octant);
  float r = std::fma(y, -0.78515625f, x);  // pi/4 in three parts
  r = std::fma(y, -2.4187564849853515625e-4f, r);
  r = std::fma(y, -3.77489497744594108e-8f, r);
  const float z = r * r;
  float c = std::fma(2.443315711809948e-5f, z, -1.388731625493765e-3f);
  c = std::fma(c, z, 4.166664568298827e-2f);
  c = std::fma(c * z, z, -(z * 0.5f)) + 1.f;
  float s = std::fma(-1.9515295891e-4f, z, 8.3321608736e-3f);
  s = std::fma(s, z, -1.6666654611e-1f);
  s = std::fma(s * z, r, r);
  const bool swap = octant & 2;
  const float sin = swap ? c : s, cos = swap ? s : c;
  return {octant & 4 ? -sin : sin, (octant - 2) & 4 ? cos : -cos};
}

// Box-Muller: uniforms [0, 1) in, normals out, the first 8 values radii and the last 8 angles.
void transform_f32(float* block) {
  for (int j = 0; j < 8; ++j) {
    const float radius = std::sqrt(-2.f * cephes_log(1.f - block[j]));
    const auto [sin, cos] = cephes_sincos(static_cast<float>(2 * std::numbers::pi) * block[j + 8]);
    block[j] = radius * cos + 0.f;  // + 0 turns -0 into 0, as torch's "* std + mean" does
    block[j + 8] = radius * sin + 0.f;
  }
}

// The same with every operation rounded to bf16.
void transform_bf16_coarse(float* block) {
  for (int j = 0; j < 8; ++j) {
    const float log = round_bf16(std::log(round_bf16(1.f - block[j])));
    const float radius = round_bf16(std::sqrt(-2.f * log));
    const float angle = round_bf16(static_cast<float>(2 * std::numbers::pi * block[j + 8]));
    block[j] = round_bf16(radius * round_bf16(std::cos(angle))) + 0.f;
    block[j + 8] = round_bf16(radius * round_bf16(std::sin(angle))) + 0.f;
  }
}

}  // namespace

void TorchCpuGenerator::normal(std::span<float> out, DrawPrecision precision) {
  if (out.size() < kBlock) {
    for (float& value : out) value = static_cast<float>(next_double_normal());
    if (precision != DrawPrecision::f32) std::ranges::transform(out, out.begin(), round_bf16);
    return;
  }
  switch (precision) {
    case DrawPrecision::f32: return fill_blocks_f32(out);
    case DrawPrecision::bf16: return fill_blocks_bf16(out);
    case DrawPrecision::bf16_coarse: return fill_blocks_bf16_coarse(out);
  }
}

double TorchCpuGenerator::uniform53() {
  const uint64_t high = engine_();
  return static_cast<double>((high << 32 | engine_()) & ((uint64_t{1} << 53) - 1)) * 0x1p-53;
}

double TorchCpuGenerator::next_double_normal() {
  if (spare_) {
    const double value = *spare_;
    spare_.reset();
    return value;
  }
  const double u1 = uniform53();
  const double radius = std::sqrt(-2.0 * std::log1p(-uniform53()));
  const double angle = 2.0 * std::numbers::pi * u1;
  spare_ = radius * std::sin(angle);
  return radius * std::cos(angle);
}

// All uniforms are drawn first. A tail that fills no block is not transformed: the last 16 places are drawn
// again instead, over values that were ready.
void TorchCpuGenerator::fill_blocks_f32(std::span<float> out) {
  for (float& value : out) value = uniform24(engine_);
  const size_t whole = out.size() / kBlock * kBlock;
  for (size_t i = 0; i < whole; i += kBlock) transform_f32(&out[i]);
  if (whole == out.size()) return;
  const std::span<float> tail = out.last(kBlock);
  for (float& value : tail) value = uniform24(engine_);
  transform_f32(tail.data());
}

// Block by block: unlike above, no uniforms are drawn for places that the tail covers.
void TorchCpuGenerator::fill_blocks_bf16(std::span<float> out) {
  const auto fill = [&](std::span<float> block) {
    for (float& value : block) value = uniform24(engine_);
    transform_f32(block.data());
    std::ranges::transform(block, block.begin(), round_bf16);
  };
  const size_t whole = out.size() / kBlock * kBlock;
  for (size_t i = 0; i < whole; i += kBlock) fill(out.subspan(i, kBlock));
  if (whole != out.size()) fill(out.last(kBlock));
}

void TorchCpuGenerator::fill_blocks_bf16_coarse(std::span<float> out) {
  const auto draw = [&](std::span<float> places) {
    for (float& value : places) value = static_cast<float>(engine_() & 0xFF) * 0x1p-8f;
  };
  draw(out);
  const size_t whole = out.size() / kBlock * kBlock;
  for (size_t i = 0; i < whole; i += kBlock) transform_bf16_coarse(&out[i]);
  if (whole == out.size()) return;
  draw(out.last(kBlock));
  transform_bf16_coarse(out.last(kBlock).data());
}

namespace {

using Words = std::array<uint32_t, 4>;

// Philox 4x32 with 10 rounds (Salmon et al., 2011).
Words philox(Words counter, uint64_t key) {
  auto low = static_cast<uint32_t>(key), high = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p = uint64_t{0xD2511F53} * counter[0], q = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(q >> 32) ^ counter[1] ^ low, static_cast<uint32_t>(q),
               static_cast<uint32_t>(p >> 32) ^ counter[3] ^ high, static_cast<uint32_t>(p)};
    low += 0x9E3779B9;
    high += 0xBB67AE85;
  }
  return counter;
}

// {sin, cos} normals from two words, with the single-precision constants of cuRAND.
std::array<float, 2> box_muller(uint32_t x, uint32_t y) {
  const float u = std::fma(static_cast<float>(x), 0x1p-32f, 0x1p-33f);
  const float angle = std::fma(static_cast<float>(y), 1.46291807e-9f, 7.31459037e-10f);
  const float radius = std::sqrt(-2.f * std::log(u));
  return {radius * std::sin(angle), radius * std::cos(angle)};
}

}  // namespace

PhiloxGenerator::PhiloxGenerator(uint64_t seed, int64_t gpu_threads) : seed_(seed), max_threads_(gpu_threads) {
  if (gpu_threads < 256 || gpu_threads % 256 != 0) {
    throw ArgumentError("rng: {} GPU threads, expected a positive multiple of 256", gpu_threads);
  }
}

void PhiloxGenerator::normal(std::span<float> out, DrawPrecision precision) {
  const auto count = static_cast<int64_t>(out.size());
  if (count == 0) return;
  const int64_t threads = std::min((count + 255) / 256 * 256, max_threads_);
  for (int64_t base = 0; base < count; base += 4 * threads) {
    for (int64_t thread = 0; thread < std::min(threads, count - base); ++thread) {
      const Words words = philox({static_cast<uint32_t>(offset_), static_cast<uint32_t>(offset_ >> 32),
                                  static_cast<uint32_t>(thread), static_cast<uint32_t>(thread >> 32)},
                                 seed_);
      const auto first = box_muller(words[0], words[1]), second = box_muller(words[2], words[3]);
      const std::array<float, 4> normals = {first[0], first[1], second[0], second[1]};
      for (int64_t k = 0, i = base + thread; k < 4 && i < count; ++k, i += threads) {
        const float value = normals[static_cast<size_t>(k)];
        out[static_cast<size_t>(i)] = precision == DrawPrecision::f32 ? value : round_bf16(value);
      }
    }
    ++offset_;
  }
}

}  // namespace inkling
