// Times a run of an architecture with random weights: no checkpoint of 41 GB is needed to measure. On any device, and
// on several that share the work as a run of the engine would (team_plan.h).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "pipeline/plan.h"

namespace inkling {

struct BenchmarkResult {
  struct Device {
    std::string name, part;  // part: what of the work it has
    int64_t arena_peak_bytes = 0, device_bytes = 0;
    int64_t streamed_bytes = 0;  // of the transformer, a pass
  };
  std::vector<Device> devices;  // the main one first
  std::string precision, sharing;
  // Times are the main device's; where devices draw pictures of their own, the total waits for all.
  double setup_seconds = 0;                            // making weights, first run
  std::vector<double> forward_seconds;                 // of every denoising step of the warm runs, in order
  std::map<std::string, std::vector<double>> seconds;  // of each phase of each warm run
  std::vector<double> total_seconds;                   // of each warm run
  double forward_flops = 0;                            // of a step, on all devices that share it
  int pictures = 1;                                    // of a run
  double checksum = 0;                                 // of the last picture: equal for equal arithmetic
};

// request.model.model names a preset (presets.h). Parts stay loaded between runs, as a server would keep them. Throws
// MemoryError, before anything is made, where the network does not fit into the device, or into the host's free memory.
BenchmarkResult run_benchmark(const PlanRequest& request, int repeats, const ProgressFn& progress = {});
double median(std::vector<double> values);

}  // namespace inkling
