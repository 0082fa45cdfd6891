// What `inkling bench` measures on a GPU: marks, ceilings, the table of kernels, shared runs.
#include "pipeline/benchmark.h"

#include <gtest/gtest.h>

#include <set>

#include "backends/cuda/context.h"
#include "pipeline/kernel_benchmark.h"
#include "pipeline/random_weights.h"

namespace inkling {
namespace {

class CudaBenchmark : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device_count() < 1) GTEST_SKIP() << "no GPU";
  }
};

PlanRequest tiny(const char* devices) {
  PlanRequest r;
  r.model.model = "tiny";
  r.model.device = parse_device(devices);
  r.width = r.height = 256;
  r.steps = 2;
  r.cfg_scale = 1;
  return r;
}

TEST_F(CudaBenchmark, MarksMeasureTheDevice) {
  const auto backend = open_backend(parse_device("cuda"), PrecisionChoice::bf16);
  const bool on_device = backend->fill_missing_weights();
  EXPECT_TRUE(on_device);
  Ops& ops = backend->ops();
  Weight w;
  w.name = "weight";
  w.shape = Shape{8192, 8192};
  randomize(w, ops, on_device, 1);
  const Tensor x = ops.upload(random_rows({4096, 8192}, 2));
  ops.linear(x, w);
  const auto begin = ops.mark();
  ops.linear(x, w);
  const auto middle = ops.mark();
  for (int i = 0; i < 10; ++i) ops.linear(x, w);
  const auto end = ops.mark();
  const double one = middle->seconds_since(*begin), ten = end->seconds_since(*middle);
  EXPECT_GT(one, 0);
  EXPECT_GT(ten, 4 * one);  // the host runs ahead; the marks do not
  // 0.55 TFLOP: no GPU does it in 50 us, each in a second.
  EXPECT_GT(one, 50e-6);
  EXPECT_LT(one, 1);
}

TEST_F(CudaBenchmark, CeilingsAreOrdered) {
  const Ceilings c = open_backend(parse_device("cuda"), PrecisionChoice::w8a8)->measure_ceilings();
  for (const NumberFormat f : {NumberFormat::bf16, NumberFormat::int8}) EXPECT_GT(c.of(f).per_second, 1e12);
  EXPECT_GT(c.of(NumberFormat::int8).per_second, 1.2 * c.of(NumberFormat::bf16).per_second);
  EXPECT_EQ(c.of(NumberFormat::f32).per_second, 0);
  EXPECT_GT(c.copy.per_second, 5e10);
}

TEST_F(CudaBenchmark, TimesEveryKernelInEveryPrecision) {
  const KernelTable table = run_kernel_benchmark(tiny("cuda"), 3);
  std::set<std::string> precisions;
  for (const KernelRow& r : table.rows) {
    precisions.insert(r.precision);
    EXPECT_TRUE(r.note.empty()) << r.kernel << ": " << r.note;
    EXPECT_GT(r.seconds, 0) << r.kernel << " " << r.shape << " " << r.precision;
    // A doubled map's convolution is counted in full and takes four ninths of that.
    const double most = r.kernel.starts_with("doubling, convolution") ? 2.4 : 1.1;
    EXPECT_LT(r.of_ceiling(), most) << r.kernel << " " << r.shape << " " << r.precision;
  }
  for (const char* p : {"bf16", "w8a8", "w4a8", "nf4"}) EXPECT_TRUE(precisions.contains(p)) << p;
  EXPECT_FALSE(precisions.contains("f32"));
}

TEST_F(CudaBenchmark, SharedRunsDoTheWorkOfOne) {
  if (cuda_device_count() < 2) GTEST_SKIP() << "fewer than two GPUs";
  PlanRequest one = tiny("cuda:0"), two = tiny("cuda:0,1");
  for (PlanRequest* r : {&one, &two}) {
    r->model.precision = PrecisionChoice::w8a8;
    r->cfg_scale = 4;
  }
  const BenchmarkResult shared = run_benchmark(two, 1);
  EXPECT_EQ(shared.devices.size(), 2u);
  // Weights made on a device are numbered there, so the negative pass has others than on one device: the pictures
  // differ.
  const BenchmarkResult alone = run_benchmark(one, 1);
  EXPECT_NEAR(shared.forward_flops / alone.forward_flops, 1, 1e-6);
  EXPECT_GT(shared.forward_seconds.size(), 0u);
}

}  // namespace
}  // namespace inkling
