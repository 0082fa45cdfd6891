// Progress on standard error: a bar with step, seconds per step and remaining time on a terminal, one JSON
// object per line otherwise.
#pragma once

#include <chrono>
#include <string>

#include "base/progress.h"

namespace inkling::cli {

class ProgressBar {
 public:
  ProgressBar();
  ~ProgressBar();
  void report(const Progress& progress);

 private:
  using Clock = std::chrono::steady_clock;
  void draw(const Progress& progress, double seconds_per_step, double remaining);

  bool terminal_;
  bool line_open_ = false;
  std::string phase_;
  Clock::time_point phase_start_;
};

}  // namespace inkling::cli
