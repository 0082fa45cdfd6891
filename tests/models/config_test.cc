// Configurations: both spellings, ranges, and what a folder or file is recognised as.
#include "models/qwen_image/config.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "models/names.h"
#include "models/qwen_image/dit.h"
#include "models/registry.h"
#include "models/tiny.h"

namespace inkling::testing {
namespace {

namespace fs = std::filesystem;

fs::path write(const fs::path& file, const std::string& text) {
  fs::create_directories(file.parent_path());
  std::ofstream(file) << text;
  return file;
}

class Config : public ::testing::Test {
 protected:
  TempDir dir_;
  fs::path json(const std::string& text) { return write(dir_ / "config.json", text); }
};

TEST_F(Config, DefaultsArePublishedModels) {
  const DitConfig dit = read_dit_config(json("{}"));
  EXPECT_EQ(dit.dim(), 3072);
  EXPECT_EQ(dit.mlp_dim, 12288);
  EXPECT_EQ(dit.token_out(), 64);
  EXPECT_EQ(read_text_config(json("{}")).head_dim(), 128);
  EXPECT_EQ(read_vae_config(json("{}")).scale(), 8);
}

TEST_F(Config, ReadsBothSpellingsOfTheTextEncoder) {
  const TextConfig flat =
      read_text_config(json(R"({"hidden_size":64,"num_attention_heads":4,"num_key_value_heads":2,"rope_theta":5e5,
      "rope_scaling":{"type":"mrope","mrope_section":[2,3,3]},"vision_config":{"in_chans":3,"depth":2}})"));
  EXPECT_EQ(flat.rope_theta, 5e5f);
  EXPECT_EQ(flat.mrope_sections[1], 3);
  EXPECT_EQ(read_vision_config(dir_ / "config.json").layers, 2);
  const TextConfig nested =
      read_text_config(json(R"({"model_type":"qwen2_5_vl","text_config":{"hidden_size":64,"num_attention_heads":4,
      "num_key_value_heads":2,"rope_parameters":{"rope_type":"default","rope_theta":5e5,"mrope_section":[2,3,3]}}})"));
  EXPECT_EQ(nested.rope_theta, flat.rope_theta);
  EXPECT_EQ(nested.dim, flat.dim);
}

TEST_F(Config, NamesFileFieldAndExpectation) {
  const auto dit = [&](const std::string& text) { return model_error([&] { read_dit_config(json(text)); }); };
  EXPECT_TRUE(says(dit(R"({"num_layers": -1})"), "config.json: num_layers is -1, expected an integer in 1..1024"));
  EXPECT_TRUE(says(dit(R"({"num_layers": 2.5})"), "num_layers is 2.5"));
  EXPECT_TRUE(says(dit(R"({"num_layers": 99999999999999999999})"), "num_layers is"));
  EXPECT_TRUE(says(dit(R"({"num_attention_heads": "x"})"), "num_attention_heads is \"x\""));
  EXPECT_TRUE(says(dit(R"({"axes_dims_rope": [16, 56]})"), "axes_dims_rope is a list of 2"));
  EXPECT_TRUE(says(dit(R"({"axes_dims_rope": [16, 56, 58]})"),
                   "sum of axes_dims_rope is 130, expected attention_head_dim = 128"));
  EXPECT_TRUE(says(dit(R"({"zero_cond_t": 1})"), "zero_cond_t is 1, expected true or false"));
  EXPECT_TRUE(says(dit(R"({"guidance_embeds": true})"), "guidance_embeds is true, expected false"));
  EXPECT_TRUE(says(dit(R"({"_class_name": "FluxTransformer2DModel"})"), "_class_name"));
  EXPECT_TRUE(says(dit("[1]"), "is not a JSON object"));
  EXPECT_TRUE(says(dit("{"), "is not a JSON object"));
  EXPECT_TRUE(says(model_error([&] { read_dit_config(dir_ / "absent.json"); }), "cannot be opened"));
}

TEST_F(Config, ChecksEveryOtherFile) {
  EXPECT_TRUE(says(model_error([&] { read_text_config(json(R"({"hidden_size": 100})")); }),
                   "hidden_size is 100, expected a multiple"));
  EXPECT_TRUE(
      says(model_error([&] { read_text_config(json(R"({"num_key_value_heads": 3})")); }), "num_key_value_heads is 3"));
  EXPECT_TRUE(
      says(model_error([&] { read_text_config(json(R"({"use_sliding_window": true})")); }), "use_sliding_window"));
  EXPECT_TRUE(says(model_error([&] { read_vision_config(json("{}")); }), "vision_config is missing"));
  EXPECT_TRUE(says(model_error([&] { read_vae_config(json(R"({"z_dim": 4})")); }),
                   "latents_mean is a list of 16, expected z_dim = 4"));
  EXPECT_TRUE(says(model_error([&] { read_vae_config(json(R"({"attn_scales": [0.5]})")); }), "attn_scales"));
  EXPECT_TRUE(says(model_error([&] { read_vae_config(json(R"({"latents_std": [0]})")); }), "latents_std[0] is 0"));
  EXPECT_TRUE(says(model_error([&] { read_processor_config(json(R"({"image_std": [0, 1, 1]})")); }), "image_std[0]"));
}

// A diffusers folder whose weights are empty files: only the layout counts.
class Registry : public ::testing::Test {
 protected:
  TempDir dir_;
  void folder(const std::string& pipeline) {
    write(dir_ / "model_index.json", R"({"_class_name": ")" + pipeline + "\"}");
    write(dir_ / "transformer/diffusion_pytorch_model.safetensors.index.json", "{}");
    write(dir_ / "transformer/config.json", "{}");
    write(dir_ / "text_encoder/model.safetensors", "");
    write(dir_ / "vae/diffusion_pytorch_model.safetensors", "");
    write(dir_ / "tokenizer/vocab.json", "{}");
  }
};

