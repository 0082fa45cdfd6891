#include "models/tiny.h"

#include <stdlib.h>

#include <random>
#include <vector>

#include "base/error.h"
#include "formats/tensor_file.h"

namespace inkling::testing {

namespace fs = std::filesystem;

TempDir::TempDir() {
  std::string pattern = (fs::temp_directory_path() / "inkling-test-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make a temporary folder");
  path_ = pattern;
}

TempDir::~TempDir() { fs::remove_all(path_); }

DitConfig tiny_dit() {
  DitConfig c;
  c.in_channels = 16;
  c.out_channels = 4;
  c.layers = 2;
  c.heads = 2;
  c.head_dim = 16;
  c.text_dim = 12;
  c.mlp_dim = 4 * c.dim();
  c.rope_axes = {4, 6, 6};
  return c;
}

Tensor random_tensor(const Shape& shape, uint32_t seed, float scale) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.f, scale);
  Tensor t = host_tensor(shape);
  for (float& v : t.span<float>()) v = normal(generator);
  return t;
}

TensorMap random_tensors(const Module& module, const std::string& prefix) {
  TensorMap tensors;
  module.for_each_parameter([&](const Parameter& p) {
    const std::string name = prefix + p.name;
    const auto seed = static_cast<uint32_t>(std::hash<std::string>{}(p.name));
    tensors[name] = random_tensor(p.shape, seed);
    if (p.weight == nullptr || !p.weight->has_bias) return;
    tensors[name.substr(0, name.size() - 6) + "bias"] = random_tensor(Shape{p.shape[0]}, seed + 1);
  });
  return tensors;
}

void save(const fs::path& file, const TensorMap& tensors, const std::map<std::string, std::string>& metadata) {
  std::vector<TensorToWrite> list;
  std::vector<Tensor> values;
  for (const auto& [name, tensor] : tensors) {
    list.push_back({name, tensor.dtype(), tensor.shape()});
    values.push_back(tensor);
  }
  write_safetensors(
      file, list, [&](size_t i) { return values[i]; }, metadata);
}

std::string model_error(const std::function<void()>& call) {
  try {
    call();
  } catch (const ModelError& e) {
    return e.what();
  }
  ADD_FAILURE() << "no ModelError was thrown";
  return "";
}

::testing::AssertionResult says(const std::string& message, const std::string& part) {
  if (message.find(part) != std::string::npos) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "\"" << message << "\" does not say \"" << part << "\"";
}

}  // namespace inkling::testing
