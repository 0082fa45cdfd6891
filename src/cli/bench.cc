// inkling bench: an architecture with random weights, timed as a whole, or its kernels one by one.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/progress_bar.h"
#include "pipeline/benchmark.h"
#include "pipeline/kernel_benchmark.h"

namespace inkling::cli {

namespace {

void print_table(const PlanRequest& r, const BenchmarkResult& b) {
  fmt::print("{}, {}: {} {} x {}, {} references, {} steps\n", b.devices.front().name, b.precision,
             r.model.model.string(), r.width, r.height, r.references, r.steps);
  if (b.devices.size() > 1) fmt::print("{} devices: {}\n", b.devices.size(), b.sharing);
  const double forward = median(b.forward_seconds);
  fmt::print("{:<14} {:>10.2f} ms  {:.3g} TFLOP, {:.3g} TFLOP/s", "forward", forward * 1e3, b.forward_flops / 1e12,
             b.forward_flops / forward / 1e12);
  if (const auto streamed = static_cast<double>(b.devices.front().streamed_bytes); streamed > 0)
    fmt::print(", {:.2f} GiB streamed at {:.1f} GB/s", streamed / 0x1p30, streamed / forward / 1e9);
  fmt::print("\n");
  for (const auto& [phase, seconds] : b.seconds) fmt::print("{:<14} {:>10.2f} ms\n", phase, median(seconds) * 1e3);
  fmt::print("{:<14} {:>10.2f} ms\n", b.pictures == 1 ? "picture, warm" : fmt::format("{} pictures", b.pictures),
             median(b.total_seconds) * 1e3);
  fmt::print("{:<14} {:>10.2f} s\n", "first run", b.setup_seconds);
  for (const BenchmarkResult::Device& d : b.devices) {
    fmt::print("{:<14} {:>10.0f} MiB of weights and activations", "peak",
               static_cast<double>(d.arena_peak_bytes) / 0x1p20);
    if (d.device_bytes > 0) fmt::print(", {:.0f} MiB of the GPU", static_cast<double>(d.device_bytes) / 0x1p20);
    if (b.devices.size() > 1) fmt::print("  {}: {}", d.name, d.part);
    fmt::print("\n");
  }
}

nlohmann::ordered_json to_json(const PlanRequest& r, const BenchmarkResult& b) {
  const BenchmarkResult::Device& main = b.devices.front();
  nlohmann::ordered_json j{{"model", r.model.model.string()},
                           {"device", main.name},
                           {"precision", b.precision},
                           {"width", r.width},
                           {"height", r.height},
                           {"references", r.references},
                           {"steps", r.steps},
                           {"pictures", b.pictures},
                           {"max_vram", r.model.device.max_vram},
                           {"forward_ms", median(b.forward_seconds) * 1e3},
                           {"forward_flops", b.forward_flops},
                           {"picture_ms", median(b.total_seconds) * 1e3},
                           {"first_run_seconds", b.setup_seconds},
                           {"streamed_bytes", main.streamed_bytes},
                           {"arena_peak_bytes", main.arena_peak_bytes},
                           {"device_bytes", main.device_bytes},
                           {"checksum", b.checksum}};
  for (const auto& [phase, seconds] : b.seconds) j["phase_ms"][phase] = median(seconds) * 1e3;
  if (b.devices.size() == 1) return j;
  j["sharing"] = b.sharing;
  for (const BenchmarkResult::Device& d : b.devices)
    j["devices"].push_back({{"device", d.name},
                            {"part", d.part},
                            {"streamed_bytes", d.streamed_bytes},
                            {"arena_peak_bytes", d.arena_peak_bytes},
                            {"device_bytes", d.device_bytes}});
  return j;
}

// --- kernel by kernel ------------------------------------------------------------------------------------------------
std::string percent(double part) { return part > 0 ? fmt::format("{:.1f} %", part * 100) : ""; }

double of_copy(const KernelTable& t, const KernelRow& r) {
  return t.ceilings.copy.per_second > 0 ? r.bytes_per_second() / t.ceilings.copy.per_second : 0;
}

// The ceilings when they are known, then row after row.
void print_last(const KernelTable& t) {
  if (t.rows.empty()) {
    fmt::print("{}; what it can do at most:\n", t.device);
    for (size_t f = 0; f < kNumberFormats; ++f)
      if (const Ceiling& c = t.ceilings.products[f]; c.per_second > 0)
        fmt::print("  {:<5}{:>9.3f} TOP/s  {}\n", name(static_cast<NumberFormat>(f)), c.per_second / 1e12, c.how);
    fmt::print("  {:<5}{:>9.1f} GB/s   {}\n\n", "copy", t.ceilings.copy.per_second / 1e9, t.ceilings.copy.how);
    fmt::print("{:<30} {:<28} {:<5} {:>10} {:>8} {:>8} {:<11} {:>8} {:>8} {:>9} {:>7}\n", "kernel", "shape", "", "ms",
               "TOP/s", "ceiling", "of", "GB/s", "of copy", "least MB", "traffic");
    return;
  }
  const KernelRow& r = t.rows.back();
  fmt::print("{:<30} {:<28} {:<5} ", r.kernel, r.shape, r.precision);
  if (r.seconds == 0) {
    fmt::print("{}\n", r.note);
    return;
  }
  fmt::print("{:>10.3f} {:>8} {:>8} {:<11} {:>8.1f} {:>8} {:>9.2f} {:>6.2f}x\n", r.seconds * 1e3,
             r.operations > 0 ? fmt::format("{:.3f}", r.operations_per_second() / 1e12) : "", percent(r.of_ceiling()),
             r.formats, r.bytes_per_second() / 1e9, percent(of_copy(t, r)), static_cast<double>(r.bytes) / 1e6,
             r.traffic());
  std::fflush(stdout);
}

nlohmann::ordered_json to_json(const PlanRequest& request, const KernelTable& t) {
  nlohmann::ordered_json j{{"model", request.model.model.string()},
                           {"device", t.device},
                           {"width", request.width},
                           {"height", request.height},
                           {"prompt_tokens", request.prompt_tokens}};
  const auto ceiling = [](const Ceiling& c) {
    return nlohmann::ordered_json{{"per_second", c.per_second}, {"how", c.how}};
  };
  for (size_t f = 0; f < kNumberFormats; ++f)
    if (t.ceilings.products[f].per_second > 0)
      j["ceilings"][std::string(name(static_cast<NumberFormat>(f)))] = ceiling(t.ceilings.products[f]);
  j["ceilings"]["copy"] = ceiling(t.ceilings.copy);
  for (const KernelRow& r : t.rows) {
    nlohmann::ordered_json row{{"kernel", r.kernel}, {"shape", r.shape}, {"precision", r.precision}};
    if (r.seconds == 0) {
      row["note"] = r.note;
    } else {
      row["ms"] = r.seconds * 1e3;
      row["busy_ms"] = r.busy_seconds * 1e3;
      row["bytes"] = r.bytes;
      row["bytes_per_second"] = r.bytes_per_second();
      row["of_copy"] = of_copy(t, r);
      row["traffic"] = r.traffic();
    }
    if (r.seconds > 0 && r.operations > 0) {
      row["formats"] = r.formats;
      row["operations"] = r.operations;
      row["operations_per_second"] = r.operations_per_second();
      row["of_ceiling"] = r.of_ceiling();
      row["busy_of_ceiling"] = r.busy_of_ceiling();
    }
    j["rows"].push_back(row);
  }
  return j;
}

int bench_kernels(const PlanRequest& r, int repeats, bool json) {
  const KernelTable table = run_kernel_benchmark(r, repeats, json ? nullptr : print_last);
  if (json) fmt::print("{}\n", to_json(r, table).dump());
  return 0;
}

}  // namespace

int run_bench(const CommandLine& line) {
  const OptionValues& o = line.options;
  PlanRequest r = make_plan_request(o);
  DeviceChoice& device = r.model.device;
  if (device.kind == DeviceChoice::Kind::automatic)
    device.kind = gpu_count() > 0 ? DeviceChoice::Kind::cuda : DeviceChoice::Kind::cpu;
  const bool on_gpu = device.kind == DeviceChoice::Kind::cuda;
  // On a CPU the published layout takes minutes a picture and 57 GB; the architecture that ships takes seconds.
  if (!o.given("model")) r.model.model = !on_gpu ? "tiny" : r.references > 0 ? "qwen-image-edit-2509" : "qwen-image";
  if (!o.given("cfg-scale")) r.cfg_scale = 1;
  if (r.steps == 0) r.steps = 4;
  if (r.width == 0) r.width = r.height > 0 ? r.height : on_gpu ? 1024 : 256;
  if (r.height == 0) r.height = r.width;
  const int repeats = static_cast<int>(o.integer("repeats").value_or(5));
  if (o.flag("kernels")) return bench_kernels(r, repeats, o.flag("json"));
  ProgressBar bar;
  const BenchmarkResult b = run_benchmark(r, repeats, [&](const Progress& p) { bar.report(p); });
  if (o.flag("json"))
    fmt::print("{}\n", to_json(r, b).dump());
  else
    print_table(r, b);
  return 0;
}

}  // namespace inkling::cli
