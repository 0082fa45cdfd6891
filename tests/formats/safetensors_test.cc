#include <fcntl.h>

#include <chrono>

#include "helpers.h"

namespace inkling::testing {
namespace {

Bytes with_header(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  Bytes bytes(8 + header.size() + data_bytes);
  std::memcpy(bytes.data(), &length, 8);
  std::memcpy(bytes.data() + 8, header.data(), header.size());
  return bytes;
}

void expect_refused(const std::string& header, size_t data_bytes, const std::string& part) {
  expect_error<ModelError>([&] { parse_safetensors(with_header(header, data_bytes), "file"); }, part);
}

TEST(Safetensors, ReadsWhatThePythonPackageWrites) {
  const auto file = open_tensor_file(data_path("small.safetensors"));
  EXPECT_EQ(file->entries().size(), 11u);
  EXPECT_EQ(file->metadata().at("名"), "小狗");
  const auto load = [&](const char* name) { return file->load(*file->find(name)); };
  EXPECT_EQ(load("f32").shape(), (Shape{2, 3}));
  EXPECT_EQ(load("f32").data<float>()[5], 5.f);
  EXPECT_EQ(load("f64").data<double>()[1], 1.0);
  EXPECT_EQ(to_float(load("f16").data<f16_t>()[3]), 3.f);
  EXPECT_EQ(load("i64").data<int64_t>()[0], -5);
  EXPECT_EQ(load("i32").data<int32_t>()[0], 7);
  EXPECT_EQ(load("i16").data<int16_t>()[2], 3);
  EXPECT_EQ(load("i8").data<int8_t>()[0], -1);
  EXPECT_EQ(load("u8").data<uint8_t>()[0], 255);
  EXPECT_EQ(load("bool").dtype(), DType::boolean);
  EXPECT_EQ(load("empty").elements(), 0);
  EXPECT_EQ(load("scalar").shape().rank(), 0);
  EXPECT_EQ(load("scalar").data<float>()[0], 2.5f);
  EXPECT_EQ(file->find("absent"), nullptr);
}

TEST(Safetensors, TensorsOutliveTheFile) {
  auto file = open_tensor_file(data_path("small.safetensors"));
  const Tensor tensor = file->load(*file->find("f32"));
  file.reset();
  EXPECT_EQ(tensor.data<float>()[4], 4.f);
}

TEST(Safetensors, MisalignedTensorsAreCopiedSoThatTheyCanBeRead) {
  Bytes bytes = with_header(
      R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F64","shape":[1],"data_offsets":[1,9]}})",
      9);
  const double value = 1.25;
  std::memcpy(bytes.data() + bytes.size() - 8, &value, 8);
  const auto file = parse_safetensors(bytes, "file");
  EXPECT_EQ(file->load(*file->find("b")).data<double>()[0], 1.25);
}

TEST(Safetensors, RefusesHeadersThatLieAboutTheirLength) {
  expect_error<ModelError>([] { parse_safetensors({}, "file"); }, "too few");
  for (const uint64_t length : {uint64_t{1} << 63, ~uint64_t{0}, uint64_t{101'000'000}, uint64_t{3}, uint64_t{0}}) {
    Bytes bytes(10);
    std::memcpy(bytes.data(), &length, 8);
    expect_error<ModelError>([&] { parse_safetensors(bytes, "file"); }, "header");
  }
}

TEST(Safetensors, RefusesHolesOverlapsAndRests) {
  const std::string a = R"("a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  expect_refused("{" + a + R"(,"b":{"dtype":"U8","shape":[2],"data_offsets":[5,7]}})", 7, "hole");
  expect_refused("{" + a + R"(,"b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}})", 5, "overlap");
  expect_refused("{" + a + R"(,"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4, "overlap");
  expect_refused("{" + a + "}", 5, "trails");
  expect_refused("{" + a + "}", 3, "cut short");
  expect_refused(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[1,5]}})", 5, "hole");
  expect_refused("{}", 1, "trails");
  EXPECT_EQ(parse_safetensors(with_header("{}      ", 0), "file")->entries().size(), 0u);
}

TEST(Safetensors, RefusesSizesThatDoNotFit) {
  expect_refused(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,4]}})", 4, "takes 16 bytes, got 4");
  expect_refused(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[4,0]}})", 4, "before its start");
  expect_refused(R"({"a":{"dtype":"U8","shape":[9223372036854775807,2],"data_offsets":[0,4]}})", 4, "overflows");
  expect_refused(R"({"a":{"dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,4]}})", 4, "overflows");
  expect_refused(R"({"a":{"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}})", 0, "overflows");
  expect_refused(R"({"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,4]}})", 4,
                 "too large a number");
  expect_refused(R"({"a":{"dtype":"U8","shape":[99999999999999999999999],"data_offsets":[0,4]}})", 4,
                 "too large a number");
  expect_refused(R"({"a":{"dtype":"U8","shape":[-4],"data_offsets":[0,4]}})", 4, "negative");
  expect_refused(R"({"a":{"dtype":"U8","shape":[4.0],"data_offsets":[0,4]}})", 4, "fraction");
  expect_refused(R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1],"data_offsets":[0,1]}})", 1, "too long a list");
  expect_refused(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4,8]}})", 4, "too long a list");
}

TEST(Safetensors, RefusesDuplicates) {
  const std::string a = R"("a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  expect_refused("{" + a + "," + a + "}", 4, "stands twice");
  expect_refused(R"({"a":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4, "stands twice");
  expect_refused(R"({"a":{"dtype":"U8","shape":[4],"shape":[4],"data_offsets":[0,4]}})", 4, "stands twice");
  expect_refused(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"data_offsets":[0,4]}})", 4, "stands twice");
  expect_refused(R"({"__metadata__":{"k":"1","k":"2"}})", 0, "stands twice");
  expect_refused(R"({"__metadata__":{},"__metadata__":{}})", 0, "stands twice");
}

