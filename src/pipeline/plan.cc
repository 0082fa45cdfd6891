#include "pipeline/plan.h"

#include <algorithm>
#include <map>

#include "backends/plan/plan_ops.h"
#include "base/error.h"
#include "diffusion/latents.h"
#include "models/loader.h"
#include "models/registry.h"
#include "pipeline/backend.h"
#include "pipeline/batch_run.h"
#include "pipeline/device_lane.h"
#include "pipeline/geometry.h"
#include "pipeline/presets.h"
#include "pipeline/team_denoiser.h"

namespace inkling {

namespace {

// Sizes of a model, from its files' headers or a preset.
struct ModelSizes {
  ModelConfig config;
  std::optional<ModelFiles> files;  // absent for a preset
  ModelDefaults defaults;
  std::string name;
  std::optional<LoraSet> loras;  // they decide the types of the weights that they change
};

ModelSizes sizes_of(const EngineOptions& o) {
  ModelSizes m;
  m.name = o.model.string();
  if (is_preset(m.name)) {
    m.config = preset(m.name);
    return m;
  }
  const SeparateFiles parts = separate_files(o);
  m.files = combine(parts);
  m.defaults = m.files->defaults;
  m.name = parts.base.string();
  m.config.dit = dit_config(*m.files, Checkpoint::open(m.files->dit, Component::dit));
  m.config.text = text_config(*m.files, Checkpoint::open(m.files->text_encoder, Component::text_encoder));
  if (!m.files->vision.empty())
    m.config.vision = vision_config(*m.files, Checkpoint::open(m.files->vision, Component::vision));
  m.config.vae = vae_config(*m.files, Checkpoint::open(m.files->vae, Component::vae));
  if (!o.loras.empty()) m.loras.emplace(m.config.dit);
  for (const LoraFile& l : o.loras) m.loras->add(l.path, l.scale);
  return m;
}

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
  if (share.stages.size() > 1)
    services.denoiser = [&](const std::vector<StepModulation>& steps, bool steps_on_device) {
      std::vector<TeamStage> stages(share.stages.size());
      stages[share.own] = {&ops, [&parts]() -> Dit& { return parts.dit(); }, nullptr};
      return std::make_unique<TeamDenoiser>(ops, std::vector<std::vector<TeamStage>>{stages}, steps, steps_on_device);
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

EncodedPrompt planned_prompt(int64_t template_tokens, int64_t tokens, int references, int64_t vision_tokens) {
  EncodedPrompt p;
  p.drop = template_tokens;
  int64_t length = template_tokens;
  for (int i = 0; i < references; ++i) {
    p.image_starts.push_back(length + 6);  // "Picture 1: <|vision_start|>"
    length += 7 + vision_tokens;
  }
  p.ids.assign(static_cast<size_t>(length + tokens), 0);
  return p;
}

}  // namespace

// A job of the right shapes without content.
Job shaped_job(const PlanRequest& r, const ModelConfig& config, const ModelDefaults& defaults) {
  const auto pick = [](int64_t asked, int64_t preset, int64_t otherwise) {
    return static_cast<int>(asked > 0 ? asked : preset > 0 ? preset : otherwise);
  };
  Job job;
  job.width = pick(r.width, defaults.width, 1024);
  job.height = pick(r.height, defaults.height, 1024);
  const int64_t tokens = job.width / kPixelsPerToken * (job.height / kPixelsPerToken);
  const int64_t drop = r.references > 0 ? 64 : 34;
  job.cfg_scale = r.cfg_scale >= 0 ? r.cfg_scale : defaults.cfg_scale.value_or(4.f);
  job.positive = planned_prompt(drop, r.prompt_tokens, r.references, r.vision_tokens);
  if (job.cfg_scale > 1) job.negative = planned_prompt(drop, r.negative_tokens, r.references, r.vision_tokens);
  const auto side = static_cast<int64_t>(std::lround(std::sqrt(static_cast<double>(r.vision_tokens)))) * 2;
  for (int i = 0; i < r.references; ++i) {
    job.vision.push_back({host_tensor(Shape{side * side, config.vision.patch_values()}), side, side});
    job.references.push_back(host_tensor(Shape{job.height, job.width, 3}));
  }
  job.schedule = make_schedule({}, pick(r.steps, defaults.steps, r.references > 0 ? 40 : 50), tokens);
  for (int i = 0; i < r.batch; ++i) job.noise.push_back(host_tensor(Shape{tokens, 4 * config.vae.latent_channels}));
  if (r.vae_tiling) job.tiling = Tiling{};
  return job;
}

RunPlan plan_run(const PlanRequest& request) {
  const ModelSizes sizes = sizes_of(request.model);
  PlanRequest r = request;
  // What smart_resize leaves of the vision tower's area, for a square picture.
  const PictureSize seen = smart_resize(size_of_area(kVisionArea, 1.0),
                                        {28, sizes.config.processor.min_pixels, sizes.config.processor.max_pixels});
  r.vision_tokens = seen.pixels() / (28 * 28);
  const Job job = shaped_job(r, sizes.config, sizes.defaults);
  const Job* jobs[] = {&job};
  const Callbacks none;
  const BatchMember member{&job, &none};
  const auto backend = planning_backend(r.model.device, r.model.precision);
  return plan(sizes, jobs, pictures_together({&member, 1}, *backend), *backend, {});
}

RunPlan plan_job(const EngineOptions& model, const Job& job, const Backend& backend) {
  const Job* jobs[] = {&job};
  return plan_jobs(model, jobs, 1, backend);
}

RunPlan plan_jobs(const EngineOptions& model, std::span<const Job* const> jobs, int together, const Backend& backend,
                  const TeamShare& share) {
  return plan(sizes_of(model), jobs, together, backend, share);
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
  key += fmt::format(", {}", share.own);
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
