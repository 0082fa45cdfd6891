// Matrix products against sums in integers or double on the host, with every end, at shapes that cut tiles short.
#include "backends/cuda/kernels/gemm.h"

#include <cuda_bf16.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>

#include "backends/cuda/kernels/pack.h"
#include "device_array.h"

namespace inkling::testing {
namespace {

using cuda::Act;
using cuda::Elem;
using cuda::GemmEnd;

enum class Product { w8a8, w4a8, bf16 };
const char* name(Product p) { return p == Product::w8a8 ? "w8a8" : p == Product::w4a8 ? "w4a8" : "bf16"; }

struct Case {
  Product product;
  int m, n, k;
};

float from_bf16(uint16_t v) {
  const uint32_t bits = static_cast<uint32_t>(v) << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}
uint16_t to_bf16(float f) {  // truncated: any bf16 does
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  return static_cast<uint16_t>(bits >> 16);
}

// Operands of one product on both sides, and the exact sums.
class Operands {
 public:
  explicit Operands(const Case& c) : case_(c), sums_(size_t(c.m) * c.n), magnitudes_(sums_.size()) {
    std::mt19937 random(c.m * 7 + c.n * 3 + c.k);
    const size_t xs = size_t(c.m) * c.k, ws = size_t(c.n) * c.k;
    if (c.product == Product::bf16) {
      std::normal_distribution<float> normal;
      std::vector<uint16_t> x(xs), w(ws);
      for (auto& v : x) v = to_bf16(normal(random));
      for (auto& v : w) v = to_bf16(normal(random) * 0.05f);
      multiply([&](size_t i) { return double(from_bf16(x[i])); }, [&](size_t i) { return double(from_bf16(w[i])); });
      x_ = std::make_unique<DeviceArray<uint8_t>>(bytes(x));
      w_ = std::make_unique<DeviceArray<uint8_t>>(bytes(w));
      row_scale_.assign(c.m, 1.f);
      column_scale_.assign(c.n, 1.f);
    } else {
      std::uniform_int_distribution<int> any(0, 255);
      std::vector<int8_t> x(xs);
      for (auto& v : x) v = static_cast<int8_t>(any(random) - 128);
      std::vector<int32_t> row_sum(c.m);
      for (size_t i = 0; i < xs; ++i) row_sum[i / c.k] += x[i];
      std::uniform_real_distribution<float> scale(0.5f, 1.5f);
      for (int i = 0; i < c.m; ++i) row_scale_.push_back(scale(random) / 400.f);
      for (int i = 0; i < c.n; ++i) column_scale_.push_back(scale(random) / 400.f);
      x_ = std::make_unique<DeviceArray<uint8_t>>(bytes(x));
      scale_x_ = std::make_unique<DeviceArray<float>>(row_scale_);
      scale_w_ = std::make_unique<DeviceArray<float>>(column_scale_);
      sum_x_ = std::make_unique<DeviceArray<int32_t>>(row_sum);
      if (c.product == Product::w8a8) {
        std::vector<int8_t> w(ws);
        for (auto& v : w) v = static_cast<int8_t>(any(random) - 128);
        multiply([&](size_t i) { return int64_t(x[i]); }, [&](size_t i) { return int64_t(w[i]); });
        w_ = std::make_unique<DeviceArray<uint8_t>>(ws);
        const DeviceArray<int8_t> rows(w);
        cuda::pack_w8(rows.data(), c.n, c.k, reinterpret_cast<int8_t*>(w_->data()), nullptr);
      } else {
        std::vector<uint8_t> codes(ws / 2), group_scale(ws / 64);
        for (auto& v : codes) v = static_cast<uint8_t>(any(random));
        for (auto& v : group_scale) v = static_cast<uint8_t>(1 + any(random) % 16);
        multiply([&](size_t i) { return int64_t(x[i]); },
                 [&](size_t i) { return int64_t(group_scale[i / 64] * ((codes[i / 2] >> (i % 2 * 4) & 15) - 8)); });
        w_ = std::make_unique<DeviceArray<uint8_t>>(ws / 2);
        group_scale_ = std::make_unique<DeviceArray<uint8_t>>(ws / 64);
        const DeviceArray<uint8_t> rows(codes), scales(group_scale);
        cuda::pack_w4(rows.data(), scales.data(), c.n, c.k, w_->data(), group_scale_->data(), nullptr);
      }
      cudaDeviceSynchronize();  // before the rows go
    }
  }

  void run(const GemmEnd& end) const {
    const cuda::QuantizedRows x{reinterpret_cast<const int8_t*>(x_->data()), scale_x_ ? scale_x_->data() : nullptr,
                                sum_x_ ? sum_x_->data() : nullptr};
    switch (case_.product) {
      case Product::w8a8:
        return gemm_w8a8(case_.m, case_.n, case_.k, x,
                         {reinterpret_cast<const int8_t*>(w_->data()), scale_w_->data()}, end, nullptr);
      case Product::w4a8:
        return gemm_w4a8(case_.m, case_.n, case_.k, x, {w_->data(), group_scale_->data(), scale_w_->data()}, end,
                         nullptr);
      case Product::bf16: return gemm_bf16(case_.m, case_.n, case_.k, x_->data(), w_->data(), end, nullptr);
    }
  }
  double product(int row, int column) const {
    return sums_[size_t(row) * case_.n + column] * row_scale_[row] * column_scale_[column];
  }
  // How far sums in f32 may be off.
  double rounding(int row, int column) const {
    return case_.product == Product::bf16 ? 1e-6 * magnitudes_[size_t(row) * case_.n + column]
                                          : 3e-7 * std::fabs(product(row, column));
  }

