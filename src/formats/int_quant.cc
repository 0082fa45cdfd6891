// The loops are written on vectors of 16 floats and compiled for three instruction sets; each result is the same to
// the bit, since no operation is fused and the order of every sum is fixed by the 16 lanes.
#include "formats/int_quant.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <vector>

#include "base/error.h"

namespace inkling {

namespace {

constexpr int kLanes = 16;
// How wide vectors are passed differs between targets; here they cross no border, as all helpers are inlined.
#pragma GCC diagnostic ignored "-Wpsabi"
using Floats = float __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));
using Words = uint32_t __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));
#define INKLING_INLINE inline __attribute__((always_inline))

#if defined(__x86_64__) && defined(__GNUC__)
#define INKLING_X86_CLONES 1
#endif

constexpr uint32_t kMagnitude = 0x7fffffffu, kInfinity = 0x7f800000u;
constexpr int kFewest = -2, kMost = 1;          // group scales tried around the one that reaches the largest value
constexpr float kSteps[] = {16.f, 17.f, 18.f};  // row scales tried: the largest group reaches its end, or is clipped

// rint for |x| <= 2^22: the sum has no bits left below the unit.
template <typename T>
INKLING_INLINE T round_even(T x) {
  constexpr float magic = 12582912.f;  // 1.5 * 2^23
  return (x + magic) - magic;
}

INKLING_INLINE const Floats& floats_at(const float* p) { return *reinterpret_cast<const Floats*>(p); }

INKLING_INLINE Floats greater(const Floats& a, const Floats& b) { return a > b ? a : b; }

// The largest |x| as bits: magnitudes order like their bits, NaN above infinity.
INKLING_INLINE uint32_t largest_bits(const float* row, int64_t columns) {
  Words most = {};
  int64_t c = 0;
  for (; c + kLanes <= columns; c += kLanes) {
    const Words bits = *reinterpret_cast<const Words*>(row + c) & kMagnitude;
    most = bits > most ? bits : most;
  }
  uint32_t result = 0;
  for (int i = 0; i < kLanes; ++i) result = std::max<uint32_t>(result, most[i]);
  for (; c < columns; ++c) result = std::max(result, std::bit_cast<uint32_t>(row[c]) & kMagnitude);
  return result;
}

INKLING_INLINE float quantize_i8(const float* row, int64_t columns, int8_t* q) {
  const uint32_t bits = largest_bits(row, columns);
  const float largest = std::bit_cast<float>(bits);
  if (bits >= kInfinity || largest < kZeroRow) {
    std::fill_n(q, columns, int8_t{0});
    return bits >= kInfinity ? std::numeric_limits<float>::quiet_NaN() : 1.f;
  }
  const float scale = largest / 127.f, inverse = 1.f / scale;
  int64_t c = 0;
  for (; c + kLanes <= columns; c += kLanes) {
    const Floats rounded = round_even(floats_at(row + c) * inverse);
    for (int i = 0; i < kLanes; ++i) q[c + i] = static_cast<int8_t>(static_cast<int32_t>(rounded[i]));
  }
  for (; c < columns; ++c) q[c] = static_cast<int8_t>(static_cast<int32_t>(round_even(row[c] * inverse)));
  return scale;
}

// The step that takes a group's largest values to the ends of -8..7.
INKLING_INLINE float group_reach(const float* x) {
  Floats most = {}, least = {};
  for (int i = 0; i < kInt4Group; i += kLanes) {
    const Floats v = floats_at(x + i);
    most = greater(v, most);
    least = greater(-v, least);
  }
  float up = 0.f, down = 0.f;
  for (int i = 0; i < kLanes; ++i) {
    up = std::max<float>(up, most[i]);
    down = std::max<float>(down, least[i]);
  }
  return std::max(up * (1.f / 7.f), down * 0.125f);
}

INKLING_INLINE Floats steps_of(const Floats& v, float inverse) {
  const Floats lowest = Floats{} - 8.f, highest = Floats{} + 7.f;
  Floats t = v * inverse;
  t = t < lowest ? lowest : t;
  return round_even(t > highest ? highest : t);
}

