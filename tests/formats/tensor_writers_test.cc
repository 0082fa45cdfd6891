#include <array>

#include "formats/block_quant.h"
#include "helpers.h"

namespace inkling::testing {
namespace {

namespace fs = std::filesystem;

struct Sample {
  std::vector<TensorToWrite> list;
  std::vector<Tensor> tensors;
  void add(const std::string& name, const Tensor& tensor) {
    list.push_back({name, tensor.dtype(), tensor.shape()});
    tensors.push_back(tensor);
  }
  TensorProducer producer() const {
    return [this](size_t i) { return tensors[i]; };
  }
};

Sample sample() {
  Sample s;
  s.add("bytes", host_tensor<uint8_t>(Shape{3}, std::array<uint8_t, 3>{1, 2, 3}));
  s.add("f32", host_tensor(Shape{2, 2}, {1, 2, 3, 4}));
  s.add("名前", host_tensor(Shape{}, {5}));
  s.add("empty", host_tensor(Shape{0, 7}));
  s.add("halves", host_tensor(Shape{5}, DType::bf16));
  std::memset(s.tensors.back().raw(), 0x40, 10);
  return s;
}

void expect_same(const TensorFile& file, const Sample& s) {
  ASSERT_EQ(file.entries().size(), s.list.size());
  for (size_t i = 0; i < s.list.size(); ++i) {
    const TensorEntry* entry = file.find(s.list[i].name);
    ASSERT_NE(entry, nullptr) << s.list[i].name;
    const Tensor tensor = file.load(*entry);
    EXPECT_EQ(tensor.shape(), s.list[i].shape);
    EXPECT_EQ(tensor.dtype(), s.list[i].dtype);
    const auto bytes = static_cast<size_t>(tensor.bytes());
    EXPECT_TRUE(bytes == 0 || std::memcmp(tensor.raw(), s.tensors[i].raw(), bytes) == 0);
  }
}

TEST(WriteSafetensors, RoundTripKeepsEverything) {
  const TemporaryFolder folder;
  const Sample s = sample();
  const std::map<std::string, std::string> metadata = {{"format", "pt"}, {"quote\"\n", "值"}};
  write_safetensors(folder / "a.safetensors", s.list, s.producer(), metadata);
  const auto file = open_tensor_file(folder / "a.safetensors");
  expect_same(*file, s);
  EXPECT_EQ(file->metadata(), metadata);
  EXPECT_EQ(folder.file_count(), 1u);
}

TEST(WriteSafetensors, EveryTensorIsAligned) {
  const TemporaryFolder folder;
  const Sample s = sample();
  write_safetensors(folder / "a.safetensors", s.list, s.producer());
  const auto file = open_tensor_file(folder / "a.safetensors");
  for (const TensorEntry& e : file->entries()) EXPECT_EQ(e.offset % info(e.dtype).block_bytes, 0);
}

TEST(WriteSafetensors, RefusesWhatTheFormatCannotHold) {
  const TemporaryFolder folder;
  const auto attempt = [&](std::vector<TensorToWrite> list) {
    return [&folder, list] {
      write_safetensors(folder / "a.safetensors", list, [](size_t) { return host_tensor(Shape{32}); });
    };
  };
  expect_error<ArgumentError>(attempt({{"a", DType::q8_0, Shape{32}}}), "q8_0");
  expect_error<ArgumentError>(attempt({{"a", DType::f32, Shape{32}}, {"a", DType::f32, Shape{32}}}), "taken");
  expect_error<ArgumentError>(attempt({{"__metadata__", DType::f32, Shape{32}}}), "taken");
  expect_error<ArgumentError>(attempt({{"\xff", DType::f32, Shape{32}}}), "UTF-8");
  expect_error<RuntimeError>(attempt({{"a", DType::f32, Shape{31}}}), "announced as");
  EXPECT_EQ(folder.file_count(), 0u);  // nothing half-written stays
}

TEST(WriteSafetensors, AFailingProducerLeavesTheOldFile) {
  const TemporaryFolder folder;
  write_bytes(folder / "a.safetensors", "old");
  expect_error<CancelledError>(
      [&] {
        write_safetensors(folder / "a.safetensors", {{"a", DType::f32, Shape{1}}},
                          [](size_t) -> Tensor { throw CancelledError("stop"); });
      },
      "stop");
  EXPECT_EQ(read_bytes(folder / "a.safetensors"), to_bytes("old"));
  EXPECT_EQ(folder.file_count(), 1u);
}

TEST(WriteGguf, RoundTripKeepsEverything) {
  const TemporaryFolder folder;
  Sample s = sample();
  s.list.erase(s.list.begin());  // GGUF has no unsigned bytes
  s.tensors.erase(s.tensors.begin());
  const std::vector<float> values(64, 0.5f);
  Tensor q8 = host_tensor(Shape{2, 32}, DType::q8_0);
  quantize_row(DType::q8_0, values.data(), q8.raw(), 64);
  s.add("q8", q8);
  s.add("conv", host_tensor(Shape{2, 1, 3, 2, 2}));  // 5 dimensions
  const std::map<std::string, std::string> metadata = {{"general.architecture", "qwen_image"},
                                                       {"general.file_type", "7"},
                                                       {"general.quantization_version", "2"},
                                                       {"a", "值"}};
  write_gguf(folder / "a.gguf", s.list, s.producer(), metadata);
  const auto file = open_tensor_file(folder / "a.gguf");
  expect_same(*file, s);
  EXPECT_EQ(file->metadata(), metadata);
}

TEST(WriteGguf, RefusesWhatTheFormatCannotHold) {
  const TemporaryFolder folder;
  const auto attempt = [&](std::vector<TensorToWrite> list, std::map<std::string, std::string> metadata = {}) {
    return [&folder, list, metadata] {
      write_gguf(
          folder / "a.gguf", list, [](size_t) { return host_tensor(Shape{1}); }, metadata);
    };
  };
  expect_error<ModelError>(attempt({{"a", DType::f8_e4m3, Shape{1}}}), "f8_e4m3");
  expect_error<ArgumentError>(attempt({{std::string(256, 'n'), DType::f32, Shape{1}}}), "255");
  expect_error<ArgumentError>(attempt({{"a", DType::f32, Shape{1}}}, {{"general.file_type", "many"}}),
                              "takes a number");
  EXPECT_EQ(folder.file_count(), 0u);
}

std::span<const std::byte> part(const Tensor& t, int64_t begin, int64_t end) {
  return {t.raw() + begin, static_cast<size_t>(end - begin)};
}

// Backwards and in pieces, the file is the same to the byte as written in order.
TEST(TensorFileWriter, AnyOrderMakesTheSameFile) {
  for (const TensorFormat format : {TensorFormat::safetensors, TensorFormat::gguf}) {
    const TemporaryFolder folder;
    Sample s = sample();
    if (format == TensorFormat::gguf) s.list.erase(s.list.begin()), s.tensors.erase(s.tensors.begin());
    const std::map<std::string, std::string> metadata = {{"general.architecture", "qwen_image"}};
    (format == TensorFormat::gguf ? write_gguf : write_safetensors)(folder / "a", s.list, s.producer(), metadata);
    {
      TensorFileWriter writer(folder / "b", format, s.list, metadata);
      for (size_t i = s.list.size(); i-- > 0;)
        for (int64_t end = s.tensors[i].bytes(); end > 0; end -= std::min<int64_t>(end, 3))
          writer.write(i, std::max<int64_t>(0, end - 3), part(s.tensors[i], std::max<int64_t>(0, end - 3), end));
      EXPECT_FALSE(fs::exists(folder / "b"));
      writer.commit();
    }
    EXPECT_EQ(read_bytes(folder / "b"), read_bytes(folder / "a"));
    EXPECT_EQ(folder.file_count(), 2u);
  }
}

TEST(TensorFileWriter, RefusesWrongPartsAndLeavesNothing) {
  const TemporaryFolder folder;
  const Tensor values = host_tensor(Shape{4}, {1, 2, 3, 4});
  {
    TensorFileWriter writer(folder / "a", TensorFormat::gguf, {{"x", DType::f32, Shape{4}}, {"y", DType::f32, {}}});
    expect_error<RuntimeError>([&] { writer.write(0, 4, part(values, 0, 16)); }, "16 bytes written at 4 of 16");
    expect_error<RuntimeError>([&] { writer.write(0, -1, part(values, 0, 1)); }, "written at -1");
    writer.write(0, 0, part(values, 0, 16));
    expect_error<RuntimeError>([&] { writer.commit(); }, "\"y\": 0 of 4 bytes");
  }
  EXPECT_EQ(folder.file_count(), 0u);
  expect_error<ArgumentError>(
      [&] {
        TensorFileWriter(folder / "a", TensorFormat::safetensors, {{"q", DType::q8_0, Shape{32}}});
      },
      "q8_0");
  expect_error<RuntimeError>(
      [&] {
        TensorFileWriter(folder / "absent/a", TensorFormat::gguf, {{"x", DType::f32, Shape{4}}});
      },
      "No such file");
  EXPECT_EQ(folder.file_count(), 0u);
}

TEST(WriteFiles, DiskErrorsNamePathAndReason) {
  const TemporaryFolder folder;
  const auto produce = [](size_t) { return host_tensor(Shape{1}, {1}); };
  expect_error<RuntimeError>(
      [&] {
        write_safetensors(folder / "absent/a.safetensors", {{"a", DType::f32, Shape{1}}}, produce);
      },
      "absent/a.safetensors: cannot be written: No such file");
  fs::create_symlink("/dev/full", folder / "full.gguf");
  expect_error<RuntimeError>(
      [&] {
        write_gguf(folder / "full.gguf", {{"a", DType::f32, Shape{1}}}, produce);
      },
      "No space left");
}

}  // namespace
}  // namespace inkling::testing
