#include "formats/block_quant.h"

#include <cmath>
#include <random>

#include "helpers.h"

namespace inkling::testing {
namespace {

bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() && std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0;
}

class DequantizeExactly : public ::testing::TestWithParam<DType> {};

TEST_P(DequantizeExactly, AsTheGgufPackage) {
  const auto file = open_tensor_file(data_path("quant.gguf"));
  const std::string type(name(GetParam()));
  ASSERT_NE(file->find(type), nullptr);
  EXPECT_TRUE(can_dequantize(GetParam()));
  EXPECT_TRUE(same_bytes(dequantize(file->load(*file->find(type))), file->load(*file->find(type + ".expected"))));
}
INSTANTIATE_TEST_SUITE_P(Formats, DequantizeExactly,
                         ::testing::Values(DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1, DType::q8_0, DType::q2_k,
                                           DType::q3_k, DType::q4_k, DType::q5_k, DType::q6_k, DType::iq4_nl,
                                           DType::iq4_xs),
                         [](const auto& info) { return std::string(name(info.param)); });

class QuantizeExactly : public ::testing::TestWithParam<DType> {};

TEST_P(QuantizeExactly, AsTheGgufPackage) {
  const auto file = open_tensor_file(data_path("quant.gguf"));
  const Tensor input = file->load(*file->find("input"));
  Tensor made = host_tensor(input.shape(), GetParam());
  quantize_row(GetParam(), input.data<float>(), made.raw(), input.elements());
  EXPECT_TRUE(same_bytes(made, file->load(*file->find("to_" + std::string(name(GetParam()))))));
}
INSTANTIATE_TEST_SUITE_P(Formats, QuantizeExactly, ::testing::Values(DType::q8_0, DType::q4_0, DType::bf16, DType::f16),
                         [](const auto& info) { return std::string(name(info.param)); });

// Root mean square of the error over values spread as weights are, in units of their range.
TEST(BlockQuant, RoundTripErrorStaysBelowTheLimitsOfGgml) {
  std::mt19937 rng(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(32 * 4096), back(values.size());
  for (float& v : values) v = uniform(rng);
  for (const auto& [type, limit] : {std::pair{DType::q8_0, 0.0025}, std::pair{DType::q4_0, 0.04},
                                    std::pair{DType::bf16, 0.0015}, std::pair{DType::f16, 0.0002}}) {
    std::vector<std::byte> packed(static_cast<size_t>(row_bytes(type, static_cast<int64_t>(values.size()))));
    quantize_row(type, values.data(), packed.data(), static_cast<int64_t>(values.size()));
    dequantize_row(type, packed.data(), back.data(), static_cast<int64_t>(values.size()));
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) sum += (values[i] - back[i]) * (values[i] - back[i]);
    EXPECT_LT(std::sqrt(sum / static_cast<double>(values.size())), limit) << name(type);
  }
}

TEST(BlockQuant, NonFiniteInputIsNoUndefinedBehaviour) {
  std::vector<float> values(32, 1.f);
  std::vector<std::byte> packed(34);
  for (const float bad : {INFINITY, -INFINITY, NAN, 1e-45f, 3e38f}) {
    values[3] = bad;
    quantize_row(DType::q8_0, values.data(), packed.data(), 32);
    quantize_row(DType::q4_0, values.data(), packed.data(), 32);
  }
}

TEST(BlockQuant, ReadsBlocksAtAnyAddress) {
  std::vector<std::byte> packed(145);
  std::vector<float> values(256, -1.f);
  dequantize_row(DType::q4_k, packed.data() + 1, values.data(), 256);
  EXPECT_EQ(values[255], 0.f);
}

TEST(BlockQuant, PartialBlocksAndUnknownTypesAreErrors) {
  std::vector<std::byte> packed(34);
  std::vector<float> values(32);
  expect_error<ModelError>([&] { dequantize_row(DType::q8_0, packed.data(), values.data(), 31); }, "whole number");
  expect_error<ModelError>([&] { dequantize_row(DType::i32, packed.data(), values.data(), 4); }, "not supported");
  expect_error<ModelError>(
      [&] {
        quantize_row(DType::q4_k, values.data(), packed.data(), 0);
        quantize_row(DType::i8, values.data(), packed.data(), 4);
      },
      "cannot be written");
}

}  // namespace
}  // namespace inkling::testing
