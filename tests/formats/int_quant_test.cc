#include "formats/int_quant.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "base/error.h"

namespace inkling::testing {
namespace {

using Row = std::vector<float>;

// Kinds of rows: bell-shaped, heavy-tailed, lopsided, with an outlier, with zero groups, tiny, huge.
Row make_row(int64_t columns, int kind, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Row row(static_cast<size_t>(columns));
  for (float& x : row) {
    x = normal(random);
    if (kind == 1) x *= std::fabs(normal(random)) * 0.01f;
    if (kind == 2) x = x < 0.f ? 3.f * x : x;
    if (kind == 5) x *= 0x1p-90f;
    if (kind == 6) x *= 0x1p100f;
  }
  if (kind == 3) row[row.size() / 2] = -60.f;
  if (kind == 4) std::fill_n(row.begin(), row.size() / 2, 0.f);
  return row;
}

// The header's search, one operation after another.
struct Int4 {
  float scale = 0.f;
  std::vector<uint8_t> group_scale;
  std::vector<int> values;  // -8..7
};

float reference_error(const float* x, float inverse, float s, int* values) {
  const float r = 1.f / s;
  float lanes[16];
  for (int c = 0; c < 64; ++c) {
    const float v = x[c] * inverse;
    const float q = std::rint(std::min(std::max(v * r, -8.f), 7.f));
    if (values != nullptr) values[c] = static_cast<int>(q);
    const float e = v - s * q;
    lanes[c % 16] = c < 16 ? e * e : lanes[c % 16] + e * e;
  }
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

Int4 reference_int4(const Row& row) {
  const int groups = static_cast<int>(row.size() / 64);
  std::vector<float> reach;
  for (int g = 0; g < groups; ++g) {
    float up = 0.f, down = 0.f;
    for (int c = 0; c < 64; ++c) {
      up = std::max(up, row[g * 64 + c]);
      down = std::max(down, -row[g * 64 + c]);
    }
    reach.push_back(std::max(up * (1.f / 7.f), down * 0.125f));
  }
  Int4 best;
  float smallest = std::numeric_limits<float>::infinity();
  for (const float step : {16.f, 17.f, 18.f}) {
    const float scale = *std::max_element(reach.begin(), reach.end()) / step, inverse = 1.f / scale;
    std::vector<uint8_t> chosen;
    float total = 0.f;
    for (int g = 0; g < groups; ++g) {
      const float s0 = std::min(std::max(std::rint(reach[g] * inverse), 1.f), 16.f);
      float least = std::numeric_limits<float>::infinity(), kept = 0.f;
      for (float s = s0 - 2.f; s <= s0 + 1.f; s += 1.f) {
        if (s < 1.f || s > 16.f) continue;
        const float error = reference_error(&row[g * 64], inverse, s, nullptr);
        if (error < least) {
          least = error;
          kept = s;
        }
      }
      total += least;
      chosen.push_back(static_cast<uint8_t>(kept));
    }
    total *= 16.f * 16.f / (step * step);
    if (total < smallest) {
      smallest = total;
      best.scale = scale;
      best.group_scale = chosen;
    }
  }
  best.values.resize(row.size());
  for (int g = 0; g < groups; ++g)
    reference_error(&row[g * 64], 1.f / best.scale, static_cast<float>(best.group_scale[g]), &best.values[g * 64]);
  return best;
}

struct Packed {
  float scale;
  std::vector<uint8_t> codes, group_scale;
  explicit Packed(const Row& row) : codes(row.size() / 2, 0xee), group_scale(row.size() / 64, 0xee) {
    scale = quantize_row_i4(row.data(), static_cast<int64_t>(row.size()), codes.data(), group_scale.data());
  }
  Row values() const {
    Row row(codes.size() * 2);
    dequantize_row_i4(codes.data(), group_scale.data(), scale, static_cast<int64_t>(row.size()), row.data());
    return row;
  }
};

double relative_error(const Row& got, const Row& wanted) {
  double difference = 0., size = 0.;
  for (size_t i = 0; i < wanted.size(); ++i) {
    difference += std::pow(static_cast<double>(got[i]) - wanted[i], 2);
    size += std::pow(static_cast<double>(wanted[i]), 2);
  }
  return std::sqrt(difference / size);
}

class IntQuantRows : public ::testing::TestWithParam<int> {};

TEST_P(IntQuantRows, Int4IsTheDocumentedSearchToTheBit) {
  for (const int64_t columns : {64, 128, 320, 3072}) {
    const Row row = make_row(columns, GetParam(), static_cast<uint32_t>(columns));
    const Int4 wanted = reference_int4(row);
    const Packed got(row);
    EXPECT_EQ(got.scale, wanted.scale);
    EXPECT_EQ(got.group_scale, wanted.group_scale);
    for (int64_t c = 0; c < columns; ++c)
      ASSERT_EQ((c % 2 == 0 ? got.codes[c / 2] & 15 : got.codes[c / 2] >> 4) - 8, wanted.values[c]) << c;
  }
}

TEST_P(IntQuantRows, Int8IsScaledByTheLargest) {
  for (const int64_t columns : {1, 15, 16, 100, 3072}) {
    const Row row = make_row(columns, GetParam(), 7);
    std::vector<int8_t> q(row.size(), 99);
    const float scale = quantize_row_i8(row.data(), columns, q.data());
    float largest = 0.f;
    for (const float x : row) largest = std::max(largest, std::fabs(x));
    if (largest == 0.f) {
      EXPECT_EQ(scale, 1.f);
    } else {
      EXPECT_EQ(scale, largest / 127.f);
    }
    for (size_t i = 0; i < row.size(); ++i) ASSERT_EQ(q[i], std::rint(row[i] * (1.f / scale))) << i;
    Row back(row.size());
    dequantize_row_i8(q.data(), scale, columns, back.data());
    for (size_t i = 0; i < row.size(); ++i) ASSERT_EQ(back[i], scale * static_cast<float>(q[i]));
  }
}
INSTANTIATE_TEST_SUITE_P(Kinds, IntQuantRows, ::testing::Range(0, 7));

TEST(IntQuant, Int4ErrorOfABellShapedRow) {
  // 16 levels at the best step for 64 samples of a Gaussian leave 9.6 % (measured by exhaustive search in double).
  const Row row = make_row(12288, 0, 3);
  EXPECT_LT(relative_error(Packed(row).values(), row), 0.0975);
}

TEST(IntQuant, Int4UsesTheLongerSide) {
  Row row(64);
  for (int i = 0; i < 64; ++i) row[i] = i % 16 * 0.5f - 4.f;  // -8..7 halves
  const Packed packed(row);
  EXPECT_EQ(packed.values(), row);
  EXPECT_EQ(packed.scale * packed.group_scale[0], 0.5f);
  for (float& x : row) x = -x;  // 8 does not exist
  EXPECT_GT(relative_error(Packed(row).values(), row), 0.01);
}

TEST(IntQuant, ProductsFitInt8) {
  for (int kind = 0; kind < 7; ++kind) {
    const Packed packed(make_row(1024, kind, 11));
    for (const uint8_t s : packed.group_scale) {
      EXPECT_GE(s, 1);
      EXPECT_LE(s, 16);
    }
  }
}

TEST(IntQuant, ZeroRows) {
  for (const float x : {0.f, -0.f, 0x1p-120f, std::numeric_limits<float>::denorm_min()}) {
    const Row row(128, x);
    const Packed packed(row);
    EXPECT_EQ(packed.scale, 1.f);
    EXPECT_EQ(packed.values(), Row(128, 0.f));
    std::vector<int8_t> q(128, 5);
    EXPECT_EQ(quantize_row_i8(row.data(), 128, q.data()), 1.f);
    EXPECT_EQ(q, std::vector<int8_t>(128, 0));
  }
}

TEST(IntQuant, NonFiniteRowsStayVisible) {
  for (const float x : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                        std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN()}) {
    for (const size_t at : {0, 63, 100}) {
      Row row = make_row(128, 0, 1);
      row[at] = x;
      for (const float v : Packed(row).values()) ASSERT_TRUE(std::isnan(v));
      std::vector<int8_t> q(128, 5);
      EXPECT_TRUE(std::isnan(quantize_row_i8(row.data(), 128, q.data())));
      EXPECT_EQ(q, std::vector<int8_t>(128, 0));
    }
  }
}

TEST(IntQuant, RotationIsTheKroneckerPower) {
  constexpr int h[4][4] = {{1, 1, 1, -1}, {1, 1, -1, 1}, {1, -1, 1, 1}, {-1, 1, 1, 1}};
  for (const int n : {16, 64, 256}) {
    const Row row = make_row(2 * n, 0, static_cast<uint32_t>(n));
    Row turned = row;
    rotate_row(turned.data(), 2 * n, n);
    for (int block = 0; block < 2; ++block)
      for (int j = 0; j < n; ++j) {
        double wanted = 0.;
        for (int i = 0; i < n; ++i) {
          double entry = 1.;
          for (int a = i, b = j, rest = n; rest > 1; rest /= 4, a /= 4, b /= 4) entry *= 0.5 * h[a % 4][b % 4];
          wanted += entry * row[block * n + i];
        }
        ASSERT_NEAR(turned[block * n + j], wanted, 1e-5) << n << ' ' << j;
      }
    rotate_row(turned.data(), 2 * n, n);  // symmetric and orthogonal: its own inverse
    for (int i = 0; i < 2 * n; ++i) ASSERT_NEAR(turned[i], row[i], 1e-5);
  }
}

TEST(IntQuant, RotationToTheBit) {
  const Row row = make_row(512, 0, 5);
  for (const int n : {16, 64, 256}) {
    Row turned = row, wanted = row;
    rotate_row(turned.data(), 512, n);
    for (int stride = 1; stride < n; stride *= 4)
      for (int i = 0; i < 512; ++i) {
        if (i / stride % 4 != 0) continue;
        const float a = wanted[i], b = wanted[i + stride], c = wanted[i + 2 * stride], d = wanted[i + 3 * stride];
        wanted[i] = 0.5f * (((a + b) + c) - d);
        wanted[i + stride] = 0.5f * (((a + b) - c) + d);
        wanted[i + 2 * stride] = 0.5f * (((a - b) + c) + d);
        wanted[i + 3 * stride] = 0.5f * (((b - a) + c) + d);
      }
    EXPECT_EQ(turned, wanted);
  }
}

TEST(IntQuant, RotationTamesOutliers) {
  Row row = make_row(256, 0, 9);
  row[17] = 40.f;
  Row turned = row;
  rotate_row(turned.data(), 256, 256);
  EXPECT_LT(relative_error(Packed(turned).values(), turned), 0.6 * relative_error(Packed(row).values(), row));
}

TEST(IntQuant, Nf4) {
  const std::vector<uint8_t> codes(48, 0x0f);  // -1, 1, -1, ...
  const std::vector<float> scale{2.f, 4.f};
  Row y(3);
  dequantize_nf4(codes.data(), scale.data(), 63, 3, y.data());
  EXPECT_EQ(y, (Row{2.f, -4.f, 4.f}));
  const std::vector<uint8_t> steps{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
  Row levels(16);
  dequantize_nf4(steps.data(), scale.data(), 0, 16, levels.data());
  EXPECT_TRUE(std::is_sorted(levels.begin(), levels.end()));
  EXPECT_EQ(levels[7], 0.f);
}

TEST(IntQuant, DefaultRotation) {
  EXPECT_EQ(default_rotation(3072), 256);
  EXPECT_EQ(default_rotation(320), 64);
  EXPECT_EQ(default_rotation(48), 16);
  EXPECT_EQ(default_rotation(40), 0);
}

TEST(IntQuant, RefusesWrongSizes) {
  Row row(96);
  std::vector<uint8_t> codes(48), scales(2);
  EXPECT_THROW(quantize_row_i4(row.data(), 96, codes.data(), scales.data()), RuntimeError);
  EXPECT_THROW(rotate_row(row.data(), 96, 64), RuntimeError);
  EXPECT_THROW(rotate_row(row.data(), 96, 32), RuntimeError);
  rotate_row(row.data(), 96, 0);
}

}  // namespace
}  // namespace inkling::testing
