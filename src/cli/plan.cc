#include "cli/commands.h"
namespace inkling::cli {
int run_plan(const CommandLine&) { return 0; }
}
