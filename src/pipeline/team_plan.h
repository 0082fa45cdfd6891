// A plan for every device of a run: what lives and happens where, and in what way the devices share the work. The
// decisions are those of a run (sharing.h).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pipeline/model_sizes.h"
#include "pipeline/sharing.h"

namespace inkling {

// How the work of a run is shared.
enum class SharingWay { one_device, pictures, guidance, blocks, blocks_and_guidance };
std::string_view name(SharingWay way);

struct DevicePlan {
  DeviceChoice device;
  std::string part;  // "pictures 1 and 2", "blocks 0 to 29"
  int64_t first_picture = 0, pictures = 0;
  TeamShare share;                     // of the transformer
  RunPlan plan;                        // the phases that run there
  std::optional<Placement> placement;  // in the budget; none where there is none
};

struct TeamPlan {
  SharingWay way = SharingWay::one_device;
  std::string model, precision;
  TeamLayout layout;
  std::vector<DevicePlan> devices;  // those with work; the main one first
  int64_t budget = 0;               // for weights and activations of each device
  bool fits = true;
  int64_t smallest_budget = 0;  // below it no plan exists
};

// What is planned is request.model.device and the devices that share its work. Without a --max-vram every device is
// taken to hold what it is given.
TeamPlan plan_team(const PlanRequest& request);
// The same for a job at hand, on `backend` as every one of the devices; backend: any whose precision may be set (GPUs).
TeamPlan plan_team(const EngineOptions& options, const ModelSizes& model, const Job& job, Backend& backend,
                   int64_t budget);

std::string device_name(const DeviceChoice& device);

}  // namespace inkling
