// Brown-out, breaker, rate limiter, router, service times: each with a clock of the test's own.
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "server/policy/breaker.h"
#include "server/policy/brown_out.h"
#include "server/policy/rate_limiter.h"
#include "server/policy/router.h"
#include "server/policy/service_times.h"

namespace inkling::server {
namespace {

// A distilled model is added by configuration alone.
ServerConfig with_distilled(int side = 1024) {
  ServerConfig c = default_config();
  for (ModelEntry& m : c.models) m.side = side;
  ModelEntry quick = c.models[0];
  quick.id = "quick";
  quick.kind = ModelKind::distilled;
  quick.path = "/models/second";
  quick.steps = 4;
  c.models.push_back(quick);
  return c;
}

TEST(BrownOut, EntersByPredictedWaitAndLeavesWithin30s) {
  const ServerConfig c = with_distilled();
  BrownOut b(c.brown_out, c.models);
  EXPECT_EQ(b.update(0, 5, 30, {}), 0);
  EXPECT_EQ(b.update(1, 11, 30, {}), 1);
  EXPECT_EQ(b.update(2, 40, 30, {}), 4);
  EXPECT_TRUE(b.refuses());
  EXPECT_NE(b.reason().find("40.0 s"), std::string::npos);
  double now = 2;
  int last = 4;
  while (b.level() > 0 && now < 100) {
    now += 1;
    const int level = b.update(now, 0, 30, {});
    EXPECT_GE(level, last - 1) << "one level at a time";
    last = level;
  }
  EXPECT_LE(now - 2, 30);
  EXPECT_GE(now - 2, 4 * c.brown_out.quiet_s);
  EXPECT_EQ(b.reason(), "");
}

TEST(BrownOut, HysteresisBetweenLeaveAndEnterKeepsTheLevel) {
  const ServerConfig c = default_config();
  BrownOut b(c.brown_out, c.models);
  b.update(0, 11, 30, {});                                               // 0.37: level 1
  for (int t = 1; t < 100; ++t) EXPECT_EQ(b.update(t, 7.5, 30, {}), 1);  // 0.25: above leave 0.2
  // A single moment of load within the quiet begins it anew.
  EXPECT_EQ(b.update(101, 0, 30, {}), 1);
  EXPECT_EQ(b.update(105, 7.5, 30, {}), 1);
  EXPECT_EQ(b.update(108, 0, 30, {}), 1);
  EXPECT_EQ(b.update(114, 0, 30, {}), 0);
}

TEST(BrownOut, SparseUpdatesLeaveAsManyLevelsAsTheQuietWasLong) {
  const ServerConfig c = default_config();
  BrownOut b(c.brown_out, c.models);
  b.update(0, 60, 30, {});
  b.update(1, 0, 30, {});
  EXPECT_EQ(b.update(31, 0, 30, {}), 0);
}

TEST(BrownOut, UtilisationCountsOnlyWhenConfigured) {
  ServerConfig c = default_config();
  BrownOut off(c.brown_out, c.models);
  for (int t = 0; t < 60; ++t) EXPECT_EQ(off.update(t, 0, 30, 100), 0);
  c.brown_out.utilisation.emplace();
  BrownOut on(c.brown_out, c.models);
  for (int t = 0; t < 10; ++t) EXPECT_EQ(on.update(t, 0, 30, 95), 0);
  EXPECT_EQ(on.update(10, 0, 30, 95), 2);  // 10 s above 80 %: the row "smaller"
  EXPECT_NE(on.reason().find("80 %"), std::string::npos);
  EXPECT_EQ(on.update(11, 0, 30, {}), 2);
  EXPECT_EQ(on.update(40, 0, 30, 20), 0);
  // A dip begins the ten seconds anew.
  for (int t = 50; t < 59; ++t) on.update(t, 0, 30, 95);
  on.update(59, 0, 30, 50);
  EXPECT_EQ(on.update(61, 0, 30, 95), 0);
}

TEST(BrownOut, SaysWhatItChanged) {
  const ServerConfig c = with_distilled(1024);
  BrownOut b(c.brown_out, c.models);
  JobParameters job{.steps = 0, .width = 0, .height = 0, .model = "inkling", .edit = false};
  EXPECT_TRUE(b.apply(job).empty());
  b.update(0, 24, 30, {});  // 0.8: level 3
  const auto changes = b.apply(job);
  EXPECT_EQ(changes, (std::vector<std::string>{"5 steps instead of 8", "384 x 384 pixels instead of 1024 x 1024",
                                               "model quick instead of inkling"}));
  EXPECT_EQ(job.steps, 4);
  EXPECT_EQ(job.width, 384);
  EXPECT_EQ(job.model, "quick");
  JobParameters again = job;
  EXPECT_TRUE(b.apply(again).empty()) << "what is small already stays";
}

TEST(BrownOut, HalvesSmallModelsKeepsProportionsAndLeavesEditsTheirSize) {
  ServerConfig c = default_config();  // side 256
  for (ModelEntry& m : c.models) m.min_side = 64;
  BrownOut b(c.brown_out, c.models);
  b.update(0, 18, 30, {});
  JobParameters text{.steps = 4, .width = 512, .height = 256, .model = "inkling", .edit = false};
  EXPECT_EQ(b.apply(text), (std::vector<std::string>{"176 x 80 pixels instead of 512 x 256"}));
  JobParameters edit{.steps = 4, .width = 0, .height = 0, .model = "inkling", .edit = true};
  EXPECT_TRUE(b.apply(edit).empty());
}

TEST(BrownOut, NeverGoesBelowWhatAModelCanDraw) {
  const ServerConfig c = default_config();
  BrownOut b(c.brown_out, c.models);
  b.update(0, 18, 30, {});
  JobParameters usual{.steps = 4, .width = 0, .height = 0, .model = "inkling", .edit = false};
  EXPECT_TRUE(b.apply(usual).empty());
  JobParameters wide{.steps = 4, .width = 768, .height = 384, .model = "inkling", .edit = false};
  EXPECT_EQ(b.apply(wide), (std::vector<std::string>{"512 x 256 pixels instead of 768 x 384"}));
}

TEST(BrownOut, WithoutADistilledModelTheRowDoesNothing) {
  const ServerConfig c = default_config();
  BrownOut b(c.brown_out, c.models);
  b.update(0, 24, 30, {});
  JobParameters job{.steps = 4, .width = 128, .height = 128, .model = "inkling", .edit = false};
  EXPECT_TRUE(b.apply(job).empty());
  EXPECT_EQ(job.model, "inkling");
}

TEST(Breaker, OpensAfterThreeFailuresThenProbesOnce) {
  Breaker b;
  b.failure(0);
  b.failure(100);
  EXPECT_TRUE(b.allow(100));
  b.failure(200);
  EXPECT_EQ(b.state(), Breaker::State::open);
  EXPECT_FALSE(b.allow(259));
  EXPECT_DOUBLE_EQ(b.retry_after(230), 30);
  EXPECT_TRUE(b.allow(260));
  EXPECT_EQ(b.state(), Breaker::State::half_open);
  EXPECT_FALSE(b.allow(261)) << "one probe";
  b.failure(262);
  EXPECT_EQ(b.state(), Breaker::State::open);
  EXPECT_FALSE(b.allow(300));
  EXPECT_TRUE(b.allow(322));
  b.success(325);
  EXPECT_EQ(b.state(), Breaker::State::closed);
  b.failure(326);
  EXPECT_TRUE(b.allow(326)) << "the old failures are forgiven";
}

TEST(Breaker, FailuresFarApartAndSuccessesBetween) {
  Breaker slow;
  for (int i = 0; i < 20; ++i) slow.failure(i * 151.0);
  EXPECT_EQ(slow.state(), Breaker::State::closed);
  Breaker flapping;
  for (int i = 0; i < 3; ++i) {
    flapping.failure(i * 10);
    flapping.success(i * 10 + 5);
  }
  EXPECT_EQ(flapping.state(), Breaker::State::open);
}

TEST(Breaker, AProbeThatNeverAnswersIsFollowedByAnother) {
  Breaker b({.failures = 1, .window_s = 10, .open_s = 5});
  b.failure(0);
  EXPECT_TRUE(b.allow(5));
  EXPECT_FALSE(b.allow(9));
  EXPECT_TRUE(b.allow(10));
}

TEST(RateLimiter, TheThirtyFirstWaits) {
  RateLimiter r(30, 100);
  for (int i = 0; i < 30; ++i) EXPECT_FALSE(r.limited("a", 0));
  const auto wait = r.limited("a", 0);
  ASSERT_TRUE(wait);
  EXPECT_NEAR(*wait, 2, 1e-9);
  EXPECT_FALSE(r.limited("b", 0)) << "others are unaffected";
  EXPECT_TRUE(r.limited("a", 1.9));
  EXPECT_FALSE(r.limited("a", 2)) << "refused ones cost nothing, and the wait that was told is enough";
  EXPECT_TRUE(r.limited("a", 2));
  EXPECT_TRUE(r.limited("a", -100)) << "a clock that goes back refills nothing";
}

TEST(RateLimiter, MemoryIsBounded) {
  RateLimiter r(1, 10);
  EXPECT_FALSE(r.limited("first", 0));
  for (int i = 0; i < 1000; ++i) {
    r.limited(std::to_string(i), 0);
    EXPECT_TRUE(r.limited("first", 0)) << "who keeps asking is not forgotten";
  }
  EXPECT_EQ(r.keys(), 10U);
  RateLimiter off(0);
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(off.limited("a", 0));
}

RouteQuery on_gpu(int64_t room_mib) {
  RouteQuery q;
  q.devices = {{"cuda:0", true, room_mib << 20}, {"cpu", true, {}}};
  return q;
}

TEST(Router, FullWhenThereIsRoomFourBitWhenShort) {
  const ModelRouter r(default_config());
  EXPECT_EQ(r.choose(on_gpu(4096)).model, "inkling");
  EXPECT_FALSE(r.choose(on_gpu(4096)).degraded);
  const RouteChoice c = r.choose(on_gpu(1000));
  EXPECT_EQ(c.model, "inkling-4bit");
  EXPECT_TRUE(c.degraded);
  EXPECT_NE(c.reason.find("1280 MiB"), std::string::npos) << c.reason;
  EXPECT_EQ(r.choose(on_gpu(100)).model, "inkling-cpu");
  RouteQuery unknown = on_gpu(0);
  unknown.devices[0].room_bytes.reset();
  EXPECT_EQ(r.choose(unknown).model, "inkling");
}

TEST(Router, CpuWhenNoGpuMayWork) {
  const ModelRouter r(default_config());
  RouteQuery q = on_gpu(4096);
  q.devices[0].allowed = false;
  const RouteChoice c = r.choose(q);
  EXPECT_EQ(c.model, "inkling-cpu");
  EXPECT_TRUE(c.fallback);
  EXPECT_TRUE(c.degraded);
  q.devices[1].allowed = false;
  EXPECT_EQ(r.choose(q).model, "");
  EXPECT_NE(r.choose(q).reason, "");
}

TEST(Router, AMachineWithoutGpuIsNotDegraded) {
  const ModelRouter r(default_config());
  RouteQuery q;
  q.devices = {{"cpu", true, {}}};
  const RouteChoice c = r.choose(q);
  EXPECT_EQ(c.model, "inkling");
  EXPECT_FALSE(c.degraded);
  EXPECT_FALSE(c.fallback);
}

TEST(Router, DistilledForWhatIsAskedAgainAndAgain) {
  const ModelRouter r(with_distilled());
  RouteQuery q = on_gpu(4096);
  q.frequency = 2;
  EXPECT_EQ(r.choose(q).model, "inkling");
  q.frequency = 3;
  EXPECT_EQ(r.choose(q).model, "quick");
  EXPECT_EQ(r.choose(q).reason, "asked 3 times within 600 s");
  EXPECT_EQ(ModelRouter(default_config()).choose(q).model, "inkling") << "none is configured";
}

TEST(Router, AFasterModelForAShortDeadline) {
  const ModelRouter r(with_distilled());
  RouteQuery q = on_gpu(4096);
  q.deadline_s = 10;
  q.predicted_s = [](const std::string& m) { return m == "quick" ? 6.0 : 14.0; };
  EXPECT_EQ(r.choose(q).model, "quick");
  q.deadline_s = 15;
  EXPECT_EQ(r.choose(q).model, "inkling");
  q.deadline_s = 5;  // nobody is in time: admission has the word
  EXPECT_EQ(r.choose(q).model, "inkling");
}

TEST(Router, WhatWasAskedFor) {
  ServerConfig config = with_distilled();
  config.models[3].edit = false;
  const ModelRouter r(config);
  RouteQuery q = on_gpu(4096);
  q.asked = "quick";
  q.frequency = 100;
  EXPECT_EQ(r.choose(q).model, "quick");
  q.edit = true;
  EXPECT_THROW(r.choose(q), ArgumentError);
  q.asked = "nobody";
  EXPECT_THROW(r.choose(q), ArgumentError);
  q.asked = "inkling-4bit";
  q.devices[0].allowed = false;
  EXPECT_EQ(r.choose(q).model, "");
}

TEST(RequestFrequency, SlidesAndIsBounded) {
  RequestFrequency f(10, 3);
  EXPECT_EQ(f.count("duck", 0), 1);
  EXPECT_EQ(f.count("duck", 5), 2);
  EXPECT_EQ(f.count("duck", 11), 2);
  for (const char* other : {"a", "b", "c"}) EXPECT_EQ(f.count(other, 12), 1);
  EXPECT_EQ(f.count("duck", 12), 1) << "forgotten first";
}

TEST(ServiceTimes, SeedScalesWithPixelsAndForwards) {
  const ServiceTimes t(default_config().models);
  const JobShape normal{.edit = false, .model = "inkling"};
  EXPECT_NEAR(t.estimate(normal), 0.6, 1e-12);
  EXPECT_NEAR(t.estimate({.edit = true, .model = "inkling"}), 0.8, 1e-12);
  EXPECT_NEAR(t.estimate({.width = 512, .height = 512, .model = "inkling"}), 2.4, 1e-12);
  EXPECT_NEAR(t.estimate({.steps = 17, .model = "inkling"}), 1.2, 1e-12);  // 17 + 1 forwards for 8 + 1
  EXPECT_NEAR(t.estimate({.n = 4, .model = "inkling"}), 2.4, 1e-12);
  EXPECT_NEAR(t.estimate({.model = "inkling", .passes = 2}), 0.6 * 17 / 9, 1e-12);
  EXPECT_NEAR(t.estimate({.model = "no such"}), 0.6, 1e-12);
}

TEST(ServiceTimes, LearnsPerModelAndClass) {
  ServiceTimes t(default_config().models);
  const JobShape shape{.edit = false, .model = "inkling"};
  t.observe(shape, 1.2);
  EXPECT_NEAR(t.estimate(shape), 1.2, 1e-12);  // a first measurement outweighs the guess
  for (int i = 0; i < 40; ++i) t.observe(shape, 2);
  EXPECT_NEAR(t.estimate(shape), 2, 0.01);
  EXPECT_NEAR(t.estimate({.width = 512, .height = 512, .model = "inkling"}), 8, 0.05) << "nearest class, scaled";
  EXPECT_NEAR(t.estimate({.edit = true, .model = "inkling"}), 0.8, 1e-12);
  EXPECT_NEAR(t.estimate({.model = "inkling-cpu"}), 0.6, 1e-12);
  t.observe(shape, 1000);  // one odd picture
  EXPECT_LT(t.estimate(shape), 3.3);
  for (const double odd : {0.0, -1.0, std::nan(""), static_cast<double>(INFINITY)}) t.observe(shape, odd);
  EXPECT_LT(t.estimate(shape), 3.3);
}

TEST(ServiceTimes, Steps) {
  ServiceTimes t(default_config().models);
  EXPECT_NEAR(t.step_seconds("inkling"), 0.6 / 9, 1e-12);
  t.observe_step("inkling", 0.05);
  EXPECT_NEAR(t.step_seconds("inkling"), 0.05, 1e-12);
  EXPECT_NEAR(t.step_seconds("inkling-cpu"), 0.6 / 9, 1e-12);
}

}  // namespace
}  // namespace inkling::server
