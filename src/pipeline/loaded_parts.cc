#include "pipeline/loaded_parts.h"

#include <chrono>

#include "base/error.h"
#include "models/loader.h"
#include "pipeline/plan.h"

namespace inkling {

using Part = Parts::Part;

namespace {

using Clock = std::chrono::steady_clock;

// The phase (job.cc) in which a part has its turn.
constexpr std::pair<Part, std::string_view> kPhases[] = {{Part::vision, "see pictures"},
                                                         {Part::text_encoder, "encode prompt"},
                                                         {Part::vae_encoder, "encode image"},
                                                         {Part::modulation, "modulation"},
                                                         {Part::dit, "denoise"},
                                                         {Part::vae_decoder, "decode"}};

}  // namespace

LoadedParts::LoadedParts(const ModelFiles& files, const EngineOptions& options, Backend& backend)
    : files_(files), options_(options), backend_(backend) {}

LoadedParts::~LoadedParts() { stores_.clear(); }

void LoadedParts::begin_run(const Callbacks* callbacks, const std::optional<Placement>& placement,
                            const RunPlan* plan) {
  callbacks_ = callbacks;
  if (!placement || plan == nullptr) return;
  int64_t weights = 0, activations = 0;
  for (size_t i = 0; i < plan->phases.size(); ++i) {
    for (const auto& [part, phase] : kPhases) {
      if (plan->phases[i].name != phase) continue;
      const PhasePlacement& now = placement->phases[i];
      // A part that is loaded stays where it is unless this job leaves it less room.
      const auto known = placements_.find(part);
      if (stores_.contains(part) && known != placements_.end() && known->second.resident_bytes > now.resident_bytes) {
        stores_.erase(part);
        OwnedParts::done(part);
      }
      if (!stores_.contains(part)) placements_[part] = now;
    }
    const PhaseNeed& need = plan->phases[i].need;
    if (need.name != "modulation") weights += need.weight_bytes - need.host_bytes;
    activations = std::max(activations, need.activation_bytes);
  }
  all_fit_ = weights + activations <= backend_.budget();
}

void LoadedParts::drop_all() {
  stores_.clear();
  known_steps_.clear();
  known_timesteps_.clear();
  for (const auto& [part, phase] : kPhases) OwnedParts::done(part);
}

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

template <typename M, typename ConfigOf>
M& LoadedParts::ready(std::unique_ptr<M>& slot, Part part, const std::filesystem::path& file, Component component,
                      const ConfigOf& config_of) {
  if (slot) {
    if (const auto store = stores_.find(part); store != stores_.end()) store->second->unpark();
    return *slot;
  }
  const auto start = Clock::now();
  const auto checkpoint = std::make_shared<const Checkpoint>(Checkpoint::open(file, component));
  auto module = std::make_unique<M>(config_of(*checkpoint));
  std::shared_ptr<LoraSet> loras;
  if constexpr (std::is_same_v<decltype(config_of(*checkpoint)), DitConfig>) {
    loras = std::make_shared<LoraSet>(config_of(*checkpoint));
    for (const LoraFile& l : options_.loras)
      loras->add(l.path, l.scale, options_.lora_alpha_as_diffusers ? LoraAlpha::diffusers : LoraAlpha::always);
    if (loras->empty()) loras.reset();
  }
  loras_[part] = loras;
  place(*module, part, checkpoint, loras.get());
  note_unused(*module, *checkpoint);
  slot = std::move(module);
  load_seconds_ += std::chrono::duration<double>(Clock::now() - start).count();
  return *slot;
}

void LoadedParts::place(Module& module, Part part, std::shared_ptr<const Checkpoint> checkpoint, const LoraSet* loras) {
  LoadOptions load;
  load.loras = loras;
  load.progress = [this](int64_t, int64_t) {
    if (callbacks_ != nullptr && callbacks_->cancel != nullptr) callbacks_->cancel->throw_if_cancelled();
  };
  Ops& ops = backend_.ops();
  const auto placement = placements_.find(part);
  if (ops.weight_mover() == nullptr || placement == placements_.end()) {
    load_parameters(module, *checkpoint, ops, load);
    return;
  }
  require_parameters(module, *checkpoint);
  ModuleStore::Options options;
  options.parked = options_.keep_loaded && !all_fit_ && part != Part::modulation;
  options.resident = placement->second.resident;
  if (placement->second.streamed_blocks > 0) {
    const bool many_passes = part == Part::dit || options_.keep_loaded;
    options.mode = many_passes && part != Part::modulation ? ModuleStore::Mode::streamed : ModuleStore::Mode::once;
    if (options.mode == ModuleStore::Mode::once) options.parked = false;
  }
  stores_[part] = std::make_unique<ModuleStore>(
      module, ops,
      [this, checkpoint, load](const Parameter& p) {
        load.progress(0, 0);
        load_parameter(p, *checkpoint, backend_.ops(), load);
      },
      options);
}

void LoadedParts::done(Part part) {
  const auto store = stores_.find(part);
  // Modulation is a third of the weights and its result is kept: it goes, unless there is room for everything.
  if (options_.keep_loaded && (part != Part::modulation || !backend_.on_gpu())) {
    if (store != stores_.end()) store->second->park();
    return;
  }
  if (store != stores_.end()) stores_.erase(store);
  OwnedParts::done(part);
}

const std::vector<StepModulation>* LoadedParts::known_modulation(const std::vector<float>& timesteps) {
  return !known_steps_.empty() && known_timesteps_ == timesteps ? &known_steps_ : nullptr;
}

void LoadedParts::keep_modulation(const std::vector<float>& timesteps, const std::vector<StepModulation>& steps) {
  if (!options_.keep_loaded) return;
  known_timesteps_ = timesteps;
  known_steps_ = steps;
}

// Tensors that no network of the file has a place for: a hint that the file is another model's.
void LoadedParts::note_unused(const Module& module, const Checkpoint& checkpoint) {
  std::vector<std::string> extra;
  if (const auto* dit = dynamic_cast<const Dit*>(&module)) {
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
