// inkling safety FOLDER: how the safety filter does on a folder of test texts (tests/safety/data).

#include <fmt/format.h>

#include "cli/commands.h"
#include "safety/report.h"

namespace inkling::cli {

int run_safety(const CommandLine& line) {
  const SafetyFilter filter;
  const SafetyReport report = measure_safety(filter, line.argument);
  fmt::print("filter {}\n\n{}", filter.version(), format_report(report));
  // Of the dev half only: the held-out half stays unseen, so that it goes on telling the truth.
  if (!report.dev_errors.empty()) fmt::print("\nerrors in the dev half:\n");
  for (const std::string& error : report.dev_errors) fmt::print("  {}\n", error);
  return report.good() ? 0 : 1;
}

}  // namespace inkling::cli
