#include "pipeline/loaded_parts.h"

#include <chrono>

#include "base/error.h"
#include "models/loader.h"

namespace inkling {

using Part = Parts::Part;

namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

LoadedParts::LoadedParts(const ModelFiles& files, const EngineOptions& options, Backend& backend)
    : PlacedParts(backend, options.keep_loaded), files_(files), options_(options) {}

TextEncoder& LoadedParts::text_encoder() {
  return ready(text_encoder_, Part::text_encoder, files_.text_encoder, Component::text_encoder,
               [&](const Checkpoint& c) { return text_config(files_, c); });
}
VisionTower& LoadedParts::vision() {
  return ready(vision_, Part::vision, files_.vision, Component::vision,
               [&](const Checkpoint& c) { return vision_config(files_, c); });
}
DitModulation& LoadedParts::modulation() {
  return ready(modulation_, Part::modulation, files_.dit, Component::dit,
               [&](const Checkpoint& c) { return dit_config(files_, c); });
}
Dit& LoadedParts::dit() {
  return ready(dit_, Part::dit, files_.dit, Component::dit, [&](const Checkpoint& c) { return dit_config(files_, c); });
}
VaeEncoder& LoadedParts::vae_encoder() {
  return ready(vae_encoder_, Part::vae_encoder, files_.vae, Component::vae,
               [&](const Checkpoint& c) { return vae_config(files_, c); });
}
VaeDecoder& LoadedParts::vae_decoder() {
  return ready(vae_decoder_, Part::vae_decoder, files_.vae, Component::vae,
               [&](const Checkpoint& c) { return vae_config(files_, c); });
}

void LoadedParts::set_blocks(BlockRange blocks) {
  if (blocks == blocks_) return;
  drop(Part::dit);
  blocks_ = blocks;
}

template <typename M, typename ConfigOf>
M& LoadedParts::ready(std::unique_ptr<M>& slot, Part part, const std::filesystem::path& file, Component component,
                      const ConfigOf& config_of) {
  if (slot) {
    resume(part);
    return *slot;
  }
  const auto start = Clock::now();
  const auto checkpoint = std::make_shared<const Checkpoint>(Checkpoint::open(file, component));
  std::unique_ptr<M> module;
  if constexpr (std::is_same_v<M, Dit>)
    module = std::make_unique<M>(config_of(*checkpoint), blocks_);
  else
    module = std::make_unique<M>(config_of(*checkpoint));
  std::shared_ptr<LoraSet> loras;
  if constexpr (std::is_same_v<decltype(config_of(*checkpoint)), DitConfig>) {
    loras = std::make_shared<LoraSet>(config_of(*checkpoint));
    for (const LoraFile& l : options_.loras)
      loras->add(l.path, l.scale, options_.lora_alpha_as_diffusers ? LoraAlpha::diffusers : LoraAlpha::always);
    if (loras->empty()) loras.reset();
  }
  loras_[part] = loras;
  load(*module, part, checkpoint, loras.get());
  note_unused(*module, *checkpoint);
  slot = std::move(module);
  load_seconds_ += std::chrono::duration<double>(Clock::now() - start).count();
  return *slot;
}

void LoadedParts::load(Module& module, Part part, const std::shared_ptr<const Checkpoint>& checkpoint,
                       const LoraSet* loras) {
  LoadOptions options;
  options.loras = loras;
  options.progress = [this](int64_t, int64_t) {
    if (stop_hook_) stop_hook_();
  };
  require_parameters(module, *checkpoint);
  const bool placed = place(module, part, [this, checkpoint, options](const Parameter& p) {
    options.progress(0, 0);
    load_parameter(p, *checkpoint, backend_.ops(), options);
  });
  if (!placed) load_parameters(module, *checkpoint, backend_.ops(), options);
}

// Tensors that no network of the file has a place for: a hint that the file is another model's.
void LoadedParts::note_unused(const Module& module, const Checkpoint& checkpoint) {
  std::vector<std::string> extra;
  if (const auto* dit = dynamic_cast<const Dit*>(&module)) {
    if (!dit->whole()) return;
    const DitModulation modulation(dit->config());
    const Module* const trees[] = {&module, &modulation};
    extra = unexpected_tensors(checkpoint, trees);
  } else if (checkpoint.component() == Component::text_encoder || checkpoint.component() == Component::vision) {
    const Module* const trees[] = {&module};
    extra = unexpected_tensors(checkpoint, trees);
  }
  if (!extra.empty())
    notes_.push_back(
        fmt::format("{}: {} tensors are not used, the first is {}", checkpoint.file(), extra.size(), extra[0]));
}

}  // namespace inkling
