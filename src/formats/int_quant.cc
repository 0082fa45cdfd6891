// The loops are written on vectors of 16 floats and compiled for three instruction sets; each result is the same to
// the bit, since no operation is fused and the order of every sum is fixed by the 16 lanes.
#include "formats/int_quant.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <vector>

#include "base/error.h"

namespace inkling {

namespace {

constexpr int kLanes = 16;
// Helpers take and give vectors by reference: by value they would be passed differently by every target.
using Floats = float __attribute__((vector_size(kLanes * sizeof(float))));
using Floats8 = float __attribute__((vector_size(8 * sizeof(float))));
using Floats4 = float __attribute__((vector_size(4 * sizeof(float))));
using Words = uint32_t __attribute__((vector_size(kLanes * sizeof(float))));
#define INKLING_INLINE inline __attribute__((always_inline))

#if defined(__x86_64__) && defined(__GNUC__)
#define INKLING_X86_CLONES 1
#endif

constexpr uint32_t kMagnitude = 0x7fffffffu, kInfinity = 0x7f800000u;
constexpr int kFewest = -2, kMost = 1;          // group scales tried around the one that reaches the largest value
constexpr float kSteps[] = {16.f, 17.f, 18.f};  // row scales tried: the largest group reaches its end, or is clipped

// (x + kRound) - kRound is rint(x) for |x| <= 2^22: the sum, near 1.5 * 2^23, has no bits left below the unit.
constexpr float kRound = 12582912.f;

struct Inverses {
  float value[17] = {};
  constexpr Inverses() {
    for (int s = 1; s <= 16; ++s) value[s] = 1.f / static_cast<float>(s);
  }
  constexpr float operator[](int s) const { return value[s]; }
};
constexpr Inverses kInverse;

// From and to any address.
INKLING_INLINE void load(Floats& v, const float* p) { std::memcpy(&v, p, sizeof(v)); }
INKLING_INLINE void store(float* p, const Floats& v) { std::memcpy(p, &v, sizeof(v)); }

// The largest |x| as bits: magnitudes order like their bits, NaN above infinity.
INKLING_INLINE uint32_t largest_bits(const float* row, int64_t columns) {
  Words most = {};
  int64_t c = 0;
  for (; c + kLanes <= columns; c += kLanes) {
    Words bits;
    std::memcpy(&bits, row + c, sizeof(bits));
    bits &= kMagnitude;
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
    Floats rounded;
    load(rounded, row + c);
    rounded = (rounded * inverse + kRound) - kRound;
    for (int i = 0; i < kLanes; ++i) q[c + i] = static_cast<int8_t>(static_cast<int32_t>(rounded[i]));
  }
  for (; c < columns; ++c) q[c] = static_cast<int8_t>(static_cast<int32_t>((row[c] * inverse + kRound) - kRound));
  return scale;
}

// The step that takes a group's largest values to the ends of -8..7.
INKLING_INLINE float group_reach(const float* x) {
  Floats most = {}, least = {};
  for (int i = 0; i < kInt4Group; i += kLanes) {
    Floats v;
    load(v, x + i);
    most = v > most ? v : most;
    least = -v > least ? -v : least;
  }
  float up = 0.f, down = 0.f;
  for (int i = 0; i < kLanes; ++i) {
    up = std::max<float>(up, most[i]);
    down = std::max<float>(down, least[i]);
  }
  return std::max(up * (1.f / 7.f), down * 0.125f);
}

// The ends of -8..7. Read from memory that the compiler knows nothing about: g++ makes one instruction of a limit that
// is a variable, but two of a constant.
struct Limits {
  Floats lowest, highest;
};
INKLING_INLINE void read_limits(Limits& limits) {
  static constexpr float kEnds[2] = {-8.f, 7.f};
  const float* ends = kEnds;
  asm("" : "+r"(ends));
  limits.lowest = Floats{} + ends[0];
  limits.highest = Floats{} + ends[1];
}

// q = rint(v * inverse), in -8..7.
INKLING_INLINE void steps_of(Floats& q, const Floats& v, float inverse, const Limits& limits) {
  Floats t = v * inverse;
  t = t > limits.lowest ? t : limits.lowest;
  t = t < limits.highest ? t : limits.highest;
  q = (t + kRound) - kRound;
}

INKLING_INLINE float group_error(const Floats (&v)[4], float s, float inverse, const Limits& limits) {
  Floats sum = {};
  for (int i = 0; i < 4; ++i) {
    Floats q;
    steps_of(q, v[i], inverse, limits);
    const Floats e = v[i] - s * q;
    sum = i == 0 ? e * e : sum + e * e;
  }
  const Floats8 eight = __builtin_shufflevector(sum, sum, 0, 1, 2, 3, 4, 5, 6, 7) +
                        __builtin_shufflevector(sum, sum, 8, 9, 10, 11, 12, 13, 14, 15);
  const Floats4 four =
      __builtin_shufflevector(eight, eight, 0, 1, 2, 3) + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
  const Floats4 two = four + __builtin_shufflevector(four, four, 2, 3, 2, 3);
  return two[0] + two[1];
}

INKLING_INLINE void scale_group(Floats (&v)[4], const float* x, float inverse) {
  for (int i = 0; i < 4; ++i) {
    load(v[i], x + i * kLanes);
    v[i] *= inverse;
  }
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

  Limits limits;
  read_limits(limits);
  Floats v[4];
  float scale = 1.f, smallest = std::numeric_limits<float>::infinity();
  for (const float step : kSteps) {
    const float candidate = furthest / step, inverse = 1.f / candidate;
    float error = 0.f;
    for (int64_t g = 0; g < groups; ++g) {
      scale_group(v, row + g * kInt4Group, inverse);
      const float reached = (reach[g] * inverse + kRound) - kRound;
      const int middle = std::clamp(static_cast<int>(reached), 1, 16);
      // The smallest of the errors as bits, with the scale below them: no branches, which could not be predicted.
      uint64_t least = ~uint64_t{0};
      for (int s = middle + kFewest; s <= middle + kMost; ++s) {
        const int valid = std::clamp(s, 1, 16);
        const float e = group_error(v, static_cast<float>(valid), kInverse[valid], limits);
        const uint64_t bits = s == valid ? std::bit_cast<uint32_t>(e) : ~uint32_t{0};
        least = std::min(least, bits << 8 | static_cast<uint64_t>(valid));
      }
      tried[g] = static_cast<uint8_t>(least & 0xff);
      const float best = std::bit_cast<float>(static_cast<uint32_t>(least >> 8));
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
      Floats q;
      steps_of(q, v[i], kInverse[group_scale[g]], limits);
      for (int j = 0; j < kLanes; ++j) group[i * kLanes + j] = static_cast<uint8_t>(static_cast<int32_t>(q[j]) + 8);
    }
    for (int i = 0; i < kInt4Group / 2; ++i)
      codes[g * (kInt4Group / 2) + i] = static_cast<uint8_t>(group[2 * i] | group[2 * i + 1] << 4);
  }
  return scale;
}

// Butterflies inside a vector: each of their four lanes is spread to all four places and gets the sign that it has
// there; p - q is p + (-q).
struct Signs {
  float a[kLanes], b[kLanes], c[kLanes], d[kLanes];
};
constexpr Signs signs_of(int stride) {
  Signs s{};
  for (int i = 0; i < kLanes; ++i) {
    const int place = i / stride % 4;
    s.a[i] = place == 3 ? -1.f : 1.f;
    s.b[i] = place == 2 ? -1.f : 1.f;
    s.c[i] = place == 1 ? -1.f : 1.f;
    s.d[i] = place == 0 ? -1.f : 1.f;
  }
  return s;
}
alignas(64) constexpr Signs kStride1 = signs_of(1), kStride4 = signs_of(4);

#define INKLING_QUADS(v, n)                                                                                         \
  __builtin_shufflevector(v, v, n, n, n, n, n + 4, n + 4, n + 4, n + 4, n + 8, n + 8, n + 8, n + 8, n + 12, n + 12, \
                          n + 12, n + 12)
#define INKLING_FOURS(v, n)                                                                                       \
  __builtin_shufflevector(v, v, n, n + 1, n + 2, n + 3, n, n + 1, n + 2, n + 3, n, n + 1, n + 2, n + 3, n, n + 1, \
                          n + 2, n + 3)
INKLING_INLINE void small_strides(Floats& v) {
  Floats a1, b1, c1, d1, a4, b4, c4, d4;
  load(a1, kStride1.a);
  load(b1, kStride1.b);
  load(c1, kStride1.c);
  load(d1, kStride1.d);
  load(a4, kStride4.a);
  load(b4, kStride4.b);
  load(c4, kStride4.c);
  load(d4, kStride4.d);
  v = 0.5f *
      (((INKLING_QUADS(v, 0) * a1 + INKLING_QUADS(v, 1) * b1) + INKLING_QUADS(v, 2) * c1) + INKLING_QUADS(v, 3) * d1);
  v = 0.5f *
      (((INKLING_FOURS(v, 0) * a4 + INKLING_FOURS(v, 4) * b4) + INKLING_FOURS(v, 8) * c4) + INKLING_FOURS(v, 12) * d4);
}
#undef INKLING_QUADS
#undef INKLING_FOURS

INKLING_INLINE void rotate(float* row, int64_t columns, int64_t rotation) {
  for (int64_t c = 0; c < columns; c += kLanes) {
    Floats v;
    load(v, row + c);
    small_strides(v);
    store(row + c, v);
  }
  for (int64_t stride = kLanes; stride < rotation; stride *= 4)
    for (int64_t first = 0; first < columns; first += 4 * stride)
      for (int64_t i = first; i < first + stride; i += kLanes) {
        float* p = row + i;
        Floats a, b, c, d;
        load(a, p);
        load(b, p + stride);
        load(c, p + 2 * stride);
        load(d, p + 3 * stride);
        store(p, 0.5f * (((a + b) + c) - d));
        store(p + stride, 0.5f * (((a + b) - c) + d));
        store(p + 2 * stride, 0.5f * (((a - b) + c) + d));
        store(p + 3 * stride, 0.5f * (((b - a) + c) + d));
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
    const int64_t group = c / kInt4Group;
    row[c] = scale * static_cast<float>(group_scale[group] * (code - 8));
  }
}

void dequantize_nf4(const uint8_t* codes, const float* scale, int64_t first, int64_t count, float* y) {
  for (int64_t i = first; i < first + count; ++i) {
    const int code = i % 2 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15;
    y[i - first] = scale[i / kNf4Block] * kNf4[code];
  }
}

}  // namespace inkling
