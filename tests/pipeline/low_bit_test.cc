// What rounding costs: the velocity of the shipped transformer on held-out prompts, in every precision and at every
// step of the float32 run, on that run's own latents.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "backends/cpu/cpu_ops.h"
#include "diffusion/schedule.h"
#include "models/loader.h"
#include "models/qwen_image/dit.h"
#include "models/registry.h"
#include "pipeline/engine.h"

namespace inkling {
namespace {

constexpr int kPrompts = 10;

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

struct Closeness {
  double cosine = 0, relative = 0;  // cosine and |difference| / |wanted|
};

Closeness compare(const Tensor& got, const Tensor& want) {
  double dot = 0, a = 0, b = 0, difference = 0;
  const auto x = got.span<float>(), y = want.span<float>();
  for (size_t i = 0; i < x.size(); ++i) {
    dot += static_cast<double>(x[i]) * y[i];
    a += static_cast<double>(x[i]) * x[i];
    b += static_cast<double>(y[i]) * y[i];
    difference += std::pow(static_cast<double>(x[i]) - y[i], 2);
  }
  return {dot / std::sqrt(a * b), std::sqrt(difference / b)};
}

// The transformer of the model that ships, in one precision.
class Transformer {
 public:
  explicit Transformer(Precision precision) : ops_(CpuOptions{precision}) {
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

  std::vector<Closeness> run(const Sample& sample) {
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
    std::vector<Closeness> result;
    for (int k = 0; k < steps; ++k)
      result.push_back(compare(dit_->forward(ops_, context, sample.latents[k], modulation[k]), sample.velocity[k]));
    return result;
  }

 private:
  CpuOps ops_;
  std::unique_ptr<Dit> dit_;
  std::unique_ptr<DitModulation> modulation_;
  FlowMatchConfig schedule_;
};

TEST(LowBit, VelocityOfTheShippedModel) {
  const std::vector<Sample> samples = float32_runs();
  ASSERT_EQ(samples.size(), static_cast<size_t>(kPrompts));
  struct Bar {
    Precision precision;
    const char* name;
    double cosine, relative;  // of the mean
  };
  std::cout << "precision  cosine: mean, worst    relative L2: mean, worst, by step\n";
  for (const Bar& bar : {Bar{Precision::f32, "f32", 0.9999999, 1e-6}, Bar{Precision::bf16, "bf16", 0.9999, 0.01},
                         Bar{Precision::w8a8, "w8a8", 0.9995, 0.03}, Bar{Precision::w4a8, "w4a8", 0.998, 0.065}}) {
    Transformer transformer(bar.precision);
    Closeness mean, worst{1, 0};
    std::vector<double> by_step;
    double count = 0;
    for (const Sample& sample : samples) {
      const auto results = transformer.run(sample);
      by_step.resize(results.size());
      for (size_t k = 0; k < results.size(); ++k) {
        mean.cosine += results[k].cosine;
        mean.relative += results[k].relative;
        worst.cosine = std::min(worst.cosine, results[k].cosine);
        worst.relative = std::max(worst.relative, results[k].relative);
        by_step[k] += results[k].relative / static_cast<double>(samples.size());
        ++count;
      }
    }
    mean.cosine /= count;
    mean.relative /= count;
    std::cout << fmt::format("{:9}  {:.6f} {:.6f}    {:.5f} {:.5f}   {:.4f}\n", bar.name, mean.cosine, worst.cosine,
                             mean.relative, worst.relative, fmt::join(by_step, " "));
    EXPECT_GE(mean.cosine, bar.cosine) << bar.name;
    EXPECT_LE(mean.relative, bar.relative) << bar.name;
  }
}

}  // namespace
}  // namespace inkling
