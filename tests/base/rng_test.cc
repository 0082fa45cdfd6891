#include "base/rng.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"

namespace inkling {
namespace {

using nlohmann::json;

std::vector<float> draw(NormalGenerator& generator, size_t count, DrawPrecision precision = DrawPrecision::f32) {
  std::vector<float> values(count);
  generator.normal(values, precision);
  return values;
}

std::string fnv1a(const std::vector<float>& values) {
  uint64_t state = 0xCBF29CE484222325;
  for (const float value : values) {
    const auto bits = std::bit_cast<uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) state = (state ^ (bits >> shift & 0xFF)) * 0x100000001B3;
  }
  return fmt::format("{:016x}", state);
}

bool is_bf16(float value) { return (std::bit_cast<uint32_t>(value) & 0xFFFF) == 0; }

void expect_moments(const std::vector<float>& values) {
  double sum = 0, squares = 0;
  for (const float v : values) {
    sum += v;
    squares += double{v} * v;
  }
  const auto n = static_cast<double>(values.size());
  EXPECT_NEAR(sum / n, 0, 5 / std::sqrt(n));
  EXPECT_NEAR(squares / n, 1, 10 / std::sqrt(n));
}

TEST(TorchCpuGenerator, IsBitExactWithTorch) {
  std::ifstream file(std::string(INKLING_SOURCE_DIR) + "/tests/base/data/normals.json");
  for (const json& entry : json::parse(file)) {
    const std::string name = entry["precision"];
    const auto precision = name == "f32"    ? DrawPrecision::f32
                           : name == "bf16" ? DrawPrecision::bf16
                                            : DrawPrecision::bf16_coarse;
    TorchCpuGenerator generator(entry["seed"].get<uint64_t>());
    for (const json& expected : entry["draws"]) {
      const auto values = draw(generator, expected["count"].get<size_t>(), precision);
      const auto first = expected["first"].get<std::vector<float>>();
      EXPECT_EQ(std::vector<float>(values.begin(), values.begin() + static_cast<int64_t>(first.size())), first);
      EXPECT_EQ(fnv1a(values), expected["hash"].get<std::string>())
          << name << " seed " << entry["seed"] << " count " << values.size();
    }
  }
}

TEST(TorchCpuGenerator, GivesTheGoldenValuesOfSeed42) {
  TorchCpuGenerator f32(42), coarse(42);
  const auto a = draw(f32, 16), b = draw(coarse, 16, DrawPrecision::bf16_coarse);
  const float expected[] = {1.926915f, 1.487284f, .900717f, -2.105521f};
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(a[i], expected[i], 1e-6);
  EXPECT_EQ(std::vector<float>(b.begin(), b.begin() + 4),
            (std::vector<float>{-.80859375f, -1.53125f, .40625f, .171875f}));
}

TEST(TorchCpuGenerator, UsesTheLowWordOfTheSeed) {
  TorchCpuGenerator a(7), b((uint64_t{1} << 32) + 7), c(8);
  const auto reference = draw(a, 32);
  EXPECT_EQ(reference, draw(b, 32));
  EXPECT_NE(reference, draw(c, 32));
}

TEST(TorchCpuGenerator, ContinuesItsStream) {
  TorchCpuGenerator twice(3), once(3);
  auto parts = draw(twice, 64);
  const auto second = draw(twice, 64);
  parts.insert(parts.end(), second.begin(), second.end());
  EXPECT_EQ(parts, draw(once, 128)) << "whole blocks need no tail";
}

TEST(TorchCpuGenerator, DrawsNothingForNothing) {
  TorchCpuGenerator a(5), b(5);
  a.normal({});
  EXPECT_EQ(draw(a, 20), draw(b, 20));
}

TEST(TorchCpuGenerator, DrawsValuesThatBf16Holds) {
  for (const auto precision : {DrawPrecision::bf16, DrawPrecision::bf16_coarse}) {
    TorchCpuGenerator generator(11);
    for (const size_t count : {3, 16, 33, 4096}) {
      for (const float value : draw(generator, count, precision)) ASSERT_TRUE(is_bf16(value) && std::isfinite(value));
    }
  }
}

TEST(TorchCpuGenerator, IsNormal) {
  TorchCpuGenerator generator(1);
  expect_moments(draw(generator, 1 << 20));
}

TEST(PhiloxGenerator, GivesTheGoldenValuesOfSeed42) {
  PhiloxGenerator generator(42);
  const auto values = draw(generator, 1000);
  const float expected[] = {.194019f, 2.161374f, -.172050f, .849060f};
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(values[i], expected[i], 3e-5);
}

// Drawn one after another by torch 2.11 on an H200: the values at 0, 1, the middle and the end of each draw.
TEST(PhiloxGenerator, FollowsTorchAcrossDraws) {
  struct Draw {
    size_t count;
    float values[4];
  };
  PhiloxGenerator generator(42);
  for (const Draw& expected : {Draw{100, {0.1940188f, 2.1613736f, -0.87762552f, -0.68170702f}},
                               Draw{16384, {0.13913755f, -0.10821664f, -0.22207272f, 0.34670788f}},
                               Draw{1000000, {-0.51874864f, 1.226758f, 0.50414032f, 1.214709f}},
                               Draw{1500000, {-0.69736588f, -1.8688258f, -0.24079429f, -1.8826274f}},
                               Draw{77, {1.4639567f, -0.32384098f, -0.44961455f, 1.2539701f}}}) {
    const auto values = draw(generator, expected.count);
    const size_t places[] = {0, 1, values.size() / 2, values.size() - 1};
    for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(values[places[i]], expected.values[i], 3e-6) << values.size();
  }
}

TEST(PhiloxGenerator, UsesTheWholeSeed) {
  PhiloxGenerator a(7), b((uint64_t{1} << 32) + 7);
  EXPECT_NE(draw(a, 32), draw(b, 32));
}

TEST(PhiloxGenerator, DependsOnTheGpuOnlyBeyondItsThreads) {
  constexpr int64_t kSmall = 28 * 1536;
  PhiloxGenerator large(9), small(9, kSmall);
  EXPECT_EQ(draw(large, kSmall), draw(small, kSmall));
  EXPECT_NE(draw(large, kSmall + 1), draw(small, kSmall + 1));
}

TEST(PhiloxGenerator, ReadsFourOutputsOfEachThread) {
  PhiloxGenerator generator(9, 256), other(9, 512);
  const auto narrow = draw(generator, 1024), wide = draw(other, 2048);
  for (size_t thread = 0; thread < 256; ++thread) {
    for (size_t k = 0; k < 4; ++k) ASSERT_EQ(narrow[256 * k + thread], wide[512 * k + thread]);
  }
}

TEST(PhiloxGenerator, ContinuesBehindTheCountersItUsed) {
  PhiloxGenerator twice(9, 256), once(9, 256);
  auto parts = draw(twice, 1024);
  const auto second = draw(twice, 1024);
  parts.insert(parts.end(), second.begin(), second.end());
  EXPECT_EQ(parts, draw(once, 2048));
}

TEST(PhiloxGenerator, RoundsToBf16) {
  PhiloxGenerator a(4), b(4);
  const auto exact = draw(a, 500), rounded = draw(b, 500, DrawPrecision::bf16);
  for (size_t i = 0; i < exact.size(); ++i) {
    EXPECT_TRUE(is_bf16(rounded[i]));
    EXPECT_NEAR(rounded[i], exact[i], std::abs(exact[i]) / 256);
  }
}

TEST(PhiloxGenerator, IsNormal) {
  PhiloxGenerator generator(1);
  expect_moments(draw(generator, 1 << 20));
}

TEST(PhiloxGenerator, RefusesBrokenBlocks) {
  EXPECT_THROW(PhiloxGenerator(1, 0), ArgumentError);
  EXPECT_THROW(PhiloxGenerator(1, 1000), ArgumentError);
}

}  // namespace
}  // namespace inkling
