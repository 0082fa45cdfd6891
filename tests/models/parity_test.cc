// Every network against the reference, tensor by tensor, on every golden case: diffusers folders, single
// files, GGUF files and LoRAs. The text, the noise and the schedule come from the trace.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "backends/cpu/cpu_ops.h"
#include "formats/image.h"
#include "models/goldens.h"
#include "models/loader.h"
#include "models/qwen_image/dit.h"
#include "models/qwen_image/text_encoder.h"
#include "models/qwen_image/vae.h"
#include "models/qwen_image/vision.h"
#include "models/registry.h"

namespace inkling::testing {
namespace {

// Largest error over the largest reference value of the tensor, everything in float32.
constexpr float kTolerance = 2e-5f;

ModelFiles files_of(const Golden& g) {
  ModelFiles files = find_model(g.path("checkpoint"));
  const auto replace = [&](std::filesystem::path& part, const char* field) {
    if (!g.path(field).empty()) part = g.path(field);
  };
  replace(files.dit, "transformer");
  replace(files.text_encoder, "text_encoder");
  replace(files.vision, "text_encoder");
  replace(files.vision, "mmproj");
  replace(files.vae, "vae");
  return files;
}

int64_t image_token(const ModelFiles& files) {
  std::ifstream in(files.text_config);
  return nlohmann::json::parse(in).at("image_token_id").get<int64_t>();
}

// [h, w, c] <-> tokens [h w / 4, 4 c], channel c * 4 + dy * 2 + dx.
Tensor pack(const Tensor& map) {
  const int64_t h = map.dim(0), w = map.dim(1), c = map.dim(2);
  Tensor tokens = host_tensor(Shape{h * w / 4, 4 * c});
  for (int64_t y = 0; y < h; ++y)
    for (int64_t x = 0; x < w; ++x)
      for (int64_t k = 0; k < c; ++k)
        tokens.data<float>()[((y / 2) * (w / 2) + x / 2) * 4 * c + k * 4 + y % 2 * 2 + x % 2] =
            map.data<float>()[(y * w + x) * c + k];
  return tokens;
}

Tensor unpack(const Tensor& tokens, int64_t h, int64_t w) {
  const int64_t c = tokens.channels() / 4;
  Tensor map = host_tensor(Shape{h, w, c});
  for (int64_t y = 0; y < h; ++y)
    for (int64_t x = 0; x < w; ++x)
      for (int64_t k = 0; k < c; ++k)
        map.data<float>()[(y * w + x) * c + k] =
            tokens.data<float>()[((y / 2) * (w / 2) + x / 2) * 4 * c + k * 4 + y % 2 * 2 + x % 2];
  return map;
}

// The token grid of a reference: about vae_area pixels, sides in multiples of 32.
PictureShape reference_shape(const Golden& g, int64_t i) {
  const Image image = read_image(g.root / g.description["images"][i].get<std::string>());
  const double ratio = static_cast<double>(image.width) / image.height;
  const double width = std::sqrt(g.description["vae_area"].get<double>() * ratio);
  return {1, 2 * std::lround(width / ratio / 32), 2 * std::lround(width / 32)};
}

class Parity : public ::testing::TestWithParam<std::string> {
 protected:
  Golden golden_{GetParam()};
  CpuOps ops_;
  TraceComparison trace_{ops_, golden_, kTolerance};

  void TearDown() override {
    RecordProperty("worst", trace_.worst_name());
    std::printf("  %zu tensors, worst %.2e at %s\n", trace_.seen().size(), trace_.worst(), trace_.worst_name().c_str());
  }

  void check(const std::string& name, const Tensor& got) { trace_.compare(name, got); }

  void expect_no_extras(const Checkpoint& c, std::vector<const Module*> modules) {
    EXPECT_EQ(unexpected_tensors(c, modules), std::vector<std::string>{});
  }

