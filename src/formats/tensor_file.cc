#include "formats/tensor_file.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/error.h"
#include "formats/block_quant.h"
#include "formats/gguf_types.h"
#include "formats/mapped_file.h"
#include "formats/tensor_parsers.h"

namespace inkling {

namespace fs = std::filesystem;

namespace {

// Each mapping holds a file descriptor, of which a process commonly has 1024.
constexpr size_t kMaxShards = 512;

class MappedTensors final : public TensorFile {
 public:
  // Takes the entries of one file, or those of them that `keep` wants.
  void add(fs::path path, std::shared_ptr<ByteSource> source, ParsedHeader header,
           const std::function<bool(const TensorEntry&)>& keep = {}) {
    for (TensorEntry& entry : header.entries) {
      if (keep && !keep(entry)) continue;
      entry.file = static_cast<int>(sources_.size());
      by_name_.emplace(entry.name, entries_.size());
      entries_.push_back(std::move(entry));
    }
    metadata_.merge(header.metadata);
    files_.push_back(std::move(path));
    sources_.push_back(std::move(source));
  }

  Tensor load(const TensorEntry& entry) const override {
    const std::shared_ptr<ByteSource>& source = sources_.at(static_cast<size_t>(entry.file));
    source->check_size();
    // Shape and type as stored; a tensor of partial blocks (see TensorEntry::stored) is one flat row on disk.
    const Shape stored_shape = entry.stored == entry.dtype ? entry.shape : Shape{entry.shape.elements()};
    Tensor tensor(stored_shape, entry.stored, source, entry.offset);
    const DTypeInfo& type = info(entry.stored);
    const int64_t alignment = type.block_elements > 1 ? 2 : type.block_bytes;  // blocks hold float16 scales
    if (reinterpret_cast<uintptr_t>(tensor.raw()) % static_cast<uintptr_t>(alignment) != 0) {
      Tensor copy = host_tensor(stored_shape, entry.stored);
      std::memcpy(copy.raw(), tensor.raw(), static_cast<size_t>(entry.bytes));
      tensor = copy;
    }
    return entry.stored == entry.dtype ? tensor : dequantize(tensor).reshape(entry.shape);
  }

  void release(const TensorEntry& entry) const override {
    sources_.at(static_cast<size_t>(entry.file))->release(entry.offset, entry.bytes);
  }

 private:
  std::vector<std::shared_ptr<ByteSource>> sources_;  // by TensorEntry::file
};

bool starts_with(std::span<const std::byte> bytes, std::string_view text) {
  return bytes.size() >= text.size() && std::memcmp(bytes.data(), text.data(), text.size()) == 0;
}

// A header length that makes sense, then the brace. Decides before the pickle check, because the length's
// first byte can be 0x80 too.
bool looks_like_safetensors(std::span<const std::byte> bytes) {
  uint64_t length = 0;
  if (bytes.size() < 9) return false;
  std::memcpy(&length, bytes.data(), 8);
  return length <= kMaxSafetensorsHeader && bytes[8] == std::byte{'{'};
}

bool looks_like_json(std::span<const std::byte> bytes) {
  const auto first =
      std::ranges::find_if(bytes, [](std::byte b) { return std::strchr(" \t\r\n", static_cast<int>(b)) == nullptr; });
  return first != bytes.end() && *first == std::byte{'{'};
}

std::unique_ptr<TensorFile> open_sharded(const fs::path& index, std::span<const std::byte> bytes) {
  const WeightMap map = parse_shard_index(bytes, index.string());
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : map) shards.insert(shard);
  if (shards.size() > kMaxShards)
    throw ModelError("{}: {} shards, at most {} are supported", index.string(), shards.size(), kMaxShards);

  auto result = std::make_unique<MappedTensors>();
  for (const std::string& shard : shards) {
    const fs::path path = resolve_shard(index, shard);
    std::shared_ptr<ByteSource> source = map_file(path);
    refuse_foreign_file(source->view(), path.string());
    ParsedHeader header = parse_safetensors_header(source->view(), path.string());
    // A tensor that stands in two shards is taken from the one that the index names.
    result->add(path, std::move(source), std::move(header), [&](const TensorEntry& e) {
      const auto named = map.find(e.name);
      return named != map.end() && named->second == shard;
    });
  }
  for (const auto& [tensor, shard] : map)
    if (result->find(tensor) == nullptr)
      throw ModelError("{}: tensor {} is not in shard {}", index.string(), show(tensor), show(shard));
  return result;
}

}  // namespace

const TensorEntry* TensorFile::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &entries_[found->second];
}

void refuse_foreign_file(std::span<const std::byte> bytes, const std::string& name) {
  if (looks_like_safetensors(bytes)) return;
  const bool raw_pickle =
      bytes.size() >= 2 && bytes[0] == std::byte{0x80} && bytes[1] >= std::byte{1} && bytes[1] <= std::byte{5};
  if (starts_with(bytes, "PK\x03\x04") || raw_pickle)
    throw ModelError(
        "{}: this is a pickle checkpoint (.pt, .ckpt, .bin), which can run code when loaded and is never opened; "
        "use the model's safetensors or GGUF file, or convert it with the safetensors package",
        name);
  if (starts_with(bytes, "version https://git-lfs"))
    throw ModelError("{}: this is a Git LFS pointer, not the model; run `git lfs pull` in its folder", name);
  if (starts_with(bytes, "<!DOCTYPE") || starts_with(bytes, "<!doctype") || starts_with(bytes, "<html"))
    throw ModelError("{}: this is a web page, not a model; the download went wrong", name);
}

std::unique_ptr<TensorFile> open_tensor_file(const fs::path& path) {
  std::shared_ptr<ByteSource> source = map_file(path);
  const std::span<const std::byte> bytes = source->view();
  const std::string name = path.string();
  if (bytes.empty()) throw ModelError("{}: the file is empty", name);
  refuse_foreign_file(bytes, name);
  const bool safetensors = looks_like_safetensors(bytes);
  if (!safetensors && !starts_with(bytes, kGgufMagicBytes) && looks_like_json(bytes)) return open_sharded(path, bytes);

  auto result = std::make_unique<MappedTensors>();
  if (starts_with(bytes, kGgufMagicBytes) && !safetensors) {
    ParsedHeader header = parse_gguf_header(bytes, name);
    result->add(path, std::move(source), std::move(header));
  } else if (safetensors || path.extension() == ".safetensors") {
    ParsedHeader header = parse_safetensors_header(bytes, name);
    result->add(path, std::move(source), std::move(header));
  } else {
    throw ModelError("{}: neither a safetensors nor a GGUF file", name);
  }
  return result;
}

std::unique_ptr<TensorFile> parse_safetensors(std::span<const std::byte> bytes, const std::string& file_name) {
  auto result = std::make_unique<MappedTensors>();
  result->add(file_name, borrow_bytes(bytes, file_name), parse_safetensors_header(bytes, file_name));
  return result;
}

std::unique_ptr<TensorFile> parse_gguf(std::span<const std::byte> bytes, const std::string& file_name) {
  auto result = std::make_unique<MappedTensors>();
  result->add(file_name, borrow_bytes(bytes, file_name), parse_gguf_header(bytes, file_name));
  return result;
}

}  // namespace inkling
