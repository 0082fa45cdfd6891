#include "models/loader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/cpu/cpu_ops.h"
#include "base/error.h"
#include "formats/block_quant.h"
#include "models/qwen_image/dit.h"
#include "models/qwen_image/vae.h"
#include "models/qwen_image/vision.h"
#include "models/tiny.h"

namespace inkling::testing {
namespace {

class Loader : public ::testing::Test {
 protected:
  TempDir dir_;
  CpuOps ops_;
  const DitConfig config_ = tiny_dit();
  Dit dit_{config_};
  DitModulation modulation_{config_};
  TensorMap tensors_ = all_tensors("");

  TensorMap all_tensors(const std::string& prefix) {
    TensorMap t = random_tensors(dit_, prefix);
    t.merge(random_tensors(modulation_, prefix));
    return t;
  }
  Checkpoint checkpoint(const TensorMap& tensors) {
    save(dir_ / "model.safetensors", tensors);
    return Checkpoint::open(dir_ / "model.safetensors", Component::dit);
  }
  std::string error() {
    return model_error([&] { load_parameters(dit_, checkpoint(tensors_), ops_); });
  }
  // The output of one forward, for comparing two ways of loading.
  std::vector<float> run() {
    DitInputs in;
    in.pictures = {{1, 2, 3}};
    in.text = ops_.upload(random_tensor(Shape{5, config_.text_dim}, 1));
    in.text_segments = Segments::single(5);
    const std::vector<float> steps{700.f};
    const auto table = modulation_.forward(ops_, steps);
    const Tensor v = ops_.download(dit_.forward(
        ops_, dit_.prepare(ops_, in), ops_.upload(random_tensor(Shape{6, config_.in_channels}, 2, 1.f)), table[0]));
    return {v.span<float>().begin(), v.span<float>().end()};
  }
  std::vector<float> run(const Checkpoint& c) {
    load_parameters(dit_, c, ops_);
    load_parameters(modulation_, c, ops_);
    return run();
  }
};

TEST_F(Loader, ReportsWhatItLoaded) {
  const Checkpoint c = checkpoint(tensors_);
  int64_t last = 0, total = 0;
  LoadOptions options;
  options.progress = [&](int64_t done, int64_t all) { last = done, total = all; };
  const LoadReport report = load_parameters(dit_, c, ops_, options);
  EXPECT_EQ(report.tensors, static_cast<int64_t>(random_tensors(dit_).size()));
  EXPECT_EQ(report.bytes, total);
  EXPECT_EQ(last, total);
}

TEST_F(Loader, ListsMissingTensors) {
  tensors_.erase("img_in.weight");
  tensors_.erase("transformer_blocks.0.attn.to_q.bias");
  EXPECT_TRUE(
      says(error(), "2 tensors of the transformer are missing: img_in.weight, transformer_blocks.0.attn.to_q.bias"));
  std::erase_if(tensors_, [](const auto& t) { return t.first.starts_with("transformer_blocks.1."); });
  EXPECT_TRUE(says(error(), " more"));
}

TEST_F(Loader, NamesTensorGotAndExpectedOnAWrongShape) {
  tensors_["transformer_blocks.1.attn.to_k.weight"] = random_tensor(Shape{32, 31}, 1);
  EXPECT_TRUE(says(error(), "transformer_blocks.1.attn.to_k.weight has shape [32, 31], expected [32, 32]"));
  tensors_ = all_tensors("");
  tensors_["txt_in.bias"] = random_tensor(Shape{33}, 1);
  EXPECT_TRUE(says(error(), "txt_in.bias has shape [33], expected [32]"));
}

TEST_F(Loader, RefusesValuesThatAreNotFinite) {
  tensors_["txt_norm.weight"].data<float>()[3] = NAN;
  EXPECT_TRUE(says(error(), "txt_norm.weight holds nan at element 3"));
  tensors_ = all_tensors("");
  tensors_["proj_out.weight"].data<float>()[7] = INFINITY;
  EXPECT_TRUE(says(error(), "proj_out.weight holds inf at element 7"));
}

TEST_F(Loader, RefusesIntegerWeights) {
  tensors_["proj_out.weight"] = host_tensor(tensors_["proj_out.weight"].shape(), DType::i8);
  std::memset(tensors_["proj_out.weight"].raw(), 0, static_cast<size_t>(tensors_["proj_out.weight"].bytes()));
  EXPECT_TRUE(says(error(), "proj_out.weight has type i8"));
}

TEST_F(Loader, NamesQuantizationsThatItCannotRead) {
  const std::map<std::string, std::string> layouts{{"img_in.qweight", "SVDQuant"},
                                                   {"img_in.weight_codebook", "img_in.weight_s_rel is missing"}};
  for (const auto& [name, message] : layouts) {
    tensors_ = all_tensors("");
    tensors_[name] = random_tensor(Shape{1}, 1);
    EXPECT_TRUE(says(error(), message)) << name;
  }
}

TEST_F(Loader, SaysWhatAForeignFileIs) {
  const std::map<std::string, std::string> foreign{
      {"double_blocks.0.img_attn.qkv.weight", "Flux"},
      {"model.diffusion_model.input_blocks.0.0.weight", "Stable Diffusion"},
      {"txt_in.text_norm.weight", "2.1"},
      {"img_in.lora_down.weight", "LoRA"},
      {"model.embed_tokens.weight", "language model"},
      {"something", "holds no Qwen-Image transformer"}};
  for (const auto& [name, message] : foreign) {
    const TensorMap one{{name, random_tensor(Shape{2, 2}, 1)}};
    EXPECT_TRUE(says(model_error([&, &one = one] { checkpoint(one); }), message)) << name;
  }
}

TEST_F(Loader, CountsUnexpectedTensorsButNotDeadOnes) {
  for (const auto& [name, shape] : unused_linears(config_)) tensors_[name + ".weight"] = random_tensor(shape, 1);
  tensors_["transformer_blocks.1.attn.norm_added_q.weight"] = random_tensor(Shape{16}, 1);
  tensors_["transformer_blocks.0.attn.extra.weight"] = random_tensor(Shape{2}, 1);
  const Module* modules[] = {&dit_, &modulation_};
  EXPECT_EQ(unexpected_tensors(checkpoint(tensors_), modules),
            std::vector<std::string>{"transformer_blocks.0.attn.extra.weight"});
}

TEST_F(Loader, ReadsEveryPrefixAlike) {
  const std::vector<float> expected = run(checkpoint(tensors_));
  for (const std::string prefix : {"model.diffusion_model.", "diffusion_model.", "transformer."})
    EXPECT_EQ(run(checkpoint(all_tensors(prefix))), expected) << prefix;
}

TEST_F(Loader, InfersTheConfiguration) {
  const DitConfig c = infer_dit_config(checkpoint(tensors_));
  EXPECT_EQ(c.layers, config_.layers);
  EXPECT_EQ(c.heads, config_.heads);
  EXPECT_EQ(c.head_dim, config_.head_dim);
  EXPECT_EQ(c.text_dim, config_.text_dim);
  EXPECT_EQ(c.mlp_dim, config_.mlp_dim);
  EXPECT_EQ(c.in_channels, config_.in_channels);
  EXPECT_EQ(c.out_channels, config_.out_channels);
  EXPECT_EQ(c.rope_axes, config_.rope_axes);
  EXPECT_FALSE(c.zero_cond_t || c.additional_t_cond || c.layer3d_rope);
  tensors_["__index_timestep_zero__"] = host_tensor(Shape{0});
  EXPECT_TRUE(infer_dit_config(checkpoint(tensors_)).zero_cond_t);
  tensors_["time_text_embed.addition_t_embedding.weight"] = random_tensor(Shape{2, 32}, 1);
  EXPECT_TRUE(infer_dit_config(checkpoint(tensors_)).layer3d_rope);
}

TEST_F(Loader, DistrustsInferredSizes) {
  tensors_["transformer_blocks.2000000000.x"] = random_tensor(Shape{1}, 1);
  EXPECT_TRUE(says(model_error([&] { infer_dit_config(checkpoint(tensors_)); }), "layers is 2000000001"));
  tensors_ = all_tensors("");
  tensors_["transformer_blocks.0.attn.norm_k.weight"] = random_tensor(Shape{0}, 1);
  EXPECT_TRUE(says(model_error([&] { infer_dit_config(checkpoint(tensors_)); }), "cannot infer the number of heads"));
}

TEST_F(Loader, PrefersTheConfigurationInTheMetadata) {
  save(dir_ / "model.safetensors", tensors_,
       {{"config", R"({"num_layers":2,"num_attention_heads":2,"attention_head_dim":16,"joint_attention_dim":12,
                      "in_channels":16,"out_channels":4,"axes_dims_rope":[8,4,4]})"}});
  const DitConfig c = infer_dit_config(Checkpoint::open(dir_ / "model.safetensors", Component::dit));
  EXPECT_EQ(c.rope_axes, (std::array<int64_t, 3>{8, 4, 4}));
}

TEST_F(Loader, ReadsGguf) {
  const std::vector<float> expected = run(checkpoint(tensors_));
  std::vector<TensorToWrite> list;
  std::vector<Tensor> values;
  for (const auto& [name, t] : tensors_) {
    list.push_back({name, DType::f32, t.shape()});
    values.push_back(t);
  }
  write_gguf(dir_ / "model.gguf", list, [&](size_t i) { return values[i]; }, {{"general.architecture", "qwen_image"}});
  EXPECT_EQ(run(Checkpoint::open(dir_ / "model.gguf", Component::dit)), expected);
}

TEST_F(Loader, DropsWhatItLoaded) {
  load_parameters(dit_, checkpoint(tensors_), ops_);
  drop_parameters(dit_);
  EXPECT_EQ(ops_.memory().current, 0);
  dit_.for_each_parameter([](const Parameter& p) {
    EXPECT_FALSE(p.weight != nullptr ? p.weight->prepared != nullptr || p.weight->value.defined() : p.vector->defined())
        << p.name;
  });
}

TEST_F(Loader, AnnouncesBlocksToTheResidency) {
  struct Recorder : Residency {
    std::vector<std::string> events;
    void acquire(const Module& block) override { events.push_back("+" + block.path()); }
    void release(const Module& block) override { events.push_back("-" + block.path()); }
  } recorder;
  const std::vector<float> expected = run(checkpoint(tensors_));
  dit_.set_residency(&recorder);
  modulation_.set_residency(&recorder);
  EXPECT_EQ(run(), expected);
  const std::vector<std::string> pass{"+transformer_blocks.0", "-transformer_blocks.0", "+transformer_blocks.1",
                                      "-transformer_blocks.1"};
  std::vector<std::string> twice = pass;
  twice.insert(twice.end(), pass.begin(), pass.end());
  EXPECT_EQ(recorder.events, twice);
}

TEST_F(Loader, KeepsASchedulesModulationInHostMemory) {
  const std::vector<float> expected = run(checkpoint(tensors_));
  const std::vector<float> steps{700.f};
  const auto away = modulation_.forward(ops_, steps, [&](const Tensor& t) { return ops_.download(t); });
  const StepModulation back = away[0].transferred([&](const Tensor& t) { return ops_.upload(t); });
  EXPECT_EQ(back.image.size(), 2u);
  EXPECT_EQ(back.image[1].shape(), (Shape{6, 1, 32}));
  DitInputs in;
  in.pictures = {{1, 2, 3}};
  in.text = ops_.upload(random_tensor(Shape{5, config_.text_dim}, 1));
  in.text_segments = Segments::single(5);
  const Tensor v = dit_.forward(ops_, dit_.prepare(ops_, in),
                                ops_.upload(random_tensor(Shape{6, config_.in_channels}, 2, 1.f)), back);
  EXPECT_TRUE(std::ranges::equal(v.span<float>(), expected));
}

// Two samples with different texts and timesteps in one packed batch equal two runs.
TEST_F(Loader, PacksSamplesWithTheirOwnTimesteps) {
  DitConfig config = config_;
  config.zero_cond_t = true;
  Dit dit(config);
  DitModulation modulation(config);
  const Checkpoint c = checkpoint(tensors_);
  load_parameters(dit, c, ops_);
  load_parameters(modulation, c, ops_);
  const Tensor text = random_tensor(Shape{9, 12}, 3), x = random_tensor(Shape{12, 16}, 4, 1.f),
               refs = random_tensor(Shape{4, 16}, 5, 1.f);
  const auto inputs = [&](const Tensor& rows, const Segments& segments) {
    return DitInputs{{{1, 2, 3}, {1, 2, 2}}, 1, ops_.upload(rows), segments, ops_.upload(refs)};
  };
  const std::vector<float> t{900.f, 250.f};
  const auto single = modulation.forward(ops_, t);
  const std::vector<std::vector<float>> together{t};
  const auto packed = modulation.forward(ops_, together);
  const Segments both{{0, 4, 9}};
  const std::vector<int64_t> rows{0, 1};
  const Tensor v = dit.forward(ops_, dit.prepare(ops_, inputs(text, both)), ops_.upload(x), packed[0], rows);
  for (int64_t i = 0; i < 2; ++i) {
    const Tensor own = text.slice_rows(both.offsets[i], both.offsets[i + 1]);
    const DitContext context = dit.prepare(ops_, inputs(own, Segments::single(own.dim(0))));
    const Tensor w = dit.forward(ops_, context, ops_.upload(x.slice_rows(6 * i, 6 * i + 6)), single[i]);
    for (int64_t k = 0; k < w.elements(); ++k)
      EXPECT_NEAR(v.data<float>()[i * w.elements() + k], w.data<float>()[k], 2e-5f) << "sample " << i << " value " << k;
  }
}

TEST(Fold, TakesTheLastTemporalSliceOrATwoDimensionalKernel) {
  VaeConfig c;
  c.base_dim = 4;
  c.dim_mult = {1, 1};
  c.res_blocks = 1;
  VaeDecoder decoder(c);
  TensorMap flat = random_tensors(decoder), video = flat;
  for (auto& [name, t] : video) {
    if (t.shape().rank() == 4) {  // [O, I, 3, 3] -> [O, I, 3, 3, 3] with noise in front
      const int64_t planes = t.dim(0) * t.dim(1), plane = t.dim(2) * t.dim(3);
      Tensor five = random_tensor(Shape{t.dim(0), t.dim(1), 3, t.dim(2), t.dim(3)}, 9);
      for (int64_t i = 0; i < planes; ++i)
        std::memcpy(five.data<float>() + (3 * i + 2) * plane, t.data<float>() + i * plane,
                    static_cast<size_t>(plane) * 4);
      if (name.find("resample") == std::string::npos) t = five;
    } else if (name.ends_with(".gamma")) {
      t = t.reshape(Shape{t.dim(0), 1, 1, 1});
    } else if (t.shape().rank() == 2) {
      t = t.reshape(Shape{t.dim(0), t.dim(1), 1, 1, 1});
    }
  }
  const TempDir dir;
  CpuOps ops;
  std::vector<std::vector<float>> results;
  for (const TensorMap* tensors : {&flat, &video}) {
    save(dir / "vae.safetensors", *tensors);
    load_parameters(decoder, Checkpoint::open(dir / "vae.safetensors", Component::vae), ops);
    const Tensor image = ops.download(decoder.decode(ops, ops.upload(random_tensor(Shape{3, 2, 16}, 1, 1.f))));
    EXPECT_EQ(image.shape(), (Shape{6, 4, 3}));
    results.emplace_back(image.span<float>().begin(), image.span<float>().end());
  }
  EXPECT_EQ(results[0], results[1]);
}

}  // namespace
}  // namespace inkling::testing
