// inkling synth: a model of random weights.

#include "pipeline/synth.h"

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/progress_bar.h"

namespace inkling::cli {

int run_synth(const CommandLine& line) {
  const std::string type = line.options.text("dtype");
  const DType dtype = type == "q8_0" ? DType::q8_0 : type == "q4_0" ? DType::q4_0 : DType::bf16;
  {
    ProgressBar bar;
    write_synthetic_model(
        line.options.text("preset"), dtype, line.argument, [&](const Progress& p) { bar.report(p); }, line.cancel);
  }
  fmt::print("{}\n", line.argument);
  return 0;
}

}  // namespace inkling::cli
