// Low-bit matrices: bitsandbytes' own numbers, quality on synthetic rows, and adapters smaller than a step.
#include "formats/low_bit.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "base/threads.h"
#include "formats/float8.h"
#include "formats/int_quant.h"
#include "formats/nf4.h"
#include "helpers.h"
#include "synthetic.h"

namespace inkling::testing {
namespace {

// --- NF4 ----------------------------------------------------------------------------------------------------------

class Nf4 : public ::testing::TestWithParam<const char*> {
 protected:
  const std::unique_ptr<TensorFile> file_ = open_tensor_file(data_path("nf4.safetensors"));
  Tensor part(const std::string& suffix) const {
    const TensorEntry* e = file_->find(std::string(GetParam()) + suffix);
    if (e == nullptr) throw std::runtime_error("no " + suffix);
    return file_->load(*e);
  }
};

TEST_P(Nf4, IsThatOfBitsandbytes) {
  const Tensor values = to_f32(part(".values")), codes = part(".weight"), absmax = part(".weight.absmax");
  std::vector<uint8_t> made(static_cast<size_t>(codes.elements()));
  std::vector<float> scales(static_cast<size_t>(absmax.elements()));
  quantize_nf4(values.span<float>(), made.data(), scales.data());
  EXPECT_TRUE(std::ranges::equal(made, codes.span<uint8_t>()));

  const Nf4Nested nested = nest_nf4(scales);
  const Tensor state = part(".weight.quant_state.bitsandbytes__nf4");
  const auto json = nlohmann::json::parse(state.span<uint8_t>().begin(), state.span<uint8_t>().end());
  EXPECT_NEAR(nested.offset, json["nested_offset"].get<float>(), 1e-7f * nested.offset);  // another order of the sum
  ASSERT_EQ(nested.scale.size(), static_cast<size_t>(part(".weight.nested_absmax").elements()));
  for (size_t i = 0; i < nested.scale.size(); ++i)
    EXPECT_NEAR(nested.scale[i], part(".weight.nested_absmax").data<float>()[i], 1e-6f * nested.offset);
  EXPECT_TRUE(std::ranges::equal(nf4_nested_map(), part(".weight.nested_quant_map").span<float>()));
  EXPECT_TRUE(std::ranges::equal(kNf4, part(".weight.quant_map").span<float>()));
  // Ours are the nearest codes. Theirs come from a coarse table: next to a border they may be one off.
  int different = 0;
  for (size_t b = 0; b < scales.size(); ++b) {
    const int own = nested.codes[b], other = absmax.data<uint8_t>()[b];
    const float value = (scales[b] - nested.offset) / nested.scale[b / kNf4NestedBlock];
    const auto distance = [&](int code) { return std::fabs(nf4_nested_map()[static_cast<size_t>(code)] - value); };
    EXPECT_LE(std::abs(own - other), 1);
    EXPECT_LE(distance(own), distance(other));
    different += own != other;
  }
  EXPECT_LE(different, static_cast<int>(scales.size() / 50));
}

TEST_P(Nf4, GoesBackAndForth) {
  const Tensor codes = part(".weight");
  std::vector<float> scales(static_cast<size_t>(part(".weight.absmax").elements()), 2.f);
  std::vector<float> values(static_cast<size_t>(part(".values").elements()));
  dequantize_nf4(codes.data<uint8_t>(), scales.data(), 0, std::ssize(values), values.data());
  for (size_t i = 0; i < values.size(); ++i) {
    const int code = i % 2 == 0 ? codes.data<uint8_t>()[i / 2] >> 4 : codes.data<uint8_t>()[i / 2] & 15;
    ASSERT_EQ(values[i], 2.f * kNf4[static_cast<size_t>(code)]);
  }
}
INSTANTIATE_TEST_SUITE_P(Matrices, Nf4, ::testing::Values("plain", "tail", "short"));

TEST(Nf4Levels, AreTakenToTheNearestAndOnABorderToTheLower) {
  std::vector<float> values(64, 0.f);
  values[0] = 1.f;
  for (size_t i = 0; i < 15; ++i) {
    const float border = (kNf4[i] + kNf4[i + 1]) / 2.f;
    values[1 + i] = border;
    values[17 + i] = std::nextafter(border, 2.f);
    values[33 + i] = std::nextafter(border, -2.f);
  }
  std::vector<uint8_t> codes(32);
  float absmax = 0;
  quantize_nf4(values, codes.data(), &absmax);
  const auto code = [&](size_t i) { return i % 2 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15; };
  for (size_t i = 0; i < 15; ++i) {
    EXPECT_EQ(code(1 + i), static_cast<int>(i));
    EXPECT_EQ(code(17 + i), static_cast<int>(i + 1));
    EXPECT_EQ(code(33 + i), static_cast<int>(i));
  }
}

// --- float8 -------------------------------------------------------------------------------------------------------

float f8_value(DType type, int code) {
  Tensor t = host_tensor(Shape{1}, type);
  t.raw()[0] = static_cast<std::byte>(code);
  return to_f32(t).data<float>()[0];
}

TEST(Float8, GivesBackEveryCode) {
  for (int code = 0; code < 256; ++code) {
    if ((code & 0x7f) != 0x7f) {
      EXPECT_EQ(to_f8_e4m3(f8_value(DType::f8_e4m3, code)), code);
    }
    for (const DType type : {DType::f8_e4m3, DType::f8_e5m2}) {
      const bool number = std::isfinite(f8_value(type, code));
      for (const float chance : {0.f, 0.5f, 0.9999f})
        if (number) {
          EXPECT_EQ(to_f8_by_chance(type, f8_value(type, code), chance), code) << code;
        }
    }
  }
}

TEST(Float8, RoundsToTheNearestAndToEven) {
  for (int code = 0; code < 0x7e; ++code) {
    const float low = f8_value(DType::f8_e4m3, code), high = f8_value(DType::f8_e4m3, code + 1);
    const float middle = (low + high) / 2;
    EXPECT_EQ(to_f8_e4m3(middle), code % 2 == 0 ? code : code + 1) << code;
    EXPECT_EQ(to_f8_e4m3(std::nextafter(middle, 0.f)), code);
    EXPECT_EQ(to_f8_e4m3(-std::nextafter(middle, 1e9f)), 0x80 | (code + 1));
  }
  EXPECT_EQ(to_f8_e4m3(1e9f), 0x7e);
  EXPECT_EQ(to_f8_e4m3(-1e-9f), 0x80);
}

TEST(Float8, RoundsByChanceInProportion) {
  for (const DType type : {DType::f8_e4m3, DType::f8_e5m2})
    for (const int code : {0, 1, 7, 8, 30, 60, 0x79}) {
      const float low = f8_value(type, code), high = f8_value(type, code + 1);
      for (const float part : {0.25f, 0.5f, 0.75f}) {
        const float value = low + part * (high - low);
        EXPECT_EQ(to_f8_by_chance(type, value, 0.99f - part), code);
        EXPECT_EQ(to_f8_by_chance(type, value, 1.01f - part), code + 1);
        EXPECT_EQ(to_f8_by_chance(type, -value, 1.01f - part), 0x80 | (code + 1));
      }
    }
}

// --- quality ------------------------------------------------------------------------------------------------------

struct Quality {
  LowBit kind;
  int64_t rotation;
  double normal, heavy;  // decibel, at least
};

// Measured by an independent simulation (dB on Gaussian and Student-t5 rows): int8 per row 41.4 / 34.3, int4 in groups
// of 64 scaled by the largest 19.4 / 16.7 and with the best scales 20.5 / 17.8, NF4 20.7 / 19.6. A group's scale is a
// whole number here, which takes 0.1 dB; rotated, every row is Gaussian.
TEST(LowBitQuality, ReachesTheGridsValues) {
  for (const auto& [kind, rotation, normal, heavy] :
       {Quality{LowBit::w8a8, 0, 41.2, 34.0}, Quality{LowBit::w8a8, 256, 41.2, 41.2},
        Quality{LowBit::w4a8, 0, 20.2, 17.4}, Quality{LowBit::w4a8, 256, 20.2, 20.2},
        Quality{LowBit::nf4, 0, 20.6, 19.5}})
    for (const bool tail : {false, true}) {
      const Tensor rows = tail ? student_rows(128, 3072) : normal_rows(128, 3072);
      const LowBitMatrix m = quantize_low_bit(rows, kind, rotation, "rows");
      const double got = decibel(rows, dense_value(rows.shape(), m.value, m.parts));
      std::printf("  %-5s rotation %3d %-9s %.2f dB\n", std::string(name(kind)).c_str(), static_cast<int>(rotation),
                  tail ? "student-5" : "gaussian", got);
      EXPECT_GE(got, tail ? heavy : normal);
    }
}

// --- matrices -----------------------------------------------------------------------------------------------------

class LowBitKinds : public ::testing::TestWithParam<LowBit> {
 protected:
  int64_t rotation() const { return GetParam() == LowBit::nf4 ? 0 : 64; }
};

TEST_P(LowBitKinds, RowsStandForThemselves) {
  const Tensor rows = normal_rows(70, 192);
  const LowBitMatrix whole = quantize_low_bit(rows, GetParam(), rotation(), "rows");
  EXPECT_EQ(whole.value.shape(), code_shape(GetParam(), rows.shape()));
  EXPECT_EQ(whole.value.dtype(), code_type(GetParam()));
  EXPECT_EQ(matrix_bytes(rows.shape(), DType::f32, GetParam()),
            whole.value.bytes() + whole.parts.scale.bytes() +
                (whole.parts.group_scale.defined() ? whole.parts.group_scale.bytes() : 0));
  const Tensor dense = dense_value(rows.shape(), whole.value, whole.parts);
  for (const int64_t begin : {0, 33, 69}) {
    const Tensor some = rows.slice_rows(begin, begin + 1);
    const LowBitMatrix m = quantize_low_bit(some, GetParam(), rotation(), "rows");
    const Tensor back = dense_value(some.shape(), m.value, m.parts);
    EXPECT_TRUE(std::ranges::equal(back.span<float>(), dense.slice_rows(begin, begin + 1).span<float>()));
  }
}

// A change of a twentieth of the values' size is about a third of an int4 step and would be lost by rounding to the
// nearest; its mean over many rows must arrive.
TEST_P(LowBitKinds, SmallChangesArriveInTheMean) {
  constexpr int64_t kRows = 4000, kColumns = 64;
  const Tensor rows = normal_rows(kRows, kColumns);
  const LowBitMatrix m = quantize_low_bit(rows, GetParam(), rotation(), "rows");
  Tensor delta = host_tensor(rows.shape());
  for (int64_t i = 0; i < delta.elements(); ++i) delta.data<float>()[i] = i % kColumns < 32 ? 0.05f : -0.02f;
  const LowBitMatrix changed = add_to_low_bit(m, delta, 7, "rows");
  const Tensor before = dense_value(rows.shape(), m.value, m.parts),
               after = dense_value(rows.shape(), changed.value, changed.parts);
  double left = 0, right = 0;
  for (int64_t i = 0; i < delta.elements(); ++i)
    (i % kColumns < 32 ? left : right) += static_cast<double>(after.data<float>()[i]) - before.data<float>()[i];
  left /= kRows * 32, right /= kRows * 32;
  std::printf("  %-5s +0.0500 becomes %+.4f, -0.0200 becomes %+.4f\n", std::string(name(GetParam())).c_str(), left,
              right);
  // The standard error is 0.0005; codes at the end of their range may not move outwards, which takes a few percent.
  EXPECT_NEAR(left, 0.05, 0.004);
  EXPECT_NEAR(right, -0.02, 0.003);
  // What is added is no worse than what was there: the noise grows by the change's share of a step only.
  EXPECT_GE(decibel(before, after), GetParam() == LowBit::w8a8 ? 25 : 15);
}

TEST_P(LowBitKinds, WhatDoesNotChangeStays) {
  const Tensor rows = normal_rows(8, 128);
  const LowBitMatrix m = quantize_low_bit(rows, GetParam(), rotation(), "rows");
  Tensor delta = host_tensor(rows.shape());
  std::ranges::fill(delta.span<float>(), 0.f);
  delta.data<float>()[3 * 128] = 1.f;
  const LowBitMatrix changed = add_to_low_bit(m, delta, 7, "rows");
  const int64_t row = m.value.bytes() / 8;
  for (int64_t r = 0; r < 8; ++r)
    EXPECT_EQ(std::memcmp(m.value.raw() + r * row, changed.value.raw() + r * row, static_cast<size_t>(row)) == 0,
              r != 3);
  const LowBitMatrix again = add_to_low_bit(m, delta, 7, "rows"), other = add_to_low_bit(m, delta, 8, "rows");
  EXPECT_EQ(std::memcmp(again.value.raw(), changed.value.raw(), static_cast<size_t>(m.value.bytes())), 0);
  if (GetParam() != LowBit::nf4) {  // one element changes; the rotation spreads it
    EXPECT_NE(std::memcmp(other.value.raw(), changed.value.raw(), static_cast<size_t>(m.value.bytes())), 0);
  }
}

TEST_P(LowBitKinds, LargeChangesGetScalesOfTheirOwn) {
  const Tensor rows = normal_rows(64, 256);
  const LowBitMatrix m = quantize_low_bit(rows, GetParam(), rotation(), "rows");
  const Tensor delta = normal_rows(64, 256, 99);
  Tensor large = host_tensor(delta.shape()), sum = host_tensor(delta.shape());
  const Tensor base = dense_value(rows.shape(), m.value, m.parts);
  for (int64_t i = 0; i < sum.elements(); ++i) {
    large.data<float>()[i] = 20 * delta.data<float>()[i];
    sum.data<float>()[i] = base.data<float>()[i] + large.data<float>()[i];
  }
  const LowBitMatrix changed = add_to_low_bit(m, large, 7, "rows");
  EXPECT_GE(decibel(sum, dense_value(rows.shape(), changed.value, changed.parts)),
            GetParam() == LowBit::w8a8 ? 35 : 16);
}

TEST_P(LowBitKinds, RefuseWhatIsNoNumber) {
  Tensor rows = normal_rows(2, 64);
  const LowBitMatrix m = quantize_low_bit(rows, GetParam(), 0, "rows");
  rows.data<float>()[70] = INFINITY;
  expect_error<ModelError>([&] { quantize_low_bit(rows, GetParam(), 0, "some weight"); }, "some weight: holds inf");
  expect_error<ModelError>([&] { add_to_low_bit(m, rows, 1, "some weight"); }, "some weight: holds inf");
}

INSTANTIATE_TEST_SUITE_P(Kinds, LowBitKinds, ::testing::Values(LowBit::w8a8, LowBit::w4a8, LowBit::nf4),
                         [](const auto& info) { return std::string(name(info.param)); });

TEST(LowBit, KnowsWhatFits) {
  EXPECT_TRUE(fits(LowBit::w8a8, {3, 7}));
  EXPECT_TRUE(fits(LowBit::w4a8, {3, 64}));
  EXPECT_FALSE(fits(LowBit::w4a8, {3, 96}));
  EXPECT_FALSE(fits(LowBit::nf4, {3, 96}));
  EXPECT_FALSE(fits(LowBit::w8a8, {3, 7, 1}));
  EXPECT_FALSE(fits(LowBit::none, {3, 64}));
  expect_error<RuntimeError>([] { quantize_low_bit(host_tensor(Shape{2, 96}), LowBit::w4a8, 0, "x"); }, "w4a8");
}

}  // namespace
}  // namespace inkling::testing
