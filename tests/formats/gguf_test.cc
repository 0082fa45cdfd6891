#include <chrono>

#include "gguf_bytes.h"

namespace inkling::testing {
namespace {

constexpr uint32_t kF32 = 0, kQ8 = 8, kI8 = 24, kI64 = 27;                             // tensor types
constexpr uint32_t kU32 = 4, kI32 = 5, kBool = 7, kString = 8, kArray = 9, kU64 = 10;  // value types

// The tensor "a". The bytes must outlive it.
Tensor only_tensor(const Bytes& bytes) {
  const auto file = parse_gguf(bytes, "file");
  return file->load(*file->find("a"));
}

void expect_refused(const GgufBytes& file, const std::string& part) {
  const Bytes bytes = file.bytes();
  reset_peak_memory();
  const long before = peak_memory();
  const auto begin = std::chrono::steady_clock::now();
  expect_error<ModelError>([&] { parse_gguf(bytes, "file"); }, part);
  EXPECT_LT(peak_memory() - before, 16 << 10);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
}

TEST(Gguf, ReadsWhatThePythonPackageWrites) {
  const auto file = open_tensor_file(data_path("quant.gguf"));
  EXPECT_EQ(file->metadata().at("general.architecture"), "qwen_image");
  EXPECT_EQ(file->metadata().at("general.file_type"), "7");
  EXPECT_EQ(file->metadata().at("test.float"), "0.5");
  EXPECT_EQ(file->metadata().at("test.bool"), "true");
  EXPECT_EQ(file->metadata().at("test.string"), "小猫");
  EXPECT_EQ(file->find("q4_k")->dtype, DType::q4_k);
  EXPECT_EQ(file->find("q4_k")->shape, (Shape{4, 256}));
  EXPECT_EQ(file->find("input")->shape, (Shape{8, 64}));
  touch_all(*file);
}

TEST(Gguf, DimensionsComeOutInPyTorchOrder) {
  const auto file = parse_gguf(GgufBytes(1, 0).tensor("a", {2, 3, 5, 7}, kI8, 0).pad().zeros(210).bytes(), "file");
  EXPECT_EQ(file->find("a")->shape, (Shape{7, 5, 3, 2}));
}

TEST(Gguf, AcceptsTheEdgesOfTheFormat) {
  EXPECT_EQ(parse_gguf(GgufBytes(0, 0).bytes(), "file")->entries().size(), 0u);
  EXPECT_EQ(parse_gguf(GgufBytes(0, 0, 2).bytes(), "file")->entries().size(), 0u);
  const Bytes empty = GgufBytes(1, 0).tensor("a", {0}, kF32, 0).pad().bytes();
  EXPECT_EQ(only_tensor(empty).elements(), 0);
  const Bytes scalar = GgufBytes(1, 0).tensor("a", {}, kF32, 0).pad().zeros(4).bytes();
  EXPECT_EQ(only_tensor(scalar).shape().rank(), 0);
  const Bytes packed = GgufBytes(2, 1)
                           .key("general.alignment", kU32)
                           .number(1u)
                           .tensor("b", {3}, kI8, 0)
                           .tensor("a", {1}, kF32, 3)
                           .zeros(7)
                           .bytes();
  EXPECT_EQ(only_tensor(packed).data<float>()[0], 0.f);  // at an odd address
}

TEST(Gguf, ComfyOriginalShapesAreRestored) {
  const auto file = open_tensor_file(data_path("quant.gguf"));
  const TensorEntry* conv = file->find("conv");  // q8_0 rows of 64 on disk, rows of 8 in the original
  EXPECT_EQ(conv->shape, (Shape{4, 2, 2, 2, 8}));
  EXPECT_EQ(conv->stored, DType::q8_0);
  EXPECT_EQ(conv->dtype, DType::f32);
  EXPECT_EQ(file->load(*conv).shape(), conv->shape);
  EXPECT_EQ(file->load(*conv).dtype(), DType::f32);

  const auto shape_key = [](std::initializer_list<int32_t> dims) {
    GgufBytes bytes(1, 1);
    bytes.key("comfy.gguf.orig_shape.a", kArray).number(kI32).number<uint64_t>(dims.size());
    for (const int32_t d : dims) bytes.number(d);
    return bytes.tensor("a", {32, 2}, kQ8, 0).pad().zeros(68);
  };
  const Bytes whole = shape_key({1, 2, 32}).bytes();
  EXPECT_EQ(only_tensor(whole).dtype(), DType::q8_0);  // whole blocks stay as they are
  EXPECT_EQ(only_tensor(whole).shape(), (Shape{1, 2, 32}));
  expect_refused(shape_key({1, 2, 31}), "does not fit");
  expect_refused(shape_key({-1, -2, 32}), "negative");
  expect_refused(shape_key({2, 32, 1, 1, 1, 1, 1}), "at most 6");
}

// The kinds of bad file that ggml's own tests reject, one by one.
TEST(GgufRejects, BadMagic) { expect_refused(GgufBytes(0, 0, 3, "FUGG"), "not a GGUF file"); }
TEST(GgufRejects, Version0) { expect_refused(GgufBytes(0, 0, 0), "version 0"); }
TEST(GgufRejects, Version1) { expect_refused(GgufBytes(0, 0, 1), "version 1"); }
TEST(GgufRejects, FutureVersion) { expect_refused(GgufBytes(0, 0, 4), "version 4"); }
TEST(GgufRejects, BigEndian) { expect_refused(GgufBytes(0, 0, 0x03000000), "big-endian"); }
TEST(GgufRejects, TensorCount) { expect_refused(GgufBytes(~uint64_t{0}, 0), "tensors, at most"); }
TEST(GgufRejects, PairCount) { expect_refused(GgufBytes(0, ~uint64_t{0}), "pairs, at most"); }
TEST(GgufRejects, CountsWithoutContent) {
  expect_refused(GgufBytes(65'536, 0), "cut short");
  expect_refused(GgufBytes(0, 65'536), "cut short");
}
TEST(GgufRejects, KeySize) { expect_refused(GgufBytes(0, 1).number(~uint64_t{0}), "a key of"); }
TEST(GgufRejects, EmptyKey) { expect_refused(GgufBytes(0, 1).key("", kU32).number(1u), "empty key"); }
TEST(GgufRejects, ValueType) {
  expect_refused(GgufBytes(0, 1).key("k", 13).number(1u), "unknown value type 13");
  expect_refused(GgufBytes(0, 1).key("k", kArray).number(13u).number<uint64_t>(1).zeros(8), "unknown value type 13");
}
TEST(GgufRejects, ValueSize) {
  expect_refused(GgufBytes(0, 1).key("k", kString).number(~uint64_t{0}), "a value of");
  expect_refused(GgufBytes(0, 1).key("k", kString).number(uint64_t{1} << 20), "cut short");
  expect_refused(GgufBytes(0, 1).key("k", kString).number(uint64_t{1} << 21).zeros(1 << 21), "at most 1048576");
  expect_refused(GgufBytes(0, 1).key("k", kArray).number(kU64).number(~uint64_t{0}), "an array of");
  expect_refused(GgufBytes(0, 1).key("k", kArray).number(kU64).number(uint64_t{1} << 61), "an array of");
  expect_refused(GgufBytes(0, 1).key("k", kArray).number(kString).number(uint64_t{1} << 40).zeros(64), "an array of");
}
TEST(GgufRejects, BooleanThatIsNone) {
  expect_refused(GgufBytes(0, 1).key("k", kBool).number<uint8_t>(2), "no boolean");
}
TEST(GgufRejects, DuplicateKey) {
  expect_refused(GgufBytes(0, 2).key("k", kU32).number(1u).key("k", kU32).number(1u), "stands twice");
}
TEST(GgufRejects, Alignment) {
  for (const uint32_t value : {0u, 3u, 13u, 8192u, 0x80000000u, ~0u})
    expect_refused(GgufBytes(0, 1).key("general.alignment", kU32).number(value), "power of two");
}
TEST(GgufRejects, AlignmentOfAnotherType) {
  expect_refused(GgufBytes(0, 1).key("general.alignment", kI32).number(32), "uint32");
  expect_refused(GgufBytes(0, 1).key("general.alignment", kU64).number<uint64_t>(32), "uint32");
}
TEST(GgufRejects, TensorNameSize) {
  expect_refused(GgufBytes(1, 0).tensor(std::string(256, 'n'), {1}, kF32, 0).pad().zeros(4), "a tensor name of 256");
  expect_refused(GgufBytes(1, 0).tensor("", {1}, kF32, 0).pad().zeros(4), "empty name");
}
TEST(GgufRejects, DimensionCount) {
  expect_refused(GgufBytes(1, 0).tensor("a", {1, 1, 1, 1, 1}, kF32, 0).pad().zeros(4), "5 dimensions");
  expect_refused(GgufBytes(1, 0).string("a").number(~0u), "dimensions");
}
TEST(GgufRejects, NegativeDimension) {
  expect_refused(GgufBytes(1, 0).tensor("a", {-1}, kF32, 0).pad().zeros(4), "out of range");
}
TEST(GgufRejects, ElementCountOverflow) {
  expect_refused(GgufBytes(1, 0).tensor("a", {INT64_MAX, 2}, kI8, 0).pad(), "overflows");
  expect_refused(GgufBytes(1, 0).tensor("a", {0, INT64_MAX, 2}, kI8, 0).pad(), "overflows");
}
TEST(GgufRejects, ByteCountOverflow) {
  expect_refused(GgufBytes(1, 0).tensor("a", {INT64_MAX / 4}, kI64, 0).pad(), "overflows");
  expect_refused(GgufBytes(1, 0).tensor("a", {INT64_MAX}, kI8, 0).pad(), "overflows");
}
TEST(GgufRejects, TotalSizeOverflow) {
  const int64_t huge = 0x7fffffffffffffc0;
  expect_refused(
      GgufBytes(2, 0).tensor("a", {huge}, kI8, 0).tensor("b", {huge}, kI8, static_cast<uint64_t>(huge)).pad(),
      "overflows");
}
TEST(GgufRejects, TensorType) {
  expect_refused(GgufBytes(1, 0).tensor("a", {32}, 77, 0).pad().zeros(128), "type 77");
  expect_refused(GgufBytes(1, 0).tensor("a", {32}, 4, 0).pad().zeros(128), "type 4");  // removed from the format
  expect_refused(GgufBytes(1, 0).tensor("a", {256}, 16, 0).pad().zeros(128), "IQ2_XXS");
}
TEST(GgufRejects, RowsOfPartialBlocks) {
  expect_refused(GgufBytes(1, 0).tensor("a", {16, 2}, kQ8, 0).pad().zeros(34), "whole number");
}
TEST(GgufRejects, DataOffset) {
  expect_refused(GgufBytes(1, 0).tensor("a", {1}, kF32, 32).pad().zeros(64), "offset 32, expected 0");
  expect_refused(GgufBytes(2, 0).tensor("a", {1}, kF32, 0).tensor("b", {1}, kF32, 0).pad().zeros(64),
                 "offset 0, expected 32");
  expect_refused(GgufBytes(1, 0).tensor("a", {1}, kF32, uint64_t{1} << 63).pad().zeros(64), "expected 0");
}
TEST(GgufRejects, DuplicateTensor) {
  expect_refused(GgufBytes(2, 0).tensor("a", {1}, kF32, 0).tensor("a", {1}, kF32, 32).pad().zeros(64), "stands twice");
}
TEST(GgufRejects, OffsetsOfAnotherAlignment) {
  expect_refused(GgufBytes(2, 0).tensor("a", {1}, kF32, 0).tensor("b", {1}, kF32, 4).pad().zeros(64),
                 "offset 4, expected 32");
}
TEST(GgufRejects, NotEnoughData) {
  expect_refused(GgufBytes(1, 0).tensor("a", {32}, kF32, 0).pad().zeros(127), "do not lie in the file");
  expect_refused(GgufBytes(1, 0).tensor("a", {1}, kF32, 0), "do not lie in the file");
}

// Files of under 101 bytes, and one of 9.6 MB, that are known to end or mislead careless readers.
TEST(GgufRejects, TinyFilesThatClaimHugeThings) {
  expect_refused(GgufBytes(0, 1).number(uint64_t{1} << 62).zeros(60), "a key of");
  expect_refused(GgufBytes(0, 1).key("k", kString).number(uint64_t{1} << 62).zeros(50), "a value of");
  expect_refused(GgufBytes(0, 1).key("k", kArray).number(kString).number(uint64_t{1} << 58).zeros(40), "an array of");
  expect_refused(GgufBytes(1, 0).tensor("t", {-32}, 0x7fffffff, uint64_t{1} << 63).zeros(32), "out of range");
  expect_refused(GgufBytes(1, 0).tensor("t", {32}, 0x7fffffff, uint64_t{1} << 63).zeros(32), "type 2147483647");
}
TEST(GgufRejects, NestedArrays) {
  GgufBytes bytes(0, 1);
  bytes.key("k", kArray);
  for (int i = 0; i < 800'000; ++i) bytes.number(kArray).number<uint64_t>(1);
  expect_refused(bytes, "arrays inside arrays");
}

TEST(Gguf, EveryChangedByteAndEveryPrefixIsReadOrRefused) {
  const Bytes bytes = GgufBytes(3, 4)
                          .key("general.architecture", kString)
                          .string("qwen_image")
                          .key("general.file_type", kU32)
                          .number(7u)
                          .key("list", kArray)
                          .number(kString)
                          .number<uint64_t>(2)
                          .string("a")
                          .string("bc")
                          .key("comfy.gguf.orig_shape.c", kArray)
                          .number(kI32)
                          .number<uint64_t>(3)
                          .number(2)
                          .number(2)
                          .number(16)
                          .tensor("a", {3, 2}, kF32, 0)
                          .tensor("b", {5}, kI8, 32)
                          .tensor("c", {32, 2}, kQ8, 64)
                          .pad()
                          .zeros(64 + 68)
                          .bytes();
  EXPECT_EQ(parse_gguf(bytes, "file")->entries().size(), 3u);
  survive_damage(bytes, [](const Bytes& damaged) { touch_all(*parse_gguf(damaged, "file")); });
}

}  // namespace
}  // namespace inkling::testing
