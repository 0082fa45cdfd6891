// The networks of a run as placed in a budget: resident, streamed, or parked in host memory while others have their
// turn. Where the weights come from is the business of what is derived from this.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "memory/module_store.h"
#include "memory/placement.h"
#include "pipeline/backend.h"
#include "pipeline/job.h"

namespace inkling {

struct RunPlan;

class PlacedParts : public OwnedParts {
 public:
  // keep: networks stay loaded between runs. The backend outlives the parts.
  PlacedParts(Backend& backend, bool keep) : backend_(backend), keep_(keep) {}
  ~PlacedParts() override { stores_.clear(); }

  void done(Part part) override;
  const std::vector<StepModulation>* known_modulation(const std::vector<float>& timesteps) override;
  void keep_modulation(const std::vector<float>& timesteps, const std::vector<StepModulation>& steps) override;

  // placement: of the phases of `plan`; none on the CPU.
  void begin_run(const std::optional<Placement>& placement, const RunPlan* plan);
  // After a run that ended early: what the next run does not expect to be there goes.
  void end_run();
  // Gives everything back, after a run that found no memory.
  void drop_all();

 protected:
  // Brings a network in as its phase's placement says. False: none applies (the CPU), nothing was done.
  bool place(Module& module, Part part, const ModuleStore::Load& load);
  // Gives one network back, kept or not.
  void drop(Part part);
  // A network that is there already comes back from host memory.
  void resume(Part part);

  Backend& backend_;

 private:
  const bool keep_;
  std::map<Part, PhasePlacement> placements_;
  bool all_fit_ = true;  // every part at once, for parts that are kept
  std::map<Part, std::unique_ptr<ModuleStore>> stores_;
  std::vector<float> known_timesteps_;
  std::vector<StepModulation> known_steps_;
};

}  // namespace inkling
