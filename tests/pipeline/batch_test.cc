// Several requests together: the bytes of each alone, whoever stands beside it, leaves or fails.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "pipeline/engine.h"
#include "pipeline/plan.h"
#include "pipeline_support.h"

namespace inkling {
namespace {

using testing::edit_request;
using testing::generate_request;
using testing::small_model;

// oneDNN orders the sums of a bfloat16 product by its number of rows where a row is very short or longer than about
// 1,000 (measured: AMX), and without AVX-512 perhaps those of f32 too. The random models make much of a rounding; bf16
// itself moves their pixels by 0.4 levels in the mean, company by 0.06.
constexpr double kMeanLevels = 0.15;

void expect_same(const Image& a, const Image& b, PrecisionChoice precision = PrecisionChoice::f32) {
  ASSERT_EQ(a.pixels.size(), b.pixels.size());
  if (precision == PrecisionChoice::f32 && __builtin_cpu_supports("avx512f")) {
    EXPECT_EQ(a.pixels, b.pixels);
    return;
  }
  double sum = 0;
  for (size_t i = 0; i < a.pixels.size(); ++i) sum += std::abs(a.pixels[i] - b.pixels[i]);
  EXPECT_LE(sum / static_cast<double>(a.pixels.size()), kMeanLevels);
}

std::vector<Request> mixed_prompts(bool edit, float cfg_scale) {
  const auto make = edit ? [](const char* p, int64_t s, float c) { return edit_request(p, s, c, static_cast<int>(s)); }
                         : [](const char* p, int64_t s, float c) { return generate_request(p, s, c); };
  std::vector<Request> r{make("a cute panda", 5, cfg_scale), make("可爱的小熊猫戴着红色的帽子", 11, cfg_scale),
                         make("fox", 7, cfg_scale)};
  if (cfg_scale > 1) r[1].negative_prompt = "blurry, low quality";
  return r;
}

class Batch : public ::testing::TestWithParam<std::tuple<bool, PrecisionChoice, float>> {};

TEST_P(Batch, GivesTheBytesOfEachAlone) {
  const auto& [edit, precision, cfg_scale] = GetParam();
  const char* name = edit ? "small-edit" : "small-t2i";
  const std::vector<Request> requests = mixed_prompts(edit, cfg_scale);
  Engine together(small_model(name, precision)), alone(small_model(name, precision));
  for (const Request& r : requests) EXPECT_EQ(together.batch_key(r), together.batch_key(requests[0]));
  const std::vector<Outcome> outcomes = together.run_batch(requests);
  ASSERT_EQ(outcomes.size(), requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    ASSERT_TRUE(outcomes[i].result) << i;
    EXPECT_EQ(outcomes[i].error, nullptr);
    expect_same(outcomes[i].result->images.at(0), alone.run(requests[i]).images.at(0), precision);
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, Batch,
                         ::testing::Combine(::testing::Bool(),
                                            ::testing::Values(PrecisionChoice::f32, PrecisionChoice::bf16,
                                                              PrecisionChoice::w8a8, PrecisionChoice::w4a8),
                                            ::testing::Values(1.f, 4.f)));

TEST(BatchOfOneRequest, PlanIsExactAndPicturesAreThoseOfTheirSeeds) {
  Engine engine(small_model("small-t2i"));
  Request request = generate_request("a cute panda", 5, 4);
  request.batch = 3;
  const RunPlan plan = engine.plan(request);
  const Result result = engine.run(request);
  EXPECT_EQ(plan.peak_bytes, result.activation_peak_bytes);
  for (int i = 0; i < 3; ++i)
    expect_same(result.images.at(i), engine.run(generate_request("a cute panda", 5 + i, 4)).images.at(0));
}

TEST(Batch, AMemberThatIsCancelledLeavesAndTheOthersKeepTheirBytes) {
  const std::vector<Request> requests = mixed_prompts(false, 4);
  Engine engine(small_model("small-t2i"));
  CancelToken cancel;
  std::vector<Callbacks> callbacks(3);
  int reports_after = 0, steps_of_others = 0;
  callbacks[1].cancel = &cancel;
  callbacks[1].progress = [&](const Progress& p) {
    if (cancel.cancelled()) ++reports_after;
    if (p.phase == "denoise" && p.step == 1) cancel.cancel();
  };
  callbacks[2].progress = [&](const Progress& p) {
    if (p.phase == "denoise") steps_of_others = p.step;
  };
  const std::vector<Outcome> outcomes = engine.run_batch(requests, callbacks);
  EXPECT_FALSE(outcomes[1].result);
  EXPECT_THROW(std::rethrow_exception(outcomes[1].error), CancelledError);
  EXPECT_EQ(reports_after, 0);
  EXPECT_EQ(steps_of_others, 3);
  for (const size_t i : {0, 2}) expect_same(outcomes[i].result->images.at(0), engine.run(requests[i]).images.at(0));
}

TEST(Batch, AMemberOfFaultyNumbersFailsAlone) {
  const std::vector<Request> requests = mixed_prompts(false, 1);
  Engine engine(small_model("small-t2i"));
  engine.set_trace([&](std::string_view name, const Tensor& value) {
    if (name != "latents.1") return;
    Tensor t = value;  // shares memory: the second member's rows are spoilt
    t.data<float>()[t.elements() / 3 + 5] = std::numeric_limits<float>::quiet_NaN();
  });
  const std::vector<Outcome> outcomes = engine.run_batch(requests);
  engine.set_trace({});
  EXPECT_THROW(std::rethrow_exception(outcomes[1].error), NumericError);
  for (const size_t i : {0, 2}) expect_same(outcomes[i].result->images.at(0), engine.run(requests[i]).images.at(0));
}

TEST(Batch, RequestsThatDoNotMatchRunOneAfterAnotherAndWrongOnesFailAlone) {
  Engine engine(small_model("small-t2i"));
  std::vector<Request> requests{generate_request(), generate_request(), generate_request(), generate_request()};
  requests[1].width = 48;
  requests[2].images = {testing::pattern(64, 64)};
  requests[3].seed = 9;
  EXPECT_NE(engine.batch_key(requests[0]), engine.batch_key(requests[1]));
  const std::vector<Outcome> outcomes = engine.run_batch(requests);
  EXPECT_THROW(std::rethrow_exception(outcomes[2].error), ArgumentError);
  for (const size_t i : {0, 1, 3})
    EXPECT_EQ(outcomes[i].result->images.at(0).pixels, engine.run(requests[i]).images.at(0).pixels);
}

TEST(Batch, KeysTellApartWhatCannotRunTogether) {
  Engine engine(small_model("small-edit"));
  const std::string key = engine.batch_key(edit_request());
  EXPECT_FALSE(key.empty());
  EXPECT_EQ(engine.batch_key(edit_request("another wish", 99, 1, 5)), key);
  Request r = edit_request();
  r.steps = 4;
  EXPECT_NE(engine.batch_key(r), key);
  r = edit_request();
  r.cfg_scale = 2;
  EXPECT_NE(engine.batch_key(r), key);
  r = edit_request();
  r.images.push_back(r.images[0]);
  EXPECT_NE(engine.batch_key(r), key);
  r = edit_request();
  r.latents.emplace();
  EXPECT_TRUE(engine.batch_key(r).empty());
}

// --- stopping -------------------------------------------------------------------------------------------------------

// A wish to stop inside a pass of the transformer ends it at the next block.
TEST(Stopping, EndsAPassBetweenBlocks) {
  Engine engine(small_model("small-t2i"));
  CancelToken cancel;
  int blocks_after = 0;
  engine.set_trace([&](std::string_view name, const Tensor&) {
    if (!name.starts_with("transformer.transformer_blocks.")) return;
    if (cancel.cancelled() && !name.ends_with(".txt")) ++blocks_after;
    cancel.cancel();
  });
  Callbacks callbacks;
  callbacks.cancel = &cancel;
  EXPECT_THROW(engine.run(generate_request(), callbacks), CancelledError);
  EXPECT_TRUE(cancel.cancelled());
  EXPECT_EQ(blocks_after, 0);
}

// In every other phase: what is under way when the wish comes is not finished.
TEST(Stopping, EndsLoadingEncodingAndDecoding) {
  for (const std::string phase : {"encode prompt", "encode image", "decode"}) {
    Engine engine(small_model("small-edit"));
    CancelToken cancel;
    Callbacks callbacks;
    callbacks.cancel = &cancel;
    int after = 0;
    callbacks.progress = [&](const Progress& p) {
      if (cancel.cancelled()) ++after;
      if (p.phase == phase && p.step == 0) cancel.cancel();
    };
    EXPECT_THROW(engine.run(edit_request(), callbacks), CancelledError);
    EXPECT_TRUE(cancel.cancelled()) << phase;
    EXPECT_EQ(after, 0) << phase;
    EXPECT_EQ(engine.run(edit_request()).images.size(), 1u);
  }
}

}  // namespace
}  // namespace inkling
