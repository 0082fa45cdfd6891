#include "helpers.h"

namespace inkling::testing {
namespace {

namespace fs = std::filesystem;

// Writes a shard with one U8 tensor of one element.
void write_shard(const fs::path& path, const std::string& tensor, uint8_t value) {
  write_safetensors(path, {{tensor, DType::u8, Shape{1}}},
                    [&](size_t) { return host_tensor<uint8_t>(Shape{1}, std::span(&value, 1)); });
}

std::string index_of(const std::string& tensor, const std::string& shard) {
  return fmt::format(R"({{"metadata":{{"total_size":2,"nested":[1,{{"a":null}}]}},"weight_map":{{"{}":"{}"}}}})",
                     tensor, shard);
}

void expect_refused(const fs::path& index, const std::string& part) {
  expect_error<ModelError>([&] { open_tensor_file(index); }, part);
}

TEST(ShardIndex, JoinsItsShards) {
  const TemporaryFolder folder;
  write_shard(folder / "m-1.safetensors", "a", 1);
  write_shard(folder / "m-2.safetensors", "b", 2);
  write_bytes(folder / "m.safetensors.index.json",
              R"( {"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"},"metadata":{"total_size":2}})");
  const auto file = open_tensor_file(folder / "m.safetensors.index.json");
  ASSERT_EQ(file->files().size(), 2u);
  EXPECT_EQ(file->load(*file->find("a")).data<uint8_t>()[0], 1);
  EXPECT_EQ(file->load(*file->find("b")).data<uint8_t>()[0], 2);
  EXPECT_EQ(file->files()[static_cast<size_t>(file->find("b")->file)].filename(), "m-2.safetensors");
}

TEST(ShardIndex, ShardsMustLieInsideTheFolder) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "model");
  write_shard(folder / "secret.safetensors", "a", 1);
  const fs::path index = folder / "model/m.safetensors.index.json";
  for (const std::string& shard :
       {std::string("../secret.safetensors"), (folder / "secret.safetensors").string(),
        std::string("x/../../secret.safetensors"), std::string(""), std::string(".."), std::string("a\\u0000b")}) {
    write_bytes(index, index_of("a", shard));
    expect_refused(index, "not a file name inside");
  }
  fs::create_symlink(folder / "secret.safetensors", folder / "model/link.safetensors");
  write_bytes(index, index_of("a", "link.safetensors"));
  expect_refused(index, "leaves the model's folder");
  fs::create_directory_symlink(folder.path(), folder / "model/sub");
  write_bytes(index, index_of("a", "sub/secret.safetensors"));
  expect_refused(index, "leaves the model's folder");
}

TEST(ShardIndex, LinksOfTheHuggingFaceCacheAreFollowed) {
  const TemporaryFolder folder;
  const fs::path cache = folder / "models--org--name", snapshot = cache / "snapshots/abc/transformer";
  fs::create_directories(cache / "blobs");
  fs::create_directories(snapshot);
  write_shard(cache / "blobs/0123", "a", 7);
  write_bytes(cache / "blobs/4567", index_of("a", "m-1.safetensors"));
  fs::create_symlink("../../../blobs/0123", snapshot / "m-1.safetensors");
  fs::create_symlink("../../../blobs/4567", snapshot / "m.safetensors.index.json");
  const auto file = open_tensor_file(snapshot / "m.safetensors.index.json");
  EXPECT_EQ(file->load(*file->find("a")).data<uint8_t>()[0], 7);

  write_shard(folder / "other.safetensors", "a", 1);
  fs::remove(snapshot / "m-1.safetensors");
  fs::create_symlink("../../../../other.safetensors", snapshot / "m-1.safetensors");
  expect_refused(snapshot / "m.safetensors.index.json", "leaves the model's folder");
}

TEST(ShardIndex, NamesWhatIsMissing) {
  const TemporaryFolder folder;
  write_shard(folder / "m-1.safetensors", "a", 1);
  const fs::path index = folder / "m.safetensors.index.json";
  write_bytes(index, index_of("a", "m-2.safetensors"));
  expect_refused(index, "m-2.safetensors\" is missing");
  write_bytes(index, index_of("b", "m-1.safetensors"));
  expect_refused(index, "tensor \"b\" is not in shard \"m-1.safetensors\"");
  write_bytes(folder / "m-1.safetensors", "PK\x03\x04....");
  write_bytes(index, index_of("a", "m-1.safetensors"));
  expect_refused(index, "pickle");
}

TEST(ShardIndex, RefusesMalformedIndexes) {
  const TemporaryFolder folder;
  const fs::path index = folder / "m.safetensors.index.json";
  const auto expect = [&](const std::string& text, const std::string& part) {
    write_bytes(index, text);
    expect_refused(index, part);
  };
  expect("{}", "no weight_map");
  expect(R"({"weight_map":{"a":"x","a":"y"}})", "stands twice");
  expect(R"({"weight_map":{},"weight_map":{}})", "stands twice");
  expect(R"({"weight_map":{"a":1}})", "not a file name");
  expect(R"({"weight_map":{"a":["x"]}})", "not a file name");
  expect(R"({"weight_map":{"a":{}}})", "not a file name");
  expect(R"({"weight_map":{"a":"x")", "not valid JSON");
  expect("{\"a\":" + std::string(1'000'000, '['), "nested deeper");
}

}  // namespace
}  // namespace inkling::testing
