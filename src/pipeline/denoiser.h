// What predicts velocities: the transformer with all that stays the same from step to step. Where it runs is the
// denoiser's own business.
#pragma once

#include <functional>
#include <vector>

#include "models/qwen_image/dit.h"

namespace inkling {

// Samples that are denoised together. Everything is on the host.
struct DenoiseInputs {
  std::vector<PictureShape> pictures;      // of one sample: what is denoised, then the references
  std::vector<Tensor> positive, negative;  // f32 [L_i, text_dim], one per sample; no negative: no guidance
  std::vector<Tensor> references;          // f32 [R, 64], one for all samples or one each; empty: none
  float cfg_scale = 1.f;
};

class Denoiser {
 public:
  virtual ~Denoiser() = default;
  virtual void start(const DenoiseInputs& inputs) = 0;
  // x [B N, 64] -> guided velocity [B N, 64], both on the main device. traced: the transformer reports what it computes
  // for the positive prompts.
  virtual Tensor velocity(const Tensor& x, int step, bool traced) = 0;
  // Gives back what start() took.
  virtual void stop() = 0;
};

// The transformer's inputs on a device: `prompts` with the references of `inputs`.
DitContext make_context(Ops& ops, Dit& dit, const DenoiseInputs& inputs, const std::vector<Tensor>& prompts);
Tensor concat_host_rows(const std::vector<Tensor>& parts);
// Runs f while nobody observes.
template <typename F>
auto untraced(Ops& ops, const F& f) {
  struct Restore {
    Ops& ops;
    Ops::TraceHook hook;
    ~Restore() { ops.exchange_trace(std::move(hook)); }
  } const restore{ops, ops.exchange_trace({})};
  return f();
}

// Everything on one device, the negative prompts after the positive ones.
class OneDeviceDenoiser : public Denoiser {
 public:
  using StepFn = std::function<StepModulation(int step)>;
  OneDeviceDenoiser(Ops& ops, Dit& dit, StepFn modulation) : ops_(ops), dit_(dit), modulation_(std::move(modulation)) {}

  void start(const DenoiseInputs& inputs) override;
  Tensor velocity(const Tensor& x, int step, bool traced) override;
  void stop() override;

 private:
  Ops& ops_;
  Dit& dit_;
  const StepFn modulation_;
  DitContext positive_, negative_;
  bool guided_ = false;
  float cfg_scale_ = 1.f;
};

}  // namespace inkling
