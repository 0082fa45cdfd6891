// The transformer on several devices: the passes of guidance side by side, the blocks of a pass one device after
// another, or both. What goes from device to device goes through host memory in float32, as the backends hold it, so
// every value is the one that a single device computes.
#pragma once

#include <memory>
#include <vector>

#include "pipeline/denoiser.h"
#include "pipeline/worker.h"

namespace inkling {

// Devices in the order of their use: the stages of the first pass, then those of the second.
struct TeamLayout {
  int passes = 1;                      // 2: the negative prompts have devices of their own
  std::vector<BlockRange> stages{{}};  // of one pass
  size_t devices() const { return static_cast<size_t>(passes) * stages.size(); }
};

// Some blocks on a device.
struct TeamStage {
  Ops* ops = nullptr;         // null: planned on another device; only the shape of what it hands on is known
  std::function<Dit&()> dit;  // loaded when first asked for, with the stage's blocks
  Worker* worker = nullptr;   // whose thread alone touches ops; null: the main thread
};

// The stages of every pass, of the devices in a layout's order.
std::vector<std::vector<TeamStage>> team_stages(const TeamLayout& layout,
                                                const std::function<TeamStage(size_t device)>& stage);

class TeamDenoiser : public Denoiser {
 public:
  // main: the device of x and of the result, and of the first stage of the first pass. steps: on the main device, or on
  // the host. What is referred to outlives the denoiser.
  TeamDenoiser(Ops& main, std::vector<std::vector<TeamStage>> passes, const std::vector<StepModulation>& steps,
               bool steps_on_device);
  ~TeamDenoiser() override;

  void start(const DenoiseInputs& inputs) override;
  Tensor velocity(const Tensor& x, int step, bool traced) override;
  void stop() override;

 private:
  // What a stage holds from start() to stop().
  struct Stage {
    TeamStage at;
    std::vector<DitContext> contexts;   // positive and negative, or the one of its pass
    std::vector<StepModulation> steps;  // on its device, where it is not the main one
  };
  struct Velocity {
    Tensor main, host;  // one of them
  };
  StepModulation step_of(const Stage& stage, Dit& dit, int k) const;
  Velocity run_pass(std::vector<Stage>& pass, size_t context, const Tensor& x, const Tensor& host_x, int step,
                    bool traced);
  // f(stage) on the threads of all stages at once.
  void on_all(const std::function<void(size_t pass, Stage&)>& f);

  Ops& main_;
  std::vector<std::vector<Stage>> passes_;
  const std::vector<StepModulation>& steps_;
  const bool steps_on_device_;
  std::vector<StepModulation> host_steps_;
  bool guided_ = false;
  float cfg_scale_ = 1.f;
  int64_t image_rows_ = 0;
  std::vector<int64_t> text_rows_;  // of the positive and the negative prompts
};

}  // namespace inkling
