// The shipped model rounded by prompts (inkling quantize --calibrate, --bits) and read back from the file: how near its
// velocity on other, held-out prompts comes to that of float32.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <iostream>

#include "base/error.h"
#include "compress/quantize/calibrate.h"
#include "compress/quantize/quantize.h"
#include "models/checkpoint.h"
#include "support/velocity.h"

namespace inkling::testing {
namespace {

namespace fs = std::filesystem;

class CalibratedFile : public ::testing::Test {
 protected:
  CalibratedFile() {
    std::string pattern = (fs::temp_directory_path() / "inkling-test-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make a temporary folder");
    dir_ = pattern;
  }
  ~CalibratedFile() override { fs::remove_all(dir_); }

  // The first prompts of the calibration set that ships.
  fs::path prompts(int count) {
    std::ifstream all(fs::path(INKLING_SOURCE_DIR) / "data/calibration/prompts.jsonl");
    std::ofstream some(dir_ / "prompts.jsonl");
    std::string line;
    for (int i = 0; i < count && std::getline(all, line); ++i) some << line << '\n';
    return dir_ / "prompts.jsonl";
  }
  fs::path quantize(const std::string& name, const fs::path& calibrate, double bits) {
    QuantizeOptions options;
    options.target = quantize_target("w4a8");
    options.calibrate = calibrate;
    options.bits = bits;
    report_ = quantize_model(shipped_model(), dir_ / name, options);
    return dir_ / name;
  }
  static Closeness closeness(const fs::path& model, const std::vector<VelocitySample>& samples) {
    CpuOps ops(CpuOptions{Precision::w4a8});
    ShippedTransformer transformer(ops, model);
    std::vector<Closeness> by_step;
    Closeness pooled;
    for (const VelocitySample& sample : samples) transformer.run(sample, by_step, pooled);
    return pooled;
  }

  fs::path dir_;
  QuantizeReport report_;
};

// Few prompts, so that the test stays short: with all 64 of the set docs/performance.md has the figures.
TEST_F(CalibratedFile, ComesNearerToFloat32OnPromptsItHasNotSeen) {
  const std::vector<VelocitySample> samples = float32_runs(4);
  const fs::path nearest = quantize("nearest", {}, 0), mixed = quantize("mixed", prompts(12), 5);
  const Closeness before = closeness(nearest, samples), after = closeness(mixed, samples);
  std::cout << fmt::format("  w4a8: cosine {:.5f}, relative L2 {:.4f}\n  calibrated, 5 bits: cosine {:.5f}, {:.4f}\n",
                           before.cosine(), before.relative(), after.cosine(), after.relative());
  EXPECT_GE(after.cosine(), 0.9975);
  EXPECT_LE(after.relative(), 0.45 * before.relative());

  // Both forms are in the file, in bytes as wished for, and each is read as what it is.
  const Checkpoint checkpoint =
      Checkpoint::open(mixed / "transformer/diffusion_pytorch_model.safetensors", Component::dit);
  double bytes = 0, elements = 0;
  std::map<LowBit, int> forms;
  for (const auto& [name, t] : checkpoint.tensors()) {
    if (t.low_bit == LowBit::none || name.ends_with("_mod.1.weight")) continue;
    ++forms[t.low_bit];
    bytes += static_cast<double>(matrix_bytes(t.shape, t.dtype, t.low_bit));
    elements += static_cast<double>(t.shape.elements());
  }
  EXPECT_GE(forms[LowBit::w8a8], 8);
  EXPECT_GE(forms[LowBit::w4a8], 60);
  EXPECT_LE(8 * bytes / elements, 5.);
  EXPECT_GE(8 * bytes / elements, 4.8);

  // The report counts every matrix that the transformer has, and says that each kind became better.
  int64_t matrices = 0;
  for (const auto& [kind, c] : report_.calibration) {
    matrices += c.matrices;
    EXPECT_LT(c.calibrated, 0.6 * c.nearest) << kind;
  }
  EXPECT_EQ(matrices, 8 * 12 - 4);
  EXPECT_EQ(report_.prompts, 12);
}

TEST_F(CalibratedFile, SaysWhatItCannotDo) {
  QuantizeOptions options;
  options.calibrate = prompts(1);
  const auto error = [&](const fs::path& in, const char* target, double bits) -> std::string {
    options.target = quantize_target(target);
    options.bits = bits;
    try {
      quantize_model(in, dir_ / "out", options);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_NE(error(shipped_model(), "nf4", 0).find("expected w4a8 or w8a8"), std::string::npos);
  EXPECT_NE(error(shipped_model(), "w8a8", 5).find("only for w4a8"), std::string::npos);
  EXPECT_NE(error(shipped_model() / "transformer", "w4a8", 0).find("whole model"), std::string::npos);
  std::ofstream(dir_ / "prompts.jsonl") << "\n";
  EXPECT_NE(error(shipped_model(), "w4a8", 0).find("holds no prompt"), std::string::npos);
  options.calibrate.clear();
  EXPECT_NE(error(shipped_model(), "w4a8", 5).find("with prompts"), std::string::npos);
  EXPECT_FALSE(fs::exists(dir_ / "out"));
}

}  // namespace
}  // namespace inkling::testing
