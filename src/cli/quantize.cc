// inkling quantize IN OUT: a model with smaller numbers.

#include "compress/quantize/quantize.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/progress_bar.h"

namespace inkling::cli {

namespace {

nlohmann::ordered_json calibration_json(const QuantizeReport& report) {
  nlohmann::ordered_json kinds = nlohmann::ordered_json::object();
  for (const auto& [kind, c] : report.calibration) {
    const auto count = static_cast<double>(c.matrices);
    kinds[kind] = {{"matrices", c.matrices},
                   {"eight_bits", c.eight_bits},
                   {"error_nearest", c.nearest / count},
                   {"error", c.calibrated / count}};
  }
  return kinds;
}

void print_calibration(const QuantizeReport& report) {
  fmt::print("calibrated by {} prompts; noise of the outputs over their variance, mean over the matrices of a kind:\n",
             report.prompts);
  for (const auto& [kind, c] : report.calibration) {
    const auto count = static_cast<double>(c.matrices);
    const std::string eight = c.eight_bits > 0 ? fmt::format(", {} of them in 8 bits", c.eight_bits) : "";
    fmt::print("{:>20} x {:<3} to the nearest {:.5f}, calibrated {:.5f}{}\n", kind, c.matrices, c.nearest / count,
               c.calibrated / count, eight);
  }
}

}  // namespace

int run_quantize(const CommandLine& line) {
  QuantizeReport report;
  {
    ProgressBar bar;
    QuantizeOptions options;
    options.target = quantize_target(line.options.text("to"));
    options.calibrate = line.options.text("calibrate");
    options.bits = line.options.real("bits").value_or(0);
    options.progress = [&](const Progress& p) { bar.report(p); };
    options.cancel = line.cancel;
    report = quantize_model(line.argument, line.second_argument, options);
  }
  if (line.options.flag("json")) {
    nlohmann::ordered_json types = nlohmann::ordered_json::object();
    for (const auto& [type, count] : report.types) types[type] = {{"tensors", count.tensors}, {"bytes", count.bytes}};
    nlohmann::ordered_json result{{"path", line.second_argument},
                                  {"bytes_read", report.bytes_read},
                                  {"bytes_written", report.bytes_written},
                                  {"types", types}};
    if (report.prompts > 0)
      result["calibration"] = {{"prompts", report.prompts}, {"matrices", calibration_json(report)}};
    fmt::print("{}\n", result.dump());
    return 0;
  }
  if (report.prompts > 0) print_calibration(report);
  for (const auto& [type, count] : report.types)
    fmt::print("{:>8} x {:<5} {:10.1f} MB\n", type, count.tensors, static_cast<double>(count.bytes) / 1e6);
  fmt::print("{}: {:.1f} MB, was {:.1f} MB\n", line.second_argument, static_cast<double>(report.bytes_written) / 1e6,
             static_cast<double>(report.bytes_read) / 1e6);
  return 0;
}

}  // namespace inkling::cli
