// Numbers at the edge, and the same bytes every time.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/kernels.h"
#include "base/threads.h"
#include "ops/program.h"
#include "ops/reference.h"

namespace inkling {
namespace {

namespace ref = reference;

bool all_finite(const Tensor& t) {
  for (float v : t.span<float>())
    if (!std::isfinite(v)) return false;
  return true;
}

bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0;
}

Tensor filled(const Shape& shape, float value) {
  Tensor t = host_tensor(shape);
  for (float& v : t.span<float>()) v = value;
  return t;
}

class Threads {
 public:
  explicit Threads(int count) : before_(thread_count()) { set_thread_count(count); }
  ~Threads() { set_thread_count(before_); }

 private:
  int before_;
};

TEST(Numerics, SoftmaxOfHugeLogits) {
  CpuOps ops;
  Random r(3);
  const Tensor q = r.tensor({70, 32}, 1e3f), k = r.tensor({70, 32}, 1e3f), v = r.tensor({70, 32});
  const AttentionSpec spec{2, 2, 1.f, false, Segments::single(70)};
  const Tensor y = ops.attention(q, k, v, spec);
  EXPECT_LE(ref::nmse(y, ref::attention(ref::values(q), ref::values(k), ref::values(v), spec, 32)), 1e-7);
  EXPECT_TRUE(all_finite(ops.attention(filled({70, 32}, -1e18f), filled({70, 32}, 1e18f), v, spec)));
}

TEST(Numerics, CausalFirstRowSeesOnlyItself) {
  CpuOps ops;
  Random r(4);
  const Tensor q = r.tensor({200, 48}, 30.f), k = r.tensor({200, 48}), v = r.tensor({200, 48});
  const Tensor y = ops.attention(q, k, v, {3, 3, 1.f, true, Segments{{0, 1, 77, 200}}});
  for (int64_t row : {0, 1, 77})
    for (int64_t c = 0; c < 48; ++c) EXPECT_NEAR(y.data<float>()[row * 48 + c], v.data<float>()[row * 48 + c], 1e-6);
}

TEST(Numerics, ANanInAttentionStaysVisible) {
  CpuOps ops;
  Random r(5);
  const Tensor q = r.tensor({40, 16}), k = r.tensor({40, 16});
  Tensor v = r.tensor({40, 16});
  v.data<float>()[7] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(all_finite(ops.attention(q, k, v, {1, 1, 1.f, false, Segments::single(40)})));
  Tensor bad_q = r.tensor({40, 16});
  bad_q.data<float>()[7] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(all_finite(ops.attention(bad_q, k, r.tensor({40, 16}), {1, 1, 1.f, false, Segments::single(40)})));
}

TEST(Numerics, NormsOfZeroRowsAreZero) {
  CpuOps ops;
  const Tensor x = filled({3, 37}, 0.f), gamma = filled({37}, 2.f), table = filled({1, 37}, 0.f);
  for (const Tensor& y :
       {ops.rms_norm(x, gamma, 1e-6f), ops.layer_norm(x, 1e-6f), ops.channel_norm(x, gamma),
        ops.channel_norm_silu(x, gamma), ops.guide(x, x, 4.f),
        ops.modulated_norm(x, table, table, RowGroups::single(3), 1e-6f), ops.head_norm_rope(x, gamma, 1e-6f, {}, 1)})
    for (float v : y.span<float>()) EXPECT_EQ(v, 0.f);
}

TEST(Numerics, LayerNormFarFromZeroKeepsItsPrecision) {
  CpuOps ops;
  Random r(6);
  Tensor x = r.tensor({4, 300});
  for (float& v : x.span<float>()) v += 1000.f;
  EXPECT_LE(ref::nmse(ops.layer_norm(x, 1e-6f), ref::layer_norm(ref::values(x), 300, 1e-6)), 1e-7);
}

TEST(Numerics, ActivationsAreAccurateOverTheWholeRange) {
  CpuOps ops;
  std::vector<float> grid;
  for (int i = -200000; i <= 200000; ++i) grid.push_back(static_cast<float>(i) * 1e-4f);
  const Tensor x = host_tensor(Shape{1, static_cast<int64_t>(grid.size())}, grid);
  for (Activation f : {Activation::gelu_tanh, Activation::gelu_erf, Activation::silu, Activation::quick_gelu}) {
    const Tensor y = ops.activate(x, f);
    const ref::Values want = ref::activate(ref::values(x), f);
    double worst = 0;
    for (size_t i = 0; i < grid.size(); ++i)
      worst = std::max(worst, std::abs(y.span<float>()[i] - want[i]) / std::max(std::abs(want[i]), 1e-3));
    // Rounding of an exponent of size t costs t ulp of the exponential: 2e-6 down to where the result is 1e-3.
    EXPECT_LE(worst, 2e-6) << "activation " << static_cast<int>(f);
  }
  const Tensor extreme = host_tensor(Shape{1, 4}, {-1e30f, 1e30f, -200.f, 200.f});
  for (Activation f : {Activation::gelu_erf, Activation::silu, Activation::quick_gelu}) {
    const Tensor y = ops.activate(extreme, f);
    EXPECT_NEAR(y.data<float>()[0], 0.f, 1e-6);
    EXPECT_EQ(y.data<float>()[1], 1e30f);
    EXPECT_NEAR(y.data<float>()[2], 0.f, 1e-6);
    EXPECT_EQ(y.data<float>()[3], 200.f);
  }
}

TEST(Numerics, Bf16RoundsToNearestEvenAndKeepsNan) {
  std::vector<float> x;
  for (uint32_t i = 0; i < 70000; ++i) {
    const uint32_t bits = i * 61357u;
    float v;
    std::memcpy(&v, &bits, sizeof(v));
    x.push_back(v);
  }
  std::vector<uint16_t> y(x.size());
  kernels::to_bf16(x.data(), y.data(), static_cast<int64_t>(x.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i]))
      EXPECT_TRUE(std::isnan(to_float(bf16_t{y[i]})));
    else
      ASSERT_EQ(y[i], to_bf16(x[i]).bits) << x[i];
  }
}

