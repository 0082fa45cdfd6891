// Velocities of the shipped transformer on held-out prompts, in any precision, against the float32 run: at every step,
// on that run's own latents. Pooled over steps with the weight that the sampler gives them, so that the result is the
// error of the drawn latents to first order: the last step, whose velocity is several times harder to predict, adds 2 %
// of the noise.
#pragma once

#include <cmath>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "backends/cpu/cpu_ops.h"
#include "diffusion/schedule.h"
#include "models/loader.h"
#include "models/qwen_image/dit.h"
#include "models/registry.h"
#include "pipeline/engine.h"

namespace inkling::testing {

struct VelocitySample {
  Tensor text;                  // [L, text_dim]
  std::vector<Tensor> latents;  // of every step, [N, 64]
  std::vector<Tensor> velocity;
};

inline Tensor copy_of(const Tensor& t) {
  return host_tensor(t.shape(), std::span<const float>(t.span<float>().data(), t.span<float>().size()));
}

// The first `prompts` of tools/evaluate/prompts.jsonl.
inline std::vector<VelocitySample> float32_runs(size_t prompts) {
  EngineOptions options;
  options.precision = PrecisionChoice::f32;
  options.keep_loaded = true;
  Engine engine(options);
  std::ifstream file(std::string(INKLING_SOURCE_DIR) + "/tools/evaluate/prompts.jsonl");
  std::vector<VelocitySample> samples;
  for (std::string line; samples.size() < prompts && std::getline(file, line);) {
    const auto row = nlohmann::json::parse(line);
    VelocitySample sample;
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

// The transformer of the model that ships, in one precision.
class ShippedTransformer {
 public:
  // Of another model of the same kind where `model` is given.
  explicit ShippedTransformer(CpuOps& ops, const std::filesystem::path& model = shipped_model()) : ops_(ops) {
    const ModelFiles files = find_model(model);
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
  void run(const VelocitySample& sample, std::vector<Closeness>& by_step, Closeness& pooled) {
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

}  // namespace inkling::testing
