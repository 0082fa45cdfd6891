// AVX2, AVX-512 with VNNI, and AMX. Functions carry their own target, so that one build serves every machine.
#include "backends/cpu/int8_kernels.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define INKLING_X86 1
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // of GCC 12's own intrinsics (bug 105593)
#endif
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <cstring>

#include "hwy/base.h"

namespace inkling::kernels {

#ifdef INKLING_X86

namespace {

#define INKLING_AVX2 __attribute__((target("avx2")))
#define INKLING_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
#define INKLING_AMX __attribute__((target("amx-tile,amx-int8")))

// Loops over registers must be unrolled, or the compiler keeps the sums in memory.
#define INKLING_UNROLL HWY_UNROLL(8)

int quad(const int8_t* p) {
  int value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

// Part `i` of `count` of what is to be brought in.
void bring(const Ahead& ahead, int64_t i, int64_t count) {
  for (int64_t line = ahead.lines * i / count; line < ahead.lines * (i + 1) / count; ++line)
    __builtin_prefetch(ahead.at + line * 64, 0, 2);
}

// --- AVX2 -------------------------------------------------------------------------------------------------------
// VPMADDUBSW saturates its sums of two at 16 bits: |w| <= 128 (unsigned) times x with w's sign stays within
// 2 * 128 * 127 = 32512. Weights are made signed first.
template <int kRows>
INKLING_AVX2 void multiply_avx2(const int8_t* x, int64_t stride, const uint8_t* panel, int64_t depth, bool first,
                                int32_t* sums) {
  const __m256i middle = _mm256_set1_epi8(-128), ones = _mm256_set1_epi16(1);
  for (int64_t j = 0; j < kPanel; j += 16) {
    __m256i acc[kRows][2];
    INKLING_UNROLL for (int r = 0; r < kRows; ++r) INKLING_UNROLL for (int c = 0; c < 2; ++c) acc[r][c] =
        first ? _mm256_setzero_si256()
              : _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums + r * kPanel + j + 8 * c));
    for (int64_t k = 0; k < depth; k += 4) {
      const auto* w = reinterpret_cast<const __m256i*>(panel + k * kPanel + 4 * j);
      __m256i value[2], size[2];
      INKLING_UNROLL for (int c = 0; c < 2; ++c) {
        value[c] = _mm256_xor_si256(_mm256_loadu_si256(w + c), middle);
        size[c] = _mm256_abs_epi8(value[c]);
      }
      INKLING_UNROLL for (int r = 0; r < kRows; ++r) {
        const __m256i v = _mm256_set1_epi32(quad(x + r * stride + k));
        INKLING_UNROLL for (int c = 0; c < 2; ++c) {
          const __m256i pairs = _mm256_maddubs_epi16(size[c], _mm256_sign_epi8(v, value[c]));
          acc[r][c] = _mm256_add_epi32(acc[r][c], _mm256_madd_epi16(pairs, ones));
        }
      }
    }
    INKLING_UNROLL for (int r = 0; r < kRows; ++r) INKLING_UNROLL for (int c = 0; c < 2; ++c)
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + r * kPanel + j + 8 * c), acc[r][c]);
  }
}

void rows_avx2(const int8_t* x, int64_t stride, int64_t rows, const uint8_t* panel, int64_t depth, bool first,
               int32_t* sums, Ahead ahead) {
  constexpr int kRows = 4;
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    bring(ahead, r / kRows, rows / kRows);
    multiply_avx2<kRows>(x + r * stride, stride, panel, depth, first, sums + r * kPanel);
  }
  for (; r < rows; ++r) multiply_avx2<1>(x + r * stride, stride, panel, depth, first, sums + r * kPanel);
}

