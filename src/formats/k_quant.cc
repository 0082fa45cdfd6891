#include "formats/k_quant.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "formats/chance.h"

namespace inkling {

namespace {

constexpr int kSuper = 256;
constexpr int kLanes = 8;
// The search is compiled for two instruction sets; no operation is fused and the lanes fix the order of every sum, so
// the results are the same.
#define INKLING_INLINE inline __attribute__((always_inline))
// How wide vectors are passed differs between targets; here they cross no border.
#pragma GCC diagnostic ignored "-Wpsabi"
using Floats = float __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));

uint8_t& at(std::byte* p, int i) { return reinterpret_cast<uint8_t*>(p)[i]; }

float get_half(const std::byte* p) {
  f16_t half;
  std::memcpy(&half, p, sizeof(half));
  return to_float(half);
}
void put_half(float value, std::byte* p) {
  const f16_t half = to_f16(value);
  std::memcpy(p, &half, sizeof(half));
}
// Of a positive number: no smaller than the smallest that float16 has, or it would take the whole block to zero.
float rounded_to_half(float value) {
  return value > 0.f ? std::max(to_float(to_f16(std::min(value, 65504.f))), 0x1p-24f) : 0.f;
}

// rint for |x| < 2^22.
template <typename T>
INKLING_INLINE T nearest(T x) {
  constexpr float kMagic = 12582912.f;  // 1.5 * 2^23
  return (x + kMagic) - kMagic;
}

// Within lowest..highest; what is no number becomes the lowest.
INKLING_INLINE float limited(float x, float lowest, float highest) { return std::min(std::max(lowest, x), highest); }
INKLING_INLINE Floats limited(const Floats& x, float lowest, float highest) {
  const Floats low = Floats{} + lowest, high = Floats{} + highest, raised = x > low ? x : low;
  return raised < high ? raised : high;
}

INKLING_INLINE const Floats& floats_at(const float* p) { return *reinterpret_cast<const Floats*>(p); }

