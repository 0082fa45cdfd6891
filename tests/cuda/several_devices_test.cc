// Several GPUs for one engine: the bytes of one GPU, and the time that sharing saves.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>

#include "backends/cuda/context.h"
#include "backends/cuda/cuda_ops.h"
#include "pipeline/engine.h"
#include "pipeline/presets.h"
#include "pipeline/team_denoiser.h"

namespace inkling {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

EngineOptions on(const char* devices, DeviceSplit split, PrecisionChoice precision = PrecisionChoice::bf16) {
  EngineOptions o;
  o.device = parse_device(devices);
  o.split = split;
  o.precision = precision;
  o.keep_loaded = true;
  return o;
}

Request request(const char* prompt, int64_t seed, float cfg_scale) {
  Request r;
  r.prompt = prompt;
  r.width = r.height = 256;
  r.seed = seed;
  r.cfg_scale = cfg_scale;
  return r;
}

class SeveralGpus : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device_count() < 2) GTEST_SKIP() << "fewer than two GPUs";
  }
};

TEST_F(SeveralGpus, DrawThePicturesOfOne) {
  for (const PrecisionChoice precision : {PrecisionChoice::bf16, PrecisionChoice::w8a8, PrecisionChoice::w4a8}) {
    Engine one(on("cuda:0", DeviceSplit::automatic, precision));
    const Request plain = request("a red fox", 7, 1), guided = request("黄色的小鸭子戴着红色帽子", 8, 3);
    for (const DeviceSplit split : {DeviceSplit::automatic, DeviceSplit::guidance, DeviceSplit::blocks}) {
      Engine two(on("cuda:0,1", split, precision));
      for (const Request& r : {plain, guided}) {
        const Result expected = one.run(r), result = two.run(r);
        EXPECT_EQ(result.images[0].pixels, expected.images[0].pixels) << result.device << " cfg " << r.cfg_scale;
        EXPECT_EQ(two.run(r).images[0].pixels, expected.images[0].pixels) << "again";
      }
    }
    // Four pictures of one request, two on each.
    Engine two(on("cuda:0,1", DeviceSplit::pictures, precision));
    Request four = guided;
    four.batch = 4;
    const Result expected = one.run(four), result = two.run(four);
    EXPECT_NE(result.device.find("cuda:1"), std::string::npos) << result.device;
    for (size_t i = 0; i < 4; ++i) EXPECT_EQ(result.images[i].pixels, expected.images[i].pixels) << i;
  }
}

TEST_F(SeveralGpus, SpreadABatchOfRequests) {
  const std::vector<Request> requests{request("a red fox", 1, 1), request("a blue cat", 2, 1)};
  Engine one(on("cuda:0", DeviceSplit::automatic)), two(on("cuda:0,1", DeviceSplit::automatic));
  const std::vector<Outcome> outcomes = two.run_batch(requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    ASSERT_TRUE(outcomes[i].result);
    EXPECT_EQ(outcomes[i].result->images[0].pixels, one.run(requests[i]).images[0].pixels);
  }
}

// On one GPU: requests packed together against each alone.
TEST(GpuBatch, GivesNearlyThePicturesOfEachAlone) {
  if (cuda_device_count() < 1) GTEST_SKIP() << "no GPU";
  std::vector<Request> requests;
  for (int i = 0; i < 8; ++i)
    requests.push_back(request(i % 2 == 0 ? "a red fox in the snow" : "一只可爱的小猫", i, 1));
  for (const PrecisionChoice precision : {PrecisionChoice::bf16, PrecisionChoice::w8a8, PrecisionChoice::w4a8}) {
    Engine engine(on("cuda:0", DeviceSplit::automatic, precision));
    engine.run_batch(requests);
    auto start = Clock::now();
    const std::vector<Outcome> together = engine.run_batch(requests);
    const double batch_seconds = seconds_since(start);
    std::vector<Result> alone;
    start = Clock::now();
    for (const Request& r : requests) alone.push_back(engine.run(r));
    const double serial_seconds = seconds_since(start);
    int equal = 0;
    double worst = 0;
    for (size_t i = 0; i < requests.size(); ++i) {
      ASSERT_TRUE(together[i].result);
      const Image &a = together[i].result->images[0], &b = alone[i].images[0];
      double sum = 0;
      for (size_t j = 0; j < a.pixels.size(); ++j) sum += std::abs(a.pixels[j] - b.pixels[j]);
      worst = std::max(worst, sum / static_cast<double>(a.pixels.size()));
      equal += a.pixels == b.pixels;
    }
    std::printf(
        "%s: 8 pictures of 256x256 together %.3f s, in turn %.3f s; %d of 8 equal, worst mean difference %.4f\n",
        std::string(name(precision)).c_str(), batch_seconds, serial_seconds, equal, worst);
    EXPECT_LE(worst, 1.0) << "levels";
  }
}

