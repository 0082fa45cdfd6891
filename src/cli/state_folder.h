// Where the program keeps what it may lose: caches.
#pragma once

#include <cstdlib>
#include <string>

#include "pipeline/options.h"

namespace inkling::cli {

// Of --state; empty for "none".
inline std::string state_folder(const OptionValues& options) {
  if (const std::string given = options.text("state"); !given.empty()) return given == "none" ? "" : given;
  if (const char* state = std::getenv("XDG_STATE_HOME"); state != nullptr && *state == '/')
    return std::string(state) + "/inkling";
  const char* home = std::getenv("HOME");
  return home == nullptr || *home != '/' ? std::string() : std::string(home) + "/.local/state/inkling";
}

}  // namespace inkling::cli