// A 16-bit word holds two codes of one output: times a scale of at most 16 they do not carry into each other, so one
// multiplication serves both. The byte wanted is s * (code - 8) + 128.
INKLING_AVX2 void unpack_avx2(const uint8_t* codes, const uint8_t* group_scale, int64_t depth, uint8_t* panel) {
  const __m256i low = _mm256_set1_epi8(15), middle = _mm256_set1_epi8(-128);
  for (int64_t group = 0; group < depth / 64; ++group)
    for (int64_t j = 0; j < kPanel; j += 8) {
      const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(group_scale + group * kPanel + j));
      const __m256i wide = _mm256_cvtepu8_epi32(bytes);
      const __m256i scale = _mm256_or_si256(wide, _mm256_slli_epi32(wide, 16));
      const __m256i eight = _mm256_or_si256(_mm256_slli_epi16(scale, 3), _mm256_slli_epi16(scale, 11));
      const __m256i shift = _mm256_sub_epi8(middle, eight);
      for (int64_t k = 8 * group; k < 8 * group + 8; ++k) {
        const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + (k * kPanel + j) * 4));
        auto* out = reinterpret_cast<__m256i*>(panel + (2 * k * kPanel + j) * 4);
        const __m256i even = _mm256_and_si256(v, low), odd = _mm256_and_si256(_mm256_srli_epi16(v, 4), low);
        _mm256_storeu_si256(out, _mm256_add_epi8(_mm256_mullo_epi16(even, scale), shift));
        _mm256_storeu_si256(out + kPanel / 8, _mm256_add_epi8(_mm256_mullo_epi16(odd, scale), shift));
      }
    }
}

INKLING_AVX2 void finish_avx2(const int32_t* sums, int32_t correction, float x_scale, const float* scale,
                              const float* bias, int64_t n, float* y) {
  const __m256i c = _mm256_set1_epi32(correction);
  const __m256 s = _mm256_set1_ps(x_scale);
  int64_t j = 0;
  for (; j + 8 <= n; j += 8) {
    const __m256i sum = _mm256_sub_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums + j)), c);
    __m256 v = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(s, _mm256_loadu_ps(scale + j)));
    if (bias != nullptr) v = _mm256_add_ps(v, _mm256_loadu_ps(bias + j));
    _mm256_storeu_ps(y + j, v);
  }
  for (; j < n; ++j) {
    const float product = static_cast<float>(sums[j] - correction) * (x_scale * scale[j]);
    const float value = bias == nullptr ? product : product + bias[j];
    std::memcpy(y + j, &value, sizeof(value));  // perhaps over the sum
  }
}

INKLING_AVX2 void store_avx2(const float* rows, int64_t count, int64_t n, float* y, int64_t stride) {
  for (int64_t r = 0; r < count; ++r, rows += kPanel, y += stride) {
    int64_t j = 0;
    if (reinterpret_cast<uintptr_t>(y) % 32 == 0)
      for (; j + 8 <= n; j += 8) _mm256_stream_ps(y + j, _mm256_loadu_ps(rows + j));
    std::memcpy(y + j, rows + j, static_cast<size_t>(n - j) * sizeof(float));
  }
  _mm_sfence();
}

// --- AVX-512 ----------------------------------------------------------------------------------------------------
// 6 x 4 vectors of sums, 4 of weights, and one broadcast activation: 29 of 32 registers, 24 products for 10 loads.
template <int kRows>
INKLING_AVX512 void multiply_avx512(const int8_t* x, int64_t stride, const uint8_t* panel, int64_t depth, bool first,
                                    int32_t* sums) {
  __m512i acc[kRows][4];
  INKLING_UNROLL for (int r = 0; r < kRows; ++r) INKLING_UNROLL for (int c = 0; c < 4; ++c) acc[r][c] =
      first ? _mm512_setzero_si512() : _mm512_loadu_si512(sums + r * kPanel + 16 * c);
  for (int64_t k = 0; k < depth; k += 4, panel += 4 * kPanel) {
    __m512i w[4];
    INKLING_UNROLL for (int c = 0; c < 4; ++c) w[c] = _mm512_loadu_si512(panel + 64 * c);
    INKLING_UNROLL for (int r = 0; r < kRows; ++r) {
      const __m512i v = _mm512_set1_epi32(quad(x + r * stride + k));
      INKLING_UNROLL for (int c = 0; c < 4; ++c) acc[r][c] = _mm512_dpbusd_epi32(acc[r][c], w[c], v);
    }
  }
  INKLING_UNROLL for (int r = 0; r < kRows; ++r) INKLING_UNROLL for (int c = 0; c < 4; ++c)
      _mm512_storeu_si512(sums + r * kPanel + 16 * c, acc[r][c]);
}