TEST_F(Registry, RecognisesEveryPipelineClass) {
  const std::pair<const char*, PipelineKind> classes[] = {{"QwenImagePipeline", PipelineKind::generate},
                                                          {"QwenImageEditPipeline", PipelineKind::edit},
                                                          {"QwenImageEditPlusPipeline", PipelineKind::edit_plus},
                                                          {"QwenImageLayeredPipeline", PipelineKind::layered}};
  for (const auto& [name, kind] : classes) {
    folder(name);
    const ModelFiles files = find_model(dir_.path());
    EXPECT_EQ(files.kind, kind);
    EXPECT_EQ(files.dit.filename(), "diffusion_pytorch_model.safetensors.index.json");
    EXPECT_EQ(files.vision, files.text_encoder);
    EXPECT_EQ(files.tokenizer, dir_ / "tokenizer");
    EXPECT_TRUE(files.scheduler_config.empty());
  }
}

TEST_F(Registry, ReadsDefaultsBesideTheIndex) {
  folder("QwenImagePipeline");
  write(dir_ / "inkling.json",
        R"({"defaults": {"width": 256, "height": 192, "steps": 12, "cfg_scale": 1.5}, "vae_reference_area": 65536})");
  const ModelDefaults d = find_model(dir_.path()).defaults;
  EXPECT_EQ(d.width, 256);
  EXPECT_EQ(d.steps, 12);
  EXPECT_EQ(d.cfg_scale, 1.5f);
  EXPECT_EQ(d.vae_reference_area, 65536);
  write(dir_ / "inkling.json", R"({"defaults": {"steps": 0}})");
  EXPECT_TRUE(says(model_error([&] { find_model(dir_.path()); }), "steps is 0"));
}

TEST_F(Registry, SaysWhatIsWrongWithAFolder) {
  const auto error = [&] { return model_error([&] { find_model(dir_.path()); }); };
  EXPECT_TRUE(says(error(), "no model_index.json"));
  EXPECT_TRUE(says(model_error([&] { find_model(dir_ / "absent"); }), "does not exist"));
  folder("FluxPipeline");
  EXPECT_TRUE(says(error(), "_class_name is FluxPipeline"));
  folder("QwenImage21Pipeline");
  EXPECT_TRUE(says(error(), "2.1 is a different model"));
  folder("QwenImagePipeline");
  fs::rename(dir_ / "vae/diffusion_pytorch_model.safetensors", dir_ / "vae/model.bin");
  EXPECT_TRUE(says(error(), "pickle"));
  fs::remove_all(dir_ / "vae");
  EXPECT_TRUE(says(error(), "vae: is missing"));
}