TEST(Safetensors, RefusesWhatIsNoTensorDescription) {
  expect_refused(R"({"a":{"dtype":"Q3","shape":[4],"data_offsets":[0,4]}})", 4, "element type \"Q3\"");
  expect_refused(R"({"a":{"dtype":"u8","shape":[4],"data_offsets":[0,4]}})", 4, "element type");
  expect_refused(R"({"a":{"shape":[4],"data_offsets":[0,4]}})", 4, "missing");
  expect_refused(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0]}})", 4, "missing");
  expect_refused(R"({"a":{}})", 0, "missing");
  expect_refused(R"({"a":5})", 0, "number");
  expect_refused(R"({"a":{"dtype":"U8","shape":[[4]],"data_offsets":[0,4]}})", 4, "a list");
  expect_refused(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"more":{}}})", 4, "an object");
  expect_refused(R"({"__metadata__":{"k":5}})", 0, "number");
  expect_refused(R"([])", 0, "start with");
  expect_refused(" {}", 0, "start with");
  expect_refused("{}x", 0, "not valid JSON");
  expect_refused("{\"a\":", 0, "not valid JSON");
  expect_refused("{\"\xff\":{}}", 0, "not valid JSON");
  expect_refused(std::string("{\0}", 3), 0, "not valid JSON");
}

TEST(Safetensors, DeepNestingIsRefusedAtOnce) {
  expect_refused("{\"a\":" + std::string(1'000'000, '['), 0, "a list");
  std::string nested;
  for (int i = 0; i < 100'000; ++i) nested += "{\"a\":";
  expect_refused(nested, 0, "an object");
}

TEST(Safetensors, MillionsOfTensorsAreRefusedInBoundedTime) {
  std::string header = "{";
  for (int i = 0; i < 300'000; ++i)
    header += fmt::format("\"{}\":{{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}},", i);
  header.back() = '}';
  const auto begin = std::chrono::steady_clock::now();
  expect_refused(header, 0, "more than");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

TEST(Safetensors, ErrorsHoldNoControlCharacters) {
  try {
    parse_safetensors(with_header(R"({"a\u001b[31m\n":{}})", 0), "file");
    FAIL();
  } catch (const ModelError& error) {
    EXPECT_NE(std::string(error.what()).find("\\x1b"), std::string::npos);
    EXPECT_EQ(std::string(error.what()).find('\x1b'), std::string::npos);
  }
}

TEST(Safetensors, EveryChangedByteAndEveryPrefixIsReadOrRefused) {
  survive_damage(read_bytes(data_path("small.safetensors")),
                 [](const Bytes& bytes) { touch_all(*parse_safetensors(bytes, "file")); });
}

TEST(OpenTensorFile, RefusesPickleWithAdvice) {
  const TemporaryFolder folder;
  for (const char* name : {"model.pt", "model.ckpt", "pytorch_model.bin", "model.safetensors"}) {
    write_bytes(folder / name, std::string_view("PK\x03\x04 archive/data.pkl", 20));
    expect_error<ModelError>([&] { open_tensor_file(folder / name); }, "convert");
    write_bytes(folder / name, std::string_view("\x80\x02}q\x00.", 6));
    expect_error<ModelError>([&] { open_tensor_file(folder / name); }, "pickle");
  }
}

TEST(OpenTensorFile, AHeaderLengthThatLooksLikePickleIsStillSafetensors) {
  const TemporaryFolder folder;
  write_bytes(folder / "a.safetensors", with_header("{}" + std::string(0x280 - 2, ' '), 0));  // length bytes 80 02
  EXPECT_EQ(open_tensor_file(folder / "a.safetensors")->entries().size(), 0u);
}

TEST(OpenTensorFile, SaysWhatElseAFileIs) {
  const TemporaryFolder folder;
  const auto expect = [&](std::string_view content, const char* part) {
    write_bytes(folder / "model.gguf", content);
    expect_error<ModelError>([&] { open_tensor_file(folder / "model.gguf"); }, part);
  };
  expect("", "empty");
  expect("version https://git-lfs.github.com/spec/v1\n", "git lfs pull");
  expect("<!DOCTYPE html><html>", "web page");
  expect("some words", "neither");
  expect_error<ModelError>([&] { open_tensor_file(folder / "absent.gguf"); }, "cannot be opened");
  expect_error<ModelError>([&] { open_tensor_file(folder.path()); }, "is not a file");
}

TEST(OpenTensorFile, AFileThatShrinksWhileOpenIsAnErrorNotASignal) {
  const TemporaryFolder folder;
  write_bytes(folder / "a.safetensors",
              with_header(R"({"a":{"dtype":"U8","shape":[100000],"data_offsets":[0,100000]}})", 100'000));
  const auto file = open_tensor_file(folder / "a.safetensors");
  EXPECT_EQ(touch_all(*file), 0u);
  std::filesystem::resize_file(folder / "a.safetensors", 100);
  expect_error<ModelError>([&] { file->load(*file->find("a")); }, "cut while it was in use");
}

TEST(OpenTensorFile, AReplacedFileKeepsItsOldTensors) {
  const TemporaryFolder folder;
  std::filesystem::copy(data_path("small.safetensors"), folder / "a.safetensors");
  const auto file = open_tensor_file(folder / "a.safetensors");
  write_bytes(folder / "b", "new");
  std::filesystem::rename(folder / "b", folder / "a.safetensors");
  EXPECT_EQ(file->load(*file->find("f32")).data<float>()[1], 1.f);
}

}  // namespace
}  // namespace inkling::testing
