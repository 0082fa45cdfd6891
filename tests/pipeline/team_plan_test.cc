// Plans of runs on several devices: the decisions of a run, and to the byte what it takes.
#include "pipeline/team_plan.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "base/threads.h"
#include "pipeline/conditioning.h"
#include "pipeline/sharing.h"
#include "pipeline_support.h"

namespace inkling {
namespace {

using testing::generate_request;
using testing::small_model;

LayoutQuestion gpus(int64_t devices, bool guided, std::vector<PrecisionChoice> precisions) {
  LayoutQuestion q;
  q.devices = devices;
  q.layers = 60;
  q.guided = guided;
  q.on_gpu = true;
  q.precisions = std::move(precisions);
  return q;
}

TEST(Sharing, DividesOnlyWhatNoDeviceHoldsAlone) {
  using P = PrecisionChoice;
  const std::vector<P> all = automatic_precisions(false);
  LayoutQuestion q = gpus(2, true, all);
  q.resident = [](P, const TeamLayout&) { return true; };
  LayoutChoice c = choose_layout(q);
  EXPECT_EQ(c.layout.passes, 2);  // both hold it: a pass of guidance each
  EXPECT_EQ(c.layout.stages.size(), 1u);
  EXPECT_EQ(c.precision, P::stored);

  // Too large as stored, but half of it fits: that goes before smaller numbers.
  q.resident = [](P p, const TeamLayout& l) { return p != P::stored || l.stages.size() == 2; };
  c = choose_layout(q);
  EXPECT_EQ(c.layout.passes, 1);
  EXPECT_EQ(c.layout.stages, (std::vector<BlockRange>{{0, 30}, {30, 60}}));
  EXPECT_EQ(c.precision, P::stored);

  q.resident = [](P p, const TeamLayout& l) { return p == P::w4a8 && l.stages.size() == 1; };
  c = choose_layout(q);
  EXPECT_EQ(c.precision, P::w4a8);
  EXPECT_EQ(c.layout.passes, 2);

  // Nothing fits: the smallest, streamed.
  q.resident = [](P, const TeamLayout&) { return false; };
  EXPECT_EQ(choose_layout(q).precision, P::w4a8);
  EXPECT_EQ(choose_layout(q).layout.stages.size(), 1u);
  // A precision that was given is kept.
  q.precisions = {P::bf16};
  EXPECT_EQ(choose_layout(q).precision, P::bf16);

  // Four devices divide both.
  LayoutQuestion four = gpus(4, true, all);
  four.resident = [](P, const TeamLayout& l) { return l.stages.size() == 2; };
  c = choose_layout(four);
  EXPECT_EQ(c.layout.passes, 2);
  EXPECT_EQ(c.layout.devices(), 4u);
  four.guided = false;
  four.resident = [](P, const TeamLayout& l) { return l.stages.size() == 4; };
  EXPECT_EQ(choose_layout(four).layout.stages.size(), 4u);

  // What the user asked for is done, whatever fits.
  LayoutQuestion asked = gpus(2, true, {P::bf16});
  asked.resident = [](P, const TeamLayout&) { return true; };
  asked.split = DeviceSplit::blocks;
  EXPECT_EQ(choose_layout(asked).layout.stages.size(), 2u);
  asked.split = DeviceSplit::pictures;
  EXPECT_EQ(choose_layout(asked).layout.devices(), 1u);
  // One device alone has nobody to share with.
  LayoutQuestion one = gpus(1, true, all);
  one.resident = [](P, const TeamLayout&) { return true; };
  EXPECT_EQ(choose_layout(one).layout.devices(), 1u);
}

TEST(Sharing, DealsPicturesInOrder) {
  EXPECT_EQ(picture_borders(3, 2), (std::vector<size_t>{0, 1, 3}));
  EXPECT_EQ(picture_borders(2, 4), (std::vector<size_t>{0, 1, 2}));
  EXPECT_EQ(picture_borders(8, 4), (std::vector<size_t>{0, 2, 4, 6, 8}));
}

struct OneThread {
  const int before = thread_count();
  OneThread() { set_thread_count(1); }
  ~OneThread() { set_thread_count(before); }
};

TeamPlan planned(const EngineOptions& options, const Request& request) {
  const ModelSizes sizes = model_sizes(options);
  ModelTraits traits;
  traits.kind = sizes.kind;
  traits.defaults = sizes.defaults;
  const Job job = prepare_request(request, traits, Tokenizer::load(sizes.files->tokenizer)).job;
  const auto backend = open_backend({}, options.precision);
  return plan_team(options, sizes, job, *backend, 0);
}

const PhaseNeed& denoising(const DevicePlan& d) {
  const auto p = std::ranges::find(d.plan.phases, std::string("denoise"), &PhasePlan::name);
  if (p == d.plan.phases.end()) throw RuntimeError("no denoising on this device");
  return p->need;
}

class PlannedTeam : public ::testing::TestWithParam<std::tuple<const char*, DeviceSplit, float>> {};

TEST_P(PlannedTeam, IsTheRun) {
  const OneThread one_thread;
  const auto& [devices, split, cfg_scale] = GetParam();
  EngineOptions options = small_model("small-t2i");
  options.device = parse_device(devices);
  options.split = split;
  const Request request = generate_request("a cute panda", 5, cfg_scale);
  const TeamPlan plan = planned(options, request);
  Engine engine(options);
  const Result result = engine.run(request);
  // As many devices as were used, and what the main one took of its memory, to the byte.
  EXPECT_EQ(std::ssize(plan.devices), std::ranges::count(result.device, ',') + 1) << result.device;
  EXPECT_EQ(plan.devices[0].plan.peak_bytes, result.activation_peak_bytes);
  const TeamPlan alone = planned(small_model("small-t2i"), request);
  double flops = 0, whole = 0;
  for (const DevicePlan& d : plan.devices)
    for (const PhasePlan& p : d.plan.phases) flops += p.flops;
  for (const PhasePlan& p : alone.devices[0].plan.phases) whole += p.flops;
  EXPECT_NEAR(flops / whole, 1, 0.02);
  for (size_t i = 1; i < plan.devices.size(); ++i) EXPECT_EQ(plan.devices[i].plan.phases.size(), 1u);
}

INSTANTIATE_TEST_SUITE_P(Shares, PlannedTeam,
                         ::testing::Combine(::testing::Values("cpu", "cpu,cpu"),
                                            ::testing::Values(DeviceSplit::automatic, DeviceSplit::guidance,
                                                              DeviceSplit::blocks, DeviceSplit::pictures),
                                            ::testing::Values(1.f, 4.f)));

TEST(TeamPlan, SaysWhatLivesWhere) {
  PlanRequest r;
  r.model.model = "qwen-image";
  r.model.device = parse_device("cpu,cpu");
  r.model.precision = PrecisionChoice::bf16;
  r.width = r.height = 512;
  r.steps = 2;
  TeamPlan plan = plan_team(r);
  EXPECT_EQ(plan.way, SharingWay::guidance);
  ASSERT_EQ(plan.devices.size(), 2u);
  EXPECT_EQ(plan.devices[0].part, "positive prompt; encoders and decoder");
  EXPECT_EQ(plan.devices[1].part, "negative prompt");
  EXPECT_EQ(denoising(plan.devices[0]).weight_bytes, denoising(plan.devices[1]).weight_bytes);

  r.model.split = DeviceSplit::blocks;
  r.cfg_scale = 1;
  plan = plan_team(r);
  EXPECT_EQ(plan.way, SharingWay::blocks);
  EXPECT_EQ(plan.devices[1].part, "blocks 30 to 59 of 60");
  EXPECT_EQ(denoising(plan.devices[0]).blocks.size(), 30u);
  r.model.device = parse_device("cpu");
  const TeamPlan one = plan_team(r);
  EXPECT_EQ(one.way, SharingWay::one_device);
  EXPECT_EQ(denoising(plan.devices[0]).weight_bytes + denoising(plan.devices[1]).weight_bytes,
            denoising(one.devices[0]).weight_bytes);

  r.model.device = parse_device("cpu,cpu,cpu");
  r.model.split = DeviceSplit::automatic;
  r.batch = 4;
  plan = plan_team(r);
  EXPECT_EQ(plan.way, SharingWay::pictures);
  ASSERT_EQ(plan.devices.size(), 3u);
  EXPECT_EQ(plan.devices[0].part, "picture 1");
  EXPECT_EQ(plan.devices[2].part, "pictures 3 to 4");
  EXPECT_EQ(plan.devices[2].plan.phases.size(), one.devices[0].plan.phases.size());
}

TEST(TeamPlan, PlacesEveryDeviceInTheBudget) {
  PlanRequest r;
  r.model.model = "qwen-image";
  r.model.device = parse_device("cpu,cpu");
  r.model.precision = PrecisionChoice::bf16;
  r.model.split = DeviceSplit::blocks;
  r.model.device.max_vram = int64_t{16} << 30;
  r.width = r.height = 512;
  r.cfg_scale = 1;
  r.steps = 2;
  TeamPlan plan = plan_team(r);
  EXPECT_TRUE(plan.fits);
  for (const DevicePlan& d : plan.devices) {
    ASSERT_TRUE(d.placement);
    for (const PhasePlacement& p : d.placement->phases) EXPECT_EQ(p.streamed_blocks, 0);
  }
  r.model.device.max_vram = int64_t{8} << 30;  // half of the transformer is 12.6 GiB
  plan = plan_team(r);
  EXPECT_TRUE(plan.fits);
  EXPECT_GT(plan.devices[1].placement->phases[0].streamed_blocks, 0);
  r.model.device.max_vram = int64_t{100} << 20;
  plan = plan_team(r);
  EXPECT_FALSE(plan.fits);
  EXPECT_GT(plan.smallest_budget, r.model.device.max_vram);
}

}  // namespace
}  // namespace inkling