INKLING_INLINE float group_error(const Floats (&v)[4], float s) {
  const float inverse = 1.f / s;
  Floats sum = {};
  for (int i = 0; i < 4; ++i) {
    const Floats e = v[i] - s * steps_of(v[i], inverse);
    sum = i == 0 ? e * e : sum + e * e;
  }
  float lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = sum[i];
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

INKLING_INLINE void scale_group(Floats (&v)[4], const float* x, float inverse) {
  for (int i = 0; i < 4; ++i) v[i] = floats_at(x + i * kLanes) * inverse;
}

INKLING_INLINE float quantize_i4(const float* row, int64_t columns, uint8_t* codes, uint8_t* group_scale) {
  const int64_t groups = columns / kInt4Group;
  const uint32_t bits = largest_bits(row, columns);
  if (bits >= kInfinity || std::bit_cast<float>(bits) < kZeroRow) {
    std::fill_n(codes, columns / 2, uint8_t{0x88});
    std::fill_n(group_scale, groups, uint8_t{1});
    return bits >= kInfinity ? std::numeric_limits<float>::quiet_NaN() : 1.f;
  }
  std::vector<float> reach(static_cast<size_t>(groups));
  std::vector<uint8_t> tried(static_cast<size_t>(groups));
  float furthest = 0.f;
  for (int64_t g = 0; g < groups; ++g) furthest = std::max(furthest, reach[g] = group_reach(row + g * kInt4Group));

  Floats v[4];
  float scale = 1.f, smallest = std::numeric_limits<float>::infinity();
  for (const float step : kSteps) {
    const float candidate = furthest / step, inverse = 1.f / candidate;
    float error = 0.f;
    for (int64_t g = 0; g < groups; ++g) {
      scale_group(v, row + g * kInt4Group, inverse);
      const int middle = static_cast<int>(std::clamp(round_even(reach[g] * inverse), 1.f, 16.f));
      float best = std::numeric_limits<float>::infinity();
      for (int s = std::max(1, middle + kFewest); s <= std::min(16, middle + kMost); ++s) {
        const float e = group_error(v, static_cast<float>(s));
        if (e < best) {
          best = e;
          tried[g] = static_cast<uint8_t>(s);
        }
      }
      error += best;
    }
    error *= kSteps[0] * kSteps[0] / (step * step);
    if (error < smallest) {
      smallest = error;
      scale = candidate;
      std::copy(tried.begin(), tried.end(), group_scale);
    }
  }
  const float inverse = 1.f / scale;
  for (int64_t g = 0; g < groups; ++g) {
    scale_group(v, row + g * kInt4Group, inverse);
    uint8_t group[kInt4Group];
    for (int i = 0; i < 4; ++i) {
      const Floats q = steps_of(v[i], 1.f / static_cast<float>(group_scale[g])) + 8.f;
      for (int j = 0; j < kLanes; ++j) group[i * kLanes + j] = static_cast<uint8_t>(static_cast<int32_t>(q[j]));
    }
    for (int i = 0; i < kInt4Group / 2; ++i)
      codes[g * (kInt4Group / 2) + i] = static_cast<uint8_t>(group[2 * i] | group[2 * i + 1] << 4);
  }
  return scale;
}

INKLING_INLINE void butterfly(float* p, int64_t stride, int64_t i) {
  const float a = p[i], b = p[i + stride], c = p[i + 2 * stride], d = p[i + 3 * stride];
  p[i] = 0.5f * (((a + b) + c) - d);
  p[i + stride] = 0.5f * (((a + b) - c) + d);
  p[i + 2 * stride] = 0.5f * (((a - b) + c) + d);
  p[i + 3 * stride] = 0.5f * (((b - a) + c) + d);
}

INKLING_INLINE void rotate(float* row, int64_t columns, int64_t rotation) {
  for (int64_t block = 0; block < columns; block += rotation)
    for (int64_t stride = 1; stride < rotation; stride *= 4)
      for (int64_t first = 0; first < rotation; first += 4 * stride) {
        float* p = row + block + first;
        if (stride < kLanes) {
          for (int64_t i = 0; i < stride; ++i) butterfly(p, stride, i);
          continue;
        }
        for (int64_t i = 0; i < stride; i += kLanes) {
          Floats *a = reinterpret_cast<Floats*>(p + i), *b = reinterpret_cast<Floats*>(p + i + stride),
                 *c = reinterpret_cast<Floats*>(p + i + 2 * stride), *d = reinterpret_cast<Floats*>(p + i + 3 * stride);
          const Floats w = *a, x = *b, y = *c, z = *d;
          *a = 0.5f * (((w + x) + y) - z);
          *b = 0.5f * (((w + x) - y) + z);
          *c = 0.5f * (((w - x) + y) + z);
          *d = 0.5f * (((x - w) + y) + z);
        }
      }
}

struct Functions {
  void (*rotate)(float*, int64_t, int64_t);
  float (*quantize_i8)(const float*, int64_t, int8_t*);
  float (*quantize_i4)(const float*, int64_t, uint8_t*, uint8_t*);
};

#define INKLING_CLONE(name, attribute)                                                                             \
  attribute void rotate_##name(float* row, int64_t columns, int64_t rotation) { rotate(row, columns, rotation); }  \
  attribute float i8_##name(const float* row, int64_t columns, int8_t* q) { return quantize_i8(row, columns, q); } \
  attribute float i4_##name(const float* row, int64_t columns, uint8_t* codes, uint8_t* group_scale) {             \
    return quantize_i4(row, columns, codes, group_scale);                                                          \
  }                                                                                                                \
  constexpr Functions k_##name{rotate_##name, i8_##name, i4_##name};