 private:
  template <typename T>
  static std::vector<uint8_t> bytes(const std::vector<T>& v) {
    std::vector<uint8_t> b(v.size() * sizeof(T));
    std::memcpy(b.data(), v.data(), b.size());
    return b;
  }
  template <typename X, typename W>
  void multiply(X x, W w) {
    for (int i = 0; i < case_.m; ++i)
      for (int j = 0; j < case_.n; ++j) {
        decltype(x(0)) sum = 0;
        double magnitude = 0;
        for (int t = 0; t < case_.k; ++t) {
          const auto p = x(size_t(i) * case_.k + t) * w(size_t(j) * case_.k + t);
          sum += p;
          if constexpr (std::is_same_v<decltype(sum), double>) magnitude += std::fabs(p);
        }
        sums_[size_t(i) * case_.n + j] = static_cast<double>(sum);
        magnitudes_[size_t(i) * case_.n + j] = magnitude;
      }
  }

  Case case_;
  std::vector<double> sums_, magnitudes_;
  std::vector<float> row_scale_, column_scale_;
  std::unique_ptr<DeviceArray<uint8_t>> x_, w_, group_scale_;
  std::unique_ptr<DeviceArray<float>> scale_x_, scale_w_;
  std::unique_ptr<DeviceArray<int32_t>> sum_x_;
};

double activate(double x, Act act) {
  switch (act) {
    case Act::none: return x;
    case Act::gelu_tanh: return 0.5 * x * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
    case Act::gelu_erf: return 0.5 * x * std::erfc(-x * 0.7071067811865476);
    case Act::silu: return x / (1 + std::exp(-x));
    case Act::quick_gelu: return x / (1 + std::exp(-1.702 * x));
  }
  return 0;
}

std::vector<float> random_floats(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> v(size);
  for (float& x : v) x = normal(random);
  return v;
}

class Gemm : public ::testing::TestWithParam<Case> {
 protected:
  // One end, all of whose parts may be left out. y has wider rows than n where there is no residual, and a spare row.
  void check(const Operands& operands, Elem type, bool with_bias, Act act, int residual, int groups) {
    const Case& c = GetParam();
    const int stride = residual ? c.n : c.n + 16, tables = 3;
    const auto bias = random_floats(c.n, 1), gate = random_floats(size_t(tables) * c.n, 2),
               add = random_floats(size_t(c.m) * c.n, 3);
    const DeviceArray<float> bias_d(bias), gate_d(gate), add_d(add);
    DeviceArray<uint8_t> y(size_t(c.m + 1) * stride * cuda::size_of(type));
    y.fill_bytes(0xff);
    GemmEnd end;
    end.y = y.data();
    end.type = type;
    end.y_stride = residual ? 0 : stride;
    end.bias = with_bias ? bias_d.data() : nullptr;
    end.act = act;
    if (residual) {
      end.residual = add_d.data();
      if (residual == 2) {  // in place
        cudaMemcpy(y.data(), add_d.data(), add.size() * 4, cudaMemcpyDeviceToDevice);
        end.residual = reinterpret_cast<const float*>(y.data());
      }
      end.gate = groups ? gate_d.data() : nullptr;
      if (groups == 1) end.groups.table_row[0] = 2;
      if (groups == 3) {
        end.groups.count = 3;
        const int borders[3] = {c.m / 3, c.m / 2, c.m}, rows[3] = {2, 0, 1};
        std::copy_n(borders, 3, end.groups.end);
        std::copy_n(rows, 3, end.groups.table_row);
      }
    }
    operands.run(end);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    const auto bytes = y.download();
    int wrong = 0;
    for (int i = 0; i <= c.m; ++i)
      for (int j = 0; j < stride; ++j) {
        const size_t at = size_t(i) * stride + j;
        float got;
        if (type == Elem::f32) {
          std::memcpy(&got, &bytes[at * 4], 4);
        } else {
          uint16_t v;
          std::memcpy(&v, &bytes[at * 2], 2);
          got = from_bf16(v);
        }
        if (i == c.m || j >= c.n) {
          if (!std::isnan(got)) ++wrong;  // 0xff.. is a NaN of both types
          continue;
        }
        double want = operands.product(i, j) + (with_bias ? bias[j] : 0.);
        double tolerance = operands.rounding(i, j) + 3e-6 * std::fabs(want) + 1e-6;
        want = activate(want, act);
        if (residual) {
          double g = 1;
          if (groups == 1) g = gate[size_t(2) * c.n + j];
          if (groups == 3) g = gate[size_t(i < c.m / 3 ? 2 : i < c.m / 2 ? 0 : 1) * c.n + j];
          want = add[size_t(i) * c.n + j] + g * want;
          tolerance = tolerance * (1 + std::fabs(g)) + 1e-6 * std::fabs(want);
        }
        if (type == Elem::bf16) tolerance += std::fabs(want) * 0x1p-8;
        if (!(std::fabs(got - want) <= tolerance) && ++wrong <= 3)
          ADD_FAILURE() << "row " << i << " column " << j << ": got " << got << ", expected " << want;
      }
    EXPECT_EQ(wrong, 0);
  }
};

TEST_P(Gemm, EqualsTheSums) {
  INKLING_NEEDS_DEVICE();
  const Operands operands(GetParam());
  check(operands, Elem::f32, false, Act::none, 0, 0);
  check(operands, Elem::bf16, true, Act::gelu_tanh, 0, 0);
  check(operands, Elem::f32, true, Act::gelu_erf, 0, 0);
  check(operands, Elem::bf16, false, Act::silu, 0, 0);
  check(operands, Elem::f32, true, Act::quick_gelu, 0, 0);
  check(operands, Elem::f32, true, Act::none, 1, 0);
  check(operands, Elem::f32, true, Act::none, 2, 1);
  check(operands, Elem::f32, false, Act::none, 2, 3);
  check(operands, Elem::bf16, true, Act::none, 1, 1);
}

TEST_P(Gemm, IsTheSameOnEveryRunAndBesideOtherRows) {
  INKLING_NEEDS_DEVICE();
  const Case& c = GetParam();
  const Operands operands(c);
  const size_t size = size_t(c.m) * c.n;
  DeviceArray<float> first(size), second(size);
  GemmEnd end;
  end.type = Elem::f32;
  end.y = first.data();
  operands.run(end);
  end.y = second.data();
  operands.run(end);
  const auto a = first.download(), b = second.download();
  EXPECT_EQ(std::memcmp(a.data(), b.data(), size * 4), 0);
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (Product p : {Product::w8a8, Product::w4a8, Product::bf16}) {
    const bool any_k = p == Product::bf16;
    for (Case c : {Case{p, 1, 64, 64}, {p, 16, any_k ? 264 : 272, 256}, {p, 37, any_k ? 72 : 80, any_k ? 40 : 320},
                   {p, 64, 512, 768}, {p, 130, any_k ? 520 : 528, any_k ? 200 : 192},
                   {p, 257, any_k ? 1032 : 1040, any_k ? 584 : 576}, {p, 300, 256, 1024},
                   {p, 515, any_k ? 776 : 784, any_k ? 8 : 128}, {p, 1030, 3072, 64}, {p, 2050, 1536, 64}})
      all.push_back(c);
  }
  return all;
}
INSTANTIATE_TEST_SUITE_P(Shapes, Gemm, ::testing::ValuesIn(cases()), [](const auto& info) {
  const Case& c = info.param;
  return std::string(name(c.product)) + "_" + std::to_string(c.m) + "_" + std::to_string(c.n) + "_" +
         std::to_string(c.k);
});

// The largest sums that the real models can make stay exact in 32 bits.
TEST(GemmRange, LongestRowsOfExtremesAreExact) {
  INKLING_NEEDS_DEVICE();
  const int k = 18944, m = 1, n = 16;
  const DeviceArray<int8_t> x(std::vector<int8_t>(k, -128));
  const DeviceArray<float> one(std::vector<float>(n, 1.f));
  const DeviceArray<int32_t> sum(std::vector<int32_t>(1, -128 * k));
  const DeviceArray<uint8_t> codes(std::vector<uint8_t>(size_t(n) * k / 2, 0)),
      scales(std::vector<uint8_t>(size_t(n) * k / 64, 16));
  DeviceArray<uint8_t> packed(size_t(n) * k / 2), packed_scales(size_t(n) * k / 64);
  cuda::pack_w4(codes.data(), scales.data(), n, k, packed.data(), packed_scales.data(), nullptr);
  DeviceArray<float> y(n);
  GemmEnd end;
  end.type = Elem::f32;
  end.y = y.data();
  gemm_w4a8(m, n, k, {x.data(), one.data(), sum.data()}, {packed.data(), packed_scales.data(), one.data()}, end,
            nullptr);
  for (float v : y.download()) EXPECT_EQ(v, 128.f * 128.f * k);
}

TEST(GemmErrors, RefusesSizesThatItCannotServe) {
  const GemmEnd end;
  EXPECT_ANY_THROW(gemm_w8a8(4, 24, 64, {}, {}, end, nullptr));   // n not a multiple of 16
  EXPECT_ANY_THROW(gemm_w4a8(4, 16, 96, {}, {}, end, nullptr));   // k not a multiple of 64
  EXPECT_ANY_THROW(gemm_bf16(4, 16, 12, {}, {}, end, nullptr));   // k not a multiple of 8
  EXPECT_ANY_THROW(gemm_bf16(0, 16, 64, {}, {}, end, nullptr));
}

}  // namespace
}  // namespace inkling::testing
