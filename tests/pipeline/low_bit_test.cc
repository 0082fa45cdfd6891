// What rounding costs in every precision: the velocity of the shipped transformer on held-out prompts.
#include <gtest/gtest.h>

#include <iostream>
#include <map>

#include "formats/block_quant.h"
#include "support/velocity.h"

namespace inkling::testing {
namespace {

constexpr size_t kPrompts = 4;

// Every matrix of the blocks as ggml's reference quantizer stores it: what other programs compute with.
class Q4Ops : public CpuOps {
 public:
  using CpuOps::CpuOps;
  void prepare(Weight& weight) override {
    if (!weight.prepared && weight.shape.rank() == 2 && !weight.sensitive && weight.in_features() % 32 == 0) {
      const Tensor plain = dequantize(weight.value);
      Tensor blocks = host_tensor(weight.shape, DType::q4_0);
      const auto& floats = std::as_const(plain);
      quantize_row(DType::q4_0, floats.data<float>(), blocks.raw(), plain.elements());
      weight.value = blocks;
    }
    CpuOps::prepare(weight);
  }
};

TEST(LowBit, VelocityOfTheShippedModel) {
  const std::vector<VelocitySample> samples = float32_runs(kPrompts);
  ASSERT_EQ(samples.size(), kPrompts);
  std::map<std::string, Closeness> results;
  std::cout << "            cosine    relative L2; relative L2 by step\n";
  const auto measure = [&](const char* name, CpuOps& ops) {
    ShippedTransformer transformer(ops);
    std::vector<Closeness> by_step;
    for (const VelocitySample& sample : samples) transformer.run(sample, by_step, results[name]);
    std::cout << fmt::format("{:10}  {:.6f}  {:.5f}     ", name, results[name].cosine(), results[name].relative());
    for (const Closeness& step : by_step) std::cout << fmt::format(" {:.4f}", step.relative());
    std::cout << std::endl;
  };
  for (const auto& [name, precision] : {std::pair{"f32", Precision::f32}, std::pair{"bf16", Precision::bf16},
                                        std::pair{"w8a8", Precision::w8a8}, std::pair{"w4a8", Precision::w4a8}}) {
    CpuOps ops(CpuOptions{precision});
    measure(name, ops);
  }
  Q4Ops q4(CpuOptions{Precision::bf16});
  measure("q4_0, bf16", q4);
  EXPECT_LE(results["f32"].relative(), 1e-5);
  EXPECT_GE(results["bf16"].cosine(), 0.99995);
  EXPECT_GE(results["w8a8"].cosine(), 0.9995);
  // Four bits, rounded to the nearest, are few for a model of 19 M parameters: q4_0, with a real scale for every 32,
  // comes to 0.9896. Files rounded by prompts do better: tests/compress/calibration_test.cc.
  EXPECT_GE(results["w4a8"].cosine(), 0.984);
  EXPECT_LE(results["w4a8"].relative(), 1.2 * results["q4_0, bf16"].relative());
}

}  // namespace
}  // namespace inkling::testing
