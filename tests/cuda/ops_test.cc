// The GPU backend against the oracle, and its memory against the plan's. Skipped where there is no GPU.
#include <gtest/gtest.h>

#include <cmath>

#include "backends/cpu/cpu_ops.h"
#include "backends/cuda/cuda_ops.h"
#include "backends/plan/plan_ops.h"
#include "base/error.h"
#include "ops/program.h"
#include "ops/reference.h"

namespace inkling {
namespace {

constexpr int64_t kHeads = 2;  // head_dim 32

CudaOptions options(CudaPrecision precision, bool libraries) {
  CudaOptions o;
  o.precision = precision;
  o.libraries = libraries;
  o.int8_attention = precision == CudaPrecision::w8a8 || precision == CudaPrecision::w4a8;
  return o;
}

class Gpu : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
  }
};

class GpuPlan : public testing::TestWithParam<std::tuple<CudaPrecision, bool>> {
 protected:
  void SetUp() override {
    if (cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
  }
};

TEST_P(GpuPlan, MemoryIsAsPlannedToTheByte) {
  const auto [precision, libraries] = GetParam();
  CudaOps real(std::make_shared<CudaContext>(0, int64_t{8} << 30, libraries), options(precision, libraries));
  PlanOps plan(real.model(), std::make_unique<Arena>());
  for (uint32_t seed = 0; seed < 12; ++seed) {
    const ProgramResult a = run_program(real, seed, 60, kHeads), b = run_program(plan, seed, 60, kHeads);
    for (size_t i = 0; i < a.memory.size(); ++i) {
      ASSERT_EQ(a.memory[i].peak, b.memory[i].peak) << "seed " << seed << " call " << i;
      ASSERT_EQ(a.memory[i].current, b.memory[i].current) << "seed " << seed << " call " << i;
      ASSERT_EQ(a.memory[i].allocations, b.memory[i].allocations) << "seed " << seed << " call " << i;
      ASSERT_EQ(a.values[i].dtype(), b.values[i].dtype()) << "seed " << seed << " call " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, GpuPlan,
                         testing::Combine(testing::Values(CudaPrecision::stored, CudaPrecision::bf16,
                                                          CudaPrecision::w8a8, CudaPrecision::w4a8),
                                          testing::Bool()));

// A few operations in a row, so that errors do not pile up. Normalized squared error.
double worst_error(CudaPrecision precision, bool libraries, int seeds) {
  CudaOps gpu(std::make_shared<CudaContext>(0, int64_t{8} << 30, libraries), options(precision, libraries));
  CpuOps cpu;
  double worst = 0;
  for (int seed = 0; seed < seeds; ++seed) {
    const ProgramResult a = run_program(gpu, 1000 + seed, 2, kHeads), b = run_program(cpu, 1000 + seed, 2, kHeads);
    for (size_t i = 0; i < a.values.size(); ++i) {
      const double error = reference::nmse(gpu.download(a.values[i]), reference::values(b.values[i]));
      EXPECT_TRUE(std::isfinite(error)) << "seed " << seed << " call " << i;
      worst = std::max(worst, error);
    }
  }
  return worst;
}

TEST_F(Gpu, AgreesWithTheOracleInBf16) {
  EXPECT_LE(worst_error(CudaPrecision::bf16, false, 200), 2e-4);
  EXPECT_LE(worst_error(CudaPrecision::bf16, true, 200), 2e-4);
  EXPECT_LE(worst_error(CudaPrecision::stored, true, 100), 2e-4);
}

TEST_F(Gpu, AgreesWithTheOracleInLowBits) {
  EXPECT_LE(worst_error(CudaPrecision::w8a8, false, 200), 2e-3);
  EXPECT_LE(worst_error(CudaPrecision::w4a8, false, 200), 0.1);
}

TEST_F(Gpu, SameBytesOnEveryRun) {
  for (const CudaPrecision p : {CudaPrecision::bf16, CudaPrecision::w4a8}) {
    CudaOps gpu(std::make_shared<CudaContext>(0, int64_t{8} << 30, true), options(p, true));
    for (uint32_t seed = 0; seed < 20; ++seed) {
      const ProgramResult a = run_program(gpu, seed, 8, kHeads), b = run_program(gpu, seed, 8, kHeads);
      const Tensor x = gpu.download(a.values.back()), y = gpu.download(b.values.back());
      ASSERT_EQ(std::memcmp(x.raw(), y.raw(), static_cast<size_t>(x.bytes())), 0) << "seed " << seed;
    }
  }
}

TEST_F(Gpu, ABudgetThatCudaAloneExceedsIsRefused) {
  EXPECT_THROW(CudaContext(0, int64_t{64} << 20, false), MemoryError);
}

}  // namespace
}  // namespace inkling