TEST(Determinism, TwentyRunsGiveTheSameBytes) {
  for (const Precision precision : {Precision::f32, Precision::bf16, Precision::w8a8, Precision::w4a8}) {
    std::vector<Tensor> first;
    for (int run = 0; run < 20; ++run) {
      CpuOps ops(CpuOptions{precision});
      const ProgramResult result = run_program(ops, 11, 20);
      if (run == 0) first = result.values;
      for (size_t i = 0; i < first.size(); ++i) ASSERT_TRUE(same_bytes(first[i], result.values[i])) << run << " " << i;
    }
  }
}

TEST(Determinism, ThreadCountDoesNotChangeBytes) {
  Random r(9);
  CpuOps ops;
  const auto results = [&](int threads, const std::vector<Weight>& weights, const Tensor& x, const Tensor& map) {
    const Threads scope(threads);
    std::vector<Tensor> out;
    for (const Weight& w : weights)
      out.push_back(w.shape.rank() == 4 ? ops.conv2d(map, w, ConvSpec::same3x3()) : ops.linear(x, w));
    out.push_back(ops.attention(x, x, x, {4, 4, 0.1f, false, Segments::single(x.rows())}));
    out.push_back(ops.layer_norm(x, 1e-6f));
    return out;
  };
  for (const int64_t rows : {1, 3, 64, 300}) {
    std::vector<Weight> weights = {r.weight({192, 256}, true), r.weight({1024, 256}, true, DType::q8_0),
                                   r.weight({1536, 256}, false, DType::bf16), r.weight({24, 24, 3, 3}, true)};
    weights.push_back(r.weight({190, 256}, true, DType::q4_0));
    weights.back().sensitive = true;
    for (Weight& w : weights) ops.prepare(w);
    const Tensor x = r.tensor({rows, 256}), map = r.tensor({33, 17, 24});
    const std::vector<Tensor> one = results(1, weights, x, map), two = results(2, weights, x, map);
    for (size_t i = 0; i < one.size(); ++i)
      EXPECT_TRUE(same_bytes(one[i], two[i])) << "rows " << rows << " result " << i;
  }
}

