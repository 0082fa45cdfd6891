// Integer products: every instruction set against plain arithmetic, to the bit.
#include "backends/cpu/low_bit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/threads.h"
#include "formats/int_quant.h"
#include "ops/composed_ops.h"
#include "ops/random_inputs.h"
#include "ops/reference.h"

namespace inkling {

namespace kernels {
void PrintTo(Int8Isa isa, std::ostream* out) { *out << name(isa); }
}  // namespace kernels

namespace {

using kernels::Int8Isa;
using kernels::kPanel;

bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0;
}

class Int8 : public testing::TestWithParam<Int8Isa> {
 protected:
  void SetUp() override {
    if (kernels::best_int8_isa(GetParam()) != GetParam()) GTEST_SKIP() << "not on this machine";
  }
  const kernels::Int8Kernels& kernel() const { return kernels::int8_kernels(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(, Int8, testing::Values(Int8Isa::scalar, Int8Isa::avx2, Int8Isa::avx512, Int8Isa::amx),
                         [](const auto& info) { return std::string(kernels::name(info.param)); });

// Random bytes, or the two extremes at random, which is where 16-bit sums would saturate.
template <typename T>
std::vector<T> bytes(Random& r, int64_t count, int low, int high, bool extremes) {
  std::vector<T> result(static_cast<size_t>(count));
  for (T& v : result) v = static_cast<T>(extremes ? (r.coin() ? low : high) : r.integer(low, high));
  return result;
}

TEST_P(Int8, ProductsAreExact) {
  Random r(1);
  for (const int64_t rows : {1, 2, 3, 4, 5, 6, 7, 15, 16, 17, 31, 32, 33, 48, 65, 100})
    for (const int64_t depth : {64, 128, 448, 512}) {
      const bool extremes = r.coin();
      const auto x = bytes<int8_t>(r, rows * depth, -127, 127, extremes);
      const auto panel = bytes<uint8_t>(r, kPanel * depth, 0, 255, extremes);
      const auto before = bytes<int32_t>(r, rows * kPanel, -1000000, 1000000, false);
      const int64_t chunk = std::min(kernel().chunk, depth);
      std::vector<int8_t> placed(x.size());
      for (int64_t m = 0; m < rows; ++m)
        for (int64_t k = 0; k < depth; ++k) placed[k / chunk * chunk * rows + m * chunk + k % chunk] = x[m * depth + k];
      for (const bool first : {true, false}) {
        std::vector<int32_t> sums = before;
        kernel().multiply(placed.data(), kernel().chunk == 64 ? 64 * rows : depth, rows, panel.data(), depth, first,
                          sums.data(), {panel.data(), static_cast<int64_t>(panel.size()) / 64});
        for (int64_t m = 0; m < rows; ++m)
          for (int64_t j = 0; j < kPanel; ++j) {
            int64_t want = first ? 0 : before[m * kPanel + j];
            for (int64_t k = 0; k < depth; ++k)
              want += x[m * depth + k] * (panel[(k / 4 * kPanel + j) * 4 + k % 4] - 128 + kernel().offset);
            ASSERT_EQ(sums[m * kPanel + j], want) << rows << 'x' << depth << " at " << m << ' ' << j;
          }
      }
    }
}

TEST_P(Int8, UnpacksEveryCodeWithEveryScale) {
  constexpr int64_t kDeep = 128;
  Random r(2);
  for (int turn = 0; turn < 16; ++turn) {
    const auto codes = bytes<uint8_t>(r, kPanel * kDeep / 2, 0, 255, false);
    auto scale = bytes<uint8_t>(r, kPanel * 2, 1, 16, false);
    std::fill_n(scale.begin(), kPanel, static_cast<uint8_t>(turn + 1));
    std::vector<uint8_t> panel(kPanel * kDeep);
    kernel().unpack(codes.data(), scale.data(), kDeep, panel.data());
    for (int64_t k = 0; k < kDeep; ++k)
      for (int64_t j = 0; j < kPanel; ++j) {
        const int byte = codes[(k / 8 * kPanel + j) * 4 + k % 4];
        const int code = k % 8 < 4 ? byte & 15 : byte >> 4;
        ASSERT_EQ(panel[(k / 4 * kPanel + j) * 4 + k % 4], scale[k / 64 * kPanel + j] * (code - 8) + 128);
      }
  }
}

TEST_P(Int8, FinishesEveryWidth) {
  Random r(3);
  const Tensor scale = r.tensor({kPanel}), bias = r.tensor({kPanel});
  const auto sums = bytes<int32_t>(r, kPanel, -200000000, 200000000, false);
  for (int64_t n = 1; n <= kPanel; ++n)
    for (const float* b : {bias.data<float>(), static_cast<const float*>(nullptr)}) {
      std::vector<float> y(kPanel + 1, -7.f);
      kernel().finish(sums.data(), 12345, 0.37f, scale.data<float>(), b, n, y.data());
      for (int64_t j = 0; j < n; ++j) {
        const float product = static_cast<float>(sums[j] - 12345) * (0.37f * scale.data<float>()[j]);
        ASSERT_EQ(y[j], b == nullptr ? product : product + b[j]);
      }
      ASSERT_EQ(y[n], -7.f);
    }
}

// --- linear layers ----------------------------------------------------------------------------------------------

// A weight stored as integers, as a file with them is loaded.
Weight low_bit_weight(Random& r, const Shape& shape, LowBit kind, int64_t rotation, bool bias) {
  Weight w = r.weight(shape, bias);
  const int64_t n = shape[0], k = shape[1];
  Tensor plain = w.value;
  w.low_bit.kind = kind;
  w.low_bit.rotation = rotation;
  w.low_bit.scale = host_tensor(Shape{kind == LowBit::nf4 ? (n * k + 63) / 64 : n});
  auto* scale = w.low_bit.scale.data<float>();
  if (kind == LowBit::nf4) {
    w.value = host_tensor(Shape{n * k / 2}, DType::u8);
    for (int64_t i = 0; i < n * k / 2; ++i) w.value.raw()[i] = static_cast<std::byte>(r.integer(0, 255));
    for (int64_t i = 0; i < (n * k + 63) / 64; ++i) scale[i] = 0.01f * static_cast<float>(r.integer(1, 9));
  } else {
    w.value =
        host_tensor(kind == LowBit::w8a8 ? Shape{n, k} : Shape{n, k / 2}, kind == LowBit::w8a8 ? DType::i8 : DType::u8);
    w.low_bit.group_scale = host_tensor(Shape{n, k / 64}, DType::u8);
    for (int64_t i = 0; i < n; ++i) {
      float* row = plain.data<float>() + i * k;
      rotate_row(row, k, rotation);
      if (kind == LowBit::w8a8)
        scale[i] = quantize_row_i8(row, k, reinterpret_cast<int8_t*>(w.value.raw()) + i * k);
      else
        scale[i] = quantize_row_i4(row, k, reinterpret_cast<uint8_t*>(w.value.raw()) + i * k / 2,
                                   w.low_bit.group_scale.data<uint8_t>() + i * (k / 64));
    }
  }
  w.stored = w.value.dtype();
  return w;
}

// The integers that a weight is computed with, and their scales.
struct Integers {
  std::vector<int> w;
  std::vector<float> scale;
  int64_t rotation;
};

Integers integers_of(const Weight& weight, bool four_bit) {
  const int64_t n = weight.shape[0], k = weight.shape[1];
  Integers result{std::vector<int>(static_cast<size_t>(n * k)), {}, weight.low_bit.rotation};
  Tensor plain;
  if (weight.low_bit.kind == LowBit::none) {
    const Tensor values = dequantize(weight.value);
    plain = host_tensor(weight.shape);
    std::memcpy(plain.raw(), values.raw(), static_cast<size_t>(plain.bytes()));
    result.rotation = default_rotation(k);
  }
  for (int64_t i = 0; i < n; ++i) {
    std::vector<int8_t> q(static_cast<size_t>(k));
    std::vector<uint8_t> codes(static_cast<size_t>(k / 2)), groups(static_cast<size_t>(k / 64));
    float scale;
    if (weight.low_bit.kind == LowBit::none) {
      float* row = plain.data<float>() + i * k;
      rotate_row(row, k, result.rotation);
      scale = four_bit ? quantize_row_i4(row, k, codes.data(), groups.data()) : quantize_row_i8(row, k, q.data());
    } else {
      scale = weight.low_bit.scale.data<float>()[i];
      if (four_bit) {
        std::memcpy(codes.data(), weight.value.raw() + i * k / 2, codes.size());
        std::memcpy(groups.data(), weight.low_bit.group_scale.raw() + i * (k / 64), groups.size());
      } else {
        std::memcpy(q.data(), weight.value.raw() + i * k, q.size());
      }
    }
    for (int64_t c = 0; c < k; ++c)
      result.w[i * k + c] = four_bit ? groups[c / 64] * ((codes[c / 2] >> (c % 2 * 4) & 15) - 8) : q[c];
    result.scale.push_back(scale);
  }
  return result;
}

Tensor reference_linear(const Tensor& x, const Weight& weight, const Integers& integers) {
  const int64_t m = x.rows(), k = weight.shape[1], n = weight.shape[0];
  Tensor y = host_tensor(Shape{m, n});
  std::vector<float> row(static_cast<size_t>(k));
  std::vector<int8_t> q(row.size());
  for (int64_t i = 0; i < m; ++i) {
    std::memcpy(row.data(), x.data<float>() + i * k, row.size() * sizeof(float));
    rotate_row(row.data(), k, integers.rotation);
    const float scale = quantize_row_i8(row.data(), k, q.data());
    for (int64_t j = 0; j < n; ++j) {
      int64_t sum = 0;
      for (int64_t c = 0; c < k; ++c) sum += q[c] * integers.w[j * k + c];
      float product = static_cast<float>(sum) * (scale * integers.scale[j]);
      if (weight.has_bias) product += weight.bias.data<float>()[j];
      y.data<float>()[i * n + j] = product;
    }
  }
  return y;
}

struct LinearShape {
  int64_t m, k, n;
};
constexpr LinearShape kShapes[] = {{1, 64, 1},     {7, 320, 70},    {33, 576, 64},
                                   {400, 128, 65}, {17, 1088, 130}, {97, 512, 24}};

TEST_P(Int8, LinearOfRoundedWeightsIsExact) {
  Random r(4);
  for (const Precision precision : {Precision::w8a8, Precision::w4a8})
    for (const DType stored : {DType::f32, DType::bf16, DType::q4_0, DType::q8_0})
      for (const LinearShape& s : kShapes) {
        CpuOps ops({precision, GetParam()});
        ASSERT_EQ(static_cast<const CpuModel&>(ops.model()).int8_isa(), GetParam());
        Weight w = r.weight({s.n, s.k}, r.coin(), stored);
        const Tensor x = r.tensor({s.m, s.k}, 3.f);
        const Tensor want = reference_linear(x, w, integers_of(w, precision == Precision::w4a8));
        ops.prepare(w);
        EXPECT_FALSE(w.value.defined()) << "the rounded form replaces the stored one";
        ASSERT_TRUE(same_bytes(ops.linear(x, w), want)) << s.m << ' ' << s.k << ' ' << s.n << ' ' << name(stored);
      }
}

TEST_P(Int8, LinearOfStoredIntegersIsExactInEveryPrecisionButF32) {
  Random r(5);
  for (const Precision precision : {Precision::bf16, Precision::w8a8, Precision::w4a8})
    for (const LowBit kind : {LowBit::w8a8, LowBit::w4a8})
      for (const int64_t rotation : {0, 16, 64}) {
        CpuOps ops({precision, GetParam()});
        Weight w = low_bit_weight(r, {70, 320}, kind, rotation, true);
        const Tensor x = r.tensor({19, 320});
        const Tensor want = reference_linear(x, w, integers_of(w, kind == LowBit::w4a8));
        ops.prepare(w);
        ASSERT_TRUE(same_bytes(ops.linear(x, w), want));
      }
}

TEST(LowBitLinear, F32UnpacksStoredIntegers) {
  Random r(15);
  for (const LowBit kind : {LowBit::w8a8, LowBit::w4a8}) {
    CpuOps exact, asked({.stored_integers = true});
    Weight w = low_bit_weight(r, {70, 320}, kind, 64, true), integers = w;
    EXPECT_EQ(static_cast<const CpuModel&>(exact.model()).form(w), WeightForm::panels);
    const Tensor x = r.tensor({19, 320});
    const Tensor rounded = reference_linear(x, w, integers_of(w, kind == LowBit::w4a8));
    exact.prepare(w);
    asked.prepare(integers);
    EXPECT_TRUE(same_bytes(asked.linear(x, integers), rounded));
    const Tensor y = exact.linear(x, w);
    double error = 0, norm = 0;
    for (int64_t i = 0; i < y.elements(); ++i) {
      const double d = y.data<float>()[i] - rounded.data<float>()[i];
      error += d * d;
      norm += double{y.data<float>()[i]} * y.data<float>()[i];
    }
    // What is left is the rounding of the activations: about 1/127 of a row's largest.
    EXPECT_GT(error, 0);
    EXPECT_LT(std::sqrt(error / norm), 0.02);
  }
}

TEST_P(Int8, ResultsDoNotDependOnThreadsOrNeighbours) {
  Random r(6);
  const int before = thread_count();
  for (const Precision precision : {Precision::w8a8, Precision::w4a8}) {
    CpuOps ops({precision, GetParam()});
    Weight w = r.weight({200, 576}, true);
    ops.prepare(w);
    const Tensor x = r.tensor({500, 576}), all = ops.linear_act(x, w, Activation::gelu_tanh);
    for (const int threads : {1, 3, 5}) {
      set_thread_count(threads);
      EXPECT_TRUE(same_bytes(ops.linear_act(x, w, Activation::gelu_tanh), all)) << threads;
      for (const int64_t rows : {1, 6, 37, 129})
        EXPECT_TRUE(
            same_bytes(ops.linear_act(x.slice_rows(0, rows), w, Activation::gelu_tanh), all.slice_rows(0, rows)));
    }
    set_thread_count(before);
  }
}

TEST(LowBitLinear, FusedOperationsAreTheComposedOnes) {
  for (const Precision precision : {Precision::w8a8, Precision::w4a8}) {
    Random r(7);
    CpuOps fused(CpuOptions{precision});
    ComposedOps composed(CpuOptions{precision});
    constexpr int64_t kRows = 21, kIn = 192, kOut = 128;
    // The last is sensitive: two forms in one call.
    Weight a = r.weight({kOut, kIn}, true), b = r.weight({kOut, kIn}, false, DType::q8_0),
           c = r.weight({kOut, kIn}, true);
    c.sensitive = true;
    for (Weight* w : {&a, &b, &c}) fused.prepare(*w);
    const Tensor x = r.tensor({kRows, kIn}), residual = r.tensor({kRows, kOut}), table = r.tensor({2, kOut}),
                 gamma = r.tensor({32});
    const RowGroups groups = r.groups(kRows, 3, 2);
    EXPECT_TRUE(
        same_bytes(fused.linear_act(x, a, Activation::gelu_tanh), composed.linear_act(x, a, Activation::gelu_tanh)));
    EXPECT_TRUE(same_bytes(fused.linear_add(x, a, residual), composed.linear_add(x, a, residual)));
    EXPECT_TRUE(same_bytes(fused.linear_gated_add(x, b, residual, table, groups),
                           composed.linear_gated_add(x, b, residual, table, groups)));
    EXPECT_TRUE(same_bytes(fused.swiglu(x, a, b), composed.swiglu(x, a, b)));
    const Rope rope = r.rope(kRows, 32, Rope::Style::interleaved);
    const QKV f = fused.qkv(x, a, c, b, gamma, gamma, 1e-6f, rope, 4, 4),
              want = composed.qkv(x, a, c, b, gamma, gamma, 1e-6f, rope, 4, 4);
    EXPECT_TRUE(same_bytes(f.q, want.q) && same_bytes(f.k, want.k) && same_bytes(f.v, want.v));
  }
}

// The values that stored low-bit codes stand for.
Tensor low_bit_values(const Weight& w) {
  const int64_t n = w.shape[0], k = w.shape[1];
  Tensor values = host_tensor(w.shape);
  const auto* codes = reinterpret_cast<const uint8_t*>(w.value.raw());
  const auto* scale = w.low_bit.scale.data<float>();
  for (int64_t i = 0; i < n; ++i) {
    float* row = values.data<float>() + i * k;
    if (w.low_bit.kind == LowBit::w8a8)
      dequantize_row_i8(reinterpret_cast<const int8_t*>(codes) + i * k, scale[i], k, row);
    else if (w.low_bit.kind == LowBit::w4a8)
      dequantize_row_i4(codes + i * k / 2, w.low_bit.group_scale.data<uint8_t>() + i * (k / 64), scale[i], k, row);
    else
      dequantize_nf4(codes, scale, i * k, k, row);
    rotate_row(row, k, w.low_bit.rotation);
  }
  return values;
}

TEST(LowBitLinear, OthersAreUnpackedAndMultipliedAsFloats) {
  Random r(8);
  CpuOps ops;
  struct Case {
    LowBit kind;
    int64_t k, rotation;
    bool sensitive;
    WeightForm form;
  };
  for (const Case& c :
       {Case{LowBit::w8a8, 192, 64, true, WeightForm::dots}, Case{LowBit::w4a8, 192, 0, true, WeightForm::dots},
        Case{LowBit::w4a8, 192, 16, true, WeightForm::dots}, Case{LowBit::w8a8, 80, 16, false, WeightForm::panels},
        Case{LowBit::nf4, 192, 0, false, WeightForm::panels}, Case{LowBit::nf4, 32, 0, true, WeightForm::dots}}) {
    Weight w = low_bit_weight(r, {70, c.k}, c.kind, c.rotation, true);
    w.sensitive = c.sensitive;
    EXPECT_EQ(static_cast<const CpuModel&>(ops.model()).form(w), c.form);
    const Tensor values = low_bit_values(w);
    ops.prepare(w);
    EXPECT_EQ(ops.memory().current, 0) << "codes are used where they lie";
    for (const int64_t rows : {1, 9}) {
      const Tensor x = r.tensor({rows, c.k});
      EXPECT_LE(reference::nmse(ops.linear(x, w), reference::linear(x, values, w.bias)), 1e-10);
      EXPECT_LE(reference::nmse(ops.linear_act(x, w, Activation::silu),
                                reference::activate(reference::linear(x, values, w.bias), Activation::silu)),
                1e-10);
    }
  }
}

TEST(LowBitLinear, Forms) {
  Random r(9);
  const CpuModel model(CpuOptions{Precision::w4a8});
  Weight w = r.weight({64, 128}, false);
  EXPECT_EQ(model.form(w), WeightForm::w4);
  EXPECT_EQ(CpuModel(CpuOptions{Precision::w8a8}).form(w), WeightForm::w8);
  w.sensitive = true;
  EXPECT_NE(model.form(w), WeightForm::w4);
  Weight blocks = r.weight({64, 128}, false, DType::q4_0);
  EXPECT_EQ(model.form(blocks), WeightForm::w4);
  EXPECT_EQ(CpuModel().form(blocks), WeightForm::panels);
  blocks.sensitive = true;
  EXPECT_EQ(model.form(blocks), WeightForm::dots);
  EXPECT_NE(model.form(r.weight({64, 96}, false)), WeightForm::w4) << "no whole groups";
  EXPECT_NE(model.form(r.weight({1, 65600}, false)), WeightForm::w4) << "sums could overflow";
  w.embedding = true;
  EXPECT_EQ(model.form(w), WeightForm::table);
  EXPECT_EQ(model.form(r.weight({8, 64, 3, 3}, false)), WeightForm::convolution);
}

TEST(LowBitLinear, RoundingIsCloseEnough) {
  Random r(10);
  for (const auto& [precision, limit] : {std::pair{Precision::w8a8, 2e-4}, std::pair{Precision::w4a8, 1.1e-2}}) {
    CpuOps ops(CpuOptions{precision});
    Weight w = r.weight({256, 1024}, true);
    const Tensor x = r.tensor({64, 1024}), values = w.value;
    const auto want = reference::linear(x, values, w.bias);
    ops.prepare(w);
    EXPECT_LE(reference::nmse(ops.linear(x, w), want), limit);
  }
}

TEST(LowBitLinear, ANanStaysInItsRow) {
  Random r(11);
  CpuOps ops(CpuOptions{Precision::w4a8});
  Weight w = r.weight({70, 128}, true);
  ops.prepare(w);
  Tensor x = r.tensor({5, 128});
  const Tensor before = ops.linear(x, w);
  x.data<float>()[2 * 128 + 77] = std::numeric_limits<float>::quiet_NaN();
  const Tensor y = ops.linear(x, w);
  for (int64_t i = 0; i < 5 * 70; ++i) {
    const float v = y.data<float>()[i];
    if (i / 70 == 2)
      EXPECT_TRUE(std::isnan(v));
    else
      EXPECT_EQ(v, before.data<float>()[i]);
  }
}

TEST(LowBitLinear, RefusesPartsThatDoNotFit) {
  Random r(12);
  CpuOps ops;
  const auto refuses = [&](LowBit kind, auto change) {
    Weight w = low_bit_weight(r, {16, 128}, kind, 64, false);
    change(w);
    EXPECT_THROW(ops.prepare(w), ModelError);
  };
  for (const LowBit kind : {LowBit::w8a8, LowBit::w4a8, LowBit::nf4}) {
    refuses(kind, [](Weight& w) { w.low_bit.scale = Tensor(); });
    refuses(kind, [](Weight& w) { w.low_bit.scale = host_tensor(Shape{3}); });
    refuses(kind, [](Weight& w) { w.value = host_tensor(w.shape); });
    refuses(kind, [](Weight& w) { w.value = host_tensor(Shape{5}, w.value.dtype()); });
    refuses(kind, [](Weight& w) { w.low_bit.rotation = 48; });
    refuses(kind, [](Weight& w) { w.embedding = true; });
  }
  refuses(LowBit::w4a8, [](Weight& w) { w.low_bit.group_scale = host_tensor(Shape{16}, DType::u8); });
}

}  // namespace
}  // namespace inkling
