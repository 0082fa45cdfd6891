// Every forward runs on shapes alone, and the plan's peak is the real one.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>

#include "backends/cpu/cpu_ops.h"
#include "backends/plan/plan_ops.h"
#include "models/loader.h"
#include "models/qwen_image/dit.h"
#include "models/qwen_image/text_encoder.h"
#include "models/qwen_image/vae.h"
#include "models/qwen_image/vision.h"
#include "models/tiny.h"

namespace inkling::testing {
namespace {

Tensor zero_ids(int64_t count) {
  Tensor ids = host_tensor(Shape{count}, DType::i32);
  for (int32_t& id : ids.span<int32_t>()) id = 0;
  return ids;
}

// Each runs one network of the given module on the backend.
void run_dit(Ops& ops, DitModulation& modulation, Dit& dit, const std::vector<PictureShape>& pictures,
             int64_t text_tokens) {
  const DitConfig& c = dit.config();
  const std::vector<float> timesteps{1000.f, 500.f};
  const auto table = modulation.forward(ops, timesteps);
  DitInputs in;
  in.pictures = pictures;
  in.text = ops.upload(host_tensor(Shape{text_tokens, c.text_dim}));
  in.text_segments = Segments::single(text_tokens);
  if (pictures.size() > 1) in.references = ops.upload(host_tensor(Shape{pictures[1].tokens(), c.in_channels}));
  const DitContext context = dit.prepare(ops, in);
  Tensor x = ops.upload(host_tensor(Shape{pictures[0].tokens(), c.in_channels}));
  for (const StepModulation& step : table) x = ops.axpby(1.f, x, -0.1f, dit.forward(ops, context, x, step));
}

void run_text(Ops& ops, TextEncoder& encoder, VisionTower& tower, int64_t tokens) {
  const VisionConfig& v = tower.config();
  const VisionInput picture{host_tensor(Shape{12 * 20, v.patch_values()}), 12, 20};
  TextInputs in;
  in.ids = zero_ids(tokens);
  in.prompts = Segments::single(tokens);
  const PictureInText place{3, 6, 10};
  in.positions = mrope_positions(tokens, std::span(&place, 1));
  in.pictures.push_back({3, tower.forward(ops, picture)});
  encoder.forward(ops, in);
}

void run_vae(Ops& ops, VaeEncoder& encoder, VaeDecoder& decoder, const std::optional<Tiling>& tiling) {
  const Tensor z = encoder.encode(ops, ops.upload(host_tensor(Shape{96, 64, 3})), tiling);
  ops.download(decoder.decode(ops, z, tiling));
}

// Loads the modules with random tensors on the CPU, declares them on the plan, and runs both.
void expect_same_peak(Component component, const std::vector<Module*>& modules, const std::function<void(Ops&)>& run) {
  const TempDir dir;
  TensorMap tensors;
  for (const Module* m : modules) tensors.merge(random_tensors(*m));
  save(dir / "model.safetensors", tensors);
  const Checkpoint checkpoint = Checkpoint::open(dir / "model.safetensors", component);
  CpuOps cpu;
  for (Module* m : modules) load_parameters(*m, checkpoint, cpu);
  cpu.reset_peak();
  run(cpu);
  for (Module* m : modules) drop_parameters(*m);
  PlanOps plan(cpu.model());
  for (Module* m : modules) declare_parameters(*m, plan, &checkpoint);
  plan.reset_peak();
  run(plan);
  EXPECT_EQ(plan.memory().peak, cpu.memory().peak);
  EXPECT_GT(plan.memory().peak, 0);
}

TEST(Plan, DitPeakIsExact) {
  for (const bool zero_cond_t : {false, true}) {
    DitConfig c = tiny_dit();
    c.zero_cond_t = zero_cond_t;
    DitModulation modulation(c);
    Dit dit(c);
    expect_same_peak(Component::dit, {&modulation, &dit}, [&](Ops& ops) {
      run_dit(ops, modulation, dit, {{1, 5, 7}, {1, 4, 6}}, 11);
    });
  }
}

TEST(Plan, VaePeakIsExact) {
  VaeConfig c;
  c.base_dim = 4;
  VaeEncoder encoder(c);
  VaeDecoder decoder(c);
  expect_same_peak(Component::vae, {&encoder, &decoder}, [&](Ops& ops) { run_vae(ops, encoder, decoder, {}); });
  expect_same_peak(Component::vae, {&encoder, &decoder}, [&](Ops& ops) {
    run_vae(ops, encoder, decoder, Tiling{48, 32});
  });
}

// The published sizes, without a byte of weights.
TEST(Plan, PublishedModelsRunInMilliseconds) {
  const auto start = std::chrono::steady_clock::now();
  CpuOps cpu;
  {
    PlanOps plan(cpu.model());
    DitModulation modulation{DitConfig()};
    Dit dit{DitConfig()};
    declare_parameters(modulation, plan, nullptr);
    declare_parameters(dit, plan, nullptr);
    run_dit(plan, modulation, dit, {{1, 64, 64}, {1, 64, 64}}, 208);
    int64_t weights = 0;
    const auto count = [&](const Parameter& p) {
      weights += p.shape.elements() + (p.weight && p.weight->has_bias ? p.shape[0] : 0);
    };
    dit.for_each_parameter(count);
    modulation.for_each_parameter(count);
    int64_t unused = 128;  // norm_added_q
    for (const UnusedLinear& u : unused_linears(DitConfig())) unused += u.shape.elements() + u.shape[0];
    EXPECT_EQ(weights + unused, 20'430'401'088);
  }
  {
    PlanOps plan(cpu.model());
    TextEncoder encoder{TextConfig()};
    VisionTower tower{VisionConfig()};
    declare_parameters(encoder, plan, nullptr);
    declare_parameters(tower, plan, nullptr);
    run_text(plan, encoder, tower, 300);
    int64_t weights = 0;
    const auto count = [&](const Parameter& p) {
      weights += p.shape.elements() + (p.weight && p.weight->has_bias ? p.shape[0] : 0);
    };
    tower.for_each_parameter(count);
    EXPECT_EQ(weights, 676'550'144);
    encoder.for_each_parameter(count);
    EXPECT_EQ(weights, 8'292'166'656 - 544'997'376);  // without the head
  }
  {
    PlanOps plan(cpu.model());
    VaeEncoder encoder{VaeConfig()};
    VaeDecoder decoder{VaeConfig()};
    declare_parameters(encoder, plan, nullptr);
    declare_parameters(decoder, plan, nullptr);
    run_vae(plan, encoder, decoder, {});
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  EXPECT_LT(seconds.count(), 5.0);
  std::printf("  %.0f ms\n", 1000 * seconds.count());
}

}  // namespace
}  // namespace inkling::testing
