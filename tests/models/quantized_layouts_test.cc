// Weights of several tensors (bitsandbytes, ComfyUI) against an independent implementation of the formulas, and files
// whose parts do not fit together.
#include "models/quantized_layouts.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "base/error.h"
#include "formats/float8.h"
#include "formats/low_bit.h"
#include "formats/nf4.h"
#include "models/stored_low_bit.h"
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

// Files that comfy-kitchen made, and the values that it obtains from them (tools/parity/make_low_bit.py).
TEST(QuantizedLayouts, MatchComfyKitchen) {
  const std::filesystem::path data = std::filesystem::path(INKLING_SOURCE_DIR) / "tests/models/data";
  const auto file = open_tensor_file(data / "comfy.safetensors"),
             values = open_tensor_file(data / "comfy_values.safetensors");
  const QuantizedLayouts layouts(*file, "comfy");
  EXPECT_EQ(values->entries().size(), 6u);
  for (const TensorEntry& e : values->entries()) {
    const TensorEntry* stored = file->find(e.name);
    ASSERT_NE(stored, nullptr) << e.name;
    EXPECT_EQ(layouts.shape(*stored), e.shape);
    EXPECT_LE(relative_error(layouts.load(*stored), values->load(e)), 1e-6f) << e.name;
  }
  for (const TensorEntry& e : file->entries())
    EXPECT_EQ(layouts.is_auxiliary(e), !e.name.ends_with(".weight")) << e.name;
  const auto kind = [&](const std::string& name) { return layouts.find(*file->find(name + ".weight"))->low_bit; };
  EXPECT_EQ(kind("int8"), LowBit::w8a8);
  for (const char* name : {"default", "fitted", "f32_scales", "wide"}) EXPECT_EQ(kind(name), LowBit::none) << name;
  // Codes that are whole numbers, but scales that are not: seen only when they are read.
  EXPECT_EQ(kind("linear"), LowBit::w4a8);
  EXPECT_FALSE(layouts.load_low_bit(*file->find("linear.weight")).has_value());
}

TEST(QuantizedLayouts, LowBitMatricesComeBackAsTheyWere) {
  const TempDir dir;
  const Tensor rows = random_tensor(Shape{70, 192}, 3);
  for (const LowBit kind : {LowBit::w8a8, LowBit::w4a8, LowBit::nf4}) {
    const LowBitMatrix made = quantize_low_bit(rows, kind, kind == LowBit::nf4 ? 0 : 64, "x");
    save(dir / "model.safetensors", stored_low_bit("a", rows.shape(), made));
    const auto file = open_tensor_file(dir / "model.safetensors");
    const QuantizedLayouts layouts(*file, "model");
    const TensorEntry& e = *file->find("a.weight");
    const auto read = layouts.load_low_bit(e);
    ASSERT_TRUE(read.has_value()) << name(kind);
    EXPECT_EQ(read->parts.kind, kind);
    EXPECT_EQ(read->parts.rotation, made.parts.rotation);
    EXPECT_EQ(read->value.shape(), made.value.shape());
    EXPECT_EQ(read->value.dtype(), made.value.dtype());
    const auto same = [](const Tensor& a, const Tensor& b) {
      return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0;
    };
    EXPECT_TRUE(same(read->value, made.value));
    EXPECT_EQ(read->value.storage(), file->load(e).storage()) << "the codes were copied";
    if (kind == LowBit::w4a8) {
      EXPECT_TRUE(same(read->parts.group_scale, made.parts.group_scale));
    }
    if (kind == LowBit::nf4) {
      EXPECT_LE(relative_error(read->parts.scale, made.parts.scale), 0.02f);  // rounded to 8 bits
    } else {
      EXPECT_TRUE(same(read->parts.scale, made.parts.scale));
    }
    // The same numbers whichever way they are asked for.
    const Tensor dense = dense_value(rows.shape(), read->value, read->parts), all = layouts.load(e);
    EXPECT_TRUE(same(dense, all)) << name(kind);
    for (const auto& [begin, end] : {std::pair{0, 70}, std::pair{0, 1}, std::pair{33, 41}, std::pair{70, 70}})
      EXPECT_TRUE(same(layouts.load_rows(e, begin, end), all.slice_rows(begin, end))) << name(kind);
  }
}

