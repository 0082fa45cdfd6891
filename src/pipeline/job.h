// A request made concrete: everything a run needs, on the host, before any weight is touched. The same job runs
// on a real backend (device_lane.h) and on shapes alone (plan.cc), so a plan is exact.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "diffusion/schedule.h"
#include "models/qwen_image/dit.h"
#include "models/qwen_image/text_encoder.h"
#include "models/qwen_image/tiling.h"
#include "models/qwen_image/vae.h"
#include "models/qwen_image/vision.h"
#include "pipeline/request.h"
#include "text/templates.h"

namespace inkling {

struct Job {
  EncodedPrompt positive;
  std::optional<EncodedPrompt> negative;  // set: guidance is on
  std::vector<VisionInput> vision;        // one per reference picture
  std::vector<Tensor> references;         // host f32 [H, W, 3] in [-1, 1]
  int width = 0, height = 0;              // pixels the DiT draws, multiples of 16
  Schedule schedule;
  float cfg_scale = 1.f;
  std::vector<Tensor> noise;     // one per picture of the batch: host f32 [N, 64], packed
  std::vector<Tensor> latents;   // set: only these are decoded, one per picture, as noise
  std::optional<Tiling> tiling;  // of the VAE
};

// Where a run gets its networks. Each call makes one ready; done() says that it is not needed again in this run.
class Parts {
 public:
  enum class Part { text_encoder, vision, modulation, dit, vae_encoder, vae_decoder };
  virtual ~Parts() = default;
  virtual TextEncoder& text_encoder() = 0;
  virtual VisionTower& vision() = 0;
  virtual DitModulation& modulation() = 0;
  virtual Dit& dit() = 0;
  virtual VaeEncoder& vae_encoder() = 0;
  virtual VaeDecoder& vae_decoder() = 0;
  virtual void done(Part part) = 0;
  // The modulation of a schedule that an earlier run left here, or null; and where a run leaves it.
  virtual const std::vector<StepModulation>* known_modulation(const std::vector<float>&) { return nullptr; }
  virtual void keep_modulation(const std::vector<float>&, const std::vector<StepModulation>&) {}
  // Called now and then while weights are loaded; throws to stop. Empty: nobody wants to stop.
  virtual void set_stop_hook(const std::function<void()>&) {}
};

// Parts that own their networks and drop them when they are done.
class OwnedParts : public Parts {
 public:
  void done(Part part) override;

 protected:
  std::unique_ptr<TextEncoder> text_encoder_;
  std::unique_ptr<VisionTower> vision_;
  std::unique_ptr<DitModulation> modulation_;
  std::unique_ptr<Dit> dit_;
  std::unique_ptr<VaeEncoder> vae_encoder_;
  std::unique_ptr<VaeDecoder> vae_decoder_;
};

// Told when a phase begins; the plan measures between these calls.
using PhaseFn = std::function<void(const char* name)>;

// Runs all phases (batch_run.h) of one job, picture after picture. Returns one picture tensor [H, W, 3] per noise
// tensor, on the host (zeros when planned).
std::vector<Tensor> run_job(Ops& ops, Parts& parts, const Job& job, const Callbacks& callbacks,
                            const PhaseFn& phase = {});

}  // namespace inkling
