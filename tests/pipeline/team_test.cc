// Several devices for one request, with CPU backends as devices: the bytes of one device, however the work is shared.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <limits>

#include "base/error.h"
#include "base/threads.h"
#include "models/registry.h"
#include "pipeline/conditioning.h"
#include "pipeline/engine.h"
#include "pipeline/plan.h"
#include "pipeline/worker.h"
#include "pipeline_support.h"

namespace inkling {
namespace {

using testing::edit_request;
using testing::generate_request;
using testing::small_model;

EngineOptions team_of(const char* model, const char* devices, DeviceSplit split,
                      PrecisionChoice precision = PrecisionChoice::f32) {
  EngineOptions o = small_model(model, precision);
  o.device = parse_device(devices);
  o.split = split;
  return o;
}

// One thread a device: several would wait for each other on the same cores.
struct OneThread {
  const int before = thread_count();
  OneThread() { set_thread_count(1); }
  ~OneThread() { set_thread_count(before); }
};

class TeamOf : public ::testing::TestWithParam<std::tuple<const char*, DeviceSplit, bool, PrecisionChoice, float>> {};

TEST_P(TeamOf, DevicesDrawsTheBytesOfOne) {
  const OneThread one_thread;
  const auto& [devices, split, edit, precision, cfg_scale] = GetParam();
  const char* model = edit ? "small-edit" : "small-t2i";
  Request request = edit ? edit_request("blue", 5, cfg_scale) : generate_request("a cute panda", 5, cfg_scale);
  Engine team(team_of(model, devices, split, precision)), one(small_model(model, precision));
  const Result together = team.run(request), alone = one.run(request);
  EXPECT_EQ(together.images[0].pixels, alone.images[0].pixels);
  const bool shares = split == DeviceSplit::blocks || (cfg_scale > 1 && split != DeviceSplit::pictures);
  EXPECT_EQ(together.device.find(',') != std::string::npos, shares) << together.device;
  request.batch = 3;
  const Result three = team.run(request), expected = one.run(request);
  ASSERT_EQ(three.images.size(), 3u);
  if (precision != PrecisionChoice::f32) return;  // a batch is summed in the order of its rows (engine.h)
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(three.images[i].pixels, expected.images[i].pixels) << i;
}

INSTANTIATE_TEST_SUITE_P(Two, TeamOf,
                         ::testing::Combine(::testing::Values("cpu,cpu"),
                                            ::testing::Values(DeviceSplit::automatic, DeviceSplit::pictures,
                                                              DeviceSplit::guidance, DeviceSplit::blocks),
                                            ::testing::Bool(),
                                            ::testing::Values(PrecisionChoice::f32, PrecisionChoice::w8a8),
                                            ::testing::Values(1.f, 4.f)));
INSTANTIATE_TEST_SUITE_P(Four, TeamOf,
                         ::testing::Combine(::testing::Values("cpu,cpu,cpu,cpu"),
                                            ::testing::Values(DeviceSplit::automatic, DeviceSplit::blocks),
                                            ::testing::Bool(), ::testing::Values(PrecisionChoice::f32),
                                            ::testing::Values(1.f, 4.f)));

// The model that ships has blocks enough for every kind of division.
TEST(Team, OfFourDividesBlocksAndGuidance) {
  EngineOptions options;
  options.precision = PrecisionChoice::f32;
  Request request = generate_request("a cute panda", 3, 3);
  request.width = request.height = 64;
  Engine one(options);
  const Result expected = one.run(request);
  for (const char* devices : {"cpu,cpu", "cpu,cpu,cpu", "cpu,cpu,cpu,cpu"}) {
    options.device = parse_device(devices);
    options.split = DeviceSplit::blocks;
    Engine team(options);
    for (int run = 0; run < 2; ++run) EXPECT_EQ(team.run(request).images[0].pixels, expected.images[0].pixels);
  }
}

TEST(Team, SchedulesThatWaitOnTheHostAreTheSame) {
  Request request = generate_request("a cute panda", 3, 3);
  request.steps = 10;  // more than stay on the device (batch_run.cc)
  Engine one(small_model("small-t2i"));
  const Result expected = one.run(request);
  for (const DeviceSplit split : {DeviceSplit::guidance, DeviceSplit::blocks}) {
    Engine team(team_of("small-t2i", "cpu,cpu", split));
    EXPECT_EQ(team.run(request).images[0].pixels, expected.images[0].pixels);
  }
}

TEST(Team, SpreadsABatchOfRequestsAndReportsEachStepOnce) {
  std::vector<Request> requests{generate_request("a cute panda", 1, 4), generate_request("fox", 2, 4),
                                generate_request("a red fox in the snow", 3, 4)};
  requests[1].batch = 2;
  Engine team(team_of("small-t2i", "cpu,cpu", DeviceSplit::automatic)), one(small_model("small-t2i"));
  std::vector<Callbacks> callbacks(3);
  std::vector<int> last(3, 0), totals(3, 0);
  bool backwards = false;
  for (size_t i = 0; i < 3; ++i)
    callbacks[i].progress = [&, i](const Progress& p) {
      if (p.phase != "denoise") return;
      backwards = backwards || p.step < last[i];
      last[i] = p.step;
      totals[i] = p.total;
    };
  std::vector<int> previews;
  callbacks[1].preview = [&](int step, const Image&) { previews.push_back(step); };
  const std::vector<Outcome> outcomes = team.run_batch(requests, callbacks);
  for (size_t i = 0; i < 3; ++i) {
    ASSERT_TRUE(outcomes[i].result);
    const Result expected = one.run(requests[i]);
    ASSERT_EQ(outcomes[i].result->images.size(), expected.images.size());
    for (size_t j = 0; j < expected.images.size(); ++j)
      EXPECT_EQ(outcomes[i].result->images[j].pixels, expected.images[j].pixels);
    EXPECT_EQ(last[i], 3 * requests[i].batch);
    EXPECT_EQ(totals[i], 3 * requests[i].batch);
  }
  EXPECT_FALSE(backwards);
  std::ranges::sort(previews);
  EXPECT_EQ(previews, (std::vector<int>{1, 2, 3, 4, 5, 6}));
}

TEST(Team, StopsAndRunsAgain) {
  for (const DeviceSplit split : {DeviceSplit::pictures, DeviceSplit::guidance, DeviceSplit::blocks}) {
    Engine team(team_of("small-t2i", "cpu,cpu", split)), one(small_model("small-t2i"));
    Request request = generate_request("a cute panda", 5, 4);
    if (split == DeviceSplit::pictures) request.batch = 2;
    CancelToken cancel;
    std::atomic<int> after = 0;
    Callbacks callbacks;
    callbacks.cancel = &cancel;
    callbacks.progress = [&](const Progress& p) {
      if (p.phase != "denoise") return;
      if (cancel.cancelled()) ++after;
      if (p.step >= 1) cancel.cancel();
    };
    EXPECT_THROW(team.run(request, callbacks), CancelledError);
    EXPECT_LE(after, 1);  // the other device may be at the end of its own step
    EXPECT_EQ(team.run(request).images[0].pixels, one.run(request).images[0].pixels);
  }
}

TEST(Team, KeepsPartsLoadedBetweenRuns) {
  for (const DeviceSplit split : {DeviceSplit::guidance, DeviceSplit::blocks}) {
    EngineOptions options = team_of("small-edit", "cpu,cpu", split);
    options.keep_loaded = true;
    Engine team(options), one(small_model("small-edit"));
    const Request request = edit_request("blue", 5, 4);
    const Result expected = one.run(request);
    for (int i = 0; i < 2; ++i) EXPECT_EQ(team.run(request).images[0].pixels, expected.images[0].pixels);
  }
}

// What the main device takes of a divided run is planned to the byte; a helper's plan holds its share of the weights.
TEST(Team, PlansOfSharesAreThoseOfTheRun) {
  const EngineOptions options = team_of("small-t2i", "cpu,cpu", DeviceSplit::blocks);
  const ModelFiles files = find_model(options.model);
  ModelTraits traits;
  traits.kind = files.kind;
  traits.defaults = files.defaults;
  const Request request = generate_request("a cute panda", 5, 4);
  const Job job = prepare_request(request, traits, Tokenizer::load(files.tokenizer)).job;
  const Job* jobs[] = {&job};
  const auto backend = open_backend({}, PrecisionChoice::f32);
  const auto layers = dit_config(files, Checkpoint::open(files.dit, Component::dit)).layers;
  const std::vector<BlockRange> stages{{0, layers / 2}, {layers / 2, layers}};
  const RunPlan main = plan_jobs(options, jobs, 1, *backend, {stages, 0});
  Engine team(options);
  EXPECT_EQ(team.run(request).activation_peak_bytes, main.peak_bytes);

  const RunPlan helper = plan_jobs(options, jobs, 1, *backend, {stages, 1}),
                whole = plan_jobs(options, jobs, 1, *backend);
  const auto weights = [](const RunPlan& plan) {
    for (const PhasePlan& p : plan.phases)
      if (p.name == "denoise") return p.need;
    return PhaseNeed{};
  };
  EXPECT_EQ(weights(main).weight_bytes + weights(helper).weight_bytes, weights(whole).weight_bytes);
  EXPECT_EQ(std::ssize(weights(helper).blocks), layers - layers / 2);
}

TEST(Devices, AreReadFromText) {
  const DeviceChoice two = parse_device("cuda:0,1");
  EXPECT_EQ(two.kind, DeviceChoice::Kind::cuda);
  EXPECT_EQ(two.index, 0);
  ASSERT_EQ(two.more.size(), 1u);
  EXPECT_EQ(two.more[0].index, 1);
  EXPECT_EQ(parse_device("cuda:3,cuda:1,0").more.at(1).index, 0);
  EXPECT_EQ(parse_device("cpu,cpu").more.size(), 1u);
  EXPECT_TRUE(parse_device("auto").more.empty());
  for (const char* wrong : {"cuda:0,0", "cuda:0,", "cpu,1", "cpu,cuda", "auto,auto", ",cpu", "cuda:0;1", "0,1"})
    EXPECT_THROW(parse_device(wrong), ArgumentError) << wrong;
}

TEST(Worker, RunsInOrderAndPassesErrorsOn) {
  std::vector<int> order;
  Worker worker;
  auto first = worker.begin([&] { order.push_back(1); });
  worker.run([&] { order.push_back(2); });
  first.get();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
  EXPECT_THROW(worker.run([] { throw MemoryError("none left"); }), MemoryError);
  worker.run([&] { order.push_back(3); });
  EXPECT_EQ(order.size(), 3u);
}

}  // namespace
}  // namespace inkling