TEST(QuantizedLayouts, RowsAreThoseOfTheWhole) {
  for (const std::string& name : golden_cases({"quantized_tensors"})) {
    const Golden golden(name);
    const auto file = open_tensor_file(golden.path("file"));
    const QuantizedLayouts layouts(*file, "tensors");
    for (const TensorEntry& e : file->entries()) {
      if (layouts.find(e) == nullptr) continue;
      const Tensor all = layouts.load(e);
      for (int64_t r = 0; r < all.dim(0); ++r) {  // blocks of 4-bit codes run over rows, odd ones too
        const Tensor row = layouts.load_rows(e, r, r + 1), expected = all.slice_rows(r, r + 1);
        EXPECT_EQ(std::memcmp(row.raw(), expected.raw(), static_cast<size_t>(row.bytes())), 0) << e.name;
      }
    }
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

  // 4-bit codes in groups of 16, two rows of 256.
  TensorMap grouped_{{"a.weight", filled<int8_t>(Shape{2, 128}, DType::i8, 0x19)},
                     {"a.weight_s_rel", filled<uint8_t>(Shape{2, 16}, DType::f8_e4m3, to_f8_e4m3(2.f))},
                     {"a.weight_s_channel", numbers(Shape{2}, 0.5f)},
                     {"a.weight_codebook", numbers(Shape{16}, 3.f)},
                     {"a.comfy_quant", text(R"({"format":"asym_w4a8_int8"})")}};

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
  EXPECT_EQ(load(grouped_).shape(), (Shape{2, 256}));
  EXPECT_EQ(load(grouped_).data<float>()[0], 3 * 2 * 0.5f);  // R takes a constant row to itself
  grouped_.erase("a.comfy_quant");                           // the tensors alone are enough
  EXPECT_EQ(load(grouped_).data<float>()[0], 3.f);
  grouped_.erase("a.weight_codebook");  // codes 9 and 1 are 1 and -7
  EXPECT_EQ(load(grouped_).shape(), (Shape{2, 256}));
}

TEST_F(BadLayouts, Grouped) {
  const auto says_that = [&](const std::string& name, const Tensor& tensor, const std::string& message) {
    EXPECT_TRUE(says(error(grouped_, name, tensor), message)) << name;
  };
  says_that("a.weight", filled<int8_t>(Shape{256}, DType::i8, 1), "expected a matrix of packed 4-bit codes");
  says_that("a.weight", numbers(Shape{2, 128}), "a.weight is f32 [2, 128], expected a matrix of packed 4-bit codes");
  says_that("a.weight", filled<int8_t>(Shape{2, 0}, DType::i8, 1), "expected a matrix of packed 4-bit codes");
  says_that("a.weight", filled<int8_t>(Shape{2, 96}, DType::i8, 1), "expected a multiple of 256 columns");
  says_that("a.weight", Tensor(), "a.weight is missing");
  says_that("a.weight_s_rel", Tensor(), "a.weight_s_rel is missing");
  says_that("a.weight_s_rel", numbers(Shape{32}), "expected f8_e4m3 or f32 [2, a part of 256]");
  says_that("a.weight_s_rel", numbers(Shape{3, 16}), "a.weight_s_rel is f32 [3, 16]");
  says_that("a.weight_s_rel", numbers(Shape{2, 0}), "a.weight_s_rel is f32 [2, 0]");
  says_that("a.weight_s_rel", numbers(Shape{2, 15}), "a part of 256");
  says_that("a.weight_s_rel", codes(Shape{2, 16}), "a.weight_s_rel is u8");
  says_that("a.weight_s_channel", numbers(Shape{3}), "a.weight_s_channel is f32 [3], expected 2 values of type f32");
  says_that("a.weight_s_channel", Tensor(), "a.weight_s_channel is missing");
  says_that("a.weight_codebook", numbers(Shape{15}), "a.weight_codebook is f32 [15], expected 16 values");
  says_that("a.weight_correction", numbers(Shape{16, 2}), "zero points");
  says_that("a.weight_scale", numbers(Shape{2}), "two scales");
  says_that("a.comfy_quant", text(R"({"format":"asym_w4a8_int8","group_size":32})"), "16 by the shape of weight_s_rel");
  says_that("a.comfy_quant", text(R"({"format":"asym_w4a8_int8","group_size":-1})"), "group_size");
  says_that("a.comfy_quant", text(R"({"format":"asym_w4a8_int8","convrot_groupsize":48})"), "power of 4");
  says_that("a.comfy_quant", text(R"({"format":"asym_w4a8_int8","convrot_groupsize":1024})"), "multiple of 1024");
  says_that("a.comfy_quant", text(R"({"format":"int8_tensorwise"})"), "a.weight_scale is missing");
  EXPECT_TRUE(says(error(int8_, "a.comfy_quant", text(R"({"format":"asym_w4a8_int8"})")), "a.weight_s_rel is missing"));
}

// Files cut anywhere, and files with any one byte of the header changed, are read or refused.
TEST_F(BadLayouts, DamagedFilesAreReadOrRefused) {
  for (const TensorMap* tensors : {&four_bit_, &int8_, &grouped_}) {
    save(dir_ / "whole.safetensors", *tensors);
    std::ifstream in(dir_ / "whole.safetensors", std::ios::binary);
    const std::string whole(std::istreambuf_iterator<char>(in), {});
    const auto attempt = [](const std::string& bytes) {
      try {
        const auto file = parse_safetensors(std::as_bytes(std::span(bytes)), "file");
        const QuantizedLayouts layouts(*file, "file");
        for (const TensorEntry& e : file->entries()) layouts.load(e), layouts.load_low_bit(e);
      } catch (const Error&) {
      }
    };
    for (size_t length = 0; length < whole.size(); length += 3) attempt(whole.substr(0, length));
    for (size_t i = 8; i < whole.size(); ++i)
      for (const int mask : {1, 2, 4, 8, 16, 64, 255}) {
        std::string damaged = whole;
        damaged[i] = static_cast<char>(damaged[i] ^ mask);
        attempt(damaged);
      }
  }
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
