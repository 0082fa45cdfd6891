// The networks of a run, read from files when a phase first needs them.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "models/checkpoint.h"
#include "models/lora.h"
#include "models/registry.h"
#include "pipeline/engine.h"
#include "pipeline/placed_parts.h"

namespace inkling {

class LoadedParts : public PlacedParts {
 public:
  // The arguments outlive the parts.
  LoadedParts(const ModelFiles& files, const EngineOptions& options, Backend& backend);

  TextEncoder& text_encoder() override;
  VisionTower& vision() override;
  DitModulation& modulation() override;
  Dit& dit() override;
  VaeEncoder& vae_encoder() override;
  VaeDecoder& vae_decoder() override;

  void set_stop_hook(const std::function<void()>& hook) override { stop_hook_ = hook; }
  // The transformer is loaded with these blocks alone.
  void set_blocks(BlockRange blocks);
  double load_seconds() const { return load_seconds_; }
  // What loading had to say since the last call.
  std::vector<std::string> take_notes() { return std::exchange(notes_, {}); }

 private:
  template <typename M, typename ConfigOf>
  M& ready(std::unique_ptr<M>& slot, Part part, const std::filesystem::path& file, Component component,
           const ConfigOf& config_of);
  void load(Module& module, Part part, const std::shared_ptr<const Checkpoint>& checkpoint, const LoraSet* loras);
  void note_unused(const Module& module, const Checkpoint& checkpoint);

  const ModelFiles& files_;
  const EngineOptions& options_;
  std::function<void()> stop_hook_;
  BlockRange blocks_;
  std::map<Part, std::shared_ptr<LoraSet>> loras_;
  std::vector<std::string> notes_;
  double load_seconds_ = 0;
};

}  // namespace inkling