// What keeps a request's picture the same whatever else is in its batch.
TEST(Determinism, ARowDoesNotDependOnItsNeighbours) {
  if (dnnl::get_effective_cpu_isa() < dnnl::cpu_isa::avx512_core)
    GTEST_SKIP() << "oneDNN's product without AVX-512 divides the work by the number of rows";
  Random r(10);
  for (const Precision precision : {Precision::f32, Precision::bf16}) {
    CpuOps ops(CpuOptions{precision});
    for (const DType stored : {DType::f32, DType::bf16, DType::q8_0, DType::q4_0}) {
      Weight w = r.weight({200, 1024}, true, stored);
      w.sensitive = stored == DType::q4_0;
      ops.prepare(w);
      const Tensor x = r.tensor({150, 1024}), all = ops.linear_act(x, w, Activation::gelu_tanh);
      for (const int64_t rows : {1, 2, 5, 16, 64, 77})
        EXPECT_TRUE(
            same_bytes(ops.linear_act(x.slice_rows(0, rows), w, Activation::gelu_tanh), all.slice_rows(0, rows)));
    }
    const Tensor x = r.tensor({150, 128});
    const Tensor both = ops.attention(x, x, x, {2, 2, 0.1f, false, Segments{{0, 67, 150}}});
    const Tensor second = x.slice_rows(67, 150);
    EXPECT_TRUE(same_bytes(ops.attention(second, second, second, {2, 2, 0.1f, false, Segments::single(83)}),
                           both.slice_rows(67, 150)));
  }
}

TEST(Weights, BlocksAndFloatsAreUsedInPlace) {
  Random r(2);
  CpuOps ops;
  Weight blocks = r.weight({64, 64}, false, DType::q4_0), floats = r.weight({64, 64}, false),
         half = r.weight({64, 64}, false, DType::f16);
  ops.prepare(blocks);
  ops.prepare(floats);
  EXPECT_EQ(ops.memory().current, 0);
  ops.prepare(half);
  EXPECT_EQ(ops.memory().current, 64 * 64 * 4);
  EXPECT_EQ(half.prepared->bytes(), 64 * 64 * 4);
  EXPECT_FALSE(half.value.defined()) << "the converted form replaces the stored one";
  const auto before = half.prepared;
  ops.prepare(half);
  EXPECT_EQ(half.prepared, before);
}

TEST(Weights, FloatsAtOddAddressesAreCopied) {
  Random r(2);
  CpuOps ops;
  Weight w = r.weight({5, 7}, false);
  auto storage = CountingAllocator().allocate(5 * 7 * 4 + 1);
  std::memcpy(storage->data() + 1, w.value.raw(), 5 * 7 * 4);
  const Tensor plain = w.value, x = r.tensor({3, 7});
  w.value = Tensor(w.shape, DType::f32, storage, 1);
  ops.prepare(w);
  EXPECT_LE(ref::nmse(ops.linear(x, w), ref::linear(x, plain, {})), 1e-11);
}

TEST(Weights, EightBitFloats) {
  CpuOps ops;
  Random r(8);
  Weight w = r.weight({4, 64}, false);
  w.value = host_tensor(Shape{4, 64}, DType::f8_e4m3);
  for (int i = 0; i < 256; ++i) w.value.raw()[i] = static_cast<std::byte>((i & 0x7f) == 0x7f ? 0 : i);  // without NaN
  const Tensor values = to_f32(w.value), x = r.tensor({3, 64});
  ops.prepare(w);
  EXPECT_LE(ref::nmse(ops.linear(x, w), ref::linear(x, values, {})), 1e-11);
}

TEST(Memory, UploadIsACopyAndDownloadIsOutside) {
  CpuOps ops;
  Tensor host = host_tensor(Shape{4}, {1, 2, 3, 4});
  const Tensor device = ops.upload(host);
  EXPECT_EQ(ops.memory().current, 64);
  host.data<float>()[0] = 9;
  const Tensor back = ops.download(device);
  EXPECT_EQ(back.data<float>()[0], 1.f);
  EXPECT_EQ(ops.memory().current, 64);
}

}  // namespace
}  // namespace inkling
