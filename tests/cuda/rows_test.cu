// Row kernels against double precision on the host.
#include <algorithm>
#include <array>
#include <functional>
#include <numeric>
#include <string>

#include "backends/cuda/kernels/quantize_rows.cuh"
#include "backends/cuda/kernels/rows.h"
#include "cuda/rows_support.h"

namespace inkling::cuda::testing {
namespace {

using Row = std::vector<double>;

class Rows : public CudaTest {};

double activated(Act act, double x) {
  switch (act) {
    case Act::none: return x;
    case Act::gelu_tanh: return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Act::gelu_erf: return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Act::silu: return x / (1 + std::exp(-x));
    case Act::quick_gelu: return x / (1 + std::exp(-1.702 * x));
  }
  return NAN;
}

// x R, from the definition: R is the Kronecker power of H4.
Row rotated(const Row& x, int64_t rotation) {
  if (rotation == 0) return x;
  static constexpr int kSign[4][4] = {{1, 1, 1, -1}, {1, 1, -1, 1}, {1, -1, 1, 1}, {-1, 1, 1, 1}};
  Row y = x;
  for (int64_t stride = 1; stride < rotation; stride *= 4) {
    Row z(y.size(), 0.0);
    for (size_t i = 0; i < y.size(); ++i) {
      const int64_t digit = static_cast<int64_t>(i) / stride % 4;
      for (int k = 0; k < 4; ++k) z[i] += 0.5 * kSign[digit][k] * y[i + (k - digit) * stride];
    }
    y = std::move(z);
  }
  return y;
}

double e4m3_value(uint8_t v) {
  const int exponent = v >> 3 & 15, mantissa = v & 7;
  if ((v & 127) == 127) return NAN;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return v & 128 ? -magnitude : magnitude;
}

// One call's output: reserved, and checked against what the rows should be.
struct Output {
  Elem type;
  int64_t m, d;
  Buffer y, scale, sum;
  RowsOut out;
  Output(Elem type, int64_t m, int64_t d, int64_t rotation, int64_t skew = 0)
      : type(type), m(m), d(d), y((m * d + skew) * size_of(type)), scale(m * 4), sum(m * 4), skew_(skew) {
    out = {y.as<char>(skew * size_of(type)), type, scale.as<float>(), sum.as<int32_t>(), rotation};
  }
  void expect(const std::vector<Row>& rows, double tolerance, const std::string& what) const {
    check(cudaDeviceSynchronize(), what.c_str());
    if (type == Elem::f32 || type == Elem::bf16) {
      std::vector<double> all;
      for (const Row& row : rows) all.insert(all.end(), row.begin(), row.end());
      return expect_near(download(y, type, skew_), all, type, tolerance, what);
    }
    const std::vector<float> scales = scale.values<float>();
    const std::vector<int32_t> sums = sum.values<int32_t>();
    std::vector<uint8_t> codes = y.values<uint8_t>();
    codes.erase(codes.begin(), codes.begin() + skew_);
    for (int64_t r = 0; r < m; ++r) {
      double amax = 0;
      for (double v : rows[r]) amax = std::max(amax, std::fabs(v));
      const double expected_scale = amax < 0x1p-119 ? 1.0 : amax / (type == Elem::i8 ? 127 : 448);
      ASSERT_NEAR(scales[r], expected_scale, expected_scale * 1e-5 + tolerance / 100) << what << ", row " << r;
      int32_t total = 0;
      for (int64_t i = 0; i < d; ++i) {
        const uint8_t code = codes[r * d + i];
        const int integer = static_cast<int8_t>(code);
        total += integer;
        const double value = scales[r] * (type == Elem::i8 ? integer : e4m3_value(code));
        // Half a step: of 1, or of a mantissa of 3 bits.
        const double step =
            type == Elem::i8 ? scales[r] : std::max(std::fabs(rows[r][i]) / 8, scales[r] * std::ldexp(1.0, -9));
        ASSERT_LE(std::fabs(value - rows[r][i]), 0.5 * step * (1 + 1e-4) + tolerance)
            << what << ", row " << r << ", column " << i << ": " << value << ", expected " << rows[r][i];
        ASSERT_TRUE(type == Elem::e4m3 || integer != -128) << what;
      }
      if (type == Elem::i8) ASSERT_EQ(sums[r], total) << what << ", row " << r;
    }
  }

