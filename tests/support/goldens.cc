#include "support/goldens.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>

#include "base/threads.h"

namespace inkling::testing {

namespace fs = std::filesystem;

// These networks are tiny: threads would only wait for each other.
class OneThread : public ::testing::Environment {
  void SetUp() override { set_thread_count(1); }
};
[[maybe_unused]] const auto* const kOneThread = ::testing::AddGlobalTestEnvironment(new OneThread);

fs::path golden_root() {
  if (const char* env = std::getenv("INKLING_GOLDENS")) return env;
  const fs::path fixtures = fs::path(INKLING_SOURCE_DIR) / "tests" / "parity" / "data";
  return fs::exists(fixtures / "cases") ? fixtures : fs::path();
}

std::vector<std::string> golden_cases(const std::set<std::string>& tasks) {
  std::set<std::string> names;
  const fs::path cases = golden_root() / "cases";
  if (golden_root().empty() || !fs::exists(cases)) return {};
  for (const auto& entry : fs::directory_iterator(cases)) {
    std::ifstream in(entry.path() / "case.json");
    if (in && tasks.contains(nlohmann::json::parse(in).value("task", ""))) names.insert(entry.path().filename());
  }
  return {names.begin(), names.end()};
}

Golden::Golden(const std::string& name) : root(golden_root()) {
  std::ifstream in(root / "cases" / name / "case.json");
  description = nlohmann::json::parse(in);
  trace = open_tensor_file(root / "cases" / name / "trace.safetensors");
}

Tensor Golden::load(const std::string& tensor) const {
  const TensorEntry* entry = trace->find(tensor);
  if (entry == nullptr) throw std::runtime_error("no reference tensor " + tensor);
  return to_f32(trace->load(*entry));
}

Tensor Golden::load_ids(const std::string& tensor) const {
  const Tensor stored = trace->load(*trace->find(tensor));
  Tensor ids = host_tensor(stored.shape(), DType::i32);
  for (int64_t i = 0; i < ids.elements(); ++i)
    ids.data<int32_t>()[i] =
        stored.dtype() == DType::i64 ? static_cast<int32_t>(stored.data<int64_t>()[i]) : stored.data<int32_t>()[i];
  return ids;
}

fs::path Golden::path(const char* field) const {
  return description.contains(field) && description[field].is_string() ? root / description[field].get<std::string>()
                                                                       : fs::path();
}

float relative_error(const Tensor& got, const Tensor& expected) {
  float largest = 0, difference = 0;
  for (int64_t i = 0; i < expected.elements(); ++i) {
    const float e = expected.data<float>()[i], d = std::fabs(got.data<float>()[i] - e);
    largest = std::max(largest, std::fabs(e));
    difference = std::isfinite(d) ? std::max(difference, d) : INFINITY;
  }
  return difference / std::max(largest, 1e-30f);
}

TraceComparison::TraceComparison(Ops& ops, const Golden& golden, float tolerance)
    : ops_(ops), golden_(golden), tolerance_(tolerance) {
  ops.set_trace([this](std::string_view name, const Tensor& value) { compare(std::string(name), value); });
}

TraceComparison::~TraceComparison() { ops_.set_trace({}); }

void TraceComparison::compare(const std::string& name, const Tensor& got) {
  if (!golden_.has(name) || seen_.contains(name)) return;
  seen_.insert(name);
  Tensor expected = golden_.load(name);
  Tensor host = ops_.download(got);
  if (name == "transformer.temb") {  // here: of every step
    expected = expected.reshape({1, expected.elements()});
    host = host.slice_rows(0, 1);
  }
  if (expected.shape().rank() == 2 && host.dim(0) < expected.dim(0) && name.starts_with("transformer."))
    expected = expected.slice_rows(0, host.dim(0));
  if (host.elements() != expected.elements() || host.channels() != expected.channels()) {
    ADD_FAILURE() << name << ": shape " << host.shape().str() << ", expected " << expected.shape().str();
    failed_ = true;
    return;
  }
  const float error = relative_error(host, expected);
  if (std::getenv("INKLING_TRACE_ERRORS")) std::printf("    %-50s %.2e\n", name.c_str(), error);
  if (error > worst_) worst_ = error, worst_name_ = name;
  if (!(error <= tolerance_) && !failed_) {  // later tensors follow from the first that differs
    failed_ = true;
    ADD_FAILURE() << name << ": relative error " << error << ", tolerance " << tolerance_;
  }
}

}  // namespace inkling::testing
