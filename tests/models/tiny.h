// Tiny checkpoints made on the spot, for tests of loading.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "models/module.h"
#include "models/qwen_image/config.h"

namespace inkling::testing {

// A folder that disappears with the test.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

using TensorMap = std::map<std::string, Tensor>;

DitConfig tiny_dit();
Tensor random_tensor(const Shape& shape, uint32_t seed, float scale = 0.3f);
// Values for every parameter of the tree, under `prefix`.
TensorMap random_tensors(const Module& module, const std::string& prefix = "");
void save(const std::filesystem::path& file, const TensorMap& tensors,
          const std::map<std::string, std::string>& metadata = {});
// The message of the ModelError that `call` must throw.
std::string model_error(const std::function<void()>& call);
::testing::AssertionResult says(const std::string& message, const std::string& part);

}  // namespace inkling::testing
