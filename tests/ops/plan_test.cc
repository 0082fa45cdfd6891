// The plan's promise: its memory equals the real backend's after every call, to the byte.
#include <gtest/gtest.h>

#include "backends/plan/plan_ops.h"
#include "base/threads.h"
#include "ops/composed_ops.h"
#include "ops/program.h"

namespace inkling {
namespace {

void expect_equal_memory(Ops& real, Ops& plan, uint32_t seed) {
  const ProgramResult a = run_program(real, seed, 60), b = run_program(plan, seed, 60);
  for (size_t i = 0; i < a.memory.size(); ++i) {
    ASSERT_EQ(a.memory[i].peak, b.memory[i].peak) << "seed " << seed << " call " << i;
    ASSERT_EQ(a.memory[i].current, b.memory[i].current) << "seed " << seed << " call " << i;
    ASSERT_EQ(a.memory[i].allocations, b.memory[i].allocations) << "seed " << seed << " call " << i;
    ASSERT_EQ(a.values[i].shape(), b.values[i].shape());
  }
}

class PlanEquality : public testing::TestWithParam<Precision> {};

TEST_P(PlanEquality, FusedOperations) {
  CpuOps real(CpuOptions{GetParam()});
  PlanOps plan(real.model());
  for (uint32_t seed = 0; seed < 12; ++seed) expect_equal_memory(real, plan, seed);
}

TEST_P(PlanEquality, ModelOfItsOwnAndComposedDefaults) {
  const ComposedModel model(CpuOptions{GetParam()});
  ComposedOps real(CpuOptions{GetParam()});
  PlanOps plan(model);
  for (uint32_t seed = 100; seed < 106; ++seed) expect_equal_memory(real, plan, seed);
}

TEST_P(PlanEquality, OneThread) {
  const int before = thread_count();
  set_thread_count(1);
  CpuOps real(CpuOptions{GetParam()});
  PlanOps plan(real.model());
  for (uint32_t seed = 200; seed < 204; ++seed) expect_equal_memory(real, plan, seed);
  set_thread_count(before);
}

constexpr const char* kPrecisionNames[] = {"f32", "bf16", "w8a8", "w4a8"};
INSTANTIATE_TEST_SUITE_P(, PlanEquality,
                         testing::Values(Precision::f32, Precision::bf16, Precision::w8a8, Precision::w4a8),
                         [](const auto& info) { return std::string(kPrecisionNames[static_cast<int>(info.param)]); });

// A weight as the planner sees it: before anything was loaded.
Weight unloaded(const Shape& shape, DType stored) {
  Weight w;
  w.name = "layer";
  w.shape = shape;
  w.stored = stored;
  w.has_bias = true;
  return w;
}

TEST(PlanOps, CountsWorkWithoutLoadingAnything) {
  const CpuModel model(CpuOptions{Precision::bf16});
  PlanOps plan(model);
  Weight w = unloaded({18432, 3072}, DType::q4_0);
  plan.prepare(w);
  EXPECT_EQ(plan.memory().current, 0) << "blocks are used in place";
  const Tensor x(Shape{64, 3072}, DType::f32, std::make_shared<Storage>(nullptr, 64 * 3072 * 4));
  plan.begin_phase("modulation");
  plan.linear(x, w);
  plan.linear(x, w);
  plan.begin_phase("rest");
  ASSERT_EQ(plan.phases().size(), 2u);
  const PlanPhase& phase = plan.phases()[0];
  EXPECT_EQ(phase.name, "modulation");
  EXPECT_EQ(phase.calls, 2);
  EXPECT_EQ(phase.flops, 2 * 2 * 64 * 3072 * 18432LL);
  EXPECT_EQ(phase.weight_bytes, 2 * 18432 * 3072 / 32 * 18LL);
  ASSERT_EQ(phase.weights.size(), 1u);
  EXPECT_EQ(phase.weights[0].name, "layer");
  EXPECT_EQ(phase.weights[0].uses, 2);
  EXPECT_GE(phase.peak_bytes, 64 * 18432 * 4);
  EXPECT_LT(phase.peak_bytes, 64 * 18432 * 4 + (8 << 20)) << "no dense copy of the weight";
  EXPECT_EQ(plan.phases()[1].peak_bytes, 0);
  EXPECT_EQ(plan.memory().peak, phase.peak_bytes) << "phases do not hide the overall peak";
}

TEST(PlanOps, DownloadGivesZeros) {
  const CpuModel model;
  PlanOps plan(model);
  const Tensor t = plan.download(plan.upload(host_tensor(Shape{2, 3})));
  for (float v : t.span<float>()) EXPECT_EQ(v, 0.f);
}

}  // namespace
}  // namespace inkling
