// inkling quantize IN OUT: a model with smaller numbers.

#include "compress/quantize/quantize.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/progress_bar.h"

namespace inkling::cli {

int run_quantize(const CommandLine& line) {
  QuantizeReport report;
  {
    ProgressBar bar;
    QuantizeOptions options;
    options.target = quantize_target(line.options.text("to"));
    options.progress = [&](const Progress& p) { bar.report(p); };
    options.cancel = line.cancel;
    report = quantize_model(line.argument, line.second_argument, options);
  }
  if (line.options.flag("json")) {
    nlohmann::ordered_json types = nlohmann::ordered_json::object();
    for (const auto& [type, count] : report.types) types[type] = {{"tensors", count.tensors}, {"bytes", count.bytes}};
    fmt::print("{}\n", nlohmann::ordered_json{{"path", line.second_argument},
                                              {"bytes_read", report.bytes_read},
                                              {"bytes_written", report.bytes_written},
                                              {"types", types}}
                           .dump());
    return 0;
  }
  for (const auto& [type, count] : report.types)
    fmt::print("{:>8} x {:<5} {:10.1f} MB\n", type, count.tensors, static_cast<double>(count.bytes) / 1e6);
  fmt::print("{}: {:.1f} MB, was {:.1f} MB\n", line.second_argument, static_cast<double>(report.bytes_written) / 1e6,
             static_cast<double>(report.bytes_read) / 1e6);
  return 0;
}

}  // namespace inkling::cli
