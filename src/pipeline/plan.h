// What a run will need, before a byte of weights is loaded: the same phases run on shapes alone.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "memory/placement.h"
#include "models/qwen_image/dit.h"
#include "pipeline/engine.h"
#include "pipeline/geometry.h"

namespace inkling {

struct Job;

struct PlanRequest {
  EngineOptions model;        // model.model may name a preset (presets.h)
  int width = 0, height = 0;  // 0: the model's default; of an edit: the first picture's, whose geometry it keeps
  int steps = 0;
  float cfg_scale = -1;
  int references = 0;           // pictures of an edit
  PictureSize picture;          // the size of each of them; 0: the output's, or the model's default
  int64_t prompt_tokens = 64;   // of the prompt itself, template suffix included
  int64_t negative_tokens = 6;  // " " and the template's suffix
  int batch = 1;
  bool vae_tiling = false;
};

struct PhasePlan {
  std::string name;
  PhaseNeed need;          // weights counted as the device holds them (CPU: as stored)
  int64_t peak_bytes = 0;  // of the backend's memory: converted weights and activations
  double flops = 0;
};

struct RunPlan {
  std::string model;
  int width = 0, height = 0, steps = 0;
  float cfg_scale = 1;
  int64_t parameters = 0;
  int64_t peak_bytes = 0;  // equals Result::activation_peak_bytes of the same run
  std::vector<PhasePlan> phases;
};

RunPlan plan_run(const PlanRequest& request);
// The plan of a prepared job (job.h) on this backend: Engine::plan.
RunPlan plan_job(const EngineOptions& model, const Job& job, const Backend& backend);
// The part of a divided transformer (team_denoiser.h) that the planned device has.
struct TeamShare {
  std::vector<BlockRange> stages{{}};  // all of them
  size_t own = 0;
  int passes = 1;  // as TeamLayout
  int pass = 0;    // the device's own
};
// Of jobs that run together (batch_run.h).
RunPlan plan_jobs(const EngineOptions& model, std::span<const Job* const> jobs, int together, const Backend& backend,
                  const TeamShare& share = {});
// Of each phase, who lives where in a budget.
Placement place(const RunPlan& plan, int64_t budget_bytes);

// Whether every block of the transformer stays on the device.
bool denoises_resident(const RunPlan& plan, const Placement& placement);

// Plans by what they depend on, so that a request like an earlier one costs no planning.
class PlanCache {
 public:
  const RunPlan& plan(const EngineOptions& model, std::span<const Job* const> jobs, int together,
                      const Backend& backend, const TeamShare& share = {});

 private:
  std::map<std::string, RunPlan> plans_;
};

}  // namespace inkling
