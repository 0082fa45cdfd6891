// Scale search and error feedback: never worse than rounding to the nearest by their own measure, and much better where
// inputs are alike; which matrices get more bits; what a file of prompts may hold.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>

#include "base/error.h"
#include "compress/quantize/calibrate.h"
#include "compress/quantize/error_feedback.h"
#include "compress/quantize/scale_search.h"
#include "formats/int_quant.h"
#include "formats/low_bit.h"
#include "formats/nf4.h"

namespace inkling {
namespace {

// Rows with a few large values, as no rotation leaves them: hard for scales.
Tensor heavy_tailed(const Shape& shape, uint32_t seed) {
  std::mt19937 generator(seed);
  std::student_t_distribution<float> t(4.f);
  Tensor result = host_tensor(shape);
  for (float& v : result.span<float>()) v = 0.03f * t(generator);
  return result;
}

// Second moments of inputs of which `rank` directions explain nearly all.
std::vector<double> moments(int64_t columns, int64_t rank, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  std::vector<double> basis(static_cast<size_t>(rank * columns)), result(static_cast<size_t>(columns * columns));
  for (double& v : basis) v = normal(generator);
  for (int64_t i = 0; i < columns; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      for (int64_t r = 0; r < rank; ++r) result[i * columns + j] += basis[r * columns + i] * basis[r * columns + j];
      if (i == j) result[i * columns + j] += 0.5;
    }
  return result;
}

double squared_error(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::pow(double{a[i]} - b[i], 2);
  return sum;
}

TEST(ScaleSearch, Nf4IsNeverWorseThanTheLargestMagnitude) {
  const Tensor rows = heavy_tailed(Shape{16, 256}, 5);
  const auto values = std::as_const(rows).span<float>();
  const auto count = static_cast<int64_t>(values.size());
  std::vector<uint8_t> codes(values.size() / 2);
  std::vector<float> absmax(values.size() / kNf4Block), back(values.size());
  const auto errors = [&] {
    dequantize_nf4(codes.data(), absmax.data(), 0, count, back.data());
    std::vector<double> result;
    for (size_t b = 0; b < values.size(); b += kNf4Block)
      result.push_back(squared_error(values.subspan(b, kNf4Block), {back.data() + b, kNf4Block}));
    return result;
  };
  quantize_nf4(values, codes.data(), absmax.data());
  const auto nearest = errors();
  search_nf4(values, codes.data(), absmax.data());
  const auto searched = errors();
  double before = 0, after = 0;
  for (size_t i = 0; i < nearest.size(); ++i) {
    EXPECT_LE(searched[i], nearest[i]) << "block " << i;
    before += nearest[i], after += searched[i];
  }
  std::printf("  nf4: %.3f of the error\n", after / before);
  EXPECT_LE(after, 0.95 * before);
}

TEST(ErrorFeedback, FactorsAndSolves) {
  constexpr int64_t kColumns = 96;
  const std::vector<double> h = moments(kColumns, 10, 1);
  const InputFactor factor(h, kColumns, 0);
  double largest = 0;
  for (int64_t i = 0; i < kColumns; ++i)
    for (int64_t j = 0; j < kColumns; ++j) {
      double sum = 0;  // M D M^T
      for (int64_t k = std::max(i, j); k < kColumns; ++k)
        sum += double{factor.m_row(i)[k]} * factor.d()[k] * factor.m_row(j)[k];
      largest = std::max(largest, std::fabs(sum - h[i * kColumns + j]));
    }
  EXPECT_LE(largest, 1e-4);
  std::vector<double> y(kColumns), b(kColumns, 0.);
  for (int64_t i = 0; i < kColumns; ++i) y[i] = std::sin(static_cast<double>(i));
  for (int64_t i = 0; i < kColumns; ++i)
    for (int64_t j = 0; j < kColumns; ++j) b[j] += y[i] * h[i * kColumns + j];
  factor.solve(b);
  for (int64_t i = 0; i < kColumns; ++i) EXPECT_NEAR(b[i], y[i], 1e-3) << i;
}

// Inputs y that are a linear map of x: w fitted to x is w times that map.
TEST(ErrorFeedback, FitsToTheInputsThatThereAre) {
  constexpr int64_t kColumns = 64;
  const std::vector<double> h = moments(kColumns, 64, 21);
  const Tensor w = heavy_tailed(Shape{20, kColumns}, 22), map = heavy_tailed(Shape{kColumns, kColumns}, 23);
  const float *m = map.data<float>(), *v = w.data<float>();
  std::vector<double> missing(h.size());  // y = x + map x: E[(y - x) x^T] = map H
  for (int64_t i = 0; i < kColumns; ++i)
    for (int64_t k = 0; k < kColumns; ++k)
      for (int64_t j = 0; j < kColumns; ++j)
        missing[i * kColumns + j] += double{m[i * kColumns + k]} * h[k * kColumns + j];
  const Tensor fitted = fit_to_inputs(w, missing, InputFactor(h, kColumns, 0));
  for (int64_t r = 0; r < w.dim(0); ++r)
    for (int64_t j = 0; j < kColumns; ++j) {
      double expected = v[r * kColumns + j];
      for (int64_t i = 0; i < kColumns; ++i) expected += double{v[r * kColumns + i]} * m[i * kColumns + j];
      EXPECT_NEAR(fitted.data<float>()[r * kColumns + j], expected, 1e-3);
    }
}

TEST(ErrorFeedback, RefusesMomentsThatAreNone) {
  std::vector<double> h(64 * 64, 0.);
  for (int64_t i = 0; i < 64; ++i) h[i * 65] = i == 40 ? -1. : 1.;
  EXPECT_THROW(InputFactor(h, 64, 0.01), NumericError);
}

TEST(ErrorFeedback, IsNeverWorseThanTheNearestAndMuchBetterForAlikeInputs) {
  constexpr int64_t kColumns = 256;
  const Tensor w = heavy_tailed(Shape{40, kColumns}, 7);
  struct Case {
    int64_t rank;
    LowBit kind;
    double most;  // of the error that remains (measured: 0.067, 0.712, 0.093, 0.768)
  };
  for (const auto& [rank, kind, most] : {Case{16, LowBit::w4a8, 0.1}, Case{512, LowBit::w4a8, 0.8},
                                         Case{16, LowBit::w8a8, 0.15}, Case{512, LowBit::w8a8, 0.85}}) {
    const InputFactor factor(moments(kColumns, rank, 11), kColumns, 0.01);
    const LowBitMatrix nearest = quantize_low_bit(w, kind, 0, "w"), fed = round_with_feedback(w, factor, kind, "w");
    const Tensor a = dense_value(w.shape(), nearest.value, nearest.parts),
                 b = dense_value(w.shape(), fed.value, fed.parts);
    for (int64_t r = 0; r < w.dim(0); ++r)
      EXPECT_LE(output_error(w.slice_rows(r, r + 1), b.slice_rows(r, r + 1), factor),
                output_error(w.slice_rows(r, r + 1), a.slice_rows(r, r + 1), factor) * (1 + 1e-5))
          << "row " << r;
    const double left = output_error(w, b, factor) / output_error(w, a, factor);
    std::printf("  %s, %d directions: %.3f of the error\n", std::string(name(kind)).c_str(), static_cast<int>(rank),
                left);
    EXPECT_LE(left, most);
  }
}

TEST(ErrorFeedback, KeepsRowsOfZeros) {
  Tensor w = heavy_tailed(Shape{3, 128}, 9);
  std::fill_n(w.data<float>() + 128, 128, 0.f);
  const LowBitMatrix m = round_with_feedback(w, InputFactor(moments(128, 4, 2), 128, 0.01), LowBit::w4a8, "w");
  const Tensor back = dense_value(w.shape(), m.value, m.parts);
  for (int64_t c = 0; c < 128; ++c) EXPECT_EQ(std::as_const(back).data<float>()[128 + c], 0.f);
}

TEST(SpendBits, BuysWhatGainsMostPerByteWithinTheBudget) {
  const Shape small{64, 64}, large{256, 64};
  const std::vector<MatrixCost> costs{{"small", small, 1.}, {"large", large, 2.}, {"idle", small, 0.01}};
  std::map<std::string, LowBit> forms;
  spend_bits(costs, 4.0, forms);
  for (const auto& [matrix, form] : forms) EXPECT_EQ(form, LowBit::w4a8) << matrix;
  spend_bits(costs, 5.5, forms);  // small and idle together are a third; large alone would be too much
  EXPECT_EQ(forms.at("small"), LowBit::w8a8);
  EXPECT_EQ(forms.at("large"), LowBit::w4a8);
  spend_bits(costs, 9, forms);
  for (const auto& [matrix, form] : forms) EXPECT_EQ(form, LowBit::w8a8) << matrix;
}

TEST(CalibrationPrompts, ReadsLinesAndJsonLines) {
  namespace fs = std::filesystem;
  const fs::path path = fs::temp_directory_path() / fmt::format("inkling-prompts-{}.txt", ::getpid());
  const auto read = [&](const std::string& text) {
    std::ofstream(path) << text;
    return read_calibration_prompts(path);
  };
  const auto prompts = read("a red fox\r\n\n{\"prompt\": \"蓝色的小象\", \"seed\": 77}\n");
  ASSERT_EQ(prompts.size(), 2u);
  EXPECT_EQ(prompts[0].text, "a red fox");
  EXPECT_EQ(prompts[1].text, "蓝色的小象");
  EXPECT_EQ(prompts[1].seed, 77);
  EXPECT_THROW(read("\n\n"), ArgumentError);
  EXPECT_THROW(read("{\"text\": \"x\"}\n"), ArgumentError);
  EXPECT_THROW(read("{broken\n"), ArgumentError);
  fs::remove(path);
  EXPECT_THROW(read_calibration_prompts(path), ArgumentError);
}

}  // namespace
}  // namespace inkling
