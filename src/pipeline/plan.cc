#include "pipeline/plan.h"

#include <algorithm>
#include <map>

#include "backends/plan/plan_ops.h"
#include "models/loader.h"
#include "models/registry.h"
#include "pipeline/backend.h"
#include "pipeline/batch_run.h"
#include "pipeline/device_lane.h"
#include "pipeline/model_sizes.h"
#include "pipeline/team_denoiser.h"

namespace inkling {

namespace {

// Where the network runs: on a GPU weights lie in its memory as prepared, on the CPU as stored.
int64_t weight_bytes(const Parameter& p, const Backend& backend) {
  if (p.weight == nullptr) return p.shape.elements() * 4;
  if (backend.on_gpu() && p.kind != Parameter::Kind::embedding) return backend.model().prepared_bytes(*p.weight);
  const int64_t bias = p.weight->has_bias ? p.shape[0] * 4 : 0;
  const int64_t rows = p.shape.elements() / p.shape[-1];
  return bias + matrix_bytes(Shape{rows, p.shape[-1]}, p.weight->stored, p.weight->low_bit.kind);
}

// Networks of shapes. Each is declared when a phase first asks for it, as the engine would load it.
class PlannedParts : public OwnedParts {
 public:
  PlannedParts(const ModelSizes& sizes, const Backend& backend, Ops& ops, BlockRange blocks)
      : sizes_(sizes), backend_(backend), ops_(ops), blocks_(blocks) {}

  TextEncoder& text_encoder() override { return ready(text_encoder_, sizes_.config.text, Component::text_encoder); }
  VisionTower& vision() override { return ready(vision_, sizes_.config.vision, Component::vision); }
  DitModulation& modulation() override { return ready(modulation_, sizes_.config.dit, Component::dit); }
  Dit& dit() override { return ready(dit_, sizes_.config.dit, Component::dit); }
  VaeEncoder& vae_encoder() override { return ready(vae_encoder_, sizes_.config.vae, Component::vae); }
  VaeDecoder& vae_decoder() override { return ready(vae_decoder_, sizes_.config.vae, Component::vae); }

  void set_phase(const std::string& name) { phase_ = name; }
  const std::map<std::string, PhaseNeed>& needs() const { return needs_; }
  // Prepared weights that a phase's parts hold in the backend's memory.
  int64_t prepared_bytes(const std::string& phase) const {
    const auto it = prepared_.find(phase);
    return it != prepared_.end() ? it->second : 0;
  }
  int64_t parameters() const { return parameters_; }

 private:
  template <typename M, typename Config>
  M& ready(std::unique_ptr<M>& slot, const Config& config, Component component) {
    if (slot) return *slot;
    if constexpr (std::is_same_v<M, Dit>)
      slot = std::make_unique<M>(config, blocks_);
    else
      slot = std::make_unique<M>(config);
    const int64_t before = ops_.memory().current;
    if (sizes_.files) {
      const Checkpoint checkpoint = Checkpoint::open(file_of(component), component);
      const bool patched = component == Component::dit && sizes_.loras;
      declare_parameters(*slot, ops_, &checkpoint, DType::bf16, patched ? &*sizes_.loras : nullptr);
    } else {
      declare_parameters(*slot, ops_, nullptr);
    }
    prepared_[phase_] += ops_.memory().current - before;
    count(*slot);
    return *slot;
  }

  const std::filesystem::path& file_of(Component component) const {
    switch (component) {
      case Component::dit: return sizes_.files->dit;
      case Component::text_encoder: return sizes_.files->text_encoder;
      case Component::vision: return sizes_.files->vision;
      case Component::vae: break;
    }
    return sizes_.files->vae;
  }

  void count(Module& module) {
    PhaseNeed& need = needs_[phase_];
    const auto add = [&](const Parameter& p) {
      const int64_t bytes = weight_bytes(p, backend_);
      parameters_ += p.shape.elements() + (p.weight != nullptr && p.weight->has_bias ? p.shape[0] : 0);
      need.weight_bytes += bytes;
      if (p.kind == Parameter::Kind::embedding) need.host_bytes += bytes;
      return bytes;
    };
    module.for_each_outer_parameter([&](const Parameter& p) { add(p); });
    module.for_each_block([&](Module& block) {
      int64_t bytes = 0;
      block.for_each_parameter([&](const Parameter& p) { bytes += add(p); });
      need.blocks.push_back(bytes);
    });
  }

