#include "diffusion/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "diffusion/vectors.h"

namespace inkling {
namespace {

using testing::vectors;
using Floats = std::vector<float>;

TEST(Schedule, EqualsDiffusersToTheLastBit) {
  for (const auto& v : vectors()["schedules"]) {
    const auto name = v["config"].get<std::string>();
    const auto config = FlowMatchConfig::parse(vectors()["configs"][name].get<std::string>());
    const Schedule schedule = make_schedule(config, v["steps"].get<int>(), v["tokens"].get<int64_t>());
    EXPECT_EQ(schedule.sigmas, v["sigmas"].get<Floats>()) << name << " " << v["steps"] << " " << v["tokens"];
    const auto timesteps = v["timesteps"].get<Floats>();
    ASSERT_EQ(schedule.steps(), static_cast<int>(timesteps.size()));
    for (int i = 0; i < schedule.steps(); ++i) EXPECT_EQ(schedule.timestep(i), timesteps[static_cast<size_t>(i)]);
  }
}

TEST(Schedule, GivesThePublishedValues) {
  const Schedule schedule = make_schedule({}, 50, 4096);
  EXPECT_NEAR(FlowMatchConfig{}.mu(4096), .693548, 1e-6);
  EXPECT_NEAR(schedule.sigmas[1], .989701, 1e-6);
  EXPECT_NEAR(schedule.sigmas[25], .660086, 1e-6);
  EXPECT_NEAR(schedule.sigmas[48], .058476, 1e-6);
  EXPECT_NEAR(schedule.sigmas[49], .02, 1e-6);
}

TEST(Schedule, OfLightningIsAConstantShiftOfThree) {
  for (const int64_t tokens : {16, 1024, 9000}) {
    const Schedule four = make_schedule(FlowMatchConfig::lightning(), 4, tokens);
    const Floats expected = {1, .9f, .75f, .5f, 0};
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(four.sigmas[i], expected[i], 1e-6);
    const Schedule eight = make_schedule(FlowMatchConfig::lightning(), 8, tokens);
    EXPECT_NEAR(eight.sigmas[1], .954545, 1e-6);
    EXPECT_NEAR(eight.sigmas[7], .3, 1e-6);
  }
}

TEST(Schedule, FallsFromOneToZero) {
  for (const int64_t tokens : {1, 256, 4096, 16384, 65536}) {
    for (const int steps : {1, 2, 3, 4, 30, 50, 200}) {
      for (const auto& config : {FlowMatchConfig{}, FlowMatchConfig::lightning()}) {
        const Schedule schedule = make_schedule(config, steps, tokens);
        ASSERT_EQ(schedule.steps(), steps);
        EXPECT_EQ(schedule.sigmas.front(), 1.f);
        EXPECT_EQ(schedule.sigmas.back(), 0.f);
        float sum = 0;
        for (int i = 0; i < steps; ++i) {
          EXPECT_LT(schedule.delta(i), 0.f);
          sum += schedule.delta(i);
        }
        EXPECT_NEAR(sum, -1, 1e-5);
      }
    }
  }
}

TEST(Schedule, OfOneStepIsFinite) { EXPECT_EQ(make_schedule({}, 1, 4096).sigmas, (Floats{1, 0})); }

TEST(Schedule, RefusesLevelsThatDoNotFall) {
  EXPECT_THROW(make_schedule({}, 0, 256), ArgumentError);
  EXPECT_THROW(make_schedule({}, -1, 256), ArgumentError);
  for (const Floats& levels :
       {Floats{}, Floats{1, 1}, Floats{.5f, .7f}, Floats{1.5f}, Floats{0}, Floats{std::nanf("")}}) {
    EXPECT_THROW(shift_schedule({}, levels, 0.5), ArgumentError);
  }
}

TEST(FlowMatchConfig, ParsesWhatModelsShip) {
  const auto config = FlowMatchConfig::parse(
      R"({"_class_name": "FlowMatchEulerDiscreteScheduler", "base_shift": 0.5, "max_shift": 0.9, "shift_terminal": 0.02,
          "max_image_seq_len": 8192, "base_image_seq_len": 256, "use_dynamic_shifting": true, "invert_sigmas": false})");
  EXPECT_EQ(make_schedule(config, 20, 1024).sigmas, make_schedule({}, 20, 1024).sigmas);
  const auto none = FlowMatchConfig::parse(R"({"shift_terminal": null, "shift": 3.0})");
  EXPECT_EQ(none.terminal, 0);
  EXPECT_EQ(none.shift_type, FlowMatchConfig::Shift::constant);
}

TEST(FlowMatchConfig, RefusesWhatItDoesNotImplement) {
  for (const char* text :
       {"", "[]", "{", R"({"use_karras_sigmas": true})", R"({"invert_sigmas": true})",
        R"({"time_shift_type": "cubic"})", R"({"shift": "three"})", R"({"shift_terminal": 1})", R"({"shift": 0})",
        R"({"num_train_timesteps": 500})", R"({"base_image_seq_len": 4096, "max_image_seq_len": 4096})"}) {
    EXPECT_THROW(FlowMatchConfig::parse(text), ModelError) << text;
  }
}

}  // namespace
}  // namespace inkling
