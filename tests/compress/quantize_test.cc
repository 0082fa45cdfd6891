// The quantizer: numbers within their format's error, the right type for each tensor, folders that draw nearly the same
// picture, and inputs that cannot be written.
#include "compress/quantize/quantize.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cmath>
#include <fstream>
#include <random>

#include "base/error.h"
#include "compress/quantize/convert.h"
#include "compress/quantize/rules.h"
#include "formats/block_quant.h"
#include "formats/tensor_file.h"
#include "models/checkpoint.h"
#include "pipeline/engine.h"
#include "pipeline/plan.h"
#include "support/goldens.h"

namespace inkling::testing {
namespace {

namespace fs = std::filesystem;

Tensor random_matrix(const Shape& shape, float scale = 0.1f) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal(0.f, scale);
  Tensor t = host_tensor(shape);
  for (float& v : t.span<float>()) v = normal(generator);
  return t;
}

TEST(Convert, StaysWithinTheFormatsError) {
  const Tensor source = random_matrix(Shape{64, 320});
  struct Case {
    DType type;
    double rms;  // of the error, relative to the rms of the values (measured: 0.0054, 0.087, 0.0017, 0.0002)
  };
  for (const auto& [type, limit] :
       {Case{DType::q8_0, 0.006}, Case{DType::q4_0, 0.1}, Case{DType::bf16, 0.002}, Case{DType::f16, 0.0003}}) {
    const Tensor back = dequantize(convert(source, type, "x"));
    double error = 0, power = 0;
    for (int64_t i = 0; i < source.elements(); ++i) {
      const double v = source.data<float>()[i], d = back.data<float>()[i] - v;
      error += d * d, power += v * v;
    }
    EXPECT_LE(std::sqrt(error / power), limit) << name(type);
    EXPECT_GE(std::sqrt(error / power), limit / 4) << name(type);
    // The limits that ggml's own tests set for its reference quantizers: sqrt(sum of squares) / count on 2 + cos.
    Tensor wave = host_tensor(Shape{1, 4096});
    for (int64_t i = 0; i < 4096; ++i) wave.data<float>()[i] = 0.1f + 2 * std::cos(static_cast<float>(i));
    const Tensor wave_back = dequantize(convert(wave, type, "x"));
    double sum = 0;
    for (int64_t i = 0; i < 4096; ++i)
      sum += std::pow(static_cast<double>(wave.data<float>()[i] - wave_back.data<float>()[i]), 2);
    EXPECT_LE(std::sqrt(sum) / 4096, 0.002) << name(type);
  }
}

TEST(Convert, RefusesWhatItCannotHold) {
  Tensor t = random_matrix(Shape{2, 32});
  t.data<float>()[40] = NAN;
  EXPECT_THROW(convert(t, DType::q8_0, "x"), ModelError);
  EXPECT_THROW(largest_magnitude(t, "x"), ModelError);
  t.data<float>()[40] = 1e5f;
  EXPECT_THROW(convert(t, DType::f16, "x"), ModelError);
  EXPECT_EQ(largest_magnitude(t, "x"), 1e5f);
}

class Quantize : public ::testing::Test {
 protected:
  Quantize() {
    std::string pattern = (fs::temp_directory_path() / "inkling-test-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make a temporary folder");
    dir_ = pattern;
  }
  ~Quantize() override { fs::remove_all(dir_); }