  const ModelSizes& sizes_;
  const Backend& backend_;
  Ops& ops_;
  const BlockRange blocks_;
  std::string phase_;
  std::map<std::string, PhaseNeed> needs_;
  std::map<std::string, int64_t> prepared_;
  int64_t parameters_ = 0;
};

RunPlan plan(const ModelSizes& sizes, std::span<const Job* const> jobs, int together, const Backend& backend,
             const TeamShare& share) {
  PlanOps ops(backend.model(), backend.plan_memory());
  PlannedParts parts(sizes, backend, ops, share.stages[share.own]);
  RunServices services;
  if (share.stages.size() > 1 || share.passes > 1)
    services.denoiser = [&](const std::vector<StepModulation>& steps, bool steps_on_device) {
      std::vector<std::vector<TeamStage>> passes(static_cast<size_t>(share.passes),
                                                 std::vector<TeamStage>(share.stages.size()));
      passes[static_cast<size_t>(share.pass)][share.own] = {&ops, [&parts]() -> Dit& { return parts.dit(); }, nullptr};
      return std::make_unique<TeamDenoiser>(ops, std::move(passes), steps, steps_on_device);
    };
  const Callbacks none;
  std::vector<BatchMember> members;
  for (const Job* job : jobs) members.push_back({job, &none});
  run_jobs(ops, parts, members, together, services, [&](const char* phase) {
    ops.begin_phase(phase);
    parts.set_phase(phase);
  });
  const Job& job = *jobs[0];
  RunPlan result;
  result.model = sizes.name;
  result.parameters = parts.parameters();
  result.peak_bytes = ops.memory().peak;
  result.width = job.width;
  result.height = job.height;
  result.steps = job.schedule.steps();
  result.cfg_scale = job.cfg_scale;
  for (const PlanPhase& p : ops.phases()) {
    if (p.name.empty()) continue;
    PhasePlan phase;
    phase.name = p.name;
    if (const auto it = parts.needs().find(p.name); it != parts.needs().end()) phase.need = it->second;
    phase.need.name = p.name;
    phase.need.activation_bytes = p.peak_bytes - parts.prepared_bytes(p.name);
    phase.peak_bytes = p.peak_bytes;
    phase.flops = static_cast<double>(p.flops);
    result.phases.push_back(phase);
  }
  return result;
}

}  // namespace

RunPlan plan_run(const PlanRequest& request) {
  const ModelSizes sizes = model_sizes(request.model);
  const Job job = shaped_job(request, sizes);
  const Job* jobs[] = {&job};
  const Callbacks none;
  const BatchMember member{&job, &none};
  const auto backend = planning_backend(request.model.device, request.model.precision);
  return plan(sizes, jobs, pictures_together({&member, 1}, *backend), *backend, {});
}

RunPlan plan_job(const EngineOptions& model, const Job& job, const Backend& backend) {
  const Job* jobs[] = {&job};
  return plan_jobs(model, jobs, 1, backend);
}

RunPlan plan_jobs(const EngineOptions& model, std::span<const Job* const> jobs, int together, const Backend& backend,
                  const TeamShare& share) {
  return plan(model_sizes(model), jobs, together, backend, share);
}

Placement place(const RunPlan& plan, int64_t budget_bytes) {
  std::vector<PhaseNeed> needs;
  for (const PhasePlan& p : plan.phases) needs.push_back(p.need);
  return place(needs, budget_bytes);
}

bool denoises_resident(const RunPlan& plan, const Placement& placement) {
  for (size_t i = 0; i < plan.phases.size(); ++i)
    if (plan.phases[i].name == "denoise") return placement.phases[i].fits && placement.phases[i].streamed_blocks == 0;
  return true;
}

const RunPlan& PlanCache::plan(const EngineOptions& model, std::span<const Job* const> jobs, int together,
                               const Backend& backend, const TeamShare& share) {
  std::string key = fmt::format("{} {} together", name(backend.precision()), together);
  for (const BlockRange& r : share.stages) key += fmt::format(" {}-{}", r.begin, r.end);
  key += fmt::format(", {} of pass {} of {}", share.own, share.pass, share.passes);
  for (const Job* j : jobs) {
    const Job& job = *j;
    key += fmt::format(" | {}x{} {} steps, {} {} {}", job.width, job.height, job.schedule.steps(),
                       job.positive.ids.size(), job.noise.size(), job.latents.size());
    if (job.negative) key += fmt::format(" -{}", job.negative->ids.size());
    if (job.tiling) key += fmt::format(" tile {}/{}", job.tiling->tile, job.tiling->stride);
    for (const VisionInput& v : job.vision) key += fmt::format(" {}x{}", v.height, v.width);
    for (const Tensor& r : job.references) key += fmt::format(" {}", r.shape().str());
  }
  const auto known = plans_.find(key);
  if (known != plans_.end()) return known->second;
  if (plans_.size() >= 64) plans_.clear();
  return plans_[key] = plan_jobs(model, jobs, together, backend, share);
}

}  // namespace inkling
