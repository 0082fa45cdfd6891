// The engine on the committed random models: geometry, masks, determinism, stopping, numeric faults.

#include "pipeline/engine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "base/threads.h"
#include "formats/tensor_file.h"

namespace inkling {
namespace {

namespace fs = std::filesystem;

EngineOptions model(const char* name, PrecisionChoice precision = PrecisionChoice::f32) {
  EngineOptions o;
  o.model = std::string(INKLING_SOURCE_DIR) + "/tests/parity/data/checkpoints/" + name;
  o.precision = precision;
  return o;
}

Image pattern(int width, int height) {
  Image image = Image::blank(width, height, 3);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i * 37 % 251);
  return image;
}

Request generate_request() {
  Request r;
  r.prompt = "a cute panda";
  r.width = 64;
  r.height = 48;
  r.steps = 3;
  r.cfg_scale = 1;
  r.seed = 5;
  return r;
}

Request edit_request() {
  Request r = generate_request();
  r.width = r.height = 0;
  r.images = {pattern(77, 53)};
  r.vl_area = 96 * 96;
  r.vae_area = 96 * 96;
  return r;
}

TEST(Engine, SameSeedGivesTheSameBytes) {
  Engine first(model("small-t2i")), second(model("small-t2i"));
  const Image a = first.run(generate_request()).images.at(0);
  EXPECT_EQ(a.pixels, first.run(generate_request()).images.at(0).pixels);
  EXPECT_EQ(a.pixels, second.run(generate_request()).images.at(0).pixels);
  Request other = generate_request();
  other.seed = 6;
  EXPECT_NE(a.pixels, first.run(other).images.at(0).pixels);
}

TEST(Engine, ABatchGivesThePicturesOfItsSeeds) {
  Engine engine(model("small-t2i"));
  Request batch = generate_request();
  batch.batch = 3;
  const Result result = engine.run(batch);
  EXPECT_EQ(result.seeds, (std::vector<int64_t>{5, 6, 7}));
  for (int i = 0; i < 3; ++i) {
    Request single = generate_request();
    single.seed = 5 + i;
    EXPECT_EQ(result.images.at(i).pixels, engine.run(single).images.at(0).pixels) << i;
  }
}

TEST(Engine, OneThreadGivesTheBytesOfTwo) {
  const int threads = thread_count();
  Engine engine(model("small-t2i"));
  set_thread_count(2);
  const Image two = engine.run(generate_request()).images.at(0);
  set_thread_count(1);
  EXPECT_EQ(two.pixels, engine.run(generate_request()).images.at(0).pixels);
  set_thread_count(threads);
}

TEST(Engine, AnEditKeepsTheInputsGeometry) {
  Engine engine(model("small-edit"));
  const Result result = engine.run(edit_request());
  EXPECT_EQ(result.images.at(0).width, 77);
  EXPECT_EQ(result.images.at(0).height, 53);
  EXPECT_TRUE(result.notes.empty());
}

TEST(Engine, ALargePictureIsWorkedOnSmallerAndSaysSo) {
  Engine engine(model("small-edit"));
  Request r = edit_request();
  r.images = {pattern(300, 200)};
  const Result result = engine.run(r);
  EXPECT_EQ(result.images.at(0).width, 300);
  EXPECT_EQ(result.images.at(0).height, 200);
  ASSERT_EQ(result.notes.size(), 1u);
  EXPECT_NE(result.notes[0].find("larger"), std::string::npos);
}

TEST(Engine, OutsideTheMaskNoByteChanges) {
  Engine engine(model("small-edit"));
  for (const bool large : {false, true}) {
    Request r = edit_request();
    if (large) r.images = {pattern(300, 200)};
    const Image& original = r.images[0];
    r.mask = Image::blank(original.width, original.height, 1);
    for (int y = 10; y < 30; ++y)
      for (int x = 20; x < 50; ++x) *r.mask->at(x, y) = 255;
    const Image edited = engine.run(r).images.at(0);
    int64_t outside = 0, inside = 0;
    for (int y = 0; y < original.height; ++y)
      for (int x = 0; x < original.width; ++x)
        for (int c = 0; c < 3; ++c)
          (*r.mask->at(x, y) ? inside : outside) += edited.at(x, y)[c] != original.at(x, y)[c];
    EXPECT_EQ(outside, 0);
    EXPECT_GT(inside, 0);
  }
}

TEST(Engine, ATextModelRefusesPictures) {
  Engine engine(model("small-t2i"));
  Request r = generate_request();
  r.images = {pattern(64, 64)};
  EXPECT_THROW(engine.run(r), ArgumentError);
}

TEST(Engine, StopsWithinOneStepAndRunsAgain) {
  Engine engine(model("small-t2i"));
  CancelToken cancel;
  int steps_after = 0;
  Callbacks callbacks;
  callbacks.cancel = &cancel;
  callbacks.progress = [&](const Progress& p) {
    if (p.phase != "denoise") return;
    if (cancel.cancelled()) ++steps_after;
    if (p.step == 1) cancel.cancel();
  };
  EXPECT_THROW(engine.run(generate_request(), callbacks), CancelledError);
  EXPECT_EQ(steps_after, 0);
  EXPECT_EQ(engine.run(generate_request()).images.size(), 1u);
}

TEST(Engine, KeepingModelsLoadedChangesNoByte) {
  EngineOptions warm = model("small-edit");
  warm.keep_loaded = true;
  Engine kept(warm), fresh(model("small-edit"));
  const Image expected = fresh.run(edit_request()).images.at(0);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(kept.run(edit_request()).images.at(0).pixels, expected.pixels);
}

TEST(Engine, MemoryIsReleasedAfterARun) {
  EngineOptions uncached = model("small-edit");
  uncached.embedding_cache_bytes = 0;
  Engine engine(uncached);
  const int64_t first = engine.run(edit_request()).activation_peak_bytes;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(engine.run(edit_request()).activation_peak_bytes, first);
}

// Weights that overflow reach the latents as infinities: the job fails, no picture comes back.
TEST(Engine, NonFiniteLatentsAreAnErrorAndNotAPicture) {
  const fs::path path = fs::temp_directory_path() / "inkling-overflow-lora.safetensors";
  const auto dit = open_tensor_file(model("small-t2i").model / "transformer/diffusion_pytorch_model.safetensors");
  const Shape shape = dit->find("transformer_blocks.0.attn.to_out.0.weight")->shape;
  const std::vector<TensorToWrite> tensors{
      {"transformer_blocks.0.attn.to_out.0.lora_down.weight", DType::f32, {1, shape[1]}},
      {"transformer_blocks.0.attn.to_out.0.lora_up.weight", DType::f32, {shape[0], 1}}};
  write_safetensors(path, tensors, [&](size_t i) {
    Tensor t = host_tensor(tensors[i].shape);
    for (float& v : t.span<float>()) v = 3e38f;
    return t;
  });
  EngineOptions o = model("small-t2i");
  o.loras = {{path, 1.f}};
  Engine engine(o);
  EXPECT_THROW(engine.run(generate_request()), NumericError);
  fs::remove(path);
}

}  // namespace
}  // namespace inkling