void rows_avx512(const int8_t* x, int64_t stride, int64_t rows, const uint8_t* panel, int64_t depth, bool first,
                 int32_t* sums, Ahead ahead) {
  constexpr int kRows = 6;
  const int64_t blocks = std::max<int64_t>(1, rows / kRows);
  for (int64_t i = 0; i < blocks; ++i) {
    bring(ahead, i, blocks);
    if (rows < kRows) break;
    multiply_avx512<kRows>(x, stride, panel, depth, first, sums);
    rows -= kRows;
    x += kRows * stride;
    sums += kRows * kPanel;
  }
  switch (rows) {
    case 5: return multiply_avx512<5>(x, stride, panel, depth, first, sums);
    case 4: return multiply_avx512<4>(x, stride, panel, depth, first, sums);
    case 3: return multiply_avx512<3>(x, stride, panel, depth, first, sums);
    case 2: return multiply_avx512<2>(x, stride, panel, depth, first, sums);
    case 1: return multiply_avx512<1>(x, stride, panel, depth, first, sums);
    default: return;
  }
}

// As unpack_avx2.
INKLING_AVX512 void unpack_avx512(const uint8_t* codes, const uint8_t* group_scale, int64_t depth, uint8_t* panel) {
  const __m512i low = _mm512_set1_epi8(15), middle = _mm512_set1_epi8(-128);
  for (int64_t group = 0; group < depth / 64; ++group) {
    __m512i scale[4], shift[4];
    for (int c = 0; c < 4; ++c) {
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(group_scale + group * kPanel + 16 * c));
      const __m512i wide = _mm512_cvtepu8_epi32(bytes);
      scale[c] = _mm512_or_si512(wide, _mm512_slli_epi32(wide, 16));
      const __m512i eight = _mm512_or_si512(_mm512_slli_epi16(scale[c], 3), _mm512_slli_epi16(scale[c], 11));
      shift[c] = _mm512_sub_epi8(middle, eight);
    }
    for (int i = 0; i < 8; ++i, codes += 4 * kPanel, panel += 8 * kPanel)
      for (int c = 0; c < 4; ++c) {
        const __m512i v = _mm512_loadu_si512(codes + 64 * c);
        const __m512i even = _mm512_and_si512(v, low), odd = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);
        _mm512_storeu_si512(panel + 64 * c, _mm512_add_epi8(_mm512_mullo_epi16(even, scale[c]), shift[c]));
        _mm512_storeu_si512(panel + 4 * kPanel + 64 * c, _mm512_add_epi8(_mm512_mullo_epi16(odd, scale[c]), shift[c]));
      }
  }
}

INKLING_AVX512 void finish_avx512(const int32_t* sums, int32_t correction, float x_scale, const float* scale,
                                  const float* bias, int64_t n, float* y) {
  const __m512i c = _mm512_set1_epi32(correction);
  const __m512 s = _mm512_set1_ps(x_scale);
  for (int64_t j = 0; j < n; j += 16) {
    const __mmask16 mask = static_cast<__mmask16>(n - j >= 16 ? 0xffff : (1 << (n - j)) - 1);
    const __m512i sum = _mm512_sub_epi32(_mm512_maskz_loadu_epi32(mask, sums + j), c);
    __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(s, _mm512_maskz_loadu_ps(mask, scale + j)));
    if (bias != nullptr) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, bias + j));
    _mm512_mask_storeu_ps(y + j, mask, v);
  }
}

INKLING_AVX512 void store_avx512(const float* rows, int64_t count, int64_t n, float* y, int64_t stride) {
  for (int64_t r = 0; r < count; ++r, rows += kPanel, y += stride) {
    int64_t j = 0;
    if (reinterpret_cast<uintptr_t>(y) % 64 == 0)
      for (; j + 16 <= n; j += 16) _mm512_stream_ps(y + j, _mm512_loadu_ps(rows + j));
    std::memcpy(y + j, rows + j, static_cast<size_t>(n - j) * sizeof(float));
  }
  _mm_sfence();
}

// --- AMX --------------------------------------------------------------------------------------------------------
// 32 rows x 32 outputs of sums in tiles 0..3, x in 4 and 5, weights in 6 and 7: four products for four loads. A panel's
// layout is already a tile's. The second 16 rows may be missing, and each of the two may be shorter.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

INKLING_AMX void configure(int64_t above, int64_t below) {
  const int64_t rows[8] = {above, above, below, below, above, below, 16, 16};
  TileConfig config;
  for (int i = 0; i < 8; ++i) {
    config.rows[i] = static_cast<uint8_t>(rows[i]);
    config.row_bytes[i] = rows[i] > 0 ? 64 : 0;
  }
  _tile_loadconfig(&config);
}

