// Weights of several tensors (bitsandbytes, ComfyUI) against an independent implementation of the formulas, and files
// whose parts do not fit together.
#include "models/quantized_layouts.h"

#include <gtest/gtest.h>

#include <cstring>

#include "models/tiny.h"
#include "support/goldens.h"

namespace inkling::testing {
namespace {

TEST(QuantizedLayouts, MatchTheFormulas) {
  for (const std::string& name : golden_cases({"quantized_tensors"})) {
    const Golden golden(name);
    const auto file = open_tensor_file(golden.path("file"));
    const QuantizedLayouts layouts(*file, "tensors");
    size_t weights = 0;
    for (const TensorEntry& e : file->entries()) {
      if (layouts.is_auxiliary(e) || e.name.ends_with(".weight_format")) continue;
      ++weights;
      ASSERT_NE(layouts.find(e), nullptr) << e.name;
      const Tensor got = layouts.load(e), expected = golden.load(e.name);
      ASSERT_EQ(got.shape(), expected.shape()) << e.name;
      ASSERT_EQ(layouts.shape(e), expected.shape()) << e.name;
      ASSERT_EQ(layouts.dtype(e), DType::f32);
      EXPECT_LE(relative_error(got, expected), 3e-7f) << e.name;  // a rotation adds 256 products
    }
    EXPECT_EQ(weights, golden.trace->entries().size());
  }
}

template <typename T>
Tensor filled(const Shape& shape, DType dtype, T value) {
  Tensor t = host_tensor(shape, dtype);
  for (int64_t i = 0; i < t.elements(); ++i)
    std::memcpy(t.raw() + i * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
  return t;
}
Tensor numbers(const Shape& shape, float value = 1.f) { return filled(shape, DType::f32, value); }
Tensor codes(const Shape& shape) { return filled<uint8_t>(shape, DType::u8, 0x12); }
Tensor text(const std::string& s) {
  Tensor t = host_tensor(Shape{static_cast<int64_t>(s.size())}, DType::u8);
  std::memcpy(t.raw(), s.data(), s.size());
  return t;
}

class BadLayouts : public ::testing::Test {
 protected:
  const std::string state_ = "a.weight.quant_state.bitsandbytes__nf4";
  TempDir dir_;
  // 4-bit, doubly quantized: 4 x 32 values in two blocks.
  TensorMap four_bit_{{"a.weight", codes(Shape{64, 1})},
                      {"a.weight.absmax", codes(Shape{2})},
                      {"a.weight.quant_map", numbers(Shape{16})},
                      {"a.weight.nested_absmax", numbers(Shape{1})},
                      {"a.weight.nested_quant_map", numbers(Shape{256})},
                      {state_, text(R"({"shape":[4,32],"blocksize":64,"nested_blocksize":256,"nested_offset":0.5})")}};
  // int8 with a scale for each of 2 rows, rotated.
  TensorMap int8_{{"a.weight", filled<int8_t>(Shape{2, 64}, DType::i8, 3)},
                  {"a.weight_scale", numbers(Shape{2, 1})},
                  {"a.comfy_quant", text(R"({"format":"int8_tensorwise","convrot":true,"convrot_groupsize":64})")}};

  Tensor load(const TensorMap& tensors) {
    save(dir_ / "model.safetensors", tensors);
    const auto file = open_tensor_file(dir_ / "model.safetensors");
    return QuantizedLayouts(*file, "model").load(*file->find("a.weight"));
  }
  // The error when `name` is replaced by `tensor`; undefined: taken out.
  std::string error(TensorMap tensors, const std::string& name, const Tensor& tensor) {
    if (tensor.defined()) tensors[name] = tensor;
    if (!tensor.defined()) tensors.erase(name);
    return model_error([&] { load(tensors); });
  }
};

TEST_F(BadLayouts, TheGoodOnesAreRead) {
  EXPECT_EQ(load(four_bit_).shape(), (Shape{4, 32}));
  EXPECT_EQ(load(four_bit_).data<float>()[0], 1.5f);
  EXPECT_EQ(load(int8_).shape(), (Shape{2, 64}));
}

TEST_F(BadLayouts, FourBit) {
  const auto says_that = [&](const std::string& name, const Tensor& tensor, const std::string& message) {
    EXPECT_TRUE(says(error(four_bit_, name, tensor), message)) << name;
  };
  says_that("a.weight", codes(Shape{63, 1}), "a.weight is u8 [63, 1], expected 64 values of type u8");
  says_that("a.weight", Tensor(), "a.weight is missing");
  says_that("a.weight.absmax", codes(Shape{3}), "a.weight.absmax is u8 [3], expected 2 values of type u8");
  says_that("a.weight.absmax", numbers(Shape{2}), "expected 2 values of type u8");
  says_that("a.weight.nested_absmax", Tensor(), "a.weight.absmax is u8 [2], expected 2 values of type f32");
  says_that("a.weight.nested_quant_map", numbers(Shape{255}), "expected 256 values of type f32");
  says_that("a.weight.quant_map", numbers(Shape{15}), "a.weight.quant_map is f32 [15], expected 16 values of type f32");
  says_that(state_, numbers(Shape{3}), "has type f32, expected u8");
  says_that(state_, text("{"), "is not a JSON object");
  says_that(state_, text("{}"), "shape, blocksize");
  says_that(state_, text(R"({"shape":[4,-1],"blocksize":64})"), "shape");
  says_that(state_, text(R"({"shape":[4,32],"blocksize":0})"), "blocksize");
  says_that(state_, text(R"({"shape":[4000000000,4000000000,4000000000],"blocksize":64})"), "2^40");
  says_that(state_, text(R"({"shape":[4,32],"blocksize":64})"), "nested_blocksize");
}

TEST_F(BadLayouts, Scaled) {
  const auto says_that = [&](const std::string& name, const Tensor& tensor, const std::string& message) {
    EXPECT_TRUE(says(error(int8_, name, tensor), message)) << name;
  };
  says_that("a.weight_scale", numbers(Shape{3}), "a.weight_scale is f32 [3], expected one number, or 2 of them");
  says_that("a.weight_scale", codes(Shape{2}), "a.weight_scale is u8");
  says_that("a.weight_scale", numbers(Shape{1, 2}), "expected one number, or 2 of them");
  says_that("a.weight_scale", Tensor(), "a.weight_scale is missing");
  says_that("a.weight", numbers(Shape{2, 64}), "a.weight has type f32, expected float8 or i8");
  says_that("a.weight", codes(Shape{2, 64}), "NVFP4");
  says_that("a.weight", filled<int8_t>(Shape{2, 63}, DType::i8, 1), "expected a multiple of 64 columns");
  says_that("a.scale_weight", numbers(Shape{1}), "two scales");
  says_that("a.comfy_quant", text(R"({"format":"float8_e4m3fn"})"), "has type i8, expected f8_e4m3");
  says_that("a.comfy_quant", text(R"({"format":"mxfp9"})"), "ComfyUI format 'mxfp9'");
  says_that("a.comfy_quant", text(R"({"format":"int8_tensorwise","convrot":true,"convrot_groupsize":32})"),
            "power of 4");
  says_that("a.comfy_quant", text(R"({"format":"int8_tensorwise","convrot":1})"), "convrot is 1");
  EXPECT_TRUE(says(error({{"a.weight", codes(Shape{2, 2})}, {"a.SCB", numbers(Shape{2})}}, "x", numbers(Shape{1})),
                   "a.weight has type u8, expected i8 beside a.SCB"));
}

}  // namespace
}  // namespace inkling::testing
