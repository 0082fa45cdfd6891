// What rounding costs: the velocity of the shipped transformer on held-out prompts, in every precision and at every
// step of the float32 run, on that run's own latents. Velocities are pooled over steps with the weight that the sampler
// gives them, so that the result is the error of the drawn latents to first order: the last step, whose velocity is
// several times harder to predict, adds 2 % of the noise.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "backends/cpu/cpu_ops.h"
#include "diffusion/schedule.h"
#include "formats/block_quant.h"
#include "models/loader.h"
#include "models/qwen_image/dit.h"
#include "models/registry.h"
#include "pipeline/engine.h"

namespace inkling {
namespace {

constexpr int kPrompts = 4;

struct Sample {
  Tensor text;                  // [L, text_dim]
  std::vector<Tensor> latents;  // of every step, [N, 64]
  std::vector<Tensor> velocity;
};

Tensor copy_of(const Tensor& t) {
  return host_tensor(t.shape(), std::span<const float>(t.span<float>().data(), t.span<float>().size()));
}

std::vector<Sample> float32_runs() {
  EngineOptions options;
  options.precision = PrecisionChoice::f32;
  options.keep_loaded = true;
  Engine engine(options);
  std::ifstream file(std::string(INKLING_SOURCE_DIR) + "/tools/evaluate/prompts.jsonl");
  std::vector<Sample> samples;
  for (std::string line; samples.size() < kPrompts && std::getline(file, line);) {
    const auto row = nlohmann::json::parse(line);
    Sample sample;
    engine.set_trace([&](std::string_view name, const Tensor& value) {
      if (name == "prompt_embeds") sample.text = copy_of(value);
      if (name == "noise" || name.starts_with("latents.")) sample.latents.push_back(copy_of(value));
      if (name.starts_with("noise_pred.")) sample.velocity.push_back(copy_of(value));
    });
    Request request;
    request.prompt = row.at("prompt").get<std::string>();
    request.seed = row.at("seed").get<int64_t>();
    engine.run(request);
    samples.push_back(std::move(sample));
  }
  return samples;
}

// Sums over the elements of many velocities, wanted y and got x.
struct Closeness {
  double xy = 0, xx = 0, yy = 0, difference = 0;
  void add(const Tensor& got, const Tensor& want, double weight) {
    const auto x = got.span<float>(), y = want.span<float>();
    double sums[4] = {};
    for (size_t i = 0; i < x.size(); ++i) {
      const double a = x[i], b = y[i];
      sums[0] += a * b;
      sums[1] += a * a;
      sums[2] += b * b;
      sums[3] += (a - b) * (a - b);
    }
    xy += weight * weight * sums[0];
    xx += weight * weight * sums[1];
    yy += weight * weight * sums[2];
    difference += weight * weight * sums[3];
  }
  double cosine() const { return xy / std::sqrt(xx * yy); }
  double relative() const { return std::sqrt(difference / yy); }
};

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

// The transformer of the model that ships, in one precision.
class Transformer {
 public:
  explicit Transformer(CpuOps& ops) : ops_(ops) {
    const ModelFiles files = find_model(shipped_model());
    const Checkpoint checkpoint = Checkpoint::open(files.dit, Component::dit);
    const DitConfig config = dit_config(files, checkpoint);
    dit_ = std::make_unique<Dit>(config);
    modulation_ = std::make_unique<DitModulation>(config);
    load_parameters(*dit_, checkpoint, ops_);
    load_parameters(*modulation_, checkpoint, ops_);
    std::ifstream file(files.scheduler_config);
    schedule_ = FlowMatchConfig::parse(std::string(std::istreambuf_iterator<char>(file), {}));
  }

  // Adds one closeness a step, and all of them by weight.
  void run(const Sample& sample, std::vector<Closeness>& by_step, Closeness& pooled) {
    const int steps = static_cast<int>(sample.velocity.size());
    const int64_t tokens = sample.latents[0].rows(), side = std::lround(std::sqrt(static_cast<double>(tokens)));
    const Schedule schedule = make_schedule(schedule_, steps, tokens);
    std::vector<float> timesteps;
    for (int k = 0; k < steps; ++k) timesteps.push_back(schedule.timestep(k));
    const std::vector<StepModulation> modulation = modulation_->forward(ops_, timesteps);
    DitInputs inputs;
    inputs.pictures = {PictureShape{1, side, side}};
    inputs.text = sample.text;
    inputs.text_segments = Segments::single(sample.text.rows());
    const DitContext context = dit_->prepare(ops_, inputs);
    by_step.resize(static_cast<size_t>(steps));
    for (int k = 0; k < steps; ++k) {
      const Tensor velocity = dit_->forward(ops_, context, sample.latents[k], modulation[k]);
      by_step[k].add(velocity, sample.velocity[k], 1);
      pooled.add(velocity, sample.velocity[k], schedule.delta(k));
    }
  }

 private:
  CpuOps& ops_;
  std::unique_ptr<Dit> dit_;
  std::unique_ptr<DitModulation> modulation_;
  FlowMatchConfig schedule_;
};

TEST(LowBit, VelocityOfTheShippedModel) {
  const std::vector<Sample> samples = float32_runs();
  ASSERT_EQ(samples.size(), static_cast<size_t>(kPrompts));
  std::map<std::string, Closeness> results;
  std::cout << "            cosine    relative L2; relative L2 by step\n";
  const auto measure = [&](const char* name, CpuOps& ops) {
    Transformer transformer(ops);
    std::vector<Closeness> by_step;
    for (const Sample& sample : samples) transformer.run(sample, by_step, results[name]);
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
  // Four bits are few for a model of 19 M parameters; q4_0, with a real scale for every 32, comes to 0.9896.
  EXPECT_GE(results["w4a8"].cosine(), 0.984);
  EXPECT_LE(results["w4a8"].relative(), 1.2 * results["q4_0, bf16"].relative());
}

}  // namespace
}  // namespace inkling
