// Whole runs against the reference pipelines: from prompt and pictures to the last pixel, in float32.

#include <gtest/gtest.h>

#include "pipeline/engine.h"
#include "support/goldens.h"

namespace inkling {
namespace {

using testing::Golden;
using testing::golden_cases;

// One picture level on at most this share of the values: the noise floor of float32 is 1e-4 (tools/parity).
constexpr double kLevelOffShare = 1e-3;
constexpr float kTraceTolerance = 5e-5f;

Request request_of(const Golden& g, size_t index) {
  const auto& d = g.description;
  Request r;
  r.prompt = d.contains("prompts") ? d["prompts"][index].get<std::string>() : d["prompt"].get<std::string>();
  r.seed = d.contains("seeds") ? d["seeds"][index].get<int64_t>() : d["seed"].get<int64_t>();
  if (!d["negative_prompt"].is_null()) r.negative_prompt = d["negative_prompt"].get<std::string>();
  r.cfg_scale = r.negative_prompt ? d["true_cfg_scale"].get<float>() : 1.f;  // the reference needs one for guidance
  r.width = d["width"];
  r.height = d["height"];
  r.steps = d["steps"];
  r.geometry = Geometry::reference;
  r.vae_area = d.value("vae_area", 0);
  r.vl_area = d.value("vl_area", 0);
  if (d.contains("vae_tiling")) r.vae_tiling = Tiling{d["vae_tiling"]["tile"], d["vae_tiling"]["stride"]};
  for (const auto& path : d.value("images", nlohmann::json::array()))
    r.images.push_back(read_image(g.root / path.get<std::string>()));
  return r;
}

EngineOptions options_of(const Golden& g) {
  EngineOptions o;
  o.model = g.path("checkpoint");
  o.dit = g.path("transformer");
  o.text_encoder = g.path("text_encoder");
  o.mmproj = g.path("mmproj");
  o.vae = g.path("vae");
  o.precision = PrecisionChoice::f32;
  for (const auto& l : g.description.value("loras", nlohmann::json::array()))
    o.loras.push_back({g.root / l["path"].get<std::string>(), l["scale"].get<float>()});
  return o;
}

void expect_same_picture(const Image& got, const Tensor& expected, const std::string& name) {
  ASSERT_EQ((Shape{got.height, got.width, got.channels}), expected.shape()) << name;
  int64_t off = 0, worst = 0;
  for (size_t i = 0; i < got.pixels.size(); ++i) {
    const int64_t difference =
        std::llabs(static_cast<int64_t>(got.pixels[i]) - static_cast<int64_t>(expected.data<float>()[i]));
    worst = std::max(worst, difference);
    off += difference != 0;
  }
  EXPECT_LE(worst, 1) << name;
  EXPECT_LE(static_cast<double>(off) / static_cast<double>(got.pixels.size()), kLevelOffShare) << name;
}

class Parity : public ::testing::TestWithParam<std::string> {};

TEST_P(Parity, PictureIsWithinOneLevelOfTheReference) {
  const Golden g(GetParam());
  Engine engine(options_of(g));
  const size_t count = g.description.contains("prompts") ? g.description["prompts"].size() : 1;
  for (size_t i = 0; i < count; ++i) {
    const std::string suffix = count > 1 ? fmt::format(".{}", i) : std::string();
    if (count == 1) {
      engine.set_trace([&](std::string_view name, const Tensor& value) {
        const std::string key(name);
        const bool whole_run = key == "noise" || key.starts_with("latents.") || key.starts_with("noise_pred.") ||
                               key.starts_with("image_latents.") || key == "prompt_embeds";
        if (whole_run && g.has(key)) {
          EXPECT_LE(testing::relative_error(value, g.load(key)), kTraceTolerance)
              << g.description["name"] << " " << key;
        }
      });
    }
    const Result result = engine.run(request_of(g, i));
    expect_same_picture(result.images.at(0), g.load("image" + suffix), GetParam() + suffix);
  }
}

INSTANTIATE_TEST_SUITE_P(Reference, Parity, ::testing::ValuesIn(golden_cases({"generate", "edit"})),
                         [](const auto& info) { return info.param; });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Parity);

}  // namespace
}  // namespace inkling
