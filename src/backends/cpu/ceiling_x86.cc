// Products of bfloat16 and of int8 on registers alone: AMX, AVX-512, AVX2. Functions carry their own target.
#include "backends/cpu/ceiling.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define INKLING_X86 1
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // of GCC 12's own intrinsics (bug 105593)
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <cpuid.h>
#include <immintrin.h>
#endif

#include "hwy/base.h"

namespace inkling::kernels {

#ifdef INKLING_X86

namespace {

// Sums of one loop: enough to hide the latency of an instruction.
constexpr int kSums = 12;

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Four products of 16 x 16 tiles, as the kernels do it: sums in tiles 0 to 3, operands in 4 to 7. All of them are zero,
// which changes no speed.
template <bool kInt8>
__attribute__((target("amx-tile,amx-int8,amx-bf16"))) int64_t tiles_alone(int64_t rounds) {
  TileConfig config;
  for (int i = 0; i < 8; ++i) {
    config.rows[i] = 16;
    config.row_bytes[i] = 64;
  }
  asm volatile("" ::"r"(&config) : "memory");  // the intrinsic says that it reads eight bytes of the 64
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int64_t r = 0; r < rounds; ++r) {
    if constexpr (kInt8) {
      _tile_dpbsud(0, 4, 6);
      _tile_dpbsud(1, 4, 7);
      _tile_dpbsud(2, 5, 6);
      _tile_dpbsud(3, 5, 7);
    } else {
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_release();
  return rounds * 4 * 2 * 16 * 16 * (kInt8 ? 64 : 32);
}

__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"))) int64_t int8_avx512(int64_t rounds) {
  __m512i sum[kSums];
  HWY_UNROLL(12) for (int i = 0; i < kSums; ++i) sum[i] = _mm512_set1_epi32(i);
  const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-1);
  for (int64_t r = 0; r < rounds; ++r) {
    HWY_UNROLL(12) for (int i = 0; i < kSums; ++i) sum[i] = _mm512_dpbusd_epi32(sum[i], a, b);
  }
  for (int i = 1; i < kSums; ++i) sum[0] = _mm512_add_epi32(sum[0], sum[i]);
  volatile int kept = _mm_cvtsi128_si32(_mm512_castsi512_si128(sum[0]));
  (void)kept;
  return rounds * kSums * 2 * 64;
}

__attribute__((target("avx512f,avx512bf16"))) int64_t bf16_avx512(int64_t rounds) {
  __m512 sum[kSums];
  HWY_UNROLL(12) for (int i = 0; i < kSums; ++i) sum[i] = _mm512_set1_ps(static_cast<float>(i));
  const auto ones = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3f80)),
             halves = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3f00));
  for (int64_t r = 0; r < rounds; ++r) {
    HWY_UNROLL(12) for (int i = 0; i < kSums; ++i) sum[i] = _mm512_dpbf16_ps(sum[i], ones, halves);
  }
  for (int i = 1; i < kSums; ++i) sum[0] = _mm512_add_ps(sum[0], sum[i]);
  volatile float kept = _mm512_cvtss_f32(sum[0]);
  (void)kept;
  return rounds * kSums * 2 * 32;
}

// The three instructions that a product takes without VNNI.
__attribute__((target("avx2"))) int64_t int8_avx2(int64_t rounds) {
  constexpr int kFew = 8;
  __m256i sum[kFew];
  HWY_UNROLL(8) for (int i = 0; i < kFew; ++i) sum[i] = _mm256_set1_epi32(i);
  __m256i a = _mm256_set1_epi8(3);
  const __m256i b = _mm256_set1_epi8(-1), ones = _mm256_set1_epi16(1);
  for (int64_t r = 0; r < rounds; ++r) {
    HWY_UNROLL(8) for (int i = 0; i < kFew; ++i) {
      asm volatile("" : "+x"(a));  // else the product would be computed once
      sum[i] = _mm256_add_epi32(sum[i], _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
    }
  }
  for (int i = 1; i < kFew; ++i) sum[0] = _mm256_add_epi32(sum[0], sum[i]);
  volatile int kept = _mm_cvtsi128_si32(_mm256_castsi256_si128(sum[0]));
  (void)kept;
  return rounds * kFew * 2 * 32;
}

bool has_amx_bf16() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kAmxBf16 = 1u << 22;
  return x86_has(Int8Isa::amx) && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kAmxBf16) != 0;
}

bool has_avx512_bf16() { return __builtin_cpu_supports("avx512bf16") != 0; }

}  // namespace

int64_t bf16_products_alone(int64_t rounds) {
  if (has_amx_bf16()) return tiles_alone<false>(rounds);
  return has_avx512_bf16() ? bf16_avx512(rounds) : 0;
}

std::string bf16_instruction() { return has_amx_bf16() ? "amx" : has_avx512_bf16() ? "avx512_bf16" : ""; }

int64_t int8_products_alone(Int8Isa isa, int64_t rounds) {
  switch (isa) {
    case Int8Isa::amx: return tiles_alone<true>(rounds);
    case Int8Isa::avx512: return int8_avx512(rounds);
    case Int8Isa::avx2: return int8_avx2(rounds);
    case Int8Isa::scalar: break;
  }
  return 0;
}

#else

int64_t bf16_products_alone(int64_t) { return 0; }
std::string bf16_instruction() { return ""; }
int64_t int8_products_alone(Int8Isa, int64_t) { return 0; }

#endif

}  // namespace inkling::kernels