template <bool kBelow>
INKLING_AMX void multiply_tiles(const int8_t* x, int64_t stride, const uint8_t* panel, int64_t depth, bool first,
                                int32_t* sums, Ahead ahead) {
  constexpr int64_t kSumStride = kPanel * 4, kWeightStride = kPanel * 4;  // bytes
  int32_t* below = sums + 16 * kPanel;
  if (first) {
    _tile_zero(0);
    _tile_zero(1);
    if (kBelow) _tile_zero(2);
    if (kBelow) _tile_zero(3);
  } else {
    _tile_loadd(0, sums, kSumStride);
    _tile_loadd(1, sums + 16, kSumStride);
    if (kBelow) _tile_loadd(2, below, kSumStride);
    if (kBelow) _tile_loadd(3, below + 16, kSumStride);
  }
  for (int64_t k = 0; k < depth; k += 64) {
    bring(ahead, k / 64, depth / 64);
    _tile_loadd(6, panel + k * kPanel, kWeightStride);
    _tile_loadd(4, x + k / 64 * stride, 64);
    _tile_dpbsud(0, 4, 6);
    _tile_loadd(7, panel + k * kPanel + 64, kWeightStride);
    _tile_dpbsud(1, 4, 7);
    if (kBelow) {
      _tile_loadd(5, x + k / 64 * stride + 16 * 64, 64);
      _tile_dpbsud(2, 5, 6);
      _tile_dpbsud(3, 5, 7);
    }
  }
  _tile_stored(0, sums, kSumStride);
  _tile_stored(1, sums + 16, kSumStride);
  if (kBelow) _tile_stored(2, below, kSumStride);
  if (kBelow) _tile_stored(3, below + 16, kSumStride);
}

INKLING_AMX void rows_amx(const int8_t* x, int64_t stride, int64_t rows, const uint8_t* panel, int64_t depth,
                          bool first, int32_t* sums, Ahead ahead) {
  asm volatile("" ::: "memory");  // the loads of tiles do not say that they read memory
  const int64_t blocks = (rows + 31) / 32;
  int64_t above = 0, below = 0;  // as configured
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t r = 32 * i, rest = rows - r;
    if (above != std::min<int64_t>(rest, 16) || below != std::clamp<int64_t>(rest - 16, 0, 16)) {
      above = std::min<int64_t>(rest, 16);
      below = std::clamp<int64_t>(rest - 16, 0, 16);
      configure(above, below);
    }
    for (int64_t half = 0; half < 2; ++half) {
      const int64_t from = ahead.lines * (2 * i + half) / (2 * blocks),
                    to = ahead.lines * (2 * i + half + 1) / (2 * blocks);
      const Ahead part{ahead.at + from * 64, to - from};
      int32_t* out = sums + r * kPanel + 32 * half;
      if (below > 0)
        multiply_tiles<true>(x + r * 64, stride, panel + 128 * half, depth, first, out, part);
      else
        multiply_tiles<false>(x + r * 64, stride, panel + 128 * half, depth, first, out, part);
    }
  }
  _tile_release();
}

// Linux gives a process the tile registers when it asks for them (Documentation/arch/x86/xstate.rst).
bool has_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  constexpr unsigned kTile = 1u << 24, kInt8 = 1u << 25;
  if ((d & kTile) == 0 || (d & kInt8) == 0) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

constexpr Int8Kernels kAvx2{rows_avx2, unpack_avx2, finish_avx2, store_avx2, kDepth, 0};
constexpr Int8Kernels kAvx512{rows_avx512, unpack_avx512, finish_avx512, store_avx512, kDepth, 128};
constexpr Int8Kernels kAmx{rows_amx, unpack_avx512, finish_avx512, store_avx512, 64, 128};

}  // namespace

const Int8Kernels* x86_int8_kernels(Int8Isa isa) {
  return isa == Int8Isa::amx ? &kAmx : isa == Int8Isa::avx512 ? &kAvx512 : &kAvx2;
}

bool x86_has(Int8Isa isa) {
  static const bool avx2 = __builtin_cpu_supports("avx2");
  static const bool avx512 = __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
                             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  static const bool amx = avx512 && has_amx();
  switch (isa) {
    case Int8Isa::scalar: return true;
    case Int8Isa::avx2: return avx2;
    case Int8Isa::avx512: return avx512;
    case Int8Isa::amx: return amx;
  }
  return false;
}

#else

const Int8Kernels* x86_int8_kernels(Int8Isa) { return nullptr; }
bool x86_has(Int8Isa isa) { return isa == Int8Isa::scalar; }

#endif

}  // namespace inkling::kernels
