// inkling bench: the full-size architecture with random weights, timed on a GPU.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/progress_bar.h"
#include "pipeline/benchmark.h"

namespace inkling::cli {

namespace {

void print_table(const PlanRequest& r, const BenchmarkResult& b) {
  fmt::print("{}, {}: {} {} x {}, {} references, {} steps\n", b.device, b.precision, r.model.model.string(), r.width,
             r.height, r.references, r.steps);
  const double forward = median(b.forward_seconds);
  fmt::print("{:<14} {:>10.2f} ms  {:.1f} TFLOP, {:.0f} TFLOP/s", "forward", forward * 1e3, b.forward_flops / 1e12,
             b.forward_flops / forward / 1e12);
  if (b.streamed_bytes > 0)
    fmt::print(", {:.2f} GiB streamed at {:.1f} GB/s", static_cast<double>(b.streamed_bytes) / 0x1p30,
               static_cast<double>(b.streamed_bytes) / forward / 1e9);
  fmt::print("\n");
  for (const auto& [phase, seconds] : b.seconds) fmt::print("{:<14} {:>10.2f} ms\n", phase, median(seconds) * 1e3);
  fmt::print("{:<14} {:>10.2f} ms\n", "picture, warm", median(b.total_seconds) * 1e3);
  fmt::print("{:<14} {:>10.2f} s\n", "first run", b.setup_seconds);
  fmt::print("{:<14} {:>10.0f} MiB of the GPU, {:.0f} MiB of weights and activations\n", "peak",
             static_cast<double>(b.device_bytes) / 0x1p20, static_cast<double>(b.arena_peak_bytes) / 0x1p20);
}

nlohmann::ordered_json to_json(const PlanRequest& r, const BenchmarkResult& b) {
  nlohmann::ordered_json j{{"model", r.model.model.string()},
                           {"device", b.device},
                           {"precision", b.precision},
                           {"width", r.width},
                           {"height", r.height},
                           {"references", r.references},
                           {"steps", r.steps},
                           {"max_vram", r.model.device.max_vram},
                           {"forward_ms", median(b.forward_seconds) * 1e3},
                           {"forward_flops", b.forward_flops},
                           {"picture_ms", median(b.total_seconds) * 1e3},
                           {"first_run_seconds", b.setup_seconds},
                           {"streamed_bytes", b.streamed_bytes},
                           {"arena_peak_bytes", b.arena_peak_bytes},
                           {"device_bytes", b.device_bytes},
                           {"checksum", b.checksum}};
  for (const auto& [phase, seconds] : b.seconds) j["phase_ms"][phase] = median(seconds) * 1e3;
  return j;
}

}  // namespace

int run_bench(const CommandLine& line) {
  const OptionValues& o = line.options;
  PlanRequest r = make_plan_request(o);
  if (!o.given("model")) r.model.model = r.references > 0 ? "qwen-image-edit-2509" : "qwen-image";
  if (!o.given("device")) r.model.device.kind = DeviceChoice::Kind::cuda;
  if (!o.given("cfg-scale")) r.cfg_scale = 1;
  if (r.steps == 0) r.steps = 4;
  if (r.width == 0) r.width = 1024;
  if (r.height == 0) r.height = r.width;
  ProgressBar bar;
  const BenchmarkResult b =
      run_benchmark(r, static_cast<int>(o.integer("repeats").value_or(5)), [&](const Progress& p) { bar.report(p); });
  if (o.flag("json"))
    fmt::print("{}\n", to_json(r, b).dump());
  else
    print_table(r, b);
  return 0;
}

}  // namespace inkling::cli
