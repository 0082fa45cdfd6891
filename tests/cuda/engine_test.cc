// Whole runs of the shipped model on a GPU: agreement with the CPU, budgets, streaming, and memory that vanishes.
#include "pipeline/engine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "backends/cuda/context.h"
#include "base/error.h"

namespace inkling {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

EngineOptions on(DeviceChoice::Kind kind, PrecisionChoice precision, int64_t max_vram = 0) {
  EngineOptions o;
  o.device.kind = kind;
  o.device.max_vram = max_vram;
  o.precision = precision;
  return o;
}

Request request(const char* prompt, int side = 256, int64_t seed = 7) {
  Request r;
  r.prompt = prompt;
  r.width = r.height = side;
  r.seed = seed;
  return r;
}

double psnr(const Image& a, const Image& b) {
  double sum = 0;
  for (size_t i = 0; i < a.pixels.size(); ++i) {
    const double d = static_cast<double>(a.pixels[i]) - static_cast<double>(b.pixels[i]);
    sum += d * d;
  }
  return 10 * std::log10(255.0 * 255.0 * static_cast<double>(a.pixels.size()) / sum);
}

class GpuEngine : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
  }
};

TEST_F(GpuEngine, DrawsThePictureOfTheCpu) {
  for (const char* prompt : {"黄色的小鸭子戴着红色帽子", "a cute panda playing with a balloon", "a blue cat"}) {
    const Result cpu = Engine(on(DeviceChoice::Kind::cpu, PrecisionChoice::f32)).run(request(prompt));
    const Result gpu = Engine(on(DeviceChoice::Kind::cuda, PrecisionChoice::bf16)).run(request(prompt));
    EXPECT_GE(psnr(cpu.images[0], gpu.images[0]), 40) << prompt;
    const Result own = Engine(on(DeviceChoice::Kind::cuda, PrecisionChoice::bf16, 4096 * kMiB)).run(request(prompt));
    EXPECT_GE(psnr(cpu.images[0], own.images[0]), 40) << prompt << ", own kernels";
  }
}

// The smallest budget that the run may have, from the error that names it.
int64_t smallest_budget(PrecisionChoice precision, int side) {
  int64_t low = 64 * kMiB, high = 4096 * kMiB;
  while (high - low > kMiB) {
    const int64_t middle = (low + high) / 2;
    try {
      Engine(on(DeviceChoice::Kind::cuda, precision, middle)).run(request("a red fox", side));
      high = middle;
    } catch (const MemoryError&) {
      low = middle;
    }
  }
  return high;
}

TEST_F(GpuEngine, StreamedAndResidentRunsAreTheSameBytes) {
  for (const PrecisionChoice p : {PrecisionChoice::bf16, PrecisionChoice::w4a8}) {
    const Result resident = Engine(on(DeviceChoice::Kind::cuda, p, 4096 * kMiB)).run(request("a red fox"));
    const Result streamed = Engine(on(DeviceChoice::Kind::cuda, p, smallest_budget(p, 256))).run(request("a red fox"));
    EXPECT_EQ(resident.images[0].pixels, streamed.images[0].pixels);
  }
}

TEST_F(GpuEngine, ThirtyRandomSizesAndBudgetsAreNeverExceeded) {
  std::mt19937 random(5);
  const int64_t before = driver_used_bytes(0);
  int drawn = 0;
  for (int i = 0; i < 30; ++i) {
    const int side = 64 + 16 * static_cast<int>(random() % 29);
    const int64_t budget = (740 + static_cast<int64_t>(random() % 120)) * kMiB;
    const auto precision = random() % 2 == 0 ? PrecisionChoice::w4a8 : PrecisionChoice::bf16;
    int64_t seen = 0;
    Callbacks callbacks;
    callbacks.progress = [&](const Progress&) { seen = std::max(seen, driver_used_bytes(0) - before); };
    Request r = request("a red fox", side);
    r.steps = 2;
    try {
      const Result result = Engine(on(DeviceChoice::Kind::cuda, precision, budget)).run(r, callbacks);
      EXPECT_LE(result.device_bytes, budget);
      ++drawn;
    } catch (const MemoryError& e) {
      EXPECT_NE(std::string(e.what()).find("smallest"), std::string::npos) << e.what();
    }
    if (before >= 0) {
      EXPECT_LE(seen, budget) << side << " pixels, " << (budget >> 20) << " MiB";
    }
  }
  EXPECT_GE(drawn, 20);
}

TEST_F(GpuEngine, KeptPartsDrawTheSameAgain) {
  EngineOptions o = on(DeviceChoice::Kind::cuda, PrecisionChoice::w4a8, smallest_budget(PrecisionChoice::w4a8, 256));
  o.keep_loaded = true;
  Engine engine(o);
  const Result first = engine.run(request("a red fox")), second = engine.run(request("a red fox"));
  EXPECT_EQ(first.images[0].pixels, second.images[0].pixels);
}

TEST_F(GpuEngine, StepsDownTheLadderWhenMemoryVanishes) {
  const Result calm =
      Engine(on(DeviceChoice::Kind::cuda, PrecisionChoice::bf16, 4096 * kMiB)).run(request("a red fox"));
  for (int failures = 1; failures <= 4; ++failures) {
    EngineOptions o = on(DeviceChoice::Kind::automatic, PrecisionChoice::automatic, 4096 * kMiB);
    o.device.injected_failures = failures;
    const Result result = Engine(o).run(request("a red fox"));
    EXPECT_EQ(std::ssize(result.notes), failures);
    EXPECT_EQ(result.device == "cpu", failures == 4);
    EXPECT_GE(psnr(calm.images[0], result.images[0]), 15) << result.notes.back();
  }
  EngineOptions o = on(DeviceChoice::Kind::cuda, PrecisionChoice::bf16, 4096 * kMiB);
  o.device.injected_failures = 3;
  EXPECT_THROW(Engine(o).run(request("a red fox")), MemoryError);
}

}  // namespace
}  // namespace inkling