TEST_F(Registry, CombinesSeparateFiles) {
  const auto dit = [&](const std::string& name) {
    save(dir_ / name, random_tensors(Dit(tiny_dit())));
    return dir_ / name;
  };
  SeparateFiles parts;
  parts.dit = dit("qwen-image-edit-2511.safetensors");
  parts.vae = "vae.safetensors";
  EXPECT_TRUE(says(model_error([&] { combine(parts); }),
                   "no text encoder (--text-encoder), vision tower (--mmproj), tokenizer (--tokenizer)"));
  parts.text_encoder = "text.gguf";
  parts.mmproj = "mmproj.gguf";
  parts.tokenizer = "tokenizer";
  const ModelFiles files = combine(parts);
  EXPECT_EQ(files.kind, PipelineKind::edit_plus);
  EXPECT_EQ(files.vision, "mmproj.gguf");
  const Checkpoint checkpoint = Checkpoint::open(files.dit, Component::dit);
  EXPECT_TRUE(dit_config(files, checkpoint).zero_cond_t);  // only its name tells
  write(dir_ / "text/model.safetensors", "");
  write(dir_ / "text/config.json", "{}");
  parts.text_encoder = dir_ / "text";  // a folder brings its configuration
  parts.mmproj.clear();
  EXPECT_EQ(combine(parts).vision, dir_ / "text/model.safetensors");
  EXPECT_EQ(combine(parts).text_config, dir_ / "text/config.json");
  parts.zero_cond_t = false;
  EXPECT_FALSE(dit_config(combine(parts), checkpoint).zero_cond_t);
  EXPECT_EQ(find_model(dit("qwen-image.safetensors")).kind, PipelineKind::generate);
  EXPECT_EQ(find_model(dit("Qwen-Image-Edit.safetensors")).kind, PipelineKind::edit);
  EXPECT_EQ(find_model(dit("qwen_image_edit_2509.safetensors")).kind, PipelineKind::edit_plus);
}

TEST(Names, MapsWanNamesOfTheVae) {
  const std::vector<std::string> names{
      "vae.decoder.middle.0.residual.0.gamma", "vae.decoder.upsamples.0.residual.0.gamma",
      "vae.decoder.upsamples.1.resample.1.weight", "vae.decoder.upsamples.2.shortcut.weight"};
  const NameMap map = find_name_map(Component::vae, names);
  ASSERT_TRUE(map);
  const std::pair<const char*, const char*> expected[] = {
      {"vae.conv1.weight", "quant_conv.weight"},
      {"vae.conv2.bias", "post_quant_conv.bias"},
      {"vae.encoder.conv1.weight", "encoder.conv_in.weight"},
      {"vae.encoder.downsamples.3.residual.2.weight", "encoder.down_blocks.3.conv1.weight"},
      {"vae.encoder.downsamples.5.time_conv.weight", "encoder.down_blocks.5.time_conv.weight"},
      {"vae.encoder.middle.1.to_qkv.weight", "encoder.mid_block.attentions.0.to_qkv.weight"},
      {"vae.encoder.head.0.gamma", "encoder.norm_out.gamma"},
      {"vae.decoder.middle.2.residual.6.bias", "decoder.mid_block.resnets.1.conv2.bias"},
      {"vae.decoder.upsamples.0.residual.3.gamma", "decoder.up_blocks.0.resnets.0.norm2.gamma"},
      {"vae.decoder.upsamples.1.resample.1.weight", "decoder.up_blocks.0.upsamplers.0.resample.1.weight"},
      {"vae.decoder.upsamples.2.shortcut.weight", "decoder.up_blocks.1.resnets.0.conv_shortcut.weight"},
      {"vae.decoder.head.2.weight", "decoder.conv_out.weight"},
  };
  for (const auto& [wan, ours] : expected) EXPECT_EQ(map(wan)->name, ours);
  EXPECT_FALSE(map("model.diffusion_model.img_in.weight"));
}

}  // namespace
}  // namespace inkling::testing