INKLING_CLONE(baseline, )
#ifdef INKLING_X86_CLONES
INKLING_CLONE(avx2, __attribute__((target("avx2"))))
INKLING_CLONE(avx512, __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq"))))
#endif

const Functions& functions() {
#ifdef INKLING_X86_CLONES
  static const Functions& best = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") ? k_avx512
                                 : __builtin_cpu_supports("avx2")                                         ? k_avx2
                                                                                                          : k_baseline;
  return best;
#else
  return k_baseline;
#endif
}

}  // namespace

int64_t default_rotation(int64_t columns) {
  for (const int64_t block : {256, 64, 16})
    if (columns > 0 && columns % block == 0) return block;
  return 0;
}

void rotate_row(float* row, int64_t columns, int64_t rotation) {
  if (rotation == 0) return;
  if ((rotation != 16 && rotation != 64 && rotation != 256) || columns % rotation != 0)
    throw RuntimeError("rotate_row: got a rotation of {} for {} columns, expected 16, 64 or 256 that divides them",
                       rotation, columns);
  functions().rotate(row, columns, rotation);
}

float quantize_row_i8(const float* row, int64_t columns, int8_t* q) { return functions().quantize_i8(row, columns, q); }

float quantize_row_i4(const float* row, int64_t columns, uint8_t* codes, uint8_t* group_scale) {
  if (columns % kInt4Group != 0)
    throw RuntimeError("quantize_row_i4: got {} columns, expected a multiple of {}", columns, kInt4Group);
  return functions().quantize_i4(row, columns, codes, group_scale);
}

void dequantize_row_i8(const int8_t* q, float scale, int64_t columns, float* row) {
  for (int64_t c = 0; c < columns; ++c) row[c] = scale * static_cast<float>(q[c]);
}

void dequantize_row_i4(const uint8_t* codes, const uint8_t* group_scale, float scale, int64_t columns, float* row) {
  for (int64_t c = 0; c < columns; ++c) {
    const int code = c % 2 == 0 ? codes[c / 2] & 15 : codes[c / 2] >> 4;
    row[c] = scale * static_cast<float>(group_scale[c / kInt4Group] * (code - 8));
  }
}

}  // namespace inkling
