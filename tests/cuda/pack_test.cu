// Rounding of weights on the device equals the CPU's to the bit.
#include "backends/cuda/kernels/pack.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "device_array.h"
#include "formats/int_quant.h"

namespace inkling::testing {
namespace {

using cuda::Elem;

// Rows of every kind: bell-shaped, heavy-tailed, lopsided, with an outlier, with empty groups, tiny, huge, zero,
// vanishing, with a NaN, with an infinity.
constexpr int kRows = 33;
std::vector<float> make_rows(int k) {
  std::mt19937 random(k);
  std::normal_distribution<float> normal;
  std::vector<float> rows(size_t(kRows) * k);
  for (int r = 0; r < kRows; ++r) {
    float* row = &rows[size_t(r) * k];
    const int kind = r % 11;
    for (int c = 0; c < k; ++c) {
      float x = normal(random);
      if (kind == 1) x *= std::fabs(normal(random)) * 0.01f;
      if (kind == 2 && x < 0.f) x *= 3.f;
      if (kind == 4 && c < k / 2) x = 0.f;
      if (kind == 5) x *= 0x1p-90f;
      if (kind == 6) x *= 0x1p100f;
      if (kind == 7) x = 0.f;
      if (kind == 8) x *= 0x1p-120f;
      row[c] = x;
    }
    if (kind == 3) row[k / 2] = -60.f;
    if (kind == 9) row[k - 1] = std::numeric_limits<float>::quiet_NaN();
    if (kind == 10) row[0] = -std::numeric_limits<float>::infinity();
  }
  return rows;
}

bool same_float(float a, float b) { return std::memcmp(&a, &b, 4) == 0 || (std::isnan(a) && std::isnan(b)); }

class Quantize : public ::testing::TestWithParam<std::tuple<int, int, Elem>> {
 protected:
  void SetUp() override {
    INKLING_NEEDS_DEVICE();
    std::tie(k_, rotation_, type_) = GetParam();
    rows_ = make_rows(k_);
    if (type_ == Elem::bf16) {
      std::vector<uint16_t> half(rows_.size());
      for (size_t i = 0; i < half.size(); ++i) {
        uint32_t bits;
        std::memcpy(&bits, &rows_[i], 4);
        half[i] = static_cast<uint16_t>(bits >> 16);
        bits &= 0xffff0000u;
        std::memcpy(&rows_[i], &bits, 4);
      }
      device_rows_ = std::make_unique<DeviceArray<uint8_t>>(half.size() * 2);
      cudaMemcpy(device_rows_->data(), half.data(), half.size() * 2, cudaMemcpyHostToDevice);
    } else {
      device_rows_ = std::make_unique<DeviceArray<uint8_t>>(rows_.size() * 4);
      cudaMemcpy(device_rows_->data(), rows_.data(), rows_.size() * 4, cudaMemcpyHostToDevice);
    }
    for (int r = 0; r < kRows; ++r) rotate_row(&rows_[size_t(r) * k_], k_, rotation_);
  }
  int k_ = 0, rotation_ = 0;
  Elem type_ = Elem::f32;
  std::vector<float> rows_;  // rotated
  std::unique_ptr<DeviceArray<uint8_t>> device_rows_;
};

TEST_P(Quantize, Int8EqualsTheCpu) {
  DeviceArray<int8_t> q(rows_.size());
  DeviceArray<float> scale(kRows);
  q.fill_bytes(0x55);
  cuda::quantize_w8(device_rows_->data(), type_, kRows, k_, rotation_, q.data(), scale.data(), nullptr);
  const auto got = q.download();
  const auto got_scale = scale.download();
  std::vector<int8_t> want(k_);
  for (int r = 0; r < kRows; ++r) {
    const float want_scale = quantize_row_i8(&rows_[size_t(r) * k_], k_, want.data());
    EXPECT_TRUE(same_float(got_scale[r], want_scale)) << "row " << r << ": " << got_scale[r] << ", " << want_scale;
    EXPECT_EQ(std::memcmp(&got[size_t(r) * k_], want.data(), k_), 0) << "row " << r;
  }
}

TEST_P(Quantize, Int4EqualsTheCpu) {
  DeviceArray<uint8_t> codes(rows_.size() / 2), group_scale(rows_.size() / 64);
  DeviceArray<float> scale(kRows);
  codes.fill_bytes(0x55);
  group_scale.fill_bytes(0x55);
  cuda::quantize_w4(device_rows_->data(), type_, kRows, k_, rotation_, codes.data(), group_scale.data(), scale.data(),
                    nullptr);
  const auto got = codes.download(), got_groups = group_scale.download();
  const auto got_scale = scale.download();
  std::vector<uint8_t> want(k_ / 2), want_groups(k_ / 64);
  for (int r = 0; r < kRows; ++r) {
    const float want_scale = quantize_row_i4(&rows_[size_t(r) * k_], k_, want.data(), want_groups.data());
    EXPECT_TRUE(same_float(got_scale[r], want_scale)) << "row " << r << ": " << got_scale[r] << ", " << want_scale;
    EXPECT_EQ(std::memcmp(&got[size_t(r) * k_ / 2], want.data(), want.size()), 0) << "row " << r;
    EXPECT_EQ(std::memcmp(&got_groups[size_t(r) * k_ / 64], want_groups.data(), want_groups.size()), 0) << "row " << r;
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, Quantize,
                         ::testing::Values(std::tuple{64, 0, Elem::f32}, std::tuple{64, 16, Elem::bf16},
                                           std::tuple{320, 64, Elem::f32}, std::tuple{448, 0, Elem::bf16},
                                           std::tuple{3072, 256, Elem::f32}, std::tuple{3072, 256, Elem::bf16},
                                           std::tuple{12288, 256, Elem::bf16}, std::tuple{18944, 256, Elem::f32},
                                           std::tuple{3584, 0, Elem::bf16}));

TEST(QuantizeErrors, RefusesRotationsThatDoNotDivide) {
  INKLING_NEEDS_DEVICE();
  EXPECT_ANY_THROW(cuda::quantize_w8(nullptr, Elem::f32, 1, 192, 256, nullptr, nullptr, nullptr));
  EXPECT_ANY_THROW(cuda::quantize_w4(nullptr, Elem::f32, 1, 96, 0, nullptr, nullptr, nullptr, nullptr));
}

}  // namespace
}  // namespace inkling::testing
