// Times a run of an architecture with random weights made on the device: no checkpoint of 41 GB is needed to measure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "pipeline/plan.h"

namespace inkling {

struct BenchmarkResult {
  std::string device, precision;
  double setup_seconds = 0;                            // making weights, first run
  std::vector<double> forward_seconds;                 // of every denoising step of the warm runs, in order
  std::map<std::string, std::vector<double>> seconds;  // of each phase of each warm run
  std::vector<double> total_seconds;                   // of each warm run
  double forward_flops = 0;
  int64_t arena_peak_bytes = 0, device_bytes = 0;
  int64_t streamed_bytes = 0;  // of the transformer, a pass
  double checksum = 0;         // of the last picture: equal for equal arithmetic
};

// request.model.model names a preset (presets.h). Parts stay loaded between runs, as a server would keep them.
BenchmarkResult run_benchmark(const PlanRequest& request, int repeats, const ProgressFn& progress = {});
double median(std::vector<double> values);

}  // namespace inkling
