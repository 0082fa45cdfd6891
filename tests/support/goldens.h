// Reference runs (tools/parity): a case's description and traced tensors, and the comparison with them.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "formats/tensor_file.h"
#include "ops/ops.h"

namespace inkling::testing {

// Folder of the goldens: INKLING_GOLDENS, else the committed fixtures; empty when there are none.
std::filesystem::path golden_root();
// Names of the cases of these tasks ("generate", "edit", "transformer").
std::vector<std::string> golden_cases(const std::set<std::string>& tasks);

struct Golden {
  std::filesystem::path root;
  nlohmann::json description;
  std::unique_ptr<TensorFile> trace;

  explicit Golden(const std::string& name);
  bool has(const std::string& tensor) const { return trace->find(tensor) != nullptr; }
  Tensor load(const std::string& tensor) const;                                                     // f32
  Tensor load_ids(const std::string& tensor) const;                                                 // i32
  Tensor load_bytes(const std::string& tensor) const { return trace->load(*trace->find(tensor)); }  // u8
  // A path field of the description; empty when absent.
  std::filesystem::path path(const char* field) const;
};

// Largest difference over the largest reference value.
float relative_error(const Tensor& got, const Tensor& expected);

// Compares everything a model traces with the reference of the same name. A trace of fewer rows is compared
// with as many rows of the reference: the DiT's head runs on the denoised tokens only.
class TraceComparison {
 public:
  TraceComparison(Ops& ops, const Golden& golden, float tolerance);
  ~TraceComparison();
  void compare(const std::string& name, const Tensor& got);  // outside the hook
  const std::set<std::string>& seen() const { return seen_; }
  float worst() const { return worst_; }
  const std::string& worst_name() const { return worst_name_; }

 private:
  Ops& ops_;
  const Golden& golden_;
  float tolerance_;
  bool failed_ = false;
  std::set<std::string> seen_;
  float worst_ = 0;
  std::string worst_name_;
};

}  // namespace inkling::testing
