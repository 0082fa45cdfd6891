// Several devices for one engine. Each draws whole pictures where there are several; one picture's passes of guidance
// run side by side; a transformer too large for one device is divided among them. On CPUs "devices" are backends of
// their own on the same cores: for tests, not for speed.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "pipeline/device_lane.h"
#include "pipeline/team_denoiser.h"
#include "pipeline/worker.h"

namespace inkling {

// The devices beside the main one, each with a thread of its own.
class Team {
 public:
  // Opens options.device.more. The arguments outlive the team.
  Team(const ModelFiles& files, const EngineOptions& options);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  size_t size() const { return helpers_.size(); }
  DeviceLane& lane(size_t i) { return *helpers_[i]->lane; }
  Worker& worker(size_t i) { return helpers_[i]->worker; }
  int64_t layers() const { return layers_; }  // of the transformer
  // f(lane, i) on the thread of each of the first `count` helpers at once; waits for all, then throws the first error.
  void each(size_t count, const std::function<void(DeviceLane&, size_t)>& f);

 private:
  struct Helper {
    std::unique_ptr<DeviceLane> lane;
    Worker worker;
  };
  const int64_t layers_;
  std::vector<std::unique_ptr<Helper>> helpers_;
};

// Members of one batch on the main lane and, where there is a team, on its devices as EngineOptions::split says.
// Callbacks come one at a time, but where pictures are spread also from other threads.
std::vector<JobResult> run_on_devices(DeviceLane& main, Team* team, std::span<const BatchMember> members,
                                      const RunServices& services, LaneReport& report);

}  // namespace inkling
