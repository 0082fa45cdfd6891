#include "diffusion/latents.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"
#include "diffusion/vectors.h"

namespace inkling {
namespace {

Tensor counting(const Shape& shape) {
  Tensor tensor = host_tensor(shape);
  std::iota(tensor.span<float>().begin(), tensor.span<float>().end(), 0.f);
  return tensor;
}

bool equal(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::equal(a.span<float>().begin(), a.span<float>().end(), b.span<float>().begin());
}

TEST(Latents, PackAndUnpackAreInverse) {
  for (const Shape& shape : {Shape{2, 2, 16}, Shape{6, 14, 16}, Shape{10, 4, 3}}) {
    const Tensor map = counting(shape);
    const Tensor tokens = pack_latents(map);
    EXPECT_EQ(tokens.shape(), (Shape{shape[0] * shape[1] / 4, shape[2] * 4}));
    EXPECT_TRUE(equal(unpack_latents(tokens, shape[0] / 2, shape[1] / 2), map));
  }
}

TEST(Latents, OrderChannelsByMapChannelThenRowThenColumn) {
  const Tensor map = counting({4, 6, 5});
  const Tensor tokens = pack_latents(map);
  for (int64_t y = 0; y < 4; ++y) {
    for (int64_t x = 0; x < 6; ++x) {
      for (int64_t c = 0; c < 5; ++c) {
        const int64_t token = y / 2 * 3 + x / 2, k = c * 4 + y % 2 * 2 + x % 2;
        EXPECT_EQ(tokens.data<float>()[token * 20 + k], map.data<float>()[(y * 6 + x) * 5 + c]);
      }
    }
  }
}

TEST(Latents, RefuseOtherShapes) {
  EXPECT_THROW(pack_latents(counting({3, 2, 16})), RuntimeError);
  EXPECT_THROW(pack_latents(counting({4, 16})), RuntimeError);
  EXPECT_THROW(unpack_latents(counting({6, 64}), 2, 2), RuntimeError);
  EXPECT_THROW(unpack_latents(counting({4, 63}), 2, 2), RuntimeError);
}

TEST(Noise, EqualsWhatDiffusersDrawsAndPacks) {
  for (const auto& v : testing::vectors()["noise"]) {
    TorchCpuGenerator generator(v["seed"].get<uint64_t>());
    const auto precision = v["bf16"].get<bool>() ? DrawPrecision::bf16 : DrawPrecision::f32;
    const Tensor noise = draw_noise(generator, v["height"].get<int64_t>(), v["width"].get<int64_t>(), 16, precision);
    ASSERT_EQ(noise.shape(), (Shape{v["shape"][0].get<int64_t>(), v["shape"][1].get<int64_t>()}));
    const std::span<const float> values = noise.span<float>();
    for (size_t i = 0; i < v["rows"].size(); ++i) {
      const auto row = values.subspan(v["rows"][i].get<size_t>() * 64, 64);
      EXPECT_EQ(std::vector<float>(row.begin(), row.end()), v["values"][i].get<std::vector<float>>());
    }
    EXPECT_NEAR(std::accumulate(values.begin(), values.end(), 0.0), v["sum"].get<double>(), 1e-6);
  }
}

TEST(Noise, TakesTwoPicturesFromOneStream) {
  TorchCpuGenerator stream(1), again(1);
  const Tensor first = draw_noise(stream, 64, 64), second = draw_noise(stream, 64, 64);
  EXPECT_FALSE(equal(first, second));
  EXPECT_TRUE(equal(first, draw_noise(again, 64, 64)));
  EXPECT_TRUE(equal(second, draw_noise(again, 64, 64)));
}

TEST(Noise, ComesFromEitherGenerator) {
  PhiloxGenerator cuda(42);
  const Tensor noise = draw_noise(cuda, 32, 32, 16, DrawPrecision::bf16);
  EXPECT_EQ(noise.shape(), (Shape{4, 64}));
  EXPECT_NEAR(noise.data<float>()[0], .194019, 1e-3);
}

TEST(Noise, RefusesSizesOffTheTokenGrid) {
  TorchCpuGenerator generator(1);
  EXPECT_THROW(draw_noise(generator, 0, 64), ArgumentError);
  EXPECT_THROW(draw_noise(generator, 64, 72), ArgumentError);
  EXPECT_THROW(draw_noise(generator, -16, 64), ArgumentError);
}

}  // namespace
}  // namespace inkling
