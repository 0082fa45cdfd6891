// Unpacked weights against formats/block_quant.cc, bit for bit.
#include <array>
#include <bit>
#include <string>

#include "backends/cuda/kernels/unpack.h"
#include "cuda/rows_support.h"
#include "formats/block_quant.h"

namespace inkling::cuda::testing {
namespace {

class Unpack : public CudaTest {};

std::vector<uint8_t> random_bytes(int64_t n, uint32_t seed) {
  std::mt19937 rng(seed);
  std::vector<uint8_t> v(static_cast<size_t>(n));
  for (uint8_t& b : v) b = static_cast<uint8_t>(rng());
  return v;
}

// The same bits; NaN for NaN, whose payload the hardware may change.
void expect_bits(const std::vector<float>& expected, const Buffer& y, Elem out, const std::string& what) {
  if (out == Elem::f32) {
    const std::vector<float> got = y.values<float>();
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_TRUE(std::isnan(expected[i]) ? std::isnan(got[i])
                                          : std::bit_cast<uint32_t>(got[i]) == std::bit_cast<uint32_t>(expected[i]))
          << what << ", element " << i << ": " << got[i] << ", expected " << expected[i];
  } else {
    const std::vector<uint16_t> got = y.values<uint16_t>();
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_TRUE(std::isnan(expected[i]) ? std::isnan(to_float(bf16_t{got[i]})) : got[i] == to_bf16(expected[i]).bits)
          << what << ", element " << i;
  }
}

// Random bytes: every code, and scales of every size, denormal, infinite and NaN among them.
void check_blocks(DType type, int64_t rows, int64_t columns) {
  const std::vector<uint8_t> bytes = random_bytes(rows * row_bytes(type, columns), 1);
  std::vector<float> expected(rows * columns);
  dequantize_row(type, reinterpret_cast<const std::byte*>(bytes.data()), expected.data(), rows * columns);
  const Buffer stored(bytes);
  for (Elem out : {Elem::f32, Elem::bf16}) {
    const Buffer y(rows * columns * size_of(out));
    unpack_rows(type, stored.as(), rows, columns, y.as(), out, nullptr);
    expect_bits(expected, y, out, std::string(name(type)));
  }
}

TEST_F(Unpack, BlocksAsTheCpu) {
  for (DType type : {DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1, DType::q8_0, DType::q2_k, DType::q3_k,
                     DType::q4_k, DType::q5_k, DType::q6_k, DType::iq4_nl, DType::iq4_xs}) {
    check_blocks(type, 1, info(type).block_elements);
    check_blocks(type, 3, 5 * info(type).block_elements);
    check_blocks(type, 64, 3072);
    check_blocks(type, 0, 256);
  }
}
TEST_F(Unpack, PlainTypesAsTheCpu) {
  for (DType type : {DType::f32, DType::bf16, DType::f16}) {
    check_blocks(type, 5, 37);
    check_blocks(type, 64, 3072);
  }
}

// All 256 codes, from sign, exponent and mantissa.
TEST_F(Unpack, EightBitFloats) {
  std::vector<uint8_t> codes(256 + 3);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(i);
  const Buffer stored(codes);
  for (const bool e4m3 : {true, false}) {
    std::vector<float> expected;
    for (uint8_t v : codes) {
      const int bits = e4m3 ? 3 : 2, bias = e4m3 ? 7 : 15, top = e4m3 ? 15 : 31;
      const int exponent = (v & 127) >> bits, mantissa = v & ((1 << bits) - 1);
      float x = std::ldexp(static_cast<float>(exponent == 0 ? mantissa : mantissa + (1 << bits)),
                           std::max(exponent, 1) - bias - bits);
      if (e4m3 && exponent == top && mantissa == 7) x = NAN;
      if (!e4m3 && exponent == top) x = mantissa == 0 ? INFINITY : NAN;
      expected.push_back(v & 128 ? -x : x);
    }
    for (Elem out : {Elem::f32, Elem::bf16}) {
      const Buffer y(static_cast<int64_t>(codes.size()) * size_of(out));
      unpack_rows(e4m3 ? DType::f8_e4m3 : DType::f8_e5m2, stored.as(), 1, static_cast<int64_t>(codes.size()), y.as(),
                  out, nullptr);
      expect_bits(expected, y, out, e4m3 ? "e4m3" : "e5m2");
    }
  }
}

constexpr float kNf4[16] = {-1.f,
                            -.6961928009986877f,
                            -.5250730514526367f,
                            -.39491748809814453f,
                            -.28444138169288635f,
                            -.18477343022823334f,
                            -.09105003625154495f,
                            0.f,
                            .07958029955625534f,
                            .16093020141124725f,
                            .24611230194568634f,
                            .33791524171829224f,
                            .44070982933044434f,
                            .5626170039176941f,
                            .7229568362236023f,
                            1.f};

TEST_F(Unpack, Nf4) {
  for (int64_t n : {0, 2, 64, 100, 4096, 256 * 64 * 3 + 30}) {
    const int64_t blocks = (n + 63) / 64;
    const std::vector<uint8_t> codes = random_bytes((n + 1) / 2, 2), absmax_codes = random_bytes(blocks, 3);
    const std::vector<float> absmax = normals(blocks, 4), map = normals(256, 5), nested = normals(blocks / 256 + 1, 6);
    const float offset = 0.0625f;
    const Buffer d_codes(codes), d_absmax_codes(absmax_codes), d_absmax(absmax), d_map(map), d_nested(nested);
    for (const bool twice : {false, true}) {
      std::vector<float> expected(n);
      for (int64_t i = 0; i < n; ++i) {
        float scale = absmax[i / 64];
        if (twice) {
          const float product = map[absmax_codes[i / 64]] * nested[i / 64 / 256];
          scale = product + offset;
        }
        expected[i] = kNf4[i % 2 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15] * scale;
      }
      for (Elem out : {Elem::f32, Elem::bf16}) {
        const Buffer y(n * size_of(out));
        if (twice)
          unpack_nf4_nested(d_codes.as<uint8_t>(), d_absmax_codes.as<uint8_t>(), d_map.as<float>(),
                            d_nested.as<float>(), offset, n, y.as(), out, nullptr);
        else
          unpack_nf4(d_codes.as<uint8_t>(), d_absmax.as<float>(), n, y.as(), out, nullptr);
        expect_bits(expected, y, out, twice ? "nested" : "nf4");
      }
    }
  }
}

TEST_F(Unpack, RefusesWhatItCannotServe) {
  const Buffer b(4096);
  EXPECT_ANY_THROW(unpack_rows(DType::q4_0, b.as(), 1, 33, b.as(2048), Elem::f32, nullptr));
  EXPECT_ANY_THROW(unpack_rows(DType::i32, b.as(), 1, 32, b.as(2048), Elem::f32, nullptr));
  EXPECT_ANY_THROW(unpack_rows(DType::q4_0, b.as(1), 1, 32, b.as(2048), Elem::f32, nullptr));
  EXPECT_ANY_THROW(unpack_rows(DType::q4_0, b.as(), 1, 32, b.as(2048), Elem::i8, nullptr));
}

TEST_F(Unpack, RandomRowsAreNormalAndRepeat) {
  const int64_t n = 4'000'003;
  const Buffer a(n * 4), b(n * 4), c(n * 4), h(n * 2);
  random_rows(1, 2.f, n, a.as(), Elem::f32, nullptr);
  random_rows(1, 2.f, n, b.as(), Elem::f32, nullptr);
  random_rows(2, 2.f, n, c.as(), Elem::f32, nullptr);
  random_rows(1, 2.f, n, h.as(), Elem::bf16, nullptr);
  const std::vector<float> x = a.values<float>(), other = c.values<float>();
  EXPECT_TRUE(x == b.values<float>());
  expect_bits(x, h, Elem::bf16, "bf16");
  double moments[5] = {0, 0, 0, 0, 0}, lag = 0, across = 0;
  for (int64_t i = 0; i < n; ++i) {
    ASSERT_TRUE(std::isfinite(x[i])) << i;
    double power = 1;
    for (int k = 1; k < 5; ++k) moments[k] += power *= x[i] / 2.0;
    if (i > 0) lag += x[i] * x[i - 1] / 4.0;
    across += x[i] * other[i] / 4.0;
  }
  const double count = static_cast<double>(n);
  EXPECT_NEAR(moments[1] / count, 0, 3e-3);
  EXPECT_NEAR(moments[2] / count, 1, 5e-3);
  EXPECT_NEAR(moments[3] / count, 0, 1e-2);
  EXPECT_NEAR(moments[4] / count, 3, 3e-2);
  EXPECT_NEAR(lag / count, 0, 3e-3);
  EXPECT_NEAR(across / count, 0, 3e-3);
}

}  // namespace
}  // namespace inkling::cuda::testing
