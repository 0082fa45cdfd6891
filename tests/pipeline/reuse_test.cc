// What one run leaves for the next: encoded prompts, latents, fingerprints; and cheap previews.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "base/error.h"
#include "formats/resample.h"
#include "formats/tensor_file.h"
#include "pipeline/embedding_cache.h"
#include "pipeline/engine.h"
#include "pipeline/latent_file.h"
#include "pipeline_support.h"

namespace inkling {
namespace {

namespace fs = std::filesystem;
using testing::edit_request;
using testing::generate_request;
using testing::small_model;

// --- embeddings -----------------------------------------------------------------------------------------------------

TEST(Embeddings, FromTheCacheChangeNoByteAndNeedNoMoreMemory) {
  for (const bool edit : {false, true}) {
    for (const PrecisionChoice precision : {PrecisionChoice::f32, PrecisionChoice::bf16, PrecisionChoice::w8a8}) {
      EngineOptions options = small_model(edit ? "small-edit" : "small-t2i", precision);
      Engine cached(options);
      options.embedding_cache_bytes = 0;
      Engine plain(options);
      const Request request = edit ? edit_request("blue", 5, 4) : generate_request("a cute panda", 5, 4);
      const Result expected = plain.run(request);
      const Result first = cached.run(request), second = cached.run(request);
      EXPECT_FALSE(expected.embedding_cached);
      EXPECT_FALSE(first.embedding_cached);
      EXPECT_TRUE(second.embedding_cached);
      EXPECT_EQ(first.images[0].pixels, expected.images[0].pixels);
      EXPECT_EQ(second.images[0].pixels, expected.images[0].pixels);
      EXPECT_EQ(first.activation_peak_bytes, expected.activation_peak_bytes);
      EXPECT_LE(second.activation_peak_bytes, expected.activation_peak_bytes);
    }
  }
}

TEST(Embeddings, OfAnotherPictureOrPromptAreNotTaken) {
  Engine engine(small_model("small-edit"));
  const Request blue = edit_request("blue"), other_picture = edit_request("blue", 5, 1, 41), red = edit_request("red");
  engine.run(blue);
  EXPECT_FALSE(engine.run(other_picture).embedding_cached);
  EXPECT_FALSE(engine.run(red).embedding_cached);
  EXPECT_TRUE(engine.run(blue).embedding_cached);
  const EmbeddingCacheStats stats = engine.embedding_cache_stats();
  EXPECT_EQ(stats.hits, 1);
  EXPECT_EQ(stats.misses, 3);
  EXPECT_EQ(stats.entries, 3);
  EXPECT_GT(stats.bytes, 0);
}

TEST(Embeddings, LeastRecentlyUsedGoFirst) {
  const auto of_value = [](float v) {
    Tensor t = host_tensor(Shape{4, 8});
    std::ranges::fill(t.span<float>(), v);
    return t;
  };
  EmbeddingCache cache(2 * (4 * 8 * 4 + 1) + 10);  // room for two
  cache.put("a", of_value(1));
  cache.put("b", of_value(2));
  EXPECT_TRUE(cache.get("a"));
  cache.put("c", of_value(3));
  EXPECT_FALSE(cache.get("b"));
  EXPECT_EQ(cache.get("a")->span<float>()[0], 1);
  EXPECT_EQ(cache.get("c")->span<float>()[31], 3);
  cache.put("too large", host_tensor(Shape{100, 8}));
  EXPECT_FALSE(cache.get("too large"));
  EXPECT_EQ(cache.stats().entries, 2);
  EXPECT_LE(cache.stats().bytes, 2 * (4 * 8 * 4 + 1) + 10);
}

// --- latents --------------------------------------------------------------------------------------------------------

class LatentFiles : public ::testing::Test {
 protected:
  const fs::path path_ = fs::temp_directory_path() / "inkling-test.latent";
  ~LatentFiles() override { fs::remove(path_); }
};

TEST_F(LatentFiles, AreDecodedToTheSameBytes) {
  for (const bool edit : {false, true}) {
    Engine engine(small_model(edit ? "small-edit" : "small-t2i"));
    Request request = edit ? edit_request() : generate_request();
    request.batch = 2;
    EXPECT_TRUE(engine.run(request).latents.empty());
    request.keep_latents = true;
    const Result drawn = engine.run(request);
    ASSERT_EQ(drawn.latents.size(), 2u);
    const int width = edit ? 80 : 64, height = edit ? 64 : 48;
    write_latents(path_, drawn.latents, width, height, {{"prompt", "熊猫"}, {"seed", "5"}});
    const LatentFile file = read_latents(path_);
    EXPECT_EQ(file.width, width);
    EXPECT_EQ(file.height, height);
    EXPECT_EQ(file.metadata.at("prompt"), "熊猫");
    request.latents = file.latents;
    const Result decoded = engine.run(request);
    for (size_t i = 0; i < 2; ++i) EXPECT_EQ(decoded.images[i].pixels, drawn.images[i].pixels);
    EXPECT_FALSE(decoded.seconds.contains("denoise"));
    EXPECT_TRUE(decoded.seconds.contains("decode"));
    EXPECT_LT(decoded.activation_peak_bytes, drawn.activation_peak_bytes + 1);
  }
}

TEST_F(LatentFiles, OfAnotherShapeAreRefused) {
  Engine engine(small_model("small-t2i"));
  Request request = generate_request();
  request.latents = {host_tensor(Shape{3, 64})};
  EXPECT_THROW(engine.run(request), ArgumentError);
  request.latents->clear();
  EXPECT_THROW(engine.run(request), ArgumentError);
  Tensor good = host_tensor(Shape{12, 64});
  std::ranges::fill(good.span<float>(), 0.5f);
  request.latents = {good};
  EXPECT_EQ(engine.run(request).images.size(), 1u);
  good.span<float>()[7] = std::numeric_limits<float>::infinity();
  EXPECT_THROW(engine.run(request), ArgumentError);
  EXPECT_THROW(write_latents(path_, {good}, 64, 48), ArgumentError);
  EXPECT_THROW(write_latents(path_, {host_tensor(Shape{12, 64})}, 64, 64), ArgumentError);
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(LatentFiles, ThatAreDamagedAreRefused) {
  const auto write = [&](const Shape& shape, float value, const std::map<std::string, std::string>& metadata) {
    write_safetensors(
        path_, {{"latents.0", DType::f32, shape}},
        [&](size_t) {
          Tensor t = host_tensor(shape);
          std::ranges::fill(t.span<float>(), value);
          return t;
        },
        metadata);
  };
  const std::map<std::string, std::string> good{{"format", "inkling latents 1"}, {"width", "64"}, {"height", "48"}};
  write({12, 64}, 1, good);
  EXPECT_EQ(read_latents(path_).latents.size(), 1u);
  write({12, 64}, std::nanf(""), good);
  EXPECT_THROW(read_latents(path_), ModelError);
  write({13, 64}, 1, good);
  EXPECT_THROW(read_latents(path_), ModelError);
  write({12, 64}, 1, {{"format", "other"}, {"width", "64"}, {"height", "48"}});
  EXPECT_THROW(read_latents(path_), ModelError);
  for (const char* width : {"", "-64", "63", "64x", "99999999999999999999"}) {
    write({12, 64}, 1, {{"format", "inkling latents 1"}, {"width", width}, {"height", "48"}});
    EXPECT_THROW(read_latents(path_), ModelError) << width;
  }
  write({12, 64}, 1, good);
  fs::resize_file(path_, fs::file_size(path_) - 100);
  EXPECT_THROW(read_latents(path_), ModelError);
}

// --- fingerprints ---------------------------------------------------------------------------------------------------

TEST(Fingerprint, ChangesWithFilesAndPrecision) {
  const fs::path copy = fs::temp_directory_path() / "inkling-fingerprint-model";
  fs::remove_all(copy);
  fs::copy(small_model("small-t2i").model, copy, fs::copy_options::recursive);
  EngineOptions options = small_model("small-t2i");
  options.model = copy;
  const auto print = [&] { return Engine(options).fingerprint(); };
  const std::string first = print();
  EXPECT_EQ(first.size(), 32u);
  EXPECT_EQ(print(), first);
  fs::path weights;
  for (const auto& entry : fs::directory_iterator(copy / "vae"))
    if (entry.path().extension() == ".safetensors") weights = entry.path();
  fs::last_write_time(weights, fs::last_write_time(weights) + std::chrono::seconds(1));
  const std::string touched = print();
  EXPECT_NE(touched, first);
  options.precision = PrecisionChoice::bf16;
  EXPECT_NE(print(), touched);
  fs::remove_all(copy);
}

// --- previews -------------------------------------------------------------------------------------------------------

double mean_difference(const Image& a, const Image& b) {
  double sum = 0;
  for (size_t i = 0; i < a.pixels.size(); ++i) sum += std::abs(a.pixels[i] - b.pixels[i]);
  return sum / static_cast<double>(a.pixels.size());
}

// With the model that ships: the last small preview resembles the picture.
TEST(Preview, SmallOnesAreAnEighthAndResembleThePicture) {
  Engine engine{EngineOptions{}};
  Request request;
  request.prompt = "a cute panda with a red hat";
  request.seed = 3;
  std::vector<Image> previews;
  std::vector<int> numbers;
  Callbacks callbacks;
  callbacks.preview = [&](int step, const Image& image) {
    numbers.push_back(step);
    previews.push_back(image);
  };
  const Result plain = engine.run(request), result = engine.run(request, callbacks);
  EXPECT_EQ(plain.images[0].pixels, result.images[0].pixels);
  ASSERT_EQ(static_cast<int>(previews.size()), result.steps);
  EXPECT_EQ(numbers.front(), 1);
  EXPECT_EQ(numbers.back(), result.steps);
  const Image small = resample(result.images[0], result.width / 8, result.height / 8, ResampleFilter::bicubic);
  ASSERT_EQ(previews.back().width, small.width);
  ASSERT_EQ(previews.back().height, small.height);
  const Image grey = Image::blank(small.width, small.height, 3, 128);
  const double off = mean_difference(previews.back(), small);
  RecordProperty("mean_difference", std::to_string(off));
  EXPECT_LT(off, 20);
  EXPECT_LT(off, 0.5 * mean_difference(grey, small));
}

TEST(Preview, CostsNoMemoryBeyondThePlan) {
  Engine engine(small_model("small-t2i")), plain(small_model("small-t2i"));
  Callbacks callbacks;
  int count = 0;
  callbacks.preview = [&](int, const Image&) { ++count; };
  const Result result = engine.run(generate_request(), callbacks), expected = plain.run(generate_request());
  EXPECT_EQ(count, 3);
  EXPECT_EQ(result.images[0].pixels, expected.images[0].pixels);
  EXPECT_EQ(result.activation_peak_bytes, expected.activation_peak_bytes);
  callbacks.preview_size = PreviewSize::full;
  int width = 0;
  callbacks.preview = [&](int, const Image& image) { width = image.width; };
  engine.run(generate_request(), callbacks);
  EXPECT_EQ(width, 64);
}

}  // namespace
}  // namespace inkling
