// Under load, a lesser picture for everybody before none for some. Driven by the predicted wait (and by GPU utilisation
// when configured); enters at once, leaves a level after each quiet while, so all levels within 30 s.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/policy/config.h"
#include "server/policy/job_parameters.h"

namespace inkling::server {

class BrownOut {
 public:
  BrownOut(BrownOutOptions options, std::vector<ModelEntry> models);

  // Call before each decision and at least every few seconds. Returns the level. `gpu_utilisation`: percent.
  int update(double now, double predicted_wait_s, double deadline_s, std::optional<double> gpu_utilisation);
  int level() const { return level_; }                   // 0: normal; else that many rows of the ladder act
  bool refuses() const;                                  // the present level includes the row "refuse"
  const std::string& reason() const { return reason_; }  // why this level; empty at 0
  // Changes what the level says and tells, in words, what it changed; empty: nothing.
  std::vector<std::string> apply(JobParameters& job) const;

 private:
  const ModelEntry* model(const std::string& id) const;

  const BrownOutOptions options_;
  const std::vector<ModelEntry> models_;
  int level_ = 0;
  std::string reason_;
  std::optional<double> quiet_since_, busy_since_;
};

}  // namespace inkling::server