 private:
  int64_t skew_;
};

std::string describe(const char* op, Elem type, Elem out, int64_t m, int64_t d, int64_t rotation) {
  static constexpr const char* kNames[] = {"f32", "bf16", "i8", "e4m3"};
  return std::string(op) + " " + kNames[static_cast<int>(type)] + " -> " + kNames[static_cast<int>(out)] + ", " +
         std::to_string(m) + " x " + std::to_string(d) + ", rotation " + std::to_string(rotation);
}

// Rows with their own means, and two columns far larger than the others, as the models have them.
std::vector<float> activations(int64_t m, int64_t d, uint32_t seed) {
  std::vector<float> x = normals(m * d, seed);
  for (int64_t r = 0; r < m; ++r)
    for (int64_t i = 0; i < d; ++i) {
      x[r * d + i] += 0.25f * static_cast<float>(r % 5) - 0.5f;
      if (i == 3 || i == d / 2) x[r * d + i] *= 20.f;
    }
  return x;
}
Row row_of(const std::vector<float>& x, int64_t r, int64_t d) {
  return Row(x.begin() + r * d, x.begin() + (r + 1) * d);
}

struct Shape {
  int64_t m, d, rotation;
};
const Shape kShapes[] = {{0, 64, 0},     {1, 8, 0},        {5, 40, 0},    {3, 96, 16},     {7, 64, 64},
                         {2, 256, 256},  {33, 520, 0},     {4, 768, 256}, {3, 1536, 256},  {3, 1600, 64},
                         {130, 3072, 0}, {130, 3072, 256}, {3, 3072, 64}, {3, 3072, 16},   {5, 3584, 256},
                         {4, 5120, 0},   {5, 12288, 256},  {4, 12288, 0}, {2, 18944, 256}, {2, 18944, 0},
                         {3, 1, 0},      {3, 37, 0},       {2, 3075, 0}};
const Elem kOut[] = {Elem::f32, Elem::bf16, Elem::i8, Elem::e4m3};

RowTable two_groups(int64_t m) {
  RowTable t;
  t.count = 2;
  t.end[0] = static_cast<int>(m / 2), t.end[1] = static_cast<int>(m);
  t.table_row[0] = 2, t.table_row[1] = 1;
  return t;
}

Row layer_norm_row(Row x, double eps, const float* scale, const float* shift) {
  const double count = static_cast<double>(x.size());
  const double mean = std::accumulate(x.begin(), x.end(), 0.0) / count;
  double variance = 0;
  for (double v : x) variance += (v - mean) * (v - mean) / count;
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = (x[i] - mean) / std::sqrt(variance + eps);
    if (scale != nullptr) x[i] = x[i] * (1 + double{scale[i]}) + shift[i];
  }
  return x;
}

void check_layer_norm(Elem type, Elem out_type, Shape s, bool tables, int64_t skew = 0) {
  const std::string what = describe("layer_norm", type, out_type, s.m, s.d, s.rotation);
  std::vector<float> x = activations(s.m, s.d, 1);
  const Buffer input = upload(x, type, skew);
  std::vector<float> scale = normals(3 * s.d, 2, 0.3f), shift = normals(3 * s.d, 3, 0.3f);
  const Buffer scales(scale), shifts(shift);
  const RowTable groups = two_groups(s.m);
  const Output output(out_type, s.m, s.d, s.rotation, skew);
  layer_norm(input.as<char>(skew * size_of(type)), type, s.m, s.d, 1e-6f, tables ? scales.as<float>() : nullptr,
             tables ? shifts.as<float>() : nullptr, groups, output.out, nullptr);
  std::vector<Row> rows;
  for (int64_t r = 0; r < s.m; ++r) {
    const int64_t g = (r < s.m / 2 ? 2 : 1) * s.d;
    rows.push_back(
        rotated(layer_norm_row(row_of(x, r, s.d), 1e-6, tables ? &scale[g] : nullptr, &shift[g]), s.rotation));
  }
  output.expect(rows, 5e-5, what);
}

TEST_F(Rows, LayerNorm) {
  for (Elem type : {Elem::f32, Elem::bf16})
    for (Elem out : kOut)
      for (const Shape& s : kShapes) check_layer_norm(type, out, s, true);
  for (Elem out : kOut) check_layer_norm(Elem::f32, out, {9, 3072, 256}, false);
}
TEST_F(Rows, OddAddresses) {
  for (Elem type : {Elem::f32, Elem::bf16})
    for (Elem out : kOut)
      for (int64_t rotation : {0, 16, 64, 256}) check_layer_norm(type, out, {5, 3072, rotation}, true, 1);
}

TEST_F(Rows, RmsNorm) {
  for (Elem type : {Elem::f32, Elem::bf16}) {
    for (Elem out : kOut) {
      for (const Shape& s : kShapes) {
        std::vector<float> x = activations(s.m, s.d, 4);
        const Buffer input = upload(x, type);
        const std::vector<float> gamma = normals(s.d, 5);
        const Buffer gammas(gamma);
        const Output output(out, s.m, s.d, s.rotation);
        rms_norm(input.as(), type, s.m, s.d, gammas.as<float>(), 1e-6f, output.out, nullptr);
        std::vector<Row> rows;
        for (int64_t r = 0; r < s.m; ++r) {
          Row row = row_of(x, r, s.d);
          double squares = 0;
          for (double v : row) squares += v * v / static_cast<double>(s.d);
          for (int64_t i = 0; i < s.d; ++i) row[i] *= gamma[i] / std::sqrt(squares + 1e-6);
          rows.push_back(rotated(row, s.rotation));
        }
        output.expect(rows, 5e-5, describe("rms_norm", type, out, s.m, s.d, s.rotation));
      }
    }
  }
}

TEST_F(Rows, ConvertRows) {
  for (Elem type : {Elem::f32, Elem::bf16}) {
    for (Elem out : kOut) {
      for (const Shape& s : kShapes) {
        for (Act act : {Act::none, Act::gelu_tanh}) {
          std::vector<float> x = activations(s.m, s.d + 8, 6);
          const Buffer input = upload(x, type);
          const Output output(out, s.m, s.d, s.rotation);
          convert_rows(input.as(), type, s.d + 8, s.m, s.d, act, output.out, nullptr);
          std::vector<Row> rows;
          for (int64_t r = 0; r < s.m; ++r) {
            Row row(x.begin() + r * (s.d + 8), x.begin() + r * (s.d + 8) + s.d);
            for (double& v : row) v = activated(act, v);
            rows.push_back(rotated(row, s.rotation));
          }
          output.expect(rows, 3e-5, describe("convert_rows", type, out, s.m, s.d, s.rotation));
        }
      }
    }
  }
}

TEST_F(Rows, EveryActivationBeforeRounding) {
  for (Act act : {Act::gelu_erf, Act::silu, Act::quick_gelu}) {
    std::vector<float> x = activations(6, 3072, 7);
    const Buffer input = upload(x, Elem::bf16);
    const Output output(Elem::i8, 6, 3072, 256);
    convert_rows(input.as(), Elem::bf16, 3072, 6, 3072, act, output.out, nullptr);
    std::vector<Row> rows;
    for (int64_t r = 0; r < 6; ++r) {
      Row row = row_of(x, r, 3072);
      for (double& v : row) v = activated(act, v);
      rows.push_back(rotated(row, 256));
    }
    output.expect(rows, 3e-5, "activation " + std::to_string(static_cast<int>(act)));
  }
}

TEST_F(Rows, ZeroAndTinyRowsRoundToZero) {
  for (Elem out : {Elem::i8, Elem::e4m3}) {
    for (int64_t rotation : {0, 256}) {
      for (float value : {0.f, -0.f, 1e-42f, 1e-37f}) {
        std::vector<float> x(2 * 3072, value);
        const Buffer input = upload(x, Elem::f32);
        const Output output(out, 2, 3072, rotation);
        convert_rows(input.as(), Elem::f32, 3072, 2, 3072, Act::none, output.out, nullptr);
        EXPECT_EQ(output.scale.values<float>()[1], 1.f);
        for (uint8_t code : output.y.values<uint8_t>()) ASSERT_EQ(code & 127, 0);
      }
      // The smallest rows that do not: their scale is a normal number.
      std::vector<float> x(3072, 0.f);
      x[5] = 0x1p-118f;
      const Buffer input = upload(x, Elem::f32);
      const Output output(out, 1, 3072, 0);
      convert_rows(input.as(), Elem::f32, 3072, 1, 3072, Act::none, output.out, nullptr);
      output.expect({row_of(x, 0, 3072)}, 0, "small row");
    }
  }
}

TEST_F(Rows, NonFiniteRowsGetScaleNaN) {
  for (Elem type : {Elem::f32, Elem::bf16}) {
    for (Elem out : {Elem::i8, Elem::e4m3}) {
      for (int64_t rotation : {0, 16, 64, 256}) {
        for (int64_t d : {3072, 12288}) {
          for (float bad : {NAN, INFINITY, -INFINITY}) {
            for (int64_t skew : {0, 1}) {
              std::vector<float> x = activations(3, d, 8);
              x[d + d - 5] = bad;
              const Buffer input = upload(x, type, skew);
              const Output output(out, 3, d, rotation);
              convert_rows(input.as<char>(skew * size_of(type)), type, d, 3, d, Act::none, output.out, nullptr);
              const std::vector<float> scale = output.scale.values<float>();
              EXPECT_TRUE(std::isfinite(scale[0]) && std::isnan(scale[1]) && std::isfinite(scale[2])) << d;
            }
          }
        }
      }
    }
  }
}

__global__ void convert_to_e4m3(const float* x, int n, uint8_t* software, uint8_t* library) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= n) return;
  software[i] = static_cast<uint8_t>(to_e4m3_in_software(x[i]));
  library[i] = __nv_cvt_float_to_fp8(x[i], __NV_SATFINITE, __NV_E4M3);
}
TEST_F(Rows, SoftwareRoundsToE4m3AsTheHardware) {
  std::vector<float> x = normals(100'000, 24, 40.f);
  for (size_t i = 0; i < x.size(); i += 2) x[i] *= 1e-4f;
  for (float& v : x) v = std::clamp(v, -448.f, 448.f);
  for (int code = 0; code < 126; ++code) {  // every value, every tie, and their neighbours
    const float low = static_cast<float>(e4m3_value(static_cast<uint8_t>(code))),
                tie = static_cast<float>((low + e4m3_value(static_cast<uint8_t>(code + 1))) / 2);
    for (float v : {low, tie, std::nextafter(tie, 0.f), std::nextafter(tie, 500.f)}) x.push_back(v), x.push_back(-v);
  }
  x.push_back(NAN);
  const int n = static_cast<int>(x.size());
  const Buffer input(x), software(n), library(n);
  convert_to_e4m3<<<(n + 255) / 256, 256>>>(input.as<float>(), n, software.as<uint8_t>(), library.as<uint8_t>());
  EXPECT_EQ(software.values<uint8_t>(), library.values<uint8_t>());
}

TEST_F(Rows, RowsDoNotDependOnOthersAndRepeat) {
  std::vector<float> x = activations(300, 3072, 9);
  const Buffer input = upload(x, Elem::f32);
  const std::vector<float> scale = normals(3072, 10), shift = normals(3072, 11);
  const Buffer scales(scale), shifts(shift);
  const auto run = [&](int64_t first, int64_t m) {
    const Output output(Elem::i8, m, 3072, 256);
    layer_norm(input.as<float>(first * 3072 * 4), Elem::f32, m, 3072, 1e-6f, scales.as<float>(), shifts.as<float>(), {},
               output.out, nullptr);
    return std::pair{output.y.values<int8_t>(), output.scale.values<float>()};
  };
  const auto all = run(0, 300), again = run(0, 300), one = run(217, 1);
  EXPECT_TRUE(all == again);
  EXPECT_TRUE(std::equal(one.first.begin(), one.first.end(), all.first.begin() + 217 * 3072));
  EXPECT_EQ(one.second[0], all.second[217]);
}

TEST_F(Rows, RefusesWhatItCannotServe) {
  const Buffer b(4096);
  RowsOut out{b.as(), Elem::i8, nullptr, nullptr, 0};
  EXPECT_ANY_THROW(convert_rows(b.as(), Elem::bf16, 64, 1, 64, Act::none, out, nullptr));  // no scale
  out.scale = b.as<float>();
  out.rotation = 32;
  EXPECT_ANY_THROW(convert_rows(b.as(), Elem::bf16, 64, 1, 64, Act::none, out, nullptr));
  out.rotation = 256;
  EXPECT_ANY_THROW(convert_rows(b.as(), Elem::bf16, 64, 1, 64, Act::none, out, nullptr));
  out.rotation = 0;
  EXPECT_ANY_THROW(convert_rows(b.as(), Elem::e4m3, 64, 1, 64, Act::none, out, nullptr));
  EXPECT_ANY_THROW(convert_rows(b.as(), Elem::bf16, 64, 1, 1 << 20, Act::none, out, nullptr));
}

TEST_F(Rows, ChannelNorm) {
  for (Elem type : {Elem::f32, Elem::bf16}) {
    for (int64_t d : {1, 3, 8, 16, 24, 48, 96, 100, 128, 192, 384, 768, 1024}) {
      for (int64_t m : {0, 1, 77, 3000}) {
        for (bool silu : {false, true}) {
          std::vector<float> x = normals(m * d, 12), gamma = normals(d, 13);
          if (m > 5) std::fill(x.begin() + 3 * d, x.begin() + 4 * d, 0.f);
          const Buffer input = upload(x, type), gammas(gamma), y(m * d * size_of(type));
          channel_norm(input.as(), type, m, d, gammas.as<float>(), silu, y.as(), nullptr);
          std::vector<double> expected;
          for (int64_t r = 0; r < m; ++r) {
            double squares = 0;
            for (int64_t i = 0; i < d; ++i) squares += double{x[r * d + i]} * x[r * d + i];
            for (int64_t i = 0; i < d; ++i) {
              const double n =
                  x[r * d + i] / std::max(std::sqrt(squares), 1e-12) * std::sqrt(static_cast<double>(d)) * gamma[i];
              expected.push_back(silu ? activated(Act::silu, n) : n);
            }
          }
          expect_near(download(y, type), expected, type, 1e-5,
                      describe("channel_norm", type, type, m, d, 0) + (silu ? ", silu" : ""));
        }
      }
    }
  }
}

TEST_F(Rows, HeadNormRope) {
  for (Elem type : {Elem::f32, Elem::bf16}) {
    for (auto [heads, dim] : {std::pair<int64_t, int64_t>{24, 128},
                              {28, 128},
                              {4, 128},
                              {1, 384},
                              {16, 80},
                              {3, 96},
                              {6, 32},
                              {2, 16},
                              {3, 20},
                              {2, 40}}) {
      for (int mode = 0; mode < 8; ++mode) {
        const bool norm = mode & 1, rope = mode & 2, interleaved = mode & 4;
        const int64_t m = 19, d = heads * dim, half = dim / 2;
        std::vector<float> x = normals(m * d, 14), gamma = normals(dim, 15), cos(m * half), sin(m * half);
        for (int64_t i = 0; i < m * half; ++i)
          cos[i] = std::cos(0.1f * static_cast<float>(i)), sin[i] = std::sin(0.1f * static_cast<float>(i));
        const Buffer input = upload(x, type), gammas(gamma), coss(cos), sins(sin), other(m * d * 2);
        const Buffer& y = type == Elem::bf16 ? input : other;
        head_norm_rope(input.as(), type, m, heads, dim, norm ? gammas.as<float>() : nullptr, 1e-6f,
                       rope ? coss.as<float>() : nullptr, rope ? sins.as<float>() : nullptr, interleaved, y.as(),
                       nullptr);
        std::vector<double> expected(m * d);
        for (int64_t r = 0; r < m; ++r) {
          for (int64_t h = 0; h < heads; ++h) {
            const float* in = &x[r * d + h * dim];
            double squares = 0;
            for (int64_t i = 0; i < dim; ++i) squares += double{in[i]} * in[i] / static_cast<double>(dim);
            const auto value = [&](int64_t i) { return norm ? in[i] / std::sqrt(squares + 1e-6) * gamma[i] : in[i]; };
            double* out = &expected[r * d + h * dim];
            for (int64_t p = 0; p < half; ++p) {
              const int64_t i = interleaved ? 2 * p : p, j = interleaved ? 2 * p + 1 : p + half;
              const double c = rope ? cos[r * half + p] : 1, s = rope ? sin[r * half + p] : 0;
              out[i] = value(i) * c - value(j) * s;
              out[j] = value(i) * s + value(j) * c;
            }
          }
        }
        expect_near(download(y, Elem::bf16), expected, Elem::bf16, 2e-5,
                    describe("head_norm_rope", type, Elem::bf16, heads, dim, mode));
      }
    }
  }
}

// Every elementwise function on vectors, tails and single elements, against a formula.
using Formula = std::function<double(double a, double b, int64_t row, int64_t column)>;
void check_map(const char* name, Elem a_type, Elem b_type, Elem y_type, int64_t m, int64_t d, int64_t skew,
               const std::function<void(const void* a, const void* b, void* y)>& call, const Formula& formula) {
  std::vector<float> a = normals(m * d, 16), b = normals(m * d, 17);
  const Buffer da = upload(a, a_type, skew), db = upload(b, b_type, skew), dy((m * d + skew) * size_of(y_type));
  call(da.as<char>(skew * size_of(a_type)), db.as<char>(skew * size_of(b_type)), dy.as<char>(skew * size_of(y_type)));
  std::vector<double> expected;
  for (int64_t i = 0; i < m * d; ++i) expected.push_back(formula(a[i], b[i], i / d, i % d));
  expect_near(download(dy, y_type, skew), expected, y_type, 1e-5, describe(name, a_type, y_type, m, d, skew));
}

TEST_F(Rows, Elementwise) {
  constexpr Elem kTypes[] = {Elem::f32, Elem::bf16};
  for (auto [m, d, skew] :
       {std::array<int64_t, 3>{0, 8, 0}, {1, 1, 0}, {7, 8, 0}, {5, 37, 0}, {6, 96, 1}, {33, 3072, 0}, {9, 264, 0}}) {
    const std::vector<float> scale = normals(3 * d, 18), shift = normals(3 * d, 19);
    const Buffer scales(scale), shifts(shift);
    const float *s = scales.as<float>(), *t = shifts.as<float>();
    const RowTable groups = two_groups(m);
    const auto table = [&, m = m, d = d](const std::vector<float>& v, int64_t r, int64_t c) {
      return double{v[(r < m / 2 ? 2 : 1) * d + c]};
    };
    for (Elem x : kTypes) {
      for (Elem y : kTypes) {
        check_map(
            "modulate", x, x, y, m, d, skew,
            [&](const void* a, const void*, void* out) { modulate(a, x, m, d, s, t, groups, out, y, nullptr); },
            [&](double a, double, int64_t r, int64_t c) { return a * (1 + table(scale, r, c)) + table(shift, r, c); });
        check_map(
            "silu_multiply", x, x, y, m, d, skew,
            [&](const void* a, const void* b, void* out) { silu_multiply(a, b, x, m * d, out, y, nullptr); },
            [&](double a, double b, int64_t, int64_t) { return activated(Act::silu, a) * b; });
        for (Act act : {Act::none, Act::gelu_tanh, Act::gelu_erf, Act::silu, Act::quick_gelu}) {
          for (bool bias : {false, true}) {
            check_map(
                "activate", x, x, y, m, d, skew,
                [&](const void* a, const void*, void* out) {
                  activate(a, x, bias ? t : nullptr, act, m, d, out, y, nullptr);
                },
                [&](double a, double, int64_t, int64_t c) { return activated(act, bias ? a + shift[c] : a); });
          }
        }
        for (Elem b_type : kTypes) {
          check_map(
              "gated_add", x, b_type, y, m, d, skew,
              [&](const void* a, const void* b, void* out) {
                gated_add(a, x, b, b_type, s, groups, m, d, out, y, nullptr);
              },
              [&](double a, double b, int64_t r, int64_t c) { return a + table(scale, r, c) * b; });
          check_map(
              "add", x, b_type, y, m, d, skew,
              [&](const void* a, const void* b, void* out) {
                gated_add(a, x, b, b_type, nullptr, groups, m, d, out, y, nullptr);
              },
              [&](double a, double b, int64_t, int64_t) { return a + b; });
          check_map(
              "multiply", x, b_type, y, m, d, skew,
              [&](const void* a, const void* b, void* out) { multiply(a, x, b, b_type, m * d, out, y, nullptr); },
              [&](double a, double b, int64_t, int64_t) { return a * b; });
          check_map(
              "axpby", x, b_type, y, m, d, skew,
              [&](const void* a, const void* b, void* out) {
                axpby(0.75f, a, x, -1.5f, b, b_type, m * d, out, y, nullptr);
              },
              [&](double a, double b, int64_t, int64_t) { return 0.75 * a - 1.5 * b; });
        }
      }
    }
  }
}

// Far tails: relative accuracy where the result is small, no NaN where torch has none.
TEST_F(Rows, ActivationsKeepRelativeAccuracy) {
  std::vector<float> x;
  for (float v = -30.f; v <= 30.f; v += 0.01f) x.push_back(v);
  for (float v : {-1e30f, -100.f, 100.f, 1e30f, 0.f}) x.push_back(v);
  const auto n = static_cast<int64_t>(x.size());
  const Buffer input = upload(x, Elem::f32), y(n * 4);
  for (Act act : {Act::gelu_tanh, Act::gelu_erf, Act::silu, Act::quick_gelu}) {
    activate(input.as(), Elem::f32, nullptr, act, 1, n, y.as(), Elem::f32, nullptr);
    const std::vector<float> got = y.values<float>();
    for (int64_t i = 0; i < n; ++i) {
      const double e = activated(act, x[i]);
      // gelu_tanh's formula itself cancels in double below about -6.
      const double relative = act == Act::gelu_erf || act == Act::gelu_tanh ? 2e-4 : 2e-5;
      EXPECT_NEAR(got[i], e, std::fabs(e) * relative + (act == Act::gelu_tanh ? 1e-8 : 1e-30))
          << "activation " << static_cast<int>(act) << " of " << x[i];
    }
  }
}

TEST_F(Rows, Guide) {
  for (auto [m, d] : {std::pair<int64_t, int64_t>{0, 64}, {1, 1}, {100, 64}, {9, 37}, {5, 200}}) {
    std::vector<float> p = normals(m * d, 20), n = normals(m * d, 21);
    if (m > 4) {  // c = 0, and a NaN
      for (int64_t i = 0; i < d; ++i) p[d + i] = n[d + i] = 0.f;
      p[2 * d] = NAN;
    }
    const Buffer dp(p), dn(n), y(m * d * 4);
    guide(dp.as<float>(), dn.as<float>(), 4.f, m, d, y.as<float>(), nullptr);
    std::vector<double> expected;
    for (int64_t r = 0; r < m; ++r) {
      double wanted = 0, norm = 0;
      const auto c = [&](int64_t i) { return n[i] + 4.0 * (double{p[i]} - n[i]); };
      for (int64_t i = r * d; i < (r + 1) * d; ++i) wanted += double{p[i]} * p[i], norm += c(i) * c(i);
      for (int64_t i = r * d; i < (r + 1) * d; ++i)
        expected.push_back(norm == 0 ? 0 : c(i) * std::sqrt(wanted) / std::sqrt(norm));
    }
    expect_near(download(y, Elem::f32), expected, Elem::f32, 2e-5, describe("guide", Elem::f32, Elem::f32, m, d, 0));
  }
}

TEST_F(Rows, Copies) {
  std::vector<uint8_t> bytes(1 << 20);
  std::mt19937 rng(22);
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(rng());
  const Buffer x(bytes);
  for (int64_t row_bytes : {2, 6, 36, 64, 514, 6144}) {
    for (int64_t n : {0, 1, 300}) {
      std::vector<int32_t> index(n);
      for (int32_t& i : index) i = static_cast<int32_t>(rng() % (bytes.size() / row_bytes));
      const Buffer indices(index), y(n * row_bytes);
      gather_rows(x.as(), row_bytes, indices.as<int32_t>(), n, y.as(), nullptr);
      const std::vector<uint8_t> got = y.values<uint8_t>();
      for (int64_t r = 0; r < n; ++r)
        ASSERT_TRUE(std::equal(got.begin() + r * row_bytes, got.begin() + (r + 1) * row_bytes,
                               bytes.begin() + index[r] * row_bytes))
            << row_bytes;
    }
  }
  for (auto [stride, begin, d, size] :
       {std::array<int64_t, 4>{96, 0, 32, 4}, {9216, 3072, 3072, 2}, {7, 2, 3, 2}, {10, 3, 5, 1}, {64, 8, 48, 2}}) {
    const int64_t m = 50;
    const Buffer y(m * d * size);
    slice_columns(x.as(), stride, begin, d, m, size, y.as(), nullptr);
    const std::vector<uint8_t> got = y.values<uint8_t>();
    for (int64_t r = 0; r < m; ++r)
      ASSERT_TRUE(std::equal(got.begin() + r * d * size, got.begin() + (r + 1) * d * size,
                             bytes.begin() + (r * stride + begin) * size))
          << stride;
  }
  for (auto [h, w, c, size] :
       {std::array<int64_t, 4>{4, 6, 96, 2}, {3, 5, 7, 2}, {1, 1, 3, 4}, {8, 8, 384, 2}, {0, 4, 8, 2}}) {
    const Buffer y(4 * h * w * c * size);
    upsample2x(x.as(), h, w, c, size, y.as(), nullptr);
    const std::vector<uint8_t> got = y.values<uint8_t>();
    const int64_t pixel = c * size;
    for (int64_t i = 0; i < 4 * h * w; ++i)
      ASSERT_TRUE(std::equal(got.begin() + i * pixel, got.begin() + (i + 1) * pixel,
                             bytes.begin() + (i / (2 * w) / 2 * w + i % (2 * w) / 2) * pixel))
          << h << " " << w;
  }
}

TEST_F(Rows, CountNonfinite) {
  for (int64_t n : {0, 1, 1000, 1'000'003}) {
    std::vector<float> x = normals(n, 23);
    int expected = 0;
    for (int64_t i = 7; i < n; i += n / 5 + 1) x[i] = i % 2 ? INFINITY : NAN, ++expected;
    const Buffer input(x), flag(std::vector<int32_t>{3});
    count_nonfinite(input.as<float>(), n, flag.as<int32_t>(), nullptr);
    EXPECT_EQ(flag.values<int32_t>()[0], 3 + expected);
  }
}

}  // namespace
}  // namespace inkling::cuda::testing