INKLING_INLINE float sum_of(const Floats& v) {
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

// A group of values as step * code - minimum, code in lowest..highest.
struct Grid {
  float step = 0, minimum = 0;
};

template <int kSize>
INKLING_INLINE float error_of(const float* x, const Grid& grid, float lowest, float highest) {
  const float inverse = grid.step == 0.f ? 0.f : 1.f / grid.step;
  Floats sum = {};
  for (int i = 0; i < kSize; i += kLanes) {
    const Floats& v = floats_at(x + i);
    const Floats q = nearest(limited((v + grid.minimum) * inverse, lowest, highest));
    const Floats e = (grid.step * q - grid.minimum) - v;
    sum += e * e;
  }
  return sum_of(sum);
}

// Least squares for the codes that `grid` gives. With `affine` both numbers are free, and the minimum not below 0,
// which the format cannot hold; else the minimum stays 0.
template <int kSize>
INKLING_INLINE Grid refit(const float* x, const Grid& grid, float lowest, float highest, bool affine) {
  const float inverse = grid.step == 0.f ? 0.f : 1.f / grid.step;
  Floats q1 = {}, q2 = {}, x1 = {}, xq = {};
  for (int i = 0; i < kSize; i += kLanes) {
    const Floats& v = floats_at(x + i);
    const Floats q = nearest(limited((v + grid.minimum) * inverse, lowest, highest));
    q1 += q, q2 += q * q, x1 += v, xq += v * q;
  }
  const float sq = sum_of(q1), sqq = sum_of(q2), sx = sum_of(x1), sxq = sum_of(xq);
  if (affine) {
    const float determinant = kSize * sqq - sq * sq;
    if (determinant > 0.f) {
      const Grid fitted{(kSize * sxq - sq * sx) / determinant, (sq * sxq - sqq * sx) / determinant};
      if (fitted.step > 0.f && fitted.minimum >= 0.f) return fitted;
    }
  }
  return {sqq > 0.f ? sxq / sqq : 0.f, 0.f};
}

// The best grid found from several widths: the extremes of a group are worth clipping when the rest is dense.
template <int kSize>
INKLING_INLINE Grid search_affine(const float* x, float highest) {
  float low = 0.f, high = 0.f;
  for (int i = 0; i < kSize; ++i) low = std::min(low, x[i]), high = std::max(high, x[i]);
  if (low == high) return {};
  Grid best;
  float smallest = INFINITY;
  for (const float width : {1.04f, 1.f, 0.95f, 0.9f, 0.85f, 0.8f, 0.74f}) {
    const float step = (high - low) * width / highest;
    Grid grid{step, std::max(0.f, step * highest / 2.f - (low + high) / 2.f)};
    for (int pass = 0; pass < 2; ++pass) {
      grid = refit<kSize>(x, grid, 0.f, highest, true);
      const float error = error_of<kSize>(x, grid, 0.f, highest);
      if (error < smallest) smallest = error, best = grid;
    }
  }
  return best;
}

// The sign of the step takes the value of largest magnitude to the lowest code, which reaches one step further.
template <int kSize>
INKLING_INLINE float search_symmetric(const float* x, float lowest, float highest) {
  float extreme = 0.f;
  for (int i = 0; i < kSize; ++i)
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  if (extreme == 0.f) return 0.f;
  float best = 0.f, smallest = INFINITY;
  for (const float reach : {-34.f, -33.f, -32.5f, -32.f, -31.5f, -31.f, -30.f, 31.f, 32.f}) {
    Grid grid{extreme / reach, 0.f};
    for (int pass = 0; pass < 2; ++pass) {
      grid = refit<kSize>(x, grid, lowest, highest, false);
      const float error = error_of<kSize>(x, grid, lowest, highest);
      if (error < smallest) smallest = error, best = grid.step;
    }
  }
  return best;
}

// --- q4_k and q5_k ------------------------------------------------------------------------------------------------

struct AffineScales {
  float d = 0, dmin = 0;  // as stored, float16
  std::array<uint8_t, 8> scale{}, minimum{};
  Grid group(int g) const {
    const auto i = static_cast<size_t>(g);
    return {d * static_cast<float>(scale[i]), dmin * static_cast<float>(minimum[i])};
  }
};

// Six bits each: the first four scales and minima whole, the upper bits of the other four in the bits left over.
void pack_scales(const AffineScales& s, std::byte* b) {
  put_half(s.d, b);
  put_half(s.dmin, b + 2);
  for (int g = 0; g < 4; ++g) {
    const auto low = static_cast<size_t>(g), high = low + 4;
    at(b, 4 + g) = static_cast<uint8_t>(s.scale[low] | (s.scale[high] >> 4) << 6);
    at(b, 8 + g) = static_cast<uint8_t>(s.minimum[low] | (s.minimum[high] >> 4) << 6);
    at(b, 12 + g) = static_cast<uint8_t>((s.scale[high] & 15) | (s.minimum[high] & 15) << 4);
  }
}

AffineScales unpack_scales(std::byte* b) {
  AffineScales s{get_half(b), get_half(b + 2), {}, {}};
  for (int g = 0; g < 4; ++g) {
    const auto low = static_cast<size_t>(g), high = low + 4;
    s.scale[low] = at(b, 4 + g) & 63;
    s.minimum[low] = at(b, 8 + g) & 63;
    s.scale[high] = static_cast<uint8_t>((at(b, 12 + g) & 15) | (at(b, 4 + g) >> 6) << 4);
    s.minimum[high] = static_cast<uint8_t>(at(b, 12 + g) >> 4 | (at(b, 8 + g) >> 6) << 4);
  }
  return s;
}

// For every group the neighbouring pair of six-bit numbers that leaves the smallest error; returns their sum.
INKLING_INLINE float choose_scales(const float* x, const std::array<Grid, 8>& wanted, float highest, AffineScales& s) {
  float total = 0;
  for (int g = 0; g < 8; ++g) {
    const auto i = static_cast<size_t>(g);
    const auto near = [](float value, float unit) {
      return unit == 0.f ? 0 : static_cast<int>(limited(std::nearbyint(value / unit), 0.f, 63.f));
    };
    const int scale = near(wanted[i].step, s.d), minimum = near(wanted[i].minimum, s.dmin);
    float smallest = INFINITY;
    AffineScales tried = s;
    for (int a = std::max(0, scale - 1); a <= std::min(63, scale + 1); ++a)
      for (int m = std::max(0, minimum - 1); m <= std::min(63, minimum + 1); ++m) {
        tried.scale[i] = static_cast<uint8_t>(a), tried.minimum[i] = static_cast<uint8_t>(m);
        const float error = error_of<32>(x + g * 32, tried.group(g), 0.f, highest);
        if (error < smallest) smallest = error, s.scale[i] = tried.scale[i], s.minimum[i] = tried.minimum[i];
      }
    total += smallest;
  }
  return total;
}

// d and dmin by least squares for the codes and six-bit numbers that `s` gives.
INKLING_INLINE void refit_units(const float* x, float highest, AffineScales& s) {
  double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;
  for (int g = 0; g < 8; ++g) {
    const Grid grid = s.group(g);
    const float inverse = grid.step == 0.f ? 0.f : 1.f / grid.step;
    const double scale = s.scale[static_cast<size_t>(g)], minimum = s.minimum[static_cast<size_t>(g)];
    for (int i = g * 32; i < (g + 1) * 32; ++i) {
      const double a = scale * nearest(limited((x[i] + grid.minimum) * inverse, 0.f, highest));
      aa += a * a, ab += a * minimum, bb += minimum * minimum, ax += a * x[i], bx += minimum * x[i];
    }
  }
  const double determinant = aa * bb - ab * ab;
  if (determinant <= 1e-9 * aa * bb) return;
  const double d = (ax * bb - bx * ab) / determinant, dmin = (ax * ab - bx * aa) / determinant;
  if (d <= 0 || dmin < 0) return;
  s.d = rounded_to_half(static_cast<float>(d));
  s.dmin = rounded_to_half(static_cast<float>(dmin));
}

INKLING_INLINE AffineScales fit_affine(const float* x, float highest) {
  std::array<Grid, 8> wanted;
  float step = 0, minimum = 0;
  for (int g = 0; g < 8; ++g) {
    Grid& grid = wanted[static_cast<size_t>(g)];
    grid = search_affine<32>(x + g * 32, highest);
    step = std::max(step, grid.step), minimum = std::max(minimum, grid.minimum);
  }
  AffineScales best{rounded_to_half(step / 63.f), rounded_to_half(minimum / 63.f), {}, {}};
  float smallest = choose_scales(x, wanted, highest, best);
  AffineScales next = best;
  for (int pass = 0; pass < 2; ++pass) {
    refit_units(x, highest, next);
    const float error = choose_scales(x, wanted, highest, next);
    if (error < smallest) smallest = error, best = next;
  }
  return best;
}

// Codes of 4 bits, with `fifth` bits of 5, for the scales in the block.
template <typename Round>
void write_affine_codes(const float* x, std::byte* b, bool fifth, Round round) {
  const AffineScales s = unpack_scales(b);
  std::byte* low = b + (fifth ? 48 : 16);
  std::memset(b + 16, 0, fifth ? 160 : 128);
  for (int i = 0; i < kSuper; ++i) {
    const int g = i / 32;
    const Grid grid = s.group(g);
    const float steps = grid.step == 0.f ? 0.f : (x[i] + grid.minimum) / grid.step;
    const int code = static_cast<int>(limited(round(steps, i), 0.f, fifth ? 31.f : 15.f));
    at(low, g / 2 * 32 + i % 32) |= static_cast<uint8_t>((code & 15) << (g % 2 * 4));
    if (fifth) at(b, 16 + i % 32) |= static_cast<uint8_t>(code >> 4 << g);
  }
}

// --- q6_k ---------------------------------------------------------------------------------------------------------

constexpr float kLow6 = -32.f, kHigh6 = 31.f;

float step6(std::byte* b, int group) {
  return get_half(b + 208) * static_cast<float>(static_cast<int8_t>(at(b, 192 + group)));
}

// Sixteen signed 8-bit scales of 16 values each.
INKLING_INLINE void fit_q6_k(const float* x, std::byte* b) {
  std::array<float, 16> steps;
  float extreme = 0;
  for (int g = 0; g < 16; ++g) {
    const float step = steps[static_cast<size_t>(g)] = search_symmetric<16>(x + g * 16, kLow6, kHigh6);
    if (std::fabs(step) > std::fabs(extreme)) extreme = step;
  }
  const float d = std::copysign(rounded_to_half(std::fabs(extreme) / 127.f), extreme);
  put_half(d, b + 208);
  for (int g = 0; g < 16; ++g) {
    const int middle =
        d == 0.f ? 0 : static_cast<int>(limited(std::nearbyint(steps[static_cast<size_t>(g)] / d), -127.f, 127.f));
    float smallest = INFINITY;
    for (int a = std::max(-128, middle - 1); a <= std::min(127, middle + 1); ++a) {
      const float error = error_of<16>(x + g * 16, {d * static_cast<float>(a), 0.f}, kLow6, kHigh6);
      if (error < smallest) smallest = error, at(b, 192 + g) = static_cast<uint8_t>(static_cast<int8_t>(a));
    }
  }
}

template <typename Round>
void write_q6_k_codes(const float* x, std::byte* b, Round round) {
  std::memset(b, 0, 192);
  for (int i = 0; i < kSuper; ++i) {
    const float step = step6(b, i / 16), steps = step == 0.f ? 0.f : x[i] / step;
    const int code = static_cast<int>(limited(round(steps, i), kLow6, kHigh6)) + 32;
    const int half = i / 128, run = i % 128 / 32;
    at(b, half * 64 + run % 2 * 32 + i % 32) |= static_cast<uint8_t>((code & 15) << (run / 2 * 4));
    at(b, 128 + half * 32 + i % 32) |= static_cast<uint8_t>(code >> 4 << (2 * run));
  }
}

template <typename Round>
void write_codes(DType type, const float* x, std::byte* block, Round round) {
  if (type == DType::q6_k) return write_q6_k_codes(x, block, round);
  write_affine_codes(x, block, type == DType::q5_k, round);
}

// --- instruction sets ---------------------------------------------------------------------------------------------

struct Fits {
  void (*affine)(const float*, float, std::byte*);
  void (*q6_k)(const float*, std::byte*);
};

#define INKLING_CLONE(name, attribute)                                         \
  attribute void affine_##name(const float* x, float highest, std::byte* b) {  \
    pack_scales(fit_affine(x, highest), b);                                    \
  }                                                                            \
  attribute void q6_k_##name(const float* x, std::byte* b) { fit_q6_k(x, b); } \
  constexpr Fits k_##name{affine_##name, q6_k_##name};

