#include "pipeline/placed_parts.h"

#include <algorithm>

#include "pipeline/plan.h"

namespace inkling {

using Part = Parts::Part;

namespace {

// The phase (job.cc) in which a part has its turn.
constexpr std::pair<Part, std::string_view> kPhases[] = {{Part::vision, "see pictures"},
                                                         {Part::text_encoder, "encode prompt"},
                                                         {Part::vae_encoder, "encode image"},
                                                         {Part::modulation, "modulation"},
                                                         {Part::dit, "denoise"},
                                                         {Part::vae_decoder, "decode"}};

}  // namespace

void PlacedParts::begin_run(const std::optional<Placement>& placement, const RunPlan* plan) {
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

void PlacedParts::end_run() {
  for (const auto& [part, phase] : kPhases) done(part);
}

void PlacedParts::drop(Part part) {
  stores_.erase(part);
  OwnedParts::done(part);
}

void PlacedParts::drop_all() {
  stores_.clear();
  known_steps_.clear();
  known_timesteps_.clear();
  for (const auto& [part, phase] : kPhases) OwnedParts::done(part);
}

bool PlacedParts::place(Module& module, Part part, const ModuleStore::Load& load) {
  Ops& ops = backend_.ops();
  const auto placement = placements_.find(part);
  if (ops.weight_mover() == nullptr || placement == placements_.end()) return false;
  ModuleStore::Options options;
  options.parked = keep_ && !all_fit_ && part != Part::modulation;
  options.resident = placement->second.resident;
  if (placement->second.streamed_blocks > 0) {
    const bool many_passes = part == Part::dit || keep_;
    options.mode = many_passes && part != Part::modulation ? ModuleStore::Mode::streamed : ModuleStore::Mode::once;
    if (options.mode == ModuleStore::Mode::once) options.parked = false;
  }
  stores_[part] = std::make_unique<ModuleStore>(module, ops, load, options);
  return true;
}

void PlacedParts::resume(Part part) {
  if (const auto store = stores_.find(part); store != stores_.end()) store->second->unpark();
}

void PlacedParts::done(Part part) {
  const auto store = stores_.find(part);
  // Modulation is a third of the weights and its result is kept: on a GPU it goes.
  if (keep_ && (part != Part::modulation || !backend_.on_gpu())) {
    if (store != stores_.end()) store->second->park();
    return;
  }
  if (store != stores_.end()) stores_.erase(store);
  OwnedParts::done(part);
}

const std::vector<StepModulation>* PlacedParts::known_modulation(const std::vector<float>& timesteps) {
  return !known_steps_.empty() && known_timesteps_ == timesteps ? &known_steps_ : nullptr;
}

void PlacedParts::keep_modulation(const std::vector<float>& timesteps, const std::vector<StepModulation>& steps) {
  if (!keep_) return;
  known_timesteps_ = timesteps;
  known_steps_ = steps;
}

}  // namespace inkling
