#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace inkling::testing {

// What diffusers computes; see make_vectors.py.
inline const nlohmann::json& vectors() {
  static const nlohmann::json loaded = [] {
    std::ifstream file(std::string(INKLING_SOURCE_DIR) + "/tests/diffusion/data/vectors.json");
    return nlohmann::json::parse(file);
  }();
  return loaded;
}

}  // namespace inkling::testing