// --- the published layout, with random weights
// ------------------------------------------------------------------------

struct Part {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Dit> dit;
  std::unique_ptr<Worker> worker;  // null: the main thread

  void on_thread(const std::function<void()>& f) {
    if (worker)
      worker->run(f);
    else
      f();
  }
  ~Part() {
    on_thread([this] {
      if (backend) backend->activate();
      dit.reset();
      backend.reset();
    });
  }
};

// The weights of the range are those of the whole transformer: random numbers come in its order.
void fill(Part& part, const DitConfig& config, BlockRange range) {
  Ops& ops = part.backend->ops();
  dynamic_cast<CudaOps&>(ops).fill_missing_weights(true);
  part.dit = std::make_unique<Dit>(config, range);
  std::map<std::string, Parameter> wanted;
  part.dit->for_each_parameter([&](const Parameter& p) { wanted.emplace(p.name, p); });
  Dit whole(config);
  whole.for_each_parameter([&](const Parameter& p) {
    const auto own = wanted.find(p.name);
    const Parameter& target = own != wanted.end() ? own->second : p;
    if (p.weight == nullptr) {
      Tensor ones = host_tensor(p.shape);
      std::ranges::fill(ones.span<float>(), 1.f);
      *target.vector = ops.upload(ones);
      return;
    }
    target.weight->stored = DType::bf16;
    ops.prepare(*target.weight);
    if (own == wanted.end()) p.weight->prepared.reset();
  });
}

std::unique_ptr<Part> make_part(int device, const DitConfig& config, BlockRange range) {
  auto part = std::make_unique<Part>();
  if (device > 0) part->worker = std::make_unique<Worker>();
  part->on_thread([&] {
    DeviceChoice choice;
    choice.kind = DeviceChoice::Kind::cuda;
    choice.index = device;
    part->backend = open_backend(choice, PrecisionChoice::bf16);
    part->backend->activate();
    fill(*part, config, range);
  });
  return part;
}

Tensor random_rows(int64_t rows, int64_t columns, uint32_t seed, float scale) {
  Tensor t = host_tensor(Shape{rows, columns});
  uint32_t state = seed;
  for (float& v : t.span<float>()) {
    state = state * 1664525u + 1013904223u;
    v = (static_cast<float>(state >> 8) / 8388608.f - 1.f) * scale;
  }
  return t;
}

StepModulation random_step(Ops& ops, const DitConfig& config) {
  StepModulation m;
  const auto table = [&](int64_t rows, uint32_t seed) {
    return ops.upload(random_rows(rows, config.dim(), seed, 0.1f).reshape(Shape{rows, 1, config.dim()}));
  };
  for (int64_t i = 0; i < config.layers; ++i) {
    m.image.push_back(table(6, static_cast<uint32_t>(2 * i + 1)));
    m.text.push_back(table(6, static_cast<uint32_t>(2 * i + 2)));
  }
  m.norm_out = table(2, 999);
  return m;
}

DenoiseInputs inputs_of(const DitConfig& config, int64_t side, int samples) {
  DenoiseInputs in;
  in.pictures = {PictureShape{1, side / 16, side / 16}};
  in.cfg_scale = 4;
  for (int i = 0; i < samples; ++i) {
    in.positive.push_back(random_rows(64, config.text_dim, static_cast<uint32_t>(10 + i), 1));
    in.negative.push_back(random_rows(6, config.text_dim, static_cast<uint32_t>(50 + i), 1));
  }
  return in;
}

