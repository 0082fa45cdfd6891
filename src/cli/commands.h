// One function per subcommand. Each gets the parsed options and returns the exit code; errors are exceptions
// that main() prints and turns into exit codes.
#pragma once

#include <string>

#include "base/progress.h"
#include "pipeline/options.h"
#include "pipeline/plan.h"

namespace inkling::cli {

struct CommandLine {
  OptionValues options;
  std::string argument;         // the positional one: FILE of inspect, DIR of synth, IN of quantize
  std::string second_argument;  // OUT of quantize
  const CancelToken* cancel = nullptr;
};

int run_generate(const CommandLine& line);
int run_edit(const CommandLine& line);
int run_inspect(const CommandLine& line);
int run_plan(const CommandLine& line);
int run_bench(const CommandLine& line);
int run_synth(const CommandLine& line);
int run_quantize(const CommandLine& line);
int run_serve(const CommandLine& line);
int run_worker(const CommandLine& line);
int run_decode(const CommandLine& line);
int run_top(const CommandLine& line);
int run_pool(const CommandLine& line);
int run_safety(const CommandLine& line);

// What plan and bench are asked for. Throws ArgumentError.
PlanRequest make_plan_request(const OptionValues& options);

}  // namespace inkling::cli