  QuantizeReport run(const fs::path& in, const fs::path& out, std::string_view target) {
    QuantizeOptions options;
    options.target = quantize_target(target);
    return quantize_model(in, out, options);
  }
  std::string error(const fs::path& in, const fs::path& out, std::string_view target) {
    try {
      run(in, out, target);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }
  fs::path write(const std::map<std::string, Tensor>& tensors) {
    std::vector<TensorToWrite> list;
    std::vector<Tensor> values;
    for (const auto& [name, t] : tensors) list.push_back({name, t.dtype(), t.shape()}), values.push_back(t);
    write_safetensors(dir_ / "in.safetensors", list, [&](size_t i) { return values[i]; });
    return dir_ / "in.safetensors";
  }
  std::vector<uint8_t> draw(const fs::path& model, const fs::path& lora = {}) {
    EngineOptions options;
    options.model = model;
    options.precision = PrecisionChoice::f32;
    if (!lora.empty()) options.loras = {{lora, 1.f}};
    Engine engine(options);
    Request request;
    request.prompt = "a red 小熊猫";
    request.seed = 42;
    request.cfg_scale = 1.f;
    request.width = 64, request.height = 48, request.steps = 2;
    const int64_t planned = engine.plan(request).peak_bytes;
    const Result result = engine.run(request);
    EXPECT_EQ(planned, result.activation_peak_bytes) << model;
    return result.images.at(0).pixels;
  }

  const fs::path model_ = fs::path(INKLING_SOURCE_DIR) / "tests/parity/data/checkpoints/small-t2i";
  // The model that ships, whose pictures are real and whose matrices fill every kind of block.
  const fs::path shipped_ = fs::path(INKLING_SOURCE_DIR) / "models/inkling-tiny";
  const fs::path dit_ = model_ / "transformer/diffusion_pytorch_model.safetensors";
  fs::path dir_;
};

double psnr(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::pow(static_cast<double>(a[i]) - b[i], 2);
  return 10 * std::log10(255.0 * 255.0 * static_cast<double>(a.size()) / std::max(sum, 1e-9));
}

struct PictureCase {
  const char* type;
  double decibel;  // at least
};

TEST_F(Quantize, AFolderDrawsNearlyTheSamePicture) {
  const std::vector<uint8_t> original = draw(shipped_);
  for (const auto& [type, least] :
       {PictureCase{"q8_0", 30}, PictureCase{"q6_k", 25}, PictureCase{"q5_k", 20}, PictureCase{"q4_k", 18},
        PictureCase{"q4_0", 15}, PictureCase{"w8a8", 25}, PictureCase{"w4a8", 15}, PictureCase{"nf4", 15},
        PictureCase{"fp8", 20}, PictureCase{"bf16", 60}, PictureCase{"f16", 40}}) {
    run(shipped_, dir_ / type, type);
    const double got = psnr(original, draw(dir_ / type));
    std::printf("  %-5s %5.1f dB\n", type, got);
    EXPECT_GE(got, least) << type;
  }
}

// An adapter does to a quantized model what it does to the original, to the precision of the type.
TEST_F(Quantize, AnAdapterWorksOnAQuantizedModel) {
  std::map<std::string, Tensor> adapter;
  for (const std::string block : {"0", "3", "6"})
    for (const std::string layer : {".attn.to_q", ".attn.to_out.0", ".img_mlp.net.0.proj"}) {
      const std::string name = "transformer_blocks." + block + layer;
      const int64_t out = layer == ".img_mlp.net.0.proj" ? 1024 : 256;
      adapter[name + ".lora_down.weight"] = random_matrix(Shape{4, 256}, 0.15f);
      adapter[name + ".lora_up.weight"] = random_matrix(Shape{out, 4}, 0.15f);
    }
  const fs::path lora = write(adapter);
  const std::vector<uint8_t> plain = draw(shipped_), expected = draw(shipped_, lora);
  std::printf("  the adapter changes the original by %.1f dB\n", psnr(plain, expected));
  for (const auto& [type, least] :
       {PictureCase{"q8_0", 30}, PictureCase{"w8a8", 30}, PictureCase{"w4a8", 18}, PictureCase{"nf4", 18}}) {
    run(shipped_, dir_ / type, type);
    const double got = psnr(draw(dir_ / type, lora), expected);
    std::printf("  %-5s %.1f dB\n", type, got);
    EXPECT_GE(got, least) << type;
    EXPECT_GE(got, psnr(plain, expected) + 1) << type;
  }
}

TEST_F(Quantize, KeepsWhatIsSensitive) {
  run(dit_, dir_ / "q8.gguf", "q8_0");
  const auto file = open_tensor_file(dir_ / "q8.gguf");
  EXPECT_EQ(file->metadata().at("general.architecture"), "qwen_image");
  EXPECT_EQ(file->metadata().at("general.file_type"), "7");
  EXPECT_EQ(file->metadata().at("general.quantization_version"), "2");
  int quantized = 0;
  for (const TensorEntry& e : file->entries()) {
    const bool block = e.name.starts_with("transformer_blocks.");
    const DType expected = e.shape.rank() < 2 ? DType::f32 : block ? DType::q8_0 : DType::bf16;
    EXPECT_EQ(e.dtype, expected) << e.name;
    quantized += e.dtype == DType::q8_0;
  }
  EXPECT_EQ(quantized, 28);  // 14 matrices in each of 2 blocks
  const auto original = open_tensor_file(dit_);
  EXPECT_EQ(original->entries().size(), file->entries().size());
}

TEST_F(Quantize, WritesScaledFp8AsComfyUiDoes) {
  run(dit_, dir_ / "f8.safetensors", "fp8");
  const auto file = open_tensor_file(dir_ / "f8.safetensors");
  const TensorEntry* scale = file->find("transformer_blocks.0.attn.to_q.weight_scale");
  ASSERT_NE(scale, nullptr);
  EXPECT_EQ(scale->dtype, DType::f32);
  EXPECT_EQ(scale->shape.rank(), 0);
  EXPECT_NE(file->find("transformer_blocks.0.attn.to_q.comfy_quant"), nullptr);
  EXPECT_NE(file->metadata().at("_quantization_metadata").find("transformer_blocks.1.img_mod.1"), std::string::npos);
  const Checkpoint original = Checkpoint::open(dit_, Component::dit),
                   quantized = Checkpoint::open(dir_ / "f8.safetensors", Component::dit);
  ASSERT_EQ(original.tensors().size(), quantized.tensors().size());
  for (const auto& [name, t] : original.tensors()) {
    const Tensor a = to_f32(original.load(t)), b = to_f32(quantized.load(*quantized.find(name)));
    const float largest = largest_magnitude(a, name);
    for (int64_t i = 0; i < a.elements(); ++i) {
      const float v = a.data<float>()[i];  // half a step: 1/16 of a value, or of the smallest normal one
      EXPECT_NEAR(b.data<float>()[i], v, std::max(std::fabs(v) / 15, largest / 448 / 900)) << name;
    }
  }
}

TEST_F(Quantize, ReadsWhatOthersQuantized) {
  for (const std::string& name : golden_cases({"generate"})) {
    if (!name.starts_with("bnb_") && !name.starts_with("int8_") && !name.starts_with("fp8_")) continue;
    const Golden golden(name);
    const bool dit = !golden.path("transformer").empty();
    const fs::path in = golden.path(dit ? "transformer" : "text_encoder"), out = dir_ / (name + ".safetensors");
    run(in, out, "bf16");
    const Component component = dit ? Component::dit : Component::text_encoder;
    const Checkpoint a = Checkpoint::open(in, component), b = Checkpoint::open(out, component);
    ASSERT_EQ(a.tensors().size(), b.tensors().size());
    for (const auto& [tensor, t] : a.tensors())
      EXPECT_LE(relative_error(to_f32(b.load(*b.find(tensor))), to_f32(a.load(t))), 1.f / 256) << tensor;
  }
}

TEST_F(Quantize, CopiesConfigurationsWithoutTheOldQuantization) {
  fs::copy(model_, dir_ / "in", fs::copy_options::recursive);
  std::ifstream config(model_ / "transformer/config.json");
  nlohmann::json j = nlohmann::json::parse(config);
  j["quantization_config"] = {{"quant_method", "bitsandbytes"}};
  std::ofstream(dir_ / "in/transformer/config.json") << j;
  const QuantizeReport report = run(dir_ / "in", dir_ / "out/", "q8_0");
  EXPECT_EQ(report.types.at("q8_0").tensors, 28 + 2 * 7 + 2);  // and 7 of each layer, the embedding and the head
  std::ifstream copied(dir_ / "out/transformer/config.json");
  j.erase("quantization_config");
  EXPECT_EQ(nlohmann::json::parse(copied), j);
  EXPECT_TRUE(fs::exists(dir_ / "out/tokenizer/vocab.json"));
  EXPECT_TRUE(fs::exists(dir_ / "out/transformer/diffusion_pytorch_model.gguf"));
  EXPECT_FALSE(fs::exists(dir_ / "out/transformer/diffusion_pytorch_model.safetensors"));
}

TEST_F(Quantize, KeepsMarkersAndRowsOfPartialBlocks) {
  std::map<std::string, Tensor> tensors{{"txt_norm.weight", random_matrix(Shape{12})},
                                        {"transformer_blocks.0.attn.to_q.weight", random_matrix(Shape{4, 33})},
                                        {"__index_timestep_zero__", host_tensor(Shape{0})}};
  run(write(tensors), dir_ / "out.gguf", "q4_0");
  const auto file = open_tensor_file(dir_ / "out.gguf");
  EXPECT_EQ(file->find("transformer_blocks.0.attn.to_q.weight")->dtype, DType::bf16);
  const TensorEntry* marker = file->find("__index_timestep_zero__");
  ASSERT_NE(marker, nullptr);
  EXPECT_EQ(marker->shape, Shape{0});  // ComfyUI-GGUF refuses one of any other size
  EXPECT_TRUE(Checkpoint::open(dir_ / "out.gguf", Component::dit).has_marker("__index_timestep_zero__"));
}

// Edit-2511 is told from 2509 by its config.json, which a single file leaves behind.
TEST_F(Quantize, MarksFilesOfModelsWhoseConfigurationSaysMore) {
  fs::copy(dit_.parent_path(), dir_ / "2511", fs::copy_options::recursive);
  std::ifstream config(dir_ / "2511/config.json");
  nlohmann::json j = nlohmann::json::parse(config);
  const auto marked = [&](const char* type, bool zero_cond_t) {
    j["zero_cond_t"] = zero_cond_t;
    std::ofstream(dir_ / "2511/config.json") << j;
    const std::string end = quantize_target(type).format == TensorFormat::gguf ? ".gguf" : ".safetensors";
    const fs::path out = dir_ / (std::string(type) + (zero_cond_t ? "-2511" : "-2509") + end);
    run(dir_ / "2511", out, type);
    const auto file = open_tensor_file(out);
    const TensorEntry* marker = file->find("__index_timestep_zero__");
    EXPECT_TRUE(marker == nullptr || marker->shape == Shape{0}) << type;
    return marker != nullptr;
  };
  for (const char* type : {"q8_0", "w8a8", "fp8", "bf16"}) {
    EXPECT_TRUE(marked(type, true)) << type;
    EXPECT_FALSE(marked(type, false)) << type;
  }
  EXPECT_FALSE(marked("nf4", true));
  run(dir_ / "q8_0-2511.gguf", dir_ / "again.gguf", "q4_0");  // once is enough
  EXPECT_NE(open_tensor_file(dir_ / "again.gguf")->find("__index_timestep_zero__"), nullptr);
}

TEST_F(Quantize, SaysWhatIsWrongAndLeavesNothing) {
  const auto expect = [&](const fs::path& in, const fs::path& out, const char* type, const std::string& part) {
    const std::string message = error(in, out, type);
    EXPECT_NE(message.find(part), std::string::npos) << message << "\n  does not say: " << part;
    if (!fs::is_directory(out)) {
      EXPECT_FALSE(fs::exists(out));
    }
  };
  expect(dir_ / "none", dir_ / "x.gguf", "q8_0", "no such file");
  expect(dit_, dir_ / "x.safetensors", "q8_0", "ends in .gguf");
  expect(dit_, dir_ / "x.gguf", "fp8", "ends in .safetensors");
  expect(dit_, dir_ / "a/b.gguf", "q8_0", "does not exist");
  expect(model_, dir_ / "x.gguf", "q8_0", "is a whole model");
  expect(model_, dir_, "q8_0", "exists already");
  expect(model_ / "vae", dir_ / "x.gguf", "q8_0", "holds no Qwen-Image transformer");
  const Tensor norm = random_matrix(Shape{12});
  Tensor bad = random_matrix(Shape{4, 32});
  bad.data<float>()[5] = INFINITY;
  const fs::path in = write({{"txt_norm.weight", norm}, {"transformer_blocks.0.attn.to_q.weight", bad}});
  expect(in, dir_ / "x.gguf", "q8_0", "transformer_blocks.0.attn.to_q.weight: holds inf");
  expect(in, dir_ / "x.safetensors", "fp8", "transformer_blocks.0.attn.to_q.weight: holds inf");
  CancelToken cancel;
  QuantizeOptions options;
  options.cancel = &cancel;
  options.progress = [&](const Progress& p) {
    if (p.step == 40) cancel.cancel();
  };
  EXPECT_THROW(quantize_model(model_, dir_ / "stopped", options), CancelledError);
  fs::remove(in);
  EXPECT_TRUE(fs::is_empty(dir_));
}

}  // namespace
}  // namespace inkling::testing
