#include "models/lora.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "models/tiny.h"

namespace inkling::testing {
namespace {

class Lora : public ::testing::Test {
 protected:
  TempDir dir_;
  LoraSet set_{tiny_dit()};
  const std::string layer_ = "transformer_blocks.1.img_mlp.net.0.proj";  // [128, 32]
  const Tensor down_ = random_tensor(Shape{2, 32}, 1), up_ = random_tensor(Shape{128, 2}, 2);

  std::filesystem::path file(const TensorMap& tensors, const std::map<std::string, std::string>& metadata = {}) {
    save(dir_ / "lora.safetensors", tensors, metadata);
    return dir_ / "lora.safetensors";
  }
  // The change of the layer's weight at [5, 7], in units of up * down there.
  float change() {
    Tensor w = host_tensor(Shape{128, 32});
    std::ranges::fill(w.span<float>(), 0.f);
    set_.apply(layer_, w);
    float product = 0;
    for (int r = 0; r < 2; ++r) product += up_.data<float>()[5 * 2 + r] * down_.data<float>()[r * 32 + 7];
    return w.data<float>()[5 * 32 + 7] / product;
  }
  TensorMap plain(const std::string& prefix, const std::string& down = ".lora_down.weight",
                  const std::string& up = ".lora_up.weight") {
    return {{prefix + down, down_}, {prefix + up, up_}};
  }
};

TEST_F(Lora, UnderstandsEveryNaming) {
  const std::string underscored = "transformer_blocks_1_img_mlp_net_0_proj";
  const std::vector<TensorMap> files{
      plain("transformer." + layer_, ".lora_A.weight", ".lora_B.weight"),
      plain("transformer." + layer_, ".lora_A.default.weight", ".lora_B.default.weight"),
      plain("diffusion_model." + layer_),
      plain("diffusion_model." + layer_, ".lora_A.weight", ".lora_B.weight"),
      plain(layer_),
      plain("lora_unet_" + underscored),
      plain("lycoris_" + underscored),
  };
  for (const TensorMap& tensors : files) {
    set_ = LoraSet(tiny_dit());
    EXPECT_EQ(set_.add(file(tensors), 0.5f), 1) << tensors.begin()->first;
    EXPECT_TRUE(set_.patches(layer_));
    EXPECT_NEAR(change(), 0.5f, 1e-5f) << tensors.begin()->first;
  }
}

TEST_F(Lora, ScalesByAlphaOverRank) {
  TensorMap tensors = plain(layer_);
  tensors[layer_ + ".alpha"] = host_tensor(Shape{}, {3.f});
  set_.add(file(tensors), 2.f);
  EXPECT_NEAR(change(), 3.f, 1e-5f);  // 2 * 3 / 2
}

TEST_F(Lora, DropsTheAlphaOfPeftNamesForParityWithDiffusers) {
  TensorMap tensors = plain("transformer." + layer_, ".lora_A.weight", ".lora_B.weight");
  tensors["transformer." + layer_ + ".alpha"] = host_tensor(Shape{}, {3.f});
  set_.add(file(tensors), 2.f, LoraAlpha::diffusers);
  EXPECT_NEAR(change(), 2.f, 1e-5f);
}

TEST_F(Lora, TakesAlphaFromTheMetadata) {
  set_.add(file(plain("transformer." + layer_, ".lora_A.weight", ".lora_B.weight"),
                {{"lora_adapter_metadata", R"({"transformer.r": 2, "transformer.lora_alpha": 8})"}}),
           1.f);
  EXPECT_NEAR(change(), 4.f, 1e-5f);
}

TEST_F(Lora, AddsSeveralFiles) {
  set_.add(file(plain(layer_)), 1.f);
  save(dir_ / "second.safetensors", plain("lora_unet_transformer_blocks_1_img_mlp_net_0_proj"));
  set_.add(dir_ / "second.safetensors", 0.25f);
  EXPECT_NEAR(change(), 1.25f, 1e-5f);
}

TEST_F(Lora, KnowsModulationAndUnusedLayers) {
  for (const std::string name :
       {"transformer_blocks.0.img_mod.1", "norm_out.linear", "time_text_embed.timestep_embedder.linear_2",
        "transformer_blocks.1.attn.add_q_proj", "transformer_blocks.1.txt_mlp.net.2"}) {
    const auto sites = lora_sites(tiny_dit());
    EXPECT_TRUE(std::ranges::any_of(sites, [&](const LinearSite& s) { return s.name == name; })) << name;
  }
}

TEST_F(Lora, RefusesWhatDoesNotFit) {
  const auto error = [&](const TensorMap& t) { return model_error([&] { set_.add(file(t), 1.f); }); };
  EXPECT_TRUE(says(error(plain("transformer_blocks.7.attn.to_q")), "names no layer of this model"));
  EXPECT_TRUE(says(error({{layer_ + ".lora_down.weight", down_}}), "no lora_up"));
  EXPECT_TRUE(
      says(error({{layer_ + ".lora_down.weight", random_tensor(Shape{2, 31}, 1)}, {layer_ + ".lora_up.weight", up_}}),
           "has shape [2, 31], expected [rank, 32]"));
  EXPECT_TRUE(says(
      error({{layer_ + ".lora_down.weight", down_}, {layer_ + ".lora_up.weight", random_tensor(Shape{128, 3}, 1)}}),
      "has shape [128, 3], expected [128, 2]"));
  EXPECT_TRUE(says(error({{layer_ + ".hada_w1_a", down_}}), "no supported LoRA layout"));
  EXPECT_TRUE(set_.empty());
}

}  // namespace
}  // namespace inkling::testing