INKLING_CLONE(baseline, )
#if defined(__x86_64__) && defined(__GNUC__)
INKLING_CLONE(avx2, __attribute__((target("avx2"))))
const Fits& fits() {
  static const Fits& best = __builtin_cpu_supports("avx2") ? k_avx2 : k_baseline;
  return best;
}
#else
const Fits& fits() { return k_baseline; }
#endif

}  // namespace

bool is_written_k_quant(DType type) { return type == DType::q4_k || type == DType::q5_k || type == DType::q6_k; }

void quantize_k_block(DType type, const float* x, std::byte* block) {
  if (type == DType::q6_k)
    fits().q6_k(x, block);
  else
    fits().affine(x, type == DType::q5_k ? 31.f : 15.f, block);
  write_codes(type, x, block, [](float steps, int) { return std::nearbyint(steps); });
}

bool recode_k_block(DType type, const float* x, std::byte* block, uint64_t seed) {
  const float lowest = type == DType::q6_k ? kLow6 : 0.f;
  const float highest = type == DType::q6_k ? kHigh6 : type == DType::q5_k ? 31.f : 15.f;
  bool reached = true;
  write_codes(type, x, block, [&](float steps, int i) {
    reached = reached && steps > lowest - 1.f && steps < highest + 1.f;
    return round_by_chance(steps, seed, static_cast<uint64_t>(i));
  });
  return reached;
}

}  // namespace inkling
