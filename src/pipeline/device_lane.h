// One device with the networks on it: where groups of jobs are placed in its memory and run, and run again with less
// when memory runs out on the way.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "memory/ladder.h"
#include "pipeline/batch_run.h"
#include "pipeline/loaded_parts.h"
#include "pipeline/plan.h"
#include "pipeline/preview.h"
#include "pipeline/team_denoiser.h"

namespace inkling {

class Team;

// How a group of jobs ran.
struct LaneReport {
  std::map<std::string, double> seconds;  // by phase; "load" is part of the phases
  int64_t activation_peak_bytes = 0, device_bytes = 0;
  std::string device, precision;
  std::vector<std::string> notes;
};

class DeviceLane {
 public:
  // The arguments but `device` outlive the lane.
  DeviceLane(const ModelFiles& files, const EngineOptions& options, const DeviceChoice& device);

  // Members of one batch (same_batch). Errors of the whole group are thrown. team: helps with the transformer.
  std::vector<JobResult> run(std::span<const BatchMember> members, const RunServices& services, LaneReport& report,
                             Team* team = nullptr);
  // Whether each device of the team should draw pictures of its own.
  bool draws_whole(std::span<const BatchMember> members, Team& team);
  // A helper's part in another lane's run: stage `own` of the transformer. To be called on the helper's thread.
  void join(const std::vector<Job>& jobs, int together, const TeamShare& share, PrecisionChoice precision);
  void leave();  // the run is over, in whatever way
  void drop_all() { parts_->drop_all(); }
  RunPlan plan(const Job& job) const;
  void set_trace(TraceFn trace);
  Backend& backend() { return *backend_; }
  const Backend& backend() const { return *backend_; }

 private:
  void open(const DeviceChoice& device, PrecisionChoice precision);
  std::vector<JobResult> attempt(std::span<const BatchMember> members, int& together, Rung& rung,
                                 const RunServices& services, LaneReport& report, Team* team);
  std::vector<JobResult> run_phases(std::span<const BatchMember> members, int together, const RunServices& services,
                                    LaneReport& report);
  void set_precision(PrecisionChoice precision);
  int64_t budget(const Rung& rung) const;
  // How the team shares these jobs' transformer; decides the precision where that is left to the program.
  TeamLayout settle(const std::vector<Job>& jobs, int together, const Rung& rung, const Team* team);
  // Who lives where, for these jobs; null on the CPU, where everything is in host memory anyway.
  std::optional<Placement> placement(std::vector<Job>& jobs, int& together, const Rung& rung, const TeamShare& share,
                                     LaneReport& report);
  const RunPlan& known_plan(const std::vector<Job>& jobs, int together, const TeamShare& share = {});

  const ModelFiles& files_;
  const EngineOptions& options_;
  const DeviceChoice device_;
  TraceFn trace_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<LoadedParts> parts_;
  PlanCache plans_;
  PreviewMap preview_;
  bool precision_chosen_ = false;
  int inject_ = 0;  // tests: runs that find no memory
};

// Pictures of these jobs in one pass of the transformer. One job alone keeps on a GPU the bytes that each of its
// pictures has alone, so its pictures take turns there.
int pictures_together(std::span<const BatchMember> members, const Backend& backend);

}  // namespace inkling
