// A model's sizes from the headers of its files, or from a preset, and jobs of its shapes without content: what a plan
// and a benchmark start from.
#pragma once

#include <optional>
#include <string>

#include "models/lora.h"
#include "models/registry.h"
#include "pipeline/job.h"
#include "pipeline/plan.h"
#include "pipeline/presets.h"

namespace inkling {

struct ModelSizes {
  std::string name;
  ModelConfig config;
  PipelineKind kind = PipelineKind::edit_plus;
  std::optional<ModelFiles> files;  // absent for a preset
  ModelDefaults defaults;           // those of a Lightning LoRA, where one is on
  std::optional<LoraSet> loras;     // they decide the types of the weights that they change
};

// options.model may name a preset. Throws ModelError.
ModelSizes model_sizes(const EngineOptions& options);
// A job of the request's shapes; its tensors hold zeros.
Job shaped_job(const PlanRequest& request, const ModelSizes& model);

}  // namespace inkling
