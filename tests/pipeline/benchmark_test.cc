// Timing a run of random weights on CPU backends, alone and shared.
#include "pipeline/benchmark.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/threads.h"

namespace inkling {
namespace {

PlanRequest small(const char* devices, float cfg_scale, DeviceSplit split = DeviceSplit::automatic) {
  PlanRequest r;
  r.model.model = "tiny";
  r.model.device = parse_device(devices);
  r.model.precision = PrecisionChoice::f32;
  r.model.split = split;
  r.width = r.height = 128;
  r.steps = 2;
  r.cfg_scale = cfg_scale;
  return r;
}

struct OneThread {
  const int before = thread_count();
  OneThread() { set_thread_count(1); }
  ~OneThread() { set_thread_count(before); }
};

TEST(Benchmark, OfTheCpuTimesEveryStepAndPhase) {
  int steps = 0;
  const BenchmarkResult b = run_benchmark(small("cpu", 1), 3, [&](const Progress& p) {
    if (p.phase == "denoise") steps = std::max(steps, p.step);
  });
  EXPECT_EQ(steps, 2);
  EXPECT_EQ(b.forward_seconds.size(), 6u);
  EXPECT_EQ(b.total_seconds.size(), 3u);
  for (const char* phase : {"encode prompt", "denoise", "decode"}) EXPECT_EQ(b.seconds.at(phase).size(), 3u) << phase;
  EXPECT_GT(b.setup_seconds, 0);
  EXPECT_GT(b.forward_flops, 1e8);
  ASSERT_EQ(b.devices.size(), 1u);
  EXPECT_EQ(b.devices[0].name, "cpu");
  EXPECT_EQ(b.precision, "f32");
  EXPECT_NE(b.checksum, 0);
}

// However the work is shared, the picture is the same.
TEST(Benchmark, OfSeveralDevicesDrawsThePictureOfOne) {
  const OneThread one_thread;
  const BenchmarkResult one = run_benchmark(small("cpu", 4), 1);
  for (const auto& [devices, split, count] : {std::tuple{"cpu,cpu", DeviceSplit::automatic, 2u},
                                              {"cpu,cpu", DeviceSplit::blocks, 2u},
                                              {"cpu,cpu,cpu", DeviceSplit::blocks, 3u},
                                              {"cpu,cpu,cpu,cpu", DeviceSplit::blocks, 4u}}) {
    const BenchmarkResult b = run_benchmark(small(devices, 4, split), 1);
    EXPECT_EQ(b.checksum, one.checksum) << devices << ", " << b.sharing;
    EXPECT_EQ(b.devices.size(), count) << b.sharing;
    EXPECT_NEAR(b.forward_flops / one.forward_flops, 1, 1e-6) << b.sharing;
  }
}

TEST(Benchmark, SpreadsPictures) {
  const OneThread one_thread;
  PlanRequest request = small("cpu,cpu", 1);
  request.batch = 3;
  const BenchmarkResult b = run_benchmark(request, 1);
  ASSERT_EQ(b.devices.size(), 2u);
  EXPECT_EQ(b.devices[0].part, "picture 1");
  EXPECT_EQ(b.devices[1].part, "pictures 2 to 3");
  EXPECT_EQ(b.pictures, 3);
}

TEST(Benchmark, SaysWhatDoesNotFitBeforeItMakesAnything) {
  std::string sixteen = "cpu";
  for (int i = 1; i < 16; ++i) sixteen += ",cpu";
  PlanRequest huge = small(sixteen.c_str(), 1);
  huge.model.model = "qwen-image";
  huge.batch = 16;  // a network of 100 GB in f32 for each
  try {
    run_benchmark(huge, 1);
    FAIL() << "it ran";
  } catch (const MemoryError& error) {
    EXPECT_NE(std::string(error.what()).find("--kernels"), std::string::npos) << error.what();
  }
  PlanRequest files = small("cpu", 1);
  files.model.model = "";
  EXPECT_THROW(run_benchmark(files, 1), ArgumentError);
}

}  // namespace
}  // namespace inkling