// Median seconds of a guided step, and its velocity.
std::pair<double, Tensor> time_step(Ops& ops, Denoiser& denoiser, const DenoiseInputs& in) {
  const int64_t tokens = in.pictures[0].tokens();
  denoiser.start(in);
  const Tensor x = ops.upload(random_rows(tokens * std::ssize(in.positive), 64, 3, 1));
  std::vector<double> seconds;
  Tensor v;
  for (int i = 0; i < 6; ++i) {
    const auto start = Clock::now();
    v = ops.download(denoiser.velocity(x, 0, false));
    if (i > 0) seconds.push_back(seconds_since(start));
  }
  denoiser.stop();
  std::ranges::sort(seconds);
  return {seconds[seconds.size() / 2], v};
}

bool equal(const Tensor& a, const Tensor& b) { return std::ranges::equal(a.span<float>(), b.span<float>()); }

TEST_F(SeveralGpus, ShareAStepOfThePublishedTransformer) {
  for (const char* device : {"cuda:1", "cuda:0"})  // device 0 last: it stays this thread's
    if (open_backend(parse_device(device), PrecisionChoice::bf16)->budget() < int64_t{60} << 30)
      GTEST_SKIP() << device << " is too small";
  const DitConfig config = preset("qwen-image").dit;
  const int64_t half = config.layers / 2;
  const DenoiseInputs in = inputs_of(config, 1024, 1);
  Tensor expected;
  {
    auto first = make_part(0, config, {});
    Ops& ops = first->backend->ops();
    const std::vector<StepModulation> steps{random_step(ops, config)};
    OneDeviceDenoiser one(ops, *first->dit, [&](int) { return steps[0]; });
    const auto [one_seconds, v] = time_step(ops, one, in);
    expected = v;
    std::printf("guided step, 20 B, bf16, 1024x1024: one GPU %.4f s\n", one_seconds);
    for (const int64_t side : {512, 1024})
      for (const int samples : {2, 4})
        std::printf("  %d pictures of %ldx%ld together on one GPU: %.4f s\n", samples, static_cast<long>(side),
                    static_cast<long>(side), time_step(ops, one, inputs_of(config, side, samples)).first);
    std::printf("  1 picture of 512x512: %.4f s\n", time_step(ops, one, inputs_of(config, 512, 1)).first);

    auto second = make_part(1, config, {});
    const auto stage = [](Part& p) {
      return TeamStage{&p.backend->ops(), [&p]() -> Dit& { return *p.dit; }, p.worker.get()};
    };
    TeamDenoiser halves(ops, {{stage(*first)}, {stage(*second)}}, steps, true);
    const auto [seconds, velocity] = time_step(ops, halves, in);
    std::printf("  guidance on two GPUs: %.4f s, %.2f times as fast\n", seconds, one_seconds / seconds);
    EXPECT_TRUE(equal(velocity, expected));
  }
  auto first = make_part(0, config, {0, half});
  auto second = make_part(1, config, {half, config.layers});
  Ops& ops = first->backend->ops();
  first->backend->activate();
  const std::vector<StepModulation> steps{random_step(ops, config)};
  TeamDenoiser divided(
      ops,
      {{TeamStage{&ops, [&]() -> Dit& { return *first->dit; }, nullptr},
        TeamStage{&second->backend->ops(), [&]() -> Dit& { return *second->dit; }, second->worker.get()}}},
      steps, true);
  const auto [seconds, velocity] = time_step(ops, divided, in);
  std::printf("  blocks on two GPUs: %.4f s, of one GPU's memory %.1f GiB are taken\n", seconds,
              static_cast<double>(first->backend->device_bytes()) / static_cast<double>(1 << 30));
  EXPECT_TRUE(equal(velocity, expected));
}

}  // namespace
}  // namespace inkling
