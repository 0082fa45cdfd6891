// A plan says what a run takes, before it.

#include "pipeline/plan.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>

#include "base/error.h"
#include "memory/placement.h"

namespace inkling {
namespace {

Request small_request(bool edit) {
  Request r;
  r.prompt = "a cute panda with a red hat, 可爱的熊猫";
  r.width = 96;
  r.height = 64;
  r.steps = 3;
  r.cfg_scale = 4;
  r.vae_area = 96 * 96;
  r.vl_area = 160 * 160;
  if (edit) r.images = {Image::blank(90, 70, 3, 128), Image::blank(64, 100, 3, 30)};
  return r;
}

EngineOptions model_of(const std::string& checkpoint, PrecisionChoice precision) {
  EngineOptions o;
  o.model = std::string(INKLING_SOURCE_DIR) + "/tests/parity/data/checkpoints/" + checkpoint;
  o.precision = precision;
  return o;
}

class PlanEqualsRun : public ::testing::TestWithParam<std::tuple<const char*, bool, PrecisionChoice, bool>> {};

TEST_P(PlanEqualsRun, PeakIsExact) {
  const auto& [checkpoint, edit, precision, tiled] = GetParam();
  Engine engine(model_of(checkpoint, precision));
  Request request = small_request(edit);
  if (tiled) request.vae_tiling = Tiling{64, 48};
  const RunPlan plan = engine.plan(request);
  const Result result = engine.run(request);
  EXPECT_EQ(plan.peak_bytes, result.activation_peak_bytes);
  EXPECT_GT(plan.peak_bytes, 0);
}

INSTANTIATE_TEST_SUITE_P(Models, PlanEqualsRun,
                         ::testing::Combine(::testing::Values("small-t2i"), ::testing::Values(false),
                                            ::testing::Values(PrecisionChoice::f32, PrecisionChoice::bf16,
                                                              PrecisionChoice::w8a8, PrecisionChoice::w4a8),
                                            ::testing::Bool()));
INSTANTIATE_TEST_SUITE_P(Edits, PlanEqualsRun,
                         ::testing::Combine(::testing::Values("small-edit"), ::testing::Values(true),
                                            ::testing::Values(PrecisionChoice::f32, PrecisionChoice::bf16,
                                                              PrecisionChoice::w8a8, PrecisionChoice::w4a8),
                                            ::testing::Values(false)));

TEST(Plan, OfThePublishedModelNeedsNoWeightsAndNoTime) {
  PlanRequest r;
  r.model.model = "qwen-image";
  r.width = r.height = 1024;
  const auto start = std::chrono::steady_clock::now();
  const RunPlan plan = plan_run(r);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_LT(seconds, 1.0);
  // 20.430 B of the transformer less the dead text tail of the last block, 7.07 B of the text model's layers and
  // embedding, and the folded VAE decoder (reference/qwen-image.md section 11).
  EXPECT_NEAR(static_cast<double>(plan.parameters), 20.430401088e9 - 94.393e6 + 6.525618176e9 + 544.997376e6 + 25.29e6,
              1e6);
  double flops = 0;
  for (const PhasePlan& p : plan.phases)
    if (p.name == "denoise") flops = p.flops / 50;
  EXPECT_NEAR(flops, 69.3e12 * 2, 0.04 * 69.3e12 * 2);  // positive with 64 tokens, negative with 6
}

const PhasePlan& phase_of(const RunPlan& plan, const std::string& name) {
  for (const PhasePlan& p : plan.phases)
    if (p.name == name) return p;
  throw RuntimeError("no phase '{}'", name);
}

// A plan of sizes alone takes references and outputs to be of the very sizes that a request with pictures makes of
// them.
class EditPlan : public ::testing::TestWithParam<std::pair<bool, int>> {};

TEST_P(EditPlan, HasTheSizesOfTheEdit) {
  const auto& [sized, count] = GetParam();  // sized: -W and -H are given
  Request request;
  request.prompt = "make it blue";
  request.steps = 3;
  request.cfg_scale = 1;
  for (int i = 0; i < count; ++i) request.images.push_back(Image::blank(300, 200, 3, 128));
  PlanRequest r;
  r.model = model_of("small-edit", PrecisionChoice::f32);
  r.references = count;
  r.picture = {300, 200};
  r.prompt_tokens = 8;
  r.steps = 3;
  r.cfg_scale = 1;
  if (sized) {
    request.width = r.width = 96;
    request.height = r.height = 64;
  }
  const RunPlan exact = Engine(r.model).plan(request), plan = plan_run(r);
  EXPECT_EQ(plan.width, exact.width);
  EXPECT_EQ(plan.height, exact.height);
  EXPECT_EQ(plan.width, sized ? 96 : 304);
  for (const char* phase : {"see pictures", "encode image", "decode"}) {
    EXPECT_EQ(phase_of(plan, phase).flops, phase_of(exact, phase).flops) << phase;
    EXPECT_EQ(phase_of(plan, phase).peak_bytes, phase_of(exact, phase).peak_bytes) << phase;
  }
  // Prompts differ in length by a few tokens.
  EXPECT_NEAR(phase_of(plan, "denoise").flops / phase_of(exact, "denoise").flops, 1, 0.05);
}

INSTANTIATE_TEST_SUITE_P(Sizes, EditPlan,
                         ::testing::Values(std::pair{false, 1}, std::pair{false, 2}, std::pair{true, 1},
                                           std::pair{true, 2}));

// References have the model's area, not the output's, where the output's size is asked for.
TEST(Plan, OfAnEditTakesReferencesOfTheModelsArea) {
  PlanRequest r;
  r.model.model = "qwen-image-edit-2509";
  r.references = 1;
  r.cfg_scale = 1;
  r.steps = 1;
  r.width = r.height = 512;
  const double small = phase_of(plan_run(r), "encode image").flops;
  r.width = r.height = 1024;
  EXPECT_EQ(phase_of(plan_run(r), "encode image").flops, small);
  r.width = r.height = 0;
  r.picture = {512, 512};  // kept: the picture is the reference
  EXPECT_LT(phase_of(plan_run(r), "encode image").flops, 0.5 * small);
}

// LoRAs decide the types of the weights that they change, and a Lightning LoRA the schedule.
TEST(Plan, CountsLoras) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::temp_directory_path() / "inkling_plan_lora";
  fs::create_directories(folder);
  const fs::path lora = folder / "Qwen-Image-Lightning-4steps-V1.safetensors";
  fs::copy_file(std::string(INKLING_SOURCE_DIR) + "/tests/parity/data/cases/lora_kohya/files/lora.safetensors", lora,
                fs::copy_options::overwrite_existing);
  PlanRequest r;
  r.model = model_of("small-t2i", PrecisionChoice::f32);
  r.width = r.height = 64;
  EXPECT_EQ(plan_run(r).steps, 50);
  r.model.loras = {{lora, 1.f}};
  const RunPlan plan = plan_run(r);
  EXPECT_EQ(plan.steps, 4);  // a Lightning LoRA brings its schedule
  EXPECT_EQ(plan.cfg_scale, 1);
  Request request = small_request(false);
  request.steps = 2;
  Engine engine(r.model);
  EXPECT_EQ(engine.plan(request).peak_bytes, engine.run(request).activation_peak_bytes);
  r.model.loras = {{folder / "none.safetensors", 1.f}};
  EXPECT_THROW(plan_run(r), Error);
  fs::remove_all(folder);
}

TEST(Placement, StreamsWhatDoesNotFitAndNamesTheSmallestBudget) {
  const std::vector<PhaseNeed> needs{{"denoise", 1000, 10'500, 0, std::vector<int64_t>(100, 100)},
                                     {"decode", 2000, 50, 0, {}}};
  const Placement roomy = place(needs, 20'000);
  EXPECT_TRUE(roomy.fits);
  EXPECT_EQ(roomy.phases[0].streamed_blocks, 0);
  const Placement tight = place(needs, 5'000);
  EXPECT_TRUE(tight.fits);
  EXPECT_EQ(tight.phases[0].resident_blocks, (5'000 - 1'000 - 500 - 300) / 100);
  for (const PhasePlacement& p : tight.phases) EXPECT_LE(p.peak_bytes, 5'000);
  EXPECT_EQ(tight.smallest_budget, 2050);
  EXPECT_TRUE(place(needs, 2050).fits);
  EXPECT_FALSE(place(needs, 2049).fits);
  // Blocks of different sizes: never more streamed than there is.
  const PhaseNeed mixed{"encode prompt", 10, 1'450, 100, {100, 300, 300, 300, 300}};
  const Placement p = place({mixed}, 1'100);
  EXPECT_EQ(p.phases[0].resident_blocks, 1);
  EXPECT_EQ(p.phases[0].streamed_bytes, 1'200);
  EXPECT_EQ(p.phases[0].peak_bytes, 10 + 50 + 900 + 100);
  // Resident and streamed blocks take turns.
  const PhasePlacement half = place({needs[0]}, 1'000 + 500 + 300 + 5'000).phases[0];
  EXPECT_EQ(half.resident_blocks, 50);
  for (size_t i = 0; i + 3 < half.resident.size(); ++i)
    EXPECT_LT(half.resident[i] + half.resident[i + 1] + half.resident[i + 2], 3) << i;
}

}  // namespace
}  // namespace inkling
