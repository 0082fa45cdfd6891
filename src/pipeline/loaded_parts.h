// The networks of a run, read from files when a phase first needs them. On a GPU each is placed in the budget: what
// does not fit is streamed, and parts that are kept between runs wait in host memory while others have their turn.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "memory/module_store.h"
#include "memory/placement.h"
#include "models/checkpoint.h"
#include "models/lora.h"
#include "models/registry.h"
#include "pipeline/backend.h"
#include "pipeline/engine.h"
#include "pipeline/job.h"

namespace inkling {

class LoadedParts : public OwnedParts {
 public:
  // The arguments outlive the parts.
  LoadedParts(const ModelFiles& files, const EngineOptions& options, Backend& backend);
  ~LoadedParts() override;

  TextEncoder& text_encoder() override;
  VisionTower& vision() override;
  DitModulation& modulation() override;
  Dit& dit() override;
  VaeEncoder& vae_encoder() override;
  VaeDecoder& vae_decoder() override;
  void done(Part part) override;
  const std::vector<StepModulation>* known_modulation(const std::vector<float>& timesteps) override;
  void keep_modulation(const std::vector<float>& timesteps, const std::vector<StepModulation>& steps) override;

  // placement: of the job's phases in the order of phase_of(); none on the CPU.
  void begin_run(const Callbacks* callbacks, const std::optional<Placement>& placement, const RunPlan* plan);
  void end_run() { callbacks_ = nullptr; }
  // Gives everything back, after a failed run.
  void drop_all();
  double load_seconds() const { return load_seconds_; }
  // What loading had to say since the last call.
  std::vector<std::string> take_notes() { return std::exchange(notes_, {}); }

 private:
  template <typename M, typename ConfigOf>
  M& ready(std::unique_ptr<M>& slot, Part part, const std::filesystem::path& file, Component component,
           const ConfigOf& config_of);
  void place(Module& module, Part part, std::shared_ptr<const Checkpoint> checkpoint, const LoraSet* loras);
  void note_unused(const Module& module, const Checkpoint& checkpoint);

  const ModelFiles& files_;
  const EngineOptions& options_;
  Backend& backend_;
  const Callbacks* callbacks_ = nullptr;
  std::map<Part, PhasePlacement> placements_;
  bool all_fit_ = true;  // every part at once, for parts that are kept
  std::map<Part, std::unique_ptr<ModuleStore>> stores_;
  std::map<Part, std::shared_ptr<LoraSet>> loras_;
  std::vector<float> known_timesteps_;
  std::vector<StepModulation> known_steps_;
  std::vector<std::string> notes_;
  double load_seconds_ = 0;
};

}  // namespace inkling