  std::vector<Tensor> run_vision(const ModelFiles& files, std::vector<PictureInText>& grids);
  void run_text(const ModelFiles& files);
  void run_dit(const ModelFiles& files);
  void run_vae(const ModelFiles& files);
};

std::vector<Tensor> Parity::run_vision(const ModelFiles& files, std::vector<PictureInText>& grids) {
  if (!golden_.has("visual.grid_thw")) return {};
  const Checkpoint checkpoint = Checkpoint::open(files.vision, Component::vision);
  VisionTower tower(vision_config(files, checkpoint));
  load_parameters(tower, checkpoint, ops_);
  expect_no_extras(checkpoint, {&tower});
  const Tensor grid = golden_.load_ids("visual.grid_thw");
  std::vector<Tensor> features;
  for (int64_t i = 0; i < grid.dim(0); ++i) {
    const int64_t h = grid.data<int32_t>()[3 * i + 1], w = grid.data<int32_t>()[3 * i + 2];
    VisionInput input{golden_.load("visual.pixel_values." + std::to_string(i)), h, w};
    if (golden_.has("vl_resized." + std::to_string(i))) {
      const Tensor bytes = golden_.trace->load(*golden_.trace->find("vl_resized." + std::to_string(i)));
      const std::span<const uint8_t> pixels = bytes.span<uint8_t>();
      const Image image{
          static_cast<int>(bytes.dim(1)), static_cast<int>(bytes.dim(0)), 3, {pixels.begin(), pixels.end()}};
      input = make_patches(image, tower.config(), processor_config(files));
      check("visual.pixel_values." + std::to_string(i), input.patches);
    }
    features.push_back(tower.forward(ops_, input, i));
    grids.push_back({0, h / tower.config().merge, w / tower.config().merge});
  }
  return features;
}

void Parity::run_text(const ModelFiles& files) {
  const Checkpoint checkpoint = Checkpoint::open(files.text_encoder, Component::text_encoder);
  TextEncoder encoder(text_config(files, checkpoint));
  load_parameters(encoder, checkpoint, ops_);
  expect_no_extras(checkpoint, {&encoder});
  std::vector<PictureInText> grids;
  const std::vector<Tensor> features = run_vision(files, grids);
  const int64_t pad = image_token(files), drop = golden_.description["task"] == "edit" ? 64 : 34;
  const auto encode = [&](const std::vector<std::string>& names) {  // several prompts packed
    TextInputs in;
    std::vector<int32_t> ids;
    for (const std::string& name : names) {
      const Tensor t = golden_.load_ids(name);
      std::vector<PictureInText> pictures = grids;
      int64_t at = 0;
      for (size_t i = 0; i < pictures.size(); ++i) {
        while (t.data<int32_t>()[at] != pad) ++at;
        pictures[i].start = at;
        in.pictures.push_back({static_cast<int64_t>(ids.size()) + at, features[i]});
        at += pictures[i].height * pictures[i].width;
      }
      ids.insert(ids.end(), t.data<int32_t>(), t.data<int32_t>() + t.elements());
      in.prompts.add(t.elements());
      append(in.positions, mrope_positions(t.elements(), pictures));
    }
    in.ids = host_tensor(Shape{static_cast<int64_t>(ids.size())}, std::span<const int32_t>(ids));
    if (names[0] == "input_ids" && golden_.has("position_ids")) {
      const Tensor expected = golden_.load_ids("position_ids");
      for (int64_t a = 0; a < 3; ++a)
        for (int64_t i = 0; i < expected.dim(1); ++i)
          ASSERT_EQ(in.positions[a][i], expected.data<int32_t>()[a * expected.dim(1) + i]);
    }
    const Tensor hidden = encoder.forward(ops_, in);
    for (size_t i = 0; i < names.size(); ++i) {
      std::string target = names[i];
      target.replace(target.find("input_ids"), 9, "prompt_embeds");
      const int64_t begin = in.prompts.offsets[i] + drop, rows = golden_.load(target).dim(0);
      check(target, hidden.slice_rows(begin, begin + rows));
    }
  };
  if (golden_.has("input_ids")) {
    encode({"input_ids"});
    if (golden_.has("negative_input_ids")) encode({"negative_input_ids"});
    return;
  }
  for (const std::string prefix : {"", "negative_"}) {
    std::vector<std::string> names;
    while (golden_.has(prefix + "input_ids." + std::to_string(names.size())))
      names.push_back(prefix + "input_ids." + std::to_string(names.size()));
    if (!names.empty()) encode(names);
  }
}

void Parity::run_dit(const ModelFiles& files) {
  const Checkpoint checkpoint = Checkpoint::open(files.dit, Component::dit);
  const DitConfig config = dit_config(files, checkpoint);
  LoraSet loras(config);
  for (const auto& lora : golden_.description.value("loras", nlohmann::json::array()))
    EXPECT_GT(loras.add(golden_.root / lora["path"].get<std::string>(), lora["scale"].get<float>()), 0);
  LoadOptions options;
  options.loras = &loras;
  DitModulation modulation(config);
  Dit dit(config);
  load_parameters(modulation, checkpoint, ops_, options);
  load_parameters(dit, checkpoint, ops_, options);
  expect_no_extras(checkpoint, {&modulation, &dit});

  const nlohmann::json& d = golden_.description;
  DitInputs in;
  in.pictures.push_back({1, d["height"].get<int64_t>() / 16, d["width"].get<int64_t>() / 16});
  std::vector<Tensor> references;
  for (int64_t i = 0; golden_.has("image_latents." + std::to_string(i)); ++i) {
    references.push_back(golden_.load("image_latents." + std::to_string(i)));
    in.pictures.push_back(reference_shape(golden_, i));
  }
  if (!references.empty()) in.references = ops_.upload(ops_.concat_rows(references));
  Tensor timesteps = golden_.load("sigmas").slice_rows(0, d["steps"].get<int64_t>());
  for (float& t : timesteps.span<float>()) t *= 1000.f;
  std::vector<StepModulation> table = modulation.forward(ops_, timesteps.span<float>());

  // One column of names per sample: "" for a single prompt, ".0", ".1", ... in a batch.
  std::vector<std::string> samples{""};
  if (golden_.has("noise.0")) {
    samples.clear();
    while (golden_.has("noise." + std::to_string(samples.size())))
      samples.push_back("." + std::to_string(samples.size()));
  }
  const auto context_of = [&](const std::string& prefix) {
    DitInputs inputs = in;
    std::vector<Tensor> texts;
    for (const std::string& s : samples) {
      texts.push_back(golden_.load(prefix + "prompt_embeds" + s));
      inputs.text_segments.add(texts.back().dim(0));
    }
    inputs.text = ops_.upload(ops_.concat_rows(texts));
    return dit.prepare(ops_, inputs);
  };
  const bool cfg = golden_.has("negative_prompt_embeds" + samples[0]);
  const DitContext positive = context_of("");
  const DitContext negative = cfg ? context_of("negative_") : DitContext();
  for (size_t k = 0; k < table.size(); ++k) {
    std::vector<Tensor> latents;
    for (const std::string& s : samples) {
      const std::string name = (k == 0 ? "noise" : "latents." + std::to_string(k - 1)) + s;
      if (!golden_.has(name)) return;
      latents.push_back(golden_.load(name));
    }
    const Tensor x = ops_.upload(ops_.concat_rows(latents));
    const std::string step = "." + std::to_string(k);
    Tensor v = dit.forward(ops_, positive, x, table[k]);
    if (cfg) {
      check("noise_pred_positive" + step, v);
      const Tensor n = dit.forward(ops_, negative, x, table[k]);
      check("noise_pred_negative" + step, n);
      v = ops_.guide(v, n, d["true_cfg_scale"].get<float>());
    }
    const int64_t rows = v.dim(0) / static_cast<int64_t>(samples.size());
    for (size_t i = 0; i < samples.size(); ++i)
      check("noise_pred" + step + samples[i],
            v.slice_rows(static_cast<int64_t>(i) * rows, static_cast<int64_t>(i + 1) * rows));
  }
}

void Parity::run_vae(const ModelFiles& files) {
  const Checkpoint checkpoint = Checkpoint::open(files.vae, Component::vae);
  const VaeConfig config = vae_config(files, checkpoint);
  VaeEncoder encoder(config);
  VaeDecoder decoder(config);
  load_parameters(encoder, checkpoint, ops_);
  load_parameters(decoder, checkpoint, ops_);
  expect_no_extras(checkpoint, {&encoder, &decoder});
  const nlohmann::json& d = golden_.description;
  std::optional<Tiling> tiling;
  if (d.contains("vae_tiling"))
    tiling = Tiling{d["vae_tiling"]["tile"].get<int64_t>(), d["vae_tiling"]["stride"].get<int64_t>()};
  for (int64_t i = 0; golden_.has("vae.encoder.input." + std::to_string(i)); ++i) {
    const Tensor z =
        encoder.encode(ops_, ops_.upload(golden_.load("vae.encoder.input." + std::to_string(i))), tiling, i);
    check("image_latents." + std::to_string(i), pack(ops_.download(z)));
  }
  const std::string last = "latents." + std::to_string(d["steps"].get<int64_t>() - 1);
  if (!golden_.has(last)) return;
  const Tensor z = unpack(golden_.load(last), d["height"].get<int64_t>() / 8, d["width"].get<int64_t>() / 8);
  ops_.set_trace([&](std::string_view name, const Tensor& value) {
    Tensor t = value;
    if (name == "vae.decoder.output" && !tiling) {  // the reference clamps, but not when tiling
      t = ops_.download(value);
      for (float& v : t.span<float>()) v = std::clamp(v, -1.f, 1.f);
    }
    check(std::string(name), t);
  });
  decoder.decode(ops_, ops_.upload(z), tiling);
}

TEST_P(Parity, TextEncoderAndVision) { run_text(files_of(golden_)); }
TEST_P(Parity, Dit) { run_dit(files_of(golden_)); }
TEST_P(Parity, Vae) { run_vae(files_of(golden_)); }
INSTANTIATE_TEST_SUITE_P(Goldens, Parity, ::testing::ValuesIn(golden_cases({"generate", "edit"})),
                         [](const auto& info) { return info.param; });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Parity);

// One forward of a transformer alone (the layered variant).
class TransformerParity : public ::testing::TestWithParam<std::string> {};
TEST_P(TransformerParity, Forward) {
  const Golden golden(GetParam());
  CpuOps ops;
  TraceComparison trace(ops, golden, kTolerance);
  const nlohmann::json& d = golden.description;
  const std::filesystem::path folder = golden.path("checkpoint") / "transformer";
  const DitConfig config = read_dit_config(folder / "config.json");
  const Checkpoint checkpoint = Checkpoint::open(folder / "diffusion_pytorch_model.safetensors", Component::dit);
  DitModulation modulation(config);
  Dit dit(config);
  load_parameters(modulation, checkpoint, ops);
  load_parameters(dit, checkpoint, ops);
  DitInputs in;
  for (const auto& s : d["img_shapes"]) in.pictures.push_back({s[0], s[1], s[2]});
  in.denoised_pictures = static_cast<int64_t>(in.pictures.size()) - 1;
  const Tensor image = golden.load("input.hidden_states");
  const int64_t denoised = image.dim(0) - in.pictures.back().tokens();
  in.references = ops.upload(image.slice_rows(denoised, image.dim(0)));
  in.text = ops.upload(golden.load("input.encoder_hidden_states"));
  in.text_segments = Segments::single(in.text.dim(0));
  const std::vector<float> timestep{d["timestep"].get<float>()};
  const auto table = modulation.forward(ops, timestep);
  dit.forward(ops, dit.prepare(ops, in), ops.upload(image.slice_rows(0, denoised)), table[0]);
  EXPECT_TRUE(trace.seen().contains("transformer.proj_out"));
  std::printf("  %zu tensors, worst %.2e at %s\n", trace.seen().size(), trace.worst(), trace.worst_name().c_str());
}
INSTANTIATE_TEST_SUITE_P(Goldens, TransformerParity, ::testing::ValuesIn(golden_cases({"transformer"})),
                         [](const auto& info) { return info.param; });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(TransformerParity);

}  // namespace
}  // namespace inkling::testing
