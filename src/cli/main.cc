// The command line: parses flags into OptionValues by the option table, runs one subcommand, turns errors into
// exit codes (README, "Exit codes").

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "base/error.h"
#include "cli/commands.h"

namespace inkling::cli {
namespace {

struct Command {
  const char* name;
  const char* help;
  unsigned scope;
  const char* argument;  // name of the positional argument, or null
  int (*run)(const CommandLine&);
  const char* second_argument = nullptr;
  bool hidden = false;  // started by the program itself
};

constexpr Command kCommands[] = {
    {"generate", "draw a picture from a prompt", kGenerate, nullptr, run_generate},
    {"edit", "change a picture by an instruction", kEdit, nullptr, run_edit},
    {"inspect", "show what is in a model file, a model folder or a picture", kInspect, "PATH", run_inspect},
    {"plan", "show memory and work of a run without loading a model", kPlan, nullptr, run_plan},
    {"bench", "time an architecture with random weights, as a whole or kernel by kernel", kBench, nullptr, run_bench},
    {"quantize", "write a model with smaller numbers: IN to OUT, files or folders", kQuantize, "IN", run_quantize,
     "OUT"},
    {"synth", "write a model of random weights, for benchmarks", kSynth, "DIR", run_synth},
    {"serve", "serve the API, the children's page and the photo editor", kServe, nullptr, run_serve},
    {"top", "watch a server in the terminal", kTop, nullptr, run_top},
    {"pool", "draw the most asked animals ahead, for answers within a second", kPool, nullptr, run_pool},
    {"safety", "measure the safety filter on a folder of test sets", kSafety, "FOLDER", run_safety},
    {"worker", "", kWorker, nullptr, run_worker, nullptr, true},
    {"decode", "", kDecode, nullptr, run_decode, nullptr, true},
};

CancelToken g_cancel;

// First Ctrl-C: stop after the current step. Second: at once.
void on_interrupt(int) {
  if (g_cancel.cancelled()) _exit(130);
  g_cancel.cancel();
}

// A mapped model file that is cut short while it is read: the pages are gone, so the run cannot go on.
void on_bus_error(int) {
  constexpr std::string_view kMessage = "inkling: a model file was changed or cut short while it was in use\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kMessage.data(), kMessage.size());
  _exit(3);
}

// What the user typed for each option; one vector per option of the table.
using Typed = std::vector<std::vector<std::string>>;

void add_options(CLI::App& app, unsigned scope, Typed& typed) {
  const auto table = option_table();
  for (size_t i = 0; i < table.size(); ++i) {
    const Option& o = table[i];
    if ((o.scope & scope) == 0) continue;
    std::string flags = "--" + std::string(o.name);
    if (!o.short_flag.empty()) flags = fmt::format("-{},{}", o.short_flag, flags);
    std::string help(o.help);
    if (!o.choices.empty()) help += fmt::format(" [{}]", o.choices);
    if (!o.fallback.empty()) help += fmt::format(" (default: {})", o.fallback);
    CLI::Option* option = o.kind == Option::Kind::flag
                              ? app.add_flag_function(
                                    flags, [&typed, i](int64_t n) { typed[i] = {n > 0 ? "true" : "false"}; }, help)
                              : app.add_option(flags, typed[i], help);
    if (o.kind != Option::Kind::flag) {
      option->type_name(o.kind == Option::Kind::integer ? "N" : o.kind == Option::Kind::real ? "X" : "TEXT");
      option->expected(1)->multi_option_policy(o.repeats ? CLI::MultiOptionPolicy::TakeAll
                                                         : CLI::MultiOptionPolicy::TakeLast);
      if (!o.repeats) option->allow_extra_args(false);  // else it eats positional arguments
    }
    option->envname(o.environment_name());
  }
}

int dispatch(int argc, char** argv) {
  CLI::App app("inkling: the Qwen-Image family on the machine you own", "inkling");
  app.require_subcommand(1);
  app.set_version_flag("--version", INKLING_VERSION);
  std::vector<Typed> typed(std::size(kCommands), Typed(option_table().size()));
  CommandLine line;
  line.cancel = &g_cancel;
  std::vector<CLI::App*> subcommands;
  for (size_t c = 0; c < std::size(kCommands); ++c) {
    CLI::App* sub = app.add_subcommand(kCommands[c].name, kCommands[c].help);
    if (kCommands[c].hidden) sub->group("");
    add_options(*sub, kCommands[c].scope, typed[c]);
    if (kCommands[c].argument != nullptr) sub->add_option(kCommands[c].argument, line.argument)->required();
    if (kCommands[c].second_argument != nullptr)
      sub->add_option(kCommands[c].second_argument, line.second_argument)->required();
    subcommands.push_back(sub);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  for (size_t c = 0; c < std::size(kCommands); ++c) {
    if (!subcommands[c]->parsed()) continue;
    for (size_t i = 0; i < option_table().size(); ++i)
      for (const std::string& value : typed[c][i]) line.options.set(option_table()[i].name, value);
    return kCommands[c].run(line);
  }
  return 2;
}

// libgomp reads its wait policy once, before main(): its default lets threads spin between parallel regions, which
// makes a picture fifty times slower (measured: 11.6 s for 0.25 s) when anything else runs on the machine. So the
// program starts itself again with the policy set, unless the user chose one.
void sleep_between_parallel_regions(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  setenv("OMP_WAIT_POLICY", "passive", 1);
  execv("/proc/self/exe", argv);  // returns only on failure; then the run goes on as it is
}

}  // namespace
}  // namespace inkling::cli

int main(int argc, char** argv) {
  using namespace inkling;
  cli::sleep_between_parallel_regions(argv);
  std::signal(SIGINT, cli::on_interrupt);
  std::signal(SIGTERM, cli::on_interrupt);
  std::signal(SIGBUS, cli::on_bus_error);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file-size limit is an error of write(), as a full disk is
  try {
    return cli::dispatch(argc, argv);
  } catch (const Error& e) {
    fmt::print(stderr, "inkling: {}\n", e.what());
    return e.exit_code();
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "inkling: out of memory; try a smaller picture, --vae-tiling or --precision bf16\n");
    return 4;
  } catch (const std::exception& e) {
    fmt::print(stderr, "inkling: {}\n", e.what());
    return 1;
  }
}
